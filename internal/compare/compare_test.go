package compare

import (
	"encoding/json"
	"flag"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// side makes a model with the given numbers of tp, fp, fn, tn; scores are apart from the threshold 0.5.
func side(ref string, tp, fp, fn, tn int) *Side {
	s := &Side{Ref: ref, Kind: Probability}
	add := func(n int, score float32) {
		for range n {
			s.Scores = append(s.Scores, score)
		}
	}
	add(tp, 0.9)
	add(fn, 0.2)
	add(fp, 0.8)
	add(tn, 0.1)
	for i := range 100 {
		s.Latency.OneRow = append(s.Latency.OneRow, time.Duration(i+1)*time.Microsecond)
	}
	return s
}

func labels(positives, negatives int) []bool {
	l := make([]bool, positives+negatives)
	for i := range positives {
		l[i] = true
	}
	return l
}

func input(champion, challenger *Side, positives, negatives int) Input {
	return Input{
		Threshold: 0.5, Criteria: DefaultCriteria(), Labels: labels(positives, negatives), Champion: champion, Challenger: challenger,
		Data: Data{Name: "holdout.parquet", Label: "is_fraud", Duplicates: 3},
	}
}

func mustRun(t *testing.T, in Input) Report {
	t.Helper()
	r, err := Run(in)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestDecisions(t *testing.T) {
	t.Parallel()
	champion := side("champion", 90, 10, 10, 990)
	tests := []struct {
		name       string
		challenger *Side
		change     func(*Input)
		want       Decision
		reasons    []string
	}{
		{"better", side("c", 97, 5, 3, 995), nil, Promote, []string{
			"recall 0.970 >= 0.95 (97 of 100 positives found)", "fpr 0.005 <= 0.02 (5 of 1000 negatives flagged)",
			"latency_p95_ms 0.095 <= 100 (100 one-row calls)", "f1 0.960 >= 0.909 (champion 0.900 x 1.01)",
		}},
		{"equal", side("c", 90, 10, 10, 990), func(in *Input) { in.Criteria.Recall = 0.5 }, Reject, []string{"f1 0.900 < 0.909 (champion 0.900 x 1.01)"}},
		{"equal with ratio 1", side("c", 90, 10, 10, 990), func(in *Input) { in.Criteria.Recall, in.Criteria.F1Ratio = 0.5, 1 }, Promote, nil},
		{"low recall", side("c", 94, 5, 6, 995), nil, Reject, []string{"recall 0.940 < 0.95 (94 of 100 positives found)"}},
		{"many false alarms", side("c", 97, 21, 3, 979), nil, Reject, []string{
			"fpr 0.021 > 0.02 (21 of 1000 negatives flagged)", "f1 0.890 < 0.909 (champion 0.900 x 1.01)",
		}},
		{"slow", side("c", 97, 5, 3, 995), func(in *Input) { in.Criteria.LatencyP95 = 94 * time.Microsecond }, Reject, []string{
			"latency_p95_ms 0.095 > 0.094 (100 one-row calls)",
		}},
		{"latency off", side("c", 97, 5, 3, 995), func(in *Input) { in.Challenger.Latency = Latency{Off: "scores come from column p"} }, Promote, []string{
			"recall 0.970 >= 0.95 (97 of 100 positives found)", "fpr 0.005 <= 0.02 (5 of 1000 negatives flagged)",
			"latency_p95_ms not judged (scores come from column p)", "f1 0.960 >= 0.909 (champion 0.900 x 1.01)",
		}},
		{"first champion", side("c", 97, 5, 3, 995), func(in *Input) { in.Champion, in.FirstChampion = nil, "new model" }, Promote, nil},
		{
			"first champion that is bad", side("c", 50, 5, 50, 995), func(in *Input) { in.Champion, in.FirstChampion = nil, "new model" }, Reject,
			[]string{"recall 0.500 < 0.95 (50 of 100 positives found)"},
		},
		{"neither finds anything", side("c", 0, 0, 100, 1000), func(in *Input) {
			in.Criteria.Recall, in.Champion = 0, side("champion", 0, 0, 100, 1000)
		}, Reject, []string{"f1 0: neither model finds a positive row"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := input(champion, tt.challenger, 100, 1000)
			if tt.change != nil {
				tt.change(&in)
			}
			r := mustRun(t, in)
			if r.Decision != tt.want {
				t.Errorf("decision %s, want %s: %q", r.Decision, tt.want, r.Reasons)
			}
			if tt.reasons != nil {
				if diff := cmp.Diff(tt.reasons, r.Reasons); diff != "" {
					t.Errorf("reasons (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// TestBoundaries holds each criterion at its limit and one row beyond it, where float64 arithmetic gets some of them wrong.
func TestBoundaries(t *testing.T) {
	t.Parallel()
	for _, limit := range []float64{0.05, 0.07, 0.1, 0.29, 0.57, 0.58, 0.95, 0.99} {
		n := int(math.Round(limit * 100))
		for _, step := range []struct{ add, want int }{{-1, -1}, {0, 0}, {1, 1}} {
			in := input(side("a", n+step.add, n+step.add, 100-n-step.add, 100-n-step.add), side("b", n+step.add, n+step.add, 100-n-step.add, 100-n-step.add), 100, 100)
			in.Criteria = Criteria{Recall: limit, FPR: limit, LatencyP95: time.Second, F1Ratio: 1}
			r := mustRun(t, in)
			if got := *r.Criteria[0].Passed; got != (step.want >= 0) {
				t.Errorf("recall %d %% against %v: passed %v", n+step.add, limit, got)
			}
			if got := *r.Criteria[1].Passed; got != (step.want <= 0) {
				t.Errorf("fpr %d %% against %v: passed %v", n+step.add, limit, got)
			}
		}
	}
	// Champion 2*50/(2*50+50+50) = 1/2, times 1.01 = 101/200: exactly that of 101/(101*2-...): tp 101, fp 99, fn 99.
	champion, challenger := side("a", 50, 50, 50, 150), side("b", 101, 99, 99, 1)
	in := Input{Criteria: DefaultCriteria()}
	a := measured{report: SideReport{Confusion: confusion(labels(100, 200), champion.flag(0.5))}}
	b := measured{report: SideReport{Confusion: confusion(labels(200, 100), challenger.flag(0.5))}}
	if c := f1Criterion(a, b, in.Criteria); !*c.Passed {
		t.Errorf("f1 equal to its limit does not meet it: %s", c.Text)
	}
	b.report.Confusion.FP++
	if c := f1Criterion(a, b, in.Criteria); *c.Passed {
		t.Errorf("f1 one row below its limit meets it: %s", c.Text)
	}
}

func TestThresholdIsFloat32(t *testing.T) {
	t.Parallel()
	s := &Side{Kind: Probability, Scores: []float32{0.7, 0.69999, 0.1}}
	if diff := cmp.Diff([]bool{true, false, false}, s.flag(0.7)); diff != "" {
		t.Errorf("flagged from 0.7 (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]bool{true, true, true}, s.flag(0.1)); diff != "" {
		t.Errorf("flagged from 0.1 (-want +got):\n%s", diff)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*Input)
		want   string
	}{
		{"exact", func(in *Input) { in.Mode = Exact }, "mode exact is not in this version"},
		{"unknown mode", func(in *Input) { in.Mode = "magic" }, `unknown mode "magic"`},
		{"threshold 0", func(in *Input) { in.Threshold = 0 }, "threshold 0"},
		{"threshold NaN", func(in *Input) { in.Threshold = math.NaN() }, "threshold NaN"},
		{"no limits", func(in *Input) { in.Criteria = Criteria{} }, "latency limit 0s"},
		{"recall limit", func(in *Input) { in.Criteria.Recall = 95 }, "recall limit 95"},
		{"fpr limit", func(in *Input) { in.Criteria.FPR = -1 }, "fpr limit -1"},
		{"ratio", func(in *Input) { in.Criteria.F1Ratio = math.Inf(1) }, "f1 ratio +Inf"},
		{"no rows", func(in *Input) { in.Labels = nil }, "no rows"},
		{"no positives", func(in *Input) { in.Labels = labels(0, 1100) }, "none of the 1100 rows is positive"},
		{"no negatives", func(in *Input) { in.Labels = labels(1100, 0) }, "all 1100 rows are positive"},
		{"no challenger", func(in *Input) { in.Challenger = nil }, "no challenger"},
		{"no champion", func(in *Input) { in.Champion = nil }, "no champion to compare with"},
		{"two stories", func(in *Input) { in.FirstChampion = "r" }, "although there is a champion"},
		{"too few scores", func(in *Input) { in.Challenger.Scores = in.Challenger.Scores[:7] }, "challenger: 7 scores for 1100 rows"},
		{"champion's scores", func(in *Input) { in.Champion.Scores = nil }, "champion: 0 scores for 1100 rows"},
		{"nan", func(in *Input) { in.Challenger.Scores[4] = float32(math.NaN()) }, "challenger: row 5: score NaN is not a probability"},
		{"margin as probability", func(in *Input) { in.Champion.Scores[0] = 1.5 }, "champion: row 1: score 1.5 is not a probability"},
		{"label 2", func(in *Input) { in.Challenger.Kind = Label }, "challenger: row 1: score 0.9 is not a label"},
		{"margins", func(in *Input) { in.Challenger.Kind = "margin" }, `scores of kind "margin"`},
		{"kinds differ", func(in *Input) {
			in.Challenger.Kind = Label
			for i, x := range in.Challenger.Scores {
				in.Challenger.Scores[i] = float32(math.Round(float64(x)))
			}
		}, "the champion gives a probability and the challenger a label"},
		{"no timings", func(in *Input) { in.Challenger.Latency = Latency{} }, "0 timings of one-row scoring"},
		{"negative time", func(in *Input) { in.Champion.Latency.OneRow[3] = -1 }, "runs backwards"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := input(side("a", 90, 10, 10, 990), side("b", 97, 5, 3, 995), 100, 1000)
			tt.change(&in)
			r, err := Run(in)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "could not judge: ") {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
			if r.Decision != "" {
				t.Errorf("a decision, %s, beside an error", r.Decision)
			}
		})
	}
}

// TestAUC holds the ranks against the definition, pair by pair.
func TestAUC(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		n := 2 + random.IntN(60)
		truth, scores := make([]bool, n), make([]float32, n)
		for i := range n {
			truth[i], scores[i] = random.IntN(3) == 0, float32(random.IntN(8))/8
		}
		truth[0], truth[1] = true, false
		var wins, pairs float64
		for i := range n {
			for j := range n {
				if truth[i] && !truth[j] {
					pairs++
					switch {
					case scores[i] > scores[j]:
						wins++
					case scores[i] == scores[j]:
						wins += 0.5
					}
				}
			}
		}
		if got := aucROC(truth, scores); math.Abs(got-wins/pairs) > 1e-15 {
			t.Fatalf("auc %v, pair by pair %v", got, wins/pairs)
		}
	}
}

func TestPercentile95(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ n, want int }{{1, 1}, {19, 19}, {20, 19}, {21, 20}, {100, 95}, {101, 96}, {1000, 950}} {
		durations := make([]time.Duration, tt.n)
		for i := range durations {
			durations[i] = time.Duration(tt.n - i)
		}
		if got := percentile95(durations); got != time.Duration(tt.want) {
			t.Errorf("p95 of 1..%d = %d, want %d", tt.n, got, tt.want)
		}
	}
}

func TestApart(t *testing.T) {
	t.Parallel()
	tests := []struct {
		value, limit float64
		want         [2]string
	}{
		{0.412, 0.95, [2]string{"0.412", "0.95"}},
		{0.95, 0.95, [2]string{"0.950", "0.95"}},
		{0.94999, 0.95, [2]string{"0.94999", "0.95"}},
		{0.9499999999999, 0.95, [2]string{"0.9499999999999", "0.95"}},
		{0.8423, 0.8534561, [2]string{"0.842", "0.853"}},
		{0.85345, 0.8534561, [2]string{"0.85345", "0.85346"}},
		{0, 0.02, [2]string{"0.000", "0.02"}},
	}
	for _, tt := range tests {
		value, limit := apart(tt.value, tt.limit)
		if diff := cmp.Diff(tt.want, [2]string{value, limit}); diff != "" {
			t.Errorf("apart(%v, %v) (-want +got):\n%s", tt.value, tt.limit, diff)
		}
	}
}

// TestGolden holds the text and the JSON of three reports. Run with -update after a change that is meant.
func TestGolden(t *testing.T) {
	t.Parallel()
	reject := input(side("models:/fraud/Production", 104, 5, 27, 2533), side("models:/fraud/Staging", 54, 8, 77, 2530), 131, 2538)
	reject.Champion.Version, reject.Champion.Digest, reject.Challenger.Version = "1", "sha256:ab", "3"
	reject.Challenger.Notes = []string{"XGBClassifier: probabilities with best_iteration 41 applied"}
	first := input(nil, side("challenger.ubj", 97, 5, 3, 995), 100, 1000)
	first.FirstChampion = "nothing is in production yet"
	columns := input(side("column old", 80, 0, 20, 1000), side("column new", 97, 0, 3, 1000), 100, 1000)
	for _, s := range []*Side{columns.Champion, columns.Challenger} {
		s.Kind, s.Latency = Label, Latency{Off: "scores come from a column"}
		for i, x := range s.Scores {
			s.Scores[i] = float32(math.Round(float64(x)))
		}
	}
	for name, in := range map[string]Input{"reject": reject, "first": first, "columns": columns} {
		r := mustRun(t, in)
		golden(t, name+".txt", []byte(r.Text()))
		body, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".json", append(body, '\n'))
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestChangesCells(t *testing.T) {
	t.Parallel()
	in := input(side("a", 90, 10, 10, 990), side("b", 97, 5, 3, 995), 100, 1000)
	r := mustRun(t, in)
	want := &Changes{Discordant: 12, NewlyFound: 7, ClearedFalseAlarms: 5, Cells: [8]int{990, 0, 5, 5, 3, 7, 0, 90}}
	want.Cells = [8]int{990, 0, 5, 5, 3, 7, 0, 90}
	if diff := cmp.Diff(want, r.Changes); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	sum := 0
	for _, n := range r.Changes.Cells {
		sum += n
	}
	if sum != len(in.Labels) {
		t.Errorf("cells add up to %d, want %d", sum, len(in.Labels))
	}
}

func BenchmarkRun(b *testing.B) {
	in := input(side("a", 1800, 200, 200, 97800), side("b", 1900, 200, 100, 97800), 2000, 98000)
	for b.Loop() {
		if _, err := Run(in); err != nil {
			b.Fatal(err)
		}
	}
}
