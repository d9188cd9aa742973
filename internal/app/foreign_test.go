package app

import (
	"strings"
	"testing"
	"time"

	"serin/internal/api"
	"serin/internal/model"
	"serin/internal/rollout"
)

// Another writer who disables the canary has aborted the rollout: it ends in his name, and Serin never enables the canary again.
func TestForeignWriter_DisablesTheCanary(t *testing.T) {
	t.Parallel()
	s := one(t, plan{gate: noGate, bake: "30s"})
	s.register("better", model.StageStaging)
	player, stop := s.play()
	id := s.start()
	s.bakes(id, "monitor_20_percent")
	s.rewrite(map[string]any{"canary_enabled": false, "canary_traffic_pct": 0, "champion_traffic_pct": 100, "edited_by": "bob"})
	r := s.ends(id, rollout.RolledBack)
	if !strings.Contains(r.Reason, "aborted by") || !strings.Contains(r.Reason, "disabled in the routing file") {
		t.Errorf("ended because %s", r.Reason)
	}
	if got := s.public()["edited_by"]; got != "bob" {
		t.Errorf("the other writer's key is gone: %v", got)
	}
	generation := s.document().Generation()
	canary := player.Snapshot().Total.Roles["canary"]
	looks := 0
	until(t, "the file stays as it is for a while", func() bool {
		looks++
		if doc := s.document(); doc.CanaryEnabled || doc.Generation() != generation {
			t.Fatalf("the canary came back: %+v", doc)
		}
		return looks > 60
	})
	stop()
	unharmed(t, player)
	if got := player.Snapshot().Total; got.Roles["canary"] > canary+30 {
		t.Errorf("%d more requests met the canary", got.Roles["canary"]-canary)
	}
	if n := count(s.events(id), "RolloutRolledBack"); n != 1 {
		t.Errorf("rolled back %d times", n)
	}
}

// Any other change by another writer holds the rollout: it is neither undone nor judged by, and a person goes on.
func TestForeignWriter_ChangesTheWeight(t *testing.T) {
	t.Parallel()
	s := one(t, plan{gate: noGate, hold: "60s"})
	s.register("better", model.StageStaging)
	_, stop := s.play()
	id := s.start()
	s.bakes(id, "monitor_20_percent")
	s.rewrite(map[string]any{"canary_traffic_pct": 35, "champion_traffic_pct": 65})
	held := s.await(id, "held", func(r api.Rollout) bool { return r.Hold != nil && r.Hold.Code == rollout.CodeRoutingChanged })
	if !strings.Contains(held.Reason, "35 %") || !strings.Contains(held.Reason, "20 %") {
		t.Errorf("held because %s", held.Reason)
	}
	looks := 0
	until(t, "more than the bake goes by", func() bool {
		looks++
		if doc := s.document(); doc.CanaryPct != 35 {
			t.Fatalf("Serin undid another writer's weight: %v", doc.CanaryPct)
		}
		if r := s.get(id); r.Phase != rollout.Held {
			t.Fatalf("%s: %s", r.Phase, r.Reason)
		}
		return looks > 120
	})
	s.rollback()
	s.ends(id, rollout.RolledBack)
	stop()
}

// A production reference that another writer has put there is his: the follower of the registry does not put its own in its place.
func TestForeignWriter_PinsAnotherChampion(t *testing.T) {
	t.Parallel()
	s := one(t, plan{gate: noGate})
	s.register("better", model.StageStaging)
	player, stop := s.play()
	s.ends(s.start(), rollout.Succeeded)
	s.rewrite(map[string]any{"production_model_uri": "models:/" + fraud + "/1"})
	until(t, "the gateway does as the other writer says", func() bool { return answers(t, s.at.Gateway, fraud).version == "1" })
	looks := 0
	until(t, "it stays so", func() bool {
		looks++
		if doc := s.document(); doc.ProductionURI != "models:/"+fraud+"/1" {
			t.Fatalf("production is %s again", doc.ProductionURI)
		}
		return looks > 100
	})
	stop()
	unharmed(t, player)
}

// Between rollouts a person moves Production by hand, and the traffic follows within about a second, whether there was a rollout before or not.
func TestFollow_ProductionMovedByHand(t *testing.T) {
	t.Parallel()
	s := one(t, plan{gate: noGate})
	player, stop := s.play()
	s.register("better", model.StageProduction)
	follows := func(version string) {
		t.Helper()
		began := time.Now()
		until(t, "version "+version+" answers", func() bool { return answers(t, s.at.Gateway, fraud).version == version })
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("following took %s", took)
		}
	}
	follows("2")
	s.register("champion", model.StageStaging)
	s.ends(s.start(), rollout.Succeeded)
	follows("3")
	s.move("2", model.StageProduction)
	follows("2")
	doc := s.document()
	if doc.Control.Champion.Version != "2" || doc.CanaryEnabled || doc.ProductionURI != "models:/"+fraud+"/Production" {
		t.Errorf("document %+v %+v", doc, doc.Control)
	}
	if n := count(s.modelEvents(), "ProductionFollowed"); n != 1 {
		t.Errorf("followed %d times: %v", n, s.modelEvents())
	}
	stop()
	unharmed(t, player)
}

// During a rollout the pins hold: Production and Staging that move in the middle change nothing.
func TestFollow_NotDuringARollout(t *testing.T) {
	t.Parallel()
	s := one(t, plan{gate: noGate, bake: "30s"})
	s.register("better", model.StageStaging)
	player, stop := s.play()
	id := s.start()
	s.bakes(id, "monitor_20_percent")
	s.register("poor", model.StageProduction)
	looks := 0
	until(t, "three rounds of the follower go by", func() bool {
		looks++
		if doc := s.document(); doc.Control.Champion.Version != "1" || doc.Control.Canary == nil || doc.Control.Canary.Version != "2" {
			t.Fatalf("pins moved: %+v", doc.Control)
		}
		return looks > 100
	})
	if seen := player.Snapshot().Total; seen.Versions["3"] != 0 {
		t.Errorf("version 3 answered %d times", seen.Versions["3"])
	}
	s.rollback()
	s.ends(id, rollout.RolledBack)
	until(t, "the hand's Production is followed when the rollout has ended", func() bool { return answers(t, s.at.Gateway, fraud).version == "3" })
	stop()
	unharmed(t, player)
}
