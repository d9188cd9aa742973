package analysis

import (
	"encoding/json"
	"time"
)

// Stage is what is being judged: a weight of the canary and the time that it has to hold.
type Stage struct {
	// Name is the public task id, such as "monitor_5_percent". A stage of another name or weight starts its counts and clocks anew.
	Name string
	// WeightPct is the canary's share in percent, 0 < WeightPct <= 100. Scrapes under another weight are not this stage's.
	WeightPct float64
	// Bake is the time that samples must cover before the stage can be promoted.
	Bake time.Duration
	// ChampionRevision and CanaryRevision pin the registry versions: lines that name another one are somebody else's leftovers
	// and are not counted. Empty pins nothing.
	ChampionRevision string
	CanaryRevision   string
}

// Scrape is one tick: every line that the sources gave at one instant of the grid.
type Scrape struct {
	At      time.Time `json:"at"`
	Samples []Sample  `json:"samples"`
	// Err says in words which source failed (provider_error). Samples of the others may be there: they can still roll back, never promote.
	Err string `json:"err,omitempty"`
}

// State is what Judge remembers between scrapes: opaque JSON with a version inside, stored with the rollout. Nil is a fresh start.
type State []byte

// MarshalJSON writes the state as it is, not as base64.
func (s State) MarshalJSON() ([]byte, error) {
	if len(s) == 0 {
		return []byte("null"), nil
	}
	return s, nil
}

// UnmarshalJSON keeps a copy of b; null is a fresh state.
func (s *State) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*s = nil
		return nil
	}
	*s = append(State(nil), b...)
	return nil
}

// Decision is what the rollout should do after a scrape.
type Decision string

// The decisions. Continue and Hold both go on sampling and judging; Hold wants a person to know why nothing moves.
const (
	DecisionContinue Decision = "continue"
	DecisionPromote  Decision = "promote"
	DecisionRollback Decision = "rollback"
	DecisionHold     Decision = "hold"
)

// Verdict is what the evidence says: three verdicts, and three reasons that nothing can be said about the canary. Only pass promotes.
type Verdict string

// The verdicts and reasons.
const (
	VerdictPass                Verdict = "pass"
	VerdictFail                Verdict = "fail"
	VerdictInconclusive        Verdict = "inconclusive"
	VerdictNoData              Verdict = "no_data"
	VerdictProviderError       Verdict = "provider_error"
	VerdictEnvironmentDegraded Verdict = "environment_degraded"
)

// Code says in one stable word why a verdict was given.
type Code string

// The codes, with the decision that each leads to.
const (
	CodeHealthy             Code = "healthy"              // promote: bake over, every check below its limit
	CodeBaking              Code = "baking"               // continue: below the limits so far
	CodeStarting            Code = "starting"             // continue: the first scrape sets the base
	CodeOverLimit           Code = "over_limit"           // continue: over the limit, not yet in enough successive ticks
	CodeDataLost            Code = "data_lost"            // continue: data are back after a gap that does not count
	CodeLimitBroken         Code = "limit_broken"         // rollback
	CodeEnvironmentDegraded Code = "environment_degraded" // hold: the champion breaks the same limit
	CodeTooFewRequests      Code = "too_few_requests"     // hold after the bake, continue before
	CodeStageOverLimit      Code = "stage_over_limit"     // hold after the bake: healthy now, not over the whole stage
	CodeBetweenBounds       Code = "between_bounds"       // hold after the bake: the histogram has no bound at the limit
	CodeNoTraffic           Code = "no_traffic"           // hold: no canary request during a whole window
	CodeNoData              Code = "no_data"              // hold: counters are missing or not finite
	CodeSLONotJudgeable     Code = "slo_not_judgeable"    // hold: no histogram bound on one side of the limit
	CodeProviderError       Code = "provider_error"       // hold: a source failed
	CodeWeightMismatch      Code = "weight_mismatch"      // hold: the canary had another share than the stage's
)

// The names of the checks.
const (
	CheckErrors  = "error_rate"
	CheckLatency = "latency_p95"
)

// Judgement is the outcome of one scrape, with the evidence that it rests on. Its JSON form is stored and shown; durations are Go's ("12m30s").
type Judgement struct {
	At       time.Time
	Decision Decision
	Verdict  Verdict
	// Reason is one line for people.
	Reason string
	Code   Code
	// Covered is the time of the stage that samples of every enabled check cover; Lost the time that they will never cover.
	Covered  time.Duration
	Lost     time.Duration
	BakeDone bool
	Checks   []Evidence
	// CanaryRequests and ChampionRequests count since the stage began.
	CanaryRequests   int64
	ChampionRequests int64
}

type judgementJSON struct {
	At               time.Time  `json:"at"`
	Decision         Decision   `json:"decision"`
	Verdict          Verdict    `json:"verdict"`
	Reason           string     `json:"reason"`
	Code             Code       `json:"code"`
	Covered          duration   `json:"covered"`
	Lost             duration   `json:"lost"`
	BakeDone         bool       `json:"bake_done"`
	Checks           []Evidence `json:"checks"`
	CanaryRequests   int64      `json:"canary_requests"`
	ChampionRequests int64      `json:"champion_requests"`
}

// MarshalJSON writes the documented keys.
func (j Judgement) MarshalJSON() ([]byte, error) {
	return json.Marshal(judgementJSON{
		At: j.At, Decision: j.Decision, Verdict: j.Verdict, Reason: j.Reason, Code: j.Code, Covered: duration(j.Covered), Lost: duration(j.Lost),
		BakeDone: j.BakeDone, Checks: j.Checks, CanaryRequests: j.CanaryRequests, ChampionRequests: j.ChampionRequests,
	})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (j *Judgement) UnmarshalJSON(b []byte) error {
	var f judgementJSON
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	*j = Judgement{
		At: f.At, Decision: f.Decision, Verdict: f.Verdict, Reason: f.Reason, Code: f.Code, Covered: time.Duration(f.Covered), Lost: time.Duration(f.Lost),
		BakeDone: f.BakeDone, Checks: f.Checks, CanaryRequests: f.CanaryRequests, ChampionRequests: f.ChampionRequests,
	}
	return nil
}

// Evidence is what one check saw: counts, limit, verdict and the action that it alone would take. Shares lie between 0 and 1;
// a share of no requests is written as 0, so look at the requests first.
type Evidence struct {
	Check   string   `json:"check"`
	Verdict Verdict  `json:"verdict"`
	Code    Code     `json:"code"`
	Action  Decision `json:"action"`
	// Value is the canary's share in the window: of 5xx answers, or of requests slower than Bound. It is healthy strictly below Limit.
	Value    float64 `json:"value"`
	Limit    float64 `json:"limit"`
	Events   int64   `json:"events"`
	Requests int64   `json:"requests"`
	// WindowFrom and WindowTo bound the pooled ticks, WindowTicks is how many intervals they hold.
	WindowFrom  time.Time `json:"window_from"`
	WindowTo    time.Time `json:"window_to"`
	WindowTicks int       `json:"window_ticks"`
	// Over counts the successive ticks over the limit; Consecutive of them fail.
	Over        int `json:"over"`
	Consecutive int `json:"consecutive"`
	// The same share over the whole stage.
	StageValue    float64 `json:"stage_value"`
	StageEvents   int64   `json:"stage_events"`
	StageRequests int64   `json:"stage_requests"`
	// The champion over the same window.
	ChampionValue    float64 `json:"champion_value"`
	ChampionEvents   int64   `json:"champion_events"`
	ChampionRequests int64   `json:"champion_requests"`
	// Bound and ProofBound (seconds) are the histogram bounds at or above and at or below the latency SLO: slower than Bound is slower than the
	// SLO and rolls back, slower than ProofBound must stay below the limit to promote. Equal where the SLO is a bound. Latency only.
	Bound      float64 `json:"bound,omitempty"`
	ProofBound float64 `json:"proof_bound,omitempty"`
	// P95 and ChampionP95 (seconds) interpolate the quantile in the window as histogram_quantile does: for display only. Latency only; 0 = unknown.
	P95         float64 `json:"p95,omitempty"`
	ChampionP95 float64 `json:"champion_p95,omitempty"`
	// Text is the evidence in words: "error rate 6.7 % (12 of 180 requests) > 5 %".
	Text string `json:"text"`
}
