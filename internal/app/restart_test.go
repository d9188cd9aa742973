package app

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"serin/internal/analysis"
	"serin/internal/api"
	"serin/internal/model"
	"serin/internal/rollout"
)

// covered is how much of the present bake is covered by samples.
func covered(r api.Rollout) time.Duration {
	if r.Judgement == nil {
		return 0
	}
	return r.Judgement.Covered
}

// A server that is closed in the middle of a bake and opened again goes on where it was: the bake has not grown meanwhile, and nothing is done twice.
func TestRestart_GoesOnWithoutInventingABake(t *testing.T) {
	t.Parallel()
	s := one(t, plan{gate: noGate, bake: "3s"})
	s.register("better", model.StageStaging)
	player, stop := s.play()
	id := s.start()
	s.await(id, "half of the first bake", func(r api.Rollout) bool { return covered(r) > time.Second })
	generation := s.document().Generation()
	before := s.get(id)
	s.close()
	if _, err := os.Stat(s.path("data/server.json")); !os.IsNotExist(err) {
		t.Errorf("server.json after the end: %v", err)
	}
	closed := time.Now()
	until(t, "more than the bake goes by", func() bool { return time.Since(closed) > 3500*time.Millisecond })
	s.serve()
	after := s.get(id)
	if after.Phase.Ended() || after.Task != "monitor_20_percent" || covered(after) > covered(before)+time.Second {
		t.Errorf("after the restart %s at %s, %s covered; before it %s", after.Phase, after.Task, covered(after), covered(before))
	}
	if got := s.document().Generation(); got != generation {
		t.Errorf("generation %d, before the restart %d", got, generation)
	}
	began := time.Now()
	s.await(id, "the rest of the bake", func(r api.Rollout) bool { return verdict(r, "monitor_20_percent") != "" })
	if took := time.Since(began); took+covered(before) < 2500*time.Millisecond {
		t.Errorf("the bake of 3s passed %s after the restart with %s covered before", took, covered(before))
	}
	r := s.ends(id, rollout.Succeeded)
	stop()
	events := s.events(id)
	for _, once := range []string{"RolloutStarted", "VersionsPinned", "RolloutSucceeded"} {
		if n := count(events, once); n != 1 {
			t.Errorf("%s %d times: %v", once, n, events)
		}
	}
	if n := count(events, "TrafficWeightUpdated"); n != 2 {
		t.Errorf("%d weights, want 2: %v", n, events)
	}
	if got := s.document().Generation(); got != generation+2 {
		t.Errorf("generation %d at the end, want %d: one write for 50 %% and one for the promotion", got, generation+2)
	}
	for _, task := range r.Tasks {
		if task.ID == "deploy_canary_20_percent" && len(task.Attempts) != 1 {
			t.Errorf("the first deploy was done %d times", len(task.Attempts))
		}
	}
	// The only gateway was away for four seconds: those requests were refused. Whoever was answered was answered right.
	if seen := player.Snapshot().Total; seen.Failures != seen.Transport {
		t.Errorf("seen %+v", seen)
	}
}

// Clients, the gateway's counters and the stored samples count the same requests, rescues included.
func TestCounts_ClientsGatewayAndSamplesAgree(t *testing.T) {
	t.Parallel()
	s, two := behindURLs(t, plan{bake: "30s"})
	s.register("better", model.StageStaging)
	two[1].faults(t, failShare(0.015)) // too few for a verdict, enough to be rescued
	player, stop := s.play()
	before, _ := counters(t, s.at.Gateway)
	id := s.start()
	s.await(id, "many canary requests", func(r api.Rollout) bool { return r.Judgement != nil && r.Judgement.CanaryRequests > 150 })
	stop()
	unharmed(t, player)
	seen := player.Snapshot().Total
	counted, rescues := counters(t, s.at.Gateway)
	canary, champion := counted["canary 2"], counted["champion 1"]-before["champion 1"]
	if rescues == 0 || seen.Roles["canary"] != canary-rescues || seen.Roles["champion"] != champion+rescues {
		t.Errorf("clients saw %v; the gateway counted canary %d, champion %d, rescues %d", seen.Roles, canary, champion, rescues)
	}
	if seen.Sent != canary+champion {
		t.Errorf("clients sent %d, the gateway assigned %d", seen.Sent, canary+champion)
	}
	until(t, "the samples say what the gateway does", func() bool {
		scrapes, err := s.client.Samples(t.Context(), fraud)
		if err != nil {
			t.Fatal(err)
		}
		last := scrapes[len(scrapes)-1]
		return requestsOf(last, analysis.RoleCanary) == counted["canary 2"] && requestsOf(last, analysis.RoleChampion) == counted["champion 1"]
	})
	if got := two[1].Counts().Failed; got != rescues {
		t.Errorf("the canary failed %d times on purpose, the gateway rescued %d", got, rescues)
	}
	s.rollback()
}

// Samples before an open rollout are kept however long it lasts; without one nothing is needed.
func TestNeededSamples(t *testing.T) {
	t.Parallel()
	s := one(t, plan{gate: noGate, bake: "30s"})
	if from := s.app.neededSamples(t.Context(), fraud); !from.IsZero() {
		t.Errorf("without a rollout samples are needed from %s", from)
	}
	s.register("better", model.StageStaging)
	_, stop := s.play()
	id := s.start()
	r := s.bakes(id, "monitor_20_percent")
	if from := s.app.neededSamples(t.Context(), fraud); !from.Equal(r.StartedAt.Add(-30 * time.Minute)) {
		t.Errorf("needed from %s, the rollout started at %s", from, r.StartedAt)
	}
	if from := s.app.neededSamples(t.Context(), "another"); !from.IsZero() {
		t.Errorf("another model's samples are needed from %s", from)
	}
	s.rollback()
	s.ends(id, rollout.RolledBack)
	stop()
	if from := s.app.neededSamples(t.Context(), fraud); !from.IsZero() {
		t.Errorf("after the end samples are needed from %s", from)
	}
}

// server.json says where the server is, and only its own server takes it away.
func TestServerFile_IsTheServersOwn(t *testing.T) {
	t.Parallel()
	s := one(t, plan{gate: noGate})
	file, err := ReadServerFile(s.path("data"))
	if err != nil {
		t.Fatal(err)
	}
	if file.API != s.at.API || file.Gateway != s.at.Gateway || file.PID != os.Getpid() || file.RoutingFiles[fraud] != s.path("routing.json") {
		t.Errorf("server.json %+v", file)
	}
	if _, err := Open(t.Context(), Options{Config: s.cfg, Logger: s.logger()}); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("a second server on the folder: %v", err)
	}
	file.PID++
	text, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	s.write("data/server.json", string(text))
	s.close()
	if left, err := ReadServerFile(s.path("data")); err != nil || left.PID != file.PID {
		t.Errorf("another server's file was taken away: %+v, %v", left, err)
	}
}
