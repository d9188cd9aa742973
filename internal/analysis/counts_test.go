package analysis

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestIncrements_ReferenceG15 are the reference values of counter increments: one canary series, "-" is a missing sample.
func TestIncrements_ReferenceG15(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ samples, want string }{
		{"0 10 25 25", "0 10 15 0"},
		{"100 110 125", "0 10 15"},
		{"100 110 5 30", "0 10 5 25"},
		{"100 - 130", "0 gap 30"},
		{"100 NaN - 90 95", "0 gap gap 90 5"},
		{"50", "0"},
		{"100 +Inf 105", "0 gap 5"},
		{"10 0 0 7", "0 0 0 7"},
		{"- 40 50", "gap 0 10"},
		{"123456789 123456792", "0 3"},
	} {
		t.Run(tc.samples, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.cfg.Latency.Enabled = false
			var got []string
			total := int64(0)
			for _, field := range strings.Fields(tc.samples) {
				sc := w.scrape()
				if field == "-" {
					sc.Samples = sc.Samples[1:]
				} else {
					sc.Samples[0].Requests = map[string]Number{"200": mustNumber(t, field)}
				}
				j := w.judge(sc)
				if j.Code == CodeNoData {
					got = append(got, "gap")
				} else {
					got = append(got, strconv.FormatInt(j.CanaryRequests-total, 10))
				}
				total = j.CanaryRequests
			}
			if s := strings.Join(got, " "); s != tc.want {
				t.Errorf("increments %s, want %s", s, tc.want)
			}
		})
	}
}

func mustNumber(t *testing.T, s string) Number {
	t.Helper()
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return Number(f)
}

func TestIncrements_ByProcess(t *testing.T) {
	t.Parallel()
	n := func(kv ...any) map[string]Number {
		m := map[string]Number{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i].(string)] = Number(kv[i+1].(int))
		}
		return m
	}
	line := func(instance string, requests map[string]Number) Sample {
		return Sample{Role: RoleCanary, Instance: instance, WeightPct: 5, Requests: requests}
	}
	restarted := func(s Sample) Sample { s.Restarted = true; return s }
	revision := func(s Sample, r string) Sample { s.Revision = r; return s }
	for name, tc := range map[string]struct {
		scrapes        [][]Sample
		events, number int64
	}{
		"a status seen first counts from zero": {[][]Sample{{line("a", n("200", 10))}, {line("a", n("200", 12, "503", 4))}}, 4, 6},
		"a process seen first is a base":       {[][]Sample{{line("a", n("200", 10))}, {line("a", n("200", 11)), line("b", n("503", 100))}}, 0, 1},
		"one drop restarts the whole process":  {[][]Sample{{line("a", n("200", 10, "503", 5))}, {line("a", n("200", 12, "503", 1))}}, 1, 13},
		"a status that is gone is a drop":      {[][]Sample{{line("a", n("200", 10, "503", 5))}, {line("a", n("200", 12))}}, 0, 12},
		"another process's drop is its own":    {[][]Sample{{line("a", n("200", 10)), line("b", n("200", 9))}, {line("a", n("200", 3)), line("b", n("200", 10))}}, 0, 4},
		"an absent process keeps its base":     {[][]Sample{{line("a", n("200", 10)), line("b", n("200", 9))}, {line("a", n("200", 11))}, {line("a", n("200", 12)), line("b", n("200", 20))}}, 0, 13},
		"a hidden restart that the source saw": {[][]Sample{{line("a", n("200", 10))}, {restarted(line("a", n("200", 40)))}}, 0, 40},
		"of two lines the first counts":        {[][]Sample{{line("a", n("200", 10))}, {line("a", n("200", 11)), line("a", n("200", 99))}}, 0, 1},
		"another revision is another life":     {[][]Sample{{revision(line("a", n("200", 10)), "41")}, {revision(line("a", n("200", 50)), "42")}}, 0, 0},
		"fractions are rounded after the sum":  {[][]Sample{{line("a", n()), line("b", n())}, {line("a", map[string]Number{"200": 0.25}), line("b", map[string]Number{"200": 0.25})}}, 0, 1},
		"only 5xx of three digits fail":        {[][]Sample{{line("a", n())}, {line("a", n("500", 1, "599", 1, "5", 1, "5000", 1, "499", 1))}}, 2, 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.cfg.Latency.Enabled = false
			var j Judgement
			for _, canary := range tc.scrapes {
				sc := w.scrape()
				sc.Samples = sc.Samples[1:]
				for _, s := range canary {
					s.At = w.at
					sc.Samples = append(sc.Samples, s)
				}
				j = w.judge(sc)
			}
			if e := evidence(t, j, CheckErrors); e.StageEvents != tc.events || j.CanaryRequests != tc.number {
				t.Errorf("%d failed of %d, want %d of %d", e.StageEvents, j.CanaryRequests, tc.events, tc.number)
			}
		})
	}
}

func TestIncrements_RestartSeenInAnIgnoredScrapeIsNotForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tick(traffic{n: 100}, healthy)
	w.canary.restart()
	w.serve(traffic{n: 90}, healthy)
	sc := w.scrape()
	sc.Samples[0].Restarted = true
	sc.Samples = sc.Samples[:1] // no champion: nothing is counted
	expect(t, w.judge(sc), want{DecisionHold, VerdictNoData, CodeNoData})
	j := w.tick(traffic{n: 30}, healthy) // 120, more than the 100 before the restart
	if e := evidence(t, j, CheckLatency); j.CanaryRequests != 120 || e.StageRequests != 120 {
		t.Errorf("%d requests, %d in the histogram, want 120", j.CanaryRequests, e.StageRequests)
	}
}

func TestIncrements_HistogramRestartsWithItsProcess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tick(traffic{n: 100, slow: 50}, healthy)
	w.canary.restart()
	j := w.tick(traffic{n: 60, slow: 1}, healthy)
	if e := evidence(t, j, CheckLatency); e.Events != 1 || e.Requests != 60 {
		t.Errorf("slow %d of %d, want 1 of 60", e.Events, e.Requests)
	}
}

// TestQuantile_ReferenceG14 are the reference values of histogram_quantile(0.95) on the default buckets; 0 stands for NaN.
func TestQuantile_ReferenceG14(t *testing.T) {
	t.Parallel()
	bounds := []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	for _, tc := range []struct {
		counts []int64
		ms     float64
	}{
		{[]int64{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0},
		{[]int64{0, 0, 0, 0, 95, 100, 100, 100, 100, 100, 100, 100}, 100},
		{[]int64{0, 0, 0, 0, 96, 100, 100, 100, 100, 100, 100, 100}, 99.47916667},
		{[]int64{0, 0, 0, 0, 94, 100, 100, 100, 100, 100, 100, 100}, 125},
		{[]int64{100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100}, 4.75},
		{[]int64{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10}, 10000},
		{[]int64{10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100, 100}, 5000},
		{[]int64{0, 1, 34, 83, 99, 100, 100, 100, 100, 100, 100, 100}, 87.5},
	} {
		if got := quantile(0.95, bounds, tc.counts) * 1000; math.Abs(got-tc.ms) > 1e-6 {
			t.Errorf("quantile of %v = %v ms, want %v", tc.counts, got, tc.ms)
		}
	}
	if got := quantile(0.95, []float64{1, 2, 4}, []int64{0, absentCount, 95, 100}); got != 4 {
		t.Errorf("over a missing bound: %v, want 4", got)
	}
	if got := quantile(0.95, bounds, nil); got != 0 {
		t.Errorf("without counts: %v", got)
	}
}

func TestFindBounds(t *testing.T) {
	t.Parallel()
	hist := func(bounds ...float64) line {
		h := map[float64]float64{math.Inf(1): 0}
		for _, b := range bounds {
			h[b] = 0
		}
		return line{histogram: h}
	}
	for name, tc := range map[string]struct {
		lines       []line
		le          []float64
		plus, minus float64
		ok          bool
	}{
		"on a bound":               {[]line{hist(.05, .1, .25)}, []float64{.05, .1, .25}, .1, .1, true},
		"between two":              {[]line{hist(.05, .09, .11)}, []float64{.05, .09, .11}, .11, .09, true},
		"common ones":              {[]line{hist(.05, .1, .25), {}, hist(.05, .25)}, []float64{.05, .25}, .25, .05, true},
		"a binary fraction aside":  {[]line{hist(.05, .1+1e-16, .25)}, []float64{.05, .1 + 1e-16, .25}, .1, .1, true},
		"none above":               {[]line{hist(.05, .09)}, []float64{.05, .09}, 0, 0, false},
		"none below":               {[]line{hist(.25, .5)}, []float64{.25, .5}, 0, 0, false},
		"only +Inf":                {[]line{hist()}, nil, 0, 0, false},
		"negative bounds are none": {[]line{hist(-1, .25)}, []float64{.25}, 0, 0, false},
	} {
		b, ok := findBounds(0.1, tc.lines)
		if diff := cmp.Diff(tc.le, b.LE); ok != tc.ok || diff != "" {
			t.Errorf("%s: ok %v, bounds (-want +got)\n%s", name, ok, diff)
			continue
		}
		if ok && (math.Abs(b.LE[b.Plus]-tc.plus) > 1e-12 || math.Abs(b.LE[b.Minus]-tc.minus) > 1e-12) {
			t.Errorf("%s: above %v, below %v, want %v and %v", name, b.LE[b.Plus], b.LE[b.Minus], tc.plus, tc.minus)
		}
	}
}

func TestPercent(t *testing.T) {
	t.Parallel()
	for share, want := range map[float64]string{0: "0 %", 0.05: "5 %", 0.0666: "6.7 %", 0.005: "0.5 %", 0.00042: "0.042 %", 1: "100 %", 0.00001: "0.001 %"} {
		if got := percent(share); got != want {
			t.Errorf("percent(%v) = %q, want %q", share, got, want)
		}
	}
	for _, tc := range []struct {
		events, requests int64
		want             string
	}{
		{12, 180, "6.7 % (12 of 180 requests) > 5 %"},
		{5, 100, "5 % (5 of 100 requests) = 5 %"},
		{499, 10000, "4.99 % (499 of 10000 requests) < 5 %"},
		{0, 0, "unknown (0 requests), limit 5 %"},
	} {
		if got := compared(tc.events, tc.requests, 0.05); got != tc.want {
			t.Errorf("compared(%d, %d) = %q, want %q", tc.events, tc.requests, got, tc.want)
		}
	}
	if got := seconds(0.0475); got != (47*time.Millisecond + 500*time.Microsecond).String() {
		t.Errorf("seconds = %q", got)
	}
}
