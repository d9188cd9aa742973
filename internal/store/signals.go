package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"serin/internal/rollout"
)

// Signal is a person's word, or another writer's, as a row. Ids rise in the order in which signals came.
type Signal struct {
	ID      int64
	Rollout string
	Signal  rollout.Signal
	At      time.Time
	// AppliedAt is when the row took it, zero while it waits. Error says why it was not possible then.
	AppliedAt time.Time
	Error     string
}

// AddSignal stores a signal that waits to be applied.
func (tx *Tx) AddSignal(ctx context.Context, id string, sig rollout.Signal, now time.Time) (Signal, error) {
	body, err := encode("signal", sig)
	if err != nil {
		return Signal{}, err
	}
	n, err := tx.number(ctx, `SELECT coalesce(max(id), 0) + 1 FROM signals`)
	if err != nil {
		return Signal{}, fmt.Errorf("number the next signal: %w", err)
	}
	_, err = tx.exec(ctx, `INSERT INTO signals (id, rollout, body, actor, reason, at, applied_at, error) VALUES ($1, $2, $3, $4, $5, $6, 0, '')`,
		n, id, body, sig.Actor, sig.Reason, nanos(now))
	if err != nil {
		return Signal{}, fmt.Errorf("store signal %s for rollout %s: %w", sig.Name, id, err)
	}
	return Signal{ID: n, Rollout: id, Signal: sig, At: timeOf(nanos(now))}, nil
}

// SettleSignal records that a signal was applied, or with failure why it could not be. A signal is settled once; another time is ErrConflict.
func (tx *Tx) SettleSignal(ctx context.Context, id int64, now time.Time, failure string) error {
	n, err := tx.exec(ctx, `UPDATE signals SET applied_at = $1, error = $2 WHERE id = $3 AND applied_at = 0`, nanos(now), failure, id)
	if err == nil && n != 1 {
		err = ErrConflict
	}
	if err != nil {
		return fmt.Errorf("settle signal %d: %w", id, err)
	}
	return nil
}

// WaitingSignals lists the signals of a rollout that wait to be applied, in the order in which they came.
func (tx *Tx) WaitingSignals(ctx context.Context, rollout string) ([]Signal, error) {
	return tx.signals(ctx, rollout, `AND applied_at = 0`)
}

// Signals lists all signals of a rollout in the order in which they came.
func (tx *Tx) Signals(ctx context.Context, rollout string) ([]Signal, error) {
	return tx.signals(ctx, rollout, ``)
}

func (tx *Tx) signals(ctx context.Context, rollout, where string) ([]Signal, error) {
	all, err := collect(ctx, tx, func(row scanner) (s Signal, err error) {
		var body string
		var at, applied int64
		if err := row.Scan(&s.ID, &s.Rollout, &body, &at, &applied, &s.Error); err != nil {
			return s, err
		}
		s.At, s.AppliedAt = timeOf(at), timeOf(applied)
		return s, json.Unmarshal([]byte(body), &s.Signal)
	}, `SELECT id, rollout, body, at, applied_at, error FROM signals WHERE rollout = $1 `+where+` ORDER BY id`, rollout)
	if err != nil {
		return nil, fmt.Errorf("signals of rollout %s: %w", rollout, err)
	}
	return all, nil
}
