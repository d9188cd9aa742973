package app

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/api"
	"serin/internal/demo/faulty"
	"serin/internal/mlflow"
	"serin/internal/model"
	"serin/internal/rollout"
)

// faults switches a slot's faults; the zero value heals it.
func (s *slot) faults(t *testing.T, f faulty.Faults) {
	t.Helper()
	if err := s.SetFaults(f); err != nil {
		t.Fatal(err)
	}
}

// The life of a challenger behind two model servers: it fails and goes back, it is slow and goes back, it is mended and becomes champion without
// moving a process, and an undo moves the roles back. No customer sees any of it.
func TestURLs_FailSlowSucceedUndo(t *testing.T) {
	t.Parallel()
	s, two := behindURLs(t, plan{watch: "60s", slo: "250ms"})
	s.register("better", model.StageStaging)
	player, stop := s.play()

	two[1].faults(t, faulty.Faults{FailShare: 0.07})
	failing := s.ends(s.start(), rollout.RolledBack)
	if !strings.Contains(failing.Reason, "error rate") || failing.Judgement == nil || failing.Judgement.CanaryRequests < 10 {
		t.Errorf("7 %% of errors: %s, %+v", failing.Reason, failing.Judgement)
	}
	s.isRolledBack(failing.ID)
	if _, rescues := counters(t, s.at.Gateway); rescues == 0 {
		t.Error("nobody was rescued")
	}

	two[1].faults(t, faulty.Faults{DelayShare: 0.2, Delay: 350 * time.Millisecond})
	slow := s.ends(s.start(), rollout.RolledBack)
	if !strings.Contains(slow.Reason, "slower than 250ms") {
		t.Errorf("a slow canary: %s", slow.Reason)
	}
	s.isRolledBack(slow.ID)

	two[1].faults(t, faulty.Faults{})
	s.ends(s.start(), rollout.Succeeded)
	if doc := s.document(); doc.Control.Champion.Version != "2" || doc.Control.Champion.Slot != 2 {
		t.Errorf("after the promotion %+v: slot 2 must be champion where it is", doc.Control.Champion)
	}
	until(t, "slot 2 answers as champion", func() bool {
		got := answers(t, s.at.Gateway, fraud)
		return got.version == "2" && got.role == "champion"
	})

	s.undoes("2", "1")
	stop()
	unharmed(t, player)
	s.blocked("2")
}

// isRolledBack looks at everything that a rollback must leave behind.
func (s *site) isRolledBack(id string) {
	s.t.Helper()
	public := s.public()
	at, ok := public["rollback_timestamp"].(string)
	if _, err := time.Parse("2006-01-02T15:04:05", at); !ok || err != nil {
		s.t.Errorf("rollback_timestamp is %v", public["rollback_timestamp"])
	}
	delete(public, "rollback_timestamp")
	if diff := cmp.Diff(map[string]any{
		"canary_enabled": false, "canary_traffic_pct": 0.0, "canary_model_uri": "models:/" + fraud + "/Staging",
		"champion_traffic_pct": 100.0, "production_model_uri": "models:/" + fraud + "/Production",
	}, public); diff != "" {
		s.t.Errorf("routing file after a rollback (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]model.Stage{"1": model.StageProduction, "2": model.StageStaging}, s.stages()); diff != "" {
		s.t.Errorf("stages after a rollback (-want +got):\n%s", diff)
	}
	v, _ := s.snapshot().Version("2")
	if v.Tags[mlflow.TagOutcome] != "rolled_back" || v.Tags[mlflow.TagRollout] != id {
		s.t.Errorf("tags after a rollback: %v", v.Tags)
	}
}

// undoes takes a success back and looks at traffic, registry and pins.
func (s *site) undoes(bad, good string) {
	s.t.Helper()
	started, err := s.client.Undo(s.t.Context(), fraud, api.UndoRequest{Reason: "customers complain"})
	if err != nil {
		s.t.Fatal(err)
	}
	r := s.ends(started.Rollout, rollout.Succeeded)
	if r.Kind != rollout.KindOfUndo || verdict(r, rollout.TaskUndo) != "done" {
		s.t.Errorf("undo %+v", r)
	}
	doc := s.document()
	if doc.Control.Champion.Version != good || doc.Control.Champion.Slot != 1 || doc.ProductionURI != "models:/"+fraud+"/"+good {
		s.t.Errorf("after the undo %+v, production %s", doc.Control.Champion, doc.ProductionURI)
	}
	until(s.t, "version "+good+" answers", func() bool { return answers(s.t, s.at.Gateway, fraud).version == good })
	if diff := cmp.Diff(map[string]model.Stage{good: model.StageProduction, bad: model.StageArchived}, s.stages()); diff != "" {
		s.t.Errorf("stages after the undo (-want +got):\n%s", diff)
	}
	if got := s.snapshot().Aliases["champion"]; got != good {
		s.t.Errorf("alias champion is %s", got)
	}
	if _, err := s.client.Undo(s.t.Context(), fraud, api.UndoRequest{Reason: "again"}); err == nil {
		s.t.Error("an undo of the undo without --to")
	}
}

// blocked says that a version is refused until a person unblocks it.
func (s *site) blocked(version string) {
	s.t.Helper()
	if _, err := s.registry.Transition(s.t.Context(), mlflow.TransitionParams{Model: fraud, Version: version, To: model.StageStaging}); err != nil {
		s.t.Fatal(err)
	}
	r := s.ends(s.start(), rollout.Failed)
	if !strings.Contains(r.Reason, "blocked") || !strings.Contains(r.Reason, "serin unblock") {
		s.t.Errorf("a blocked version: %s", r.Reason)
	}
	if err := s.client.Unblock(s.t.Context(), fraud, api.UnblockRequest{Version: version, Reason: "mended"}); err != nil {
		s.t.Fatal(err)
	}
	id := s.start()
	s.await(id, "the unblocked version is admitted", func(r api.Rollout) bool { return verdict(r, rollout.TaskAdmit) == "done" })
	if _, err := s.client.Act(s.t.Context(), id, "abort", api.ActionRequest{Reason: "seen enough"}); err != nil {
		s.t.Fatal(err)
	}
}

// A slot that has another version than the one in Staging never gets a request, and one that changes its version in the middle holds the rollout.
func TestURLs_IdentityMismatchHolds(t *testing.T) {
	t.Parallel()
	s, two := behindURLs(t, plan{bake: "3s"})
	s.register("better", model.StageStaging)
	player, stop := s.play()
	two[1].claims.Store("9")
	id := s.start()
	held := s.await(id, "held before anybody meets it", func(r api.Rollout) bool { return r.Phase == rollout.Held })
	if !strings.Contains(held.Reason, "another version") || !strings.Contains(held.Reason, "says 9, want 2") {
		t.Errorf("held because %s", held.Reason)
	}
	if seen := player.Snapshot().Total; seen.Roles["canary"] != 0 {
		t.Errorf("%d customers met an unverified version", seen.Roles["canary"])
	}
	two[1].claims.Store("")
	s.bakes(id, "monitor_20_percent")
	two[1].claims.Store("8")
	held = s.await(id, "held in the middle of the bake", func(r api.Rollout) bool { return r.Phase == rollout.Held && r.Task == "monitor_20_percent" })
	if !strings.Contains(held.Reason, "says 8, want 2") {
		t.Errorf("held because %s", held.Reason)
	}
	s.rollback()
	stop()
	unharmed(t, player)
}

// The person's ways back while a canary bakes: abort ends it, and so does the big red button, twice without harm.
func TestAbortAndRollbackWhileBaking(t *testing.T) {
	t.Parallel()
	s := one(t, plan{gate: noGate, bake: "30s"})
	s.register("better", model.StageStaging)
	player, stop := s.play()

	id := s.start()
	s.bakes(id, "monitor_20_percent")
	if _, err := s.client.Act(t.Context(), id, "abort", api.ActionRequest{Reason: "we changed our minds"}); err != nil {
		t.Fatal(err)
	}
	r := s.ends(id, rollout.RolledBack)
	if !strings.Contains(r.Reason, "ann@test") || !strings.Contains(r.Reason, "we changed our minds") {
		t.Errorf("aborted because %s", r.Reason)
	}
	s.isRolledBack(id)

	id = s.start()
	s.bakes(id, "monitor_20_percent")
	began := time.Now()
	answer := s.rollback()
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the rollback took %s", took)
	}
	if answer.Rollout != id || !contains(answer.Done, "100 %") {
		t.Errorf("answer %+v", answer)
	}
	s.ends(id, rollout.RolledBack)
	s.isRolledBack(id)
	if again := s.rollback(); len(again.Owed) != 0 || !contains(again.Done, "had no canary") {
		t.Errorf("again %+v", again)
	}
	until(t, "everybody is with the champion", func() bool { player.Mark(); return answers(t, s.at.Gateway, fraud).role == "champion" })
	stop()
	unharmed(t, player)
}

// Where the last rollout succeeded there is nothing to roll back: the answer names the undo and nothing changes.
func TestRollback_AfterSuccessNamesUndo(t *testing.T) {
	t.Parallel()
	s := one(t, plan{gate: noGate})
	s.register("better", model.StageStaging)
	_, stop := s.play()
	s.ends(s.start(), rollout.Succeeded)
	stop()
	before := s.document()
	_, err := s.client.Rollback(t.Context(), fraud, api.RollbackRequest{Reason: "panic"})
	if !errors.Is(err, api.ErrConflict) || !strings.Contains(err.Error(), "serin undo "+fraud) {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff(before, s.document()); diff != "" {
		t.Errorf("the file changed:\n%s", diff)
	}
}

// Gateways that are away cost a rollback no time: the file is durable first, the rest is owed, and it is settled when they are back.
func TestRollback_AnswersWhileGatewaysAreAway(t *testing.T) {
	t.Parallel()
	away := newSwitch(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("# TYPE serin_routing_generation gauge\nserin_routing_generation{model=\"" + fraud + "\"} 1000\n"))
	}))
	s := configured(t, "  "+fraud+": {plan: plan.yaml, routing_file: routing.json}\n")
	s.yaml += "gateways: [" + away.url + "]\n"
	s.write("plan.yaml", plan{gate: noGate, bake: "30s"}.text(fraud))
	s.serve()
	s.register("champion", model.StageProduction)
	s.served()
	s.register("better", model.StageStaging)
	s.play()
	id := s.start()
	s.bakes(id, "monitor_20_percent")
	away.hang()
	began := time.Now()
	answer := s.rollback()
	if took := time.Since(began); took > 1500*time.Millisecond {
		t.Errorf("the rollback took %s", took)
	}
	if s.document().CanaryEnabled || !contains(answer.Done, "written") || !contains(answer.Owed, "proof") || answer.Phase.Ended() {
		t.Errorf("answer %+v", answer)
	}
	away.heal()
	s.ends(id, rollout.RolledBack)
}

// rollback presses the big red button.
func (s *site) rollback() api.RollbackAnswer {
	s.t.Helper()
	answer, err := s.client.Rollback(s.t.Context(), fraud, api.RollbackRequest{Reason: "somebody pressed it"})
	if err != nil {
		s.t.Fatal(err)
	}
	if s.document().CanaryEnabled {
		s.t.Error("the canary is still in the file after the answer")
	}
	return answer
}
