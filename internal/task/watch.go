package task

import (
	"context"
	"time"

	"serin/internal/analysis"
	"serin/internal/rollout"
)

// watch judges the new champion after success, by the same limits as the canary before.
func watch(ctx context.Context, u *run) (rollout.Result, error) {
	u.say("watching version %s at 100 %% for %s; version %s stays loaded", u.state.Pins.Challenger.Version, u.state.Plan.Watch.Duration, u.state.Pins.Champion.Version)
	m := &bake{run: u, watch: true, last: u.state.EndedAt, began: time.Now()}
	m.Samples = asCanary{u.Samples, u.state.Pins.Challenger.Version}
	if v := u.state.Stage; v != nil && v.Judgement != nil {
		m.judge, m.last = v.Judge, v.Judgement.At
	}
	return m.loop(ctx)
}

// asCanary shows the new champion to the judge as the canary it was. The other side is what is left of the old champion, which is nothing to compare with: only the absolute limits speak.
type asCanary struct {
	Samples
	revision string
}

func (a asCanary) Scrapes(ctx context.Context, name string, after, until time.Time) ([]analysis.Scrape, error) {
	scrapes, err := a.Samples.Scrapes(ctx, name, after, until)
	for i := range scrapes {
		scrapes[i].Samples = championAsCanary(scrapes[i].Samples, a.revision)
	}
	return scrapes, err
}

// championAsCanary keeps the lines of the champion as far as they are of the revision, and gives each an idle champion to stand beside.
func championAsCanary(samples []analysis.Sample, revision string) []analysis.Sample {
	var out []analysis.Sample
	for _, s := range samples {
		if s.Role != analysis.RoleChampion || s.Revision != "" && s.Revision != revision {
			continue
		}
		s.WeightPct = 100
		s.Role = analysis.RoleCanary
		idle := analysis.Sample{At: s.At, Role: analysis.RoleChampion, Instance: s.Instance, WeightPct: 100, Requests: map[string]analysis.Number{}, Latency: zeroed(s.Latency)}
		out = append(out, s, idle)
	}
	return out
}

// zeroed is a histogram with the same bounds and nothing in it.
func zeroed(h *analysis.Histogram) *analysis.Histogram {
	if h == nil {
		return nil
	}
	z := &analysis.Histogram{LE: make(map[string]analysis.Number, len(h.LE))}
	for le := range h.LE {
		z.LE[le] = 0
	}
	return z
}
