package app

import (
	"context"
	"errors"
	"fmt"

	"serin/internal/gateway"
	"serin/internal/model"
	"serin/internal/scorer"
	"serin/internal/traffic"
)

// swap loads the backends of a table and puts both into service. A canary that does not load gets no request: the champion has everything, at
// the old generation, so that the deploy is not proven.
func (k *keeper) swap(ctx context.Context, t traffic.Table) error {
	if k.unchanged(t) {
		return nil
	}
	named := k.named(t)
	champion, err := k.backend(ctx, t.Champion.Pin)
	if err != nil {
		k.forget(named)
		return fmt.Errorf("load the champion, version %s: %w", t.Champion.Pin.Version, err)
	}
	route := gateway.Route{Table: t, Champion: champion, Keys: k.keys(), Failover: gateway.Failover(k.model.Failover)}
	if t.Canary != nil {
		route.Canary, err = k.backend(ctx, t.Canary.Pin)
	}
	if err == nil {
		k.serve(route, named)
		return nil
	}
	err = fmt.Errorf("load the canary, version %s: %w", t.Canary.Pin.Version, err)
	k.forget(named)
	if ctx.Err() != nil || k.serving && k.last.Canary == nil && k.key(k.last.Champion.Pin) == k.key(t.Champion.Pin) {
		return err
	}
	// Nothing serves yet, or what serves has a canary or a champion that nobody wants any more.
	route.Table.Canary, route.Table.Buckets, route.Table.Generation = nil, traffic.Set{}, k.last.Generation
	k.serve(route, named)
	return err
}

// serve puts a route into service and lets go of what it does not need.
func (k *keeper) serve(route gateway.Route, named map[model.Pin]bool) {
	t := route.Table
	k.keepWarm(&route, named)
	for key := range named {
		if b, ok := k.backends[key]; ok {
			b.swapped = true
		}
	}
	k.gateway.Swap(k.model.Name, route)
	for key, b := range k.backends {
		if !named[key] && b.swapped {
			delete(k.backends, key) // the gateway closes it when its last request has ended
		}
	}
	k.forget(named)
	k.last = t
	k.mu.Lock()
	k.generation, k.serving = t.Generation, true
	k.mu.Unlock()
	if err := k.memory.serves(k.model.Name, t.Champion.Pin); err != nil {
		k.log.Warn("the champion is not remembered for the next start", "err", err)
	}
	k.log.Info("routing in service", "generation", t.Generation, "champion", t.Champion.Pin.Version, "canary_pct", t.WeightPct())
}

func (k *keeper) unchanged(t traffic.Table) bool {
	return k.serving && t.Generation == k.last.Generation && sameVersions(t, k.last) && t.LeaseUntil.Equal(k.last.LeaseUntil) && t.WeightPct() == k.last.WeightPct()
}

// keepWarm keeps the champion before the present one loaded, so that an undo needs no loading.
func (k *keeper) keepWarm(route *gateway.Route, named map[model.Pin]bool) {
	before := k.key(k.last.Champion.Pin)
	if before.Version != "" && before != k.key(route.Table.Champion.Pin) {
		k.previous = &before
	}
	if k.previous == nil || named[*k.previous] {
		return
	}
	if b, ok := k.backends[*k.previous]; ok {
		route.Warm = append(route.Warm, b.Backend)
		named[*k.previous] = true
	}
}

func (k *keeper) keys() *gateway.Keys {
	r := k.models.planOf(k.model.Name).Routing
	return &gateway.Keys{Header: r.Key, Field: r.Field, By: gateway.By(r.By), Missing: gateway.Missing(r.Missing)}
}

// key is what makes the backend of a pin another one: its files when it is scored here, its slot when it is not. The slot of a model that is
// scored here means nothing, and must not load it twice.
func (k *keeper) key(pin model.Pin) model.Pin {
	if k.model.slots != nil {
		return model.Pin{Version: pin.Version, Slot: pin.Slot}
	}
	return model.Pin{Version: pin.Version, Digest: pin.Digest}
}

// named are the keys of a table's backends.
func (k *keeper) named(t traffic.Table) map[model.Pin]bool {
	keys := map[model.Pin]bool{k.key(t.Champion.Pin): true}
	if t.Canary != nil {
		keys[k.key(t.Canary.Pin)] = true
	}
	return keys
}

// backend gives what answers for a pinned version, opened once.
func (k *keeper) backend(ctx context.Context, pin model.Pin) (gateway.Backend, error) {
	if b, ok := k.backends[k.key(pin)]; ok {
		return b.Backend, nil
	}
	b, err := k.open(ctx, pin)
	if err != nil {
		return nil, err
	}
	k.backends[k.key(pin)] = &held{Backend: b}
	return b, nil
}

// openBackend opens a model in this process, or the model server of the pin's slot.
func (k *keeper) openBackend(ctx context.Context, pin model.Pin) (gateway.Backend, error) {
	if k.model.slots != nil {
		return openSlot(k.model.Model, pin.Slot)
	}
	sc, err := k.opener(onePin{k.client, k.model.Name, pin}).Open(ctx, model.Ref{Kind: model.RefVersion, Name: k.model.Name, Version: pin.Version})
	if err != nil {
		return nil, err
	}
	if !sc.Info().Native {
		return nil, errors.Join(fmt.Errorf("version %s is not scored in process", pin.Version), sc.Close())
	}
	return gateway.NewInProcess(scorer.NewPayloadScorer(sc), sc.Close), nil
}

// forget closes what was loaded, never served, and is not among the keys to keep.
func (k *keeper) forget(keep map[model.Pin]bool) {
	for key, b := range k.backends {
		if b.swapped || keep[key] {
			continue
		}
		delete(k.backends, key)
		if err := b.Close(); err != nil {
			k.log.Warn("a version that was not served was not closed", "version", key.Version, "err", err)
		}
	}
}

// closeUnused is for the end: the gateway closes what it has.
func (k *keeper) closeUnused() { k.forget(nil) }
