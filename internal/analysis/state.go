package analysis

import (
	"encoding/json"
	"fmt"
	"time"
)

// stateVersion rises when a stored state would be read wrongly by the release before.
const stateVersion = 1

// state is the content of State.
type state struct {
	V int `json:"v"`
	// Stage and WeightPct name the stage that the counts belong to; Entered is its first judged scrape, Begun says that one had its weight.
	Stage     string    `json:"stage"`
	WeightPct float64   `json:"weight_pct"`
	Entered   time.Time `json:"entered"`
	Begun     bool      `json:"begun"`
	// Last is the last judged scrape, complete or not.
	Last time.Time `json:"last"`
	// Base and LatencyBase are the last scrapes that moved the bases of requests and of histograms.
	Base        time.Time `json:"base"`
	LatencyBase time.Time `json:"latency_base"`
	Errors      clock     `json:"errors_clock"`
	Latency     clock     `json:"latency_clock"`
	Bounds      *bounds   `json:"bounds,omitempty"`
	// Lines are the bases by process, see lineKey.
	Lines map[string]base `json:"lines"`
	// Ring holds the intervals of the window, Total those of the stage.
	Ring  []interval `json:"ring"`
	Total pair       `json:"total"`
	// OverErrors and OverLatency count successive ticks over the limit.
	OverErrors  int `json:"over_errors"`
	OverLatency int `json:"over_latency"`
	// Quiet is the start of the unbroken run of intervals without a canary request; zero when the last one had some.
	Quiet time.Time `json:"quiet"`
}

// interval is the time between two complete scrapes; it ends at At.
type interval struct {
	At time.Time `json:"at"`
	pair
}

// clock measures the time that samples cover. At is the last scrape that it counted to.
type clock struct {
	At      time.Time     `json:"at"`
	Covered time.Duration `json:"covered_ns"`
	Lost    time.Duration `json:"lost_ns"`
}

// advance counts the time since the last scrape, as lost when it is longer than gap allows.
func (c *clock) advance(at time.Time, gap time.Duration, begun bool) {
	switch passed := at.Sub(c.At); {
	case c.At.IsZero():
	case passed <= gap:
		c.Covered += passed
	case begun: // a gap before the stage's first scrape belongs to nobody's bake
		c.Lost += passed
	}
	c.At = at
}

func decodeState(st State) (*state, error) {
	s := &state{V: stateVersion, Lines: map[string]base{}}
	if len(st) == 0 {
		return s, nil
	}
	var head struct {
		V int `json:"v"`
	}
	if err := json.Unmarshal(st, &head); err != nil {
		return nil, fmt.Errorf("judge's state cannot be read: %w", err)
	}
	if head.V != stateVersion {
		return nil, fmt.Errorf("judge's state has version %d, this release reads %d: use the release that wrote it", head.V, stateVersion)
	}
	if err := json.Unmarshal(st, s); err != nil {
		return nil, fmt.Errorf("judge's state cannot be read: %w", err)
	}
	if s.Lines == nil {
		s.Lines = map[string]base{}
	}
	if b := s.Bounds; b != nil && (b.Plus < 0 || b.Plus >= len(b.LE) || b.Minus < 0 || b.Minus >= len(b.LE)) {
		return nil, fmt.Errorf("judge's state is damaged: bounds %d and %d of %d", b.Plus, b.Minus, len(b.LE))
	}
	return s, nil
}

func (s *state) encode() (State, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("judge's state cannot be written: %w", err)
	}
	return b, nil
}

func (s *state) bounds() bounds {
	if s.Bounds == nil {
		return bounds{}
	}
	return *s.Bounds
}

// enter starts the counts and clocks anew when the stage is another one. The bases stay: a stage begins where the one before ended.
func (s *state) enter(stage Stage, at time.Time) {
	if s.Stage == stage.Name && s.WeightPct == stage.WeightPct {
		return
	}
	s.Stage, s.WeightPct, s.Entered, s.Begun = stage.Name, stage.WeightPct, at, false
	s.Total = pair{}
	s.Errors = clock{At: s.Errors.At}
	s.Latency = clock{At: s.Latency.At}
	s.breakRun()
}

// breakRun forgets the window and every run of successive ticks.
func (s *state) breakRun() {
	s.Ring, s.OverErrors, s.OverLatency, s.Quiet = nil, 0, 0, time.Time{}
}

// forget drops all bases: the next line of every process sets its base only.
func (s *state) forget() {
	s.Lines = map[string]base{}
	s.Base = time.Time{}
	s.forgetLatency()
}

// forgetLatency drops the histogram bases and the choice of bounds.
func (s *state) forgetLatency() {
	s.LatencyBase, s.Bounds = time.Time{}, nil
	for key, b := range s.Lines {
		b.LE = nil
		s.Lines[key] = b
	}
	for i := range s.Ring {
		s.Ring[i].Canary.LE, s.Ring[i].Champion.LE = nil, nil
	}
}

// covered is the time that every enabled check has seen.
func (s *state) covered(cfg Config) (covered, lost time.Duration) {
	switch {
	case !cfg.Latency.Enabled:
		return s.Errors.Covered, s.Errors.Lost
	case !cfg.Errors.Enabled:
		return s.Latency.Covered, s.Latency.Lost
	}
	return min(s.Errors.Covered, s.Latency.Covered), max(s.Errors.Lost, s.Latency.Lost)
}

// remember puts an interval into the window and the totals, and lets go of what is older than the window.
func (s *state) remember(cfg Config, at time.Time, p pair) {
	s.Ring = append(s.Ring, interval{At: at, pair: p})
	oldest := windowStart(cfg, at).Add(cfg.Tick / 2)
	for len(s.Ring) > 0 && !s.Ring[0].At.After(oldest) {
		s.Ring = s.Ring[1:]
	}
	p.Canary.LE, p.Champion.LE = nil, nil // the quantile is shown for the window only
	s.Total.add(p)
}

func windowStart(cfg Config, at time.Time) time.Time {
	return at.Add(-time.Duration(cfg.Window) * cfg.Tick)
}

// window pools the intervals whose end lies in the last ticks before at.
func (s *state) window(cfg Config, at time.Time) (p pair, ticks int) {
	oldest := windowStart(cfg, at).Add(cfg.Tick / 2)
	for _, iv := range s.Ring {
		if iv.At.After(oldest) {
			p.add(iv.pair)
			ticks++
		}
	}
	return p, ticks
}
