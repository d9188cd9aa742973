package sampler

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// prunings are the times before which the sampler forgot, since begin.
func (s *store) prunings(begin time.Time) []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []time.Duration
	for _, before := range s.pruned {
		out = append(out, before.Sub(begin))
	}
	return out
}

func (s *store) failWith(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func last(d []time.Duration) time.Duration { return d[len(d)-1] }

func TestSampler_PrunesWhatNobodyNeeds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var needed atomic.Int64 // seconds since begin, 0 for nothing
		st := &store{}
		start(t, Options{Store: st, Sources: []Source{gateway("gw-1")}, Keep: func() time.Time {
			if s := needed.Load(); s > 0 {
				return begin.Add(time.Duration(s) * time.Second)
			}
			return time.Time{}
		}})
		pass(time.Hour + time.Second)
		all := st.prunings(begin)
		if got, want := last(all), 30*time.Minute; got > want || got < want-time.Minute {
			t.Errorf("pruned before %s, want half an hour ago", got)
		}
		if len(all) < 59 || len(all) > 61 {
			t.Errorf("pruned %d times in an hour", len(all))
		}
		needed.Store(5 * 60) // a rollout whose history begins at 5 min
		pass(3 * time.Hour)
		if latest := slices.Max(st.prunings(begin)[len(all):]); latest != 5*time.Minute {
			t.Errorf("pruned before %s, but 5m0s is needed", latest)
		}
		needed.Store(4*3600 - 60) // needs less than is kept anyway
		pass(2 * time.Minute)
		if got := last(st.prunings(begin)); got > 3*time.Hour+33*time.Minute || got < 3*time.Hour+30*time.Minute {
			t.Errorf("pruned before %s", got)
		}
	})
}

func TestSampler_AStoreThatFailsMakesAGapAndIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st, log := &store{}, &logBuffer{}
		start(t, Options{Store: st, Sources: []Source{gateway("gw-1")}, Logger: slog.New(slog.NewTextHandler(log, nil))})
		pass(16 * time.Second)
		st.failWith(errors.New("disk is full"))
		pass(60 * time.Second) // 30, 45, 60, 75
		st.failWith(nil)
		pass(15 * time.Second)
		if got := st.times(); !slices.Equal(got, seconds(15, 90)) {
			t.Errorf("stored %v", got)
		}
		said := log.String()
		if strings.Count(said, "scrape was not stored") != 4 || strings.Count(said, "were not pruned") != 1 || !strings.Contains(said, "disk is full") {
			t.Errorf("log says\n%s", said)
		}
	})
}
