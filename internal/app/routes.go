package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"serin/internal/gateway"
	"serin/internal/mlflow"
	"serin/internal/model"
	"serin/internal/scorer"
	"serin/internal/traffic"
)

// follow is how often a gateway without a routing document asks the registry who the champion is, and how soon it tries again what failed.
const follow = time.Second

// keeper keeps one gateway's route of one model in step with its routing file: it loads what the document names, off the request path, and
// swaps table and backends together when both are ready. What cannot be read or loaded leaves the last good route in place.
type keeper struct {
	gateway *gateway.Gateway
	client  *mlflow.Client
	opener  func(scorer.Registry) *scorer.Opener
	log     *slog.Logger
	model   *served
	models  *catalog

	mu         sync.Mutex
	generation int64 // of the route in service; guarded by mu
	serving    bool  // guarded by mu

	backends map[model.Pin]gateway.Backend // open ones, by pin; touched by run only
	last     traffic.Table
	champion model.Pin
	previous *model.Pin // the champion before, kept warm
}

// current gives the generation that requests are routed by, and whether the model is served.
func (k *keeper) current() (int64, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.generation, k.serving
}

// run follows the routing file until ctx ends.
func (k *keeper) run(ctx context.Context) {
	docs := make(chan traffic.Document, 1)
	var watching sync.WaitGroup
	watching.Go(func() {
		if err := k.model.file.Watch(ctx, 0, func(d traffic.Document) {
			select {
			case <-docs:
			default:
			}
			docs <- d
		}); err != nil && ctx.Err() == nil {
			k.log.Error("the routing file is not watched any more", "model", k.model.Name, "err", err)
		}
	})
	defer watching.Wait()
	var doc traffic.Document
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case doc = <-docs:
		case <-timer.C:
		}
		again := k.update(ctx, doc)
		timer.Reset(again)
	}
}

// update puts the document into service; it returns when to look again.
func (k *keeper) update(ctx context.Context, doc traffic.Document) time.Duration {
	table, err := k.table(ctx, doc)
	if err == nil {
		err = k.swap(ctx, table)
	}
	k.gateway.Reloaded(k.model.Name, err)
	if err != nil && ctx.Err() == nil {
		k.log.Warn("the last good routing stays in place", "model", k.model.Name, "generation", doc.Generation(), "err", err)
		return follow
	}
	if doc.Control == nil {
		return follow
	}
	return time.Minute
}

// table is what the document says, with versions for the references of one that is not Serin's.
func (k *keeper) table(ctx context.Context, doc traffic.Document) (traffic.Table, error) {
	if doc.ProductionURI == "" {
		doc.ProductionURI = "models:/" + k.model.Name + "/" + string(model.StageProduction)
		doc.ChampionPct = 100
	}
	t := doc.Table(k.model.Name)
	var err error
	if t.Champion.Pin.Version == "" {
		if t.Champion.Pin, err = k.resolve(ctx, t.Champion.URI); err != nil {
			return t, fmt.Errorf("find the champion %s: %w", t.Champion.URI, err)
		}
	}
	if t.Canary != nil && t.Canary.Pin.Version == "" {
		if t.Canary.Pin, err = k.resolve(ctx, t.Canary.URI); err != nil {
			return t, fmt.Errorf("find the canary %s: %w", t.Canary.URI, err)
		}
	}
	return t, nil
}

func (k *keeper) resolve(ctx context.Context, uri string) (model.Pin, error) {
	ref, err := model.ParseRef(uri)
	if err != nil {
		return model.Pin{}, err
	}
	if k.model.slots != nil {
		v, err := k.client.Resolve(ctx, ref)
		return model.Pin{Version: v.Version}, err
	}
	got, err := k.client.Fetch(ctx, ref)
	return got.Pin, err
}

// swap loads the backends of a table and puts both into service. A canary that does not load leaves everything with the champion, at the old generation: the deploy is not proven.
func (k *keeper) swap(ctx context.Context, t traffic.Table) error {
	if k.unchanged(t) {
		return nil
	}
	champion, err := k.backend(ctx, t.Champion.Pin, 1)
	if err != nil {
		return fmt.Errorf("load the champion, version %s: %w", t.Champion.Pin.Version, err)
	}
	route := gateway.Route{Table: t, Champion: champion, Keys: k.keys(), Failover: gateway.Failover(k.model.Failover)}
	keep := map[model.Pin]bool{t.Champion.Pin: true}
	if t.Canary != nil {
		if route.Canary, err = k.backend(ctx, t.Canary.Pin, 2); err != nil {
			return fmt.Errorf("load the canary, version %s: %w", t.Canary.Pin.Version, err)
		}
		keep[t.Canary.Pin] = true
	}
	k.keepWarm(t, &route, keep)
	k.gateway.Swap(k.model.Name, route)
	for pin := range k.backends {
		if !keep[pin] {
			delete(k.backends, pin) // the gateway closes it when its last request has ended
		}
	}
	k.last, k.champion = t, t.Champion.Pin
	k.mu.Lock()
	k.generation, k.serving = t.Generation, true
	k.mu.Unlock()
	k.log.Info("routing in service", "model", k.model.Name, "generation", t.Generation, "champion", t.Champion.Pin.Version, "canary_pct", t.WeightPct())
	return nil
}

func (k *keeper) unchanged(t traffic.Table) bool {
	sameCanary := (t.Canary == nil) == (k.last.Canary == nil) && (t.Canary == nil || *t.Canary == *k.last.Canary)
	return k.serving && t.Generation == k.last.Generation && t.Champion == k.last.Champion && sameCanary &&
		t.LeaseUntil.Equal(k.last.LeaseUntil) && t.WeightPct() == k.last.WeightPct()
}

// keepWarm keeps the champion before the present one loaded, so that an undo needs no loading.
func (k *keeper) keepWarm(t traffic.Table, route *gateway.Route, keep map[model.Pin]bool) {
	if k.champion.Version != "" && k.champion != t.Champion.Pin {
		before := k.champion
		k.previous = &before
	}
	if k.previous == nil || keep[*k.previous] {
		return
	}
	if b, ok := k.backends[*k.previous]; ok {
		route.Warm = append(route.Warm, b)
		keep[*k.previous] = true
	}
}

func (k *keeper) keys() *gateway.Keys {
	r := k.models.planOf(k.model.Name).Routing
	return &gateway.Keys{Header: r.Key, Field: r.Field, By: gateway.By(r.By), Missing: gateway.Missing(r.Missing)}
}

// backend gives what answers for a pinned version: a model in this process, or the model server of its slot.
func (k *keeper) backend(ctx context.Context, pin model.Pin, slot int) (gateway.Backend, error) {
	if b, ok := k.backends[pin]; ok {
		return b, nil
	}
	b, err := k.open(ctx, pin, slot)
	if err != nil {
		return nil, err
	}
	k.backends[pin] = b
	return b, nil
}

func (k *keeper) open(ctx context.Context, pin model.Pin, slot int) (gateway.Backend, error) {
	if k.model.slots != nil {
		if pin.Slot != 0 {
			slot = pin.Slot
		}
		u, err := openSlots(k.model.Model)
		if err != nil {
			return nil, err
		}
		return u[slot-1], nil
	}
	sc, err := k.opener(pinned{k.client, k.model.Name, pin}).Open(ctx, model.Ref{Kind: model.RefVersion, Name: k.model.Name, Version: pin.Version})
	if err != nil {
		return nil, err
	}
	if !sc.Info().Native {
		return nil, errors.Join(fmt.Errorf("version %s is not scored in process", pin.Version), sc.Close())
	}
	return gateway.NewInProcess(scorer.NewPayloadScorer(sc), sc.Close), nil
}
