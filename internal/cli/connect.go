package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/user"
	"time"

	"serin/internal/api"
	"serin/internal/app"
	"serin/internal/config"
	"serin/internal/mlflow"
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
	file, err := app.ReadServerFile(cfg.Data)
	if err != nil {
		return nil, err
	}
	if url := cmp.Or(cfg.ServerURL, file.API); url != "" {
		client, err := answering(ctx, url)
		if err == nil {
			return &session{cfg: cfg, client: client, url: url}, nil
		}
		if cfg.ServerURL != "" {
			return nil, fmt.Errorf("%w: start it, or leave out --server and SERIN_SERVER to work on %s", err, cfg.Data)
		}
	}
	return r.inProcess(ctx, cfg)
}

// answering is a client of a server that is there.
func answering(ctx context.Context, url string) (*api.Client, error) {
	client, err := api.NewClient(api.ClientOptions{URL: url, Actor: actor()})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := client.Health(ctx); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return nil, fmt.Errorf("%w at %s within %s", api.ErrUnreachable, url, patience)
		}
		return nil, err
	}
	return client, nil
}

// inProcess opens the data folder here; its lock keeps out everybody else.
func (r *root) inProcess(ctx context.Context, cfg config.Config) (*session, error) {
	a, err := app.Open(ctx, app.Options{Config: cfg, Logger: r.quiet(), Version: version()})
	if err != nil {
		return nil, err
	}
	client, err := api.NewClient(api.ClientOptions{URL: "http://127.0.0.1", Actor: actor(), HTTP: &http.Client{Transport: mlflow.InProcess(a.Handler())}})
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return &session{cfg: cfg, client: client, app: a}, nil
}

// with runs fn in a session.
func (r *root) with(ctx context.Context, fn func(*session) error) error {
	s, err := r.connect(ctx)
	if err != nil {
		return err
	}
	return errors.Join(fn(s), s.close())
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
