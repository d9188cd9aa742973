package engine

import (
	"context"
	"errors"
	"sync"

	"serin/internal/store"
)

// poisoned is a store in which updates fail: those that touch one rollout, or all of them and the reads too.
type poisoned struct {
	*store.DB
	id  string
	all bool

	mu     sync.Mutex
	healed bool // guarded by mu
	tried  int  // guarded by mu
}

var errPoison = errors.New("row cannot be read")

func (p *poisoned) Update(ctx context.Context, fn func(*store.Tx) error) error {
	return p.DB.Update(ctx, func(tx *store.Tx) error {
		before, _ := tx.Rollout(ctx, p.id)
		if p.all && p.fails() {
			return errPoison
		}
		if err := fn(tx); err != nil {
			return err
		}
		after, _ := tx.Rollout(ctx, p.id)
		open, _ := tx.OpenAttempts(ctx, p.id)
		if p.id != "" && (after.Generation != before.Generation || len(open) > 0) && p.fails() {
			return errPoison
		}
		return nil
	})
}

func (p *poisoned) View(ctx context.Context, fn func(*store.Tx) error) error {
	if p.all && p.fails() {
		return errPoison
	}
	return p.DB.View(ctx, fn)
}

func (p *poisoned) fails() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.healed {
		p.tried++
	}
	return !p.healed
}

func (p *poisoned) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.healed = true
}

func (p *poisoned) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tried
}
