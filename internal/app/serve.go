package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"serin/internal/gateway"
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

	addr Ready
	// announced and refused are touched by discover only, which one goroutine calls: what server.json says, and why models are not served.
	announced ServerFile
	refused   map[string]string
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
	s := &server{App: a, gateway: g, keepers: map[string]*keeper{}, refused: map[string]string{}}
	a.router.local = s.generation
	ctx, cancel := context.WithCancelCause(ctx)
	defer s.end()
	defer cancel(nil)
	serveGateway, err := s.listen(ctx, cancel)
	if err != nil {
		return err
	}
	if err := s.discover(ctx); err != nil {
		return errors.Join(err, serveGateway.Close())
	}
	awaitFirst(ctx, slices.Collect(maps.Values(s.keepers)))
	s.goes(ctx, cancel, "gateway", serveGateway.serve)
	s.goes(ctx, cancel, "engine", a.engine.Run)
	s.goes(ctx, cancel, "notices", func(ctx context.Context) error { a.notices.run(ctx); return nil })
	s.goes(ctx, cancel, "discovery", s.keepDiscovering)
	ready(s.addr)
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// end waits for everything that runs, and then takes away what says that it does.
func (s *server) end() {
	s.wg.Wait()
	if err := s.gateway.Close(); err != nil {
		s.log.Warn("the gateway was not closed", "err", err)
	}
	if err := removeServerFile(s.cfg.Data, s.addr.API); err != nil {
		s.log.Warn("server.json stays behind", "err", err)
	}
}

// goes runs a part of the server; one that fails stops the others.
func (s *server) goes(ctx context.Context, cancel context.CancelCauseFunc, name string, part func(context.Context) error) {
	s.wg.Go(func() {
		if err := part(ctx); err != nil && ctx.Err() == nil {
			cancel(fmt.Errorf("%s stopped: %w", name, err))
		}
	})
}

// front is the gateway's listener, which takes connections already, and what will answer them.
type front struct {
	net.Listener
	server *gateway.Server
}

func (f front) serve(ctx context.Context) error { return f.server.Serve(ctx, f.Listener) }

// listen takes both addresses and serves the API.
func (s *server) listen(ctx context.Context, cancel context.CancelCauseFunc) (front, error) {
	apiListener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.cfg.Server.Listen)
	if err != nil {
		return front{}, fmt.Errorf("listen for the API: %w: choose another address with --listen", err)
	}
	gatewayListener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.cfg.Gateway.Listen)
	if err != nil {
		return front{}, errors.Join(fmt.Errorf("listen for the gateway: %w: choose another address with --gateway-listen", err), apiListener.Close())
	}
	server, err := gateway.NewServer(gateway.ServerOptions{Gateway: s.gateway, Logger: s.log, DrainNotice: s.drain})
	if err != nil {
		return front{}, errors.Join(err, apiListener.Close(), gatewayListener.Close())
	}
	s.router.peers = others(s.router.peers, gatewayListener.Addr())
	s.addr = Ready{API: "http://" + apiListener.Addr().String(), Gateway: "http://" + gatewayListener.Addr().String()}
	if s.cfg.Server.ExternalURL == "" {
		s.notices.baseURL = s.addr.API // the port may have been the system's choice
	}
	s.goes(ctx, cancel, "API", func(ctx context.Context) error { return serveHTTP(ctx, apiListener, s.Handler()) })
	return front{gatewayListener, server}, nil
}

// How long a server that ends waits for requests in flight, and then for those that were told to end.
const (
	graceAPI = 5 * time.Second
	cutAPI   = 2 * time.Second
)

// serveHTTP serves until ctx ends, then finishes what is in flight. What takes longer than the grace, such as a command that waits for a bake, is told to end.
func serveHTTP(ctx context.Context, ln net.Listener, h http.Handler) error {
	requests, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return requests }}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	for _, patience := range []time.Duration{graceAPI, cutAPI} {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		err := srv.Shutdown(bounded)
		cancel()
		if err == nil {
			return nil
		}
		cut()
	}
	return srv.Close()
}
