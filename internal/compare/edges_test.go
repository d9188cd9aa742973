package compare

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestRefusalTexts holds what a person reads who gave something that cannot be judged: the whole line.
func TestRefusalTexts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		change func(*Input)
		want   string
	}{
		{func(in *Input) { in.Mode = Exact }, "mode exact is not in this version: use mode point"},
		{func(in *Input) { in.Mode = "point " }, `unknown mode "point ": use point`},
		{func(in *Input) { in.Threshold = -0.5 }, "threshold -0.5: give a probability above 0 and up to 1"},
		{func(in *Input) { in.Threshold = math.Nextafter(1, 2) }, "threshold 1.0000000000000002: give a probability above 0 and up to 1"},
		{func(in *Input) { in.Criteria.Recall = math.NaN() }, "recall limit NaN: give a share from 0 to 1"},
		{func(in *Input) { in.Criteria.FPR = math.Inf(1) }, "fpr limit +Inf: give a share from 0 to 1"},
		{func(in *Input) { in.Criteria.LatencyP95 = -time.Second }, "latency limit -1s: give a duration above 0"},
		{func(in *Input) { in.Criteria.F1Ratio = math.NaN() }, "f1 ratio NaN: give a number above 0, such as 1.01"},
		{func(in *Input) { in.Criteria.F1Ratio = 0 }, "f1 ratio 0: give a number above 0, such as 1.01"},
		{func(in *Input) { in.Labels = []bool{} }, "the data has no rows"},
		{func(in *Input) { in.Labels = make([]bool, 3) }, "none of the 3 rows is positive, so recall has no value: give data with positive rows"},
		{func(in *Input) { in.Labels = []bool{true} }, "all 1 rows are positive, so the false-positive rate has no value: give data with negative rows"},
		{func(in *Input) { in.Champion = nil }, "no champion to compare with: promote one first, or say that this is the first with a reason"},
		{func(in *Input) { in.FirstChampion = "new" }, "a first champion is claimed (new) although there is a champion, a"},
		{func(in *Input) { in.Challenger.Latency.OneRow = in.Challenger.Latency.OneRow[:MinLatencies-1] }, "challenger: 19 timings of one-row scoring, a 95th percentile wants 20: measure it, or declare the latency criterion off"},
		{func(in *Input) { in.Challenger.Latency.OneRow[0] = -time.Millisecond }, "challenger: a latency of -1ms: the time source runs backwards"},
		{func(in *Input) { in.Challenger.Scores[1099] = -0.25 }, "challenger: row 1100: score -0.25 is not a probability"},
		{func(in *Input) { in.Champion.Scores[0] = float32(math.Inf(1)) }, "champion: row 1: score +Inf is not a probability"},
		{func(in *Input) { in.Champion.Kind = "" }, `champion: scores of kind "" cannot be held against labels: give probabilities or labels`},
	}
	for _, tt := range tests {
		in := input(side("a", 90, 10, 10, 990), side("b", 97, 5, 3, 995), 100, 1000)
		tt.change(&in)
		if _, err := Run(in); err == nil || err.Error() != "could not judge: "+tt.want {
			t.Errorf("error %v\nwant  could not judge: %s", err, tt.want)
		}
	}
}

// TestAllowedEdges holds settings at the end of their range, which a check written with the wrong sign would refuse.
func TestAllowedEdges(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*Input)
		want   Decision
	}{
		{"threshold 1, all scores below", func(in *Input) { in.Threshold = 1 }, Reject},
		{"the smallest threshold flags all", func(in *Input) { in.Threshold = math.SmallestNonzeroFloat64 }, Reject},
		{"recall 1", func(in *Input) { in.Criteria.Recall = 1 }, Reject},
		{"recall 0, fpr 1", func(in *Input) { in.Criteria.Recall, in.Criteria.FPR = 0, 1 }, Promote},
		{"fpr 0", func(in *Input) { in.Criteria.FPR = 0 }, Reject},
		{"one nanosecond", func(in *Input) { in.Criteria.LatencyP95 = 1 }, Reject},
		{"the longest duration", func(in *Input) { in.Criteria.LatencyP95 = math.MaxInt64 }, Promote},
		{"a tiny ratio", func(in *Input) { in.Criteria.F1Ratio = math.SmallestNonzeroFloat64 }, Promote},
		{"a huge ratio", func(in *Input) { in.Criteria.F1Ratio = math.MaxFloat64 }, Reject},
		{"just enough timings", func(in *Input) { in.Challenger.Latency.OneRow = in.Challenger.Latency.OneRow[:MinLatencies] }, Promote},
		{"no time at all", func(in *Input) { in.Challenger.Latency.OneRow = make([]time.Duration, MinLatencies) }, Promote},
		{"the champion was not timed", func(in *Input) { in.Champion.Latency = Latency{} }, Promote},
		{"the champion is slow", func(in *Input) { in.Champion.Latency.OneRow = []time.Duration{time.Hour} }, Promote},
		{"scores at both ends", func(in *Input) { in.Challenger.Scores[0], in.Challenger.Scores[1099] = 1, 0 }, Promote},
		{"the mode is said", func(in *Input) { in.Mode = Point }, Promote},
	}
	for _, tt := range tests {
		in := input(side("a", 90, 10, 10, 990), side("b", 97, 5, 3, 995), 100, 1000)
		tt.change(&in)
		r, err := Run(in)
		if err != nil || r.Decision != tt.want || r.Mode != Point {
			t.Errorf("%s: %s by mode %s, %v, want %s: %q", tt.name, r.Decision, r.Mode, err, tt.want, r.Reasons)
		}
	}
}

// TestF1Limits walks a challenger over the champion's F1 times the ratio, one row at a time, and holds that it is promoted from the limit on.
func TestF1Limits(t *testing.T) {
	t.Parallel()
	tests := []struct {
		ratio float64
		least int // the fewest of 1000 positives, no false alarms, that meet the champion's F1 (500 of 1000 found: 2/3) times ratio
	}{
		{1, 500},      // 2n/(n+1000) >= 2/3
		{1.01, 508},   // >= 0.67333: n = 507.54
		{1.05, 539},   // >= 0.7: n = 538.46
		{1.2, 667},    // >= 0.8: n = 666.67
		{1.5, 1000},   // >= 1
		{0.9, 429},    // >= 0.6: n = 428.57
		{1.5001, 1e9}, // above 1: nothing does
	}
	for _, tt := range tests {
		for n := 1; n <= 1000; n++ {
			if n > 1 && n < 1000 && (n < tt.least-2 || n > tt.least+2) {
				continue
			}
			in := input(side("a", 500, 0, 500, 1000), side("b", n, 0, 1000-n, 1000), 1000, 1000)
			in.Criteria.Recall, in.Criteria.F1Ratio = 0, tt.ratio
			if r := mustRun(t, in); (r.Decision == Promote) != (n >= tt.least) {
				t.Errorf("%d found against the ratio %v: %s: %q", n, tt.ratio, r.Decision, r.Reasons)
			}
		}
	}
}

// TestOneRowOfEach is the smallest data that can be judged, with a perfect, an inverted and a constant model.
func TestOneRowOfEach(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		scores   []float32
		auc      float64
		decision Decision
	}{
		"perfect":           {[]float32{0.9, 0.1}, 1, Promote},
		"inverted":          {[]float32{0.1, 0.9}, 0, Reject},
		"says yes to all":   {[]float32{0.5, 0.5}, 0.5, Reject},
		"says no to all":    {[]float32{0, 0}, 0.5, Reject},
		"apart by one step": {[]float32{0.5, math.Nextafter32(0.5, 0)}, 1, Promote},
	} {
		s := &Side{Ref: "c", Kind: Probability, Scores: tt.scores, Latency: Latency{Off: "not timed"}}
		r := mustRun(t, Input{Threshold: 0.5, Criteria: DefaultCriteria(), Labels: []bool{true, false}, FirstChampion: "r", Challenger: s})
		if r.Decision != tt.decision || *r.Challenger.AUC != tt.auc {
			t.Errorf("%s: %s, AUC %v, want %s and %v: %q", name, r.Decision, *r.Challenger.AUC, tt.decision, tt.auc, r.Reasons)
		}
		if (r.Challenger.Precision == nil) != (name == "says no to all") {
			t.Errorf("%s: precision %v", name, r.Challenger.Precision)
		}
	}
}

// TestAUCOfMany holds the ranks of more rows than 32 bits can pair.
func TestAUCOfMany(t *testing.T) {
	t.Parallel()
	const n = 100_000
	truth, scores := make([]bool, 2*n), make([]float32, 2*n)
	for i := range truth {
		truth[i] = i%2 == 0
		scores[i] = float32(i%4) / 4 // positives 0 and 1/2, negatives 1/4 and 3/4
	}
	if got := aucROC(truth, scores); got != 0.25 {
		t.Errorf("AUC %v, want 0.25", got)
	}
}

// TestDecimal holds that a limit is the number that was written, and that what is no number is nothing, not a panic.
func TestDecimal(t *testing.T) {
	t.Parallel()
	for x, want := range map[float64]string{
		0.1: "1/10", 1.01: "101/100", 0.95: "19/20", 1: "1/1", 0: "0/1", 1e-9: "1/1000000000", 2.5e3: "2500/1", math.Inf(1): "0/1", math.Inf(-1): "0/1",
		1.0 / 3: "3333333333333333/10000000000000000",
	} {
		if got := decimal(x).String(); got != want {
			t.Errorf("decimal(%v) = %s, want %s", x, got, want)
		}
	}
	if got := decimal(math.NaN()).String(); got != "0/1" {
		t.Errorf("decimal(NaN) = %s", got)
	}
}

func TestCells(t *testing.T) {
	t.Parallel()
	seen := make([]int, 8)
	for i := range seen {
		seen[cell(i&4 != 0, i&2 != 0, i&1 != 0)] = i
	}
	if diff := cmp.Diff([]int{0, 1, 2, 3, 4, 5, 6, 7}, seen); diff != "" {
		t.Errorf("cells (-want +got):\n%s", diff)
	}
}

// TestTextOfOffAndNotes holds the lines of a report that the golden files do not have.
func TestTextOfOffAndNotes(t *testing.T) {
	t.Parallel()
	in := input(side("a", 90, 10, 10, 990), side("b", 0, 0, 100, 1000), 100, 1000)
	in.Champion.Latency, in.Challenger.Latency = Latency{Off: "scores of May"}, Latency{Off: "column p"}
	in.Champion.Notes = []string{"one note", "another"}
	in.Champion.Version = "7"
	text := mustRun(t, in).Text()
	for _, want := range []string{
		"\nlatency_p95_ms  -         -           off\n",
		"\nlatency_p95_ms                     -                   -\n",
		"\nprecision                     0.9000                   -\n",
		"\nchampion: a, version 7; one note; another; latency off: scores of May\n",
		"\nchallenger: b; latency off: column p\n",
		"\nchanged answers: 100 rows; 0 more positives found, 90 lost; 0 new false alarms, 10 gone\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	for line := range strings.Lines(text) {
		if trimmed := strings.TrimRight(line, " \n"); trimmed+"\n" != line {
			t.Errorf("the line %q ends with spaces", line)
		}
	}
}
