package analysis

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Series is one labeled value of a metric source, as it stood at the tick.
type Series struct {
	// Name is the metric; Labels are all others.
	Name   string
	Labels map[string]string
	Value  float64
	// Restarted says that the counter fell since the tick before: see Sample.
	Restarted bool
}

// Collect turns labeled series into samples by role and process, ordered by role and instance. Series of other metrics, models, versions or
// without the labels of Names.Match are passed over. An error names series that cannot be told apart: no version, status or instance label, the
// same series twice, one process scraped by two jobs. WeightPct is left to the caller.
func Collect(at time.Time, model string, names Names, series []Series) ([]Sample, error) {
	if err := names.Validate(); err != nil {
		return nil, err
	}
	c := collector{at: at, names: names, lines: map[lineID]*lineParts{}, seen: map[string]bool{}}
	for _, s := range series {
		if !c.wanted(model, s) {
			continue
		}
		if err := c.add(s); err != nil {
			return nil, fmt.Errorf("metrics of model %s: %w", model, err)
		}
	}
	return c.samples(), nil
}

// lineID is what makes a line: a role at a process in one life.
type lineID struct {
	role               Role
	instance, revision string
}

type lineParts struct {
	job      string
	requests map[string]Number
	le       map[float64]float64
	sum      float64
	restart  bool
}

type collector struct {
	at    time.Time
	names Names
	lines map[lineID]*lineParts
	seen  map[string]bool
}

func (c *collector) wanted(model string, s Series) bool {
	if !slices.Contains(c.names.Metrics(), s.Name) {
		return false
	}
	if c.names.ModelLabel != "" && s.Labels[c.names.ModelLabel] != model {
		return false
	}
	for label, value := range c.names.Match {
		if s.Labels[label] != value {
			return false
		}
	}
	return true
}

func (c *collector) add(s Series) error {
	n := c.names
	version, ok := s.Labels[n.VersionLabel]
	if !ok {
		return fmt.Errorf("series %s has no label %s: canary and champion cannot be told apart", show(s), n.VersionLabel)
	}
	role, ok := map[string]Role{n.Champion: RoleChampion, n.Canary: RoleCanary}[version]
	if !ok {
		return nil
	}
	key := show(s)
	if c.seen[key] {
		return fmt.Errorf("series %s was given twice: make the selector narrower", key)
	}
	c.seen[key] = true
	instance, err := c.instance(s)
	if err != nil {
		return err
	}
	id := lineID{role, instance, ""}
	if n.RevisionLabel != "" {
		id.revision = s.Labels[n.RevisionLabel]
	}
	l := c.lines[id]
	if l == nil {
		l = &lineParts{job: s.Labels["job"], le: map[float64]float64{}}
		c.lines[id] = l
	}
	if job := s.Labels["job"]; job != l.job {
		return fmt.Errorf("instance %s is scraped by the jobs %q and %q, which would count it twice: match one of them", instance, l.job, job)
	}
	l.restart = l.restart || s.Restarted
	return c.value(l, s)
}

func (c *collector) instance(s Series) (string, error) {
	var parts []string
	for _, label := range c.names.InstanceLabels {
		if v := s.Labels[label]; v != "" {
			parts = append(parts, v)
		}
	}
	if len(parts) == 0 {
		return "", fmt.Errorf("series %s has none of the labels %s: processes cannot be told apart", show(s), strings.Join(c.names.InstanceLabels, ", "))
	}
	return strings.Join(parts, "/"), nil
}

// value adds a series to its line. The histogram's _count says nothing that the +Inf bucket does not, unless it is the request counter.
func (c *collector) value(l *lineParts, s Series) error {
	switch s.Name {
	case c.names.Requests:
		status := s.Labels[c.names.StatusLabel]
		if status == "" {
			return fmt.Errorf("series %s has no label %s: errors cannot be told", show(s), c.names.StatusLabel)
		}
		if l.requests == nil {
			l.requests = map[string]Number{}
		}
		l.requests[status] += Number(s.Value)
	case c.names.Duration + "_bucket":
		bound, err := strconv.ParseFloat(s.Labels["le"], 64)
		if err != nil || math.IsNaN(bound) {
			return fmt.Errorf("series %s has no bound in its label le", show(s))
		}
		l.le[bound] += s.Value
	case c.names.Duration + "_sum":
		l.sum += s.Value
	}
	return nil
}

// show writes a series as a selector, labels in order.
func show(s Series) string {
	labels := make([]string, 0, len(s.Labels))
	for k, v := range s.Labels {
		labels = append(labels, k+"="+strconv.Quote(v))
	}
	sort.Strings(labels)
	return s.Name + "{" + strings.Join(labels, ",") + "}"
}

func (c *collector) samples() []Sample {
	samples := make([]Sample, 0, len(c.lines))
	for id, l := range c.lines {
		s := Sample{At: c.at, Role: id.role, Instance: id.instance, Revision: id.revision, Requests: l.requests, Restarted: l.restart}
		if id.revision != "" {
			s.Instance += "@" + id.revision // a new revision behind a role counts from zero, so it is another process to the judge
		}
		if len(l.le) > 0 {
			s.Latency = &Histogram{LE: make(map[string]Number, len(l.le)), Sum: Number(l.sum * c.names.BoundSeconds)}
			for bound, n := range l.le {
				s.Latency.LE[boundText(bound, c.names.BoundSeconds)] = Number(n)
			}
		}
		samples = append(samples, s)
	}
	slices.SortFunc(samples, func(a, b Sample) int {
		if c := strings.Compare(string(a.Role), string(b.Role)); c != 0 {
			return c
		}
		return strings.Compare(a.Instance, b.Instance)
	})
	return samples
}

// boundText writes a bound in seconds. Twelve digits take the noise of the unit away: 100 ms is "0.1".
func boundText(bound, unit float64) string {
	if math.IsInf(bound, 1) {
		return "+Inf"
	}
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(bound*unit, 'g', 12, 64), 64)
	if err != nil {
		rounded = bound * unit
	}
	return strconv.FormatFloat(rounded, 'g', -1, 64)
}
