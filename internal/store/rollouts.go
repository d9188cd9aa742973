package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"serin/internal/rollout"
)

// Rollout is a stored row. Generation rises with every save; SaveRollout refuses a row that is not the one it was read as.
type Rollout struct {
	State      rollout.State
	Generation int64
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

// Live is a row that Next may still return something for: it is open, owes something or watches.
type Live struct {
	ID     string
	Model  string
	Driver rollout.Driver
}

// RolloutFilter chooses rows to list, newest first. Zero values choose everything; a Limit of 0 is 100.
type RolloutFilter struct {
	Model string
	// Before is the id below which the list goes on: the last one of the page before.
	Before string
	Limit  int
}

// columns are the copies beside the state.
type columns struct {
	state, plan, pins, owed string
	open, live              int64
}

func columnsOf(s rollout.State, now time.Time) (c columns, err error) {
	if c.state, err = encode("rollout "+s.ID, s); err != nil {
		return c, err
	}
	if c.plan, err = encode("plan of rollout "+s.ID, s.Plan); err != nil {
		return c, err
	}
	if c.pins, err = encode("pins of rollout "+s.ID, s.Pins); err != nil {
		return c, err
	}
	if c.owed, err = encode("owed tasks of rollout "+s.ID, append([]string{}, s.Owed...)); err != nil {
		return c, err
	}
	c.open, c.live = flag(!s.Phase.Ended()), flag(!rollout.Next(s, now).Done)
	return c, nil
}

// InsertRollout stores a new row. The database itself refuses a second open row of a model.
func (tx *Tx) InsertRollout(ctx context.Context, s rollout.State, now time.Time) (Rollout, error) {
	c, err := columnsOf(s, now)
	if err != nil {
		return Rollout{}, err
	}
	_, err = tx.exec(ctx, `INSERT INTO rollouts (id, model, kind, of, retry_of, driver, phase, task, state, plan, pins, owed,
			watch_until, next_salt, open, live, generation, created_at, updated_at, ended_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, 1, $17, $17, $18)`,
		s.ID, s.Model, string(s.Kind), s.Of, s.RetryOf, string(s.Driver), string(s.Phase), s.Task, c.state, c.plan, c.pins, c.owed,
		nanos(s.WatchUntil), s.NextSalt, c.open, c.live, nanos(now), nanos(s.EndedAt))
	if err != nil {
		return Rollout{}, fmt.Errorf("insert rollout %s: %w", s.ID, err)
	}
	return Rollout{State: s, Generation: 1, CreatedAt: timeOf(nanos(now)), UpdatedAt: timeOf(nanos(now))}, nil
}

// SaveRollout stores the next state of a row and returns it as it stands then. The columns that are fixed at the start (model, kind, driver, plan,
// salt) are not written again. A row that somebody else saved since it was read is ErrConflict.
func (tx *Tx) SaveRollout(ctx context.Context, r Rollout, now time.Time) (Rollout, error) {
	c, err := columnsOf(r.State, now)
	if err != nil {
		return r, err
	}
	n, err := tx.exec(ctx, `UPDATE rollouts SET phase = $1, task = $2, state = $3, pins = $4, owed = $5, watch_until = $6,
			open = $7, live = $8, generation = generation + 1, updated_at = $9, ended_at = $10
		WHERE id = $11 AND generation = $12`,
		string(r.State.Phase), r.State.Task, c.state, c.pins, c.owed, nanos(r.State.WatchUntil),
		c.open, c.live, nanos(now), nanos(r.State.EndedAt), r.State.ID, r.Generation)
	if err != nil {
		return r, fmt.Errorf("save rollout %s: %w", r.State.ID, err)
	}
	if n != 1 {
		return r, fmt.Errorf("save rollout %s at generation %d: %w", r.State.ID, r.Generation, ErrConflict)
	}
	r.Generation, r.UpdatedAt = r.Generation+1, timeOf(nanos(now))
	return r, nil
}

const rolloutColumns = `state, generation, created_at, updated_at`

func scanRollout(row scanner) (r Rollout, err error) {
	var state string
	var created, updated int64
	if err := row.Scan(&state, &r.Generation, &created, &updated); err != nil {
		return r, orNotFound(err)
	}
	r.CreatedAt, r.UpdatedAt = timeOf(created), timeOf(updated)
	if err := json.Unmarshal([]byte(state), &r.State); err != nil {
		return r, fmt.Errorf("read the stored state of a rollout: %w", err)
	}
	return r, nil
}

// Rollout gives the row with the id; ErrNotFound when there is none.
func (tx *Tx) Rollout(ctx context.Context, id string) (Rollout, error) {
	r, err := scanRollout(tx.q.QueryRowContext(ctx, `SELECT `+rolloutColumns+` FROM rollouts WHERE id = $1`, id))
	if err != nil {
		return r, fmt.Errorf("rollout %s: %w", id, err)
	}
	return r, nil
}

// OpenRollout gives the model's row that has not ended; ErrNotFound when there is none.
func (tx *Tx) OpenRollout(ctx context.Context, model string) (Rollout, error) {
	r, err := scanRollout(tx.q.QueryRowContext(ctx, `SELECT `+rolloutColumns+` FROM rollouts WHERE model = $1 AND open = 1`, model))
	if err != nil {
		return r, fmt.Errorf("open rollout of %s: %w", model, err)
	}
	return r, nil
}

// LastSucceeded gives the model's newest row that succeeded, be it a rollout or an undo; ErrNotFound when there is none.
func (tx *Tx) LastSucceeded(ctx context.Context, model string) (Rollout, error) {
	r, err := scanRollout(tx.q.QueryRowContext(ctx, `SELECT `+rolloutColumns+` FROM rollouts
		WHERE model = $1 AND phase = $2 ORDER BY id DESC LIMIT 1`, model, string(rollout.Succeeded)))
	if err != nil {
		return r, fmt.Errorf("last succeeded rollout of %s: %w", model, err)
	}
	return r, nil
}

// Watching lists the model's ended rows whose watch is still on, oldest first.
func (tx *Tx) Watching(ctx context.Context, model string) ([]Rollout, error) {
	all, err := collect(ctx, tx, scanRollout, `SELECT `+rolloutColumns+` FROM rollouts
		WHERE model = $1 AND open = 0 AND watch_until > 0 ORDER BY id`, model)
	if err != nil {
		return nil, fmt.Errorf("watching rollouts of %s: %w", model, err)
	}
	return all, nil
}

// Rollouts lists rows, newest first.
func (tx *Tx) Rollouts(ctx context.Context, f RolloutFilter) ([]Rollout, error) {
	if f.Limit == 0 {
		f.Limit = 100
	}
	all, err := collect(ctx, tx, scanRollout, `SELECT `+rolloutColumns+` FROM rollouts
		WHERE ($1 = '' OR model = $1) AND ($2 = '' OR id < $2) ORDER BY id DESC LIMIT $3`, f.Model, f.Before, f.Limit)
	if err != nil {
		return nil, fmt.Errorf("list rollouts: %w", err)
	}
	return all, nil
}

// LiveRollouts lists the rows that still need a driver, oldest first.
func (tx *Tx) LiveRollouts(ctx context.Context) ([]Live, error) {
	all, err := collect(ctx, tx, func(row scanner) (l Live, err error) {
		err = row.Scan(&l.ID, &l.Model, &l.Driver)
		return l, err
	}, `SELECT id, model, driver FROM rollouts WHERE live = 1 ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("list live rollouts: %w", err)
	}
	return all, nil
}
