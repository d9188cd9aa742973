package app

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"serin/internal/config"
	"serin/internal/gateway"
	"serin/internal/mlflow"
	"serin/internal/model"
	"serin/internal/routingfile"
	"serin/internal/traffic"
)

// kept is a keeper on a routing file of its own, with a gateway and a registry that has versions 1 (champion) and 2 (better).
type kept struct {
	*keeper
	file     *routingfile.File
	registry *outage
	metrics  *prometheus.Registry
	// opened and closed count the scorers that the keeper has had.
	opened, closed *atomic.Int32
	stop           func()
}

func keep(t *testing.T, change func(*config.Model)) *kept {
	t.Helper()
	away := registryApart(t)
	client, err := mlflow.New(mlflow.Options{TrackingURI: away.url, CacheDir: filepath.Join(t.TempDir(), "cache"), Attempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []mlflow.RegisterParams{
		{Name: fraud, Path: example("champion"), Stage: model.StageProduction}, {Name: fraud, Path: example("better"), Stage: model.StageStaging},
	} {
		if _, err := client.Register(t.Context(), version); err != nil {
			t.Fatal(err)
		}
	}
	entry := defaultModel(fraud, filepath.Join(t.TempDir(), "routing.json"))
	if change != nil {
		change(&entry)
	}
	cfg := config.Config{Models: []config.Model{entry}}
	metrics := prometheus.NewRegistry()
	g, err := gateway.New(gateway.Options{Registry: metrics})
	if err != nil {
		t.Fatal(err)
	}
	m, err := openMemory(filepath.Join(t.TempDir(), "known.json"))
	if err != nil {
		t.Fatal(err)
	}
	a := &App{cfg: cfg, log: slog.New(slog.DiscardHandler), client: client, models: newCatalog(cfg), memory: m}
	served, err := a.models.claim(fraud)
	if err != nil {
		t.Fatal(err)
	}
	opened, closed := &atomic.Int32{}, &atomic.Int32{}
	k := newKeeper(a, g, served)
	really := k.open
	k.open = func(ctx context.Context, pin model.Pin) (gateway.Backend, error) {
		b, err := really(ctx, pin)
		if err != nil {
			return nil, err
		}
		opened.Add(1)
		return &closing{b, closed}, nil
	}
	k.every = 50 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { k.run(ctx) })
	stop := sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(stop)
	return &kept{keeper: k, file: served.file, registry: away, metrics: metrics, opened: opened, closed: closed, stop: stop}
}

// closing counts that a backend was closed.
type closing struct {
	gateway.Backend
	closed *atomic.Int32
}

func (c *closing) Close() error {
	c.closed.Add(1)
	return c.Backend.Close()
}

// pin is what the registry has for a version.
func (k *kept) pin(t *testing.T, version string) model.Pin {
	t.Helper()
	got, err := k.client.Fetch(t.Context(), model.Ref{Kind: model.RefVersion, Name: fraud, Version: version})
	if err != nil {
		t.Fatal(err)
	}
	return got.Pin
}

// deploy writes a canary into the file.
func (k *kept) deploy(t *testing.T, champion, canary model.Pin) traffic.Document {
	t.Helper()
	doc, err := k.file.Update(t.Context(), func(prev traffic.Document) (traffic.Document, error) {
		return traffic.Deploy(prev, traffic.DeployParams{
			Model: fraud, WeightPct: 50, URIs: traffic.URIStage, Champion: champion, Canary: canary, Salt: "salt", LeaseUntil: time.Now().Add(time.Minute), By: traffic.Author{Writer: "test"},
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// serves asks the gateway as a customer, without a socket.
func (k *kept) serves(t *testing.T, customer string) (role, version string, status int) {
	t.Helper()
	rows := payments(t)
	body := mustJSON(map[string]any{"dataframe_split": map[string]any{"columns": rows.columns, "data": rows.values[:1]}})
	var resp gateway.Response
	k.gateway.Handle(t.Context(), &gateway.Request{
		Model: fraud, Method: http.MethodPost, Path: "/invocations", ContentType: "application/json", Body: body,
		Header: []gateway.Header{{Name: []byte("X-Customer-Id"), Value: []byte(customer)}},
	}, &resp)
	return string(resp.ServedBy), resp.Version, resp.Status
}

// customers are enough to meet both sides of a half.
func (k *kept) roles(t *testing.T) map[string]int {
	t.Helper()
	out := map[string]int{}
	for i := range 40 {
		role, version, status := k.serves(t, fmt.Sprint("customer-", i))
		if status != http.StatusOK {
			t.Fatalf("status %d", status)
		}
		out[role+" "+version]++
	}
	return out
}

func (k *kept) awaitGeneration(t *testing.T, want int64) {
	t.Helper()
	until(t, fmt.Sprint("generation ", want), func() bool { got, ok := k.current(); return ok && got == want })
}

// A canary that does not load gets no request and is not acknowledged; the champion serves, also when the gateway has only just started, and the
// next document is served as if nothing had been.
func TestKeeper_CanaryThatDoesNotLoad(t *testing.T) {
	t.Parallel()
	k := keep(t, nil)
	champion, canary := k.pin(t, "1"), k.pin(t, "2")
	bad := canary
	bad.Digest = "sha256:" + strings.Repeat("0", 64)
	until(t, "Production is served", func() bool { _, version, _ := k.serves(t, "x"); return version == "1" })
	k.deploy(t, champion, bad)
	until(t, "the failure is told", func() bool { return k.reloadFailed(t) })
	if got := k.roles(t); got["champion 1"] != 40 {
		t.Errorf("served %v", got)
	}
	if generation, _ := k.current(); generation != 0 {
		t.Errorf("generation %d is acknowledged without its canary", generation)
	}
	good := k.deploy(t, champion, canary)
	k.awaitGeneration(t, good.Generation())
	if got := k.roles(t); got["champion 1"] == 0 || got["canary 2"] == 0 || len(got) != 2 {
		t.Errorf("served %v", got)
	}
	// A canary that nobody wants any more is not left in service because the next one does not load.
	k.deploy(t, champion, bad)
	until(t, "the old canary has no traffic", func() bool { return k.roles(t)["champion 1"] == 40 })
	if generation, _ := k.current(); generation != good.Generation() {
		t.Errorf("generation %d is acknowledged without its canary", generation)
	}
}

// reloadFailed says what the gateway's metrics say.
func (k *kept) reloadFailed(t *testing.T) bool {
	t.Helper()
	families, err := k.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "serin_gateway_last_reload_successful" {
			return family.GetMetric()[0].GetGauge().GetValue() == 0
		}
	}
	return false
}

// A gateway that starts on a document whose canary does not load serves the champion.
func TestKeeper_StartsOnADocumentWithABadCanary(t *testing.T) {
	t.Parallel()
	k := keep(t, nil)
	k.stop()
	bad := k.pin(t, "2")
	bad.Digest = "sha256:" + strings.Repeat("1", 64)
	k.deploy(t, k.pin(t, "1"), bad)
	again := newKeeper(&App{cfg: k.models.cfg, log: slog.New(slog.DiscardHandler), client: k.client, models: k.models, memory: k.memory}, k.gateway, k.model)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); again.run(ctx) }()
	<-again.looked
	if role, version, status := k.serves(t, "x"); role != "champion" || version != "1" || status != http.StatusOK {
		t.Errorf("%s %s, status %d", role, version, status)
	}
	if generation, ok := again.current(); generation != 0 || !ok {
		t.Errorf("generation %d, served %v", generation, ok)
	}
	cancel()
	<-done
}

// What was loaded and never served is closed, and what is served is not; a promotion keeps the champion before warm, so that the way back loads nothing.
func TestKeeper_ClosesWhatItDoesNotServe(t *testing.T) {
	t.Parallel()
	k := keep(t, nil)
	champion, canary := k.pin(t, "1"), k.pin(t, "2")
	champion.Slot, canary.Slot = 1, 2
	doc := k.deploy(t, champion, canary)
	k.awaitGeneration(t, doc.Generation())
	if n := k.opened.Load(); n != 2 {
		t.Errorf("%d scorers for two versions: a slot is no reason to load again", n)
	}
	doc = k.promote(t, canary)
	k.awaitGeneration(t, doc.Generation())
	doc = k.promote(t, champion)
	k.awaitGeneration(t, doc.Generation())
	if opened, closed := k.opened.Load(), k.closed.Load(); opened != 2 || closed != 0 {
		t.Errorf("there and back: %d opened, %d closed; the champion before must stay warm", opened, closed)
	}
	bad := model.Pin{Version: "2", Digest: "sha256:" + strings.Repeat("2", 64)}
	k.deploy(t, champion, bad)
	until(t, "the failure is told", func() bool { return k.reloadFailed(t) })
	k.stop()
	if err := k.gateway.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "everything is closed at the end", func() bool { return k.opened.Load() == k.closed.Load() })
}

func (k *kept) promote(t *testing.T, pin model.Pin) traffic.Document {
	t.Helper()
	doc, err := k.file.Update(t.Context(), func(prev traffic.Document) (traffic.Document, error) {
		return traffic.Promote(prev, traffic.PromoteParams{Model: fraud, URIs: traffic.URIStage, Champion: pin, By: traffic.Author{Writer: "test"}})
	})
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// A rollback does not wait for the download of a canary, and what had been loaded for it is closed.
func TestKeeper_RollbackInterruptsALoad(t *testing.T) {
	t.Parallel()
	k := keep(t, nil)
	champion, other := k.pin(t, "1"), k.pin(t, "2")
	until(t, "Production is served", func() bool { _, version, _ := k.serves(t, "x"); return version == "1" })
	k.registry.hang()
	hangs := model.Pin{Version: "3", Digest: "sha256:" + strings.Repeat("3", 64)} // not in the cache: it is asked for, and nothing comes
	k.deploy(t, other, hangs)
	until(t, "the new champion is loaded and waits for its canary", func() bool { return k.opened.Load() == 2 })
	began := time.Now()
	back, err := k.file.Update(t.Context(), func(prev traffic.Document) (traffic.Document, error) {
		return traffic.Rollback(prev, traffic.RollbackParams{Model: fraud, Champion: champion, URIs: traffic.URIStage, At: time.Now(), By: traffic.Author{Writer: "test"}})
	})
	if err != nil {
		t.Fatal(err)
	}
	k.awaitGeneration(t, back.Generation())
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the rollback was in service after %s", took)
	}
	if opened, closed := k.opened.Load(), k.closed.Load(); opened != 2 || closed != 1 {
		t.Errorf("%d opened, %d closed: the version that was loaded and never served must be closed", opened, closed)
	}
	if role, version, status := k.serves(t, "x"); role != "champion" || version != "1" || status != http.StatusOK {
		t.Errorf("%s %s, status %d", role, version, status)
	}
}

// onControllerLost: keep is the model's own word: its canary outlives the lease, another model's does not.
func TestKeeper_OnControllerLost(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		lost   config.Lost
		canary bool
	}{{config.LostChampion, false}, {config.LostKeep, true}} {
		t.Run(string(tt.lost), func(t *testing.T) {
			t.Parallel()
			k := keep(t, func(m *config.Model) { m.OnControllerLost = tt.lost })
			champion, canary := k.pin(t, "1"), k.pin(t, "2")
			doc, err := k.file.Update(t.Context(), func(prev traffic.Document) (traffic.Document, error) {
				return traffic.Deploy(prev, traffic.DeployParams{
					Model: fraud, WeightPct: 50, URIs: traffic.URIStage, Champion: champion, Canary: canary, Salt: "salt",
					LeaseUntil: time.Now().Add(-traffic.LeaseGrace - time.Minute), By: traffic.Author{Writer: "test"},
				})
			})
			if err != nil {
				t.Fatal(err)
			}
			k.awaitGeneration(t, doc.Generation())
			if got := k.roles(t)["canary 2"] > 0; got != tt.canary {
				t.Errorf("the canary has traffic: %v, want %v", got, tt.canary)
			}
		})
	}
}

// Slots follow the pins; where a document has none, the champion is where it last was and the canary in the other one.
func TestKeeper_Slots(t *testing.T) {
	t.Parallel()
	m, err := openMemory(filepath.Join(t.TempDir(), "known.json"))
	if err != nil {
		t.Fatal(err)
	}
	two := []*gateway.URL{nil, nil}
	k := &keeper{model: &served{Model: config.Model{Name: fraud, URLs: []string{"http://a", "http://b"}, Failover: config.FailoverOff}, slots: two}, memory: m}
	side := func(version string, slot int) traffic.Side {
		return traffic.Side{Pin: model.Pin{Version: version, Slot: slot}}
	}
	canary := side("2", 0)
	if got := k.inSlots(traffic.Table{Champion: side("1", 0), Canary: &canary}); got.Champion.Pin.Slot != 1 || got.Canary.Pin.Slot != 2 || canary.Pin.Slot != 0 {
		t.Errorf("nothing known: %+v %+v", got.Champion.Pin, got.Canary.Pin)
	}
	if err := m.serves(fraud, model.Pin{Version: "1", Slot: 2}); err != nil {
		t.Fatal(err)
	}
	if got := k.inSlots(traffic.Table{Champion: side("1", 0), Canary: &canary}); got.Champion.Pin.Slot != 2 || got.Canary.Pin.Slot != 1 {
		t.Errorf("the champion was in slot 2: %+v %+v", got.Champion.Pin, got.Canary.Pin)
	}
	if got := k.inSlots(traffic.Table{Champion: side("3", 0)}); got.Champion.Pin.Slot != 1 {
		t.Errorf("another version: %+v", got.Champion.Pin)
	}
	if got := k.inSlots(traffic.Table{Champion: side("1", 1)}); got.Champion.Pin.Slot != 1 {
		t.Errorf("the document's own slot: %+v", got.Champion.Pin)
	}
	if _, err := openSlot(k.model.Model, 3); err == nil || !strings.Contains(err.Error(), "no slot 3") {
		t.Errorf("slot 3: %v", err)
	}
	if a, b := k.key(model.Pin{Version: "1", Slot: 1}), k.key(model.Pin{Version: "1", Slot: 2}); a == b {
		t.Error("two slots are two backends")
	}
}
