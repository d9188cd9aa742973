package engine

import (
	"context"
	"sync"
)

// anyRollout is rung when there is a rollout that was not there before.
const anyRollout = ""

// bell wakes whoever waits for a rollout. The zero value is ready. Nothing depends on it for being right: who waits also looks by himself now and then.
type bell struct {
	mu   sync.Mutex
	wait map[string]chan struct{} // guarded by mu
}

// listen gives a channel that is closed at the next ring for id. Listen first, then look, then wait: nothing is missed.
func (b *bell) listen(id string) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.wait == nil {
		b.wait = map[string]chan struct{}{}
	}
	ch, ok := b.wait[id]
	if !ok {
		ch = make(chan struct{})
		b.wait[id] = ch
	}
	return ch
}

func (b *bell) ring(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ch, ok := b.wait[id]; ok {
		close(ch)
		delete(b.wait, id)
	}
}

// slots lets one goroutine of this process at a time drive a rollout. The zero value is ready.
type slots struct {
	mu    sync.Mutex
	taken map[string]chan struct{} // guarded by mu; closed when the slot is free again
}

// take waits for the slot of a rollout and gives what releases it. also ends the wait with ok false, so that the caller can look again.
func (s *slots) take(ctx context.Context, id string, also <-chan struct{}) (release func(), ok bool) {
	for {
		s.mu.Lock()
		busy, found := s.taken[id]
		if !found {
			if s.taken == nil {
				s.taken = map[string]chan struct{}{}
			}
			ch := make(chan struct{})
			s.taken[id] = ch
			s.mu.Unlock()
			return func() { s.free(id, ch) }, true
		}
		s.mu.Unlock()
		select {
		case <-busy:
		case <-also:
			return nil, false
		case <-ctx.Done():
			return nil, false
		}
	}
}

func (s *slots) free(id string, ch chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.taken, id)
	close(ch)
}
