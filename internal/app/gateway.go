package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"sync"

	"serin/internal/config"
	"serin/internal/gateway"
	"serin/internal/mlflow"
)

// RunGateway serves a gateway alone until ctx ends: it needs the routing files, and the registry only for versions that it has not fetched before.
func RunGateway(ctx context.Context, o Options, ready func(Ready)) error {
	remembered, err := openMemory(filepath.Join(o.Config.Data, "gateway-known.json"))
	if err != nil {
		return err
	}
	plan, err := planGateway(o.Config, remembered)
	if err != nil {
		return err
	}
	options := clientOptions(plan.cfg, o.Logger)
	options.TrackingURI, options.CacheDir = plan.registry, filepath.Join(o.Config.Data, "gateway-cache")
	client, err := mlflow.New(options)
	if err != nil {
		return err
	}
	a := &App{cfg: plan.cfg, log: o.Logger, client: client, models: newCatalog(plan.cfg), memory: remembered, drain: o.DrainNotice}
	g, err := gateway.New(gateway.Options{Logger: o.Logger, Instance: "serin gateway"})
	if err != nil {
		return err
	}
	return errors.Join(a.gatewayAlone(ctx, g, ready), g.Close())
}

func (a *App) gatewayAlone(ctx context.Context, g *gateway.Gateway, ready func(Ready)) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	var keepers []*keeper
	for _, entry := range a.cfg.Models {
		m, err := a.models.claim(entry.Name)
		if err != nil {
			return err
		}
		k := newKeeper(a, g, m)
		keepers = append(keepers, k)
		wg.Go(func() { k.run(ctx) })
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", a.cfg.Gateway.Listen)
	if err != nil {
		return fmt.Errorf("listen for the gateway: %w: choose another address with --gateway-listen", err)
	}
	front, err := gateway.NewServer(gateway.ServerOptions{Gateway: g, Logger: a.log, DrainNotice: a.drain})
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	awaitFirst(ctx, keepers)
	ready(Ready{Gateway: "http://" + ln.Addr().String()})
	return front.Serve(ctx, ln)
}

// alone is what a gateway alone goes by: the configuration with every model in it, and where their files come from.
type alone struct {
	cfg      config.Config
	registry string
}

// planGateway says which models a gateway alone serves, and where their files come from: a real MLflow, or the server whose registry is embedded.
// What neither the configuration nor a server tells is remembered from the last time.
func planGateway(cfg config.Config, remembered *memory) (alone, error) {
	server, err := ReadServerFile(cfg.Data)
	if err != nil {
		return alone{}, err
	}
	was, files := remembered.places()
	if len(server.RoutingFiles) > 0 {
		files = server.RoutingFiles
	}
	cfg.Models = slices.Clone(cfg.Models)
	switch {
	case len(cfg.Models) > 0:
	case cfg.Model != "":
		cfg.Models = append(cfg.Models, defaultModel(cfg.Model, cmp.Or(files[cfg.Model], config.DefaultRoutingFile)))
	default:
		for _, name := range slices.Sorted(maps.Keys(files)) {
			cfg.Models = append(cfg.Models, defaultModel(name, files[name]))
		}
	}
	if len(cfg.Models) == 0 {
		return alone{}, errors.New("no model to serve: list models: in serin.yaml, give --model NAME, or start serin serve on the same --data first")
	}
	uri := cmp.Or(cfg.MLflowURI, cfg.ServerURL, server.API, was)
	if uri == "" {
		return alone{}, errors.New("no registry to fetch models from: set MLFLOW_TRACKING_URI, or SERIN_SERVER to the server whose registry holds them")
	}
	return alone{cfg, uri}, remembered.setPlaces(uri, files)
}
