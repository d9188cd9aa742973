package app

import (
	"context"
	"errors"
	"maps"
	"os"
	"time"

	"serin/internal/mlflow"
	"serin/internal/model"
	"serin/internal/rollout"
	"serin/internal/store"
)

// keepDiscovering finds models that come to the embedded registry, and writes server.json when something changes.
func (s *server) keepDiscovering(ctx context.Context) error {
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := s.discover(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("models could not be discovered", "err", err)
		}
	}
}

func (s *server) discover(ctx context.Context) error {
	names, err := s.wanted(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if s.keeper(name) != nil {
			continue
		}
		err := s.serveModel(ctx, name)
		switch {
		case err == nil:
			delete(s.refused, name)
		case len(s.cfg.Models) > 0:
			return err
		case s.refused[name] != err.Error():
			s.refused[name] = err.Error()
			s.log.Error("a model is not served", "model", name, "err", err)
		}
	}
	return s.announce()
}

// wanted are the models to serve: the configured ones, or those of the embedded registry that have a Production version or a live rollout.
func (s *server) wanted(ctx context.Context) ([]string, error) {
	var names []string
	for _, m := range s.cfg.Models {
		names = append(names, m.Name)
	}
	if len(names) > 0 {
		return names, nil
	}
	err := s.store.View(ctx, func(tx *store.Tx) error {
		live, err := tx.LiveRollouts(ctx)
		for _, l := range live {
			names = append(names, l.Model)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	all, err := s.client.ListModels(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range all {
		_, err := s.client.Resolve(ctx, model.Ref{Kind: model.RefStage, Name: name, Stage: model.StageProduction})
		if err == nil {
			names = append(names, name)
		} else if !errors.Is(err, mlflow.ErrNotFound) {
			return nil, err
		}
	}
	return names, nil
}

// serveModel starts what runs for one model: its route, its samples, and the follower of the registry.
func (s *server) serveModel(ctx context.Context, name string) error {
	if _, err := s.models.claim(name); err != nil {
		return err
	}
	if err := s.adoptLastPlan(ctx, name); err != nil {
		return err
	}
	m, err := s.models.get(name)
	if err != nil {
		return err
	}
	k := newKeeper(s.App, s.gateway, m)
	s.mu.Lock()
	s.keepers[name] = k
	s.mu.Unlock()
	f := &follower{store: s.store, client: s.client, router: s.router, writer: s.writer, log: s.log, every: s.followEvery()}
	s.wg.Go(func() { k.run(ctx) })
	s.wg.Go(func() { f.run(ctx, name) })
	s.wg.Go(func() {
		if err := s.sample(ctx, name, s.gateway); err != nil && ctx.Err() == nil {
			s.log.Error("sampling stopped", "model", name, "err", err)
		}
	})
	return nil
}

// adoptLastPlan puts the plan of the model's newest rollout in force again after a restart: always while that rollout is open or watched, and
// afterwards where the configuration names no plan.
func (a *App) adoptLastPlan(ctx context.Context, name string) error {
	var last *rollout.State
	err := a.store.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Rollouts(ctx, store.RolloutFilter{Model: name, Limit: 1})
		if err == nil && len(rows) > 0 {
			last = &rows[0].State
		}
		return err
	})
	if err != nil || last == nil {
		return err
	}
	over := last.Phase.Ended() && last.WatchUntil.IsZero()
	if over && a.cfg.PlanPath(name) != "" {
		return nil
	}
	return a.models.adopt(last.Plan)
}

// followEvery is how often the registry is asked: within a second when it is Serin's own.
func (a *App) followEvery() time.Duration {
	if a.cfg.MLflowURI == "" {
		return 500 * time.Millisecond
	}
	return 10 * time.Second
}

func (s *server) keeper(name string) *keeper {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keepers[name]
}

// generation is what the router observes of the gateway in this process.
func (s *server) generation(name string) (int64, bool) {
	k := s.keeper(name)
	if k == nil {
		return 0, false
	}
	return k.current()
}

// announce writes server.json when it would say something new.
func (s *server) announce() error {
	f := ServerFile{API: s.addr.API, Gateway: s.addr.Gateway, PID: os.Getpid(), RoutingFiles: map[string]string{}}
	for _, name := range s.models.names() {
		m, err := s.models.get(name)
		if err != nil {
			return err
		}
		f.RoutingFiles[name] = m.file.Path()
	}
	if f.API == s.announced.API && maps.Equal(f.RoutingFiles, s.announced.RoutingFiles) {
		return nil
	}
	if err := writeServerFile(s.cfg.Data, f); err != nil {
		return err
	}
	s.announced = f
	return nil
}
