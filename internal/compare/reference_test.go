package compare

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// randomInput draws labels, two models whose scores lie on a coarse grid (so that ties and scores at the threshold are common), timings and limits.
func randomInput(random *rand.Rand) Input {
	rows := 2 + random.IntN(60)
	in := Input{
		Threshold: float64(1+random.IntN(10)) / 10, Labels: make([]bool, rows),
		Criteria: Criteria{
			Recall: float64(random.IntN(11)) / 10, FPR: float64(random.IntN(11)) / 10, LatencyP95: time.Duration(1+random.IntN(120)) * time.Microsecond,
			F1Ratio: []float64{0.5, 0.9, 1, 1.01, 1.1, 2}[random.IntN(6)],
		},
		Champion: &Side{Ref: "champion"}, Challenger: &Side{Ref: "challenger"},
	}
	for i := range rows {
		in.Labels[i] = random.IntN(2) == 0
	}
	in.Labels[0], in.Labels[1] = true, false
	kind := []Kind{Probability, Label}[random.IntN(2)]
	for _, s := range []*Side{in.Champion, in.Challenger} {
		s.Kind = kind
		for range rows {
			score := float32(random.IntN(11)) / 10
			if kind == Label {
				score = float32(random.IntN(2))
			}
			s.Scores = append(s.Scores, score)
		}
		for range MinLatencies {
			s.Latency.OneRow = append(s.Latency.OneRow, time.Duration(random.IntN(100_000)))
		}
	}
	return in
}

// exact is what the doc comments say of a side, in fractions and by counting.
type exact struct {
	tp, fp, fn, tn  int64
	recall, fpr, f1 *big.Rat
	p95             time.Duration
}

func exactly(in Input, s *Side) exact {
	var e exact
	for i, x := range s.Scores {
		flagged := x >= float32(in.Threshold)
		if s.Kind == Label {
			flagged = x == 1
		}
		switch {
		case flagged && in.Labels[i]:
			e.tp++
		case flagged:
			e.fp++
		case in.Labels[i]:
			e.fn++
		default:
			e.tn++
		}
	}
	e.recall, e.fpr, e.f1 = big.NewRat(e.tp, e.tp+e.fn), big.NewRat(e.fp, e.fp+e.tn), big.NewRat(2*e.tp, 2*e.tp+e.fp+e.fn)
	// The smallest timing that at least 95 % of the timings do not exceed, found by trying each.
	e.p95 = math.MaxInt64
	for _, d := range s.Latency.OneRow {
		within := 0
		for _, other := range s.Latency.OneRow {
			if other <= d {
				within++
			}
		}
		if 100*within >= 95*len(s.Latency.OneRow) {
			e.p95 = min(e.p95, d)
		}
	}
	return e
}

// written is a limit as the fraction that its shortest decimal says.
func written(t *testing.T, x float64) *big.Rat {
	t.Helper()
	r, ok := new(big.Rat).SetString(fmt.Sprint(x))
	if !ok {
		t.Fatalf("%v is not a number", x)
	}
	return r
}

// TestAgainstReference holds Run against the definitions in exact arithmetic: every criterion, the decision and the reasons.
func TestAgainstReference(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(41, 43))
	decisions := make(map[Decision]int)
	for round := range 2000 {
		in := randomInput(random)
		r := mustRun(t, in)
		decisions[r.Decision]++
		was, is := exactly(in, in.Champion), exactly(in, in.Challenger)
		least := new(big.Rat).Mul(was.f1, written(t, in.Criteria.F1Ratio))
		want := map[string]bool{
			"recall":         is.recall.Cmp(written(t, in.Criteria.Recall)) >= 0,
			"fpr":            is.fpr.Cmp(written(t, in.Criteria.FPR)) <= 0,
			"latency_p95_ms": is.p95 <= in.Criteria.LatencyP95,
			"f1":             is.f1.Cmp(least) >= 0 && is.f1.Sign() > 0,
		}
		var failed, all []string
		for _, c := range r.Criteria {
			if *c.Passed != want[c.Name] {
				t.Fatalf("round %d: %s passed %v, exactly %v: %s", round, c.Name, *c.Passed, want[c.Name], c.Text)
			}
			all = append(all, c.Text)
			if !want[c.Name] {
				failed = append(failed, c.Text)
			}
		}
		if len(r.Criteria) != len(want) {
			t.Fatalf("round %d: %d criteria", round, len(r.Criteria))
		}
		decision, reasons := Promote, all
		if len(failed) > 0 {
			decision, reasons = Reject, failed
		}
		if r.Decision != decision || !slices.Equal(r.Reasons, reasons) {
			t.Fatalf("round %d: %s %q, want %s %q", round, r.Decision, r.Reasons, decision, reasons)
		}
		checkSide(t, r.Challenger, is)
		checkSide(t, *r.Champion, was)
	}
	if decisions[Promote] < 20 || decisions[Reject] < 20 {
		t.Errorf("decisions %v: the draw does not try both", decisions)
	}
}

func checkSide(t *testing.T, got SideReport, want exact) {
	t.Helper()
	if got.Confusion != (Confusion{TP: int(want.tp), FP: int(want.fp), FN: int(want.fn), TN: int(want.tn)}) {
		t.Fatalf("%s: confusion %+v, want %+v", got.Ref, got.Confusion, want)
	}
	for name, pair := range map[string][2]float64{"recall": {got.Recall, float(want.recall)}, "fpr": {got.FPR, float(want.fpr)}, "f1": {got.F1, float(want.f1)}} {
		if pair[0] != pair[1] {
			t.Fatalf("%s: %s %v, exactly %v", got.Ref, name, pair[0], pair[1])
		}
	}
	if ms := float64(want.p95) / 1e6; got.LatencyP95 == nil || *got.LatencyP95 != ms {
		t.Fatalf("%s: p95 %v, want %v", got.Ref, got.LatencyP95, ms)
	}
	if (got.Precision == nil) != (want.tp+want.fp == 0) || got.Precision != nil && *got.Precision != float(big.NewRat(want.tp, want.tp+want.fp)) {
		t.Fatalf("%s: precision %v of %+v", got.Ref, got.Precision, want)
	}
}

func float(r *big.Rat) float64 {
	x, _ := r.Float64()
	return x
}

// TestTextsAreTrue holds that the number, the relation and the limit in each line say what was decided: who reads "a < b" sees a below b.
func TestTextsAreTrue(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(47, 53))
	for range 2000 {
		in := randomInput(random)
		in.Criteria.Recall, in.Criteria.FPR = random.Float64(), random.Float64()
		for _, c := range mustRun(t, in).Criteria {
			if c.Text == "f1 0: neither model finds a positive row" {
				continue
			}
			var name, relation string
			var value, limit float64
			if _, err := fmt.Sscan(c.Text, &name, &value, &relation, &limit); err != nil {
				t.Fatalf("%q: %v", c.Text, err)
			}
			truth := map[string]bool{"<": value < limit, "<=": value <= limit, ">": value > limit, ">=": value >= limit}
			holds, known := truth[relation]
			upper := name == "fpr" || name == "latency_p95_ms"
			if !known || !holds || name != c.Name || *c.Passed != strings.HasSuffix(relation, "=") || upper != (relation == "<=" || relation == ">") {
				t.Fatalf("%q of %v against %v, passed %v, is not true", c.Text, *c.Value, *c.Limit, *c.Passed)
			}
		}
	}
}

// TestRowsInAnyOrder shuffles the rows and the timings: not a bit of the report may change.
func TestRowsInAnyOrder(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(59, 61))
	for range 200 {
		in := randomInput(random)
		want := mustRun(t, in)
		random.Shuffle(len(in.Labels), func(i, j int) {
			in.Labels[i], in.Labels[j] = in.Labels[j], in.Labels[i]
			for _, s := range []*Side{in.Champion, in.Challenger} {
				s.Scores[i], s.Scores[j] = s.Scores[j], s.Scores[i]
			}
		})
		timings := in.Challenger.Latency.OneRow
		random.Shuffle(len(timings), func(i, j int) { timings[i], timings[j] = timings[j], timings[i] })
		if diff := cmp.Diff(want, mustRun(t, in)); diff != "" {
			t.Fatalf("other rows first (-before +after):\n%s", diff)
		}
	}
}

// TestSwappedSides holds that what one side gains the other loses.
func TestSwappedSides(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(67, 71))
	for range 200 {
		in := randomInput(random)
		there := mustRun(t, in)
		in.Champion, in.Challenger = in.Challenger, in.Champion
		back := mustRun(t, in)
		c := there.Changes
		swapped := &Changes{
			Discordant: c.Discordant, NewlyFound: c.NewlyMissed, NewlyMissed: c.NewlyFound, NewFalseAlarms: c.ClearedFalseAlarms, ClearedFalseAlarms: c.NewFalseAlarms,
			Cells: [8]int{c.Cells[0], c.Cells[2], c.Cells[1], c.Cells[3], c.Cells[4], c.Cells[6], c.Cells[5], c.Cells[7]},
		}
		if diff := cmp.Diff(swapped, back.Changes); diff != "" {
			t.Fatalf("changes of the swapped sides (-want +got):\n%s", diff)
		}
		if c.Discordant != c.NewlyFound+c.NewlyMissed+c.NewFalseAlarms+c.ClearedFalseAlarms {
			t.Fatalf("%+v does not add up", c)
		}
		if net := there.Challenger.Confusion.TP - there.Champion.Confusion.TP; net != c.NewlyFound-c.NewlyMissed {
			t.Fatalf("%d more positives found, the changes say %+v", net, c)
		}
		if net := there.Challenger.Confusion.FP - there.Champion.Confusion.FP; net != c.NewFalseAlarms-c.ClearedFalseAlarms {
			t.Fatalf("%d more false alarms, the changes say %+v", net, c)
		}
	}
}

// TestStricterLimits holds that no challenger is promoted by a stricter limit.
func TestStricterLimits(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(73, 79))
	rejected := 0
	for range 1000 {
		in := randomInput(random)
		before := mustRun(t, in).Decision
		switch random.IntN(4) {
		case 0:
			in.Criteria.Recall = min(1, in.Criteria.Recall+0.1)
		case 1:
			in.Criteria.FPR = max(0, in.Criteria.FPR-0.1)
		case 2:
			in.Criteria.LatencyP95 /= 2
			in.Criteria.LatencyP95++
		case 3:
			in.Criteria.F1Ratio *= 1.5
		}
		if before == Reject {
			rejected++
			if after := mustRun(t, in); after.Decision != Reject {
				t.Fatalf("a stricter limit promotes: %q", after.Reasons)
			}
		}
	}
	if rejected < 100 {
		t.Errorf("only %d rejected", rejected)
	}
}

// TestInputIsNotChanged runs one input from many goroutines and holds that it stays as it was and the answers are equal.
func TestInputIsNotChanged(t *testing.T) {
	t.Parallel()
	in, want := randomInput(rand.New(rand.NewPCG(83, 89))), randomInput(rand.New(rand.NewPCG(83, 89)))
	first := mustRun(t, in)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 20 {
				r, err := Run(in)
				if err != nil || !cmp.Equal(first, r) {
					t.Errorf("another answer, %v:\n%s", err, cmp.Diff(first, r))
					return
				}
			}
		})
	}
	group.Wait()
	if diff := cmp.Diff(want, in); diff != "" {
		t.Errorf("Run changed its input (-before +after):\n%s", diff)
	}
}

// TestReportRoundTrip holds that a stored report reads back as it was, and that its JSON has no number that JSON lacks.
func TestReportRoundTrip(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(97, 101))
	for round := range 300 {
		in := randomInput(random)
		switch round % 3 {
		case 1:
			in.Champion, in.FirstChampion = nil, "the \"first\"\nof <all>"
		case 2:
			in.Challenger.Latency, in.Champion.Latency = Latency{Off: "none"}, Latency{}
			in.Challenger.Notes = []string{"a", "b"}
		}
		want := mustRun(t, in)
		body, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Report
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("round %d (-report +read back):\n%s", round, diff)
		}
		if want.Text() != got.Text() {
			t.Fatalf("round %d: the text of the stored report differs", round)
		}
	}
}
