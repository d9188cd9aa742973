package task

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"serin/internal/analysis"
	"serin/internal/rollout"
)

// fixed are samples that do not change.
type fixed []analysis.Scrape

func (f fixed) Scrapes(context.Context, string, time.Time, time.Time) ([]analysis.Scrape, error) {
	return f, nil
}

// long has bakes of ten minutes.
func long(p *rollout.StartParams) {
	p.Plan.Steps[1].Duration, p.Plan.Steps[3].Duration = 10*time.Minute, 10*time.Minute
}

// ticks are the times of the judgements in the log.
func (w *world) ticks() (list []string) {
	for _, line := range w.log {
		if at, rest, ok := strings.Cut(line, " "); ok && strings.Count(at, ":") == 2 && strings.Contains(rest, " covered") {
			list = append(list, at)
		}
	}
	return list
}

func TestDeploy(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		set    func(*world)
		status rollout.Status
		reason string
		weight float64
		phase  rollout.Phase
	}{
		"good":           {func(*world) {}, rollout.StatusDone, "proven: version 42 has 5 % of the traffic, version 41 95 %", 5, rollout.Progressing},
		"does not load":  {func(w *world) { w.fail["check"] = errors.Join(errors.New("digest differs"), ErrFinal) }, rollout.StatusRefused, "check version 42: digest differs", 0, rollout.Failed},
		"registry away":  {func(w *world) { w.fail["check"] = errors.New("502") }, rollout.StatusRetry, "check version 42: 502", 0, rollout.Progressing},
		"aborted":        {func(w *world) { w.signal[1] = rollout.Signal{Name: rollout.SignalAbort} }, rollout.StatusRetry, "stopped before the routing was written", 0, rollout.Aborted},
		"paused":         {func(w *world) { w.signal[1] = rollout.Signal{Name: rollout.SignalPause} }, rollout.StatusRetry, "stopped before the routing was written", 0, rollout.Paused},
		"disk full":      {func(w *world) { w.fail["route"] = errors.New("disk full") }, rollout.StatusRetry, "write the routing of fraud: disk full", 0, rollout.Progressing},
		"gateway behind": {func(w *world) { w.gateways = func(int64) []GatewayView { return []GatewayView{{Name: "gw-1"}} } }, rollout.StatusNotProven, "requested, not proven: gateway gw-1 routes by generation 0, not 1", 5, rollout.Held},
		"gateway silent": {func(w *world) {
			w.gateways = func(int64) []GatewayView { return []GatewayView{{Name: "gw-1", Err: "connection\nrefused"}} }
		}, rollout.StatusNotProven, "requested, not proven: gateway gw-1: connection refused", 5, rollout.Held},
		"no gateway":   {func(w *world) { w.gateways = nobody }, rollout.StatusDone, "proven: version 42 has 5 %", 5, rollout.Progressing},
		"nobody reads": {func(w *world) { w.gateways, w.samples.mute = nobody, func(time.Time) bool { return true } }, rollout.StatusNotProven, "no gateway is configured and no canary request was seen", 5, rollout.Held},
		"aborted late": {func(w *world) { w.gateways, w.signal[3] = nobody, rollout.Signal{Name: rollout.SignalAbort} }, rollout.StatusRetry, "stopped before it was proven", 5, rollout.Progressing},
		"store fails":  {func(w *world) { w.gateways, w.fail["scrapes"] = nobody, errors.New("locked") }, rollout.StatusRetry, "read the samples of fraud: locked", 5, rollout.Progressing},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, func(w *world) {
				w.to("deploy_canary_5_percent")
				tt.set(w)
				r := w.run("deploy_canary_5_percent")
				if r.Status != tt.status || !strings.Contains(r.Reason, tt.reason) || w.doc().WeightPct() != tt.weight || w.state.Phase != tt.phase {
					t.Errorf("%s with %g %%, %s: %q", r.Status, w.doc().WeightPct(), w.state.Phase, r.Reason)
				}
				if written := w.said("routing 5 / 95 written, generation 1"); written != (tt.weight > 0) {
					t.Errorf("the log says that it was written: %v: %q", written, w.log)
				}
			})
		})
	}
}

func TestDeploy_PatienceIsConfigured(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(w *world) {
		w.to("deploy_canary_5_percent")
		w.deps.ProveFor = 5 * time.Second
		w.gateways = func(int64) []GatewayView { return []GatewayView{{Name: "gw-1"}} }
		began := time.Now()
		if w.run("deploy_canary_5_percent"); time.Since(began) < 5*time.Second || time.Since(began) > 6*time.Second {
			t.Errorf("waited %s", time.Since(began))
		}
	})
}

// TestMonitor_JudgesOnlyWhatItHasNotSeen restarts in the middle of a bake: each tick is judged once, and none is left out.
func TestMonitor_JudgesOnlyWhatItHasNotSeen(t *testing.T) {
	t.Parallel()
	bubble(t, long, func(w *world) {
		w.to("monitor_5_percent")
		for range 3 {
			w.crash, w.cutAt = true, len(w.calls)+300
			w.run("monitor_5_percent")
			<-time.After(20 * time.Second)
		}
		w.to("monitor_25_percent")
		got := w.ticks()
		if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Errorf("judged %v", got)
		}
		if covered := w.state.Tasks["monitor_5_percent"].Reason; len(got) != 41 { // the base and ten minutes of 15 s
			t.Errorf("judged %d ticks: %s", len(got), covered)
		}
	})
}

// TestMonitor_GoesOnWhilePaused rolls back a canary that goes bad during a pause.
func TestMonitor_GoesOnWhilePaused(t *testing.T) {
	t.Parallel()
	bubble(t, long, func(w *world) {
		w.to("monitor_5_percent")
		w.send(rollout.Signal{Name: rollout.SignalPause})
		w.samples.canary = from(time.Now().Add(time.Hour), 0.2)
		w.finish()
		if w.state.Phase != rollout.RolledBack || !strings.Contains(w.state.Reason, "error rate 1") || w.happened("RolloutStepCompleted") {
			t.Errorf("%s: %s", w.state.Phase, w.state.Reason)
		}
	})
}

// TestMonitor_RetryRestartsTheJudge forgets what the held bake has counted.
func TestMonitor_RetryRestartsTheJudge(t *testing.T) {
	t.Parallel()
	bubble(t, long, func(w *world) {
		w.to("monitor_5_percent")
		silentUntil := time.Now().Add(5 * time.Minute)
		w.samples.mute = func(at time.Time) bool { return at.After(silentUntil.Add(-3*time.Minute)) && at.Before(silentUntil) }
		w.signal[230] = rollout.Signal{Name: rollout.SignalRetry}
		w.run("monitor_5_percent")
		if w.state.Task != "monitor_5_percent" || w.state.Stage.Judge != nil || w.state.Stage.Judgement != nil || !w.happened("RolloutHeld") {
			t.Fatalf("at %s with the judge's state %s", w.state.Task, w.state.Stage.Judge)
		}
		retried := w.state.Stage.Since
		w.to("monitor_25_percent")
		if took := w.state.Stage.Since.Sub(retried); took < 10*time.Minute {
			t.Errorf("the bake began anew and took only %s", took)
		}
	})
}

func TestMonitor_Promote(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		override bool
		bad      float64
		phase    rollout.Phase
		verdict  string
		within   time.Duration
	}{
		"with evidence":                {false, 0, rollout.Succeeded, "healthy", 2 * time.Minute},
		"against the evidence":         {false, 0.5, rollout.RolledBack, "unhealthy", 2 * time.Minute},
		"without the evidence":         {true, 0, rollout.Succeeded, "skipped", time.Minute},
		"overriding what it would say": {true, 0.02, rollout.Succeeded, "skipped", time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(p *rollout.StartParams) { p.Plan.Steps[1].Duration = time.Hour }, func(w *world) {
				w.to("monitor_5_percent")
				w.samples.canary = from(time.Now(), tt.bad)
				began := time.Now()
				w.signal[2] = rollout.Signal{Name: rollout.SignalPromote, Override: tt.override}
				w.run("monitor_5_percent")
				if took := time.Since(began); took > tt.within || w.state.Tasks["monitor_5_percent"].Verdict != tt.verdict {
					t.Errorf("after %s: %+v", took, w.state.Tasks["monitor_5_percent"])
				}
				w.samples.canary = from(time.Now(), min(tt.bad, 0.02))
				if w.finish(); w.state.Phase != tt.phase {
					t.Errorf("%s: %s", w.state.Phase, w.state.Reason)
				}
			})
		})
	}
}

// TestMonitor_NoDataHoldsAndNeverPromotes has each way in which nothing is known.
func TestMonitor_NoDataHoldsAndNeverPromotes(t *testing.T) {
	t.Parallel()
	always := func(time.Time) bool { return true }
	for name, tt := range map[string]struct {
		set    func(*world)
		reason string
	}{
		"the sampler is silent":   {func(w *world) { w.samples.mute = always }, "no sample since"},
		"a source failed":         {func(w *world) { w.samples.fault = func(time.Time) string { return "gw-2: connection refused" } }, "gw-2: connection refused"},
		"another version answers": {func(w *world) { w.identity = errors.New("identity: slot 2:\nversion 43, not 42") }, "identity: slot 2: version 43, not 42"},
		"the routing is broken":   {func(w *world) { w.five("{") }, "the routing cannot be read"},
		"the routing is gone":     {func(w *world) { w.remove() }, "the routing cannot be read: there is no routing file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(p *rollout.StartParams) { long(p); p.Plan.Hold.Max = 10 * time.Minute }, func(w *world) {
				w.to("monitor_5_percent")
				<-time.After(time.Minute) // some samples of before
				w.samples.grow(time.Now())
				tt.set(w)
				if w.finish(); w.state.Phase != rollout.RolledBack || !strings.Contains(w.state.Reason, "held for 10m0s: "+tt.reason) || w.happened("BakePassed") {
					t.Errorf("%s: %s", w.state.Phase, w.state.Reason)
				}
				if !w.said(tt.reason) {
					t.Errorf("the log does not say %q: %q", tt.reason, w.log[max(0, len(w.log)-5):])
				}
			})
		})
	}
}

// TestMonitor_RestartIsNotSilence gives the sampler, which starts with the process, its time after an outage.
func TestMonitor_RestartIsNotSilence(t *testing.T) {
	t.Parallel()
	bubble(t, long, func(w *world) {
		w.to("monitor_5_percent")
		outage := time.Now().Add(2 * time.Minute)
		w.samples.mute = func(at time.Time) bool { return at.After(outage) && at.Before(outage.Add(2*time.Minute)) }
		w.crash, w.cutAt = true, len(w.calls)+350
		w.run("monitor_5_percent")
		<-time.After(time.Until(outage.Add(2 * time.Minute)))
		w.to("monitor_25_percent")
		if w.happened("RolloutHeld") {
			t.Errorf("held after a restart: %q", w.log)
		}
	})
}

// TestMonitor_AwayForLongerThanTheLease says that gateways went back to the champion, and goes on by itself when samples come.
func TestMonitor_AwayForLongerThanTheLease(t *testing.T) {
	t.Parallel()
	bubble(t, long, func(w *world) {
		w.to("monitor_5_percent")
		w.crash, w.cutAt = true, len(w.calls)+350
		w.run("monitor_5_percent")
		<-time.After(time.Hour)
		w.signal[2] = rollout.Signal{Name: rollout.SignalPause}
		back := time.Now()
		w.samples.last = back.Add(-time.Second) // nobody sampled either
		w.signal[30] = rollout.Signal{Name: rollout.SignalResume}
		w.to("monitor_25_percent")
		if !w.happened("RolloutHeld") || !w.happened("HoldReleased") || !w.said("its lease was over at") {
			t.Errorf("nobody was told: %q", w.log)
		}
		if w.state.Stage.Since.Sub(back) < 5*time.Minute {
			t.Errorf("the rest of the bake took only %s", w.state.Stage.Since.Sub(back))
		}
	})
}

// TestMonitor_RenewsTheLease every minute, and at once after a restart that left it old.
func TestMonitor_RenewsTheLease(t *testing.T) {
	t.Parallel()
	bubble(t, long, func(w *world) {
		w.to("monitor_5_percent")
		w.signal[60] = rollout.Signal{Name: rollout.SignalPause}
		w.crash, w.cutAt = true, len(w.calls)+1000
		w.run("monitor_5_percent")
		if left := time.Until(w.doc().Control.LeaseUntil); left < 3*time.Minute+50*time.Second || left > 5*time.Minute {
			t.Fatalf("the lease ends in %s", left)
		}
		generation := w.doc().Generation()
		<-time.After(3 * time.Minute)
		w.cutAt = len(w.calls) + 12
		w.run("monitor_5_percent")
		if left := time.Until(w.doc().Control.LeaseUntil); left < 4*time.Minute+50*time.Second || w.doc().Generation() != generation+1 {
			t.Errorf("after a restart the lease ends in %s at generation %d, was %d", left, w.doc().Generation(), generation)
		}
		w.fail["route"] = errors.New("disk full")
		w.cutAt = len(w.calls) + 1000
		if w.run("monitor_5_percent"); !w.said("the lease was not renewed: disk full") || w.state.Phase == rollout.RolledBack {
			t.Errorf("%s: %q", w.state.Phase, w.log)
		}
	})
}

// TestMonitor_JudgesAWaitingDeploy rolls back a canary that goes bad while the next weight, or the promotion, waits for its proof; whichever of the
// two weights is in force.
func TestMonitor_JudgesAWaitingDeploy(t *testing.T) {
	t.Parallel()
	behind := func(g int64) []GatewayView { return []GatewayView{{Name: "gw-1", Generation: g - 1}} }
	for name, tt := range map[string]struct {
		at  string
		set func(*world)
	}{
		"not written":        {"deploy_canary_25_percent", func(w *world) { w.fail["check"] = errors.New("registry away") }},
		"not proven":         {"deploy_canary_25_percent", func(w *world) { w.gateways = behind }},
		"promotion waits":    {"deploy_canary_100_percent", func(w *world) { w.gateways = behind }},
		"registry is away":   {"deploy_canary_100_percent", func(w *world) { w.fail["promote"] = errors.New("502") }},
		"a pause in between": {"deploy_canary_25_percent", func(w *world) { w.send(rollout.Signal{Name: rollout.SignalPause}) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, func(w *world) {
				w.to(tt.at)
				tt.set(w)
				bad := time.Now().Add(10 * time.Minute)
				w.samples.canary, w.samples.champion = from(bad, 0.4), from(bad, 0)
				if name == "promotion waits" {
					w.samples.champion = from(bad, 0.4)
				}
				w.drive(func(s rollout.State) bool { return s.Task == rollout.TaskRollback })
				if late := time.Since(bad); late > 2*time.Minute || w.happened("HoldTooLong") {
					t.Errorf("rolled back %s after it went bad: %s", late, w.state.Reason)
				}
				w.gateways, w.fail = nil, map[string]error{}
				if w.finish(); w.state.Phase != rollout.RolledBack || w.stages["41"] != "Production" || w.doc().Table("fraud").Champion.Pin.Version != "41" {
					t.Errorf("%s: %v", w.state.Phase, w.stages)
				}
			})
		})
	}
}

func TestMonitor_ErrorsAreTriedAgain(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(w *world) {
		w.to("monitor_5_percent")
		w.fail["scrapes"] = errors.New("database is locked")
		if r := w.run("monitor_5_percent"); r.Status != rollout.StatusRetry || !strings.Contains(r.Reason, "read the samples of fraud: database is locked") {
			t.Errorf("%s: %s", r.Status, r.Reason)
		}
		delete(w.fail, "scrapes")
		w.to("monitor_5_percent").state.Stage.Judge = analysis.State(`{"v":99}`)
		if r := w.run("monitor_5_percent"); r.Status != rollout.StatusRetry || !strings.Contains(r.Reason, "version 99") {
			t.Errorf("%s: %s", r.Status, r.Reason)
		}
	})
	bubble(t, nil, func(w *world) {
		w.to("monitor_5_percent")
		ctx, cancel := context.WithCancel(w.t.Context())
		cancel()
		if _, err := w.Run(ctx, w.task("monitor_5_percent"), func(rollout.Result) (rollout.Signals, error) { return rollout.Signals{}, nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("after the end: %v", err)
		}
	})
}

// TestMonitor_SeenIsSkipped passes over a scrape that the judge's state knows already, though the row does not.
func TestMonitor_SeenIsSkipped(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(w *world) {
		w.to("monitor_5_percent")
		m := &bake{run: &run{Deps: w.deps, state: w.state, task: w.task("monitor_5_percent"), checkpoint: func(rollout.Result) (rollout.Signals, error) { return rollout.Signals{}, nil }}}
		sc := analysis.Scrape{At: time.Now().UTC()}
		for range 2 {
			if signals, err := m.judged(w.t.Context(), sc); err != nil || signals.Stop {
				t.Errorf("%+v, %v", signals, err)
			}
		}
		if len(m.judge) == 0 || !json.Valid(m.judge) {
			t.Errorf("the judge's state is %s", m.judge)
		}
	})
}
