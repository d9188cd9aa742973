package store

import (
	"context"
	"fmt"
	"time"
)

// LogLine is one line of a task's log. Seq counts within the rollout.
type LogLine struct {
	AttemptKey
	Seq  int64
	At   time.Time
	Line string
}

// LogFilter chooses lines of one rollout. An empty Task chooses all tasks, an Attempt of 0 all attempts; After is the Seq to go on after.
type LogFilter struct {
	Rollout string
	Task    string
	Attempt int
	After   int64
	// Limit of 0 is 10,000.
	Limit int
}

// AppendLog adds lines to the log of an attempt.
func (tx *Tx) AppendLog(ctx context.Context, k AttemptKey, now time.Time, lines []string) error {
	if len(lines) == 0 {
		return nil
	}
	seq, err := tx.number(ctx, `SELECT coalesce(max(seq), 0) FROM logs WHERE rollout = $1`, k.Rollout)
	if err != nil {
		return fmt.Errorf("number the log of rollout %s: %w", k.Rollout, err)
	}
	for _, line := range lines {
		seq++
		if _, err := tx.exec(ctx, `INSERT INTO logs (rollout, seq, task, attempt, at, line) VALUES ($1, $2, $3, $4, $5, $6)`,
			k.Rollout, seq, k.Task, k.Attempt, nanos(now), line); err != nil {
			return fmt.Errorf("append to the log of %s in rollout %s: %w", k.Task, k.Rollout, err)
		}
	}
	return nil
}

// Logs lists log lines in order.
func (tx *Tx) Logs(ctx context.Context, f LogFilter) ([]LogLine, error) {
	if f.Limit == 0 {
		f.Limit = 10_000
	}
	all, err := collect(ctx, tx, func(row scanner) (l LogLine, err error) {
		var at int64
		err = row.Scan(&l.Rollout, &l.Seq, &l.Task, &l.Attempt, &at, &l.Line)
		l.At = timeOf(at)
		return l, err
	}, `SELECT rollout, seq, task, attempt, at, line FROM logs
		WHERE rollout = $1 AND ($2 = '' OR task = $2) AND ($3 = 0 OR attempt = $3) AND seq > $4 ORDER BY seq LIMIT $5`,
		f.Rollout, f.Task, f.Attempt, f.After, f.Limit)
	if err != nil {
		return nil, fmt.Errorf("log of rollout %s: %w", f.Rollout, err)
	}
	return all, nil
}
