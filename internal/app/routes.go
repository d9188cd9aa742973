package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"serin/internal/config"
	"serin/internal/gateway"
	"serin/internal/mlflow"
	"serin/internal/model"
	"serin/internal/routingfile"
	"serin/internal/scorer"
	"serin/internal/traffic"
)

// How soon a keeper looks again: after a document that pins its versions, and at most after something that failed again and again.
const (
	keepPinned = time.Minute
	keepTrying = 10 * time.Second
)

// keeper keeps one gateway's route of one model in step with its routing file: it loads what the document names, off the request path, and
// swaps table and backends together when both are ready. What cannot be read or loaded leaves the last good route in place.
type keeper struct {
	gateway *gateway.Gateway
	client  *mlflow.Client
	opener  func(scorer.Registry) *scorer.Opener
	// open gives what answers for a pinned version.
	open   func(context.Context, model.Pin) (gateway.Backend, error)
	log    *slog.Logger
	model  *served
	models *catalog
	memory *memory
	// every is how often the registry is asked for versions that no document pins.
	every time.Duration

	// looked is closed when the first look at the file has come to something.
	looked chan struct{}

	mu         sync.Mutex
	generation int64              // of the route in service; guarded by mu
	serving    bool               // guarded by mu
	fileFault  error              // why the file cannot be read; guarded by mu
	loading    traffic.Table      // what is being loaded; guarded by mu
	interrupt  context.CancelFunc // gives up the load; guarded by mu

	// What follows is touched by run only.
	backends map[model.Pin]*held // open ones, by what makes them different
	last     traffic.Table       // in service
	previous *model.Pin          // the champion before, kept warm
	failures int
	reported string
}

// held is an open backend. One that was in a route belongs to the gateway, which closes it.
type held struct {
	gateway.Backend
	swapped bool
}

func newKeeper(a *App, g *gateway.Gateway, m *served) *keeper {
	k := &keeper{
		gateway: g, client: a.client, opener: a.opener, log: a.log.With("model", m.Name), model: m, models: a.models, memory: a.memory, every: a.followEvery(),
		backends: map[model.Pin]*held{}, looked: make(chan struct{}),
	}
	k.open = k.openBackend
	return k
}

// firstLooks bounds how long a gateway that starts waits for its models before it takes requests.
const firstLooks = 5 * time.Second

// awaitFirst waits until each keeper has a route or knows that it has none yet, so that a gateway that comes back refuses nobody.
func awaitFirst(ctx context.Context, keepers []*keeper) {
	limit := time.NewTimer(firstLooks)
	defer limit.Stop()
	for _, k := range keepers {
		select {
		case <-k.looked:
		case <-limit.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// current gives the generation that requests are routed by, and whether the model is served.
func (k *keeper) current() (int64, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.generation, k.serving
}

// run follows the routing file until ctx ends.
func (k *keeper) run(ctx context.Context) {
	file, err := routingfile.New(routingfile.Options{Path: k.model.file.Path(), OnState: k.fileState})
	if err != nil {
		k.log.Error("the routing file is not watched", "err", err)
		return
	}
	// The first look comes before the first route: without it a restart would show everybody the champion for a moment.
	doc, err := file.Read(ctx)
	if err != nil {
		k.fileState(err)
	}
	docs := make(chan traffic.Document, 1)
	var watching sync.WaitGroup
	watching.Go(func() {
		if err := file.Watch(ctx, 0, func(d traffic.Document) { k.changed(docs, d) }); err != nil && ctx.Err() == nil {
			k.log.Error("the routing file is not watched any more", "err", err)
		}
	})
	defer k.closeUnused()
	defer watching.Wait()
	first := sync.OnceFunc(func() { close(k.looked) })
	defer first()
	for ctx.Err() == nil {
		again := time.NewTimer(k.update(ctx, doc, docs))
		first()
		select {
		case <-ctx.Done():
		case doc = <-docs:
			k.failures = 0
		case <-again.C:
		}
		again.Stop()
	}
}

// changed hands over the newest document. A load for versions that it does not name is given up: a rollback must not wait for a download.
func (k *keeper) changed(docs chan traffic.Document, d traffic.Document) {
	select {
	case <-docs:
	default:
	}
	docs <- d
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.interrupt != nil && !sameVersions(d.Table(k.model.Name), k.loading) {
		k.interrupt()
	}
}

func sameVersions(a, b traffic.Table) bool {
	return a.Champion == b.Champion && (a.Canary == nil) == (b.Canary == nil) && (a.Canary == nil || *a.Canary == *b.Canary)
}

// fileState hears of a file that cannot be read, and of its recovery. A file that was never there is no fault.
func (k *keeper) fileState(err error) {
	if errors.Is(err, fs.ErrNotExist) && k.unrouted() {
		err = nil
	}
	k.mu.Lock()
	was := k.fileFault
	k.fileFault = err
	k.mu.Unlock()
	switch {
	case err != nil:
		k.log.Warn("the routing file cannot be used, the last good routing stays in place", "err", err)
		k.gateway.Reloaded(k.model.Name, err)
	case was != nil:
		k.log.Info("the routing file is good again")
		k.gateway.Reloaded(k.model.Name, nil)
	}
}

// unrouted says whether no document has been in service yet.
func (k *keeper) unrouted() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.generation == 0
}

// update puts the document into service; it returns when to look again.
func (k *keeper) update(ctx context.Context, doc traffic.Document, docs <-chan traffic.Document) time.Duration {
	load, done := context.WithCancel(ctx)
	defer done()
	k.mu.Lock()
	k.loading, k.interrupt = doc.Table(k.model.Name), done
	k.mu.Unlock()
	if len(docs) > 0 {
		return 0 // a newer one came in between
	}
	t, err := k.table(load, doc)
	if err == nil {
		err = k.swap(load, t)
	}
	if load.Err() != nil {
		return 0
	}
	k.report(doc, err)
	switch {
	case err == nil:
		k.failures = 0
		if pinned(doc, k.model.Name) {
			return keepPinned
		}
		return k.every
	case errors.Is(err, mlflow.ErrNotFound):
		return k.every // there is no version yet, which is soon seen
	}
	k.failures++
	return min(k.every<<min(k.failures-1, 8), keepTrying)
}

// pinned says whether the document names versions rather than stages, whose version may move.
func pinned(doc traffic.Document, name string) bool {
	t := doc.Table(name)
	return t.Champion.Pin.Version != "" && (t.Canary == nil || t.Canary.Pin.Version != "")
}

// report tells the metrics how the last look went, and the log when that is new.
func (k *keeper) report(doc traffic.Document, err error) {
	k.mu.Lock()
	fault := k.fileFault
	k.mu.Unlock()
	k.gateway.Reloaded(k.model.Name, errors.Join(err, fault))
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != k.reported {
		k.log.Warn("the last good routing stays in place", "generation", doc.Generation(), "err", err)
	}
	k.reported = text
}

// table is what the document says, with versions for the references of one that is not Serin's.
func (k *keeper) table(ctx context.Context, doc traffic.Document) (traffic.Table, error) {
	if doc.ProductionURI == "" {
		doc.ProductionURI, doc.ChampionPct = k.unroutedChampion(ctx), 100
	}
	t := doc.Table(k.model.Name)
	if k.model.OnControllerLost == config.LostKeep {
		t.LeaseUntil = time.Time{} // the gateway itself goes by its lease
	}
	if t.Champion.Pin.Version == "" {
		pin, err := k.champion(ctx, t.Champion.URI)
		if err != nil {
			return t, fmt.Errorf("find the champion %s: %w", t.Champion.URI, err)
		}
		t.Champion.Pin = pin
	}
	if t.Canary != nil && t.Canary.Pin.Version == "" {
		pin, err := k.resolve(ctx, t.Canary.URI)
		if err != nil {
			return t, fmt.Errorf("find the canary %s: %w", t.Canary.URI, err)
		}
		t.Canary.Pin = pin
	}
	return k.inSlots(t), nil
}

// unroutedChampion is the reference of the champion as long as there is no routing document: what the plan follows, or the plan's champion
// where nothing has been promoted yet, as with aliases that the first promotion makes.
func (k *keeper) unroutedChampion(ctx context.Context) string {
	plan := k.models.planOf(k.model.Name)
	ref, ok := championRef(plan)
	if ok {
		_, err := k.client.Resolve(ctx, ref)
		ok = !errors.Is(err, mlflow.ErrNotFound)
	}
	if !ok {
		var err error
		if ref, err = registered(plan.Model, plan.Champion); err != nil {
			ref = model.Ref{Kind: model.RefStage, Name: k.model.Name, Stage: model.StageProduction}
		}
	}
	return ref.String()
}

// champion asks the registry who the champion is. When it cannot be asked, the one that served last is: doubt serves the champion.
func (k *keeper) champion(ctx context.Context, uri string) (model.Pin, error) {
	pin, err := k.resolve(ctx, uri)
	if !errors.Is(err, mlflow.ErrUnavailable) {
		return pin, err
	}
	if known, ok := k.memory.champion(k.model.Name); ok {
		return known, nil
	}
	return pin, err
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

// inSlots completes the pins of a model behind `urls`: where a document names no slot, the champion's is where it last served from, else the first,
// and the canary's the other one.
func (k *keeper) inSlots(t traffic.Table) traffic.Table {
	if k.model.slots == nil {
		return t
	}
	if t.Champion.Pin.Slot == 0 {
		t.Champion.Pin.Slot = 1
		if known, ok := k.memory.champion(k.model.Name); ok && known.Version == t.Champion.Pin.Version && known.Slot != 0 {
			t.Champion.Pin.Slot = known.Slot
		}
	}
	if t.Canary != nil && t.Canary.Pin.Slot == 0 {
		canary := *t.Canary
		canary.Pin.Slot = 3 - t.Champion.Pin.Slot
		t.Canary = &canary
	}
	return t
}
