package analysis

import (
	"strings"
	"testing"
	"time"
)

func TestCovered_AGapOfFiveMinutesCountsAndALongerOneIsLost(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		gap           int // ticks without a scrape
		code          Code
		covered, lost time.Duration
	}{
		"one tick":      {1, CodeBaking, 75 * time.Second, 0},
		"just five":     {19, CodeBaking, 45*time.Second + 5*time.Minute, 0},
		"one tick more": {20, CodeDataLost, 45 * time.Second, 5*time.Minute + 15*time.Second},
		"an hour":       {240, CodeDataLost, 45 * time.Second, 241 * 15 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.stage.Bake = 3 * time.Hour
			w.ticks(4, traffic{n: 60}, healthy) // 45 s are covered
			w.at = w.at.Add(time.Duration(tc.gap) * w.cfg.Tick)
			j := w.tick(traffic{n: 60}, healthy)
			if j.Code != tc.code || j.Decision != DecisionContinue || j.Covered != tc.covered || j.Lost != tc.lost {
				t.Errorf("%s %s, covered %s, lost %s; want %s, %s, %s", j.Decision, j.Code, j.Covered, j.Lost, tc.code, tc.covered, tc.lost)
			}
			j = w.tick(traffic{n: 60}, healthy)
			expect(t, j, want{DecisionContinue, VerdictPass, CodeBaking})
			if j.Covered != tc.covered+w.cfg.Tick || j.Lost != tc.lost {
				t.Errorf("a tick later: covered %s, lost %s", j.Covered, j.Lost)
			}
		})
	}
}

func TestCovered_IgnoredScrapesInAGapAreNoProgress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ticks(4, traffic{n: 60}, healthy)
	for range 40 {
		j := w.judge(Scrape{At: w.at, Err: "prometheus: down"})
		expect(t, j, want{DecisionHold, VerdictProviderError, CodeProviderError})
		if j.Covered != 45*time.Second || j.BakeDone {
			t.Fatalf("covered %s while nothing was seen", j.Covered)
		}
	}
	j := w.tick(traffic{n: 60}, healthy)
	expect(t, j, want{DecisionContinue, VerdictInconclusive, CodeDataLost})
	if !strings.Contains(j.Reason, "no counters for 10m15s: that time is not part of the bake") {
		t.Errorf("reason %q", j.Reason)
	}
}

func TestCovered_HalfATickEarlyIsOver(t *testing.T) {
	t.Parallel()
	for bake, over := range map[time.Duration]bool{52500 * time.Millisecond: true, 52501 * time.Millisecond: false} {
		w := newWorld(t)
		w.stage.Bake = bake
		if j := w.ticks(4, traffic{n: 60}, healthy); j.BakeDone != over {
			t.Errorf("bake of %s after %s: over %v, want %v", bake, j.Covered, j.BakeDone, over)
		}
	}
}

func TestCovered_LatencyThatWasNotSeenIsNotBaked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ticks(2, traffic{n: 60}, healthy)
	for range 30 { // 7.5 min of counters without histograms
		w.serve(traffic{n: 60}, healthy)
		sc := w.scrape()
		sc.Samples[0].Latency, sc.Samples[1].Latency = nil, nil
		j := w.judge(sc)
		expect(t, j, want{DecisionHold, VerdictNoData, CodeNoData})
		if j.Covered != w.cfg.Tick {
			t.Fatalf("covered %s without latencies", j.Covered)
		}
	}
	j := w.tick(traffic{n: 60}, healthy)
	expect(t, j, want{DecisionContinue, VerdictInconclusive, CodeStarting}) // for latency
	if j.Covered != w.cfg.Tick || j.Lost != 31*w.cfg.Tick {
		t.Errorf("covered %s, lost %s", j.Covered, j.Lost)
	}
	expect(t, w.ticks(6, traffic{n: 60}, healthy), want{DecisionContinue, VerdictPass, CodeBaking})
	expect(t, w.tick(traffic{n: 60}, healthy), want{DecisionPromote, VerdictPass, CodeHealthy})
}

func TestCovered_ErrorsStillRollBackWithoutLatencies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var j Judgement
	for range 3 {
		w.serve(traffic{n: 60, errors: 6}, healthy)
		sc := w.scrape()
		sc.Samples[0].Latency = nil
		j = w.judge(sc)
	}
	expect(t, j, want{DecisionRollback, VerdictFail, CodeLimitBroken})
}

func TestStage_NextStageBeginsWhereTheLastOneEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tick(traffic{}, traffic{})
	expect(t, w.ticks(8, traffic{n: 60, errors: 2}, healthy), want{DecisionPromote, VerdictPass, CodeHealthy})
	w.stage = Stage{Name: "monitor_25_percent", WeightPct: 25, Bake: time.Minute}
	w.weight = 25
	j := w.tick(traffic{n: 300}, healthy)
	expect(t, j, want{DecisionContinue, VerdictPass, CodeBaking})
	if e := evidence(t, j, CheckErrors); j.Covered != w.cfg.Tick || j.CanaryRequests != 300 || e.StageEvents != 0 || e.WindowTicks != 1 {
		t.Errorf("covered %s, %d requests, evidence %+v", j.Covered, j.CanaryRequests, e)
	}
	expect(t, w.ticks(3, traffic{n: 300}, healthy), want{DecisionPromote, VerdictPass, CodeHealthy})
}

func TestStage_GapBeforeItsFirstScrapeBelongsToNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ticks(9, traffic{n: 60}, healthy)
	w.stage = Stage{Name: "monitor_25_percent", WeightPct: 25, Bake: time.Minute}
	w.weight = 25
	w.at = w.at.Add(time.Hour)
	if j := w.tick(traffic{n: 300}, healthy); j.Code != CodeDataLost || j.Covered != 0 || j.Lost != 0 {
		t.Errorf("%s, covered %s, lost %s", j.Code, j.Covered, j.Lost)
	}
}

func TestStage_ScrapesOfAnotherWeightAreNotItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.weight = 0
	expect(t, w.ticks(3, traffic{}, healthy), want{DecisionContinue, VerdictInconclusive, CodeStarting}) // the weight is just being set
	w.weight = 5
	expect(t, w.tick(traffic{n: 10}, healthy), want{DecisionContinue, VerdictInconclusive, CodeStarting}) // a base
	j := w.tick(traffic{n: 60}, healthy)
	if j.Covered != w.cfg.Tick || j.CanaryRequests != 60 {
		t.Errorf("covered %s, %d requests", j.Covered, j.CanaryRequests)
	}
	w.weight = 10 // somebody else's change: counted nowhere, and it holds
	expect(t, w.ticks(3, traffic{n: 600, errors: 600}, healthy), want{DecisionHold, VerdictInconclusive, CodeWeightMismatch})
	w.weight = 5.004 // a rounding to buckets is none
	j = w.tick(traffic{n: 60}, healthy)
	expect(t, j, want{DecisionContinue, VerdictPass, CodeBaking})
	if j.Covered != 2*w.cfg.Tick || j.CanaryRequests != 120 {
		t.Errorf("covered %s, %d requests", j.Covered, j.CanaryRequests)
	}
}

func TestStage_WeightThatNeverComesHolds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.weight = 0
	expect(t, w.ticks(8, traffic{}, healthy), want{DecisionContinue, VerdictInconclusive, CodeStarting})
	expect(t, w.tick(traffic{}, healthy), want{DecisionHold, VerdictInconclusive, CodeWeightMismatch})
}

func TestLatency_SLOBetweenBounds(t *testing.T) {
	t.Parallel()
	newBetween := func() *world {
		w := newWorld(t)
		w.cfg.Latency.SLO = 150 * time.Millisecond // between 0.1 and 0.25
		w.tick(traffic{}, traffic{})
		return w
	}
	w := newBetween() // slow ones take 0.1 to 0.25 s: perhaps too slow, perhaps not
	expect(t, w.ticks(7, traffic{n: 60, slow: 6}, healthy), want{DecisionContinue, VerdictInconclusive, CodeBetweenBounds})
	j := w.tick(traffic{n: 60, slow: 6}, healthy)
	expect(t, j, want{DecisionHold, VerdictInconclusive, CodeBetweenBounds})
	if !strings.Contains(j.Reason, "slower than 100ms (the bound below 150ms): 10 % (48 of 480 requests) > 5 % proves nothing") {
		t.Errorf("reason %q", j.Reason)
	}
	w = newBetween()
	j = w.ticks(2, traffic{n: 60, verySlow: 6}, healthy) // slower than 0.25 s is slower than 0.15 s
	expect(t, j, want{DecisionRollback, VerdictFail, CodeLimitBroken})
	if e := evidence(t, j, CheckLatency); e.Bound != 0.25 || e.ProofBound != 0.1 {
		t.Errorf("bounds %v and %v", e.Bound, e.ProofBound)
	}
}

func TestLatency_WithoutABoundOnEachSideCannotBeJudged(t *testing.T) {
	t.Parallel()
	for _, slo := range []time.Duration{time.Millisecond, time.Second} {
		w := newWorld(t)
		w.cfg.Latency.SLO = slo
		j := w.ticks(12, traffic{n: 60}, healthy)
		if got(j) != (want{DecisionHold, VerdictNoData, CodeSLONotJudgeable}) || !strings.Contains(j.Reason, "bounds [0.05 0.1 0.25]") {
			t.Errorf("%s: %+v %s", slo, got(j), j.Reason)
		}
	}
}

func TestChecks_OneAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Errors.Enabled = false
	w.tick(traffic{}, traffic{})
	j := w.ticks(8, traffic{n: 60, errors: 60}, healthy)
	expect(t, j, want{DecisionPromote, VerdictPass, CodeHealthy})
	if len(j.Checks) != 1 || j.Checks[0].Check != CheckLatency {
		t.Errorf("checks %+v", j.Checks)
	}
	w = newWorld(t)
	w.cfg.Latency.Enabled = false
	w.tick(traffic{}, traffic{})
	expect(t, w.ticks(8, traffic{n: 60, slow: 60}, healthy), want{DecisionPromote, VerdictPass, CodeHealthy})
}

func TestCovered_ALostGapBreaksSuccessiveTicks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Window = 40 // reaches over the gap
	w.tick(traffic{}, traffic{})
	expect(t, w.tick(traffic{n: 60, errors: 6}, healthy), want{DecisionContinue, VerdictInconclusive, CodeOverLimit})
	w.at = w.at.Add(21 * w.cfg.Tick)
	expect(t, w.tick(traffic{n: 60, errors: 6}, healthy), want{DecisionContinue, VerdictInconclusive, CodeDataLost})
	j := w.tick(traffic{n: 60, errors: 6}, healthy)
	expect(t, j, want{DecisionContinue, VerdictInconclusive, CodeOverLimit})
	if e := evidence(t, j, CheckErrors); e.Over != 1 || e.Requests != 60 || e.StageRequests != 120 {
		t.Errorf("evidence %+v", e)
	}
	expect(t, w.tick(traffic{n: 60, errors: 6}, healthy), want{DecisionRollback, VerdictFail, CodeLimitBroken})
}
