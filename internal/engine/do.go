package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"serin/internal/rollout"
	"serin/internal/store"
)

// Command is one task run by a command: who asks, and how long it waits.
type Command struct {
	Rollout string
	// Task is the public id of the task to bring about.
	Task   string
	Actor  string
	Reason string
	// Until is when the command gives up; zero: never. What was committed by then stays, and the next command goes on from there.
	Until time.Time
	// MaxHold is how long the command waits for a rollout that is held, counted from the hold or the command, whichever began later; zero: for ever.
	MaxHold time.Duration
}

// Do brings a rollout to the end of one task, for drivers that run tasks as single commands: it grants the task, then plans and performs, or waits
// for the loop of this process that does, until the task has an outcome; the state then says which. A task that has an outcome already comes back
// at once, so running a command again is harmless. A task that is too early, or that this rollout can no longer come to, wraps
// rollout.ErrIllegal and changes nothing. When the time is over it is ErrNotYet or ErrHeld, with the state as it stands.
func (e *Engine) Do(ctx context.Context, c Command) (rollout.State, error) {
	s, err := e.state(ctx, c.Rollout)
	if err != nil {
		return s, err
	}
	node, ok := rollout.Find(rollout.Graph(s.Plan, s.Kind), c.Task)
	if !ok {
		return s, fmt.Errorf("rollout %s has no task %q: %w: see its graph", s.ID, c.Task, rollout.ErrIllegal)
	}
	if _, over := s.Tasks[c.Task]; over {
		return s, nil
	}
	if onPath(node) {
		if err := e.Signal(ctx, s.ID, rollout.Signal{Name: rollout.SignalGrant, Actor: c.Actor, Reason: c.Reason, Task: c.Task}); err != nil {
			return s, err
		}
	}
	bounded, cancel := context.WithCancelCause(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		e.limit(bounded, cancel, c)
	}()
	err = e.bring(bounded, node, c)
	cancel(nil)
	<-stopped
	if cause := context.Cause(bounded); err != nil && (errors.Is(cause, ErrNotYet) || errors.Is(cause, ErrHeld)) {
		err = cause
	}
	s, readErr := e.state(context.WithoutCancel(ctx), c.Rollout)
	return s, errors.Join(err, readErr)
}

// onPath says whether a task lies on the way forward, where a command may be too early. The others are ends that the rollout comes to by itself.
func onPath(n rollout.Node) bool {
	switch n.Kind {
	case rollout.KindAdmit, rollout.KindCompare, rollout.KindDecide, rollout.KindDeploy, rollout.KindMonitor, rollout.KindPromote:
		return true
	case rollout.KindRollback, rollout.KindKeep, rollout.KindNotify, rollout.KindWatch, rollout.KindUndo, rollout.KindSettle:
		return false
	}
	return false
}

// bring plans and performs until the task has an outcome.
func (e *Engine) bring(ctx context.Context, target rollout.Node, c Command) error {
	var before pace
	for {
		start := time.Now()
		woken, changed := e.wake.listen(c.Rollout), e.changes.listen(c.Rollout)
		s, err := e.state(ctx, c.Rollout)
		if err != nil {
			return err
		}
		if _, over := s.Tasks[target.ID]; over {
			return nil
		}
		if err := reachable(s, target); err != nil {
			return err
		}
		release, ok := e.slots.take(ctx, c.Rollout, changed)
		if !ok {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			continue
		}
		p, err := e.once(ctx, target, c)
		release()
		if err != nil {
			return err
		}
		switch {
		case p.Task != nil:
			sleep(ctx, woken, before.after(*p.Task, start))
		case !p.Done:
			sleep(ctx, woken, max(e.until(p.Wait), time.Millisecond))
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// once plans and performs one task, unless the target came about while the slot was waited for. An attempt that the command's own end has cut off is closed as dropped.
func (e *Engine) once(ctx context.Context, target rollout.Node, c Command) (Planned, error) {
	s, err := e.state(ctx, c.Rollout)
	if err != nil {
		return Planned{}, err
	}
	if _, over := s.Tasks[target.ID]; over {
		return Planned{Task: &rollout.Task{}}, nil
	}
	p, err := e.Plan(ctx, c.Rollout)
	if err != nil || p.Task == nil {
		return p, err
	}
	err = e.Perform(ctx, *p.Task)
	if err != nil && ctx.Err() != nil {
		return p, errors.Join(err, e.abandon(context.WithoutCancel(ctx), *p.Task, context.Cause(ctx)))
	}
	return p, err
}

// abandon closes the attempt of a command that gave up, so that nobody takes it for a crash.
func (e *Engine) abandon(ctx context.Context, t rollout.Task, cause error) error {
	err := e.store.Update(ctx, func(tx *store.Tx) error {
		line := fmt.Sprintf("attempt %d of %s stopped: %v", t.Attempt, t.ID, cause)
		if err := tx.CloseAttempt(ctx, store.Closing{AttemptKey: keyOf(t), Status: store.AttemptDropped, At: now(), Reason: cause.Error()}); err != nil {
			return err
		}
		return tx.AppendLog(ctx, keyOf(t), now(), []string{line})
	})
	if errors.Is(err, ErrFenced) {
		return nil
	}
	return err
}

// reachable says whether the rollout can still come to the target by itself.
func reachable(s rollout.State, target rollout.Node) error {
	a := rollout.Next(s, s.StartedAt)
	if a.Done || s.Phase.Ended() && onPath(target) {
		return fmt.Errorf("%s of rollout %s: %w: it has ended as %s (%s)", target.ID, s.ID, rollout.ErrIllegal, s.Phase, s.Reason)
	}
	if onPath(target) {
		return nil
	}
	node, ok := rollout.Find(rollout.Graph(s.Plan, s.Kind), s.Task)
	if ok && onPath(node) && (node.Kind != rollout.KindDecide || a.Do == nil) {
		return fmt.Errorf("%s of rollout %s: %w: it is at %s", target.ID, s.ID, rollout.ErrIllegal, s.Task)
	}
	return nil
}

// limit ends the command when its time is over, or when the rollout has been held for too long.
func (e *Engine) limit(ctx context.Context, cancel context.CancelCauseFunc, c Command) {
	began := now()
	for ctx.Err() == nil {
		changed := e.changes.listen(c.Rollout)
		s, err := e.state(ctx, c.Rollout)
		if err != nil {
			sleep(ctx, changed, firstBackoff)
			continue
		}
		due, cause := c.deadline(s, began)
		if due.IsZero() {
			sleep(ctx, changed, e.poll)
			continue
		}
		if wait := time.Until(due); wait > 0 {
			sleep(ctx, changed, wait)
			continue
		}
		cancel(cause)
		return
	}
}

// deadline is when the command ends as the row stands, and how.
func (c Command) deadline(s rollout.State, began time.Time) (due time.Time, cause error) {
	if !c.Until.IsZero() {
		due, cause = c.Until, fmt.Errorf("%s of rollout %s: %w: %s", c.Task, s.ID, ErrNotYet, s.Reason)
	}
	if s.Hold == nil || c.MaxHold <= 0 {
		return due, cause
	}
	since := s.Hold.Since
	if since.Before(began) {
		since = began
	}
	if held := since.Add(c.MaxHold); due.IsZero() || held.Before(due) {
		due, cause = held, fmt.Errorf("%s of rollout %s: %w: %s", c.Task, s.ID, ErrHeld, s.Hold.Reason)
	}
	return due, cause
}

func (e *Engine) state(ctx context.Context, id string) (s rollout.State, err error) {
	err = e.store.View(ctx, func(tx *store.Tx) error {
		row, err := tx.Rollout(ctx, id)
		s = row.State
		return err
	})
	return s, err
}
