package analysis

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// ErrSeen is wrapped when a scrape is not later than the last one judged: counting it again would count evidence twice. Skip the scrape.
var ErrSeen = errors.New("it was judged already")

// Judge takes the next scrape of a stage and says what to do. It is pure: the same arguments give the same judgement, and a run may be cut
// anywhere as long as the returned state comes back. What is wrong with the data is a judgement (hold, with a code); an error means that nothing
// was judged: ErrSeen, a configuration or a stage that cannot be judged by, or a state of another release. The state is then returned as it came.
func Judge(cfg Config, stage Stage, st State, sc Scrape) (State, Judgement, error) {
	if err := validate(cfg, stage, sc); err != nil {
		return st, Judgement{}, err
	}
	s, err := decodeState(st)
	if err != nil {
		return st, Judgement{}, err
	}
	sc.At = sc.At.UTC().Round(0)
	if !s.Last.IsZero() && !sc.At.After(s.Last) {
		return st, Judgement{}, fmt.Errorf("scrape of %s, the last judged is of %s: %w", sc.At.Format(time.RFC3339Nano), s.Last.Format(time.RFC3339Nano), ErrSeen)
	}
	s.enter(stage, sc.At)
	out := s.take(cfg, stage, sc)
	s.Last = sc.At
	j := s.conclude(cfg, stage, sc, out)
	next, err := s.encode()
	if err != nil {
		return st, Judgement{}, err
	}
	return next, j, nil
}

func validate(cfg Config, stage Stage, sc Scrape) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	switch {
	case !(stage.WeightPct > 0 && stage.WeightPct <= 100):
		return fmt.Errorf("stage %s: weight %v %% is not above 0 and at most 100", stage.Name, stage.WeightPct)
	case stage.Bake <= 0:
		return fmt.Errorf("stage %s: a bake of %s proves nothing, it must be above zero", stage.Name, stage.Bake)
	case sc.At.IsZero():
		return errors.New("scrape without a time: every sample stands on a tick")
	}
	return nil
}

// outcome is what a scrape gave. An empty code is an interval that can be judged; latencyCode says why it cannot for latency.
type outcome struct {
	code        Code
	why         string
	latencyCode Code
	noLatency   string
}

// take counts a scrape.
func (s *state) take(cfg Config, stage Stage, sc Scrape) outcome {
	o := observe(stage, sc)
	s.restarts(o)
	if !o.complete() {
		return outcome{code: o.code, why: o.why}
	}
	s.prepareLatency(cfg, sc.At, &o)
	if math.Abs(o.weight-stage.WeightPct) > weightTolerancePct {
		return s.otherWeight(cfg, stage, sc.At, o)
	}
	out := s.count(cfg, sc.At, &o)
	s.advanceClocks(cfg, sc, o)
	s.Begun = true
	return out
}

// prepareLatency fixes the histogram bounds where they are not, and says whether this scrape is complete for latency.
func (s *state) prepareLatency(cfg Config, at time.Time, o *observation) {
	if !cfg.Latency.Enabled {
		o.latencyCode = CodeNoData
		return
	}
	if role, ok := o.histograms(); !ok {
		o.latencyCode, o.noLatency = CodeNoData, fmt.Sprintf("no usable latency histogram of the %s", role)
		return
	}
	if !s.LatencyBase.IsZero() && at.Sub(s.LatencyBase) > cfg.MaxGap() {
		s.forgetLatency()
	}
	if s.Bounds == nil {
		b, ok := findBounds(cfg.Latency.SLO.Seconds(), o.lines)
		if !ok {
			o.latencyCode = CodeSLONotJudgeable
			o.noLatency = fmt.Sprintf("the latency SLO %s cannot be judged: the histograms share the bounds [%s], one at or below and one at or above it are needed",
				cfg.Latency.SLO, joinBounds(b.LE))
			return
		}
		s.Bounds = &b
	}
	o.keepJudgeable(*s.Bounds)
	if role, ok := o.histograms(); !ok {
		o.latencyCode, o.noLatency = CodeNoData, fmt.Sprintf("the latency histograms of the %s have other bounds than before", role)
	}
}

// count makes the interval that ends at this scrape, or sets the bases when there is none.
func (s *state) count(cfg Config, at time.Time, o *observation) outcome {
	out := outcome{latencyCode: o.latencyCode, noLatency: o.noLatency}
	gap := at.Sub(s.Base)
	switch {
	case s.Base.IsZero():
		out.code, out.why = CodeStarting, "the first counters are the base"
		s.absorb(*o)
	case gap > cfg.MaxGap():
		out.code, out.why = CodeDataLost, fmt.Sprintf("no counters for %s: that time is not part of the bake", gap)
		s.forget()
		s.breakRun()
		s.prepareLatency(cfg, at, o)
		s.absorb(*o)
	default:
		s.interval(cfg, at, *o)
	}
	if o.latencyCode == "" {
		if s.LatencyBase.IsZero() && out.code == "" {
			out.latencyCode, out.noLatency = CodeStarting, "the first histograms are the base"
		}
		s.LatencyBase = at
	}
	s.Base = at
	return out
}

// interval counts what happened since the last complete scrape, and how often in succession each limit was broken.
func (s *state) interval(cfg Config, at time.Time, o observation) {
	p := s.absorb(o)
	s.remember(cfg, at, p)
	if p.Canary.N > 0 {
		s.Quiet = time.Time{}
	} else if s.Quiet.IsZero() {
		s.Quiet = s.Base
	}
	w, _ := s.window(cfg, at)
	s.OverErrors = successive(s.OverErrors, cfg, share{w.Canary.X, w.Canary.N}, cfg.Errors.SLO)
	if o.latencyCode == "" {
		s.OverLatency = successive(s.OverLatency, cfg, share{w.Canary.Plus, w.Canary.L}, cfg.Latency.Limit())
	}
}

func successive(over int, cfg Config, window share, limit float64) int {
	if window.requests >= int64(cfg.MinRequests) && window.breaks(limit) {
		return over + 1
	}
	return 0
}

// advanceClocks counts the time to this scrape as seen, unless a source failed in it: a scrape without some instance covers nothing.
func (s *state) advanceClocks(cfg Config, sc Scrape, o observation) {
	if sc.Err != "" {
		return
	}
	s.Errors.advance(sc.At, cfg.MaxGap(), s.Begun)
	if o.latencyCode == "" {
		s.Latency.advance(sc.At, cfg.MaxGap(), s.Begun)
	}
}

// otherWeight passes over a scrape that is not the stage's: the bases move, nothing is counted and no time is covered. Where the canary had no
// share or all of it the two cannot be compared across, so the bases are set anew afterwards.
func (s *state) otherWeight(cfg Config, stage Stage, at time.Time, o observation) outcome {
	s.OverErrors, s.OverLatency, s.Quiet = 0, 0, time.Time{}
	if o.weight > 0 && o.weight < 100 {
		s.absorb(o)
		s.Base, s.Errors.At = at, at
		if o.latencyCode == "" {
			s.LatencyBase, s.Latency.At = at, at
		}
	} else {
		s.forget()
		s.Errors.At, s.Latency.At = time.Time{}, time.Time{}
	}
	why := fmt.Sprintf("the canary had %v %% of the traffic at this tick, the stage is for %v %%", o.weight, stage.WeightPct)
	if !s.Begun && at.Sub(s.Entered) < time.Duration(cfg.Window)*cfg.Tick {
		return outcome{code: CodeStarting, why: why} // the weight was only just set
	}
	return outcome{code: CodeWeightMismatch, why: why}
}

// conclude weighs the checks: the worst one decides.
func (s *state) conclude(cfg Config, stage Stage, sc Scrape, out outcome) Judgement {
	covered, lost := s.covered(cfg)
	j := Judgement{
		At: sc.At, Covered: covered, Lost: lost, BakeDone: covered+cfg.Tick/2 >= stage.Bake,
		CanaryRequests: s.Total.Canary.N, ChampionRequests: s.Total.Champion.N,
	}
	now := baking
	if j.BakeDone {
		now = baked
	}
	for _, q := range s.questions(cfg, sc.At, out) {
		e := q.answer(cfg, now)
		if sc.Err != "" && e.Action != DecisionRollback {
			q.code, q.why = CodeProviderError, sc.Err
			e = q.answer(cfg, now)
		}
		j.Checks = append(j.Checks, e)
	}
	worst := j.Checks[0]
	for _, e := range j.Checks[1:] {
		if severity(e) > severity(worst) {
			worst = e
		}
	}
	j.Decision, j.Verdict, j.Code = worst.Action, worst.Verdict, worst.Code
	j.Reason = reason(j, stage, worst)
	return j
}

func severity(e Evidence) int {
	switch e.Action {
	case DecisionRollback:
		return 4
	case DecisionHold:
		return 3
	case DecisionContinue:
		if e.Verdict != VerdictPass {
			return 2
		}
		return 1
	case DecisionPromote:
	}
	return 0
}

func reason(j Judgement, stage Stage, worst Evidence) string {
	text := worst.Text
	if worst.Verdict == VerdictPass {
		text = j.Checks[0].Text
		for _, e := range j.Checks[1:] {
			text += "; " + e.Text
		}
	}
	switch {
	case j.Decision != DecisionContinue:
		return text
	case j.BakeDone:
		return "bake over: " + text
	}
	return fmt.Sprintf("baking %s of %s: %s", j.Covered, stage.Bake, text)
}
