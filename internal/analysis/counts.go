package analysis

import (
	"math"
	"strings"
)

// counts are what one role did in some time.
type counts struct {
	// N are requests, X those answered 5xx.
	N int64 `json:"n"`
	X int64 `json:"x"`
	// L are requests in the histogram, Plus and Minus those slower than the bounds of the same name.
	L     int64 `json:"l,omitempty"`
	Plus  int64 `json:"plus,omitempty"`
	Minus int64 `json:"minus,omitempty"`
	// LE are the increments by bound in use, +Inf last, for the displayed quantile; a bound that some process lacked is absentCount.
	LE []int64 `json:"le,omitempty"`
}

func (c *counts) add(d counts) {
	c.N += d.N
	c.X += d.X
	c.L += d.L
	c.Plus += d.Plus
	c.Minus += d.Minus
	if len(c.LE) == 0 {
		c.LE = append([]int64(nil), d.LE...)
		return
	}
	for i := range min(len(c.LE), len(d.LE)) {
		if c.LE[i] == absentCount || d.LE[i] == absentCount {
			c.LE[i] = absentCount
			continue
		}
		c.LE[i] += d.LE[i]
	}
}

// pair are both roles over the same time.
type pair struct {
	Canary   counts `json:"canary"`
	Champion counts `json:"champion"`
}

func (p *pair) add(d pair) {
	p.Canary.add(d.Canary)
	p.Champion.add(d.Champion)
}

// base is where an instance's counters stood at its last counted line.
type base struct {
	Requests map[string]float64 `json:"requests"`
	// LE is cumulative by bound in use, +Inf last; nil before the first used histogram.
	LE []float64 `json:"le,omitempty"`
}

// restart says that the process began at zero again.
func (b *base) restart() {
	b.Requests = nil
	for i := range b.LE {
		if b.LE[i] != absentCount {
			b.LE[i] = 0
		}
	}
}

// dropped says whether a counter of the line is below the base: a status that is absent counts as zero.
func (b *base) dropped(l line, le []float64) bool {
	for status, n := range b.Requests {
		if l.requests[status] < n {
			return true
		}
	}
	for i := range min(len(le), len(b.LE)) {
		if le[i] != absentCount && le[i] < b.LE[i] {
			return true
		}
	}
	return false
}

// sums adds the increments of a role's instances before they are rounded.
type sums struct {
	n, x float64
	le   []float64
}

func (s *sums) requests(from, to map[string]float64) {
	for status, n := range to {
		inc := n - from[status]
		s.n += inc
		if len(status) == 3 && strings.HasPrefix(status, "5") {
			s.x += inc
		}
	}
}

func (s *sums) histogram(from, to []float64) {
	if s.le == nil {
		s.le = make([]float64, len(to))
	}
	for i := range to {
		if i >= len(from) || to[i] == absentCount || from[i] == absentCount || s.le[i] == absentCount {
			s.le[i] = absentCount
			continue
		}
		s.le[i] += to[i] - from[i]
	}
}

// counts rounds half away from zero and clamps: no negative number, no more events than requests.
func (s *sums) counts(b bounds) counts {
	n := whole(s.n)
	c := counts{N: n, X: min(whole(s.x), n)}
	if len(s.le) == 0 {
		return c
	}
	c.L = whole(s.le[len(s.le)-1])
	c.Plus = slower(c.L, s.le[b.Plus])
	c.Minus = slower(c.L, s.le[b.Minus])
	for _, le := range s.le {
		if le == absentCount {
			c.LE = append(c.LE, absentCount)
			continue
		}
		c.LE = append(c.LE, whole(le))
	}
	return c
}

func slower(total int64, upTo float64) int64 { return max(0, min(total-whole(upTo), total)) }

// whole is at most 2^53, so that sums over a rollout cannot overflow.
func whole(f float64) int64 {
	return int64(math.Min(math.Max(math.Round(f), 0), 1<<53))
}

// absorb moves the bases to this scrape and returns what was counted since. Instances seen for the first time set their base only.
// Histograms are touched only where the scrape is complete for latency.
func (s *state) absorb(o observation) pair {
	var canary, champion sums
	b := s.bounds()
	for _, l := range o.lines {
		sum := &canary
		if l.role == RoleChampion {
			sum = &champion
		}
		var le []float64
		if o.latencyCode == "" {
			le = cumulative(b, l.histogram)
		}
		known, ok := s.Lines[l.key]
		if ok && known.dropped(l, le) {
			known.restart()
		}
		if ok {
			sum.requests(known.Requests, l.requests)
		}
		if le != nil && ok && known.LE != nil {
			sum.histogram(known.LE, le)
		}
		if le == nil {
			le = known.LE
		}
		s.Lines[l.key] = base{Requests: l.requests, LE: le}
	}
	return pair{Canary: canary.counts(b), Champion: champion.counts(b)}
}

// restarts applies what sources saw between ticks, also in scrapes that are otherwise ignored: it must not be forgotten.
func (s *state) restarts(o observation) {
	for _, l := range o.lines {
		if known, ok := s.Lines[l.key]; ok && l.restarted {
			known.restart()
			s.Lines[l.key] = known
		}
	}
}
