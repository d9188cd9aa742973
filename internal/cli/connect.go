package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"time"

	"serin/internal/api"
	"serin/internal/app"
	"serin/internal/config"
)

// patience is how long a server may take to say that it is there.
const patience = 2 * time.Second

// session is how a command reaches Serin: a server, or an App in this process.
type session struct {
	cfg    config.Config
	client *api.Client
	// app is nil when a server answers.
	app *app.App
	// url is the server's, empty without one.
	url string
	// silent is the server that was named and does not answer, when the data folder was opened instead.
	silent string
}

func (s *session) close() error {
	if s.app == nil {
		return nil
	}
	return s.app.Close()
}

// connect finds the server: --server, SERIN_SERVER, DATA/server.json. When none answers it opens the data folder in this process.
func (r *root) connect(ctx context.Context) (*session, error) {
	cfg, err := r.load()
	if err != nil {
		return nil, err
	}
	client, url, silence := r.server(ctx, cfg, patience)
	if client != nil {
		return &session{cfg: cfg, client: client, url: url}, nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	// A server that was named and is away may keep its store elsewhere: an empty folder must not be made in its stead.
	if cfg.ServerURL != "" && !hasStore(cfg.Data) {
		return nil, fmt.Errorf("%w: start it, or give --data the folder of its store (%s is none)", silence, cfg.Data)
	}
	s, err := r.inProcess(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, silence)
	}
	s.silent = cfg.ServerURL
	return s, nil
}

// server looks for a server that answers within the time given. The client is nil when there is none; silence then says who did not answer, nil when
// nobody was named.
func (r *root) server(ctx context.Context, cfg config.Config, wait time.Duration) (client *api.Client, url string, silence error) {
	file, err := app.ReadServerFile(cfg.Data)
	if err != nil && cfg.ServerURL == "" {
		return nil, "", err
	}
	if url = cmp.Or(cfg.ServerURL, file.API); url == "" {
		return nil, "", nil
	}
	client, err = answering(ctx, url, wait)
	return client, url, err
}

// hasStore says whether a data folder holds a store.
func hasStore(data string) bool {
	_, err := os.Stat(filepath.Join(data, "serin.db"))
	return !errors.Is(err, fs.ErrNotExist)
}

// answering is a client of a server that is there.
func answering(ctx context.Context, url string, wait time.Duration) (*api.Client, error) {
	client, err := api.NewClient(api.ClientOptions{URL: url, Actor: actor()})
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	_, err = client.Health(limited)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("%w at %s within %s", api.ErrUnreachable, url, wait)
	}
	if err != nil {
		return nil, err
	}
	return client, nil
}

// inProcess opens the data folder here; its lock keeps out everybody else.
func (r *root) inProcess(ctx context.Context, cfg config.Config) (*session, error) {
	a, err := app.Open(ctx, app.Options{Config: cfg, Logger: r.notices(), Version: build()})
	if err != nil {
		return nil, err
	}
	client, err := api.NewClient(api.ClientOptions{URL: "http://127.0.0.1", Actor: actor(), HTTP: &http.Client{Transport: a.InProcess()}})
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return &session{cfg: cfg, client: client, app: a}, nil
}

// with runs fn in a session. What was done or not done on the data folder because a named server is silent is said.
func (r *root) with(ctx context.Context, fn func(*session) error) error {
	s, err := r.connect(ctx)
	if err != nil {
		return err
	}
	err = errors.Join(fn(s), s.close())
	switch {
	case s.silent == "":
	case err != nil:
		return fmt.Errorf("%w (on %s: no server answers at %s)", err, s.cfg.Data, s.silent)
	default:
		fmt.Fprintf(r.Stderr, "no server answers at %s: worked on %s\n", s.silent, s.cfg.Data)
	}
	return err
}

// bench is the registry of a session: MLFLOW_TRACKING_URI, else that of the server, else the embedded one of the data folder.
func (r *root) bench(s *session) (*app.Bench, error) {
	switch {
	case s.cfg.MLflowURI != "":
		return app.NewBench(app.BenchOptions{Config: s.cfg, Registry: s.cfg.MLflowURI, Logger: r.notices()})
	case s.url != "":
		return app.NewBench(app.BenchOptions{Config: s.cfg, Registry: s.url, Logger: r.notices()})
	}
	return s.app.Bench(), nil
}

// actor is who stands in the history: user@host.
func actor() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return name + "@" + host
}
