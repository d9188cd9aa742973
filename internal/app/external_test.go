package app

import (
	"strings"
	"testing"
	"time"

	"serin/internal/api"
	"serin/internal/model"
	"serin/internal/rollout"
)

// external starts a rollout that commands drive.
func (s *site) external() (id string) {
	s.t.Helper()
	started, err := s.client.Start(s.t.Context(), api.StartRequest{Model: fraud, Driver: rollout.DriverExternal, Reason: "the scheduler"})
	if err != nil {
		s.t.Fatal(err)
	}
	return started.Rollout
}

func (s *site) perform(id, task string, r api.TaskRequest) api.TaskAnswer {
	s.t.Helper()
	answer, err := s.client.Perform(s.t.Context(), id, task, r)
	if err != nil {
		s.t.Fatalf("%s: %v", task, err)
	}
	return answer
}

// The five commands drive a rollout to its end beside a running server. Each is refused when it comes too early and harmless when it comes again, and
// a healthy bake gives its answer though it goes on being judged.
func TestExternal_CommandsDriveToTheEnd(t *testing.T) {
	t.Parallel()
	s := one(t, plan{})
	s.register("better", model.StageStaging)
	player, stop := s.play()
	id := s.external()
	looks := 0
	until(t, "the server leaves it alone", func() bool {
		looks++
		if r := s.get(id); verdict(r, rollout.TaskAdmit) != "" || r.Phase.Ended() {
			t.Fatalf("it moved by itself to %s", r.Task)
		}
		return looks > 40
	})
	if _, err := s.client.Perform(t.Context(), id, "deploy_canary_20_percent", api.TaskRequest{}); err == nil {
		t.Error("a deploy before the gate")
	}
	for _, step := range []struct{ task, verdict string }{
		{"compare_models", "promote"},
		{"deploy_canary_20_percent", "done"},
		{"monitor_20_percent", "healthy"},
		{"deploy_canary_50_percent", "done"},
		{"monitor_50_percent", "healthy"},
		{"deploy_canary_100_percent", "done"},
	} {
		began := time.Now()
		if got := s.perform(id, step.task, api.TaskRequest{}); got.Verdict != step.verdict || got.Rollout != id {
			t.Fatalf("%s: %+v, want %s", step.task, got, step.verdict)
		}
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("%s took %s: a command ends with its task", step.task, took)
		}
		if got := s.perform(id, step.task, api.TaskRequest{}); got.Verdict != step.verdict {
			t.Errorf("%s again: %+v", step.task, got)
		}
	}
	r := s.ends(id, rollout.Succeeded)
	if verdict(r, rollout.TaskNotifySuccess) != "done" {
		t.Errorf("nobody was told: %+v", r)
	}
	stop()
	unharmed(t, player)
	checkPromotedRegistry(t, s)
}

// A server rolls back by itself what a scheduler has lost, and never takes it forward.
func TestExternal_ServerRollsBackButNeverForward(t *testing.T) {
	t.Parallel()
	s, two := behindURLs(t, plan{})
	s.register("better", model.StageStaging)
	player, stop := s.play()
	id := s.external()
	s.perform(id, "decide_deployment", api.TaskRequest{})
	s.perform(id, "deploy_canary_20_percent", api.TaskRequest{})
	healthy := s.await(id, "judged healthy without a command", func(r api.Rollout) bool { return verdict(r, "monitor_20_percent") == "healthy" })
	at := healthy.Judgement.At
	later := s.await(id, "judged on", func(r api.Rollout) bool { return r.Judgement.At.Sub(at) > 2*time.Second })
	if later.WeightPct != 20 || later.Task != "monitor_20_percent" || s.document().CanaryPct != 20 {
		t.Errorf("the server went forward: %s at %v %%", later.Task, later.WeightPct)
	}
	two[1].faults(t, failShare(0.3))
	r := s.ends(id, rollout.RolledBack)
	if !strings.Contains(r.Reason, "error rate") || s.document().CanaryEnabled {
		t.Errorf("ended because %s", r.Reason)
	}
	if got := s.perform(id, "monitor_20_percent", api.TaskRequest{}); got.Verdict != "unhealthy" || got.Phase != rollout.RolledBack {
		t.Errorf("the command that comes late hears %+v", got)
	}
	stop()
	unharmed(t, player)
}

// A monitor that is running when its canary fails comes back with the verdict, and the rollback has been done by then.
func TestExternal_MonitorThatFails(t *testing.T) {
	t.Parallel()
	s, two := behindURLs(t, plan{bake: "30s"})
	s.register("better", model.StageStaging)
	_, stop := s.play()
	id := s.external()
	s.perform(id, "decide_deployment", api.TaskRequest{})
	s.perform(id, "deploy_canary_20_percent", api.TaskRequest{})
	if got := s.perform(id, "monitor_20_percent", api.TaskRequest{Once: true}); got.Verdict != "" || got.Held {
		t.Errorf("--once in the middle of the bake: %+v", got)
	}
	two[1].faults(t, failShare(0.5))
	if got := s.perform(id, "monitor_20_percent", api.TaskRequest{}); got.Verdict != "unhealthy" || got.Phase != rollout.RolledBack {
		t.Errorf("answer %+v", got)
	}
	stop()
}

// A held bake is waited for as long as the command says.
func TestExternal_MaxHold(t *testing.T) {
	t.Parallel()
	s := one(t, plan{gate: noGate, hold: "60s"})
	s.register("better", model.StageStaging)
	id := s.external()
	s.perform(id, "decide_deployment", api.TaskRequest{})
	s.perform(id, "deploy_canary_20_percent", api.TaskRequest{})
	if got := s.perform(id, "monitor_20_percent", api.TaskRequest{MaxHold: "500ms"}); got.Verdict != "" || !got.Held || got.Reason == "" {
		t.Errorf("without traffic %+v", got)
	}
	for _, bad := range []string{"soon", "-1s", "0"} {
		if _, err := s.client.Perform(t.Context(), id, "monitor_20_percent", api.TaskRequest{MaxHold: bad}); err == nil || !strings.Contains(err.Error(), "max_hold") {
			t.Errorf("max_hold %q: %v", bad, err)
		}
	}
	s.rollback()
}
