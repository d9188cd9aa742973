package demo

import (
	"maps"
	"math"
	"time"
)

// Snapshot is what the customers saw: since the beginning, and since the last Mark.
type Snapshot struct {
	Total  Seen `json:"total"`
	Window Seen `json:"window"`
}

// Seen counts requests as their customers saw them.
type Seen struct {
	// Sent are requests that were begun, Answered those that came to an end. Skipped found no free worker and were never sent.
	Sent     int64 `json:"sent"`
	Answered int64 `json:"answered"`
	Skipped  int64 `json:"skipped"`
	// Roles and Versions count predictions by X-Serin-Served-By and X-Serin-Model-Version, of the model that really answered; Unnamed are
	// predictions without these headers.
	Roles    map[string]int64 `json:"roles"`
	Versions map[string]int64 `json:"versions"`
	Unnamed  int64            `json:"unnamed"`
	// Failures are what users must not see: statuses of 500 and above, broken or missing answers, and 200 without a prediction.
	Failures int64 `json:"failures"`
	// Refused are statuses from 300 to 499: the request was at fault.
	Refused int64 `json:"refused"`
	// Statuses counts every answer by its status, Transport the requests without a whole answer (they are Failures).
	Statuses  map[int]int64 `json:"statuses"`
	Transport int64         `json:"transport"`
	// LastFailure is the last failure or refusal in words.
	LastFailure string `json:"last_failure,omitempty"`
	// FailedOver are requests that another gateway took because one refused the connection, Resent those that were sent twice because the
	// connection broke.
	FailedOver int64 `json:"failed_over"`
	Resent     int64 `json:"resent"`
	// Customers were given a prediction, CanaryCustomers had their last one from the canary.
	Customers       int `json:"customers"`
	CanaryCustomers int `json:"canary_customers"`
	// ToCanary and ToChampion count customers who changed sides. While a weight grows nobody goes to the champion, except by a rescue.
	ToCanary   int64 `json:"to_canary"`
	ToChampion int64 `json:"to_champion"`
	// P50 and P95 are of the whole wait of requests with a prediction, within 5 percent; 0 without any.
	P50 time.Duration `json:"p50"`
	P95 time.Duration `json:"p95"`
}

// The roles in X-Serin-Served-By.
const (
	roleChampion = "champion"
	roleCanary   = "canary"
)

// tally is a Seen in the making.
type tally struct {
	sent, skipped int64
	counts        Seen
	sides         map[string]string
	waits         [buckets]int64
}

func newTally() *tally {
	return &tally{sides: map[string]string{}, counts: Seen{Roles: map[string]int64{}, Versions: map[string]int64{}, Statuses: map[int]int64{}}}
}

func (t *tally) add(customer string, a answer) {
	c := &t.counts
	c.Answered++
	if a.failedOver {
		c.FailedOver++
	}
	if a.resent {
		c.Resent++
	}
	if a.status != 0 {
		c.Statuses[a.status]++
	}
	switch {
	case a.transport, a.unpredictive, a.status >= 500:
		c.Failures++
		c.LastFailure = a.failure
		if a.transport {
			c.Transport++
		}
		return
	case a.failure != "":
		c.Refused++
		c.LastFailure = a.failure
		return
	}
	t.waits[bucket(a.took)]++
	t.predicted(customer, a)
}

// predicted counts a prediction by who made it.
func (t *tally) predicted(customer string, a answer) {
	c := &t.counts
	if a.role == "" || a.version == "" {
		c.Unnamed++
		return
	}
	c.Roles[a.role]++
	c.Versions[a.version]++
	switch before := t.sides[customer]; {
	case before == "" || before == a.role:
	case a.role == roleCanary:
		c.ToCanary++
	case a.role == roleChampion:
		c.ToChampion++
	}
	t.sides[customer] = a.role
}

func (t *tally) seen() Seen {
	s := t.counts
	s.Sent, s.Skipped = t.sent, t.skipped
	s.Roles, s.Versions, s.Statuses = maps.Clone(s.Roles), maps.Clone(s.Versions), maps.Clone(s.Statuses)
	s.Customers = len(t.sides)
	for _, side := range t.sides {
		if side == roleCanary {
			s.CanaryCustomers++
		}
	}
	s.P50, s.P95 = t.quantile(0.5), t.quantile(0.95)
	return s
}

// The histogram of waits: bucket i ends at first * growth^i, 300 of them reach beyond a minute.
const (
	buckets = 300
	first   = 50 * time.Microsecond
	growth  = 1.05
)

func bucket(d time.Duration) int {
	if d <= first {
		return 0
	}
	return min(int(math.Ceil(math.Log(float64(d)/float64(first))/math.Log(growth))), buckets-1)
}

// quantile is the end of the bucket that holds it.
func (t *tally) quantile(q float64) time.Duration {
	var all, sum int64
	for _, n := range t.waits {
		all += n
	}
	for i, n := range t.waits {
		sum += n
		if n > 0 && float64(sum) >= q*float64(all) {
			return time.Duration(float64(first) * math.Pow(growth, float64(i)))
		}
	}
	return 0
}
