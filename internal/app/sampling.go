package app

import (
	"context"
	"errors"
	"sync"
	"time"

	"serin/internal/analysis"
	"serin/internal/promapi"
	"serin/internal/rollout"
	"serin/internal/sampler"
	"serin/internal/store"
)

// HasSource says whether there is anything to sample from: Prometheus or gateways by URL. A server has its own gateway besides.
func (a *App) HasSource() bool { return a.cfg.PrometheusURL != "" || len(a.cfg.Gateways) > 0 }

// sources are where a model's counters come from: Prometheus when it is configured, else the gateway in this process and those by URL.
func (a *App) sources(name string, local sampler.Source) ([]sampler.Source, error) {
	if a.cfg.PrometheusURL != "" {
		entry, _ := a.cfg.Find(name)
		names, err := analysis.Preset(string(entry.Metrics))
		if err != nil {
			return nil, err
		}
		client, err := promapi.New(promapi.Options{URL: a.cfg.PrometheusURL, Names: names})
		return []sampler.Source{client}, err
	}
	var all []sampler.Source
	if local != nil {
		all = append(all, local)
	}
	for _, p := range a.router.peers {
		all = append(all, p.scraper)
	}
	if len(all) == 0 {
		return nil, errors.New("nothing to sample from: set PROMETHEUS_URL, or list gateways: in serin.yaml")
	}
	return all, nil
}

// sample writes a model's samples until ctx ends.
func (a *App) sample(ctx context.Context, name string, local sampler.Source) error {
	sources, err := a.sources(name, local)
	if err != nil {
		return err
	}
	s, err := sampler.New(sampler.Options{
		Model: name, Tick: a.tick(name), Sources: sources, Store: a.store, Logger: a.log, Weight: a.weight(ctx, name),
		Keep: func() time.Time { return a.neededSamples(ctx, name) },
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { a.followTick(ctx, name, s) })
	return s.Run(ctx)
}

// beforeRollout is how much of the time before a rollout is kept as long as it needs its samples.
const beforeRollout = 30 * time.Minute

// neededSamples is the time from which samples of a model are still needed: those of a rollout that is open or watched, and of the half hour before it.
func (a *App) neededSamples(ctx context.Context, name string) (from time.Time) {
	err := a.store.View(ctx, func(tx *store.Tx) error {
		live, err := tx.LiveRollouts(ctx)
		if err != nil {
			return err
		}
		for _, l := range live {
			if l.Model != name {
				continue
			}
			row, err := tx.Rollout(ctx, l.ID)
			if err != nil {
				return err
			}
			if at := row.State.StartedAt.Add(-beforeRollout); from.IsZero() || at.Before(from) {
				from = at
			}
		}
		return nil
	})
	if err != nil {
		return time.Unix(0, 0) // not known: forget nothing
	}
	return from
}

func (a *App) tick(name string) time.Duration {
	if p := a.models.planOf(name); p.Analysis.Tick > 0 {
		return p.Analysis.Tick
	}
	return rollout.DefaultPlan(name).Analysis.Tick
}

// followTick gives the sampler the tick of a plan that came with a new rollout.
func (a *App) followTick(ctx context.Context, name string, s *sampler.Sampler) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	last := a.tick(name)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := a.tick(name)
		if now == last {
			continue
		}
		if err := s.SetTick(now); err != nil {
			a.log.Warn("the sampler keeps its tick", "model", name, "tick", last, "err", err)
			continue
		}
		last = now
	}
}

// weight gives the canary's share in percent that the routing file asks for. A file that cannot be read has the weight that it had: the gateways keep
// their last good table too.
func (a *App) weight(ctx context.Context, name string) func() float64 {
	last := 0.0
	return func() float64 {
		if doc, err := a.router.Current(ctx, name); err == nil {
			last = doc.WeightPct()
		}
		return last
	}
}

// StartSampling samples a model in this process while a command runs, by the plan of its newest rollout. stop ends it and waits.
func (a *App) StartSampling(ctx context.Context, name string) (stop func(), err error) {
	if _, err := a.models.claim(name); err != nil {
		return nil, err
	}
	if err := a.adoptLastPlan(ctx, name); err != nil {
		return nil, err
	}
	if _, err := a.sources(name, nil); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := a.sample(ctx, name, nil); err != nil && ctx.Err() == nil {
			a.log.Error("sampling stopped", "model", name, "err", err)
		}
	}()
	return func() { cancel(); <-done }, nil
}
