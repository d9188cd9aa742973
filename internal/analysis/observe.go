package analysis

import (
	"fmt"
	"math"
	"sort"
	"strconv"
)

// weightTolerancePct is half a routing bucket: weights are rounded to 0.01 %.
const weightTolerancePct = 0.0051

// line is a usable sample: every request count is finite and not negative.
type line struct {
	key       string
	role      Role
	requests  map[string]float64
	histogram map[float64]float64 // nil when the line has no usable one; +Inf is always there
	restarted bool
}

// observation is a scrape after reading: the lines that count, and what is wrong with the rest.
type observation struct {
	lines  []line
	weight float64
	// code and why say why the scrape is not complete; empty when it is.
	code Code
	why  string
	// latencyCode and noLatency say why it is not complete for latency; empty when it is.
	latencyCode Code
	noLatency   string
}

func (o *observation) complete() bool { return o.code == "" }

// observe reads a scrape for a stage. It never fails: what cannot be used is told in words.
func observe(stage Stage, sc Scrape) observation {
	var o observation
	problems := map[Role]string{}
	seen := map[string]bool{}
	weighed := false
	for _, s := range sc.Samples {
		if s.Role != RoleCanary && s.Role != RoleChampion {
			continue
		}
		key := lineKey(s)
		if seen[key] {
			continue // of two lines of one process the first counts
		}
		seen[key] = true
		if why := unusable(stage, sc, s); why != "" {
			problems[s.Role] = why
			continue
		}
		if weighed && s.WeightPct != o.weight {
			o.code, o.why = CodeWeightMismatch, fmt.Sprintf("the lines of one scrape name two weights, %v %% and %v %%", o.weight, s.WeightPct)
		}
		o.weight, weighed = s.WeightPct, true
		o.lines = append(o.lines, line{
			key: key, role: s.Role, requests: floats(s.Requests), histogram: readHistogram(s.Latency), restarted: s.Restarted,
		})
	}
	for _, role := range []Role{RoleCanary, RoleChampion} {
		if o.code == "" && !o.has(role) {
			o.code, o.why = CodeNoData, missing(role, problems[role])
		}
	}
	if sc.Err != "" && len(o.lines) == 0 {
		o.code, o.why = CodeProviderError, sc.Err
	}
	return o
}

func missing(role Role, why string) string {
	if why == "" {
		why = "no counters of it were found"
	}
	return fmt.Sprintf("the %s cannot be seen: %s", role, why)
}

// lineKey tells processes apart, and the lives of a role behind one process: another revision has counters of its own.
func lineKey(s Sample) string {
	return string(s.Role) + "\x00" + s.Instance + "\x00" + s.Revision
}

// unusable says why a line cannot be counted, or nothing.
func unusable(stage Stage, sc Scrape, s Sample) string {
	pinned := stage.CanaryRevision
	if s.Role == RoleChampion {
		pinned = stage.ChampionRevision
	}
	switch {
	case !s.At.Equal(sc.At):
		return fmt.Sprintf("instance %s has a line of another time", s.Instance)
	case pinned != "" && s.Revision != "" && s.Revision != pinned:
		return fmt.Sprintf("instance %s counts version %s, not %s", s.Instance, s.Revision, pinned)
	case s.Requests == nil:
		return fmt.Sprintf("the request counters of instance %s could not be read", s.Instance)
	}
	for status, n := range s.Requests {
		if !countable(float64(n)) {
			return fmt.Sprintf("instance %s says %v requests with status %s", s.Instance, float64(n), status)
		}
	}
	return ""
}

// countable is false for NaN, the infinities and negative numbers.
func countable(f float64) bool { return f >= 0 && !math.IsInf(f, 1) }

func floats(m map[string]Number) map[string]float64 {
	f := make(map[string]float64, len(m))
	for k, v := range m {
		f[k] = float64(v)
	}
	return f
}

// readHistogram returns the cumulative counts by bound, or nil when they are absent, torn or not finite.
func readHistogram(h *Histogram) map[float64]float64 {
	if h == nil {
		return nil
	}
	counts := make(map[float64]float64, len(h.LE))
	for key, n := range h.LE {
		bound, err := strconv.ParseFloat(key, 64)
		if err != nil || math.IsNaN(bound) || !countable(float64(n)) {
			return nil
		}
		counts[bound] = float64(n)
	}
	if _, ok := counts[math.Inf(1)]; !ok {
		return nil
	}
	last := 0.0
	for _, bound := range sortedBounds(counts) {
		if counts[bound] < last {
			return nil
		}
		last = counts[bound]
	}
	return counts
}

func sortedBounds(counts map[float64]float64) []float64 {
	bounds := make([]float64, 0, len(counts))
	for b := range counts {
		bounds = append(bounds, b)
	}
	sort.Float64s(bounds)
	return bounds
}

func (o *observation) has(role Role) bool {
	for _, l := range o.lines {
		if l.role == role {
			return true
		}
	}
	return false
}

// bounds are the histogram bounds in use, fixed at the first scrape with histograms of both roles.
type bounds struct {
	// LE are the finite bounds in seconds, ascending, that all histograms had. Plus and Minus index the smallest at or above the SLO and the
	// largest at or below it.
	LE    []float64 `json:"le"`
	Plus  int       `json:"plus"`
	Minus int       `json:"minus"`
}

// findBounds chooses among the bounds that all usable histograms share; ok is false when the SLO has no bound on one side.
func findBounds(slo float64, lines []line) (b bounds, ok bool) {
	first := true
	for _, l := range lines {
		if l.histogram == nil {
			continue
		}
		if first {
			b.LE, first = finite(sortedBounds(l.histogram)), false
			continue
		}
		var common []float64
		for _, le := range b.LE {
			if _, has := l.histogram[le]; has {
				common = append(common, le)
			}
		}
		b.LE = common
	}
	const same = 1e-9 // a bound that differs from the SLO by a binary fraction is the SLO
	b.Plus = sort.Search(len(b.LE), func(i int) bool { return b.LE[i] >= slo*(1-same) })
	b.Minus = sort.Search(len(b.LE), func(i int) bool { return b.LE[i] > slo*(1+same) }) - 1
	return b, b.Plus < len(b.LE) && b.Minus >= 0
}

func finite(sorted []float64) []float64 {
	var f []float64
	for _, b := range sorted {
		if b > 0 && !math.IsInf(b, 1) {
			f = append(f, b)
		}
	}
	return f
}

// keepJudgeable drops the histograms that lack a bound in use.
func (o *observation) keepJudgeable(b bounds) {
	for i, l := range o.lines {
		if l.histogram == nil {
			continue
		}
		_, plus := l.histogram[b.LE[b.Plus]]
		_, minus := l.histogram[b.LE[b.Minus]]
		if !plus || !minus {
			o.lines[i].histogram = nil
		}
	}
}

// histograms says whether both roles have one, or names the role that has none.
func (o *observation) histograms() (without Role, ok bool) {
	for _, role := range []Role{RoleCanary, RoleChampion} {
		found := false
		for _, l := range o.lines {
			found = found || l.role == role && l.histogram != nil
		}
		if !found {
			return role, false
		}
	}
	return "", true
}

// cumulative is a line's histogram at the bounds in use, +Inf last; absentCount where a bound for display is missing.
func cumulative(b bounds, histogram map[float64]float64) []float64 {
	if histogram == nil {
		return nil
	}
	le := make([]float64, 0, len(b.LE)+1)
	for _, bound := range append(append([]float64(nil), b.LE...), math.Inf(1)) {
		n, ok := histogram[bound]
		if !ok {
			n = absentCount
		}
		le = append(le, n)
	}
	return le
}

// absentCount marks a bound that a histogram does not have; JSON has no NaN.
const absentCount = -1
