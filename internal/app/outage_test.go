package app

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"serin/internal/api"
	"serin/internal/mlflow"
	"serin/internal/model"
	"serin/internal/registry"
	"serin/internal/rollout"
	"serin/internal/store/sqlite"
)

// registryApart is an MLflow registry in a process of its own, as far as Serin can tell, that can be taken away.
func registryApart(t *testing.T) *outage {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "registry"))
	if err != nil {
		t.Fatal(err)
	}
	handler, err := registry.New(registry.Options{Store: db, ArtifactRoot: filepath.Join(t.TempDir(), "artifacts")})
	if err != nil {
		t.Fatal(err)
	}
	o := newSwitch(t, handler)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

// withRegistry is the usual model with a registry that is not embedded.
func withRegistry(t *testing.T, p plan) (*site, *outage) {
	t.Helper()
	away := registryApart(t)
	s := configured(t, "  "+fraud+": {plan: plan.yaml, routing_file: routing.json}\n")
	s.env = map[string]string{"MLFLOW_TRACKING_URI": away.url}
	s.write("plan.yaml", p.text(fraud))
	var err error
	if s.registry, err = mlflow.New(mlflow.Options{TrackingURI: away.url, CacheDir: s.path("client-cache")}); err != nil {
		t.Fatal(err)
	}
	s.register("champion", model.StageProduction)
	s.register("better", model.StageStaging)
	s.serve()
	if s.registry, err = mlflow.New(mlflow.Options{TrackingURI: away.url, CacheDir: s.path("client-cache")}); err != nil {
		t.Fatal(err)
	}
	s.served()
	return s, away
}

// A registry that is away delays no rollback: traffic is back at once, the phase says so, and what the registry is owed is settled when it is back.
func TestRegistryOutage_RollbackIsOwedAndSettled(t *testing.T) {
	t.Parallel()
	s, away := withRegistry(t, plan{gate: noGate, bake: "60s"})
	player, stop := s.play()
	id := s.start()
	s.bakes(id, "monitor_20_percent")
	away.refuse()
	began := time.Now()
	s.rollback()
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the rollback took %s", took)
	}
	until(t, "nobody meets the canary", func() bool {
		player.Mark()
		return answers(t, s.at.Gateway, fraud).role == "champion"
	})
	owing := s.await(id, "rolled back, and the registry owed", func(r api.Rollout) bool { return r.Phase == rollout.RolledBack && len(r.Owed) == 1 })
	if owing.Owed[0] != rollout.TaskSettle {
		t.Errorf("owed %v", owing.Owed)
	}
	away.heal()
	s.await(id, "settled", func(r api.Rollout) bool { return len(r.Owed) == 0 && verdict(r, rollout.TaskSettle) == "done" })
	v, _ := s.snapshot().Version("2")
	if v.Tags[mlflow.TagOutcome] != "rolled_back" || v.Tags[mlflow.TagRollout] != id {
		t.Errorf("tags after the registry was settled: %v", v.Tags)
	}
	stop()
	unharmed(t, player)
}

// A server that starts while its registry and its routing file are away serves the champion that it remembers; one that never served says 503.
func TestRegistryOutage_ServerStartsFromMemory(t *testing.T) {
	t.Parallel()
	s, away := withRegistry(t, plan{gate: noGate})
	s.close()
	away.refuse()
	s.serve()
	until(t, "the remembered champion answers", func() bool { return answers(t, s.at.Gateway, fraud).version == "1" })
	if _, known := s.app.memory.champion(fraud); !known {
		t.Error("nothing is remembered")
	}
	if _, err := s.client.Start(t.Context(), api.StartRequest{Model: fraud, Reason: "too early"}); err != nil {
		t.Fatalf("a start does not need the registry, its first task does: %v", err)
	}
	r := s.await(fraud, "admit is tried again", func(r api.Rollout) bool { return strings.Contains(r.Reason, "trying again") })
	if r.Phase.Ended() {
		t.Errorf("%s: %s", r.Phase, r.Reason)
	}
	away.heal()
	s.await(fraud, "admitted", func(r api.Rollout) bool { return verdict(r, rollout.TaskAdmit) == "done" })
	s.rollback()
}

// A real MLflow has many models: those that are served must be named.
func TestServe_RealRegistryWantsNames(t *testing.T) {
	t.Parallel()
	s := configured(t, "")
	s.env = map[string]string{"MLFLOW_TRACKING_URI": newSwitch(t, http.NotFoundHandler()).url}
	a, err := Open(t.Context(), Options{Config: s.load(), Logger: s.logger()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := a.Serve(t.Context(), func(Ready) { t.Error("it serves") }); err == nil || !strings.Contains(err.Error(), "models:") {
		t.Errorf("error %v", err)
	}
}
