package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"serin/internal/gateway"
	"serin/internal/mlflow"
	"serin/internal/model"
	"serin/internal/store"
)

// Ready says where a server serves.
type Ready struct {
	API     string `json:"api"`
	Gateway string `json:"gateway"`
}

// server is one run of Serve: the listeners, the gateway, and what runs for each model.
type server struct {
	*App
	gateway *gateway.Gateway
	wg      sync.WaitGroup

	mu      sync.Mutex
	keepers map[string]*keeper // guarded by mu
	addr    Ready
}

// Serve runs the server until ctx ends: it answers the API and the gateway, follows the models, samples, judges and drives. ready is called once it serves.
func (a *App) Serve(ctx context.Context, ready func(Ready)) error {
	if err := a.cfg.CheckServe(); err != nil {
		return err
	}
	g, err := gateway.New(gateway.Options{Logger: a.log, Instance: "serin serve"})
	if err != nil {
		return err
	}
	s := &server{App: a, gateway: g, keepers: map[string]*keeper{}}
	a.router.local = s.generation
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := s.listen(ctx, cancel); err != nil {
		return err
	}
	if err := s.discover(ctx); err != nil {
		cancel(nil)
		s.wg.Wait()
		return err
	}
	s.goes(ctx, cancel, "engine", a.engine.Run)
	s.goes(ctx, cancel, "notices", func(ctx context.Context) error { a.notices.run(ctx); return nil })
	s.goes(ctx, cancel, "discovery", s.keepDiscovering)
	ready(s.addr)
	<-ctx.Done()
	s.wg.Wait()
	if err := os.Remove(serverPath(a.cfg.Data)); err != nil {
		a.log.Warn("server.json stays behind", "err", err)
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// goes runs a part of the server; one that fails stops the others.
func (s *server) goes(ctx context.Context, cancel context.CancelCauseFunc, name string, part func(context.Context) error) {
	s.wg.Go(func() {
		if err := part(ctx); err != nil && ctx.Err() == nil {
			cancel(fmt.Errorf("%s stopped: %w", name, err))
		}
	})
}

func (s *server) listen(ctx context.Context, cancel context.CancelCauseFunc) error {
	apiListener, err := net.Listen("tcp", s.cfg.Server.Listen)
	if err != nil {
		return fmt.Errorf("listen for the API: %w: choose another address with --listen", err)
	}
	gatewayListener, err := net.Listen("tcp", s.cfg.Gateway.Listen)
	if err != nil {
		return errors.Join(fmt.Errorf("listen for the gateway: %w: choose another address with --gateway-listen", err), apiListener.Close())
	}
	front, err := gateway.NewServer(gateway.ServerOptions{Gateway: s.gateway, Logger: s.log})
	if err != nil {
		return errors.Join(err, apiListener.Close(), gatewayListener.Close())
	}
	s.addr = Ready{API: "http://" + apiListener.Addr().String(), Gateway: "http://" + gatewayListener.Addr().String()}
	s.goes(ctx, cancel, "API", func(ctx context.Context) error { return serveHTTP(ctx, apiListener, s.Handler()) })
	s.goes(ctx, cancel, "gateway", func(ctx context.Context) error { return front.Serve(ctx, gatewayListener) })
	return nil
}

// serveHTTP serves until ctx ends, then finishes what is in flight.
func serveHTTP(ctx context.Context, ln net.Listener, h http.Handler) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) }}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := srv.Shutdown(bounded); err != nil {
		return srv.Close()
	}
	return nil
}

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
	started := len(s.keepers) == 0
	for _, name := range names {
		s.mu.Lock()
		_, known := s.keepers[name]
		s.mu.Unlock()
		if known {
			continue
		}
		if err := s.serveModel(ctx, name); err != nil {
			if len(s.cfg.Models) > 0 {
				return err
			}
			s.log.Error("a model is not served", "model", name, "err", err)
			continue
		}
		started = true
	}
	if !started {
		return nil
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
	m, err := s.models.get(name)
	if err != nil {
		return err
	}
	s.adoptLastPlan(ctx, name)
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

func newKeeper(a *App, g *gateway.Gateway, m *served) *keeper {
	return &keeper{gateway: g, client: a.client, opener: a.opener, log: a.log, model: m, models: a.models, backends: map[model.Pin]gateway.Backend{}}
}

// adoptLastPlan takes up the plan of the model's newest rollout again after a restart, where the configuration names none.
func (s *server) adoptLastPlan(ctx context.Context, name string) {
	err := s.store.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Rollouts(ctx, store.RolloutFilter{Model: name, Limit: 1})
		if err == nil && len(rows) > 0 {
			s.models.adopt(rows[0].State.Plan)
		}
		return err
	})
	if err != nil {
		s.log.Warn("the last plan was not read", "model", name, "err", err)
	}
}

// followEvery is how often the registry is asked: within a second when it is in this process.
func (s *server) followEvery() time.Duration {
	if s.registry != nil {
		return 500 * time.Millisecond
	}
	return 10 * time.Second
}

// generation is what the router observes of the gateway in this process.
func (s *server) generation(name string) (int64, bool) {
	s.mu.Lock()
	k := s.keepers[name]
	s.mu.Unlock()
	if k == nil {
		return 0, false
	}
	return k.current()
}

func (s *server) announce() error {
	f := ServerFile{API: s.addr.API, Gateway: s.addr.Gateway, PID: os.Getpid(), RoutingFiles: map[string]string{}}
	for _, name := range s.models.names() {
		m, err := s.models.get(name)
		if err != nil {
			return err
		}
		f.RoutingFiles[name] = m.file.Path()
	}
	return writeServerFile(s.cfg.Data, f)
}
