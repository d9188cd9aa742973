package engine

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"serin/internal/rollout"
	"serin/internal/store"
)

// The waits of the loop after errors, doubled each time, and between two runs of one task that came to nothing.
const (
	firstBackoff = time.Second
	maxBackoff   = 30 * time.Second
	againAfter   = time.Second
)

// Run drives every rollout that is alive until ctx ends, one goroutine a rollout, and returns when all of them have stopped. A rollout whose row
// cannot be read or moved is tried again with growing pauses and holds up no other.
func (e *Engine) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	var mu sync.Mutex
	driven := map[string]bool{} // guarded by mu
	backoff := firstBackoff
	for ctx.Err() == nil {
		woken := e.wake.listen(anyRollout)
		live, err := e.live(ctx)
		if err != nil && ctx.Err() == nil {
			e.log.ErrorContext(ctx, "live rollouts cannot be listed", "err", err)
			sleep(ctx, nil, jitter(backoff))
			backoff = min(2*backoff, maxBackoff)
			continue
		}
		backoff = firstBackoff
		for _, row := range live {
			mu.Lock()
			if known := driven[row.ID]; !known {
				driven[row.ID] = true
				wg.Go(func() {
					e.drive(ctx, row.ID)
					mu.Lock()
					defer mu.Unlock()
					delete(driven, row.ID)
				})
			}
			mu.Unlock()
		}
		sleep(ctx, woken, e.poll)
	}
	return nil
}

// live lists the rows that this loop drives. An external driver's rows are judged and rolled back here too; they go forward only as far as a command has asked.
func (e *Engine) live(ctx context.Context) (mine []store.Live, err error) {
	err = e.store.View(ctx, func(tx *store.Tx) error {
		all, err := tx.LiveRollouts(ctx)
		for _, row := range all {
			switch row.Driver {
			case rollout.DriverLocal, rollout.DriverExternal:
				mine = append(mine, row)
			}
		}
		return err
	})
	return mine, err
}

// drive moves one rollout until nothing is left of it.
func (e *Engine) drive(ctx context.Context, id string) {
	backoff := firstBackoff
	var before pace
	for ctx.Err() == nil {
		woken := e.wake.listen(id)
		start := time.Now()
		p, err := e.step(ctx, id)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			e.log.ErrorContext(ctx, "rollout cannot be moved", "rollout", id, "err", err)
			sleep(ctx, woken, jitter(backoff))
			backoff = min(2*backoff, maxBackoff)
		case p.Done:
			return
		case p.Task == nil:
			backoff = firstBackoff
			sleep(ctx, woken, e.until(p.Wait))
		default:
			backoff = firstBackoff
			sleep(ctx, woken, before.after(*p.Task, start))
		}
	}
}

// pace slows down a task that comes again and again without getting anywhere: the id of the task before.
type pace string

// after is how long to wait after a task that began at start.
func (p *pace) after(t rollout.Task, start time.Time) (wait time.Duration) {
	if t.ID == string(*p) && time.Since(start) < againAfter {
		wait = againAfter
	}
	*p = pace(t.ID)
	return wait
}

// step plans and performs once, alone in this process.
func (e *Engine) step(ctx context.Context, id string) (Planned, error) {
	release, ok := e.slots.take(ctx, id, nil)
	if !ok {
		return Planned{}, ctx.Err()
	}
	defer release()
	p, err := e.Plan(ctx, id)
	if err != nil || p.Task == nil {
		return p, err
	}
	return p, e.Perform(ctx, *p.Task)
}

// until is how long to sleep before asking again: at most the poll, at least not backwards.
func (e *Engine) until(wait time.Time) time.Duration {
	if wait.IsZero() {
		return e.poll
	}
	return max(0, min(time.Until(wait), e.poll))
}

// jitter spreads retries over half to the whole of d.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2)
}

// sleep waits for d, a ring, or the end of ctx. Zero is no wait.
func sleep(ctx context.Context, woken <-chan struct{}, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-woken:
	case <-ctx.Done():
	}
}
