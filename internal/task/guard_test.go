package task

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/rollout"
	"serin/internal/traffic"
)

// otherHand are changes that somebody else makes to the file of a 5 % bake, and what they are to Serin.
var otherHand = map[string]struct {
	edit func(*world)
	want *rollout.Foreign
}{
	"nothing": {func(*world) {}, nil},
	"a key of their own": {func(w *world) {
		w.edit(`"canary_enabled"`, `"team": "risk", "canary_enabled"`)
	}, nil},
	"disabled, our key kept": {
		func(w *world) { w.disable() },
		&rollout.Foreign{Disabled: true, Writer: "serin test:1", Reason: "the canary was disabled in the routing file"},
	},
	"five keys, disabled": {func(w *world) {
		w.five(`{"canary_enabled": false, "canary_traffic_pct": 0, "canary_model_uri": "models:/fraud/Staging", "champion_traffic_pct": 100, "production_model_uri": "models:/fraud/Production"}`)
	}, &rollout.Foreign{Disabled: true, Writer: "another writer", Reason: "the canary was disabled in the routing file"}},
	"nothing left to the canary": {func(w *world) {
		w.edit(`"canary_traffic_pct": 5`, `"canary_traffic_pct": 0`, `"champion_traffic_pct": 95`, `"champion_traffic_pct": 100`)
	}, &rollout.Foreign{Disabled: true, Writer: "serin test:1", Reason: "the canary was disabled in the routing file"}},
	"five keys, our weight": {func(w *world) {
		w.five(`{"canary_enabled": true, "canary_traffic_pct": 5, "canary_model_uri": "models:/fraud/Staging", "champion_traffic_pct": 95, "production_model_uri": "models:/fraud/Production"}`)
	}, &rollout.Foreign{Writer: "another writer", Reason: "it has a canary at 5 % that is not of rollout r1"}},
	"another rollout": {
		func(w *world) { w.edit(`"rollout": "r1"`, `"rollout": "r0"`) },
		&rollout.Foreign{Writer: "serin test:1", Reason: "it has a canary at 5 % that is not of rollout r1"},
	},
	"more": {func(w *world) {
		w.edit(`"canary_traffic_pct": 5`, `"canary_traffic_pct": 50`, `"champion_traffic_pct": 95`, `"champion_traffic_pct": 50`)
	}, &rollout.Foreign{Writer: "serin test:1", Reason: "the canary has 50 %, not 5 %"}},
	"another canary": {
		func(w *world) { w.edit(`"version": "42"`, `"version": "43"`) },
		&rollout.Foreign{Writer: "serin test:1", Reason: "it names other versions"},
	},
	"another model for readers of five keys": {
		func(w *world) { w.edit("models:/fraud/Staging", "models:/fraud/43") },
		&rollout.Foreign{Writer: "serin test:1", Reason: "it sends the canary's requests to models:/fraud/43 and the champion's to models:/fraud/Production"},
	},
	"another champion for readers of five keys": {
		func(w *world) { w.edit("models:/fraud/Production", "models:/fraud/40") },
		&rollout.Foreign{Writer: "serin test:1", Reason: "it sends the canary's requests to models:/fraud/Staging and the champion's to models:/fraud/40"},
	},
	"other customers": {
		func(w *world) { w.edit(`"salt": "s1"`, `"salt": "s9"`) },
		&rollout.Foreign{Writer: "serin test:1", Reason: "it sends the canary's requests to models:/fraud/Staging and the champion's to models:/fraud/Production"},
	},
	"gone": {
		func(w *world) { w.remove() },
		&rollout.Foreign{Writer: "another writer", Reason: "the routing file is gone"},
	},
}

// five replaces the file by a text of a writer that knows nothing of Serin.
func (w *world) five(text string) {
	w.t.Helper()
	if err := os.WriteFile(w.path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) remove() {
	w.t.Helper()
	if err := os.Remove(w.path); err != nil {
		w.t.Fatal(err)
	}
}

func TestForeign(t *testing.T) {
	t.Parallel()
	for name, tt := range otherHand {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, func(w *world) {
				w.to("monitor_5_percent")
				tt.edit(w)
				if diff := cmp.Diff(tt.want, foreign(w.state, w.doc())); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestForeign_InEveryTask lets another writer be at the file before each task that writes it. What was taken away is an abort by its writer; any other
// change is held until a person has looked, and nothing goes forward.
func TestForeign_InEveryTask(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"monitor_5_percent", "deploy_canary_25_percent", "monitor_25_percent", "deploy_canary_100_percent"} {
		for _, name := range []string{"disabled, our key kept", "five keys, disabled", "another rollout"} {
			t.Run(at+"/"+name, func(t *testing.T) {
				t.Parallel()
				bubble(t, func(p *rollout.StartParams) { p.Plan.Hold.Max = 10 * time.Minute }, func(w *world) {
					w.to(at)
					otherHand[name].edit(w)
					promoted := len(w.order("promote"))
					if name == "another rollout" {
						w.finish() // nobody looks: the hold is over, and doubt serves the champion
						if w.state.Phase != rollout.RolledBack || !strings.Contains(w.state.Reason, "held for 10m0s: the routing was changed by serin test:1") || !w.happened("RolloutHeld") {
							t.Errorf("%s: %s", w.state.Phase, w.state.Reason)
						}
					} else if w.finish(); w.state.Phase != rollout.RolledBack || !w.state.Ending.External {
						t.Errorf("%s: %s", w.state.Phase, w.state.Reason)
					}
					if w.doc().WeightPct() != 0 || len(w.order("promote")) != promoted || w.stages["41"] != "Production" {
						t.Errorf("the canary has %g %%, the registry was asked %d times, 41 is %s", w.doc().WeightPct(), len(w.order("promote"))-promoted, w.stages["41"])
					}
				})
			})
		}
	}
}

// TestForeign_HeldStaysHeldWhenSamplesAreGood keeps a hold over healthy ticks, and ends it when a person says so and the file is ours again.
func TestForeign_HeldStaysHeldWhenSamplesAreGood(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(w *world) {
		w.to("monitor_5_percent")
		w.edit(`"rollout": "r1"`, `"rollout": "r0"`)
		w.signal[100] = rollout.Signal{Name: rollout.SignalAbort}
		w.run("monitor_5_percent")
		if w.state.Task != rollout.TaskRollback || !w.happened("RolloutHeld") || w.happened("HoldReleased") || w.happened("BakePassed") && w.happened("RolloutStepCompleted") {
			t.Errorf("at %s: %+v", w.state.Task, w.events)
		}
		if n := strings.Count(strings.Join(w.log, "\n"), "not of rollout r1"); n != 1 {
			t.Errorf("the change is said %d times in the log", n)
		}
	})
}

// TestDeploy_NeverPutsBackWhatSomebodyTookAway cuts the first deploy after it has written, lets a person roll back by the file alone, and goes on.
func TestDeploy_NeverPutsBackWhatSomebodyTookAway(t *testing.T) {
	t.Parallel()
	for name, takeAway := range map[string]func(*world){
		"by Serin's command": func(w *world) {
			if _, err := w.file.Update(w.t.Context(), func(prev traffic.Document) (traffic.Document, error) {
				return traffic.Rollback(prev, traffic.RollbackParams{Model: "fraud", At: w.samples.last, By: traffic.Author{Writer: "bob", Rollout: "r1", Task: "rollback_deployment"}})
			}); err != nil {
				w.t.Fatal(err)
			}
		},
		"by hand": func(w *world) { w.disable() },
		"by a writer of five keys": func(w *world) {
			w.five(`{"canary_enabled": false, "canary_traffic_pct": 0, "canary_model_uri": "", "champion_traffic_pct": 100, "production_model_uri": "models:/fraud/Production", "rollback_timestamp": "2030-01-20T10:30:00"}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, func(w *world) {
				w.to("deploy_canary_5_percent")
				w.crash, w.after, w.cutAt = true, true, len(w.calls)+3 // check, checkpoint, route
				w.run("deploy_canary_5_percent")
				if !w.cut || w.doc().WeightPct() != 5 || w.state.Task != "deploy_canary_5_percent" {
					t.Fatalf("cut %v with %g %% at %s", w.cut, w.doc().WeightPct(), w.state.Task)
				}
				takeAway(w)
				if w.finish(); w.state.Phase != rollout.RolledBack || !w.state.Ending.External || w.doc().WeightPct() != 0 {
					t.Errorf("%s with %g %%: %s", w.state.Phase, w.doc().WeightPct(), w.state.Reason)
				}
			})
		})
	}
}

// TestDeploy_BesideAnotherCanary refuses to write over a canary that is not ours.
func TestDeploy_BesideAnotherCanary(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(w *world) {
		w.to("deploy_canary_5_percent")
		w.five(`{"canary_enabled": true, "canary_traffic_pct": 10, "canary_model_uri": "models:/fraud/7", "champion_traffic_pct": 90, "production_model_uri": "models:/fraud/Production"}`)
		r := w.run("deploy_canary_5_percent")
		if r.Status != rollout.StatusRefused || w.state.Phase != rollout.Held || w.doc().WeightPct() != 10 || !strings.Contains(r.Reason, "a canary has 10 % already") {
			t.Errorf("%s, %s with %g %%: %s", r.Status, w.state.Phase, w.doc().WeightPct(), r.Reason)
		}
	})
}

func TestRouter_FakeIsTheRealFile(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(w *world) {
		doc, err := router{w}.Current(context.Background(), "fraud")
		if err != nil || !gone(doc) {
			t.Errorf("without a file: %+v, %v", doc, err)
		}
	})
}
