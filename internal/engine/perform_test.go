package engine

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"serin/internal/rollout"
	"serin/internal/store"
)

// plan1 plans once and gives the task.
func (w *world) plan1(e *Engine, id string) rollout.Task {
	w.t.Helper()
	p, err := e.Plan(w.t.Context(), id)
	if err != nil || p.Task == nil {
		w.t.Fatalf("planned %+v: %v", p, err)
	}
	return *p.Task
}

// TestPerform_ZombieIsFenced lets a second process take over while the first runs an attempt: what the first brings afterwards changes nothing.
func TestPerform_ZombieIsFenced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	w.script.on("admit", block(entered, leave), good)
	id := w.start(nil)
	zombie := make(chan error, 1)
	task := w.plan1(w.Engine, id)
	go func() { zombie <- w.Perform(t.Context(), task) }()
	<-entered

	second := w.another()
	taken := w.plan1(second, id)
	if taken.Attempt != 2 {
		t.Fatalf("took over with attempt %d", taken.Attempt)
	}
	if err := second.Perform(t.Context(), taken); err != nil {
		t.Fatal(err)
	}
	before := w.get(id)
	close(leave)
	wantError(t, <-zombie, ErrFenced)
	if s := w.get(id); s.Task != before.Task || len(s.Tasks) != len(before.Tasks) {
		t.Errorf("the zombie moved the row from %s to %s", before.Task, s.Task)
	}
	if got := w.attempts(id); !slices.Equal(got, []string{"admit/1 lost", "admit/2 done"}) {
		t.Errorf("attempts %v", got)
	}
}

// TestPerform_FencedCheckpoint shows that a fenced attempt learns of it at its checkpoint, and that one that was never run runs nothing.
func TestPerform_FencedCheckpoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var checkpointErr error
	var signals rollout.Signals
	w.script.on("deploy_canary_5_percent", func(ctx context.Context, t rollout.Task, checkpoint func(rollout.Result) (rollout.Signals, error)) (rollout.Result, error) {
		if _, err := w.another().Plan(ctx, t.Rollout); err != nil {
			return rollout.Result{}, err
		}
		signals, checkpointErr = checkpoint(rollout.Result{Status: rollout.StatusRunning, Exposed: true, Log: []string{"late"}})
		return rollout.Result{Status: rollout.StatusDone}, nil
	}, good)
	id := w.start(nil)
	w.stepTo(id, "deploy_canary_5_percent")
	task := w.plan1(w.Engine, id)
	wantError(t, w.Perform(t.Context(), task), ErrFenced)
	wantError(t, checkpointErr, ErrFenced)
	if !signals.Stop {
		t.Error("a fenced checkpoint does not say stop")
	}
	if w.get(id).Exposed || strings.Contains(w.story(id), "late") {
		t.Error("a fenced checkpoint was applied")
	}
	ran := len(w.script.order())
	wantError(t, w.Perform(t.Context(), task), ErrFenced)
	if len(w.script.order()) != ran {
		t.Error("an attempt that is not open was run")
	}
}

// TestPerform_Busy refuses to plan or perform beside a running attempt of the same process.
func TestPerform_Busy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	w.script.on("admit", block(entered, leave))
	id := w.start(nil)
	task := w.plan1(w.Engine, id)
	ended := make(chan error, 1)
	go func() { ended <- w.Perform(t.Context(), task) }()
	<-entered
	_, err := w.Plan(t.Context(), id)
	wantError(t, err, ErrBusy)
	wantError(t, w.Perform(t.Context(), task), ErrBusy)
	close(leave)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if p := w.once(id); p.Task == nil || p.Task.ID != "compare_models" {
		t.Errorf("planned %+v afterwards", p)
	}
}

// TestPerform_InterruptedIsNotApplied ends the context in the middle: the attempt stays open, and the next Plan closes it as lost.
func TestPerform_InterruptedIsNotApplied(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	w.script.on("admit", block(entered, leave), good)
	id := w.start(nil)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	wantError(t, w.Perform(ctx, w.plan1(w.Engine, id)), context.Canceled)
	if got := w.attempts(id); !slices.Equal(got, []string{"admit/1 open"}) {
		t.Errorf("attempts %v", got)
	}
	w.once(id)
	if got := w.attempts(id); !slices.Equal(got, []string{"admit/1 lost", "admit/2 done"}) {
		t.Errorf("attempts %v", got)
	}
}

// TestPerform_DoneBeforeTheEndIsKept commits what was finished although the process is stopping.
func TestPerform_DoneBeforeTheEndIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.script.on("admit", func(_ context.Context, t rollout.Task, cp func(rollout.Result) (rollout.Signals, error)) (rollout.Result, error) {
		cancel()
		return good(context.Background(), t, cp)
	})
	id := w.start(nil)
	if err := w.Perform(ctx, w.plan1(w.Engine, id)); err != nil {
		t.Fatal(err)
	}
	if s := w.get(id); s.Task != "compare_models" {
		t.Errorf("at %s", s.Task)
	}
}

// TestPerform_DroppedWhenTheRowMovedOn aborts while an attempt runs: its result comes too late.
func TestPerform_DroppedWhenTheRowMovedOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.script.on("compare_models", func(ctx context.Context, t rollout.Task, cp func(rollout.Result) (rollout.Signals, error)) (rollout.Result, error) {
		if err := w.Signal(ctx, t.Rollout, rollout.Signal{Name: rollout.SignalAbort, Actor: "ann", Reason: "no"}); err != nil {
			return rollout.Result{}, err
		}
		signals, err := cp(rollout.Result{Status: rollout.StatusRunning, Log: []string{"half way"}})
		if !signals.Stop {
			err = errors.Join(err, errors.New("the checkpoint does not say stop"))
		}
		if err != nil {
			return rollout.Result{}, err
		}
		return good(ctx, t, cp)
	})
	id := w.start(nil)
	w.stepTo(id, "compare_models")
	w.once(id)
	if s := w.get(id); s.Phase != rollout.Aborted || s.Gate != nil {
		t.Errorf("the row is %s with gate %+v", s.Phase, s.Gate)
	}
	if got := w.attempts(id); !slices.Contains(got, "compare_models/1 dropped") {
		t.Errorf("attempts %v", got)
	}
	if !strings.Contains(w.story(id), "half way") {
		t.Error("the log of the dropped attempt is gone")
	}
}

// TestPerform_Results has what a task may answer, also wrongly.
func TestPerform_Results(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer  rollout.Result
		err     error
		attempt string
		phase   rollout.Phase
	}{
		"refused":             {rollout.Result{Status: rollout.StatusRefused, Reason: "version 42 is blocked"}, nil, "admit/1 refused", rollout.Failed},
		"not proven":          {rollout.Result{Status: rollout.StatusNotProven, Reason: "gw-2 is silent"}, nil, "admit/1 not_proven", rollout.Held},
		"done without result": {rollout.Result{Status: rollout.StatusDone}, nil, "admit/1 retry", rollout.Progressing},
		"no status":           {rollout.Result{}, nil, "admit/1 retry", rollout.Progressing},
		"still running":       {rollout.Result{Status: rollout.StatusRunning}, nil, "admit/1 retry", rollout.Progressing},
		"error":               {rollout.Result{}, errors.New("boom"), "admit/1 retry", rollout.Progressing},
		"error beats done":    {rollout.Result{Status: rollout.StatusDone, Pins: &rollout.Pins{}}, errors.New("boom"), "admit/1 retry", rollout.Progressing},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.script.on("admit", result(c.answer, c.err))
			id := w.start(nil)
			w.once(id)
			s := w.get(id)
			if s.Phase != c.phase || !slices.Equal(w.attempts(id), []string{c.attempt}) {
				t.Errorf("the row is %s with %v, want %s with %s", s.Phase, w.attempts(id), c.phase, c.attempt)
			}
			if c.phase == rollout.Progressing && s.RetryAt.IsZero() {
				t.Error("no pause before the next attempt")
			}
		})
	}
}

// TestCheckpoint_EvidenceAndLog stores what a checkpoint brings, and nothing at all when it brings nothing.
func TestCheckpoint_EvidenceAndLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var quiet, loud int64
	generation := func(id string) (n int64) {
		w.read(func(ctx context.Context, tx *store.Tx) error {
			row, err := tx.Rollout(ctx, id)
			n = row.Generation
			return err
		})
		return n
	}
	w.script.on("deploy_canary_5_percent", func(_ context.Context, t rollout.Task, cp func(rollout.Result) (rollout.Signals, error)) (rollout.Result, error) {
		before := generation(t.Rollout)
		_, err1 := cp(rollout.Result{Status: rollout.StatusRunning})
		quiet = generation(t.Rollout) - before
		_, err2 := cp(rollout.Result{Status: rollout.StatusRunning, Exposed: true, Log: []string{"routing 5 / 95"}, Evidence: json.RawMessage(`{"generation":7}`)})
		loud = generation(t.Rollout) - before
		if _, err := cp(rollout.Result{Status: rollout.StatusDone}); err == nil {
			return rollout.Result{}, errors.New("a checkpoint that says done was taken")
		}
		return rollout.Result{Status: rollout.StatusDone}, errors.Join(err1, err2)
	})
	id := w.start(nil)
	w.stepTo(id, "deploy_canary_5_percent")
	w.once(id)
	if quiet != 0 || loud != 1 {
		t.Errorf("an empty checkpoint wrote the row %d times, one with news %d times; want 0 and 1", quiet, loud)
	}
	if !strings.Contains(w.story(id), "routing 5 / 95") {
		t.Errorf("story: %s", w.story(id))
	}
	w.read(func(ctx context.Context, tx *store.Tx) error {
		all, err := tx.Attempts(ctx, id)
		if last := all[len(all)-1]; string(last.Evidence) != `{"generation":7}` || last.Status != store.AttemptDone {
			t.Errorf("the attempt is %+v", last)
		}
		return err
	})
}

// TestPerform_TaskCarriedAsJSON performs a task that lost its state on the way, as one from another driver has.
func TestPerform_TaskCarriedAsJSON(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.script.on("admit", func(ctx context.Context, t rollout.Task, cp func(rollout.Result) (rollout.Signals, error)) (rollout.Result, error) {
		if t.State.ID != t.Rollout || t.Node.ID != "admit" || t.Kind != rollout.KindAdmit {
			return rollout.Result{}, errors.New("the task has no state")
		}
		return good(ctx, t, cp)
	})
	id := w.start(nil)
	text, err := json.Marshal(w.plan1(w.Engine, id))
	if err != nil {
		t.Fatal(err)
	}
	var task rollout.Task
	if err := json.Unmarshal(text, &task); err != nil {
		t.Fatal(err)
	}
	if err := w.Perform(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	if got := w.attempts(id); !slices.Equal(got, []string{"admit/1 done"}) {
		t.Errorf("attempts %v", got)
	}
}

func TestPlan_UnknownRollout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.Plan(t.Context(), "nobody")
	wantError(t, err, store.ErrNotFound)
	wantError(t, w.Perform(t.Context(), rollout.Task{Rollout: "nobody", ID: "admit", Attempt: 1}), ErrFenced)
	wantError(t, w.Signal(t.Context(), "nobody", rollout.Signal{Name: rollout.SignalPause, Actor: "a", Reason: "r"}), store.ErrNotFound)
}

// TestPlan_Waits gives the time of the next attempt, and opens none before.
func TestPlan_Waits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.script.on("admit", result(rollout.Result{}, errors.New("boom")))
	id := w.start(nil)
	w.once(id)
	p := w.once(id)
	if p.Task != nil || p.Done || time.Until(p.Wait) > time.Second {
		t.Errorf("planned %+v", p)
	}
	if n := len(w.attempts(id)); n != 1 {
		t.Errorf("%d attempts", n)
	}
}
