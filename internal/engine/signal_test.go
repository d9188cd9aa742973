package engine

import (
	"context"
	"slices"
	"strings"
	"testing"

	"serin/internal/rollout"
	"serin/internal/store"
)

func (w *world) signals(id string) (list []string) {
	w.t.Helper()
	w.read(func(ctx context.Context, tx *store.Tx) error {
		all, err := tx.Signals(ctx, id)
		for _, s := range all {
			word := "applied"
			if s.AppliedAt.IsZero() {
				word = "waiting"
			}
			if s.Error != "" {
				word = "refused"
			}
			list = append(list, string(s.Signal.Name)+" "+word)
		}
		return err
	})
	return list
}

// whileDead stores signals as a process does that only has the rows.
func (w *world) whileDead(id string, signals ...rollout.Signal) {
	w.t.Helper()
	err := w.db.Update(w.t.Context(), func(tx *store.Tx) error {
		for _, sig := range signals {
			if _, err := tx.AddSignal(w.t.Context(), id, sig, now()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func sig(name rollout.SignalName) rollout.Signal {
	return rollout.Signal{Name: name, Actor: "ann", Reason: "lunch"}
}

func TestSignal_AppliedAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.start(nil)
	if err := w.Signal(t.Context(), id, sig(rollout.SignalPause)); err != nil {
		t.Fatal(err)
	}
	if s := w.get(id); s.Phase != rollout.Paused || s.Pause.Actor != "ann" {
		t.Errorf("the row is %s, %+v", s.Phase, s.Pause)
	}
	if p := w.once(id); p.Task != nil || p.Done {
		t.Errorf("planned %+v while paused", p)
	}
	if err := w.Signal(t.Context(), id, sig(rollout.SignalResume)); err != nil {
		t.Fatal(err)
	}
	if p := w.once(id); p.Task == nil {
		t.Error("nothing to do after the pause")
	}
	if got := w.signals(id); !slices.Equal(got, []string{"pause applied", "resume applied"}) {
		t.Errorf("signals %v", got)
	}
}

func TestSignal_IllegalIsKeptWithItsError(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.start(nil)
	wantError(t, w.Signal(t.Context(), id, sig(rollout.SignalResume)), rollout.ErrIllegal)
	wantError(t, w.Signal(t.Context(), id, rollout.Signal{Name: rollout.SignalPause}), rollout.ErrIllegal)
	if got := w.signals(id); !slices.Equal(got, []string{"resume refused", "pause refused"}) {
		t.Errorf("signals %v", got)
	}
	if s := w.get(id); s.Phase != rollout.Progressing {
		t.Errorf("the row is %s", s.Phase)
	}
	if got := w.history(id); !slices.Contains(got, "SignalRefused by ann") {
		t.Errorf("history %v", got)
	}
}

// TestSignal_WrittenWhileNothingRuns is drained by the next Plan, in order, before anything else happens.
func TestSignal_WrittenWhileNothingRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.start(nil)
	w.whileDead(id, sig(rollout.SignalPause), sig(rollout.SignalPause), sig(rollout.SignalAbort))
	if p := w.once(id); !p.Done {
		t.Errorf("planned %+v after an abort", p)
	}
	if s := w.get(id); s.Phase != rollout.Aborted {
		t.Errorf("the row is %s", s.Phase)
	}
	if got := w.signals(id); !slices.Equal(got, []string{"pause applied", "pause refused", "abort applied"}) {
		t.Errorf("signals %v", got)
	}
	if !strings.Contains(w.logged.String(), "signal refused") {
		t.Error("nobody was told that a signal was refused")
	}
	if len(w.script.order()) != 0 {
		t.Errorf("ran %v", w.script.order())
	}
}

// TestSignal_DrainedByCheckpointAndFinish brings rows that were only written to the task that runs.
func TestSignal_DrainedByCheckpointAndFinish(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var signals rollout.Signals
	w.script.on("deploy_canary_5_percent", func(ctx context.Context, t rollout.Task, cp func(rollout.Result) (rollout.Signals, error)) (rollout.Result, error) {
		if _, err := cp(rollout.Result{Status: rollout.StatusRunning, Exposed: true}); err != nil {
			return rollout.Result{}, err
		}
		w.whileDead(t.Rollout, sig(rollout.SignalAbort))
		var err error
		signals, err = cp(rollout.Result{Status: rollout.StatusRunning})
		return rollout.Result{Status: rollout.StatusDone}, err
	})
	w.script.on("admit", func(ctx context.Context, t rollout.Task, cp func(rollout.Result) (rollout.Signals, error)) (rollout.Result, error) {
		w.whileDead(t.Rollout, sig(rollout.SignalPause))
		return good(ctx, t, cp)
	})
	id := w.start(nil)
	w.once(id)
	if s := w.get(id); s.Phase != rollout.Paused || s.Task != "compare_models" {
		t.Errorf("after the first task the row is %s at %s", s.Phase, s.Task)
	}
	w.whileDead(id, sig(rollout.SignalResume))
	w.stepTo(id, "deploy_canary_5_percent")
	w.once(id)
	if !signals.Stop {
		t.Error("the checkpoint does not say stop")
	}
	if s := w.get(id); s.Task != rollout.TaskRollback || s.Ending == nil || s.Ending.Actor != "ann" {
		t.Errorf("at %s, ending %+v", s.Task, s.Ending)
	}
	w.stepTo(id, rollout.TaskNotifyRollback)
}

// TestSignal_AfterTheEndWakesNobody is no error for the engine, only for the caller.
func TestSignal_AfterTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.start(nil)
	if err := w.Signal(t.Context(), id, sig(rollout.SignalAbort)); err != nil {
		t.Fatal(err)
	}
	wantError(t, w.Signal(t.Context(), id, sig(rollout.SignalAbort)), rollout.ErrIllegal)
	if p := w.once(id); !p.Done {
		t.Errorf("planned %+v", p)
	}
}

// TestSignal_EndsWhatADeadProcessLeft aborts a rollout whose attempt nobody runs any more: the row ends, and nothing stays open in it. An attempt
// that runs in this process is left to its own end.
func TestSignal_EndsWhatADeadProcessLeft(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.start(nil)
	p, err := w.Plan(t.Context(), id)
	if err != nil || p.Task == nil {
		t.Fatalf("planned %+v, %v", p, err)
	}
	abort := rollout.Signal{Name: rollout.SignalAbort, Actor: "ann", Reason: "wrong model"}
	if err := w.Signal(t.Context(), id, abort); err != nil {
		t.Fatal(err)
	}
	w.read(func(ctx context.Context, tx *store.Tx) error {
		all, err := tx.Attempts(ctx, id)
		if err != nil || len(all) != 1 || all[0].Status != store.AttemptLost {
			t.Errorf("attempts %+v, %v, want one that is lost", all, err)
		}
		row, err := tx.Rollout(ctx, id)
		if row.State.Phase != rollout.Aborted {
			t.Errorf("phase %s", row.State.Phase)
		}
		return err
	})
	wantError(t, w.Perform(t.Context(), *p.Task), ErrFenced)

	other := w.start(nil)
	if p, err = w.Plan(t.Context(), other); err != nil || p.Task == nil {
		t.Fatalf("planned %+v, %v", p, err)
	}
	if !w.begin(keyOf(*p.Task)) {
		t.Fatal("it runs already")
	}
	defer w.end(other)
	if err := w.Signal(t.Context(), other, abort); err != nil {
		t.Fatal(err)
	}
	w.read(func(ctx context.Context, tx *store.Tx) error {
		open, err := tx.OpenAttempts(ctx, other)
		if len(open) != 1 {
			t.Errorf("%d open attempts, want the one that runs", len(open))
		}
		return err
	})
}
