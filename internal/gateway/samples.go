package gateway

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"serin/internal/analysis"
	"serin/internal/traffic"
)

// Scrape gives the counters of a model as samples at the tick at: one line for the champion's present version and one for the canary's
// last, once there was one. They are the numbers of /metrics. It fails only for a model that is not served.
func (g *Gateway) Scrape(_ context.Context, name string, at time.Time) ([]analysis.Sample, error) {
	s := (*g.slots.Load())[name]
	if s == nil {
		return nil, fmt.Errorf("model %s is not served by this gateway: serve it, or take its samples from elsewhere", name)
	}
	r := s.acquire()
	if r == nil {
		return nil, fmt.Errorf("model %s was just taken out of service: there is nothing to sample", name)
	}
	weight := r.weight(at)
	g.release(r)
	s.mu.Lock()
	current := [...]*series{s.champion, s.canary}
	s.mu.Unlock()
	var out []analysis.Sample
	for _, c := range current {
		if c != nil {
			out = append(out, sample(c.snapshot(), analysis.Sample{At: at, Instance: g.opts.Instance, WeightPct: weight}))
		}
	}
	return out, nil
}

// weight is the share in percent that the canary really gets at now.
func (r *route) weight(now time.Time) float64 {
	if r.table.LeaseLost(now) {
		return 0
	}
	return r.table.WeightPct()
}

// sample fills a line with the numbers of a series.
func sample(c counts, line analysis.Sample) analysis.Sample {
	line.Role = analysis.RoleChampion
	if c.key.role == traffic.Canary {
		line.Role = analysis.RoleCanary
	}
	line.Revision = c.key.revision
	line.Requests = make(map[string]analysis.Number, len(c.statuses))
	for _, x := range c.statuses {
		line.Requests[x.status] = analysis.Number(x.n)
	}
	line.Latency = &analysis.Histogram{LE: make(map[string]analysis.Number, len(c.bounds)+1), Sum: analysis.Number(c.sum)}
	for i, bound := range c.bounds {
		line.Latency.LE[strconv.FormatFloat(bound, 'g', -1, 64)] = analysis.Number(c.cumulative[i])
	}
	line.Latency.LE["+Inf"] = analysis.Number(c.total)
	return line
}
