package task

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"serin/internal/compare"
	"serin/internal/model"
	"serin/internal/rollout"
)

// bubble runs a test with a world in a bubble of time.
func bubble(t *testing.T, change func(*rollout.StartParams), test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(newWorld(t, change)) })
}

func firstChampion(p *rollout.StartParams) { p.FirstChampion = "nothing serves yet" }

func TestNew_RefusesWhatIsMissing(t *testing.T) {
	t.Parallel()
	if _, err := New(Deps{}); err == nil || !strings.Contains(err.Error(), "a writer's name") {
		t.Errorf("New without anything: %v", err)
	}
	if _, err := (&Runner{}).Run(t.Context(), rollout.Task{ID: "t", Kind: "dance", Rollout: "r1"}, nil); err == nil || !strings.Contains(err.Error(), `"dance"`) {
		t.Errorf("a kind that nobody knows: %v", err)
	}
}

func TestAdmit(t *testing.T) {
	t.Parallel()
	digest := func(version string) string { return "sha256:" + strings.Repeat(version, 32) }
	both := &rollout.Pins{
		Champion:   model.Pin{Version: "41", Digest: digest("41")},
		Challenger: model.Pin{Version: "42", Digest: digest("42")},
	}
	slots := *both
	slots.Champion.Slot, slots.Challenger.Slot = 1, 2
	for name, tt := range map[string]struct {
		start  func(*rollout.StartParams)
		set    func(*world)
		status rollout.Status
		reason string
		pins   *rollout.Pins
	}{
		"both":                  {nil, func(*world) {}, rollout.StatusDone, "champion version 41, challenger version 42", both},
		"two slots":             {nil, func(w *world) { w.slots = 2 }, rollout.StatusDone, "champion version 41, challenger version 42", &slots},
		"no challenger":         {nil, func(w *world) { delete(w.stages, "42") }, rollout.StatusRefused, "find the challenger Staging of fraud", nil},
		"no champion":           {nil, func(w *world) { delete(w.stages, "41") }, rollout.StatusRefused, "--first-champion --reason WHY", nil},
		"the same":              {func(p *rollout.StartParams) { p.Plan.Challenger = "41" }, func(*world) {}, rollout.StatusRefused, "are both version 41", nil},
		"champion after all":    {firstChampion, func(*world) {}, rollout.StatusRefused, "start without --first-champion", nil},
		"challenger is blocked": {nil, func(w *world) { w.blocked["42"] = "it declined everybody" }, rollout.StatusRefused, "serin unblock fraud --version 42 --reason WHY", nil},
		"champion is blocked":   {nil, func(w *world) { w.blocked["41"] = "undone" }, rollout.StatusRefused, "version 41 of fraud is blocked (undone)", nil},
		"registry away":         {nil, func(w *world) { w.fail["resolve"] = errors.New("connection refused") }, rollout.StatusRetry, "connection refused", nil},
		"digest differs":        {nil, func(w *world) { w.fail["resolve"] = fmt.Errorf("digest differs: %w", ErrFinal) }, rollout.StatusRefused, "digest differs", nil},
		"block list away":       {nil, func(w *world) { w.fail["blocked"] = errors.New("disk full") }, rollout.StatusRetry, "look for a block", nil},
		"routing away":          {nil, func(w *world) { w.slots, w.fail["current"] = 2, errors.New("permission denied") }, rollout.StatusRetry, "read the routing of fraud", nil},
		"several lines":         {nil, func(w *world) { w.fail["resolve"] = errors.New("500\n<html>\n\tsorry") }, rollout.StatusRetry, "500 <html> sorry", nil},
		"first champion": {
			firstChampion, func(w *world) { delete(w.stages, "41") }, rollout.StatusDone, "champion version (none), challenger version 42",
			&rollout.Pins{FirstChampion: "nothing serves yet", Challenger: both.Challenger},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, tt.start, func(w *world) {
				tt.set(w)
				r := w.run(rollout.TaskAdmit)
				if r.Status != tt.status || !strings.Contains(r.Reason, tt.reason) || strings.Contains(r.Reason, "\n") {
					t.Errorf("%s: %q, want %s with %q", r.Status, r.Reason, tt.status, tt.reason)
				}
				if diff := cmp.Diff(tt.pins, r.Pins); diff != "" {
					t.Errorf("pins (-want +got):\n%s", diff)
				}
				if w.doc().Generation() != 0 || w.moves != 0 {
					t.Error("admit has an effect")
				}
			})
		})
	}
}

// TestSlots_SwapOnEveryPromotion rolls out two versions one after another: what served from slot 1 serves from slot 2 then, and the processes stay.
func TestSlots_SwapOnEveryPromotion(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(w *world) {
		w.slots = 2
		w.finish()
		if got := w.doc().Control.Champion; got.Version != "42" || got.Slot != 2 {
			t.Fatalf("the new champion is %+v, want 42 from slot 2", got)
		}
		next := newWorld(t, nil)
		next.file, next.path, next.slots = w.file, w.path, 2
		next.stages = map[string]string{"42": "Production", "43": "Staging"}
		next.run(rollout.TaskAdmit)
		if p := next.state.Pins; p.Champion.Slot != 2 || p.Challenger.Slot != 1 {
			t.Errorf("champion in slot %d, challenger in %d; want 2 and 1", p.Champion.Slot, p.Challenger.Slot)
		}
	})
}

func TestCompare(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		decision compare.Decision
		err      error
		status   rollout.Status
		phase    rollout.Phase
		next     string
	}{
		"promote":      {compare.Promote, nil, rollout.StatusDone, rollout.Progressing, rollout.TaskDecideFirst},
		"reject":       {"reject", nil, rollout.StatusDone, rollout.Progressing, rollout.TaskDecideFirst},
		"undecided":    {"undecided", nil, rollout.StatusDone, rollout.Held, rollout.TaskDecideFirst},
		"no positives": {"", fmt.Errorf("no positive rows: %w", ErrFinal), rollout.StatusRefused, rollout.Failed, ""},
		"registry":     {"", errors.New("connection refused"), rollout.StatusRetry, rollout.Progressing, rollout.TaskCompare},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, func(w *world) {
				w.to(rollout.TaskCompare)
				w.report.Decision, w.fail["compare"] = tt.decision, tt.err
				r := w.run(rollout.TaskCompare)
				if r.Status != tt.status || w.state.Phase != tt.phase || w.state.Task != tt.next {
					t.Errorf("%s, %s at %q: %s", r.Status, w.state.Phase, w.state.Task, r.Reason)
				}
				if (r.Gate != nil) != (tt.err == nil) || r.Gate != nil && len(r.Gate.Report) == 0 {
					t.Errorf("gate %+v", r.Gate)
				}
				if tt.err == nil && !w.said("decision: "+string(tt.decision)) {
					t.Errorf("the report is not in the log: %q", w.log)
				}
			})
		})
	}
}

func TestDecide_SaysWhatItRestsOn(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(w *world) {
		w.to(rollout.TaskDecideFirst)
		if r := w.run(rollout.TaskDecideFirst); r.Reason != "the gate says promote: f1 0.92 >= 0.90 x 1.01" {
			t.Error(r.Reason)
		}
		w.to("decide_25_percent")
		if r := w.run("decide_25_percent"); !strings.HasPrefix(r.Reason, "the bake was healthy: error rate 0 % (0 of ") {
			t.Error(r.Reason)
		}
		w.to("monitor_25_percent")
		w.send(rollout.Signal{Name: rollout.SignalPromote, Override: true})
		w.to("decide_100_percent")
		if r := w.run("decide_100_percent"); r.Reason != "the rest of the bake was skipped by ann without the evidence: because" {
			t.Error(r.Reason)
		}
		w.state.Stage, w.state.Gate = nil, nil
		if r, err := decide(w.t.Context(), &run{state: w.state, task: w.task("decide_100_percent")}); err != nil || r.Reason != "nothing was judged" {
			t.Errorf("%q, %v", r.Reason, err)
		}
	})
}

func TestKeep_OwesWhatTheRegistryDoesNotTake(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(w *world) {
		w.report.Decision, w.report.Reasons = "reject", []string{"recall 0.91 < 0.95"}
		w.to(rollout.TaskKeepChampion)
		w.fail["mark"] = errors.New("registry away")
		w.run(rollout.TaskKeepChampion)
		if w.state.Phase != rollout.Rejected || !cmp.Equal(w.state.Owed, []string{rollout.TaskSettle}) {
			t.Fatalf("%s owes %v", w.state.Phase, w.state.Owed)
		}
		delete(w.fail, "mark")
		if w.finish(); w.marks["42"] != "rejected" || len(w.state.Owed) != 0 || !w.happened("RegistrySettled") {
			t.Errorf("settled: %v, owes %v", w.marks, w.state.Owed)
		}
		if w.doc().Generation() != 0 {
			t.Error("a rejection wrote the routing")
		}
	})
}

func TestNotify(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(w *world) {
		w.to(rollout.TaskNotifySuccess)
		w.fail["notify"] = errors.New("outbox is full")
		for range 2 {
			if r := w.run(rollout.TaskNotifySuccess); r.Status != rollout.StatusRetry || !strings.Contains(r.Reason, `tell people "succeeded": outbox is full`) {
				t.Fatalf("%s: %s", r.Status, r.Reason)
			}
		}
		if w.state.Phase != rollout.Succeeded {
			t.Errorf("a message that fails made it %s", w.state.Phase)
		}
		delete(w.fail, "notify")
		if w.finish(); w.told["succeeded r1"] != 1 || !w.said("succeeded told on log") {
			t.Errorf("told %v: %q", w.told, w.log)
		}
	})
}
