package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"serin/internal/rollout"
	"serin/internal/store"
)

// commitFor bounds the commit of a finished task when the process is about to stop.
const commitFor = 10 * time.Second

// Perform runs an attempt that Plan has opened and commits its result with the row's new state. An attempt that was taken over is ErrFenced and
// changes nothing. When ctx ends, nothing is applied: the attempt stays open and is lost at the next Plan.
func (e *Engine) Perform(ctx context.Context, t rollout.Task) error {
	return e.perform(ctx, t, func(rollout.State) bool { return false })
}

// halt says, after a checkpoint, whether who performs has seen enough: the task is then asked to return.
type halt func(rollout.State) bool

func (e *Engine) perform(ctx context.Context, t rollout.Task, enough halt) error {
	if !e.begin(keyOf(t)) {
		return fmt.Errorf("perform %s of rollout %s: %w", t.ID, t.Rollout, ErrBusy)
	}
	defer e.end(t.Rollout)
	t, err := e.load(ctx, t)
	if err != nil {
		return err
	}
	log := e.log.With("rollout", t.Rollout, "model", t.State.Model, "task", t.ID, "attempt", t.Attempt)
	log.InfoContext(ctx, "task started")
	began := time.Now()
	r, err := e.run(ctx, t, checkpointer{Engine: e, task: t, enough: enough})
	if err != nil && errors.Is(err, ErrFenced) {
		return err
	}
	if ctx.Err() != nil && (err != nil || r.Status != rollout.StatusDone) {
		return fmt.Errorf("%s of rollout %s was interrupted and will be run again: %w", t.ID, t.Rollout, context.Cause(ctx))
	}
	if err != nil {
		log.ErrorContext(ctx, "task failed", "err", err)
		r = rollout.Result{Status: rollout.StatusRetry, Reason: err.Error(), Log: r.Log, Evidence: r.Evidence}
	}
	done, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitFor)
	defer cancel()
	status, err := e.finish(done, t, r)
	if err != nil {
		return err
	}
	log.InfoContext(ctx, "task finished", "status", status, "reason", r.Reason, "seconds", time.Since(began).Seconds())
	return nil
}

// load reads the row under the attempt, so that a task that was carried as JSON has its state; an attempt that is not open runs nothing.
func (e *Engine) load(ctx context.Context, t rollout.Task) (rollout.Task, error) {
	err := e.store.View(ctx, func(tx *store.Tx) error {
		if err := tx.CheckAttempt(ctx, keyOf(t)); err != nil {
			return err
		}
		row, err := tx.Rollout(ctx, t.Rollout)
		if err != nil {
			return err
		}
		node, ok := rollout.Find(rollout.Graph(row.State.Plan, row.State.Kind), t.ID)
		if !ok {
			return fmt.Errorf("rollout %s has no task %q", t.Rollout, t.ID)
		}
		t.State, t.Node, t.Kind = row.State, node, node.Kind
		return nil
	})
	return t, err
}

// run calls the runner. A task that panics has failed; the process goes on.
func (e *Engine) run(ctx context.Context, t rollout.Task, c checkpointer) (r rollout.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			e.log.ErrorContext(ctx, "task panicked", "rollout", t.Rollout, "task", t.ID, "attempt", t.Attempt, "err", p, "stack", string(debug.Stack()))
			r, err = rollout.Result{}, fmt.Errorf("%s panicked: %v (a fault in serin: please report it with the log)", t.ID, p)
		}
	}()
	return e.runner.Run(ctx, t, func(r rollout.Result) (rollout.Signals, error) { return c.checkpoint(ctx, r) })
}

// checkpointer commits the checkpoints of one attempt.
type checkpointer struct {
	*Engine
	task   rollout.Task
	enough halt
}

// checkpoint commits what a task has come to so far, with the signals that have come, and tells the task what the row says now.
func (c checkpointer) checkpoint(ctx context.Context, r rollout.Result) (signals rollout.Signals, err error) {
	t := c.task
	if r.Status != rollout.StatusRunning {
		return rollout.Signals{}, fmt.Errorf("checkpoint of %s in rollout %s has status %q: it must be running", t.ID, t.Rollout, r.Status)
	}
	err = c.turn(ctx, t.Rollout, func(u *turn) error {
		if err := u.progress(ctx, t, r); err != nil {
			return err
		}
		if err := u.drain(ctx); err != nil {
			return err
		}
		err := u.apply(ctx, t, r)
		if errors.Is(err, rollout.ErrStale) {
			signals.Stop = true
			return nil
		}
		signals = u.row.State.Directive(t)
		signals.Stop = signals.Stop || c.enough(u.row.State)
		return err
	})
	if err != nil {
		return rollout.Signals{Stop: true}, fmt.Errorf("checkpoint of attempt %d of %s: %w", t.Attempt, t.ID, err)
	}
	return signals, nil
}

// progress is the fence of a checkpoint, with its log and evidence. One that brings nothing new writes nothing: tasks ask often.
func (u *turn) progress(ctx context.Context, t rollout.Task, r rollout.Result) error {
	k := keyOf(t)
	if r.Reason == "" && len(r.Evidence) == 0 {
		if err := u.tx.CheckAttempt(ctx, k); err != nil {
			return err
		}
		return u.tx.AppendLog(ctx, k, u.now, r.Log)
	}
	if err := u.tx.SaveProgress(ctx, store.Progress{AttemptKey: k, Reason: r.Reason, Evidence: r.Evidence}); err != nil {
		return err
	}
	return u.tx.AppendLog(ctx, k, u.now, r.Log)
}

// finish closes the attempt and gives the row its result in one transaction.
func (e *Engine) finish(ctx context.Context, t rollout.Task, r rollout.Result) (store.AttemptStatus, error) {
	var status store.AttemptStatus
	err := e.turn(ctx, t.Rollout, func(u *turn) error {
		if err := u.tx.CheckAttempt(ctx, keyOf(t)); err != nil {
			return err
		}
		if err := u.drain(ctx); err != nil {
			return err
		}
		closing, err := u.conclude(ctx, t, r)
		if err != nil {
			return err
		}
		status = closing.Status
		line := fmt.Sprintf("attempt %d of %s finished: %s", t.Attempt, t.ID, status)
		if closing.Verdict != "" && closing.Verdict != string(status) {
			line += " (" + closing.Verdict + ")"
		}
		if closing.Reason != "" {
			line += ": " + closing.Reason
		}
		if err := u.tx.AppendLog(ctx, keyOf(t), u.now, append(append([]string{}, r.Log...), line)); err != nil {
			return err
		}
		return u.tx.CloseAttempt(ctx, closing)
	})
	if err != nil {
		return "", fmt.Errorf("finish attempt %d of %s: %w", t.Attempt, t.ID, err)
	}
	return status, nil
}

// conclude applies a result and says how the attempt ends. A result that the row cannot take counts as a failed attempt; one that comes too late is dropped.
func (u *turn) conclude(ctx context.Context, t rollout.Task, r rollout.Result) (store.Closing, error) {
	if r.Status == rollout.StatusRunning {
		r = rollout.Result{Status: rollout.StatusRetry, Reason: "it returned without an end: a run ends as done, retry, not_proven or refused", Evidence: r.Evidence}
	}
	c := store.Closing{AttemptKey: keyOf(t), At: u.now, Reason: r.Reason, Evidence: r.Evidence}
	err := u.apply(ctx, t, r)
	if errors.Is(err, rollout.ErrIllegal) {
		r = rollout.Result{Status: rollout.StatusRetry, Reason: err.Error()}
		c.Reason = r.Reason
		err = u.apply(ctx, t, r)
	}
	if errors.Is(err, rollout.ErrStale) || errors.Is(err, rollout.ErrIllegal) {
		c.Status, c.Reason = store.AttemptDropped, err.Error()
		return c, nil
	}
	switch r.Status {
	case rollout.StatusDone:
		c.Status, c.Verdict = store.AttemptDone, u.row.State.Tasks[t.ID].Verdict
	case rollout.StatusRefused:
		c.Status, c.Verdict = store.AttemptRefused, u.row.State.Tasks[t.ID].Verdict
	case rollout.StatusNotProven:
		c.Status = store.AttemptNotProven
	case rollout.StatusRetry, rollout.StatusRunning:
		c.Status = store.AttemptRetry
	}
	return c, err
}
