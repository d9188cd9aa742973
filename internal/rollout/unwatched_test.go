package rollout

import (
	"errors"
	"strings"
	"testing"
	"time"

	"serin/internal/analysis"
	"serin/internal/model"
)

// These tests hold one rule: while a canary may have traffic somebody judges it, whatever else waits.

// notProven answers a deploy that was written and is not seen.
var notProven = Result{Status: StatusNotProven, Code: "not_proven", Reason: "gw-2 routes by generation 3, not 4"}

func (w *world) taskOf(id string) Task {
	w.t.Helper()
	node, ok := Find(Graph(w.s.Plan, w.s.Kind), id)
	if !ok {
		w.t.Fatalf("no task %s", id)
	}
	return Task{Rollout: w.s.ID, ID: id, Kind: node.Kind, Attempt: 1, State: w.s, Node: node}
}

// ticking gives the running monitor n ticks with a decision.
func (w *world) ticking(n int, d analysis.Decision) {
	w.t.Helper()
	w.ticks[w.s.Task] = []analysis.Decision{d}
	for range n {
		w.now = w.now.Add(15 * time.Second)
		w.tick(w.taskOf(w.s.Task))
	}
}

func TestRetry_TheRunningJudgeIsNotHeard(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		late analysis.Decision
		want string
	}{
		{analysis.DecisionHold, ""},
		{analysis.DecisionContinue, ""},
		{analysis.DecisionPromote, ""},
		{analysis.DecisionRollback, OnUnhealthy},
	} {
		w := newWorld(t, nil).until("monitor_5_percent")
		w.ticking(2, analysis.DecisionHold)
		if err := w.send(Signal{Name: SignalRetry}); err != nil {
			t.Fatal(err)
		}
		w.ticking(1, tt.late) // the attempt that runs still holds the old judge's state
		if w.s.Stage.Verdict != tt.want || !w.s.Stage.Stop {
			t.Errorf("%s after the retry: verdict %q, stop %v", tt.late, w.s.Stage.Verdict, w.s.Stage.Stop)
		}
		if tt.want == "" && (w.s.Stage.Judge != nil || w.s.Stage.Judgement != nil || w.s.Hold != nil) {
			t.Errorf("%s after the retry: the old judge's state is kept: %s", tt.late, w.s.Stage.Judge)
		}
	}
}

func TestPause_AParkedDeployStaysInTheBake(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.answer["deploy_canary_25_percent"] = notProven
	w.until("deploy_canary_25_percent").step()
	if w.s.Task != "monitor_25_percent" || w.s.Stage.Return != "deploy_canary_25_percent" {
		t.Fatalf("at %s, parked %q", w.s.Task, w.s.Stage.Return)
	}
	if err := w.send(Signal{Name: SignalPause}); err != nil {
		t.Fatal(err)
	}
	w.ticking(20, analysis.DecisionContinue)
	if w.s.Stage.Stop {
		t.Fatal("the bake is asked to return to a deploy that a pause forbids: nobody would judge the canary")
	}
	if err := w.send(Signal{Name: SignalResume}); err != nil || !w.s.Stage.Stop {
		t.Errorf("resumed, stop %v: %v", w.s.Stage.Stop, err)
	}
	delete(w.ticks, w.s.Task)
	if w.finish().s.Phase != Succeeded {
		t.Errorf("ended as %s: %s", w.s.Phase, w.s.Reason)
	}
}

func TestPause_DuringADeployGoesBackToTheBake(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ at, bake string }{
		{"deploy_canary_25_percent", "monitor_25_percent"},
		{"deploy_canary_100_percent", "monitor_25_percent"},
	} {
		w := newWorld(t, nil).until(tt.at)
		running := w.taskOf(tt.at)
		if err := w.send(Signal{Name: SignalPause}); err != nil {
			t.Fatal(err)
		}
		if a := Next(w.s, w.now); a.Do == nil || a.Do.ID != tt.bake {
			t.Errorf("paused at %s, next is %+v: the canary must be judged", tt.at, a)
		}
		if !w.s.Directive(running).Stop {
			t.Errorf("%s goes on after the pause", tt.at)
		}
		if err := w.send(Signal{Name: SignalResume}); err != nil {
			t.Fatal(err)
		}
		if w.finish().s.Phase != Succeeded {
			t.Errorf("paused at %s and resumed: %s: %s", tt.at, w.s.Phase, w.s.Reason)
		}
	}
}

func TestPause_AFailingDeployIsParked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil).until("deploy_canary_25_percent")
	w.s.Pause = &Pause{Actor: "ann", Reason: "as a release before wrote it", Since: w.now}
	w.apply(w.taskOf("deploy_canary_25_percent"), Result{Status: StatusRetry, Reason: "registry away"})
	if w.s.Task != "monitor_25_percent" || w.s.Hold != nil {
		t.Errorf("at %s, held %+v", w.s.Task, w.s.Hold)
	}
}

func TestPause_BeforeTheFirstDeployWrites(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil).until("deploy_canary_5_percent")
	running := w.taskOf("deploy_canary_5_percent")
	if err := w.send(Signal{Name: SignalPause}); err != nil {
		t.Fatal(err)
	}
	w.apply(running, Result{Status: StatusRunning, Exposed: true})
	if w.s.Exposed || !w.s.Directive(running).Stop {
		t.Errorf("exposed %v, stop %v: a pause that came in time keeps the canary away", w.s.Exposed, w.s.Directive(running).Stop)
	}
	w.apply(running, Result{Status: StatusRetry, Reason: "stopped"})
	if a := Next(w.s, w.now.Add(time.Minute)); a.Do != nil {
		t.Errorf("next is %s although paused", a.Do.ID)
	}
	if err := w.send(Signal{Name: SignalAbort}); err != nil || w.s.Phase != Aborted {
		t.Errorf("aborted as %s: %v; nobody has met the canary", w.s.Phase, err)
	}
}

func TestMonitor_ThatCannotJudgeIsHeldAndBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil).until("monitor_5_percent")
	fail := func() {
		w.apply(w.taskOf("monitor_5_percent"), Result{Status: StatusRetry, Reason: "judge's state has version 9"})
		w.now = w.s.RetryAt
	}
	fail()
	fail()
	if w.s.Phase != Progressing {
		t.Fatalf("%s after two failures", w.s.Phase)
	}
	fail()
	if w.s.Phase != Held || w.told(NotifyHeld) != 1 || !strings.Contains(w.s.Hold.Reason, "version 9") {
		t.Fatalf("%s after three failures: %+v", w.s.Phase, w.s.Hold)
	}
	w.now = w.s.Hold.Deadline
	fail()
	if w.s.Task != TaskRollback {
		t.Errorf("at %s when the hold is over", w.s.Task)
	}
	if w.finish().s.Phase != RolledBack {
		t.Errorf("ended as %s", w.s.Phase)
	}
}

func TestFirstChampion_IsNeverParkedInABake(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(p *StartParams) { p.FirstChampion = "nothing serves yet" })
	w.answer["admit"] = Result{Status: StatusDone, Pins: &Pins{Challenger: pin("1")}}
	w.until("deploy_canary_100_percent")
	for range 4 {
		w.apply(w.taskOf("deploy_canary_100_percent"), Result{Status: StatusRunning, Exposed: true, Promoting: true})
		w.apply(w.taskOf("deploy_canary_100_percent"), Result{Status: StatusRetry, Reason: "registry away"})
		w.now = w.s.RetryAt
	}
	if w.s.Task != "deploy_canary_100_percent" || w.s.Phase != Held {
		t.Fatalf("%s at %s: there is no canary to bake", w.s.Phase, w.s.Task)
	}
	if w.finish().s.Phase != Succeeded {
		t.Errorf("ended as %s: %s", w.s.Phase, w.s.Reason)
	}
}

func TestForeign_IsAskedAgainSlowlyAndBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil).until("deploy_canary_25_percent")
	deploy := w.taskOf("deploy_canary_25_percent")
	theirs := Result{Status: StatusRefused, Foreign: &Foreign{Writer: "ops", Reason: "the canary has 9 %, not 5 %"}}
	w.apply(deploy, theirs)
	if w.s.Phase != Held || w.s.Stage.Return != deploy.ID || !w.s.Stage.ReturnAt.After(w.now) {
		t.Fatalf("%s, parked %q until %s", w.s.Phase, w.s.Stage.Return, w.s.Stage.ReturnAt)
	}
	if err := w.send(Signal{Name: SignalPromote}); !errors.Is(err, ErrIllegal) {
		t.Errorf("promote past another writer: %v", err)
	}
	w.now = w.s.Hold.Deadline
	w.apply(w.taskOf(w.s.Task), Result{Status: StatusRunning, Foreign: theirs.Foreign})
	if !w.s.Stage.Stop || w.s.Ending == nil {
		t.Errorf("the hold is over: stop %v, ending %+v", w.s.Stage.Stop, w.s.Ending)
	}
}

func pin(version string) model.Pin { return model.Pin{Version: version} }
