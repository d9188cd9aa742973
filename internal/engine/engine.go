// Package engine carries rollouts through their tasks: Plan opens an attempt at what is next, Perform runs it and commits result and new state
// in one transaction, and a small loop drives both. It never decides: what is next, and what a result means, is package rollout's.
package engine

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"serin/internal/rollout"
	"serin/internal/store"
)

// The errors that callers branch on. ErrFenced is store.ErrFenced: an attempt that somebody else has taken over can change nothing any more.
var (
	// ErrOpen is wrapped when the model has an open rollout already; the message names it.
	ErrOpen = errors.New("a rollout is open already")
	// ErrBusy is wrapped when an attempt of the rollout is running in this process.
	ErrBusy = errors.New("an attempt is running")
	// ErrNotYet is wrapped when the time that a command gave is over and its task has come to nothing yet.
	ErrNotYet = errors.New("not yet")
	// ErrHeld is wrapped when the rollout has been held for longer than a command waits.
	ErrHeld = errors.New("the rollout is held")

	ErrFenced = store.ErrFenced
)

// Runner does what a task is for. Run may be called again for the same task at any time, also while the effects of an earlier attempt are done
// in part or whole: each effect must be idempotent by the task's key. checkpoint commits what the task has come to so far; its error means that
// this attempt must stop and change nothing more outside. A returned error is one more failed attempt, tried again later. When ctx ends, Run
// returns soon; what it returns then is not applied unless it is done.
type Runner interface {
	Run(ctx context.Context, t rollout.Task, checkpoint func(rollout.Result) (rollout.Signals, error)) (rollout.Result, error)
}

// Store is where the rows are: the store's own transactions, one writer at a time. What Update returns is the error of fn, or of the commit,
// and nothing has been changed then.
type Store interface {
	View(ctx context.Context, fn func(*store.Tx) error) error
	Update(ctx context.Context, fn func(*store.Tx) error) error
}

// Options are what New needs.
type Options struct {
	Store  Store
	Runner Runner
	// Logger gets one line for each thing that happens; nil discards them.
	Logger *slog.Logger
	// Poll is how long the loop sleeps at most before it looks again, for what nobody woke it for; 30 s when zero.
	Poll time.Duration
}

// Engine moves rollouts forward. Its methods may be called from several goroutines.
type Engine struct {
	store  Store
	runner Runner
	log    *slog.Logger
	poll   time.Duration
	ids    ids
	slots  slots
	// wake rings when a row should be looked at again, changes whenever one was committed.
	wake    bell
	changes bell

	mu      sync.Mutex
	running map[string]store.AttemptKey // by rollout; guarded by mu
}

// New makes an engine. Nothing runs until Run or Do is called.
func New(o Options) (*Engine, error) {
	if o.Store == nil || o.Runner == nil {
		return nil, errors.New("the engine needs a store and a runner")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Poll <= 0 {
		o.Poll = 30 * time.Second
	}
	return &Engine{store: o.Store, runner: o.Runner, log: o.Logger, poll: o.Poll, running: map[string]store.AttemptKey{}}, nil
}

// now is the time as it is stored: UTC, without the process's own monotonic clock.
func now() time.Time { return time.Now().Round(0).UTC() }

// begin marks an attempt as running in this process; one a rollout.
func (e *Engine) begin(k store.AttemptKey) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, busy := e.running[k.Rollout]; busy {
		return false
	}
	e.running[k.Rollout] = k
	return true
}

func (e *Engine) end(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.running, id)
}

func (e *Engine) runs(id string) (store.AttemptKey, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	k, ok := e.running[id]
	return k, ok
}
