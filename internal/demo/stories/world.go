// Package stories tells the demo: it runs real servers on real card payments, plays customers' traffic, and checks that each story ends as
// it must. It acts only through the commands, the API and the gateways, as a user would.
package stories

import (
	"compress/gzip"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"serin/examples/creditcard"
	"serin/internal/api"
	"serin/internal/demo"
	"serin/internal/demo/faulty"
	"serin/internal/mlflow"
	"serin/internal/model"
	"serin/internal/scorer"
)

// The models of the demo: the same payments, three services. The second is behind two model servers of its own.
const (
	cards   = "fraud_detection_xgboost"
	service = "fraud_detection_service"
	restart = "fraud_detection_restart"
)

// rate is how many payments a second each model gets.
const rate = 600

// Compression says by how much the plan's times are shortened.
const (
	bakeFactor = 240 // 30 min become 7.5 s, 1 h becomes 15 s, hold.max of 2 h 30 s
	tickFactor = 30  // 15 s become 0.5 s
)

// Options are what a demo needs.
type Options struct {
	Dir    string
	Actor  string
	Teller *Teller
}

// world is everything that runs during a demo.
type world struct {
	Options
	api, gateway    string
	server, traffic *process
	client          *api.Client
	registry        *mlflow.Client
	// slots are the two model servers of the service, slotURLs where they are.
	slots    [2]*faulty.ModelServer
	slotURLs [2]string
	rows     rows
	wg       sync.WaitGroup
}

// rows is the traffic that is played.
type rows struct {
	columns   []string
	values    [][]float64
	customers []string
}

// open lays out the folder, starts the model servers, the server and the gateway, and registers the champions.
func open(ctx context.Context, o Options) (*world, error) {
	w := &world{Options: o}
	if err := w.unpack(); err != nil {
		return nil, err
	}
	if err := w.readTraffic(); err != nil {
		return nil, err
	}
	if err := w.startSlots(ctx); err != nil {
		return nil, err
	}
	if err := w.configure(); err != nil {
		return nil, err
	}
	if err := w.startServer(ctx); err != nil {
		return nil, err
	}
	return w, w.registerChampions(ctx)
}

// unpack writes the models and the labelled data to the folder.
func (w *world) unpack() error {
	return fs.WalkDir(creditcard.FS, ".", func(path string, d fs.DirEntry, err error) error {
		to := filepath.Join(w.Dir, "creditcard", filepath.FromSlash(path))
		if err != nil || d.IsDir() {
			return errors.Join(err, os.MkdirAll(to, 0o750))
		}
		b, err := creditcard.FS.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, b, 0o600)
	})
}

func (w *world) path(parts ...string) string {
	return filepath.Join(append([]string{w.Dir}, parts...)...)
}

func (w *world) readTraffic() error {
	f, err := creditcard.FS.Open("traffic.csv.gz")
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	r := csv.NewReader(z)
	header, err := r.Read()
	if err != nil {
		return err
	}
	w.rows.columns = header[1:]
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		values := make([]float64, len(record)-1)
		for i, text := range record[1:] {
			if values[i], err = strconv.ParseFloat(text, 64); err != nil {
				return fmt.Errorf("traffic.csv.gz: %w", err)
			}
		}
		w.rows.values = append(w.rows.values, values)
		// Each payment gets a customer of its own, so that the share of requests is the share of customers.
		w.rows.customers = append(w.rows.customers, fmt.Sprintf("customer-%04d", len(w.rows.customers)+1))
	}
}

// startSlots runs the two model servers of the service in this process: champion in slot 1, challenger in slot 2.
func (w *world) startSlots(ctx context.Context) error {
	for i, dir := range []string{"champion", "better"} {
		sc, err := scorer.NewOpener(scorer.Options{}).Open(ctx, model.Ref{Kind: model.RefPath, Location: w.path("creditcard", dir)})
		if err != nil {
			return err
		}
		payloads := scorer.NewPayloadScorer(sc)
		w.slots[i], err = faulty.NewModelServer(faulty.Options{Version: strconv.Itoa(i + 1), Score: func(ctx context.Context, contentType string, body []byte) ([]byte, error) {
			return payloads.ScorePayload(ctx, contentType, body, nil)
		}})
		if err != nil {
			return err
		}
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		w.slotURLs[i] = "http://" + ln.Addr().String()
		w.wg.Go(func() { _ = w.slots[i].Serve(ctx, ln) })
	}
	return nil
}

// configure writes serin.yaml and a plan for each model.
func (w *world) configure() error {
	apiAddr, err := freePort()
	if err != nil {
		return err
	}
	gatewayAddr, err := freePort()
	if err != nil {
		return err
	}
	w.api, w.gateway = "http://"+apiAddr, "http://"+gatewayAddr
	yaml := fmt.Sprintf(`server: {listen: %q}
gateway: {listen: 127.0.0.1:0}
gateways: [%q]
models:
  %s: {plan: plans/%s.yaml, routing_file: config/%s.json}
  %s: {plan: plans/%s.yaml, routing_file: config/%s.json}
  %s:
    plan: plans/%s.yaml
    routing_file: config/%s.json
    backend: {urls: [%q, %q]}
    identity: {path: /health, field: model_version}
`, apiAddr, w.gateway, cards, cards, cards, restart, restart, restart, service, service, service, w.slotURLs[0], w.slotURLs[1])
	if err := os.MkdirAll(w.path("plans"), 0o750); err != nil {
		return err
	}
	for _, name := range []string{cards, service, restart} {
		if err := os.WriteFile(w.path("plans", name+".yaml"), []byte(plan(name)), 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(w.path("serin.yaml"), []byte(yaml), 0o600)
}

// plan is the default plan with its times compressed, and limits that fit the data.
func plan(name string) string {
	return fmt.Sprintf(`apiVersion: serin/v1
kind: ModelRollout
metadata: {name: %s}
spec:
  offlineGate:
    data: ../creditcard/holdout.parquet
    label: is_fraud
    criteria: {recall: 0.75, fpr: 0.02, latencyP95: 100ms, f1Ratio: 1.01}
  strategy:
    canary:
      steps:
        - setWeight: 5
        - pause: {duration: %s}
        - setWeight: 25
        - pause: {duration: %s}
        - setWeight: 100
      watch: {duration: %s, onFail: undo}
  analysis: {mode: threshold, tick: %s}
  hold: {max: %s, then: rollback}
  notifications: [log]
`, name, 30*time.Minute/bakeFactor, time.Hour/bakeFactor, 30*time.Minute/bakeFactor, 15*time.Second/tickFactor, 2*time.Hour/bakeFactor)
}

// startServer starts the server, then the gateway that the customers use: production's layout, in which the server may die and nobody notices.
func (w *world) startServer(ctx context.Context) error {
	w.server = &process{log: w.path("server.log"), args: []string{"serve", "--config", w.path("serin.yaml"), "--data", w.path("data"), "-o", "json"}}
	if err := w.server.start(ctx); err != nil {
		return err
	}
	var err error
	if w.client, err = api.NewClient(api.ClientOptions{URL: w.api, Actor: w.Actor}); err != nil {
		return err
	}
	w.registry, err = mlflow.New(mlflow.Options{TrackingURI: w.api, CacheDir: w.path("cache")})
	return err
}

func (w *world) registerChampions(ctx context.Context) error {
	for _, name := range []string{cards, service, restart} {
		if _, err := w.registry.Register(ctx, mlflow.RegisterParams{Name: name, Path: w.path("creditcard", "champion"), Stage: model.StageProduction}); err != nil {
			return err
		}
	}
	w.traffic = &process{log: w.path("gateway.log"), args: []string{
		"gateway", "--config", w.path("serin.yaml"), "--data", w.path("data"), "--gateway-listen", strings.TrimPrefix(w.gateway, "http://"), "-o", "json",
	}}
	return w.traffic.start(ctx)
}

// stage registers a challenger and puts it into Staging, where the plan looks for it.
func (w *world) stage(ctx context.Context, name, dir string) (version string, err error) {
	return w.registry.Register(ctx, mlflow.RegisterParams{Name: name, Path: w.path("creditcard", dir), Stage: model.StageStaging})
}

// play sends customers' payments to a model until stop is called.
func (w *world) play(ctx context.Context, name string) (p *demo.Player, stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	p, err = demo.Play(ctx, demo.PlayParams{
		URLs: []string{w.gateway}, Model: name, Columns: w.rows.columns, Rows: w.rows.values, Customers: w.rows.customers, RatePerSecond: rate, Workers: 32,
	})
	if err != nil {
		cancel()
		return nil, nil, err
	}
	return p, sync.OnceFunc(func() { cancel(); p.Wait() }), nil
}

// close stops everything that the demo started.
func (w *world) close() {
	if w.traffic != nil {
		w.traffic.stop()
	}
	if w.server != nil {
		w.server.stop()
	}
}
