package engine

import (
	"context"
	"errors"
	"fmt"

	"serin/internal/rollout"
	"serin/internal/store"
)

// nextSaltKey is the meta key of the salt that the model's next rollout divides its users by. It is known before that rollout starts.
func nextSaltKey(model string) string { return "next_salt/" + model }

// startKey is the meta key under which a start's own key remembers its rollout.
func startKey(key string) string { return "start/" + key }

// Start opens a rollout. The engine gives it its id and its salts. A model that has an open one is ErrOpen; the watch of its last success ends.
// A start whose key was used before gives that rollout: the key commits with the row, so a caller who got no answer may ask again.
func (e *Engine) Start(ctx context.Context, p rollout.StartParams) (rollout.State, error) {
	if p.Driver == "" {
		p.Driver = rollout.DriverLocal
	}
	return e.open(ctx, opening{model: p.Plan.Model, actor: p.Actor, key: p.Key}, func(id string, s salts, u *turn) (rollout.State, []rollout.Event, error) {
		p.ID, p.Salt, p.NextSalt = id, s.now, s.next
		return rollout.Start(p, u.now)
	})
}

// StartUndo opens an undo: back to the version To. A model that has an open rollout is ErrOpen: that one is aborted, not undone.
func (e *Engine) StartUndo(ctx context.Context, p rollout.UndoParams) (rollout.State, error) {
	if p.Driver == "" {
		p.Driver = rollout.DriverLocal
	}
	return e.open(ctx, opening{model: p.Plan.Model, actor: p.Actor}, func(id string, s salts, u *turn) (rollout.State, []rollout.Event, error) {
		p.ID, p.Salt, p.NextSalt = id, s.now, s.next
		return rollout.StartUndo(p, u.now)
	})
}

// salts are those of a new row: its own, and its successor's.
type salts struct{ now, next string }

// Started gives the rollout that a start with this key has opened, and whether there is one.
func (e *Engine) Started(ctx context.Context, key string) (s rollout.State, ok bool, err error) {
	err = e.store.View(ctx, func(tx *store.Tx) error {
		row, found, err := startedBy(ctx, tx, key)
		s, ok = row.State, found
		return err
	})
	return s, ok, err
}

func startedBy(ctx context.Context, tx *store.Tx, key string) (row store.Rollout, ok bool, err error) {
	if key == "" {
		return row, false, nil
	}
	id, err := tx.Meta(ctx, startKey(key))
	if errors.Is(err, store.ErrNotFound) {
		return row, false, nil
	}
	if err != nil {
		return row, false, err
	}
	row, err = tx.Rollout(ctx, id)
	return row, err == nil, err
}

// opening says for which model a row is made, by whom, and under which key.
type opening struct{ model, actor, key string }

// maker makes the state of a new row.
type maker func(id string, s salts, u *turn) (rollout.State, []rollout.Event, error)

func (e *Engine) open(ctx context.Context, o opening, makeState maker) (rollout.State, error) {
	var u *turn
	err := e.store.Update(ctx, func(tx *store.Tx) error {
		u = &turn{e: e, tx: tx, now: now()}
		return u.insert(ctx, o, makeState)
	})
	if err != nil {
		return rollout.State{}, err
	}
	for _, id := range u.wake {
		e.changes.ring(id)
		e.wake.ring(id)
	}
	e.wake.ring(anyRollout)
	return u.row.State, nil
}

// insert makes the row of the turn: refused when the model has an open one.
func (u *turn) insert(ctx context.Context, o opening, makeState maker) error {
	row, ok, err := startedBy(ctx, u.tx, o.key)
	if ok || err != nil {
		u.row = row
		return err
	}
	other, err := u.tx.OpenRollout(ctx, o.model)
	if err == nil {
		return fmt.Errorf("%s of %s is %s at %s: %w; wait for its end or abort it first", other.State.ID, o.model, other.State.Phase, other.State.Task, ErrOpen)
	}
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	drawn, err := u.drawSalts(ctx, o.model)
	if err != nil {
		return err
	}
	s, events, err := makeState(u.e.ids.next(u.now), drawn, u)
	if err != nil {
		return err
	}
	if err := u.endWatches(ctx, o, s.ID); err != nil {
		return err
	}
	if u.row, err = u.tx.InsertRollout(ctx, s, u.now); err != nil {
		return err
	}
	u.wake = append(u.wake, s.ID)
	if o.key != "" {
		if err := u.tx.SetMeta(ctx, startKey(o.key), s.ID); err != nil {
			return err
		}
	}
	return u.record(ctx, events)
}

// drawSalts takes the salt that was set aside for the model's next rollout and sets aside another.
func (u *turn) drawSalts(ctx context.Context, model string) (salts, error) {
	s := salts{next: newSalt()}
	var err error
	if s.now, err = u.tx.Meta(ctx, nextSaltKey(model)); errors.Is(err, store.ErrNotFound) {
		s.now, err = newSalt(), nil
	}
	return s, errors.Join(err, u.tx.SetMeta(ctx, nextSaltKey(model), s.next))
}

// endWatches ends what is still being watched of the model: the new row takes over.
func (u *turn) endWatches(ctx context.Context, o opening, id string) error {
	watching, err := u.tx.Watching(ctx, o.model)
	if err != nil {
		return err
	}
	actor := o.actor
	if actor == "" {
		actor = rollout.Controller
	}
	for _, row := range watching {
		other := &turn{e: u.e, tx: u.tx, row: row, now: u.now}
		sig, err := u.tx.AddSignal(ctx, row.State.ID, rollout.Signal{Name: rollout.SignalSupersede, Actor: actor, Reason: id + " takes over"}, u.now)
		if err != nil {
			return err
		}
		refused, err := other.send(ctx, sig)
		if err := errors.Join(err, refused); err != nil {
			return err
		}
		if _, err := other.save(ctx); err != nil {
			return err
		}
		u.wake = append(u.wake, other.wake...)
	}
	return nil
}

// openUndo opens the undo that a failed watch asks for, in the transaction that ends the watch. When it cannot, the history says why: the watch has failed all the same.
func (u *turn) openUndo(ctx context.Context, ev rollout.Event) error {
	s := u.row.State
	if _, err := u.tx.OpenRollout(ctx, s.Model); !errors.Is(err, store.ErrNotFound) {
		if err != nil {
			return err
		}
		return u.undoNotOpened(ctx, "a newer rollout is open")
	}
	drawn, err := u.drawSalts(ctx, s.Model)
	if err != nil {
		return err
	}
	undo, events, err := rollout.StartUndo(rollout.UndoParams{
		ID: u.e.ids.next(u.now), Of: s.ID, Plan: s.Plan, Driver: rollout.DriverLocal, Actor: ev.Actor, Reason: ev.Reason,
		To: s.Pins.Champion, From: s.Pins.Challenger, Salt: drawn.now, NextSalt: drawn.next,
	}, u.now)
	if err != nil {
		return u.undoNotOpened(ctx, err.Error())
	}
	row, err := u.tx.InsertRollout(ctx, undo, u.now)
	if err != nil {
		return err
	}
	other := &turn{e: u.e, tx: u.tx, row: row, now: u.now}
	u.wake = append(u.wake, undo.ID, anyRollout)
	return other.record(ctx, events)
}

func (u *turn) undoNotOpened(ctx context.Context, why string) error {
	return u.record(ctx, []rollout.Event{{Name: "UndoNotOpened", Actor: rollout.Controller, Reason: why + ": to go back, run serin undo " + u.row.State.Model}})
}
