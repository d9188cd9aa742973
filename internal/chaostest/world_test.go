package chaostest

import (
	"compress/gzip"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"serin/examples/creditcard"
	"serin/internal/api"
	"serin/internal/demo"
	"serin/internal/demo/faulty"
	"serin/internal/mlflow"
	"serin/internal/model"
	"serin/internal/scorer"
)

// The models of a world: the same payments, three challengers, three ends.
const (
	better  = "better"  // its challenger finds more frauds: it is promoted
	poor    = "poor"    // its challenger misses half of them: the gate rejects it
	failing = "failing" // its challenger's server fails: it is rolled back
)

// tick and bake are the plan's: short, so that a rollout has many moments in which it can be killed.
const (
	tick = 200 * time.Millisecond
	bake = 2 * time.Second
)

// world is a folder with a configuration, a server and a gateway on it, and what stands around them.
type world struct {
	t            *testing.T
	dir          string
	api, gateway string
	models       []string
	client       *api.Client
	registry     *mlflow.Client
	told         *receiver
	bake         time.Duration
	slots        [2]*faulty.ModelServer
	slotURLs     [2]string
}

// open lays out a world with the given models. Nothing of serin runs yet.
func open(t *testing.T, models ...string) *world {
	t.Helper()
	return openWith(t, bake, models...)
}

// openWith is open with bakes of another length.
func openWith(t *testing.T, bake time.Duration, models ...string) *world {
	t.Helper()
	free := freeAddresses(t, 2)
	w := &world{t: t, dir: t.TempDir(), api: "http://" + free[0], gateway: "http://" + free[1], models: models, bake: bake, told: newReceiver(t)}
	w.unpack()
	if slices.Contains(models, failing) {
		w.startSlots()
	}
	w.configure()
	var err error
	if w.client, err = api.NewClient(api.ClientOptions{URL: w.api, Actor: "chaos", HTTP: &http.Client{Timeout: 10 * time.Second}}); err != nil {
		t.Fatal(err)
	}
	if w.registry, err = mlflow.New(mlflow.Options{TrackingURI: w.api, CacheDir: w.path("cache")}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) path(parts ...string) string {
	return filepath.Join(append([]string{w.dir}, parts...)...)
}

func (w *world) routing(name string) string { return w.path("config", name+".json") }

func (w *world) write(path, text string) {
	w.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o750), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		w.t.Fatal(err)
	}
}

// unpack writes the models and the labeled data to the folder.
func (w *world) unpack() {
	w.t.Helper()
	err := fs.WalkDir(creditcard.FS, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := creditcard.FS.ReadFile(path)
		w.write(w.path("creditcard", filepath.FromSlash(path)), string(b))
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// configure writes serin.yaml and a plan for each model.
func (w *world) configure() {
	w.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "server: {listen: %q}\ngateway: {listen: 127.0.0.1:0}\ngateways: [%q]\nmodels:\n", strings.TrimPrefix(w.api, "http://"), w.gateway)
	for _, name := range w.models {
		fmt.Fprintf(&b, "  %s:\n    plan: plans/%s.yaml\n    routing_file: config/%s.json\n", name, name, name)
		if name == failing {
			fmt.Fprintf(&b, "    backend: {urls: [%q, %q]}\n    identity: {path: /health, field: model_version}\n", w.slotURLs[0], w.slotURLs[1])
		}
		w.write(w.path("plans", name+".yaml"), plan(name, w.bake))
	}
	w.write(w.path("told.url"), w.told.url)
	const on = "[started, paused, succeeded, rolled_back, rejected, held, aborted, undone, rollback_unproven, hold_too_long]"
	fmt.Fprintf(&b, "notifications:\n  - {name: hook, webhook: {file: told.url}, on: %s}\n  - {name: log, log: {}, on: %s}\n", on, on)
	w.write(w.path("serin.yaml"), b.String())
}

// plan has limits that fit the data and a machine that is busy: what is tested here is not how fast it scores.
func plan(name string, bake time.Duration) string {
	return fmt.Sprintf(`apiVersion: serin/v1
kind: ModelRollout
metadata: {name: %s}
spec:
  offlineGate:
    data: ../creditcard/holdout.parquet
    label: is_fraud
    criteria: {recall: 0.75, fpr: 0.02, latencyP95: 5s, f1Ratio: 1.01}
  strategy:
    canary:
      steps:
        - setWeight: 20
        - pause: {duration: %s}
        - setWeight: 50
        - pause: {duration: %s}
        - setWeight: 100
      watch: {duration: %s, onFail: undo}
  analysis: {mode: threshold, tick: %s, minRequests: 20, latency: {enabled: false}}
  hold: {max: 10m, then: rollback}
  notifications: [hook, log]
`, name, bake, bake, time.Second, tick)
}

// startSlots runs the two model servers of the failing model: a good champion, and a challenger that fails on three in ten.
func (w *world) startSlots() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	var wg sync.WaitGroup
	w.t.Cleanup(func() { cancel(); wg.Wait() })
	for i, dir := range []string{"champion", "better"} {
		sc, err := scorer.NewOpener(scorer.Options{}).Open(ctx, model.Ref{Kind: model.RefPath, Location: w.path("creditcard", dir)})
		if err != nil {
			w.t.Fatal(err)
		}
		payloads := scorer.NewPayloadScorer(sc)
		w.slots[i], err = faulty.NewModelServer(faulty.Options{Version: strconv.Itoa(i + 1), Score: func(ctx context.Context, contentType string, body []byte) ([]byte, error) {
			return payloads.ScorePayload(ctx, contentType, body, nil)
		}})
		if err != nil {
			w.t.Fatal(err)
		}
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			w.t.Fatal(err)
		}
		w.slotURLs[i] = "http://" + ln.Addr().String()
		wg.Go(func() {
			if err := w.slots[i].Serve(ctx, ln); err != nil && ctx.Err() == nil {
				w.t.Errorf("model server: %v", err)
			}
		})
	}
}

// begin starts server and gateway with champions, stages each model's challenger and starts its customers.
func (w *world) begin() (server, gateway *process, customers map[string]*demo.Player) {
	w.t.Helper()
	server = w.serve()
	for _, name := range w.models {
		w.register(name, "champion", model.StageProduction)
	}
	gateway = w.startGateway()
	customers = map[string]*demo.Player{}
	for _, name := range w.models {
		dir := "better"
		if name == poor {
			dir = "poor"
		}
		w.register(name, dir, model.StageStaging)
		customers[name] = w.play(name)
	}
	return server, gateway, customers
}

func (w *world) serve() *process {
	w.t.Helper()
	p := w.spawn("serve")
	if err := p.await(); err != nil {
		w.t.Fatalf("serin serve: %v", err)
	}
	return p
}

func (w *world) startGateway() *process {
	w.t.Helper()
	p := w.spawn("gateway", "--gateway-listen", strings.TrimPrefix(w.gateway, "http://"))
	if err := p.await(); err != nil {
		w.t.Fatalf("serin gateway: %v", err)
	}
	return p
}

func (w *world) register(name, dir string, stage model.Stage) {
	w.t.Helper()
	if _, err := w.registry.Register(w.t.Context(), mlflow.RegisterParams{Name: name, Path: w.path("creditcard", dir), Stage: stage}); err != nil {
		w.t.Fatal(err)
	}
}

// rate is how many payments a second each model gets.
const rate = 120

// play sends customers' payments to a model through the gateway that stands alone, until the test ends.
func (w *world) play(name string) *demo.Player {
	w.t.Helper()
	columns, rows, customers := payments(w.t)
	ctx, cancel := context.WithCancel(w.t.Context())
	p, err := demo.Play(ctx, demo.PlayParams{
		URLs: []string{w.gateway}, Model: name, Columns: columns, Rows: rows, Customers: customers, RatePerSecond: rate, Workers: 32, Timeout: 20 * time.Second,
	})
	if err != nil {
		cancel()
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { cancel(); p.Wait() })
	return p
}

// payments reads what customers send. Each row gets a customer of its own, so that the share of requests is the share of customers.
func payments(t *testing.T) (columns []string, rows [][]float64, customers []string) {
	t.Helper()
	f, err := creditcard.FS.Open("traffic.csv.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	records, err := csv.NewReader(z).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for i, record := range records[1:] {
		values := make([]float64, len(record)-1)
		for j, text := range record[1:] {
			if values[j], err = strconv.ParseFloat(text, 64); err != nil {
				t.Fatal(err)
			}
		}
		rows, customers = append(rows, values), append(customers, fmt.Sprintf("customer-%04d", i))
	}
	return records[0][1:], rows, customers
}

// canary starts a rollout of better and waits until its canary has 20 % and is being judged.
func (w *world) canary(files *routings) (id string) {
	w.t.Helper()
	id, err := w.start(better)
	if err != nil {
		w.t.Fatal(err)
	}
	eventually(w.t, "the canary bakes at 20 %", readyWithin, func() bool {
		r, err := w.client.Get(w.t.Context(), id)
		return err == nil && r.Task == "monitor_20_percent" && r.Judgement != nil && files.now(better).CanaryPct == 20
	})
	return id
}

// start starts a rollout as a script would: with a key, again when the server dies under the call.
func (w *world) start(name string) (id string, err error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), readyWithin)
	defer cancel()
	s, err := w.client.Start(ctx, api.StartRequest{Model: name, Reason: "chaos", Key: "chaos/" + name})
	return s.Rollout, err
}
