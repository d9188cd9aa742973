package compare

import (
	"math/big"
	"slices"
	"strconv"
	"time"
)

// measured is one side with what the criteria need of it.
type measured struct {
	report SideReport
	// flagged says for each row whether the side calls it positive.
	flagged []bool
	p95     time.Duration
}

func measure(s *Side, in Input) measured {
	m := measured{flagged: s.flag(in.Threshold)}
	r := SideReport{Ref: s.Ref, Version: s.Version, Digest: s.Digest, Kind: s.Kind, Notes: s.Notes}
	r.Confusion = confusion(in.Labels, m.flagged)
	c := r.Confusion
	r.Recall = float64(c.TP) / float64(c.TP+c.FN)
	r.FPR = float64(c.FP) / float64(c.FP+c.TN)
	r.F1 = float64(2*c.TP) / float64(2*c.TP+c.FP+c.FN)
	if c.TP+c.FP > 0 {
		precision := float64(c.TP) / float64(c.TP+c.FP)
		r.Precision = &precision
	}
	if s.Kind == Probability {
		auc := aucROC(in.Labels, s.Scores)
		r.AUC = &auc
	}
	r.LatencyOff, r.LatencyRows = s.Latency.Off, len(s.Latency.OneRow)
	if s.Latency.Off == "" && len(s.Latency.OneRow) > 0 {
		m.p95 = percentile95(s.Latency.OneRow)
		ms := milliseconds(m.p95)
		r.LatencyP95 = &ms
	}
	m.report = r
	return m
}

// flag calls a row positive when its label is 1, or its probability is at least the threshold, both as float32.
func (s *Side) flag(threshold float64) []bool {
	limit := float32(threshold)
	if s.Kind == Label {
		limit = 1
	}
	flagged := make([]bool, len(s.Scores))
	for i, x := range s.Scores {
		flagged[i] = x >= limit
	}
	return flagged
}

func confusion(labels, flagged []bool) Confusion {
	var c Confusion
	for i, truth := range labels {
		switch {
		case truth && flagged[i]:
			c.TP++
		case truth:
			c.FN++
		case flagged[i]:
			c.FP++
		default:
			c.TN++
		}
	}
	return c
}

// aucROC is the probability that a random positive scores above a random negative, ties counting half: the Mann-Whitney statistic from
// mid-ranks. The sum is an integer (doubled ranks), so the order of the rows does not change a bit of it.
func aucROC(labels []bool, scores []float32) float64 {
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		switch {
		case scores[a] < scores[b]:
			return -1
		case scores[a] > scores[b]:
			return 1
		}
		return 0
	})
	var doubledRanks, positives int64
	for i := 0; i < len(order); {
		j := i
		for j < len(order) && scores[order[j]] == scores[order[i]] {
			j++
		}
		// Ranks i+1..j are tied: twice their mean is i+1+j.
		for _, row := range order[i:j] {
			if labels[row] {
				doubledRanks += int64(i + 1 + j)
				positives++
			}
		}
		i = j
	}
	negatives := int64(len(labels)) - positives
	return float64(doubledRanks-positives*(positives+1)) / (2 * float64(positives) * float64(negatives))
}

// percentile95 is the nearest-rank percentile: the smallest value that at least 95 % of the values do not exceed.
func percentile95(durations []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(durations))
	return sorted[(len(sorted)*95+99)/100-1]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// decimal is a float64 as the decimal number that a person wrote for it: 1.01 is 101/100, not the nearest binary fraction.
func decimal(x float64) *big.Rat {
	r, ok := new(big.Rat).SetString(strconv.FormatFloat(x, 'g', -1, 64))
	if !ok {
		return new(big.Rat) // NaN and infinities, which checkSettings has refused
	}
	return r
}

// changes counts the rows on which the two sides differ.
func changes(in Input, champion, challenger measured) *Changes {
	c := &Changes{}
	for i, truth := range in.Labels {
		was, is := champion.flagged[i], challenger.flagged[i]
		c.Cells[cell(truth, was, is)]++
		switch {
		case was == is:
			continue
		case truth && is:
			c.NewlyFound++
		case truth:
			c.NewlyMissed++
		case is:
			c.NewFalseAlarms++
		default:
			c.ClearedFalseAlarms++
		}
		c.Discordant++
	}
	return c
}

// cell is the index of truth x champion x challenger, each a binary digit: 000, 001, ... 111.
func cell(truth, champion, challenger bool) int {
	n := 0
	for _, bit := range [3]bool{truth, champion, challenger} {
		n *= 2
		if bit {
			n++
		}
	}
	return n
}
