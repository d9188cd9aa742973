package app

import (
	"strings"
	"testing"
	"time"

	"serin/internal/api"
	"serin/internal/demo/faulty"
	"serin/internal/model"
	"serin/internal/rollout"
)

func failShare(share float64) faulty.Faults { return faulty.Faults{FailShare: share} }

// Without traffic nothing is proven: the bake is held, says why, and is rolled back when the hold has lasted its maximum.
func TestHold_NoTrafficNeverPromotes(t *testing.T) {
	t.Parallel()
	s := one(t, plan{gate: noGate, hold: "2s"})
	s.register("better", model.StageStaging)
	id := s.start()
	held := s.await(id, "held without traffic", func(r api.Rollout) bool { return r.Phase == rollout.Held })
	if held.Hold == nil || held.Hold.Reason == "" || held.Task != "monitor_20_percent" {
		t.Errorf("held as %+v at %s", held.Hold, held.Task)
	}
	r := s.ends(id, rollout.RolledBack)
	if !strings.Contains(r.Reason, "held for 2s") {
		t.Errorf("ended because %s", r.Reason)
	}
	events := s.events(id)
	if count(events, "RolloutHeld") != 1 || count(events, "HoldTooLong") != 1 || count(events, "RolloutSucceeded") != 0 {
		t.Errorf("events %v", events)
	}
	s.isRolledBack(id)
}

// With `then: keep` the hold waits for a person, who is told once.
func TestHold_KeepWaitsForAPerson(t *testing.T) {
	t.Parallel()
	s := one(t, plan{gate: noGate, hold: "1s", then: "keep"})
	s.register("better", model.StageStaging)
	id := s.start()
	s.await(id, "held for longer than its maximum", func(api.Rollout) bool { return count(s.events(id), "HoldTooLong") == 1 })
	looks := 0
	until(t, "it is kept", func() bool {
		looks++
		if r := s.get(id); r.Phase != rollout.Held {
			t.Fatalf("%s: %s", r.Phase, r.Reason)
		}
		return looks > 60
	})
	if n := count(s.events(id), "HoldTooLong"); n != 1 {
		t.Errorf("told %d times", n)
	}
	s.rollback()
	s.ends(id, rollout.RolledBack)
}

// A person's pause outlasts the bake: nothing goes forward, the canary goes on being judged, and resume lets it go on.
func TestPause_LongerThanTheBake(t *testing.T) {
	t.Parallel()
	s := one(t, plan{gate: noGate})
	s.register("better", model.StageStaging)
	_, stop := s.play()
	id := s.start()
	s.bakes(id, "monitor_20_percent")
	s.act(id, "pause")
	paused := s.await(id, "evidence enough, but paused", func(r api.Rollout) bool { return verdict(r, "monitor_20_percent") == "healthy" })
	judged := paused.Judgement.At
	later := s.await(id, "it is judged on", func(r api.Rollout) bool { return r.Judgement.At.Sub(judged) > 2*time.Second })
	if later.Phase != rollout.Paused || later.WeightPct != 20 || s.document().CanaryPct != 20 {
		t.Errorf("paused, but %s at %v %%", later.Phase, later.WeightPct)
	}
	s.act(id, "resume")
	s.ends(id, rollout.Succeeded)
	stop()
}

// A pause blocks going forward, not back: a canary that goes bad while paused is rolled back at once.
func TestPause_DoesNotDelayARollback(t *testing.T) {
	t.Parallel()
	s, two := behindURLs(t, plan{})
	s.register("better", model.StageStaging)
	player, stop := s.play()
	id := s.start()
	s.bakes(id, "monitor_20_percent")
	s.act(id, "pause")
	s.await(id, "the bake is over", func(r api.Rollout) bool { return verdict(r, "monitor_20_percent") == "healthy" })
	two[1].faults(t, failShare(0.3))
	r := s.ends(id, rollout.RolledBack)
	if !strings.Contains(r.Reason, "error rate") {
		t.Errorf("ended because %s", r.Reason)
	}
	stop()
	unharmed(t, player)
}

// A new champion that goes bad while it is watched is undone by itself, by traffic first, and blocked.
func TestWatch_BreachOpensAnUndo(t *testing.T) {
	t.Parallel()
	s, two := behindURLs(t, plan{watch: "60s"})
	s.register("better", model.StageStaging)
	player, stop := s.play()
	id := s.start()
	s.ends(id, rollout.Succeeded)
	two[1].faults(t, failShare(0.3))
	s.await(id, "the watch fails", func(r api.Rollout) bool { return verdict(r, rollout.TaskWatch) == "unhealthy" })
	var undo api.Rollout
	until(t, "the undo is done", func() bool {
		undo = s.get(fraud)
		return undo.Kind == rollout.KindOfUndo && undo.Phase == rollout.Succeeded && undo.Task == ""
	})
	if undo.Of != id {
		t.Errorf("undo of %s, want %s", undo.Of, id)
	}
	until(t, "version 1 answers", func() bool { return answers(t, s.at.Gateway, fraud).version == "1" })
	if doc := s.document(); doc.Control.Champion.Version != "1" || doc.Control.Champion.Slot != 1 {
		t.Errorf("champion %+v", doc.Control.Champion)
	}
	if got := s.stages(); got["1"] != model.StageProduction || got["2"] != model.StageArchived {
		t.Errorf("stages %v", got)
	}
	stop()
	// A champion that fails is seen by customers until it is undone: nobody can rescue them. What came before and after is whole.
	if seen := player.Snapshot().Total; seen.Failures > seen.Answered/5 {
		t.Errorf("%d failures in %d answers", seen.Failures, seen.Answered)
	}
	if reason, blocked, err := (blocks{s.app.store}).Blocked(t.Context(), fraud, "2"); err != nil || !blocked || reason == "" {
		t.Errorf("version 2 is blocked: %v, because %q, %v", blocked, reason, err)
	}
	if _, blocked, err := (blocks{s.app.store}).Blocked(t.Context(), fraud, "1"); err != nil || blocked {
		t.Errorf("version 1 is blocked: %v, %v", blocked, err)
	}
}

func (s *site) act(id, action string) {
	s.t.Helper()
	if _, err := s.client.Act(s.t.Context(), id, action, api.ActionRequest{Reason: "a person's " + action}); err != nil {
		s.t.Fatal(err)
	}
}
