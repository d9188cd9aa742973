package gateway

import (
	"sort"
	"strconv"
	"sync"
	"time"

	"serin/internal/traffic"
)

// maxStatus bounds the table of counts by status code.
const maxStatus = 600

// knownStatuses exist from the start, so that the first failure is an increase from 0 and not the birth of a series.
var knownStatuses = [...]int{200, 400, 429, 500, 502, 503, 504}

// seriesKey names the counters of one version in one role.
type seriesKey struct {
	role     traffic.Role
	revision string
}

// series counts the first attempts of the requests that were assigned to one version in one role. Everything is under one lock, so that a
// reader never sees a request in one count and not in another.
type series struct {
	key    seriesKey
	bounds []float64 // ascending, seconds; shared and never changed

	mu       sync.Mutex
	statuses [maxStatus]uint64
	buckets  []uint64 // by bound, not cumulative; the last is above all bounds
	sum      float64
	reasons  [len(reasons)]uint64
}

func newSeries(key seriesKey, bounds []float64) *series {
	return &series{key: key, bounds: bounds, buckets: make([]uint64, len(bounds)+1)}
}

// record counts one request: its status, why it failed (empty when it did not), and how long the attempt took; a request that was
// never sent to the version has no duration, which is negative then.
func (s *series) record(status int, why Reason, took time.Duration) {
	seconds := took.Seconds()
	bucket := sort.SearchFloat64s(s.bounds, seconds)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.statuses[status]++
	if took >= 0 {
		s.buckets[bucket]++
		s.sum += seconds
	}
	for i, r := range reasons {
		if r == why {
			s.reasons[i]++
		}
	}
}

// counts are the numbers of a series at one moment.
type counts struct {
	key      seriesKey
	statuses []statusCount
	// cumulative is by bound; total is the count above all bounds too.
	bounds     []float64
	cumulative []uint64
	total      uint64
	sum        float64
	reasons    [len(reasons)]uint64
}

type statusCount struct {
	status string
	n      uint64
}

func (s *series) snapshot() counts {
	c := counts{key: s.key, bounds: s.bounds, cumulative: make([]uint64, len(s.bounds))}
	s.mu.Lock()
	defer s.mu.Unlock()
	for status, n := range s.statuses {
		if n > 0 || known(status) {
			c.statuses = append(c.statuses, statusCount{strconv.Itoa(status), n})
		}
	}
	for i, n := range s.buckets {
		c.total += n
		if i < len(c.cumulative) {
			c.cumulative[i] = c.total
		}
	}
	c.sum, c.reasons = s.sum, s.reasons
	return c
}

func known(status int) bool {
	for _, k := range knownStatuses {
		if k == status {
			return true
		}
	}
	return false
}
