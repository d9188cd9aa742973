package gateway

import (
	"sync"
	"time"
)

// breakerState is what the gauge serin_gateway_breaker_state shows.
type breakerState int

const (
	breakerClosed breakerState = iota
	breakerOpen
	breakerHalfOpen
)

// breaker keeps requests from a canary that fails every time. It only ever takes traffic away, for a moment; moving the weight is the controller's.
type breaker struct {
	mu       sync.Mutex
	failures int // in a row, while closed
	open     bool
	until    time.Time // no probe before, while open
	probing  bool
}

// ticket is a request's leave to go to the canary; it is given back with the result.
type ticket struct{ probe bool }

// admit says whether a request may go to the canary now. While open, one probe at a time may when the pause is over.
func (b *breaker) admit(now time.Time) (ticket, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.open:
		return ticket{}, true
	case b.probing || now.Before(b.until):
		return ticket{}, false
	default:
		b.probing = true
		return ticket{probe: true}, true
	}
}

// attemptResult is what an admitted request tells the breaker.
type attemptResult int

const (
	// unproven: it failed, and so did the champion: the request may be at fault.
	unproven attemptResult = iota
	succeeded
	failed
)

// report takes a result. While open only the probe's counts: what was sent before the breaker opened says nothing new.
func (b *breaker) report(t ticket, res attemptResult, now time.Time, limit int, pause time.Duration) { //nolint:revive // argument-limit: called once, and a struct would only rename them
	b.mu.Lock()
	defer b.mu.Unlock()
	if t.probe {
		b.probing = false
		if res == succeeded {
			b.open, b.failures = false, 0
		} else {
			b.until = now.Add(pause)
		}
		return
	}
	if b.open {
		return
	}
	switch res {
	case succeeded:
		b.failures = 0
	case failed:
		if b.failures++; b.failures >= limit {
			b.open, b.until = true, now.Add(pause)
		}
	case unproven:
	}
}

func (b *breaker) state(now time.Time) breakerState {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.open:
		return breakerClosed
	case now.Before(b.until):
		return breakerOpen
	default:
		return breakerHalfOpen
	}
}
