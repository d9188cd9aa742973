package engine

import (
	"errors"
	"testing"

	"serin/internal/rollout"
)

// The verdict of a bake is committed before its monitor returns: a command that asks for the rollback in between must wait for it, not be refused.
func TestReachable_RollbackBetweenVerdictAndReturn(t *testing.T) {
	t.Parallel()
	plan := rollout.DefaultPlan("fraud")
	at := func(verdict string, ending *rollout.Ending) rollout.State {
		return rollout.State{
			ID: "r", Model: "fraud", Kind: rollout.KindOfRollout, Driver: rollout.DriverExternal, Plan: plan, Phase: rollout.Progressing,
			Task: "monitor_5_percent", Exposed: true, Stage: &rollout.StageVerdict{Verdict: verdict}, Ending: ending,
		}
	}
	rollback, ok := rollout.Find(rollout.Graph(plan, rollout.KindOfRollout), rollout.TaskRollback)
	if !ok {
		t.Fatal("no rollback in the graph")
	}
	for name, tt := range map[string]struct {
		state rollout.State
		want  error
	}{
		"still baking":      {at("", nil), rollout.ErrIllegal},
		"healthy":           {at(rollout.OnHealthy, nil), rollout.ErrIllegal},
		"unhealthy":         {at(rollout.OnUnhealthy, nil), nil},
		"held for too long": {at("", &rollout.Ending{Phase: rollout.RolledBack}), nil},
		"success that is judged": {func() rollout.State {
			s := at(rollout.OnUnhealthy, nil)
			s.Phase, s.Task = rollout.Succeeded, ""
			return s
		}(), rollout.ErrIllegal},
	} {
		if err := reachable(tt.state, rollback); !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}
