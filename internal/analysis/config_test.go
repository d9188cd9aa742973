package analysis

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestConfig_JSONIsThePlansSpelling(t *testing.T) {
	t.Parallel()
	got, err := json.Marshal(DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"mode":"threshold","tick":"15s","window":8,"minRequests":50,"consecutive":2,"errors":{"enabled":true,"slo":0.05},` +
		`"latency":{"enabled":true,"slo":"100ms","quantile":0.95}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if diff := cmp.Diff(DefaultConfig(), throughJSON(t, DefaultConfig())); diff != "" {
		t.Errorf("round trip (-want +got)\n%s", diff)
	}
}

func TestConfig_PartialJSONGoesOverWhatIsThere(t *testing.T) {
	t.Parallel()
	c := DefaultConfig()
	if err := json.Unmarshal([]byte(`{"tick":"1s","latency":{"slo":"250ms"}}`), &c); err != nil {
		t.Fatal(err)
	}
	want := DefaultConfig()
	want.Tick, want.Latency.SLO = time.Second, 250*time.Millisecond
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if err := json.Unmarshal([]byte(`{"tick":15}`), &c); err == nil {
		t.Error("a tick without a unit was taken")
	}
}

func TestConfig_Validate(t *testing.T) {
	t.Parallel()
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("the default is refused: %v", err)
	}
	for words, change := range map[string]func(*Config){
		"sequential\" is not in this version": func(c *Config) { c.Mode = "sequential" },
		"mode \"\" is unknown":                func(c *Config) { c.Mode = "" },
		"analysis.tick":                       func(c *Config) { c.Tick = 0 },
		"analysis.window":                     func(c *Config) { c.Window = 0 },
		"analysis.minRequests":                func(c *Config) { c.MinRequests = 0 },
		"analysis.consecutive":                func(c *Config) { c.Consecutive = -1 },
		"both off":                            func(c *Config) { c.Errors.Enabled, c.Latency.Enabled = false, false },
		"analysis.errors.slo 0":               func(c *Config) { c.Errors.SLO = 0 },
		"analysis.errors.slo NaN":             func(c *Config) { c.Errors.SLO = math.NaN() },
		"analysis.latency.slo":                func(c *Config) { c.Latency.SLO = 0 },
		"analysis.latency.quantile 1":         func(c *Config) { c.Latency.Quantile = 1 },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("error %v, want one with %q", err, words)
		}
	}
}

func TestConfig_LimitOfTheQuantileIsExact(t *testing.T) {
	t.Parallel()
	for q, want := range map[float64]float64{0.95: 0.05, 0.99: 0.01, 0.9: 0.1, 0.5: 0.5, 0.999: 0.001} {
		if got := (LatencyConfig{Quantile: q}).Limit(); got != want {
			t.Errorf("limit of quantile %v is %v, want %v", q, got, want)
		}
	}
}

func TestJudgement_JSONKeysAreStable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tick(traffic{}, traffic{})
	_, j, err := Judge(w.cfg, w.stage, w.state, func() Scrape { w.serve(traffic{n: 60, errors: 1}, healthy); return w.scrape() }())
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`{"at":"2025-01-20T10:00:15Z","decision":"continue","verdict":"pass","reason":"baking 15s of 2m0s: error rate 1.7 % (1 of 60 requests) \u003c 5 %;`,
		`"code":"baking","covered":"15s","lost":"0s","bake_done":false,"checks":[{"check":"error_rate","verdict":"pass","code":"baking","action":"continue",`,
		`"limit":0.05,"events":1,"requests":60,"window_from":"2025-01-20T09:58:15Z","window_to":"2025-01-20T10:00:15Z","window_ticks":1,"over":0,"consecutive":2,`,
		`"stage_events":1,"stage_requests":60,"champion_value":0,"champion_events":0,"champion_requests":190,"text":`,
		`"bound":0.1,"proof_bound":0.1,"p95":0.0475,"champion_p95":0.0475,"text":`, `"canary_requests":60,"champion_requests":190}`,
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s\nlacks %s", b, want)
		}
	}
	if diff := cmp.Diff(j, throughJSON(t, j)); diff != "" {
		t.Errorf("round trip (-want +got)\n%s", diff)
	}
}

func TestState_JSONIsNotBase64(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(struct{ A, B State }{State(`{"v":1}`), nil})
	if err != nil || string(b) != `{"A":{"v":1},"B":null}` {
		t.Errorf("%s, %v", b, err)
	}
	back := struct{ A, B State }{B: State("x")}
	if err := json.Unmarshal(b, &back); err != nil || string(back.A) != `{"v":1}` || back.B != nil {
		t.Errorf("%s %s, %v", back.A, back.B, err)
	}
}
