package rollout

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"serin/internal/analysis"
)

// TestHold_ItsMaximum crosses what a hold can meet: its policy, a pause, who drives, and whether anybody has met the canary.
// A hold is always bounded, also under a pause and with an external driver; the end is quiet before exposure and a rollback after.
func TestHold_ItsMaximum(t *testing.T) {
	t.Parallel()
	for _, then := range []HoldAction{HoldRollback, HoldKeep} {
		for _, driver := range []Driver{DriverLocal, DriverExternal} {
			for _, paused := range []bool{false, true} {
				for _, exposed := range []bool{false, true} {
					name := fmt.Sprintf("%s/%s/paused %v/exposed %v", then, driver, paused, exposed)
					t.Run(name, func(t *testing.T) {
						t.Parallel()
						w := heldWorld(t, then, driver, exposed)
						if paused {
							w.mustSend(Signal{Name: SignalPause})
						}
						w.outlast()
						checkOutlasted(t, w, then, paused, exposed)
					})
				}
			}
		}
	}
}

// heldWorld is a row held by its bake when exposed, by its gate otherwise.
func heldWorld(t *testing.T, then HoldAction, driver Driver, exposed bool) *world {
	t.Helper()
	w := newWorld(t, func(p *StartParams) { p.Plan.Hold.Then, p.Driver = then, driver })
	if !exposed {
		w.answer[TaskCompare] = Result{Status: StatusDone, Gate: &GateVerdict{Decision: "undecided"}}
	}
	ask := func(task string) {
		if driver == DriverExternal {
			w.mustSend(Signal{Name: SignalGrant, Task: task, Actor: "airflow", Reason: "dag"})
		}
	}
	ask(TaskCompare)
	w.until(TaskDecideFirst)
	if exposed {
		ask("deploy_canary_5_percent")
		w.until("monitor_5_percent").ticking(1, analysis.DecisionHold)
	}
	if w.s.Hold == nil || w.s.Phase != Held {
		t.Fatalf("%s at %s, not held", w.s.Phase, w.s.Task)
	}
	return w
}

// outlast lets the hold's maximum pass, and does what the engine would: ask Next, and tick what bakes.
func (w *world) outlast() {
	w.t.Helper()
	deadline := w.s.Hold.Deadline
	for _, at := range []time.Time{deadline.Add(-time.Nanosecond), deadline} {
		if w.now = at; w.s.Hold.expired(at) != at.Equal(deadline) {
			w.t.Fatalf("expired %v at %s of %s", w.s.Hold.expired(at), at, deadline)
		}
	}
	if w.atBake() {
		w.tick(w.taskOf(w.s.Task))
	} else if a := Next(w.s, w.now); a.Do != nil {
		w.run(*a.Do)
	} else {
		w.t.Fatalf("the hold is over and Next says %+v", a)
	}
}

func (w *world) atBake() bool {
	node, _ := Find(Graph(w.s.Plan, w.s.Kind), w.s.Task)
	return node.Kind == KindMonitor
}

func checkOutlasted(t *testing.T, w *world, then HoldAction, paused, exposed bool) {
	t.Helper()
	if w.told(NotifyHoldTooLong) != 1 {
		t.Errorf("told %d times that it lasts too long", w.told(NotifyHoldTooLong))
	}
	switch {
	case then == HoldKeep:
		want := Held
		if paused {
			want = Paused
		}
		if w.s.Phase != want || w.s.Hold == nil || !w.s.Hold.Told || !w.s.Hold.Deadline.IsZero() || w.s.Ending != nil {
			t.Errorf("%s, hold %+v: it is kept for a person", w.s.Phase, w.s.Hold)
		}
	case exposed:
		task := w.taskOf(w.s.Task)
		if !w.s.Directive(task).Stop {
			t.Fatal("the bake goes on although the hold is over")
		}
		w.apply(task, good(task.Node, w.s))
		if w.s.Task != TaskRollback || w.s.Pause != nil {
			t.Errorf("at %s, pause %+v", w.s.Task, w.s.Pause)
		}
		if w.finish().s.Phase != RolledBack {
			t.Errorf("ended as %s", w.s.Phase)
		}
	default:
		if w.s.Phase != Aborted || w.told(NotifyAborted) != 1 {
			t.Errorf("%s: nobody has met the canary", w.s.Phase)
		}
	}
}

func TestHold_KeepsItsBeginningThroughOtherReasons(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil).until("monitor_5_percent")
	w.ticking(1, analysis.DecisionHold)
	first := *w.s.Hold
	w.ticking(40, analysis.DecisionHold)
	if w.s.Hold.Since != first.Since || w.s.Hold.Deadline != first.Deadline || w.told(NotifyHeld) != 1 {
		t.Errorf("after 40 ticks: %+v, told %d times", w.s.Hold, w.told(NotifyHeld))
	}
	w.ticking(1, analysis.DecisionContinue)
	if w.s.Hold != nil || w.s.Phase != Progressing {
		t.Fatalf("the judge can tell again, and the row is %s", w.s.Phase)
	}
	w.ticking(1, analysis.DecisionHold)
	if !w.s.Hold.Since.Equal(w.now) || w.told(NotifyHeld) != 2 {
		t.Errorf("a second hold: %+v, told %d times", w.s.Hold, w.told(NotifyHeld))
	}
}

// TestHold_AKeptHoldEndsByEvidence: people were told, nobody came, and then the traffic did.
func TestHold_AKeptHoldEndsByEvidence(t *testing.T) {
	t.Parallel()
	w := heldWorld(t, HoldKeep, DriverLocal, true)
	w.outlast()
	w.ticking(30, analysis.DecisionHold)
	if w.told(NotifyHoldTooLong) != 1 || w.s.Phase != Held {
		t.Fatalf("%s, told %d times", w.s.Phase, w.told(NotifyHoldTooLong))
	}
	delete(w.ticks, w.s.Task)
	if w.finish().s.Phase != Succeeded {
		t.Errorf("ended as %s", w.s.Phase)
	}
}

// TestForeign_AtEveryTask: what another writer did to the routing is never undone. A canary that was disabled goes back for good;
// any other change holds what is under way, and changes nothing where the rollout is over or goes back anyway.
func TestForeign_AtEveryTask(t *testing.T) {
	t.Parallel()
	disabled, changed := Foreign{Disabled: true, Writer: "ops", Reason: "canary off"}, Foreign{Writer: "ops", Reason: "12 %, not 5 %"}
	for _, tt := range []struct{ at, disabled, changed string }{
		{"deploy_canary_5_percent", "held at deploy_canary_5_percent, hold routing_changed, failed 1, again in 1s", "held at deploy_canary_5_percent, hold routing_changed, failed 1, again in 1s"},
		{"monitor_5_percent", "progressing at rollback_deployment", "held at monitor_5_percent, hold routing_changed"},
		{"monitor_5_percent paused", "progressing at rollback_deployment", "paused at monitor_5_percent, hold routing_changed"},
		{"monitor_5_percent held", "progressing at rollback_deployment", "held at monitor_5_percent, hold routing_changed"},
		{"decide_25_percent", "progressing at rollback_deployment", "held at decide_25_percent, hold routing_changed"},
		{"deploy_canary_25_percent", "progressing at rollback_deployment", "held at monitor_25_percent, hold routing_changed, failed 1, parked deploy_canary_25_percent"},
		{"monitor_25_percent parked", "progressing at rollback_deployment", "held at monitor_25_percent, hold routing_changed, failed 1, parked deploy_canary_25_percent"},
		{"deploy_canary_100_percent", "progressing at rollback_deployment", "held at monitor_25_percent, hold routing_changed, failed 1, parked deploy_canary_100_percent"},
		{"monitor_5_percent hold over", "held at monitor_5_percent, hold no_data", "held at monitor_5_percent, hold no_data"},
		{"rollback_deployment", "progressing at rollback_deployment", "progressing at rollback_deployment"},
		{"watch_100_percent", "succeeded at -", "succeeded at -"},
		{"notify_success", "succeeded at notify_success", "succeeded at notify_success"},
	} {
		w := situations(t)[tt.at]
		task := w.taskOf(strings.Fields(tt.at)[0])
		for f, want := range map[*Foreign]string{&disabled: tt.disabled, &changed: tt.changed} {
			s, _, err := Apply(w.s, task, Result{Status: StatusRunning, Foreign: f}, w.now)
			if got := describe(s, w.now); err != nil || got != want {
				t.Errorf("%s, %s: %s, want %s (%v)", tt.at, f.Reason, got, want, err)
			}
		}
	}
}

// TestForeign_SamplesDoNotLiftIt: healthy samples say nothing about why somebody else changed the routing.
func TestForeign_SamplesDoNotLiftIt(t *testing.T) {
	t.Parallel()
	w := situations(t)["monitor_5_percent routing changed"]
	for _, d := range []analysis.Decision{analysis.DecisionContinue, analysis.DecisionHold, analysis.DecisionPromote} {
		w.ticking(2, d)
		if w.s.Hold == nil || w.s.Hold.Code != CodeRoutingChanged || w.s.Stage.Stop {
			t.Fatalf("after %s: hold %+v, stop %v", d, w.s.Hold, w.s.Stage.Stop)
		}
	}
	w.mustSend(Signal{Name: SignalPromote})
	if w.s.Stage.Stop {
		t.Error("a promote that trusts the evidence passed another writer's change")
	}
	bad := *w
	bad.ticking(1, analysis.DecisionRollback)
	if !bad.s.Directive(bad.taskOf("monitor_5_percent")).Stop {
		t.Error("a breach waits for a person")
	}
	w.mustSend(Signal{Name: SignalPromote, Override: true})
	if !w.s.Stage.Stop || w.s.Hold != nil {
		t.Errorf("overridden: stop %v, hold %+v", w.s.Stage.Stop, w.s.Hold)
	}
}

// TestParked_TheDeployComesBackWhenItMay: the bake goes on until the backoff is over and nobody objects, and its verdict meanwhile counts.
func TestParked_TheDeployComesBackWhenItMay(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		deploy, bake string
		answer       Result
	}{
		{"deploy_canary_5_percent", "monitor_5_percent", notProven},
		{"deploy_canary_25_percent", "monitor_25_percent", notProven},
		{"deploy_canary_100_percent", "monitor_25_percent", Result{Status: StatusRefused, Code: "registry_changed", Reason: "Production is 44"}},
	} {
		w := newWorld(t, nil).until(tt.deploy)
		w.answer[tt.deploy] = tt.answer
		w.step()
		if w.s.Task != tt.bake || w.s.Stage.Return != tt.deploy {
			t.Fatalf("%s: at %s, parked %q", tt.deploy, w.s.Task, w.s.Stage.Return)
		}
		w.ticks[tt.bake] = []analysis.Decision{analysis.DecisionPromote}
		w.tick(w.taskOf(tt.bake))
		if w.s.Stage.Stop || w.s.Hold == nil {
			t.Errorf("%s: stop %v, hold %+v before its time: a bake that passes proves no routing", tt.deploy, w.s.Stage.Stop, w.s.Hold)
		}
		w.now = w.s.Stage.ReturnAt
		w.tick(w.taskOf(tt.bake))
		w.apply(w.taskOf(tt.bake), Result{Status: StatusDone})
		if w.s.Task != tt.deploy || w.s.Stage.Return != "" {
			t.Errorf("%s: at %s, parked %q when its time has come", tt.deploy, w.s.Task, w.s.Stage.Return)
		}
		if w.finish().s.Phase != Succeeded {
			t.Errorf("%s: ended as %s: %s", tt.deploy, w.s.Phase, w.s.Reason)
		}
	}
}

// TestParked_FailsForEverAndIsBounded: the hold of a deploy that never proves keeps its first deadline through all attempts.
func TestParked_FailsForEverAndIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil).until("deploy_canary_25_percent")
	began := w.now
	for i := 0; w.s.Phase != RolledBack; i++ {
		if i > 5000 {
			t.Fatalf("no end after %s: %s at %s", w.now.Sub(began), w.s.Phase, w.s.Task)
		}
		w.answer["deploy_canary_25_percent"] = notProven
		if w.atBake() {
			w.ticking(1, analysis.DecisionContinue)
			if w.s.Directive(w.taskOf(w.s.Task)).Stop {
				w.apply(w.taskOf(w.s.Task), Result{Status: StatusDone})
			}
			continue
		}
		w.step()
	}
	if over := w.now.Sub(began) - 2*time.Hour; over < 0 || over > time.Minute {
		t.Errorf("rolled back after %s, want 2h", w.now.Sub(began))
	}
	if w.told(NotifyHeld) != 1 || w.told(NotifyHoldTooLong) != 1 {
		t.Errorf("told %d and %d times", w.told(NotifyHeld), w.told(NotifyHoldTooLong))
	}
}
