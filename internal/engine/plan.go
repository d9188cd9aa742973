package engine

import (
	"context"
	"fmt"
	"time"

	"serin/internal/rollout"
	"serin/internal/store"
)

// Planned is what is next in a rollout: a task to perform, or a time to ask again (zero: when a signal comes), or nothing for ever.
type Planned struct {
	Task *rollout.Task
	Wait time.Time
	Done bool
}

// Plan gives a rollout the signals that wait for it and opens an attempt at what is next. An attempt that is still open belongs to a process
// that died: it is closed as lost. While an attempt runs in this process Plan is ErrBusy.
func (e *Engine) Plan(ctx context.Context, id string) (Planned, error) {
	if k, busy := e.runs(id); busy {
		return Planned{}, fmt.Errorf("plan rollout %s: attempt %d of %s: %w", id, k.Attempt, k.Task, ErrBusy)
	}
	var p Planned
	err := e.turn(ctx, id, func(u *turn) (err error) {
		if err := u.drain(ctx); err != nil {
			return err
		}
		if err := u.loseAttempts(ctx); err != nil {
			return err
		}
		a := rollout.Next(u.row.State, u.now)
		p = Planned{Wait: a.Wait, Done: a.Done}
		if a.Do != nil {
			p.Task, err = u.openAttempt(ctx, *a.Do)
		}
		return err
	})
	if err != nil {
		return Planned{}, fmt.Errorf("plan rollout %s: %w", id, err)
	}
	return p, nil
}

func (u *turn) loseAttempts(ctx context.Context) error {
	left, err := u.tx.OpenAttempts(ctx, u.row.State.ID)
	if err != nil {
		return err
	}
	for _, a := range left {
		const reason = "the process that ran it ended without a result"
		if err := u.tx.CloseAttempt(ctx, store.Closing{AttemptKey: a.AttemptKey, Status: store.AttemptLost, At: u.now, Reason: reason}); err != nil {
			return err
		}
		if err := u.tx.AppendLog(ctx, a.AttemptKey, u.now, []string{fmt.Sprintf("attempt %d of %s is lost: %s", a.Attempt, a.Task, reason)}); err != nil {
			return err
		}
		u.e.log.WarnContext(ctx, "attempt lost", "rollout", a.Rollout, "task", a.Task, "attempt", a.Attempt)
	}
	return nil
}

func (u *turn) openAttempt(ctx context.Context, node rollout.Node) (*rollout.Task, error) {
	s := u.row.State
	n, err := u.tx.OpenAttempt(ctx, s.ID, node.ID, u.now)
	if err != nil {
		return nil, err
	}
	t := &rollout.Task{Rollout: s.ID, ID: node.ID, Kind: node.Kind, Attempt: n, State: s, Node: node}
	return t, u.tx.AppendLog(ctx, keyOf(*t), u.now, []string{fmt.Sprintf("attempt %d of %s started", n, node.ID)})
}

func keyOf(t rollout.Task) store.AttemptKey {
	return store.AttemptKey{Rollout: t.Rollout, Task: t.ID, Attempt: t.Attempt}
}
