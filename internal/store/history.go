package store

import (
	"context"
	"fmt"
	"time"
)

// Entry is one line of the history, which is only ever added to. Rollout is empty for what concerns the model alone, such as an unblock.
type Entry struct {
	Seq     int64
	Rollout string
	Model   string
	At      time.Time
	Actor   string
	Event   string
	Reason  string
}

// HistoryFilter chooses entries in order. Zero values choose everything; After is the Seq to go on after; a Limit of 0 is 1,000.
type HistoryFilter struct {
	Rollout string
	Model   string
	After   int64
	Limit   int
}

// AppendHistory adds an entry; its Seq is given by the store.
func (tx *Tx) AppendHistory(ctx context.Context, e Entry) error {
	_, err := tx.exec(ctx, `INSERT INTO history (seq, rollout, model, at, actor, event, reason)
		SELECT coalesce(max(seq), 0) + 1, $1, $2, $3, $4, $5, $6 FROM history`, e.Rollout, e.Model, nanos(e.At), e.Actor, e.Event, e.Reason)
	if err != nil {
		return fmt.Errorf("append %s to the history of %s: %w", e.Event, e.Model, err)
	}
	return nil
}

// History lists entries, oldest first.
func (tx *Tx) History(ctx context.Context, f HistoryFilter) ([]Entry, error) {
	if f.Limit == 0 {
		f.Limit = 1000
	}
	all, err := collect(ctx, tx, func(row scanner) (e Entry, err error) {
		var at int64
		err = row.Scan(&e.Seq, &e.Rollout, &e.Model, &at, &e.Actor, &e.Event, &e.Reason)
		e.At = timeOf(at)
		return e, err
	}, `SELECT seq, rollout, model, at, actor, event, reason FROM history
		WHERE ($1 = '' OR rollout = $1) AND ($2 = '' OR model = $2) AND seq > $3 ORDER BY seq LIMIT $4`, f.Rollout, f.Model, f.After, f.Limit)
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	return all, nil
}
