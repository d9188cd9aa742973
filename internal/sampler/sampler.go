// Package sampler takes the counters of one served model on a grid of ticks, before, during and after rollouts, and stores them as scrapes.
// It never judges, and never changes what it saw.
package sampler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"time"

	"serin/internal/analysis"
)

// Source gives the cumulative counters of one model at every process that it sees, as they stood at the tick at. It is called once a tick, must
// return when ctx ends, and is not retried before the next tick: a counter loses nothing by waiting. An error means that this tick is incomplete;
// it is stored with the scrape as a provider error. No lines and no error mean that the source works and the model has no counters.
type Source interface {
	Scrape(ctx context.Context, model string, at time.Time) ([]analysis.Sample, error)
}

// Store keeps scrapes. A scrape is stored whole or not at all and is not retried: an error makes a gap, which the judge knows. PruneSamples forgets
// scrapes before a time; it is tried again later.
type Store interface {
	SaveScrape(ctx context.Context, model string, sc analysis.Scrape) error
	PruneSamples(ctx context.Context, model string, before time.Time) error
}

// Options configure a Sampler. Model, Tick, Sources and Store are required.
type Options struct {
	Model string
	// Tick is the distance of two scrapes; they stand on its multiples.
	Tick time.Duration
	// Sources are summed: every process brings its own lines, and no process may come from two sources.
	Sources []Source
	// Weight is the canary's share in percent that is in force. Nil leaves what the sources say.
	Weight func() float64
	Store  Store
	Logger *slog.Logger
	// Timeout bounds one scrape of all sources. Default: three quarters of the tick, so that a source that hangs costs no further tick; at most 10 s.
	Timeout time.Duration
	// Retain is how long scrapes are kept that nobody needs. Default 30 min.
	Retain time.Duration
	// Keep gives the earliest time whose scrapes are still needed; the zero time needs none. Nil needs none.
	Keep func() time.Time
	// Now reads the wall clock. Default time.Now; a step back is not followed.
	Now func() time.Time
}

// Sampler samples one model. Make it with New.
type Sampler struct {
	opts Options

	mu      sync.Mutex
	tick    time.Duration
	updated chan struct{} // closed and replaced when a scrape is stored
	running bool
	retuned chan struct{} // wakes Run after SetTick
}

const (
	defaultTimeout = 10 * time.Second
	defaultRetain  = 30 * time.Minute
	pruneEvery     = time.Minute
)

// New checks the options and fills their defaults. It starts nothing.
func New(opts Options) (*Sampler, error) {
	switch {
	case opts.Model == "":
		return nil, errors.New("sampler: no model named")
	case opts.Tick <= 0:
		return nil, fmt.Errorf("sampler of %s: tick %s must be above zero", opts.Model, opts.Tick)
	case len(opts.Sources) == 0:
		return nil, fmt.Errorf("sampler of %s: no source: name a gateway or a Prometheus", opts.Model)
	case opts.Store == nil:
		return nil, fmt.Errorf("sampler of %s: no store", opts.Model)
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Retain <= 0 {
		opts.Retain = defaultRetain
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Keep == nil {
		opts.Keep = func() time.Time { return time.Time{} }
	}
	return &Sampler{opts: opts, tick: opts.Tick, updated: make(chan struct{}), retuned: make(chan struct{}, 1)}, nil
}

// Updated is closed when the next scrape is stored. Take it before reading the store, so that nothing is missed in between.
func (s *Sampler) Updated() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.updated
}

// SetTick changes the distance of scrapes from the next tick on; the time that it takes effect is a multiple of the new tick.
func (s *Sampler) SetTick(tick time.Duration) error {
	if tick <= 0 {
		return fmt.Errorf("sampler of %s: tick %s must be above zero", s.opts.Model, tick)
	}
	s.mu.Lock()
	s.tick = tick
	s.mu.Unlock()
	select {
	case s.retuned <- struct{}{}:
	default: // Run has not seen the last change yet and will read this one with it
	}
	return nil
}

// Tick is the distance of scrapes that is in force.
func (s *Sampler) Tick() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tick
}

// Run samples until ctx ends and then returns nil. One Run at a time.
func (s *Sampler) Run(ctx context.Context) error {
	if err := s.begin(); err != nil {
		return err
	}
	defer s.end()
	clock := newClock(s.opts.Now)
	var last, pruned time.Time
	for {
		at, ok := s.wait(ctx, clock, last)
		if !ok {
			return nil
		}
		if step := clock.stepBack(); step > 0 {
			s.opts.Logger.WarnContext(ctx, "clock was set back, sampling goes on in the old count until it has caught up", "model", s.opts.Model, "step", step)
		}
		last = at
		s.save(ctx, s.scrape(ctx, at))
		if at.Sub(pruned) >= pruneEvery {
			pruned = at
			s.prune(ctx, at)
		}
	}
}

func (s *Sampler) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		return fmt.Errorf("sampler of %s is running already: one Run at a time", s.opts.Model)
	}
	s.running = true
	return nil
}

func (s *Sampler) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = false
}

// wait returns at the first tick after last and now. A tick that has passed while the machine slept is left out: its counters are gone.
func (s *Sampler) wait(ctx context.Context, clock *clock, last time.Time) (at time.Time, ok bool) {
	for {
		tick := s.Tick()
		now := clock.now()
		next := now.Truncate(tick).Add(tick)
		if !next.After(last) {
			next = last.Truncate(tick).Add(tick)
		}
		timer := time.NewTimer(next.Sub(now))
		select {
		case <-ctx.Done():
			timer.Stop()
			return time.Time{}, false
		case <-s.retuned:
			timer.Stop()
		case <-timer.C:
			// The wall clock may have moved while the timer ran: take the tick that it is now.
			if at := clock.now().Truncate(tick); at.After(last) {
				return at.UTC(), true
			}
		}
	}
}

// scrape asks all sources at once. What one cannot give becomes the scrape's error, and the lines of the others stay.
func (s *Sampler) scrape(ctx context.Context, at time.Time) analysis.Scrape {
	weight, err := s.weight()
	timeout := s.opts.Timeout
	if timeout <= 0 {
		timeout = min(s.Tick()*3/4, defaultTimeout)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	lines := make([][]analysis.Sample, len(s.opts.Sources))
	errs := make([]error, len(s.opts.Sources), len(s.opts.Sources)+2)
	var wg sync.WaitGroup
	for i, source := range s.opts.Sources {
		wg.Go(func() { lines[i], errs[i] = source.Scrape(ctx, s.opts.Model, at) })
	}
	wg.Wait()
	sc, twice := merge(at, lines)
	if s.opts.Weight != nil {
		for i := range sc.Samples {
			sc.Samples[i].WeightPct = weight
		}
	}
	sc.Err = oneLine(append(errs, err, twice)...)
	return sc
}

func (s *Sampler) weight() (float64, error) {
	if s.opts.Weight == nil {
		return 0, nil
	}
	w := s.opts.Weight()
	if math.IsNaN(w) || w < 0 || w > 100 {
		return 0, fmt.Errorf("the canary's weight is %v %%, not 0 to 100: read the routing file", w)
	}
	return w, nil
}

// merge puts the lines of all sources together. The same process in two of them would be counted twice: it is left in once and told.
func merge(at time.Time, lines [][]analysis.Sample) (sc analysis.Scrape, err error) {
	type id struct {
		role               analysis.Role
		instance, revision string
	}
	seen := map[id]bool{}
	sc.At = at
	for _, samples := range lines {
		for _, l := range samples {
			key := id{l.Role, l.Instance, l.Revision}
			if seen[key] {
				err = fmt.Errorf("two sources count instance %s as %s: name each once", l.Instance, l.Role)
				continue
			}
			seen[key] = true
			sc.Samples = append(sc.Samples, l)
		}
	}
	return sc, err
}

func oneLine(errs ...error) string {
	var words []string
	for _, err := range errs {
		if err != nil {
			words = append(words, strings.Join(strings.Fields(err.Error()), " "))
		}
	}
	return strings.Join(words, "; ")
}

// save stores a scrape and wakes whoever waits for it. A scrape cut short by the end of Run says nothing about its sources and is dropped.
func (s *Sampler) save(ctx context.Context, sc analysis.Scrape) {
	if ctx.Err() != nil {
		return
	}
	log := s.opts.Logger.With("model", s.opts.Model, "at", sc.At)
	if sc.Err != "" {
		log.WarnContext(ctx, "scrape is incomplete", "err", sc.Err)
	}
	if err := s.opts.Store.SaveScrape(ctx, s.opts.Model, sc); err != nil {
		log.ErrorContext(ctx, "scrape was not stored, the judge will see a gap", "err", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.updated)
	s.updated = make(chan struct{})
}

// prune forgets what is older than Retain and needed by nobody.
func (s *Sampler) prune(ctx context.Context, at time.Time) {
	before := at.Add(-s.opts.Retain)
	if needed := s.opts.Keep(); !needed.IsZero() && needed.Before(before) {
		before = needed
	}
	if err := s.opts.Store.PruneSamples(ctx, s.opts.Model, before); err != nil && ctx.Err() == nil {
		s.opts.Logger.WarnContext(ctx, "old scrapes were not pruned, the next minute tries again", "model", s.opts.Model, "err", err)
	}
}
