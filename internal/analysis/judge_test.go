package analysis

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

func TestJudge_HealthyCanaryIsPromotedWhenTheBakeIsOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	expect(t, w.tick(traffic{}, traffic{}), want{DecisionContinue, VerdictInconclusive, CodeStarting})
	for range 7 {
		j := w.tick(traffic{n: 60}, healthy)
		expect(t, j, want{DecisionContinue, VerdictPass, CodeBaking})
		if j.BakeDone {
			t.Fatalf("bake over after %s of %s", j.Covered, w.stage.Bake)
		}
	}
	j := w.tick(traffic{n: 60}, healthy)
	expect(t, j, want{DecisionPromote, VerdictPass, CodeHealthy})
	if j.Covered != w.stage.Bake || j.Lost != 0 || !j.BakeDone || j.CanaryRequests != 480 || j.ChampionRequests != 8*190 {
		t.Errorf("covered %s, lost %s, %d and %d requests", j.Covered, j.Lost, j.CanaryRequests, j.ChampionRequests)
	}
	if want := "error rate 0 % (0 of 480 requests) < 5 %; slower than 100ms: 0 % (0 of 480 requests) < 5 %, p95 47.5ms"; j.Reason != want {
		t.Errorf("reason %q, want %q", j.Reason, want)
	}
}

func TestJudge_RollsBackOnTheSecondTickOverTheLimit(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		bad   traffic
		check string
		text  string
	}{
		"errors":  {traffic{n: 60, errors: 4}, CheckErrors, "error rate 6.7 % (8 of 120 requests) > 5 %, p95"},
		"latency": {traffic{n: 60, slow: 4}, CheckLatency, "slower than 100ms: 6.7 % (8 of 120 requests) > 5 %, p95"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.tick(traffic{}, traffic{})
			expect(t, w.tick(tc.bad, healthy), want{DecisionContinue, VerdictInconclusive, CodeOverLimit})
			j := w.tick(tc.bad, healthy)
			expect(t, j, want{DecisionRollback, VerdictFail, CodeLimitBroken})
			e := evidence(t, j, tc.check)
			if e.Events != 8 || e.Requests != 120 || e.Over != 2 || e.Action != DecisionRollback || e.ChampionRequests != 380 {
				t.Errorf("evidence %+v", e)
			}
			text := strings.TrimSuffix(tc.text, ", p95")
			if !strings.HasPrefix(j.Reason, text) || !strings.HasSuffix(j.Reason, "in 2 successive ticks") {
				t.Errorf("reason %q, want %q ... in 2 successive ticks", j.Reason, text)
			}
		})
	}
}

func TestJudge_EqualToTheLimitIsNotHealthy(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]traffic{"errors": {n: 60, errors: 3}, "latency": {n: 60, slow: 3}} {
		w := newWorld(t)
		w.tick(traffic{}, traffic{})
		j := w.ticks(2, bad, healthy)
		if got(j) != (want{DecisionRollback, VerdictFail, CodeLimitBroken}) || !strings.Contains(j.Reason, "5 % (6 of 120 requests) = 5 %") {
			t.Errorf("%s: %+v %s", name, got(j), j.Reason)
		}
	}
}

func TestJudge_OneTickOverTheLimitIsForgiven(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tick(traffic{}, traffic{})
	expect(t, w.tick(traffic{n: 60, errors: 4}, healthy), want{DecisionContinue, VerdictInconclusive, CodeOverLimit})
	expect(t, w.tick(traffic{n: 60}, healthy), want{DecisionContinue, VerdictPass, CodeBaking})
}

func TestJudge_TooFewRequestsHoldAfterTheBakeAndPromoteLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tick(traffic{}, traffic{})
	expect(t, w.ticks(7, traffic{n: 5}, healthy), want{DecisionContinue, VerdictInconclusive, CodeTooFewRequests})
	j := w.tick(traffic{n: 5}, healthy)
	expect(t, j, want{DecisionHold, VerdictInconclusive, CodeTooFewRequests})
	if !strings.Contains(j.Reason, "50 requests in 8 ticks are needed") {
		t.Errorf("reason %q does not say what is missing", j.Reason)
	}
	expect(t, w.tick(traffic{n: 20}, healthy), want{DecisionPromote, VerdictPass, CodeHealthy}) // 7 x 5 + 20 = 55
}

func TestJudge_FewFailingRequestsDoNotRollBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tick(traffic{}, traffic{})
	j := w.ticks(20, traffic{n: 6, errors: 6}, healthy) // 48 in the window
	expect(t, j, want{DecisionHold, VerdictInconclusive, CodeTooFewRequests})
}

func TestJudge_WholeStageMustBeBelowTheLimitToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.stage.Bake = 20 * w.cfg.Tick
	w.cfg.Consecutive = 100
	w.tick(traffic{}, traffic{})
	w.ticks(10, traffic{n: 60, errors: 30}, healthy)
	j := w.ticks(10, traffic{n: 60}, healthy)
	expect(t, j, want{DecisionHold, VerdictInconclusive, CodeStageOverLimit})
	if e := evidence(t, j, CheckErrors); e.Value != 0 || e.StageEvents != 300 || e.StageRequests != 1200 {
		t.Errorf("evidence %+v", e)
	}
}

func TestJudge_NoTrafficHoldsAndGoesOnWhenItComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.stage.Bake = 30 * w.cfg.Tick
	w.tick(traffic{}, traffic{})
	w.ticks(4, traffic{n: 60}, healthy)
	w.ticks(7, traffic{}, healthy)
	j := w.tick(traffic{}, healthy)
	expect(t, j, want{DecisionHold, VerdictNoData, CodeNoTraffic})
	if !strings.Contains(j.Reason, "no canary request for 2m0s, 1520 on the champion") {
		t.Errorf("reason %q", j.Reason)
	}
	expect(t, w.tick(traffic{n: 60}, healthy), want{DecisionContinue, VerdictPass, CodeBaking})
}

func TestJudge_WhatCannotBeSeenHolds(t *testing.T) {
	t.Parallel()
	nan := Number(math.NaN())
	for name, tc := range map[string]struct {
		spoil func(*Scrape)
		want  want
		words string
	}{
		"source failed":        {func(sc *Scrape) { sc.Samples, sc.Err = nil, "prometheus: connection refused" }, want{DecisionHold, VerdictProviderError, CodeProviderError}, "connection refused"},
		"one of two failed":    {func(sc *Scrape) { sc.Err = "gateway gw-2: timeout" }, want{DecisionHold, VerdictProviderError, CodeProviderError}, "gw-2: timeout"},
		"no sample":            {func(sc *Scrape) { sc.Samples = nil }, want{DecisionHold, VerdictNoData, CodeNoData}, "the canary cannot be seen"},
		"no champion":          {func(sc *Scrape) { sc.Samples = sc.Samples[:1] }, want{DecisionHold, VerdictNoData, CodeNoData}, "the champion cannot be seen"},
		"NaN":                  {func(sc *Scrape) { sc.Samples[0].Requests["200"] = nan }, want{DecisionHold, VerdictNoData, CodeNoData}, "says NaN requests with status 200"},
		"negative":             {func(sc *Scrape) { sc.Samples[0].Requests["200"] = -1 }, want{DecisionHold, VerdictNoData, CodeNoData}, "says -1 requests"},
		"unreadable":           {func(sc *Scrape) { sc.Samples[0].Requests = nil }, want{DecisionHold, VerdictNoData, CodeNoData}, "could not be read"},
		"another version":      {func(sc *Scrape) { sc.Samples[0].Revision = "41" }, want{DecisionHold, VerdictNoData, CodeNoData}, "counts version 41, not 42"},
		"another time":         {func(sc *Scrape) { sc.Samples[0].At = sc.At.Add(time.Second) }, want{DecisionHold, VerdictNoData, CodeNoData}, "line of another time"},
		"two weights":          {func(sc *Scrape) { sc.Samples[0].WeightPct = 6 }, want{DecisionHold, VerdictInconclusive, CodeWeightMismatch}, "two weights"},
		"weight taken away":    {func(sc *Scrape) { sc.Samples[0].WeightPct, sc.Samples[1].WeightPct = 0, 0 }, want{DecisionHold, VerdictInconclusive, CodeWeightMismatch}, "had 0 %"},
		"no histogram":         {func(sc *Scrape) { sc.Samples[0].Latency = nil }, want{DecisionHold, VerdictNoData, CodeNoData}, "no usable latency histogram of the canary"},
		"torn histogram":       {func(sc *Scrape) { sc.Samples[1].Latency.LE["0.25"] = 1 }, want{DecisionHold, VerdictNoData, CodeNoData}, "no usable latency histogram of the champion"},
		"histogram is NaN":     {func(sc *Scrape) { sc.Samples[1].Latency.LE["0.25"] = nan }, want{DecisionHold, VerdictNoData, CodeNoData}, "no usable latency histogram"},
		"histogram lacks +Inf": {func(sc *Scrape) { delete(sc.Samples[1].Latency.LE, "+Inf") }, want{DecisionHold, VerdictNoData, CodeNoData}, "no usable latency histogram"},
		"bound in use is gone": {func(sc *Scrape) { delete(sc.Samples[1].Latency.LE, "0.1") }, want{DecisionHold, VerdictNoData, CodeNoData}, "other bounds than before"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.stage.CanaryRevision = "42"
			w.tick(traffic{}, traffic{})
			w.ticks(8, traffic{n: 60}, healthy) // the bake is over: only the fault stands between the canary and promotion
			w.serve(traffic{n: 60}, healthy)
			sc := w.scrape()
			tc.spoil(&sc)
			j := w.judge(sc)
			expect(t, j, tc.want)
			if !strings.Contains(j.Reason, tc.words) {
				t.Errorf("reason %q does not say %q", j.Reason, tc.words)
			}
			w.ticks(2, traffic{n: 60}, healthy)
			expect(t, w.tick(traffic{n: 60}, healthy), want{DecisionPromote, VerdictPass, CodeHealthy})
		})
	}
}

func TestJudge_CanaryFailingWhileOneSourceIsDownIsRolledBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tick(traffic{}, traffic{})
	var j Judgement
	for range 2 {
		w.serve(traffic{n: 60, errors: 30}, healthy)
		sc := w.scrape()
		sc.Err = "gateway gw-2: timeout"
		j = w.judge(sc)
	}
	expect(t, j, want{DecisionRollback, VerdictFail, CodeLimitBroken})
	if j.Covered != 0 {
		t.Errorf("%s covered although a source was missing all the time", j.Covered)
	}
}

func TestJudge_ChampionThatBreaksTheLimitTooExcusesTheCanary(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tick(traffic{}, traffic{})
	j := w.ticks(3, traffic{n: 60, errors: 6}, traffic{n: 190, errors: 19})
	expect(t, j, want{DecisionHold, VerdictEnvironmentDegraded, CodeEnvironmentDegraded})
	if e := evidence(t, j, CheckErrors); e.ChampionEvents != 57 || e.ChampionRequests != 570 || !strings.Contains(e.Text, "10 % (57 of 570 requests) > 5 %") {
		t.Errorf("evidence %+v", e)
	}
	j = w.ticks(8, traffic{n: 60, errors: 6}, healthy) // the champion recovers, the canary does not
	expect(t, j, want{DecisionRollback, VerdictFail, CodeLimitBroken})
}

func TestJudge_ChampionExcusesNoCanaryTwiceAsBad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tick(traffic{}, traffic{})
	expect(t, w.ticks(3, traffic{n: 60, errors: 11}, traffic{n: 200, errors: 20}), want{DecisionHold, VerdictEnvironmentDegraded, CodeEnvironmentDegraded})
	w = newWorld(t)
	w.tick(traffic{}, traffic{})
	expect(t, w.ticks(3, traffic{n: 60, errors: 12}, traffic{n: 200, errors: 20}), want{DecisionRollback, VerdictFail, CodeLimitBroken})
}

func TestJudge_ChampionWithTooFewRequestsExcusesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tick(traffic{}, traffic{})
	expect(t, w.ticks(2, traffic{n: 60, errors: 6}, traffic{n: 10, errors: 10}), want{DecisionRollback, VerdictFail, CodeLimitBroken})
}

func TestJudge_RefusesAScrapeThatWasJudged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ticks(3, traffic{n: 60}, healthy)
	for _, at := range []time.Time{w.at.Add(-w.cfg.Tick), t0} {
		sc := w.scrape()
		sc.At = at
		st, _, err := Judge(w.cfg, w.stage, w.state, sc)
		if !errors.Is(err, ErrSeen) || string(st) != string(w.state) {
			t.Errorf("scrape of %s: %v", at, err)
		}
	}
}

func TestJudge_RefusesWhatItCannotJudgeBy(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*Config, *Stage, *State, *Scrape)
		words  string
	}{
		"config":           {func(c *Config, _ *Stage, _ *State, _ *Scrape) { c.Window = 0 }, "analysis.window"},
		"weight":           {func(_ *Config, s *Stage, _ *State, _ *Scrape) { s.WeightPct = 0 }, "weight 0"},
		"NaN weight":       {func(_ *Config, s *Stage, _ *State, _ *Scrape) { s.WeightPct = math.NaN() }, "weight NaN"},
		"no bake":          {func(_ *Config, s *Stage, _ *State, _ *Scrape) { s.Bake = 0 }, "bake of 0s"},
		"no time":          {func(_ *Config, _ *Stage, _ *State, sc *Scrape) { sc.At = time.Time{} }, "without a time"},
		"newer state":      {func(_ *Config, _ *Stage, st *State, _ *Scrape) { *st = State(`{"v":2}`) }, "version 2, this release reads 1"},
		"state is no JSON": {func(_ *Config, _ *Stage, st *State, _ *Scrape) { *st = State(`{`) }, "cannot be read"},
		"state is damaged": {func(_ *Config, _ *Stage, st *State, _ *Scrape) {
			*st = State(`{"v":1,"bounds":{"le":[1],"plus":1,"minus":0}}`)
		}, "damaged"},
	} {
		cfg, stage, st, sc := DefaultConfig(), stage5, State(nil), Scrape{At: t0}
		tc.change(&cfg, &stage, &st, &sc)
		if _, _, err := Judge(cfg, stage, st, sc); err == nil || !strings.Contains(err.Error(), tc.words) {
			t.Errorf("%s: error %v, want one with %q", name, err, tc.words)
		}
	}
}

func TestAFailedSourceIsNamedOnce(t *testing.T) {
	t.Parallel()
	cfg, stage := DefaultConfig(), Stage{Name: "monitor_5_percent", WeightPct: 5, Bake: time.Minute}
	var st State
	var j Judgement
	for i := range 6 {
		at := time.Date(2026, 1, 5, 9, 0, 15*i, 0, time.UTC)
		sc := Scrape{At: at, Samples: []Sample{
			{At: at, Role: RoleCanary, Instance: "a", WeightPct: 5, Requests: map[string]Number{"200": Number(100 * i)}},
			{At: at, Role: RoleChampion, Instance: "a", WeightPct: 5, Requests: map[string]Number{"200": Number(1000 * i)}},
		}}
		if i >= 4 {
			sc = Scrape{At: at, Err: "gateway gw-1 does not answer"}
		}
		var err error
		if st, j, err = Judge(cfg, stage, st, sc); err != nil {
			t.Fatal(err)
		}
	}
	if j.Decision != DecisionHold || strings.Count(j.Checks[0].Text, "gw-1") != 1 || strings.Count(j.Reason, "gw-1") != 1 {
		t.Errorf("%s: %s", j.Decision, j.Reason)
	}
}
