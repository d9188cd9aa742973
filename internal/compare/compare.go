// Package compare is the offline gate: from labels and the scores of two models on the same rows it decides whether the challenger may
// meet live traffic, and writes down why. It must never read a file, a clock or a model, and never turns what it cannot judge into a decision.
package compare

import (
	"fmt"
	"time"
)

// Decision is the outcome of the gate. What cannot be judged is an error of Run, not a decision.
type Decision string

// The decisions. Undecided is a challenger that meets every limit without proof; Point never gives it.
const (
	Promote   Decision = "promote"
	Reject    Decision = "reject"
	Undecided Decision = "undecided"
)

// Mode says how much proof a limit wants.
type Mode string

// Point compares point estimates with the limits. Exact wants confidence bounds inside the limits and is not in this version.
const (
	Point Mode = "point"
	Exact Mode = "exact"
)

// Kind says what a side's scores are.
type Kind string

// The kinds that can be judged against labels.
const (
	// Probability is the probability of the positive class, from 0 to 1.
	Probability Kind = "probability"
	// Label is the class itself, 0 or 1.
	Label Kind = "label"
)

// Criteria are the limits of the gate. All are inclusive: a value equal to its limit meets it.
type Criteria struct {
	// Recall is the least share of positives that the challenger must find, in [0, 1].
	Recall float64
	// FPR is the largest share of negatives that it may flag, in [0, 1].
	FPR float64
	// LatencyP95 is the longest 95th percentile of one-row scoring.
	LatencyP95 time.Duration
	// F1Ratio is what the champion's F1 is multiplied with to give the least F1; it is taken as the decimal it is written as.
	F1Ratio float64
}

// DefaultCriteria are the limits of a plan that names none.
func DefaultCriteria() Criteria {
	return Criteria{Recall: 0.95, FPR: 0.02, LatencyP95: 100 * time.Millisecond, F1Ratio: 1.01}
}

// MinLatencies is the least number of timings that a 95th percentile is taken of.
const MinLatencies = 20

// Latency is the measured time of one-row scoring, or the reason why it is declared off.
type Latency struct {
	// OneRow has one duration a scored row, in any order; at least MinLatencies unless Off is set.
	OneRow []time.Duration
	// Off says why there is no measurement, such as "scores come from column p"; empty means that OneRow is it.
	Off string
}

// Side is one model on the data.
type Side struct {
	// Ref is the reference it was opened by, Version and Digest its pin; either of the latter may be empty.
	Ref, Version, Digest string
	// Kind says what Scores are.
	Kind Kind
	// Scores has one score a row.
	Scores []float32
	// Latency of the champion is reported; that of the challenger is judged.
	Latency Latency
	// Notes are things a reader of the report should know about how it was scored.
	Notes []string
}

// Data says where the labels come from.
type Data struct {
	// Name is the data file, Label its label column.
	Name, Label string
	// Duplicates is the number of rows that equal an earlier one; they are counted, not removed.
	Duplicates int
}

// Input is all that the gate judges.
type Input struct {
	// Mode defaults to Point.
	Mode Mode
	// Threshold is the probability from which a row counts as positive, in (0, 1], compared as float32: a score of 0.7 meets a threshold of 0.7.
	Threshold float64
	// Criteria are the limits; the zero value is refused, DefaultCriteria are the defaults.
	Criteria Criteria
	// Labels has the truth of each row.
	Labels []bool
	// Champion is nil exactly when FirstChampion gives the reason why there is none to compare with.
	Champion      *Side
	FirstChampion string
	// Challenger is the model to be judged.
	Challenger *Side
	// Data describes the rows in the report.
	Data Data
}

// Run judges the challenger. An error means that it could not be judged, for a reason in the input: trying again does not help.
func Run(in Input) (Report, error) {
	if in.Mode == "" {
		in.Mode = Point
	}
	if err := in.check(); err != nil {
		return Report{}, fmt.Errorf("could not judge: %w", err)
	}
	r := Report{Mode: in.Mode, Threshold: in.Threshold, FirstChampion: in.FirstChampion, Data: in.dataReport()}
	challenger := measure(in.Challenger, in)
	r.Challenger = challenger.report
	r.Criteria = []Criterion{
		recallCriterion(challenger, in.Criteria),
		fprCriterion(challenger, in.Criteria),
		latencyCriterion(challenger, in.Criteria),
	}
	if in.Champion == nil {
		r.Criteria = append(r.Criteria, offCriterion("f1", "no champion to compare with: "+in.FirstChampion))
	} else {
		champion := measure(in.Champion, in)
		r.Champion = &champion.report
		r.Changes = changes(in, champion, challenger)
		r.Criteria = append(r.Criteria, f1Criterion(champion, challenger, in.Criteria))
	}
	r.Decision, r.Reasons = decide(r.Criteria)
	return r, nil
}

// decide promotes when no criterion failed. The reasons are the failures of a reject, and everything that was judged of a promote.
func decide(criteria []Criterion) (Decision, []string) {
	var failed, all []string
	for _, c := range criteria {
		all = append(all, c.Text)
		if c.Passed != nil && !*c.Passed {
			failed = append(failed, c.Text)
		}
	}
	if len(failed) > 0 {
		return Reject, failed
	}
	return Promote, all
}

func (in *Input) dataReport() DataReport {
	positives := count(in.Labels)
	return DataReport{
		Name: in.Data.Name, Label: in.Data.Label, Rows: len(in.Labels), Positives: positives, Negatives: len(in.Labels) - positives,
		Share: float64(positives) / float64(len(in.Labels)), Duplicates: in.Data.Duplicates,
	}
}

func count(labels []bool) int {
	n := 0
	for _, positive := range labels {
		if positive {
			n++
		}
	}
	return n
}
