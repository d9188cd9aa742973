// Package app builds everything from the configuration: the store, the registry, the engine with its tasks, the gateway and the API. It
// holds the adapters between packages that must not know each other, and no decision.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"serin/internal/api"
	"serin/internal/config"
	"serin/internal/engine"
	"serin/internal/mlflow"
	"serin/internal/notify"
	"serin/internal/registry"
	"serin/internal/scorer"
	"serin/internal/store"
	"serin/internal/store/sqlite"
	"serin/internal/task"
)

// Options are what an App is built from.
type Options struct {
	Config  config.Config
	Logger  *slog.Logger
	Version string
	// DrainNotice is how long a gateway that ends still takes connections while its /health says so; 1 s when zero, none when negative.
	DrainNotice time.Duration
}

// App is a built Serin on an open, locked data folder. A server runs it; a command without a server uses it in process.
type App struct {
	cfg     config.Config
	log     *slog.Logger
	version string
	writer  string
	drain   time.Duration

	store    *store.DB
	registry http.Handler // nil with a real MLflow
	client   *mlflow.Client
	memory   *memory
	models   *catalog
	router   *router
	engine   *engine.Engine
	notices  *deliverer
	api      *api.Server
}

// Open locks the data folder and builds the App on it. Nothing runs yet.
func Open(ctx context.Context, o Options) (*App, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	a := &App{cfg: o.Config, log: o.Logger, version: o.Version, drain: o.DrainNotice, writer: fmt.Sprintf("serin %s:%d", host, os.Getpid())}
	if a.store, err = sqlite.Open(ctx, a.cfg.Data); err != nil {
		return nil, err
	}
	if err := a.build(); err != nil {
		return nil, errors.Join(err, a.store.Close())
	}
	return a, nil
}

// Close releases the data folder.
func (a *App) Close() error { return a.store.Close() }

// build wires the parts, leaves first. It is one straight line on purpose: nearly every step needs those before it.
func (a *App) build() (err error) {
	if err := a.buildRegistry(); err != nil {
		return err
	}
	if a.memory, err = openMemory(filepath.Join(a.cfg.Data, "serve-known.json")); err != nil {
		return err
	}
	a.models = newCatalog(a.cfg)
	peers, err := newPeers(a.cfg.Gateways)
	if err != nil {
		return err
	}
	a.router = &router{models: a.models, peers: peers}
	if a.notices, err = newDeliverer(a.cfg, a.store, a.log); err != nil {
		return err
	}
	adapter := registryAdapter{a.client}
	check := checker{a.client, a.opener, a.models.slots}
	runner, err := task.New(task.Deps{
		Resolver: resolver{adapter, a.models}, Registry: adapter, Router: a.router, Gate: gate{a.client, a.opener},
		Checker: check, Samples: a.store, Blocks: blocks{a.store}, Notifier: a.notices, Writer: a.writer,
	})
	if err != nil {
		return err
	}
	if a.engine, err = engine.New(engine.Options{Store: a.store, Runner: runner, Logger: a.log}); err != nil {
		return err
	}
	a.api, err = api.New(api.Options{
		Store: a.store, Engine: a.engine, Version: a.version, Logger: a.log, Models: a,
		Operator: &operator{store: a.store, engine: a.engine, models: a.models, registry: a.client, resolver: resolver{adapter, a.models}, router: a.router, checker: check},
		Safety:   &safety{store: a.store, engine: a.engine, router: a.router, writer: a.writer},
	})
	return err
}

// embeddedURL is where the embedded registry is for the client in this process; no socket is involved.
const embeddedURL = "http://127.0.0.1"

func (a *App) buildRegistry() error {
	data, err := filepath.Abs(a.cfg.Data)
	if err != nil {
		return err
	}
	o := clientOptions(a.cfg, a.log)
	if o.TrackingURI == "" {
		server, err := registry.New(registry.Options{Store: a.store, ArtifactRoot: filepath.Join(data, "artifacts"), Logger: a.log})
		if err != nil {
			return err
		}
		a.registry, o.TrackingURI, o.HTTP = server, embeddedURL, mlflow.InProcess(server)
	}
	a.client, err = mlflow.New(o)
	return err
}

// clientOptions are those of a registry client; the address is empty for the embedded registry. Credentials come from the variables of MLflow's own client.
func clientOptions(cfg config.Config, log *slog.Logger) mlflow.Options {
	return mlflow.Options{
		TrackingURI: cfg.MLflowURI, CacheDir: filepath.Join(cfg.Data, "cache"), Logger: log,
		Username: os.Getenv("MLFLOW_TRACKING_USERNAME"), Password: os.Getenv("MLFLOW_TRACKING_PASSWORD"), Token: os.Getenv("MLFLOW_TRACKING_TOKEN"),
	}
}

func (a *App) opener(r scorer.Registry) *scorer.Opener {
	return scorer.NewOpener(scorer.Options{Registry: r, Logger: a.log})
}

func newDeliverer(cfg config.Config, db *store.DB, log *slog.Logger) (*deliverer, error) {
	d := &deliverer{store: db, baseURL: cfg.BaseURL(), log: log, unwritten: map[store.DeliveryKey]store.DeliveryResult{}}
	var channels []notify.Channel
	for _, ch := range cfg.Notifications {
		url := ""
		if ch.Kind != config.ChannelLog {
			var err error
			if url, err = ch.Target.Value(); err != nil {
				return nil, fmt.Errorf("notification channel %s: %w", ch.Name, err)
			}
		}
		channels = append(channels, notify.Channel{Name: ch.Name, Kind: notify.Kind(ch.Kind), URL: url, On: ch.On})
		d.channels = append(d.channels, ch.Name)
	}
	var err error
	d.notifier, err = notify.New(notify.Options{Channels: channels, Logger: log})
	return d, err
}

// Handler answers Serin's API and, when the registry is embedded, MLflow's.
func (a *App) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", a.api)
	if a.registry != nil {
		for _, path := range []string{"/api/2.0/", "/api/3.0/", "/ajax-api/", "/model-versions/", "/version"} {
			mux.Handle(path, a.registry)
		}
	}
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write([]byte("OK"))
	})
	return mux
}

// Registry is the client of the model registry, embedded or real.
func (a *App) Registry() *mlflow.Client { return a.client }

// Opener opens scorers from references, of the registry too.
func (a *App) Opener() *scorer.Opener { return a.opener(registryAdapter{a.client}) }
