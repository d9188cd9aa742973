package analysis

import (
	"fmt"
	"math"
	"time"
)

// phase says where a stage stands: what is not proved may wait while it bakes.
type phase int

const (
	baking phase = iota
	baked
)

// share is a number of events among requests.
type share struct{ events, requests int64 }

// value is 0 where there are no requests.
func (s share) value() float64 {
	if s.requests == 0 {
		return 0
	}
	return float64(s.events) / float64(s.requests)
}

// breaks says whether the share is not healthy; equal is not. No requests break nothing, and prove nothing either.
func (s share) breaks(limit float64) bool { return s.requests > 0 && s.value() >= limit }

// question is one check with all the counts that its answer needs. What rolls back (window, stage, champion) and what must be proved to promote
// (proof...) differ where the latency SLO lies between two histogram bounds.
type question struct {
	check                   string
	limit                   float64
	what                    string // "error rate" or "slower than 100ms:"
	proofWhat               string
	over                    int
	window, stage, champion share
	proofWindow, proofStage share
	from, to                time.Time
	ticks                   int
	quiet                   time.Duration // how long the canary had no request
	quietChampion           int64
	bound, proofBound       float64
	p95, championP95        float64
	// code and why are set when this scrape gave nothing to judge.
	code Code
	why  string
}

// questions are the enabled checks, errors first.
func (s *state) questions(cfg Config, at time.Time, out outcome) []question {
	w, ticks := s.window(cfg, at)
	common := question{from: windowStart(cfg, at), to: at, ticks: ticks, quietChampion: w.Champion.N, code: out.code, why: out.why}
	if !s.Quiet.IsZero() {
		common.quiet = at.Sub(s.Quiet)
	}
	var qs []question
	if cfg.Errors.Enabled {
		qs = append(qs, s.aboutErrors(cfg, w, common))
	}
	if cfg.Latency.Enabled {
		if common.code == "" {
			common.code, common.why = out.latencyCode, out.noLatency
		}
		qs = append(qs, s.aboutLatency(cfg, w, common))
	}
	return qs
}

func (s *state) aboutErrors(cfg Config, w pair, q question) question {
	q.check, q.limit, q.over = CheckErrors, cfg.Errors.SLO, s.OverErrors
	q.what, q.proofWhat = "error rate", "error rate"
	q.window = share{w.Canary.X, w.Canary.N}
	q.stage = share{s.Total.Canary.X, s.Total.Canary.N}
	q.champion = share{w.Champion.X, w.Champion.N}
	q.proofWindow, q.proofStage = q.window, q.stage
	return q
}

func (s *state) aboutLatency(cfg Config, w pair, q question) question {
	q.check, q.limit, q.over = CheckLatency, cfg.Latency.Limit(), s.OverLatency
	q.what = fmt.Sprintf("slower than %s:", cfg.Latency.SLO)
	q.proofWhat = q.what
	q.window = share{w.Canary.Plus, w.Canary.L}
	q.stage = share{s.Total.Canary.Plus, s.Total.Canary.L}
	q.champion = share{w.Champion.Plus, w.Champion.L}
	q.proofWindow = share{w.Canary.Minus, w.Canary.L}
	q.proofStage = share{s.Total.Canary.Minus, s.Total.Canary.L}
	if b := s.bounds(); len(b.LE) > 0 {
		q.bound, q.proofBound = b.LE[b.Plus], b.LE[b.Minus]
		q.p95 = quantile(cfg.Latency.Quantile, b.LE, w.Canary.LE)
		q.championP95 = quantile(cfg.Latency.Quantile, b.LE, w.Champion.LE)
		if b.Plus != b.Minus {
			q.what = fmt.Sprintf("slower than %s (the bound above %s):", seconds(q.bound), cfg.Latency.SLO)
			q.proofWhat = fmt.Sprintf("slower than %s (the bound below %s):", seconds(q.proofBound), cfg.Latency.SLO)
		}
	}
	return q
}

// answer judges one check.
func (q question) answer(cfg Config, now phase) Evidence {
	e := Evidence{
		Check: q.check, Limit: q.limit, Value: q.window.value(), Events: q.window.events, Requests: q.window.requests,
		WindowFrom: q.from, WindowTo: q.to, WindowTicks: q.ticks, Over: q.over, Consecutive: cfg.Consecutive,
		StageValue: q.stage.value(), StageEvents: q.stage.events, StageRequests: q.stage.requests,
		ChampionValue: q.champion.value(), ChampionEvents: q.champion.events, ChampionRequests: q.champion.requests,
		Bound: q.bound, ProofBound: q.proofBound, P95: q.p95, ChampionP95: q.championP95,
	}
	e.Text = q.what + " " + compared(q.window.events, q.window.requests, q.limit)
	if q.p95 > 0 {
		e.Text += ", p95 " + seconds(q.p95)
	}
	if q.code != "" {
		e.settle(q.code, now, q.why)
		return e
	}
	code, note := q.judge(cfg, now)
	e.settle(code, now, "")
	e.Text += note
	return e
}

// judge applies the rule to counts that are there. The order matters: harm first, then what is unknown, then what is not proved.
func (q question) judge(cfg Config, now phase) (code Code, note string) {
	few := int64(cfg.MinRequests)
	broken := q.window.requests >= few && q.window.breaks(q.limit)
	switch {
	case broken && q.over >= cfg.Consecutive && q.champion.requests >= few && q.champion.breaks(q.limit) && q.window.value() < guardFactor*q.champion.value():
		return CodeEnvironmentDegraded, fmt.Sprintf("; the champion breaks the limit too, %s, so the canary is not to blame", compared(q.champion.events, q.champion.requests, q.limit))
	case broken && q.over >= cfg.Consecutive:
		return CodeLimitBroken, fmt.Sprintf(" in %d successive ticks", q.over)
	case broken:
		return CodeOverLimit, fmt.Sprintf(" in %d of %d successive ticks", q.over, cfg.Consecutive)
	case q.quiet+cfg.Tick/2 >= time.Duration(cfg.Window)*cfg.Tick:
		return CodeNoTraffic, fmt.Sprintf("; no canary request for %s, %d on the champion in the window", q.quiet, q.quietChampion)
	case q.window.requests < few:
		return CodeTooFewRequests, fmt.Sprintf("; %d requests in %d ticks are needed", few, cfg.Window)
	case q.stage.breaks(q.limit):
		return CodeStageOverLimit, "; since the stage began " + compared(q.stage.events, q.stage.requests, q.limit)
	case q.proofWindow.breaks(q.limit):
		return CodeBetweenBounds, fmt.Sprintf("; %s %s proves nothing", q.proofWhat, compared(q.proofWindow.events, q.proofWindow.requests, q.limit))
	case q.proofStage.breaks(q.limit):
		return CodeBetweenBounds, fmt.Sprintf("; %s since the stage began %s proves nothing", q.proofWhat, compared(q.proofStage.events, q.proofStage.requests, q.limit))
	case now == baked:
		return CodeHealthy, ""
	}
	return CodeBaking, ""
}

// guardFactor is how many times worse than a champion that breaks the limit too a canary must be to be blamed all the same (the hard guard of
// statistics-notes.md 3.1).
const guardFactor = 2

// settle gives the evidence its code and what follows from it; a reason goes before the counts that stand.
func (e *Evidence) settle(code Code, now phase, why string) {
	e.Code, e.Verdict, e.Action = code, verdictOf(code), actionOf(code, now)
	if why != "" && e.Requests > 0 {
		e.Text = why + " (so far: " + e.Text + ")"
	} else if why != "" {
		e.Text = why
	}
}

func verdictOf(code Code) Verdict {
	switch code {
	case CodeHealthy, CodeBaking:
		return VerdictPass
	case CodeLimitBroken:
		return VerdictFail
	case CodeEnvironmentDegraded:
		return VerdictEnvironmentDegraded
	case CodeNoTraffic, CodeNoData, CodeSLONotJudgeable:
		return VerdictNoData
	case CodeProviderError:
		return VerdictProviderError
	case CodeStarting, CodeOverLimit, CodeDataLost, CodeTooFewRequests, CodeStageOverLimit, CodeBetweenBounds, CodeWeightMismatch:
	}
	return VerdictInconclusive
}

func actionOf(code Code, now phase) Decision {
	switch code {
	case CodeHealthy:
		return DecisionPromote
	case CodeLimitBroken:
		return DecisionRollback
	case CodeBaking, CodeStarting, CodeOverLimit, CodeDataLost:
		return DecisionContinue
	case CodeTooFewRequests, CodeStageOverLimit, CodeBetweenBounds:
		if now == baking {
			return DecisionContinue
		}
	case CodeEnvironmentDegraded, CodeNoTraffic, CodeNoData, CodeSLONotJudgeable, CodeProviderError, CodeWeightMismatch:
	}
	return DecisionHold
}

// quantile interpolates as histogram_quantile does, in seconds; 0 when nothing can be said. counts are cumulative by bound, +Inf last; bounds that
// some process lacked are passed over.
func quantile(q float64, bounds []float64, counts []int64) float64 {
	if len(counts) != len(bounds)+1 || counts[len(bounds)] <= 0 {
		return 0
	}
	rank := q * float64(counts[len(bounds)])
	lower, below := 0.0, 0.0
	for i, bound := range bounds {
		n := float64(counts[i])
		if counts[i] == absentCount {
			continue
		}
		if n >= rank && n > below {
			return lower + (bound-lower)*(rank-below)/(n-below)
		}
		lower, below = bound, math.Max(n, below)
	}
	return lower // in the +Inf bucket: the highest finite bound
}
