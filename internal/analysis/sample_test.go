package analysis

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSample_StoredForm(t *testing.T) {
	t.Parallel()
	s := Sample{
		At: t0, Role: RoleCanary, Instance: "gw-1", Revision: "42", WeightPct: 5,
		Requests: map[string]Number{"200": 123456789, "503": Number(math.NaN())},
		Latency:  &Histogram{LE: map[string]Number{"0.1": 0.5, "+Inf": Number(math.Inf(1))}, Sum: 1},
		Cells:    json.RawMessage(`{"in":1,"out":2}`),
	}
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"at":"2025-01-20T10:00:00Z","role":"canary","instance":"gw-1","revision":"42","weight_pct":5,"requests":{"200":123456789,"503":"NaN"},` +
		`"latency_seconds":{"le":{"+Inf":"+Inf","0.1":0.5},"sum":1},"cells":{"in":1,"out":2}}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	if diff := cmp.Diff(s, throughJSON(t, s), sameNumber); diff != "" {
		t.Errorf("round trip (-want +got)\n%s", diff)
	}
	s.Restarted = true
	if !throughJSON(t, s).Restarted {
		t.Error("a restart was lost in the stored form")
	}
}

func TestNumber_ReadsWhatRecordingsSay(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]float64{
		`1`: 1, `0.25`: 0.25, `-3`: -3, `1e9`: 1e9, `"+Inf"`: math.Inf(1), `"-Inf"`: math.Inf(-1), `"NaN"`: math.NaN(), `"many"`: math.NaN(), `null`: math.NaN(),
	} {
		var n Number
		if err := n.UnmarshalJSON([]byte(text)); err != nil || float64(n) != want && !(math.IsNaN(want) && math.IsNaN(float64(n))) {
			t.Errorf("%s: %v, %v, want %v", text, float64(n), err, want)
		}
	}
	var n Number
	for _, text := range []string{`{}`, `[1]`, `true`, `1e999`} {
		if err := json.Unmarshal([]byte(text), &n); err == nil {
			t.Errorf("%s was read as %v", text, float64(n))
		}
	}
}

func TestReadHistogram(t *testing.T) {
	t.Parallel()
	inf := math.Inf(1)
	for name, tc := range map[string]struct {
		le   map[string]Number
		want map[float64]float64
	}{
		"usable":              {map[string]Number{"0.10": 5, "1e-2": 2, "+Inf": 9}, map[float64]float64{0.1: 5, 0.01: 2, inf: 9}},
		"no +Inf":             {map[string]Number{"0.1": 5}, nil},
		"falling":             {map[string]Number{"0.1": 5, "0.2": 4, "+Inf": 9}, nil},
		"falls at +Inf":       {map[string]Number{"0.1": 5, "+Inf": 4}, nil},
		"negative":            {map[string]Number{"0.1": -1, "+Inf": 4}, nil},
		"NaN":                 {map[string]Number{"0.1": Number(math.NaN()), "+Inf": 4}, nil},
		"a bound is no bound": {map[string]Number{"fast": 1, "+Inf": 4}, nil},
		"empty":               {map[string]Number{}, nil},
		"only +Inf":           {map[string]Number{"+Inf": 4}, map[float64]float64{inf: 4}},
	} {
		if diff := cmp.Diff(tc.want, readHistogram(&Histogram{LE: tc.le})); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
	if readHistogram(nil) != nil {
		t.Error("no histogram was read as one")
	}
}

func TestSums_RoundAndClamp(t *testing.T) {
	t.Parallel()
	b := bounds{LE: []float64{0.1, 0.25}, Plus: 1, Minus: 0}
	for name, tc := range map[string]struct {
		sum  sums
		want counts
	}{
		"half away from zero":        {sums{n: 2.5, x: 0.5}, counts{N: 3, X: 1}},
		"errors are at most all":     {sums{n: 2, x: 5}, counts{N: 2, X: 2}},
		"never negative":             {sums{n: -2, x: -1}, counts{}},
		"slower than each bound":     {sums{n: 10, le: []float64{4, 7, 10}}, counts{N: 10, L: 10, Plus: 3, Minus: 6, LE: []int64{4, 7, 10}}},
		"a bound above the total":    {sums{le: []float64{4, 12, 10}}, counts{L: 10, Plus: 0, Minus: 6, LE: []int64{4, 12, 10}}},
		"a bound that one lacks":     {sums{le: []float64{4, 7, 10}}, counts{L: 10, Plus: 3, Minus: 6, LE: []int64{4, 7, 10}}},
		"more than numbers can hold": {sums{n: math.Inf(1)}, counts{N: 1 << 53}},
	} {
		if diff := cmp.Diff(tc.want, tc.sum.counts(b)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}

func TestSums_DisplayBoundsThatOneProcessLacksAreLeftOut(t *testing.T) {
	t.Parallel()
	var s sums
	s.histogram([]float64{0, 0, 0}, []float64{4, 7, 10})
	s.histogram([]float64{absentCount, 0, 0}, []float64{absentCount, 5, 5})
	if diff := cmp.Diff([]float64{absentCount, 12, 15}, s.le); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	c := counts{LE: []int64{1, 2}}
	c.add(counts{LE: []int64{absentCount, 2}})
	c.add(counts{LE: []int64{5, 2}})
	if diff := cmp.Diff([]int64{absentCount, 6}, c.LE); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
