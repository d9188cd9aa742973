package app

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"serin/internal/api"
	"serin/internal/mlflow"
	"serin/internal/model"
	"serin/internal/rollout"
)

// A better challenger goes all the way: the gate, both bakes, the registry, the routing file and every answer say so.
func TestRollout_BetterChallengerIsPromoted(t *testing.T) {
	t.Parallel()
	s := one(t, plan{})
	if got := s.register("better", model.StageStaging); got != "2" {
		t.Fatalf("version %s", got)
	}
	player, stop := s.play()
	id := s.start()
	s.bakes(id, "monitor_20_percent")
	if diff := cmp.Diff(map[string]any{
		"canary_enabled": true, "canary_traffic_pct": 20.0, "canary_model_uri": "models:/" + fraud + "/Staging",
		"champion_traffic_pct": 80.0, "production_model_uri": "models:/" + fraud + "/Production",
	}, s.public()); diff != "" {
		t.Errorf("routing file at 20 %% (-want +got):\n%s", diff)
	}
	r := s.ends(id, rollout.Succeeded)
	if diff := cmp.Diff(map[string]any{
		"canary_enabled": false, "canary_traffic_pct": 0.0, "canary_model_uri": "models:/" + fraud + "/Staging",
		"champion_traffic_pct": 100.0, "production_model_uri": "models:/" + fraud + "/Production",
	}, s.public()); diff != "" {
		t.Errorf("routing file after the promotion (-want +got):\n%s", diff)
	}
	if doc := s.document(); doc.Control.Champion.Version != "2" || doc.Control.Champion.Digest == "" || doc.Control.Canary != nil || !doc.Control.LeaseUntil.IsZero() {
		t.Errorf("control data %+v", doc.Control)
	}
	until(t, "every answer is of version 2", func() bool { return answers(t, s.at.Gateway, fraud).version == "2" })
	player.Mark()
	until(t, "more answers", func() bool { return player.Snapshot().Window.Answered > 50 })
	stop()
	unharmed(t, player)
	if seen := player.Snapshot().Total; seen.Versions["1"] == 0 || seen.Roles["canary"] == 0 || seen.Unnamed != 0 {
		t.Errorf("seen %+v", seen)
	}
	if window := player.Snapshot().Window; window.Versions["1"] != 0 || window.Roles["canary"] != 0 {
		t.Errorf("after the promotion %+v", window)
	}
	checkPromotedRegistry(t, s)
	for _, task := range r.Tasks {
		wanted := task.Kind != rollout.KindRollback && task.Kind != rollout.KindKeep && task.Kind != rollout.KindSettle && task.Kind != rollout.KindWatch &&
			task.ID != rollout.TaskNotifyRollback && task.ID != rollout.TaskNotifyRejected
		if wanted && task.Verdict == "" {
			t.Errorf("%s has no verdict: %+v", task.ID, task)
		}
	}
}

func checkPromotedRegistry(t *testing.T, s *site) {
	t.Helper()
	if diff := cmp.Diff(map[string]model.Stage{"1": model.StageArchived, "2": model.StageProduction}, s.stages()); diff != "" {
		t.Errorf("stages (-want +got):\n%s", diff)
	}
	snapshot := s.snapshot()
	if diff := cmp.Diff(map[string]string{"champion": "2", "previous-champion": "1"}, snapshot.Aliases); diff != "" {
		t.Errorf("aliases (-want +got):\n%s", diff)
	}
	v, _ := snapshot.Version("2")
	if v.Tags[mlflow.TagOutcome] != "promoted" || v.Tags[mlflow.TagRollout] == "" || v.Tags[mlflow.TagReason] == "" {
		t.Errorf("tags of version 2: %v", v.Tags)
	}
}

// A challenger that misses half of the frauds never meets a customer.
func TestRollout_PoorChallengerIsRejected(t *testing.T) {
	t.Parallel()
	s := one(t, plan{})
	s.register("poor", model.StageStaging)
	player, stop := s.play()
	r := s.ends(s.start(), rollout.Rejected)
	stop()
	unharmed(t, player)
	if seen := player.Snapshot().Total; seen.Roles["canary"] != 0 || seen.Versions["2"] != 0 {
		t.Errorf("somebody met the rejected version: %+v", seen)
	}
	if r.Gate == nil || r.Gate.Decision != "reject" || len(r.Gate.Reasons) == 0 || verdict(r, rollout.TaskKeepChampion) != "done" || verdict(r, rollout.TaskNotifyRejected) != "done" {
		t.Errorf("rejected as %+v", r)
	}
	if diff := cmp.Diff(map[string]model.Stage{"1": model.StageProduction, "2": model.StageStaging}, s.stages()); diff != "" {
		t.Errorf("stages (-want +got):\n%s", diff)
	}
	v, _ := s.snapshot().Version("2")
	if v.Tags[mlflow.TagOutcome] != "rejected" {
		t.Errorf("tags %v", v.Tags)
	}
	if _, err := s.client.Perform(t.Context(), r.ID, "deploy_canary_20_percent", api.TaskRequest{}); err == nil {
		t.Error("a rejected rollout deployed")
	}
}
