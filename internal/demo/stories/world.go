// Package stories tells the demo: it runs real servers on real card payments, plays customers' traffic, and checks that each story ends as
// it must. It acts only through the commands, the API and the gateways, as a user would.
package stories

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

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

// Options are what a demo needs. All must be given.
type Options struct {
	// Dir is an empty folder for data, configuration and logs. It stays as it is at the end.
	Dir string
	// Actor is who acts, for the history.
	Actor string
	// Teller is told what happens.
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

// open lays out the folder, starts the model servers, the server and the gateway, and registers the champions. After an error close ends what runs.
func (w *world) open(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		func(context.Context) error { return w.unpack() },
		func(context.Context) error { return w.readTraffic() },
		w.startSlots,
		func(context.Context) error { return w.configure() },
		w.startServer, w.registerChampions, w.startGateway,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) path(parts ...string) string {
	return filepath.Join(append([]string{w.Dir}, parts...)...)
}

// startSlots runs the two model servers of the service in this process: champion in slot 1, challenger in slot 2. They end with ctx.
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
		ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not wait for anybody
		if err != nil {
			return err
		}
		w.slotURLs[i] = "http://" + ln.Addr().String()
		w.wg.Go(func() {
			if err := w.slots[i].Serve(ctx, ln); err != nil && ctx.Err() == nil {
				w.say("%v", err)
			}
		})
	}
	return nil
}

// callWithin bounds one call of the API: a server that hangs is a fault, not a demo that never ends.
const callWithin = 15 * time.Second

// startServer starts the server and makes the clients of its API and its registry.
func (w *world) startServer(ctx context.Context) error {
	w.server = w.process("server.log", "serve")
	if err := w.server.start(ctx); err != nil {
		return err
	}
	var err error
	if w.client, err = api.NewClient(api.ClientOptions{URL: w.api, Actor: w.Actor, HTTP: &http.Client{Timeout: callWithin}}); err != nil {
		return err
	}
	w.registry, err = mlflow.New(mlflow.Options{TrackingURI: w.api, CacheDir: w.path("cache")})
	return err
}

// process is a serin on the demo's folder.
func (w *world) process(log, command string, args ...string) *process {
	args = append([]string{command, "--config", w.path("serin.yaml"), "--data", w.path("data"), "-o", "json"}, args...)
	return &process{args: args, dir: w.Dir, log: w.path(log)}
}

func (w *world) registerChampions(ctx context.Context) error {
	for _, name := range []string{cards, service, restart} {
		if _, err := w.registry.Register(ctx, mlflow.RegisterParams{Name: name, Path: w.path("creditcard", "champion"), Stage: model.StageProduction}); err != nil {
			return err
		}
	}
	return nil
}

// startGateway starts the gateway that the customers use, apart from the server: production's layout, in which the server may die and nobody notices.
func (w *world) startGateway(ctx context.Context) error {
	w.traffic = w.process("gateway.log", "gateway", "--gateway-listen", strings.TrimPrefix(w.gateway, "http://"))
	return w.traffic.start(ctx)
}

// stage registers a challenger and puts it into Staging, where the plan looks for it.
func (w *world) stage(ctx context.Context, name, dir string) (version string, err error) {
	return w.registry.Register(ctx, mlflow.RegisterParams{Name: name, Path: w.path("creditcard", dir), Stage: model.StageStaging})
}

// play sends customers' payments to a model until stop is called or ctx ends. stop waits until every answer is counted.
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

// close stops the processes that the demo started, both at once. It may be called on a world that is not open, or only half.
func (w *world) close() {
	var wg sync.WaitGroup
	wg.Go(w.traffic.stop)
	wg.Go(w.server.stop)
	wg.Wait()
}
