package compare

import (
	"fmt"
	"math/big"
	"strconv"
)

// Shares are compared as fractions, so that a value equal to its limit meets it whatever floating point makes of either.

func recallCriterion(m measured, limits Criteria) Criterion {
	c := m.report.Confusion
	passed := fraction(c.TP, c.TP+c.FN).Cmp(decimal(limits.Recall)) >= 0
	out := newCriterion("recall", passed, m.report.Recall, limits.Recall)
	value, limit := apart(m.report.Recall, limits.Recall)
	out.Text = fmt.Sprintf("recall %s %s %s (%d of %d positives found)", value, out.relation(), limit, c.TP, c.TP+c.FN)
	return out
}

func fprCriterion(m measured, limits Criteria) Criterion {
	c := m.report.Confusion
	passed := fraction(c.FP, c.FP+c.TN).Cmp(decimal(limits.FPR)) <= 0
	out := newCriterion("fpr", passed, m.report.FPR, limits.FPR)
	value, limit := apart(m.report.FPR, limits.FPR)
	out.Text = fmt.Sprintf("fpr %s %s %s (%d of %d negatives flagged)", value, out.relation(), limit, c.FP, c.FP+c.TN)
	return out
}

func latencyCriterion(m measured, limits Criteria) Criterion {
	if m.report.LatencyOff != "" {
		return offCriterion("latency_p95_ms", m.report.LatencyOff)
	}
	passed := m.p95 <= limits.LatencyP95
	value, limit := milliseconds(m.p95), milliseconds(limits.LatencyP95)
	out := newCriterion("latency_p95_ms", passed, value, limit)
	valueText, limitText := apart(value, limit)
	out.Text = fmt.Sprintf("latency_p95_ms %s %s %s (%d one-row calls)", valueText, out.relation(), limitText, m.report.LatencyRows)
	return out
}

// f1Criterion wants 2tp/(2tp+fp+fn) of the challenger to be at least the champion's times the ratio. A champion that finds nothing sets the
// limit 0, which a challenger that finds nothing would meet: a tie never promotes, so it does not.
func f1Criterion(champion, challenger measured, limits Criteria) Criterion {
	was, is := f1(champion.report.Confusion), f1(challenger.report.Confusion)
	least := new(big.Rat).Mul(was, decimal(limits.F1Ratio))
	passed := is.Cmp(least) >= 0 && is.Sign() > 0
	limitValue, _ := least.Float64()
	out := newCriterion("f1", passed, challenger.report.F1, limitValue)
	value, limit := apart(challenger.report.F1, limitValue)
	if is.Sign() == 0 && least.Sign() == 0 {
		out.Text = "f1 0: neither model finds a positive row"
		return out
	}
	out.Text = fmt.Sprintf("f1 %s %s %s (champion %s x %s)", value, out.relation(), limit, fixed(champion.report.F1, 3), shortest(limits.F1Ratio))
	return out
}

func f1(c Confusion) *big.Rat { return fraction(2*c.TP, 2*c.TP+c.FP+c.FN) }

func fraction(a, b int) *big.Rat { return big.NewRat(int64(a), int64(b)) }

func newCriterion(name string, passed bool, value, limit float64) Criterion {
	return Criterion{Name: name, Value: &value, Limit: &limit, Passed: &passed}
}

func offCriterion(name, why string) Criterion {
	return Criterion{Name: name, Off: why, Text: fmt.Sprintf("%s not judged (%s)", name, why)}
}

// upper says that the limit of the criterion is the most that is allowed, not the least.
func (c Criterion) upper() bool { return c.Name == "fpr" || c.Name == "latency_p95_ms" }

// relation is how the value stands to the limit of a criterion that was judged.
func (c Criterion) relation() string {
	switch {
	case c.upper() && *c.Passed:
		return "<="
	case c.upper():
		return ">"
	case *c.Passed:
		return ">="
	}
	return "<"
}

// apart writes a value and its limit with as many decimals, from 3 to 9, as it takes to see on which side of the limit the value lies.
func apart(value, limit float64) (string, string) {
	for digits := 3; digits <= 9; digits++ {
		v, l := fixed(value, digits), fixed(limit, digits)
		if s := shortest(limit); len(s) < len(l) {
			l = s
		}
		a, _ := strconv.ParseFloat(v, 64)
		b, _ := strconv.ParseFloat(l, 64)
		if sign(a, b) == sign(value, limit) {
			return v, l
		}
	}
	return shortest(value), shortest(limit)
}

func sign(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func fixed(x float64, digits int) string { return strconv.FormatFloat(x, 'f', digits, 64) }

func shortest(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
