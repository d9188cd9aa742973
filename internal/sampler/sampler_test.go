package sampler

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/analysis"
)

// store keeps scrapes in memory.
type store struct {
	mu      sync.Mutex
	scrapes []analysis.Scrape
	pruned  []time.Time
	fail    error
}

func (s *store) SaveScrape(_ context.Context, model string, sc analysis.Scrape) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if model != "fraud" {
		return errors.New("scrape of " + model)
	}
	if s.fail != nil {
		return s.fail
	}
	s.scrapes = append(s.scrapes, sc)
	return nil
}

func (s *store) PruneSamples(_ context.Context, _ string, before time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pruned = append(s.pruned, before)
	return s.fail
}

// times are the ticks stored, since the start of the bubble (midnight UTC of a day).
func (s *store) times() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []time.Duration
	for _, sc := range s.scrapes {
		out = append(out, sc.At.Sub(sc.At.Truncate(24*time.Hour)))
	}
	return out
}

func (s *store) last(t *testing.T) analysis.Scrape {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.scrapes) == 0 {
		t.Fatal("nothing was stored")
	}
	return s.scrapes[len(s.scrapes)-1]
}

// sourceFunc is a Source.
type sourceFunc func(ctx context.Context, model string, at time.Time) ([]analysis.Sample, error)

func (f sourceFunc) Scrape(ctx context.Context, model string, at time.Time) ([]analysis.Sample, error) {
	return f(ctx, model, at)
}

// gateway is a source with one line.
func gateway(name string) Source {
	return sourceFunc(func(_ context.Context, _ string, at time.Time) ([]analysis.Sample, error) {
		return []analysis.Sample{{At: at, Role: analysis.RoleCanary, Instance: name, Requests: map[string]analysis.Number{"200": 1}}}, nil
	})
}

func broken(err error) Source {
	return sourceFunc(func(context.Context, string, time.Time) ([]analysis.Sample, error) { return nil, err })
}

// start runs a sampler in the bubble until the test ends.
func start(t *testing.T, opts Options) *Sampler {
	t.Helper()
	opts.Model = "fraud"
	if opts.Tick == 0 {
		opts.Tick = 15 * time.Second
	}
	s, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return s
}

// pass lets bubble time go on.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func seconds(n ...int) []time.Duration {
	out := make([]time.Duration, len(n))
	for i, s := range n {
		out[i] = time.Duration(s) * time.Second
	}
	return out
}

func TestSampler_StandsOnTheGrid(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pass(4 * time.Second) // the bubble starts at midnight; Run does not start on a tick
		st := &store{}
		start(t, Options{Store: st, Sources: []Source{gateway("gw-1"), gateway("gw-2")}, Weight: func() float64 { return 5 }})
		pass(time.Minute)
		if diff := cmp.Diff(seconds(15, 30, 45, 60), st.times()); diff != "" {
			t.Errorf("ticks (-want +got)\n%s", diff)
		}
		sc := st.last(t)
		if len(sc.Samples) != 2 || sc.Err != "" {
			t.Fatalf("scrape %+v", sc)
		}
		for i, want := range []string{"gw-1", "gw-2"} {
			if l := sc.Samples[i]; l.Instance != want || l.WeightPct != 5 || !l.At.Equal(sc.At) {
				t.Errorf("line %+v", l)
			}
		}
	})
}

func TestSampler_WithoutWeightTheSourcesSayIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := &store{}
		start(t, Options{Store: st, Sources: []Source{sourceFunc(func(_ context.Context, _ string, at time.Time) ([]analysis.Sample, error) {
			return []analysis.Sample{{At: at, WeightPct: 25}}, nil
		})}})
		pass(20 * time.Second)
		if w := st.last(t).Samples[0].WeightPct; w != 25 {
			t.Errorf("weight %v", w)
		}
	})
}

func TestSampler_WhatIsMissingIsTold(t *testing.T) {
	t.Parallel()
	hangs := sourceFunc(func(ctx context.Context, _ string, _ time.Time) ([]analysis.Sample, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	for name, tc := range map[string]struct {
		sources []Source
		weight  func() float64
		lines   int
		words   []string
	}{
		"one of two fails":        {[]Source{gateway("gw-1"), broken(errors.New("gateway gw-2: refused\nstack"))}, nil, 1, []string{"gateway gw-2: refused stack"}},
		"both fail":               {[]Source{broken(errors.New("a is down")), broken(errors.New("b is down"))}, nil, 0, []string{"a is down; b is down"}},
		"one hangs":               {[]Source{gateway("gw-1"), hangs}, nil, 1, []string{"deadline exceeded"}},
		"one process twice":       {[]Source{gateway("gw-1"), gateway("gw-1")}, nil, 1, []string{"two sources count instance gw-1 as canary"}},
		"the weight is no weight": {[]Source{gateway("gw-1")}, func() float64 { return -1 }, 1, []string{"weight is -1 %"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				st := &store{}
				start(t, Options{Store: st, Sources: tc.sources, Weight: tc.weight})
				pass(59 * time.Second)
				if diff := cmp.Diff(seconds(15, 30, 45), st.times()); diff != "" {
					t.Errorf("ticks (-want +got)\n%s", diff)
				}
				sc := st.last(t)
				if len(sc.Samples) != tc.lines {
					t.Errorf("%d lines, want %d", len(sc.Samples), tc.lines)
				}
				for _, w := range tc.words {
					if !strings.Contains(sc.Err, w) {
						t.Errorf("error %q, want %q in it", sc.Err, w)
					}
				}
			})
		})
	}
}

func TestSampler_ALateTickIsLeftOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := &store{}
		slow := sourceFunc(func(_ context.Context, _ string, at time.Time) ([]analysis.Sample, error) {
			if at.Second() == 30 {
				<-time.After(40 * time.Second) // ignores its deadline: the ticks of 45 and 60 s pass meanwhile
			}
			return nil, nil
		})
		start(t, Options{Store: st, Sources: []Source{slow}})
		pass(91 * time.Second)
		if diff := cmp.Diff(seconds(15, 30, 75), st.times()[:3]); diff != "" {
			t.Errorf("ticks (-want +got)\n%s", diff)
		}
	})
}

// logBuffer is read while the sampler may write.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// wallClock is the bubble's time with steps.
type wallClock struct {
	mu   sync.Mutex
	step time.Duration
}

func (c *wallClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.step)
}

func (c *wallClock) jump(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.step += by
}

func TestSampler_ClockJumps(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		jump time.Duration
		want []time.Duration
		warn bool
	}{
		"an hour back goes on in the old count": {-time.Hour, seconds(15, 30, 45, 60, 75, 90), true},
		"a second back does too":                {-time.Second, seconds(15, 30, 45, 60, 75, 90), true},
		"ten minutes ahead are followed":        {10 * time.Minute, seconds(15, 30, 645, 660, 675, 690), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				st, wall := &store{}, &wallClock{}
				log := &logBuffer{}
				start(t, Options{Store: st, Sources: []Source{gateway("gw-1")}, Now: wall.now, Logger: slog.New(slog.NewTextHandler(log, nil))})
				pass(31 * time.Second)
				wall.jump(tc.jump)
				pass(60 * time.Second)
				if diff := cmp.Diff(tc.want, st.times()); diff != "" {
					t.Errorf("ticks (-want +got)\n%s", diff)
				}
				if warned := strings.Count(log.String(), "clock was set back"); warned != map[bool]int{true: 1}[tc.warn] {
					t.Errorf("warned %d times: %s", warned, log.String())
				}
			})
		})
	}
}

func TestSampler_SetTick(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := &store{}
		s := start(t, Options{Store: st, Sources: []Source{gateway("gw-1")}})
		pass(16 * time.Second)
		if err := s.SetTick(0); err == nil {
			t.Error("a tick of zero was taken")
		}
		if err := s.SetTick(5 * time.Second); err != nil || s.Tick() != 5*time.Second {
			t.Fatalf("tick %s, %v", s.Tick(), err)
		}
		pass(10 * time.Second)
		if err := s.SetTick(time.Minute); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if diff := cmp.Diff(seconds(15, 20, 25, 60), st.times()); diff != "" {
			t.Errorf("ticks (-want +got)\n%s", diff)
		}
	})
}

func TestSampler_UpdatedWakesWhenAScrapeIsStored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := &store{}
		s := start(t, Options{Store: st, Sources: []Source{gateway("gw-1")}})
		for want := 1; want <= 3; want++ {
			<-s.Updated()
			if got := len(st.times()); got != want {
				t.Fatalf("woken with %d scrapes stored, want %d", got, want)
			}
		}
		st.mu.Lock()
		st.fail = errors.New("disk is full")
		st.mu.Unlock()
		updated := s.Updated()
		pass(time.Minute)
		select {
		case <-updated:
			t.Error("woken although nothing was stored")
		default:
		}
	})
}

func TestSampler_AScrapeCutShortByTheEndIsNotStored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st := &store{}
		s, err := New(Options{Model: "fraud", Tick: 15 * time.Second, Store: st, Sources: []Source{sourceFunc(func(ctx context.Context, _ string, _ time.Time) ([]analysis.Sample, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		pass(16 * time.Second)
		if err := s.Run(ctx); err == nil || !strings.Contains(err.Error(), "running already") {
			t.Errorf("a second Run: %v", err)
		}
		cancel()
		if err := <-done; err != nil || len(st.times()) != 0 {
			t.Errorf("run: %v, stored %v", err, st.times())
		}
	})
}

func TestNew_Refuses(t *testing.T) {
	t.Parallel()
	for words, change := range map[string]func(*Options){
		"no model":  func(o *Options) { o.Model = "" },
		"tick":      func(o *Options) { o.Tick = 0 },
		"no source": func(o *Options) { o.Sources = nil },
		"no store":  func(o *Options) { o.Store = nil },
	} {
		opts := Options{Model: "fraud", Tick: time.Second, Sources: []Source{gateway("gw-1")}, Store: &store{}}
		change(&opts)
		if _, err := New(opts); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("error %v, want one with %q", err, words)
		}
	}
}
