package rollout

import (
	"errors"
	"testing"

	"serin/internal/analysis"
)

func external(t *testing.T) *world {
	t.Helper()
	return newWorld(t, func(p *StartParams) { p.Driver = DriverExternal })
}

// command grants a task and runs whatever Next then allows.
func (w *world) command(task string) {
	w.t.Helper()
	if err := w.send(Signal{Name: SignalGrant, Task: task, Actor: "airflow", Reason: "dag"}); err != nil {
		w.t.Fatalf("grant %s: %v", task, err)
	}
	for w.s.Tasks[task].Verdict == "" && w.step() {
	}
}

func TestExternalDriverMovesOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	w := external(t)
	if w.step() {
		t.Fatal("an external rollout moved by itself")
	}
	if err := w.send(Signal{Name: SignalGrant, Task: "deploy_canary_5_percent"}); !errors.Is(err, ErrIllegal) {
		t.Errorf("deploy before the gate: %v", err)
	}
	w.command(TaskCompare)
	w.command("deploy_canary_5_percent")
	if w.s.Task != "monitor_5_percent" {
		t.Fatalf("at %s", w.s.Task)
	}
	if err := w.send(Signal{Name: SignalGrant, Task: "deploy_canary_25_percent"}); !errors.Is(err, ErrIllegal) {
		t.Errorf("25 %% before the bake: %v", err)
	}
	for range 3 {
		w.tick(Task{Rollout: w.s.ID, ID: "monitor_5_percent", Kind: KindMonitor})
	}
	if w.s.Tasks["monitor_5_percent"].Verdict != OnHealthy || w.s.Stage.Stop {
		t.Fatalf("the bake's verdict is %+v, stop %v", w.s.Tasks["monitor_5_percent"], w.s.Stage.Stop)
	}
	w.command("decide_25_percent")
	if w.s.Task != "monitor_5_percent" || w.s.Tasks["decide_25_percent"].Verdict != OnHealthy {
		t.Fatalf("decided, but at %s: the canary must go on being judged", w.s.Task)
	}
	w.command("deploy_canary_25_percent")
	w.tick(Task{Rollout: w.s.ID, ID: "monitor_25_percent", Kind: KindMonitor})
	w.command("deploy_canary_100_percent")
	if w.s.Phase != Succeeded {
		t.Errorf("%s at %s", w.s.Phase, w.s.Task)
	}
}

func TestExternalDriverIsRolledBackWithoutAsking(t *testing.T) {
	t.Parallel()
	w := external(t)
	w.command(TaskCompare)
	w.command("deploy_canary_5_percent")
	w.ticks["monitor_5_percent"] = []analysis.Decision{analysis.DecisionPromote, analysis.DecisionPromote, analysis.DecisionRollback}
	w.finish()
	if w.s.Phase != RolledBack || w.s.Tasks[TaskNotifyRollback].Verdict != "done" {
		t.Errorf("%s: %v", w.s.Phase, w.order)
	}
}
