package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/analysis"
	"serin/internal/rollout"
)

func command(id, task string) Command {
	return Command{Rollout: id, Task: task, Actor: "airflow", Reason: "run 7"}
}

// do runs a command that must succeed and gives the verdict of its task.
func (w *world) do(id, task string) string {
	w.t.Helper()
	s, err := w.Do(w.t.Context(), command(id, task))
	if err != nil {
		w.t.Fatalf("%s: %v", task, err)
	}
	return s.Tasks[task].Verdict
}

// TestDo_WholeRolloutByCommands runs each task as its own command, with and without a loop beside it.
func TestDo_WholeRolloutByCommands(t *testing.T) {
	for name, looped := range map[string]bool{"alone": false, "beside the loop": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				if looped {
					defer w.loop()()
				}
				id := w.start(external)
				for _, c := range [][2]string{
					{"compare_models", "promote"},
					{"decide_deployment", "approve"},
					{"deploy_canary_5_percent", "done"},
					{"monitor_5_percent", "healthy"},
					{"deploy_canary_25_percent", "done"},
					{"monitor_25_percent", "healthy"},
					{"decide_100_percent", "healthy"},
					{"deploy_canary_100_percent", "done"},
					{"notify_success", "done"},
				} {
					if got := w.do(id, c[0]); got != c[1] {
						t.Errorf("%s: %s, want %s", c[0], got, c[1])
					}
				}
				ran := len(w.script.order())
				if got := w.do(id, "monitor_5_percent"); got != "healthy" || !looped && len(w.script.order()) != ran {
					t.Errorf("again: %s, and ran %v", got, w.script.order()[ran:])
				}
				if s := w.get(id); s.Phase != rollout.Succeeded {
					t.Errorf("the row is %s", s.Phase)
				}
				if got := w.attempts(id); !looped && slices.ContainsFunc(got, func(a string) bool { return !strings.HasSuffix(a, " done") }) {
					t.Errorf("attempts %v", got)
				}
			})
		})
	}
}

// TestDo_TooEarlyDoesNothing asks for a task that others come before.
func TestDo_TooEarlyDoesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.start(external)
	for _, task := range []string{"deploy_canary_5_percent", "monitor_25_percent", "deploy_canary_100_percent", "rollback_deployment", "notify_success", "deploy_canary_7_percent"} {
		_, err := w.Do(t.Context(), command(id, task))
		wantError(t, err, rollout.ErrIllegal)
	}
	if got := w.script.order(); len(got) != 0 {
		t.Errorf("ran %v", got)
	}
}

func TestDo_ServersOwnRowIsNotGranted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.Do(t.Context(), command(w.start(nil), "compare_models"))
	wantError(t, err, rollout.ErrIllegal)
}

// TestDo_UnhealthyGoesBack runs the commands of the failure branch.
func TestDo_UnhealthyGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.script.on("monitor_5_percent", bake(analysis.DecisionRollback))
		id := w.start(external)
		for _, c := range [][2]string{
			{"compare_models", "promote"},
			{"deploy_canary_5_percent", "done"},
			{"monitor_5_percent", "unhealthy"},
			{"rollback_deployment", "done"},
			{"notify_rollback", "done"},
		} {
			if got := w.do(id, c[0]); got != c[1] {
				t.Errorf("%s: %s, want %s", c[0], got, c[1])
			}
		}
		if s := w.get(id); s.Phase != rollout.RolledBack {
			t.Errorf("the row is %s", s.Phase)
		}
		_, err := w.Do(t.Context(), command(id, "deploy_canary_25_percent"))
		wantError(t, err, rollout.ErrIllegal)
		_, err = w.Do(t.Context(), command(id, "notify_success"))
		wantError(t, err, rollout.ErrIllegal)
	})
}

// TestDo_Rejected comes to keep_champion by the decision.
func TestDo_Rejected(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.script.on("compare_models", result(rollout.Result{Status: rollout.StatusDone, Gate: &rollout.GateVerdict{Decision: "reject", Reasons: []string{"recall 0.91"}}}, nil))
	id := w.start(external)
	if got := w.do(id, "compare_models"); got != "reject" {
		t.Errorf("verdict %s", got)
	}
	if got := w.do(id, "keep_champion"); got != "done" {
		t.Errorf("keep_champion: %s", got)
	}
	if got := w.do(id, "notify_rejected"); got != "done" {
		t.Errorf("notify_rejected: %s", got)
	}
}

// toMonitor brings an external rollout to its first bake by commands.
func (w *world) toMonitor() string {
	w.t.Helper()
	id := w.start(external)
	w.do(id, "compare_models")
	w.do(id, "deploy_canary_5_percent")
	return id
}

// TestDo_TimeIsOver gives up in the middle of a bake; the next command goes on with what was covered.
func TestDo_TimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		id := w.toMonitor()
		c := command(id, "monitor_5_percent")
		c.Until = time.Now().Add(10*time.Minute + 5*time.Second) // between two ticks
		s, err := w.Do(t.Context(), c)
		wantError(t, err, ErrNotYet)
		if late := time.Since(c.Until); late < 0 || late > grace {
			t.Errorf("gave up %s after the time that was asked for", late)
		}
		if s.Stage == nil || s.Stage.Judgement == nil || s.Stage.Judgement.Covered < 9*time.Minute {
			t.Errorf("what was covered is gone: %+v", s.Stage)
		}
		if got := w.attempts(id); !slices.Contains(got, "monitor_5_percent/1 dropped") {
			t.Errorf("attempts %v", got)
		}
		began := time.Now()
		if got := w.do(id, "monitor_5_percent"); got != "healthy" {
			t.Errorf("verdict %s", got)
		}
		if took := time.Since(began); took > 21*time.Minute {
			t.Errorf("the rest of the bake took %s, want 20 minutes", took)
		}
	})
}

// TestDo_HeldForTooLong counts the hold from the later of its beginning and the command's.
func TestDo_HeldForTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.script.on("monitor_5_percent", bake(analysis.DecisionHold))
		id := w.toMonitor()
		c := command(id, "monitor_5_percent")
		c.MaxHold = 20 * time.Minute
		began := time.Now()
		s, err := w.Do(t.Context(), c)
		wantError(t, err, ErrHeld)
		if took := time.Since(began); took < 50*time.Minute || took > 50*time.Minute+grace || s.Phase != rollout.Held {
			t.Errorf("gave up after %s as %s, want 30 + 20 minutes as held", took, s.Phase)
		}
		began = time.Now()
		_, err = w.Do(t.Context(), c)
		wantError(t, err, ErrHeld)
		if took := time.Since(began); took < 20*time.Minute || took > 20*time.Minute+grace {
			t.Errorf("the second command gave up after %s", took)
		}
	})
}

// TestDo_AbortEndsTheCommand aborts while a command waits: it comes back with the row going back.
func TestDo_AbortEndsTheCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		id := w.toMonitor()
		go func() {
			pause(t.Context(), 5*time.Minute)
			if err := w.Signal(t.Context(), id, sig(rollout.SignalAbort)); err != nil {
				t.Error(err)
			}
		}()
		began := time.Now()
		if got := w.do(id, "monitor_5_percent"); got != "aborted" {
			t.Errorf("verdict %s", got)
		}
		if took := time.Since(began); took > 6*time.Minute {
			t.Errorf("came back after %s", took)
		}
		if s := w.get(id); s.Task != rollout.TaskRollback {
			t.Errorf("at %s", s.Task)
		}
		if got := w.do(id, "rollback_deployment"); got != "done" {
			t.Errorf("rollback: %s", got)
		}
	})
}

// TestDo_RetriesUntilTheTaskPasses spends the pauses between attempts.
func TestDo_RetriesUntilTheTaskPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		down := result(rollout.Result{}, errors.New("registry: connection refused"))
		w.script.on("admit", append(slices.Repeat([]effect{down}, 2), good)...)
		id := w.start(external)
		if got := w.do(id, "compare_models"); got != "promote" {
			t.Errorf("verdict %s", got)
		}
		want := []string{"admit/1 retry", "admit/2 retry", "admit/3 done", "compare_models/1 done"}
		if diff := cmp.Diff(want, w.attempts(id)); diff != "" {
			t.Error(diff)
		}
	})
}

// TestDo_CallerGoesAway ends with the caller's context.
func TestDo_CallerGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		id := w.toMonitor()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := w.Do(ctx, command(id, "monitor_5_percent"))
		wantError(t, err, context.DeadlineExceeded)
	})
}
