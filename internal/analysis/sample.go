// Package analysis is the online judge: samples of cumulative counters in, evidence and a verdict out. It never reads a clock,
// queries a metric source or changes traffic; its state is opaque to everybody else, and versioned.
package analysis

import (
	"encoding/json"
	"math"
	"time"
)

// Role is the part the sampled version played: the version a request was assigned to, never the one that rescued it.
type Role string

// The roles of samples. RoleShadow is reserved: it is stored and judged by nobody yet.
const (
	RoleChampion Role = "champion"
	RoleCanary   Role = "canary"
	RoleShadow   Role = "shadow"
)

// Sample is the cumulative counters of one role at one process (instance) at one instant of the grid of ticks. It is stored as this JSON
// for ever: recordings are replayed by later releases.
type Sample struct {
	// At is the tick. All samples with the same At are one scrape.
	At       time.Time `json:"at"`
	Role     Role      `json:"role"`
	Instance string    `json:"instance"`
	// Revision is the registry version behind the role, when the source tells.
	Revision string `json:"revision,omitempty"`
	// WeightPct is the canary's share in percent that was in force until At.
	WeightPct float64 `json:"weight_pct"`
	// Restarted says that the source saw the process restart since the tick before, although no counter need be lower than it was then:
	// everything in this line is new. Sources that look once a tick leave it false, and a drop tells.
	Restarted bool `json:"restarted,omitempty"`
	// Requests counts requests by status code ("200", "503"). Nil means the counters could not be read: the line counts as missing.
	Requests map[string]Number `json:"requests"`
	// Latency is the cumulative histogram of request durations; nil when the source has none.
	Latency *Histogram `json:"latency_seconds,omitempty"`
	// Reserved for later judges; kept as they are.
	Cells   json.RawMessage `json:"cells,omitempty"`
	Scores  json.RawMessage `json:"scores,omitempty"`
	Metrics json.RawMessage `json:"metrics,omitempty"`
}

// Histogram holds cumulative counts by upper bound in seconds, keys as Prometheus writes them ("0.1", "+Inf"), parsed as numbers.
type Histogram struct {
	LE  map[string]Number `json:"le"`
	Sum Number            `json:"sum,omitempty"`
}

// Number is a float64 whose JSON form may also be the strings "NaN", "+Inf" and "-Inf": a source can say such things and a recording must not lose them.
type Number float64

// MarshalJSON writes a JSON number, or a string for NaN and the infinities.
func (n Number) MarshalJSON() ([]byte, error) {
	switch f := float64(n); {
	case math.IsNaN(f):
		return []byte(`"NaN"`), nil
	case math.IsInf(f, 1):
		return []byte(`"+Inf"`), nil
	case math.IsInf(f, -1):
		return []byte(`"-Inf"`), nil
	default:
		return json.Marshal(f)
	}
}

// UnmarshalJSON reads a number or one of the strings that MarshalJSON writes; null and other strings become NaN, which counts as missing.
func (n *Number) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case `"+Inf"`:
		*n = Number(math.Inf(1))
	case `"-Inf"`:
		*n = Number(math.Inf(-1))
	default:
		var f float64
		if b[0] == '"' || string(b) == "null" {
			*n = Number(math.NaN())
			return nil
		}
		if err := json.Unmarshal(b, &f); err != nil {
			return err
		}
		*n = Number(f)
	}
	return nil
}
