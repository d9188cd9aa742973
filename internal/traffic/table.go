package traffic

import (
	"encoding/json"
	"time"

	"serin/internal/model"
)

// Document is one traffic_routing.json as a value: the five keys that old readers know, the rollback time, Serin's own key, and everything else untouched.
type Document struct { //nolint:recvcheck // the pointer methods fill it while it is parsed
	CanaryEnabled bool
	// CanaryPct and ChampionPct are percent, 0 to 100, and sum to 100.
	CanaryPct     float64
	CanaryURI     string
	ChampionPct   float64
	ProductionURI string
	// RollbackAt is the time of the last rollback, UTC; zero when the document has no rollback_timestamp.
	RollbackAt time.Time
	// Control is the key "serin"; nil in a document that another writer made.
	Control *Control
	// Unknown holds keys that are not ours; a writer keeps them.
	Unknown map[string]json.RawMessage
}

// Control is what Serin adds to the routing document, under the key "serin" (or in the sidecar file with routing.compat: strict).
type Control struct {
	// Generation rises by one with every write. Writer names who wrote, Rollout, Task and Attempt on whose behalf.
	Generation int64  `json:"generation"`
	Writer     string `json:"writer"`
	Rollout    string `json:"rollout,omitempty"`
	Task       string `json:"task,omitempty"`
	Attempt    int    `json:"attempt,omitempty"`
	// Salt is the random text of the rollout that Bucket takes.
	Salt string `json:"salt"`
	// LeaseUntil is set while a canary has traffic, and renewed; a gateway whose lease is over for five minutes serves the champion.
	LeaseUntil time.Time  `json:"lease_until,omitzero"`
	Champion   model.Pin  `json:"champion"`
	Canary     *CanaryPin `json:"canary,omitempty"`
}

// CanaryPin is the pinned canary and the buckets that are its own.
type CanaryPin struct {
	model.Pin
	Buckets Set `json:"buckets"`
}

// Side is one version in the traffic: how it is referred to, and the pin when one is known.
type Side struct {
	URI string
	Pin model.Pin
}

// Table is what a gateway routes one model by. It is immutable once made.
type Table struct {
	Model      string
	Generation int64
	Salt       string
	Champion   Side
	// Canary is nil when nothing goes to a canary.
	Canary *Side
	// Buckets are the canary's. Empty when Canary is nil.
	Buckets    Set
	LeaseUntil time.Time
}
