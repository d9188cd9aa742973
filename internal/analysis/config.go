package analysis

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
)

// ModeThreshold is the only mode of this version: fixed limits on a sliding window and on the whole stage.
const ModeThreshold = "threshold"

// maxGapTicks bounds the time between two complete scrapes that may still be counted: 20 ticks, 5 minutes at 15 s. Anything longer is lost.
const maxGapTicks = 20

// Config is the plan's `analysis` section with every constant written out. Its JSON form spells durations as Go does ("15s").
type Config struct {
	// Mode is ModeThreshold.
	Mode string
	// Tick is the distance of two samples.
	Tick time.Duration
	// Window is the number of ticks that are pooled; MinRequests the number of canary requests below which a share says nothing;
	// Consecutive the number of successive ticks over the limit that make a failure.
	Window      int
	MinRequests int
	Consecutive int
	Errors      ErrorsConfig
	Latency     LatencyConfig
}

// ErrorsConfig is the check of the error rate.
type ErrorsConfig struct {
	Enabled bool `json:"enabled"`
	// SLO is the limit of the share of 5xx answers, between 0 and 1. Equal is not healthy.
	SLO float64 `json:"slo"`
}

// LatencyConfig is the check of the latency: at most a share 1-Quantile of the requests may be slower than SLO, and strictly fewer.
type LatencyConfig struct {
	Enabled  bool
	SLO      time.Duration
	Quantile float64
}

// Limit is the share of slow requests that the latency check must stay below, 1-Quantile without the noise of binary fractions.
func (l LatencyConfig) Limit() float64 { return math.Round((1-l.Quantile)*1e12) / 1e12 }

// DefaultConfig is what a plan without an `analysis` section gets.
func DefaultConfig() Config {
	return Config{
		Mode: ModeThreshold, Tick: 15 * time.Second, Window: 8, MinRequests: 50, Consecutive: 2,
		Errors:  ErrorsConfig{Enabled: true, SLO: 0.05},
		Latency: LatencyConfig{Enabled: true, SLO: 100 * time.Millisecond, Quantile: 0.95},
	}
}

// MaxGap is the longest time between two complete scrapes that still counts; more is lost time.
func (c Config) MaxGap() time.Duration { return maxGapTicks * c.Tick }

// Validate names the first value that cannot be judged by.
func (c Config) Validate() error {
	switch {
	case c.Mode == "sequential":
		return errors.New(`analysis.mode "sequential" is not in this version: use threshold`)
	case c.Mode != ModeThreshold:
		return fmt.Errorf("analysis.mode %q is unknown: use threshold", c.Mode)
	case c.Tick <= 0:
		return fmt.Errorf("analysis.tick %s: it must be above zero, such as 15s", c.Tick)
	case c.Window < 1:
		return fmt.Errorf("analysis.window %d: at least one tick is needed", c.Window)
	case c.MinRequests < 1:
		return fmt.Errorf("analysis.minRequests %d: at least one request is needed, since none proves nothing", c.MinRequests)
	case c.Consecutive < 1:
		return fmt.Errorf("analysis.consecutive %d: at least one tick is needed", c.Consecutive)
	case !c.Errors.Enabled && !c.Latency.Enabled:
		return errors.New("analysis: errors and latency are both off, so nothing could be judged: enable one")
	case c.Errors.Enabled && !inside(c.Errors.SLO):
		return fmt.Errorf("analysis.errors.slo %v: use a share between 0 and 1, such as 0.05", c.Errors.SLO)
	case c.Latency.Enabled && c.Latency.SLO <= 0:
		return fmt.Errorf("analysis.latency.slo %s: it must be above zero, such as 100ms", c.Latency.SLO)
	case c.Latency.Enabled && !inside(c.Latency.Limit()):
		return fmt.Errorf("analysis.latency.quantile %v: use a share between 0 and 1, such as 0.95", c.Latency.Quantile)
	}
	return nil
}

// inside is false for NaN too.
func inside(share float64) bool { return share > 0 && share < 1 }

// configJSON is the stored form of Config.
type configJSON struct {
	Mode        string       `json:"mode"`
	Tick        duration     `json:"tick"`
	Window      int          `json:"window"`
	MinRequests int          `json:"minRequests"`
	Consecutive int          `json:"consecutive"`
	Errors      ErrorsConfig `json:"errors"`
	Latency     latencyJSON  `json:"latency"`
}

type latencyJSON struct {
	Enabled  bool     `json:"enabled"`
	SLO      duration `json:"slo"`
	Quantile float64  `json:"quantile"`
}

func (c Config) stored() configJSON {
	return configJSON{
		Mode: c.Mode, Tick: duration(c.Tick), Window: c.Window, MinRequests: c.MinRequests, Consecutive: c.Consecutive, Errors: c.Errors,
		Latency: latencyJSON{Enabled: c.Latency.Enabled, SLO: duration(c.Latency.SLO), Quantile: c.Latency.Quantile},
	}
}

// MarshalJSON writes the keys of the plan file.
func (c Config) MarshalJSON() ([]byte, error) { return json.Marshal(c.stored()) }

// UnmarshalJSON reads what MarshalJSON writes; keys that are absent keep the value that c has, so a partial section goes over DefaultConfig.
func (c *Config) UnmarshalJSON(b []byte) error {
	f := c.stored()
	if err := json.Unmarshal(b, &f); err != nil {
		return fmt.Errorf("analysis section: %w", err)
	}
	*c = Config{
		Mode: f.Mode, Tick: time.Duration(f.Tick), Window: f.Window, MinRequests: f.MinRequests, Consecutive: f.Consecutive, Errors: f.Errors,
		Latency: LatencyConfig{Enabled: f.Latency.Enabled, SLO: time.Duration(f.Latency.SLO), Quantile: f.Latency.Quantile},
	}
	return nil
}

// duration is a time.Duration whose text is Go's ("1m30s").
type duration time.Duration

func (d duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

func (d *duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return err
	}
	*d = duration(v)
	return nil
}
