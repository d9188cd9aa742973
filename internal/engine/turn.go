package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"serin/internal/rollout"
	"serin/internal/store"
)

// turn is one change of one row inside a transaction: the row, and what its events cause, commit together or not at all.
type turn struct {
	e   *Engine
	tx  *store.Tx
	row store.Rollout
	now time.Time
	// before is the state as it was read, to see whether it has changed.
	before []byte
	// wake lists the rollouts that should be looked at again after the commit.
	wake []string
}

// turn runs fn on a row in one transaction and stores the row when fn has changed it. Without a change nothing is written.
func (e *Engine) turn(ctx context.Context, id string, fn func(*turn) error) error {
	var u *turn
	changed := false
	err := e.store.Update(ctx, func(tx *store.Tx) error {
		row, err := tx.Rollout(ctx, id)
		if err != nil {
			return err
		}
		u = &turn{e: e, tx: tx, row: row, now: now()}
		if u.before, err = json.Marshal(row.State); err != nil {
			return fmt.Errorf("encode rollout %s: %w", id, err)
		}
		if err := fn(u); err != nil {
			return err
		}
		changed, err = u.save(ctx)
		return err
	})
	if err != nil {
		return err
	}
	if changed {
		e.changes.ring(id)
	}
	for _, other := range u.wake {
		e.changes.ring(other)
		e.wake.ring(other)
	}
	return nil
}

func (u *turn) save(ctx context.Context) (changed bool, err error) {
	after, err := json.Marshal(u.row.State)
	if err != nil {
		return false, fmt.Errorf("encode rollout %s: %w", u.row.State.ID, err)
	}
	if bytes.Equal(u.before, after) {
		return false, nil
	}
	u.row, err = u.tx.SaveRollout(ctx, u.row, u.now)
	return true, err
}

// apply gives the row the result of an attempt, or a checkpoint.
func (u *turn) apply(ctx context.Context, t rollout.Task, r rollout.Result) error {
	s, events, err := rollout.Apply(u.row.State, t, r, u.now)
	if err != nil {
		return err
	}
	u.row.State = s
	return u.record(ctx, events)
}

// drain gives the row the signals that wait for it, in the order in which they came. One that is not possible is kept with its error.
func (u *turn) drain(ctx context.Context) error {
	waiting, err := u.tx.WaitingSignals(ctx, u.row.State.ID)
	if err != nil {
		return err
	}
	for _, sig := range waiting {
		refused, err := u.send(ctx, sig)
		if err != nil {
			return err
		}
		if refused != nil {
			u.e.log.WarnContext(ctx, "signal refused", "rollout", sig.Rollout, "signal", sig.Signal.Name, "actor", sig.Signal.Actor, "err", refused)
		}
	}
	return nil
}

// send gives the row one stored signal and settles it. refused says why the row could not take it.
func (u *turn) send(ctx context.Context, sig store.Signal) (refused, err error) {
	u.wake = append(u.wake, u.row.State.ID)
	s, events, refused := rollout.Send(u.row.State, sig.Signal, u.now)
	if refused != nil {
		event := rollout.Event{Name: "SignalRefused", Actor: sig.Signal.Actor, Reason: refused.Error()}
		return refused, errors.Join(u.tx.SettleSignal(ctx, sig.ID, u.now, refused.Error()), u.record(ctx, []rollout.Event{event}))
	}
	if err := u.tx.SettleSignal(ctx, sig.ID, u.now, ""); err != nil {
		return nil, err
	}
	u.row.State = s
	return nil, u.record(ctx, events)
}

// record writes what events cause: history, messages, blocked versions, an undo.
func (u *turn) record(ctx context.Context, events []rollout.Event) error {
	s := u.row.State
	for _, ev := range events {
		if err := u.tx.AppendHistory(ctx, store.Entry{Rollout: s.ID, Model: s.Model, At: u.now, Actor: ev.Actor, Event: ev.Name, Reason: ev.Reason}); err != nil {
			return err
		}
		u.e.log.InfoContext(ctx, "rollout event", "rollout", s.ID, "model", s.Model, "event", ev.Name, "actor", ev.Actor, "reason", ev.Reason)
		if ev.Block != "" {
			if err := u.tx.BlockVersion(ctx, store.Block{Model: s.Model, Version: ev.Block, Reason: ev.Reason, Actor: ev.Actor, At: u.now}); err != nil {
				return err
			}
		}
		if ev.Notify != "" {
			if err := u.notify(ctx, ev); err != nil {
				return err
			}
		}
		if ev.OpenUndo {
			if err := u.openUndo(ctx, ev); err != nil {
				return err
			}
		}
	}
	return nil
}

// notify queues a message for the channels of the plan. Whoever sends it reads the row as it was when it happened.
func (u *turn) notify(ctx context.Context, ev rollout.Event) error {
	s := u.row.State
	body, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode notice %s of rollout %s: %w", ev.Notify, s.ID, err)
	}
	return u.tx.QueueNotice(ctx, store.Notice{
		Rollout: s.ID, Event: ev.Notify, Model: s.Model, Actor: ev.Actor, Reason: ev.Reason, Body: body, At: u.now,
	}, s.Plan.Notifications)
}
