package app

import (
	"context"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"serin/internal/api"
	"serin/internal/config"
	"serin/internal/model"
	"serin/internal/rollout"
)

// lone is a gateway that runs alone beside the site's server.
type lone struct {
	url   string
	close func()
}

// alone runs a gateway on the site's configuration until the test or close ends it.
func (s *site) alone(change func(*config.Config)) *lone {
	s.t.Helper()
	cfg := s.load()
	cfg.Gateway.Listen = "127.0.0.1:0"
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	ended, ready := make(chan error, 1), make(chan Ready, 1)
	go func() {
		ended <- RunGateway(ctx, Options{Config: cfg, Logger: s.logger().With("gateway", "alone"), DrainNotice: -1}, func(at Ready) { ready <- at })
	}()
	g := &lone{}
	select {
	case at := <-ready:
		g.url = at.Gateway
	case err := <-ended:
		cancel()
		s.t.Fatal(err)
	}
	g.close = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("the gateway ended with %v", err)
		}
	})
	s.t.Cleanup(g.close)
	return g
}

func (g *lone) answersAs(t *testing.T, version string) {
	t.Helper()
	until(t, "the gateway alone answers as version "+version, func() bool { return answers(t, g.url, fraud).version == version })
}

// A gateway alone follows Production before there is a routing file, and serves on through its own restart when the server is gone: by what it
// has fetched and by what it remembers.
func TestGatewayAlone_FollowsProductionAndSurvivesEverything(t *testing.T) {
	t.Parallel()
	s := one(t, plan{gate: noGate})
	g := s.alone(nil)
	g.answersAs(t, "1")
	s.register("better", model.StageProduction)
	g.answersAs(t, "2")
	s.close()
	if got := answers(t, g.url, fraud); got.version != "2" || got.status != http.StatusOK {
		t.Errorf("without the server %+v", got)
	}
	g.close()
	again := s.alone(nil)
	again.answersAs(t, "2")
	again.close()

	// Only a broken file is left, and nobody to ask: the champion that is remembered serves.
	s.write("routing.json", `{"canary_enabled": tr`)
	broken := s.alone(nil)
	broken.answersAs(t, "2")
	if text, err := os.ReadFile(s.path("routing.json")); err != nil || !strings.HasSuffix(string(text), "tr") {
		t.Errorf("a reader changed the file: %q %v", text, err)
	}
}

// With a canary in the file a gateway alone serves both pins from its cache after a restart without the server.
func TestGatewayAlone_ServesBothPinsFromItsCache(t *testing.T) {
	t.Parallel()
	s := one(t, plan{gate: noGate, bake: "60s"})
	s.register("better", model.StageStaging)
	g := s.alone(nil)
	g.answersAs(t, "1")
	player, stop := s.play(g.url)
	id := s.start()
	until(t, "both versions answer", func() bool { return player.Snapshot().Total.Roles["canary"] > 20 })
	if r := s.get(id); r.Task != "monitor_20_percent" {
		t.Errorf("at %s", r.Task)
	}
	stop()
	s.close()
	g.close()
	again := s.alone(nil)
	// It is ready when it serves: not one request is refused.
	player, stop = s.play(again.url)
	until(t, "both versions answer again", func() bool {
		seen := player.Snapshot().Total
		return seen.Versions["2"] > 20 && seen.Versions["1"] > 20
	})
	stop()
	unharmed(t, player)

	// A file that breaks while it serves changes nothing, and is told to the metrics.
	s.write("routing.json", "not a document")
	until(t, "the gateway tells that its file is broken", func() bool { return s.gauge(again.url, "serin_gateway_last_reload_successful") == 0 })
	player, stop = s.play(again.url)
	until(t, "both versions go on answering", func() bool {
		seen := player.Snapshot().Total
		return seen.Versions["2"] > 20 && seen.Versions["1"] > 20
	})
	stop()
	unharmed(t, player)
}

// The server proves its deploys by the gateways that are listed, and counts its own only once when it is among them.
func TestGateways_ListedOnesMustAcknowledge(t *testing.T) {
	t.Parallel()
	s := one(t, plan{gate: noGate, bake: "1500ms"})
	g := s.alone(nil)
	g.answersAs(t, "1")
	s.close()
	s.yaml = strings.Replace(s.yaml, "models:", "gateways: ["+g.url+", "+s.at.Gateway+"]\nmodels:", 1)
	s.serve()
	if n := len(s.app.router.peers); n != 1 {
		t.Errorf("%d peers: the own gateway must not be among them", n)
	}
	s.register("better", model.StageStaging)
	player, stop := s.play(g.url)
	id := s.start()
	s.ends(id, rollout.Succeeded)
	stop()
	unharmed(t, player)
	if got := s.gauge(g.url, "serin_routing_generation"); got != float64(s.document().Generation()) {
		t.Errorf("the gateway is at generation %v, the file at %d", got, s.document().Generation())
	}
	g.close()
	s.move("1", model.StageStaging)
	id = s.start()
	held := s.await(id, "not proven without the gateway", func(r api.Rollout) bool { return r.Phase == rollout.Held })
	if !strings.Contains(held.Reason, "not proven") || !strings.Contains(held.Reason, strings.TrimPrefix(g.url, "http://")) {
		t.Errorf("held because %s", held.Reason)
	}
	s.rollback()
}

func TestPlanGateway(t *testing.T) {
	t.Parallel()
	memoryOf := func(t *testing.T) *memory {
		t.Helper()
		m, err := openMemory(t.TempDir() + "/known.json")
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	t.Run("nothing is known", func(t *testing.T) {
		t.Parallel()
		if _, err := planGateway(config.Config{Data: t.TempDir()}, memoryOf(t)); err == nil || !strings.Contains(err.Error(), "no model to serve") {
			t.Errorf("error %v", err)
		}
		if _, err := planGateway(config.Config{Data: t.TempDir(), Model: fraud}, memoryOf(t)); err == nil || !strings.Contains(err.Error(), "no registry") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("the server's file, then memory", func(t *testing.T) {
		t.Parallel()
		data, m := t.TempDir(), memoryOf(t)
		if err := writeServerFile(data, ServerFile{API: "http://server:1", RoutingFiles: map[string]string{"b": "/b.json", "a": "/a.json"}}); err != nil {
			t.Fatal(err)
		}
		check := func() {
			t.Helper()
			got, err := planGateway(config.Config{Data: data}, m)
			if err != nil || got.registry != "http://server:1" || len(got.cfg.Models) != 2 || got.cfg.Models[0].Name != "a" || got.cfg.RoutingPath("b") != "/b.json" {
				t.Errorf("%+v, %v", got, err)
			}
		}
		check()
		if err := os.Remove(serverPath(data)); err != nil {
			t.Fatal(err)
		}
		check()
	})
	t.Run("the configuration wins", func(t *testing.T) {
		t.Parallel()
		data, m := t.TempDir(), memoryOf(t)
		if err := m.setPlaces("http://old", map[string]string{"old": "/old.json"}); err != nil {
			t.Fatal(err)
		}
		cfg := config.Config{Data: data, MLflowURI: "http://mlflow", ServerURL: "http://server", Models: []config.Model{defaultModel("mine", "/mine.json")}}
		got, err := planGateway(cfg, m)
		if err != nil || got.registry != "http://mlflow" || len(got.cfg.Models) != 1 || got.cfg.Models[0].Name != "mine" {
			t.Errorf("%+v, %v", got, err)
		}
		cfg.MLflowURI, cfg.Models, cfg.Model = "", nil, "old"
		if got, err = planGateway(cfg, m); err != nil || got.registry != "http://server" || got.cfg.RoutingPath("old") != "/old.json" {
			t.Errorf("%+v, %v", got, err)
		}
	})
}
