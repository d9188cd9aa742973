package gateway

import (
	"math/rand/v2"
	"testing"
	"time"
)

// slowBreaker is the breaker said again as a history: it keeps everything and looks back.
type slowBreaker struct {
	results  []attemptResult // since it last closed
	openedAt time.Time
	open     bool
	probe    bool
}

func (s *slowBreaker) admits(now time.Time, pause time.Duration) bool {
	return !s.open || !s.probe && now.Sub(s.openedAt) >= pause
}

func (s *slowBreaker) note(probe bool, res attemptResult, now time.Time, limit int) {
	switch {
	case probe:
		s.probe = false
		s.openedAt = now
		if res == succeeded {
			s.open, s.results = false, nil
		}
	case !s.open:
		s.results = append(s.results, res)
		inRow := 0
		for i := len(s.results) - 1; i >= 0 && s.results[i] != succeeded; i-- {
			if s.results[i] == failed {
				inRow++
			}
		}
		if inRow >= limit {
			s.open, s.openedAt = true, now
		}
	}
}

// Random requests, some of which end late and out of order, against the history.
func TestBreakerAgainstItsHistory(t *testing.T) {
	t.Parallel()
	const limit, pause = 3, 10 * time.Second
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 1))
		b, slow, now := &breaker{}, &slowBreaker{}, t0
		var flying []ticket
		for step := range 200 {
			now = now.Add(time.Duration(rng.IntN(4000)) * time.Millisecond)
			if rng.IntN(2) == 0 || len(flying) == 0 {
				want := slow.admits(now, pause)
				tk, got := b.admit(now)
				if got != want || tk.probe && !slow.open || got && slow.open && !tk.probe {
					t.Fatalf("seed %d step %d: admitted %v (probe %v), want %v", seed, step, got, tk.probe, want)
				}
				if got {
					flying = append(flying, tk)
					slow.probe = slow.probe || tk.probe
				}
				continue
			}
			i := rng.IntN(len(flying))
			tk := flying[i]
			flying = append(flying[:i], flying[i+1:]...)
			res := attemptResult(rng.IntN(3))
			b.report(tk, res, now, limit, pause)
			slow.note(tk.probe, res, now, limit)
			if open := b.state(now) != breakerClosed; open != slow.open {
				t.Fatalf("seed %d step %d: open %v, want %v", seed, step, open, slow.open)
			}
		}
	}
}

func TestBreakerStates(t *testing.T) {
	t.Parallel()
	const limit, pause = 2, time.Second
	b := &breaker{}
	b.report(ticket{}, failed, t0, limit, pause)
	b.report(ticket{}, unproven, t0, limit, pause) // says nothing either way
	if b.state(t0) != breakerClosed {
		t.Fatalf("state %d after one failure of %d", b.state(t0), limit)
	}
	b.report(ticket{}, failed, t0, limit, pause)
	for _, tt := range []struct {
		after time.Duration
		want  breakerState
	}{{0, breakerOpen}, {pause - 1, breakerOpen}, {pause, breakerHalfOpen}, {time.Hour, breakerHalfOpen}} {
		if got := b.state(t0.Add(tt.after)); got != tt.want {
			t.Errorf("after %v: state %d, want %d", tt.after, got, tt.want)
		}
	}
	if _, ok := b.admit(t0.Add(pause - 1)); ok {
		t.Error("admitted a moment before the pause is over")
	}
	probe, ok := b.admit(t0.Add(pause))
	if !ok || !probe.probe {
		t.Fatalf("at the end of the pause: %+v, %v", probe, ok)
	}
	if _, second := b.admit(t0.Add(time.Hour)); second {
		t.Error("two probes at a time")
	}
	b.report(ticket{}, succeeded, t0, limit, pause) // was sent before the breaker opened
	if b.state(t0) != breakerOpen {
		t.Error("an old success closed it")
	}
	b.report(probe, unproven, t0.Add(2*pause), limit, pause)
	if got := b.state(t0.Add(3*pause - 1)); got != breakerOpen {
		t.Errorf("after a probe that proves nothing: state %d", got)
	}
	probe, _ = b.admit(t0.Add(3 * pause))
	b.report(probe, succeeded, t0.Add(3*pause), limit, pause)
	if b.state(t0.Add(3*pause)) != breakerClosed {
		t.Error("a good probe did not close it")
	}
	b.report(ticket{}, failed, t0, limit, pause)
	if b.state(t0) != breakerClosed {
		t.Error("failures from before the pause still count")
	}
}
