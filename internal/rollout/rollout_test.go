package rollout

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/analysis"
	"serin/internal/model"
)

func TestSuccessPath(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil).finish()
	want := []string{
		"admit", "compare_models", "decide_deployment", "deploy_canary_5_percent", "monitor_5_percent", "decide_25_percent",
		"deploy_canary_25_percent", "monitor_25_percent", "decide_100_percent", "deploy_canary_100_percent", "notify_success", "watch_100_percent",
	}
	if diff := cmp.Diff(want, w.order); diff != "" {
		t.Errorf("tasks (-want +got):\n%s", diff)
	}
	if w.s.Phase != Succeeded || w.s.WeightPct != 100 || w.s.Task != "" || w.told(NotifyStarted) != 1 {
		t.Errorf("ended as %s at %g %%, task %q", w.s.Phase, w.s.WeightPct, w.s.Task)
	}
}

func TestUnhappyEnds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		set    func(*world)
		phase  Phase
		last   string
		reason string
	}{
		{"gate rejects", func(w *world) {
			w.answer[TaskCompare] = Result{Status: StatusDone, Gate: &GateVerdict{Decision: "reject", Reasons: []string{"recall 0.41 < 0.95"}}}
		}, Rejected, TaskNotifyRejected, "recall 0.41 < 0.95"},
		{"gate could not judge", func(w *world) {
			w.answer[TaskCompare] = Result{Status: StatusRefused, Reason: "no positive rows"}
		}, Failed, TaskCompare, "no positive rows"},
		{"blocked version", func(w *world) {
			w.answer[TaskAdmit] = Result{Status: StatusRefused, Reason: "version 42 is blocked"}
		}, Failed, TaskAdmit, "blocked"},
		{"model does not load", func(w *world) {
			w.answer["deploy_canary_25_percent"] = Result{Status: StatusRefused, Reason: "digest differs"}
		}, RolledBack, TaskNotifyRollback, "digest differs"},
		{"bad at 5 %", func(w *world) {
			w.ticks["monitor_5_percent"] = []analysis.Decision{analysis.DecisionContinue, analysis.DecisionRollback}
		}, RolledBack, TaskNotifyRollback, "rollback"},
		{"bad late at 25 %", func(w *world) {
			w.ticks["monitor_25_percent"] = []analysis.Decision{analysis.DecisionContinue, analysis.DecisionContinue, analysis.DecisionContinue, analysis.DecisionRollback}
		}, RolledBack, TaskNotifyRollback, "rollback"},
		{"no traffic for ever", func(w *world) {
			w.ticks["monitor_5_percent"] = []analysis.Decision{analysis.DecisionHold}
		}, RolledBack, TaskNotifyRollback, "held for 2h0m0s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			tt.set(w)
			w.finish()
			if w.s.Phase != tt.phase || w.order[len(w.order)-1] != tt.last || !strings.Contains(w.s.Reason, tt.reason) {
				t.Errorf("ended as %s after %s: %s; want %s after %s: %s", w.s.Phase, w.order[len(w.order)-1], w.s.Reason, tt.phase, tt.last, tt.reason)
			}
			if slices.Contains(w.order, "deploy_canary_100_percent") {
				t.Error("promoted")
			}
		})
	}
}

func TestUndecidedGateHoldsAndIsBounded(t *testing.T) {
	t.Parallel()
	undecided := Result{Status: StatusDone, Gate: &GateVerdict{Decision: "undecided", Reasons: []string{"59 positives are needed"}}}
	w := newWorld(t, nil)
	w.answer[TaskCompare] = undecided
	w.until(TaskDecideFirst)
	if w.s.Phase != Held || w.told(NotifyHeld) != 1 {
		t.Fatalf("phase %s, told %d times", w.s.Phase, w.told(NotifyHeld))
	}
	if err := w.send(Signal{Name: SignalPromote}); !errors.Is(err, ErrIllegal) || !strings.Contains(err.Error(), "--override-analysis") {
		t.Errorf("promote without override: %v", err)
	}
	retried := *w
	w.finish()
	if w.s.Phase != Aborted || w.told(NotifyHoldTooLong) != 1 || w.now.Sub(epoch) != 2*time.Hour {
		t.Errorf("%s after %s: %s", w.s.Phase, w.now.Sub(epoch), w.s.Reason)
	}
	if err := retried.send(Signal{Name: SignalRetry}); err != nil {
		t.Fatal(err)
	}
	if retried.finish().s.Phase != Succeeded {
		t.Errorf("a retried gate that passes: %s", retried.s.Phase)
	}
}

func TestHoldKeepWaitsForAPerson(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(p *StartParams) { p.Plan.Hold.Then = HoldKeep })
	w.answer[TaskCompare] = Result{Status: StatusDone, Gate: &GateVerdict{Decision: "undecided"}}
	w.finish()
	if w.s.Phase != Held || w.told(NotifyHoldTooLong) != 1 {
		t.Fatalf("%s, told %d", w.s.Phase, w.told(NotifyHoldTooLong))
	}
	if err := w.send(Signal{Name: SignalPromote, Override: true}); err != nil {
		t.Fatal(err)
	}
	if w.finish().s.Phase != Succeeded || w.s.Gate.Override == "" {
		t.Errorf("override: %s, %q", w.s.Phase, w.s.Gate.Override)
	}
}

func TestPauseLongerThanTheBake(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil).until("monitor_5_percent")
	if err := w.send(Signal{Name: SignalPause}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		w.step()
	}
	if w.s.Task != "monitor_5_percent" || w.s.Phase != Paused || w.s.WeightPct != 5 {
		t.Fatalf("a paused rollout went on: %s at %s", w.s.Phase, w.s.Task)
	}
	bad := *w
	bad.ticks = map[string][]analysis.Decision{"monitor_5_percent": {analysis.DecisionRollback}}
	if bad.finish().s.Phase != RolledBack {
		t.Errorf("a bad canary under a pause ended as %s", bad.s.Phase)
	}
	if err := w.send(Signal{Name: SignalResume}); err != nil {
		t.Fatal(err)
	}
	if w.finish().s.Phase != Succeeded {
		t.Errorf("resumed: %s", w.s.Phase)
	}
}

func TestManualStepWaitsForPromote(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(p *StartParams) {
		p.Plan.Steps = []Step{{Kind: StepSetWeight, Weight: 5}, {Kind: StepPause}, {Kind: StepSetWeight, Weight: 100}}
	}).until("monitor_5_percent")
	for range 5 {
		w.step()
	}
	if w.s.Phase != Paused || w.s.Task != "monitor_5_percent" {
		t.Fatalf("%s at %s", w.s.Phase, w.s.Task)
	}
	if err := w.send(Signal{Name: SignalResume}); !errors.Is(err, ErrIllegal) || !strings.Contains(err.Error(), "promote") {
		t.Errorf("resume of a manual step: %v", err)
	}
	if err := w.send(Signal{Name: SignalPromote}); err != nil {
		t.Fatal(err)
	}
	if w.finish().s.Phase != Succeeded {
		t.Errorf("promoted: %s", w.s.Phase)
	}
}

func TestPromoteSkipsTheBakeButNotTheEvidence(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.ticks["monitor_5_percent"] = []analysis.Decision{analysis.DecisionContinue}
	w.until("monitor_5_percent")
	if got := w.s.JudgeStage().Bake; got != 30*time.Minute {
		t.Fatalf("bake %s", got)
	}
	if err := w.send(Signal{Name: SignalPromote}); err != nil {
		t.Fatal(err)
	}
	if got := w.s.JudgeStage().Bake; got != noBake {
		t.Errorf("bake after promote %s", got)
	}
	task := Task{Rollout: "r1", ID: "monitor_5_percent", Kind: KindMonitor}
	w.tick(task)
	if w.s.Directive(task).Stop {
		t.Error("promote without evidence went on")
	}
	if err := w.send(Signal{Name: SignalPromote, Override: true}); err != nil {
		t.Fatal(err)
	}
	if !w.s.Directive(task).Stop {
		t.Error("promote --override-analysis did not go on")
	}
	if w.finish().s.Phase != Succeeded || w.s.Tasks["monitor_5_percent"].Verdict != "skipped" {
		t.Errorf("%s, %+v", w.s.Phase, w.s.Tasks["monitor_5_percent"])
	}
}

func TestAbort(t *testing.T) {
	t.Parallel()
	for _, n := range Graph(testPlan(), KindOfRollout) {
		if n.Kind == KindRollback || n.Kind == KindKeep || n.Kind == KindSettle || n.Kind == KindWatch || n.Kind == KindNotify {
			continue
		}
		t.Run(n.ID, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil).until(n.ID)
			exposed := w.s.Exposed
			if err := w.send(Signal{Name: SignalAbort}); err != nil {
				t.Fatal(err)
			}
			w.finish()
			want := Aborted
			if exposed {
				want = RolledBack
			}
			if w.s.Phase != want || w.s.WeightPct != 0 {
				t.Errorf("abort at %s: %s at %g %%, want %s", n.ID, w.s.Phase, w.s.WeightPct, want)
			}
			if err := w.send(Signal{Name: SignalAbort}); !errors.Is(err, ErrIllegal) {
				t.Errorf("second abort: %v", err)
			}
		})
	}
}

func TestUnprovenDeployIsHeldJudgedAndBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil).until("deploy_canary_25_percent")
	w.answer["deploy_canary_25_percent"] = Result{Status: StatusNotProven, Code: "not_proven", Reason: "gw-2 is at generation 7"}
	w.step()
	if w.s.Phase != Held || w.s.Task != "monitor_25_percent" || w.s.Hold.Code != "not_proven" {
		t.Fatalf("%s at %s: %+v", w.s.Phase, w.s.Task, w.s.Hold)
	}
	bad := *w
	bad.ticks = map[string][]analysis.Decision{"monitor_25_percent": {analysis.DecisionRollback}}
	if bad.finish().s.Phase != RolledBack {
		t.Errorf("bad canary during an unproven deploy: %s", bad.s.Phase)
	}
	if w.finish().s.Phase != Succeeded {
		t.Errorf("proven later: %s", w.s.Phase)
	}
	if n := strings.Count(strings.Join(w.order, " "), "deploy_canary_25_percent"); n != 2 {
		t.Errorf("%d deploys of 25 %%", n)
	}
}

func TestRegistryChangedUnderPromotion(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil).until("deploy_canary_100_percent")
	w.answer["deploy_canary_100_percent"] = Result{Status: StatusRefused, Code: "registry_changed", Reason: "Production is 44, not 41"}
	w.step()
	if w.s.Phase != Held || w.s.Task != "monitor_25_percent" || !w.s.Promoting {
		t.Fatalf("%s at %s, promoting %v", w.s.Phase, w.s.Task, w.s.Promoting)
	}
}

func TestRollbackIsNeverGivenUpAndSettlesLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil).until("monitor_5_percent")
	w.ticks["monitor_5_percent"] = []analysis.Decision{analysis.DecisionRollback}
	w.until(TaskRollback)
	for range 20 {
		w.answer[TaskRollback] = Result{Status: StatusNotProven, Reason: "3 canary requests in the last tick"}
		for Next(w.s, w.now).Do == nil {
			w.step()
		}
		w.step()
	}
	if w.s.Phase.Ended() || w.told(NotifyUnproven) != 1 || w.s.RetryAt.Sub(w.now) > 5*time.Second {
		t.Fatalf("%s, told %d, next in %s", w.s.Phase, w.told(NotifyUnproven), w.s.RetryAt.Sub(w.now))
	}
	w.answer[TaskRollback] = Result{Status: StatusDone, Owed: true, Reason: "registry away"}
	for w.s.Failures < 100 {
		w.answer[TaskSettle] = Result{Status: StatusRetry, Reason: "registry still away"}
		w.step()
	}
	if wait := w.s.RetryAt.Sub(w.now); wait != time.Minute || w.told(NotifyUnproven) != 1 {
		t.Errorf("the registry is away for an hour: next in %s, told %d", wait, w.told(NotifyUnproven))
	}
	w.finish()
	if w.s.Phase != RolledBack || len(w.s.Owed) != 0 || w.s.Tasks[TaskSettle].Verdict != "done" {
		t.Errorf("%s, owed %v, settle %+v", w.s.Phase, w.s.Owed, w.s.Tasks[TaskSettle])
	}
}

func TestWatchBreachOpensUndo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.ticks[TaskWatch] = []analysis.Decision{analysis.DecisionContinue, analysis.DecisionRollback}
	w.finish()
	last := w.events[len(w.events)-1]
	if !last.OpenUndo || w.s.Phase != Succeeded {
		t.Errorf("phase %s, last event %+v", w.s.Phase, last)
	}
	s, events, err := StartUndo(UndoParams{
		ID: "u1", Of: w.s.ID, Plan: w.s.Plan, Driver: DriverLocal, Actor: Controller, Reason: "watch",
		To: model.Pin{Version: "41"}, From: model.Pin{Version: "42"}, Salt: "a", NextSalt: "b",
	}, w.now)
	if err != nil || events[0].Block != "42" {
		t.Fatalf("%v %+v", err, events)
	}
	u := &world{t: t, s: s, now: w.now, answer: map[string]Result{}}
	if u.finish().s.Phase != Succeeded || !slices.Equal(u.order, []string{TaskUndo, TaskNotifyUndone}) {
		t.Errorf("undo: %s by %v", u.s.Phase, u.order)
	}
}

func TestForeignRoutingChangeHoldsUntilAPersonActs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.ticks["monitor_5_percent"] = []analysis.Decision{analysis.DecisionContinue}
	w.until("monitor_5_percent")
	task := Task{Rollout: "r1", ID: "monitor_5_percent", Kind: KindMonitor}
	aborted := *w
	w.apply(task, Result{Status: StatusRunning, Foreign: &Foreign{Writer: "deploy.py", Reason: "the canary has 10 %, not 5 %"}})
	w.ticks["monitor_5_percent"] = []analysis.Decision{analysis.DecisionPromote}
	w.tick(task)
	if w.s.Phase != Held || w.s.Directive(task).Stop {
		t.Fatalf("%s, stop %v", w.s.Phase, w.s.Directive(task).Stop)
	}
	if err := w.send(Signal{Name: SignalRetry}); err != nil {
		t.Fatal(err)
	}
	if w.finish().s.Phase != Succeeded {
		t.Errorf("%s", w.s.Phase)
	}
	aborted.apply(task, Result{Status: StatusRunning, Foreign: &Foreign{Disabled: true, Writer: "bob", Reason: "disabled"}})
	if aborted.finish().s.Phase != RolledBack || aborted.s.Ending.Actor != "bob" || !aborted.s.Ending.External {
		t.Errorf("a canary that another writer disabled: %s by %+v", aborted.s.Phase, aborted.s.Ending)
	}
}

func TestFirstChampionGoesStraightToPromotion(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(p *StartParams) { p.FirstChampion = "nothing serves yet" }).finish()
	want := []string{"admit", "compare_models", "decide_deployment", "deploy_canary_100_percent", "notify_success"}
	if diff := cmp.Diff(want, w.order); diff != "" {
		t.Errorf("tasks (-want +got):\n%s", diff)
	}
}

func TestStartRefusals(t *testing.T) {
	t.Parallel()
	bad := map[string]func(*StartParams){
		"no id":     func(p *StartParams) { p.ID = "" },
		"no gate":   func(p *StartParams) { p.Plan.Gate.Data = "" },
		"no steps":  func(p *StartParams) { p.Plan.Steps = nil },
		"shrinking": func(p *StartParams) { p.Plan.Steps[2].Weight = 4 },
		"no bake": func(p *StartParams) {
			p.Plan.Steps = []Step{{Kind: StepSetWeight, Weight: 5}, {Kind: StepSetWeight, Weight: 100}}
		},
	}
	for name, change := range bad {
		p := StartParams{ID: "r", Plan: testPlan(), Salt: "a", NextSalt: "b", Actor: "ann", Reason: "x"}
		change(&p)
		if _, _, err := Start(p, epoch); err == nil {
			t.Errorf("%s: started", name)
		}
	}
}

func TestGraphIDs(t *testing.T) {
	t.Parallel()
	p := testPlan()
	p.Steps = []Step{{Kind: StepSetWeight, Weight: 0.5}, {Kind: StepPause, Duration: time.Hour}, {Kind: StepSetWeight, Weight: 50}, {Kind: StepPause, Duration: time.Hour}, {Kind: StepSetWeight, Weight: 100}}
	var ids []string
	for _, n := range Graph(p, KindOfRollout) {
		ids = append(ids, n.ID)
		for _, e := range n.Next {
			if _, ok := Find(Graph(p, KindOfRollout), e.To); !ok {
				t.Errorf("%s leads to %s, which is no task", n.ID, e.To)
			}
		}
	}
	for _, want := range []string{"deploy_canary_0.5_percent", "monitor_50_percent", "decide_50_percent", "decide_100_percent"} {
		if !slices.Contains(ids, want) {
			t.Errorf("no %s in %v", want, ids)
		}
	}
}
