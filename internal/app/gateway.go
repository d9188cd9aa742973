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
	names, uri, err := gatewayModels(o.Config)
	if err != nil {
		return err
	}
	options := clientOptions(o.Config, o.Logger)
	options.TrackingURI, options.CacheDir = uri, filepath.Join(o.Config.Data, "gateway-cache")
	client, err := mlflow.New(options)
	if err != nil {
		return err
	}
	a := &App{cfg: o.Config, log: o.Logger, client: client, models: newCatalog(o.Config)}
	g, err := gateway.New(gateway.Options{Logger: o.Logger, Instance: "serin gateway", OnControllerLost: gateway.Lost(lostPolicy(o.Config))})
	if err != nil {
		return err
	}
	return a.gatewayAlone(ctx, g, names, ready)
}

func (a *App) gatewayAlone(ctx context.Context, g *gateway.Gateway, names []string, ready func(Ready)) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, name := range names {
		m, err := a.models.get(name)
		if err != nil {
			return err
		}
		k := newKeeper(a, g, m)
		wg.Go(func() { k.run(ctx) })
	}
	ln, err := net.Listen("tcp", a.cfg.Gateway.Listen)
	if err != nil {
		return fmt.Errorf("listen for the gateway: %w: choose another address with --gateway-listen", err)
	}
	front, err := gateway.NewServer(gateway.ServerOptions{Gateway: g, Logger: a.log})
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	ready(Ready{Gateway: "http://" + ln.Addr().String()})
	return front.Serve(ctx, ln)
}

// gatewayModels says which models a gateway alone serves, and where their files come from: a real MLflow, or the server whose registry is embedded.
func gatewayModels(cfg config.Config) (names []string, uri string, err error) {
	file, err := ReadServerFile(cfg.Data)
	if err != nil {
		return nil, "", err
	}
	for _, m := range cfg.Models {
		names = append(names, m.Name)
	}
	switch {
	case len(names) > 0:
	case cfg.Model != "":
		names = []string{cfg.Model}
	default:
		names = slices.Sorted(maps.Keys(file.RoutingFiles))
	}
	if len(names) == 0 {
		return nil, "", errors.New("no model to serve: list models: in serin.yaml, give --model NAME, or start serin serve on the same --data first")
	}
	uri = cmp.Or(cfg.MLflowURI, cfg.ServerURL, file.API)
	if uri == "" {
		return nil, "", errors.New("no registry to fetch models from: set MLFLOW_TRACKING_URI, or SERIN_SERVER to the server whose registry holds them")
	}
	return names, uri, nil
}

func lostPolicy(cfg config.Config) config.Lost {
	for _, m := range cfg.Models {
		if m.OnControllerLost == config.LostKeep {
			return config.LostKeep
		}
	}
	return config.LostChampion
}
