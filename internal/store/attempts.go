package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// AttemptStatus is how an attempt of a task stands.
type AttemptStatus string

// The statuses of attempts. Lost is an attempt whose process died, Dropped one whose result came when the row had moved on or the time of its command was over.
const (
	AttemptOpen      AttemptStatus = "open"
	AttemptDone      AttemptStatus = "done"
	AttemptRetry     AttemptStatus = "retry"
	AttemptNotProven AttemptStatus = "not_proven"
	AttemptRefused   AttemptStatus = "refused"
	AttemptLost      AttemptStatus = "lost"
	AttemptDropped   AttemptStatus = "dropped"
)

// AttemptKey names one attempt of one task.
type AttemptKey struct {
	Rollout string
	Task    string
	Attempt int
}

// Attempt is one run of a task. Attempts count from 1 within a task.
type Attempt struct {
	AttemptKey
	Status    AttemptStatus
	StartedAt time.Time
	// EndedAt is zero while the attempt is open.
	EndedAt time.Time
	// Verdict is what the task came to by this attempt, such as healthy; empty when it came to nothing.
	Verdict string
	Reason  string
	// Evidence is what the task decided on, as JSON; nil when it brought none.
	Evidence json.RawMessage
}

// Closing is the end of an attempt.
type Closing struct {
	AttemptKey
	Status  AttemptStatus
	At      time.Time
	Verdict string
	Reason  string
	// Evidence replaces what checkpoints stored; nil leaves that.
	Evidence json.RawMessage
}

// Progress is what a checkpoint stores with its attempt. Nil evidence and an empty reason leave what is there.
type Progress struct {
	AttemptKey
	Reason   string
	Evidence json.RawMessage
}

// OpenAttempt opens the next attempt of a task and gives its number.
func (tx *Tx) OpenAttempt(ctx context.Context, rollout, task string, now time.Time) (int, error) {
	n, err := tx.number(ctx, `SELECT coalesce(max(attempt), 0) + 1 FROM attempts WHERE rollout = $1 AND task = $2`, rollout, task)
	if err != nil {
		return 0, fmt.Errorf("number the next attempt of %s in rollout %s: %w", task, rollout, err)
	}
	_, err = tx.exec(ctx, `INSERT INTO attempts (rollout, task, attempt, status, started_at, ended_at, verdict, reason, evidence)
		VALUES ($1, $2, $3, $4, $5, 0, '', '', '')`, rollout, task, n, string(AttemptOpen), nanos(now))
	if err != nil {
		return 0, fmt.Errorf("open attempt %d of %s in rollout %s: %w", n, task, rollout, err)
	}
	return int(n), nil
}

// CheckAttempt is nil while the attempt is open and ErrFenced when it is not.
func (tx *Tx) CheckAttempt(ctx context.Context, k AttemptKey) error {
	n, err := tx.number(ctx, `SELECT count(*) FROM attempts WHERE rollout = $1 AND task = $2 AND attempt = $3 AND status = $4`,
		k.Rollout, k.Task, k.Attempt, string(AttemptOpen))
	return fenced("check", k, n, err)
}

// SaveProgress stores what a checkpoint brings, if the attempt is still open; ErrFenced otherwise.
func (tx *Tx) SaveProgress(ctx context.Context, p Progress) error {
	n, err := tx.exec(ctx, `UPDATE attempts SET reason = CASE WHEN $1 = '' THEN reason ELSE $1 END, evidence = CASE WHEN $2 = '' THEN evidence ELSE $2 END
		WHERE rollout = $3 AND task = $4 AND attempt = $5 AND status = $6`,
		p.Reason, string(p.Evidence), p.Rollout, p.Task, p.Attempt, string(AttemptOpen))
	return fenced("save", p.AttemptKey, n, err)
}

// CloseAttempt ends an attempt, if it is still open; ErrFenced otherwise.
func (tx *Tx) CloseAttempt(ctx context.Context, c Closing) error {
	n, err := tx.exec(ctx, `UPDATE attempts SET status = $1, ended_at = $2, verdict = $3, reason = $4, evidence = CASE WHEN $5 = '' THEN evidence ELSE $5 END
		WHERE rollout = $6 AND task = $7 AND attempt = $8 AND status = $9`,
		string(c.Status), nanos(c.At), c.Verdict, c.Reason, string(c.Evidence), c.Rollout, c.Task, c.Attempt, string(AttemptOpen))
	return fenced("close", c.AttemptKey, n, err)
}

func fenced(verb string, k AttemptKey, rows int64, err error) error {
	if err == nil && rows != 1 {
		err = ErrFenced
	}
	if err != nil {
		return fmt.Errorf("%s attempt %d of %s in rollout %s: %w", verb, k.Attempt, k.Task, k.Rollout, err)
	}
	return nil
}

// OpenAttempts lists the attempts of a rollout that are open: at most one while one process drives it, left over when that process died.
func (tx *Tx) OpenAttempts(ctx context.Context, rollout string) ([]Attempt, error) {
	return tx.attempts(ctx, rollout, `AND status = 'open'`)
}

// Attempts lists all attempts of a rollout in the order in which they began.
func (tx *Tx) Attempts(ctx context.Context, rollout string) ([]Attempt, error) {
	return tx.attempts(ctx, rollout, ``)
}

func (tx *Tx) attempts(ctx context.Context, rollout, where string) ([]Attempt, error) {
	all, err := collect(ctx, tx, func(row scanner) (a Attempt, err error) {
		var started, ended int64
		var evidence string
		err = row.Scan(&a.Rollout, &a.Task, &a.Attempt, &a.Status, &started, &ended, &a.Verdict, &a.Reason, &evidence)
		a.StartedAt, a.EndedAt = timeOf(started), timeOf(ended)
		if evidence != "" {
			a.Evidence = json.RawMessage(evidence)
		}
		return a, err
	}, `SELECT rollout, task, attempt, status, started_at, ended_at, verdict, reason, evidence FROM attempts
		WHERE rollout = $1 `+where+` ORDER BY started_at, task, attempt`, rollout)
	if err != nil {
		return nil, fmt.Errorf("attempts of rollout %s: %w", rollout, err)
	}
	return all, nil
}
