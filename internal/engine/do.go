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
	err = e.within(ctx, errand{Command: c, target: node, began: now()})
	s, readErr := e.state(context.WithoutCancel(ctx), c.Rollout)
	if _, over := s.Tasks[c.Task]; over && ctx.Err() == nil {
		err = nil
	}
	return s, errors.Join(err, readErr)
}

// grace is how long an attempt has to return by itself when the time of its command is over.
const grace = 2 * time.Second

// errand is a command on its way: the task to bring about, and when the command began.
type errand struct {
	Command
	target rollout.Node
	began  time.Time
}

// over says whether the target has an outcome.
func (r errand) over(s rollout.State) bool {
	_, over := s.Tasks[r.target.ID]
	return over
}

// within brings the task about in the time that the command has. The soft context ends when the command gives up waiting, the hard one when
// its own attempt is cut off.
func (e *Engine) within(ctx context.Context, r errand) error {
	hard, cutOff := context.WithCancelCause(ctx)
	soft, giveUp := context.WithCancelCause(hard)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		if cause := e.limit(hard, r); cause != nil {
			giveUp(cause)
			sleep(hard, nil, grace)
			cutOff(cause)
		}
	}()
	err := e.bring(soft, hard, r)
	cause := context.Cause(soft)
	cutOff(nil)
	giveUp(nil)
	<-stopped
	if err != nil && (errors.Is(cause, ErrNotYet) || errors.Is(cause, ErrHeld)) {
		return cause
	}
	return err
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
func (e *Engine) bring(ctx, hard context.Context, r errand) error {
	var before pace
	for {
		start := time.Now()
		woken, changed := e.wake.listen(r.Rollout), e.changes.listen(r.Rollout)
		s, err := e.state(ctx, r.Rollout)
		if err != nil {
			return err
		}
		if r.over(s) {
			return nil
		}
		if err := reachable(s, r.target); err != nil {
			return err
		}
		release, ok := e.slots.take(ctx, r.Rollout, changed)
		if !ok {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			continue
		}
		p, err := e.once(hard, r)
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
func (e *Engine) once(ctx context.Context, r errand) (Planned, error) {
	s, err := e.state(ctx, r.Rollout)
	if err != nil {
		return Planned{}, err
	}
	if r.over(s) {
		return Planned{Task: &rollout.Task{}}, nil
	}
	p, err := e.Plan(ctx, r.Rollout)
	if err != nil || p.Task == nil {
		return p, err
	}
	err = e.perform(ctx, *p.Task, func(s rollout.State) bool {
		due, _ := r.deadline(s)
		return r.over(s) || !due.IsZero() && !now().Before(due)
	})
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
	if !s.Phase.Ended() && (s.Ending != nil || s.Stage != nil && s.Stage.Verdict == rollout.OnUnhealthy) {
		return nil // its bake has failed: the running monitor returns, and the way back follows
	}
	node, ok := rollout.Find(rollout.Graph(s.Plan, s.Kind), s.Task)
	if ok && onPath(node) && (node.Kind != rollout.KindDecide || a.Do == nil) {
		return fmt.Errorf("%s of rollout %s: %w: it is at %s", target.ID, s.ID, rollout.ErrIllegal, s.Task)
	}
	return nil
}

// limit waits until the command's time is over, or the rollout has been held for too long, and says which; nil when ctx ended first.
func (e *Engine) limit(ctx context.Context, r errand) error {
	for ctx.Err() == nil {
		changed := e.changes.listen(r.Rollout)
		s, err := e.state(ctx, r.Rollout)
		if err != nil {
			sleep(ctx, changed, firstBackoff)
			continue
		}
		due, cause := r.deadline(s)
		if due.IsZero() {
			sleep(ctx, changed, e.poll)
			continue
		}
		wait := time.Until(due)
		if wait <= 0 {
			return cause
		}
		sleep(ctx, changed, wait)
	}
	return nil
}

// deadline is when the command ends as the row stands, and how.
func (r errand) deadline(s rollout.State) (due time.Time, cause error) {
	if !r.Until.IsZero() {
		due, cause = r.Until, fmt.Errorf("%s of rollout %s: %w: %s", r.Task, s.ID, ErrNotYet, s.Reason)
	}
	if s.Hold == nil || r.MaxHold <= 0 {
		return due, cause
	}
	since := s.Hold.Since
	if since.Before(r.began) {
		since = r.began
	}
	if held := since.Add(r.MaxHold); due.IsZero() || held.Before(due) {
		due, cause = held, fmt.Errorf("%s of rollout %s: %w: %s", r.Task, s.ID, ErrHeld, s.Hold.Reason)
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
