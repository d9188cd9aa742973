package task

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/analysis"
	"serin/internal/model"
	"serin/internal/rollout"
)

// byVersion writes models:/fraud/41 instead of stages.
func byVersion(p *rollout.StartParams) { p.Plan.Routing.URIs = "version" }

func abort(w *world) { w.send(rollout.Signal{Name: rollout.SignalAbort}) }

func TestRollback_TrafficRegistryMessages(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(w *world) {
		w.to("monitor_5_percent")
		abort(w)
		w.calls = nil
		w.finish()
		if got := w.order("route", "observe", "mark", "restore", "notify"); !slices.Equal(got, []string{"route", "observe", "mark", "notify"}) {
			t.Errorf("called %v", got)
		}
		d := w.doc()
		if d.CanaryEnabled || d.ChampionPct != 100 || d.RollbackAt.IsZero() || w.state.Phase != rollout.RolledBack || w.marks["42"] != "rolled_back" {
			t.Errorf("%s: %+v, marks %v", w.state.Phase, d, w.marks)
		}
	})
}

// TestRollback_RegistryAway ends without the registry, which is owed and settled once it is back.
func TestRollback_RegistryAway(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(w *world) {
		w.to("monitor_5_percent")
		abort(w)
		w.fail["mark"] = errors.New("connection refused")
		began := time.Now()
		w.drive(func(s rollout.State) bool { return s.Phase.Ended() })
		if took := time.Since(began); took > time.Second || !slices.Equal(w.state.Owed, []string{rollout.TaskSettle}) {
			t.Fatalf("rolled back after %s, owes %v", took, w.state.Owed)
		}
		w.drive(func(s rollout.State) bool { return s.Failures > 1 })
		if w.told["rolled_back r1"] != 1 || !w.said("the registry is owed: mark: connection refused") && !w.said("the registry is owed: connection refused") {
			t.Errorf("told %v; log %q", w.told, w.log)
		}
		delete(w.fail, "mark")
		if w.finish(); len(w.state.Owed) != 0 || w.marks["42"] != "rolled_back" {
			t.Errorf("owes %v, marks %v", w.state.Owed, w.marks)
		}
	})
}

// TestRollback_BrokenFile goes on over a file that somebody has broken, and keeps what was in it.
func TestRollback_BrokenFile(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(w *world) {
		w.to("monitor_5_percent")
		abort(w)
		w.five(`{"canary_enabled": tru`)
		w.finish()
		if w.state.Phase != rollout.RolledBack || w.doc().CanaryEnabled || w.doc().Control.Champion.Version != "41" {
			t.Errorf("%s: %s", w.state.Phase, w.state.Reason)
		}
	})
}

// TestRollback_IsProvenNotWritten keeps the phase until every gateway routes by the file, and tells people when that does not come.
func TestRollback_IsProvenNotWritten(t *testing.T) {
	t.Parallel()
	for name, gateways := range map[string]func(int64) []GatewayView{
		"an old generation": func(g int64) []GatewayView {
			return []GatewayView{{Name: "gw-1", Generation: g}, {Name: "gw-2", Generation: 1}}
		},
		"a silent gateway": func(int64) []GatewayView { return []GatewayView{{Name: "gw-2", Err: "connection refused"}} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, func(w *world) {
				w.to("monitor_5_percent")
				abort(w)
				w.gateways = gateways
				w.drive(func(rollout.State) bool { return w.happened("RollbackUnproven") })
				if w.state.Phase.Ended() || w.doc().CanaryEnabled || len(w.order("mark")) != 0 {
					t.Errorf("%s with the registry asked %d times", w.state.Phase, len(w.order("mark")))
				}
				if r := w.results[len(w.results)-1]; r.Status != rollout.StatusNotProven || !strings.HasPrefix(r.Reason, "requested, not proven: gateway gw-2") {
					t.Errorf("%s: %s", r.Status, r.Reason)
				}
				generation := w.doc().Generation()
				w.gateways = nil
				if w.finish(); w.state.Phase != rollout.RolledBack || w.doc().Generation() != generation {
					t.Errorf("%s at generation %d, was %d", w.state.Phase, w.doc().Generation(), generation)
				}
			})
		})
	}
}

// TestRollback_WithoutGatewaysIsProvenBySamples needs two whole samples between which the canary got nothing.
func TestRollback_WithoutGatewaysIsProvenBySamples(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(w *world) {
		w.gateways = nobody
		w.to("monitor_5_percent")
		abort(w)
		written := time.Now()
		w.finish()
		if took := time.Since(written); took < 15*time.Second || took > time.Minute || !w.said("routing 0 / 100 written") {
			t.Errorf("rolled back after %s", took)
		}
	})
	whole := func(n float64) analysis.Scrape {
		return analysis.Scrape{Samples: []analysis.Sample{{Role: analysis.RoleCanary, Instance: "gw-1", Requests: map[string]analysis.Number{"200": analysis.Number(n)}}}}
	}
	failed := analysis.Scrape{Err: "gw-1 is silent"}
	for name, tt := range map[string]struct {
		scrapes []analysis.Scrape
		missing string
	}{
		"none":          {nil, "no sample shows yet"},
		"one":           {[]analysis.Scrape{whole(5)}, "no sample shows yet"},
		"still served":  {[]analysis.Scrape{whole(5), whole(9)}, "the canary still got 4 requests"},
		"quiet":         {[]analysis.Scrape{whole(5), whole(9), whole(9)}, ""},
		"last failed":   {[]analysis.Scrape{whole(9), whole(9), failed}, "no sample shows yet"},
		"failed before": {[]analysis.Scrape{whole(5), failed, whole(9)}, "no sample shows yet"},
		"restarted":     {[]analysis.Scrape{whole(500), whole(3)}, "the canary still got 3 requests"},
	} {
		u := &run{Deps: Deps{Samples: fixed(tt.scrapes)}}
		missing, err := u.notQuiet(t.Context(), time.Time{})
		if err != nil || tt.missing == "" && missing != "" || !strings.Contains(missing, tt.missing) {
			t.Errorf("%s: %q, %v; want %q", name, missing, err, tt.missing)
		}
	}
}

// TestRollback_OfAPromotion takes back what a promotion had begun, by pinned version, also for readers that know only the five keys.
func TestRollback_OfAPromotion(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*rollout.StartParams){"stages": nil, "versions": byVersion} {
		for _, away := range []string{"", "restore"} {
			t.Run(name+away, func(t *testing.T) {
				t.Parallel()
				bubble(t, change, func(w *world) {
					w.to("deploy_canary_100_percent")
					w.gateways = func(g int64) []GatewayView { return []GatewayView{{Name: "gw-1", Generation: g - 1}} }
					w.run("deploy_canary_100_percent")
					if w.state.Phase != rollout.Held || w.stages["42"] != "Production" || w.doc().Control.Champion.Version != "42" {
						t.Fatalf("%s: %v", w.state.Phase, w.stages)
					}
					abort(w)
					w.gateways, w.calls = nil, nil
					if away != "" {
						w.fail[away] = errors.New("registry away")
					}
					w.drive(func(s rollout.State) bool { return s.Phase.Ended() })
					d := w.doc()
					if table := d.Table("fraud"); table.Champion.Pin.Version != "41" || table.Canary != nil || d.ProductionURI != "models:/fraud/41" {
						t.Errorf("requests go to %+v, old readers to %s", table.Champion, d.ProductionURI)
					}
					delete(w.fail, away)
					if w.finish(); w.stages["41"] != "Production" || w.stages["42"] != "Archived" || w.marks["42"] != "undone" || len(w.state.Owed) != 0 {
						t.Errorf("the registry says %v, %v; owes %v", w.stages, w.marks, w.state.Owed)
					}
					if got := w.order("route", "restore"); got[0] != "route" {
						t.Errorf("called %v", got)
					}
				})
			})
		}
	}
}

// TestRollback_NamesTheChampionWhereAnotherWriterNamesAnother does not leave requests on a version that the rollout knows nothing of.
func TestRollback_NamesTheChampionWhereAnotherWriterNamesAnother(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(w *world) {
		w.to("monitor_5_percent")
		w.edit("models:/fraud/Production", "models:/fraud/39")
		abort(w)
		if w.finish(); w.doc().Table("fraud").Champion.Pin.Version != "41" || w.doc().ProductionURI != "models:/fraud/41" {
			t.Errorf("requests go to %+v", w.doc().Table("fraud").Champion)
		}
	})
}

func TestPromote(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		set    func(*world)
		status rollout.Status
		reason string
		phase  rollout.Phase
		asked  int
	}{
		"good":             {func(*world) {}, rollout.StatusDone, "proven: version 42 is champion and has 100 % of the traffic", rollout.Succeeded, 1},
		"registry away":    {func(w *world) { w.fail["promote"] = errors.New("502") }, rollout.StatusRetry, "promote version 42 in the registry: 502", rollout.Progressing, 1},
		"registry changed": {func(w *world) { w.stages["41"] = "Archived" }, rollout.StatusRefused, "version 41 is not Production any more", rollout.Held, 1},
		"not allowed":      {func(w *world) { w.fail["promote"] = errors.Join(errors.New("403"), ErrFinal) }, rollout.StatusRefused, "403", rollout.Held, 1},
		"routing away":     {func(w *world) { w.fail["current"] = errors.New("stale handle") }, rollout.StatusRetry, "read the routing of fraud", rollout.Progressing, 0},
		"not written":      {func(w *world) { w.fail["route"] = errors.New("disk full") }, rollout.StatusRetry, "write the routing of fraud: disk full", rollout.Progressing, 1},
		"taken away":       {func(w *world) { w.disable() }, rollout.StatusRefused, "the canary was disabled", rollout.Progressing, 0},
		"not proven":       {func(w *world) { w.gateways = func(int64) []GatewayView { return []GatewayView{{Name: "gw-1"}} } }, rollout.StatusNotProven, "gw-1 routes by generation 0", rollout.Held, 1},
		"cannot be asked":  {func(w *world) { w.fail["observe"] = errors.New("no route") }, rollout.StatusNotProven, "the gateways could not be asked: no route", rollout.Held, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, func(w *world) {
				w.to("deploy_canary_100_percent")
				tt.set(w)
				r := w.run("deploy_canary_100_percent")
				if r.Status != tt.status || !strings.Contains(r.Reason, tt.reason) || w.state.Phase != tt.phase || len(w.order("promote")) != tt.asked {
					t.Errorf("%s, %s, registry asked %d times: %s", r.Status, w.state.Phase, len(w.order("promote")), r.Reason)
				}
			})
		})
	}
}

// TestPromote_StoppedBeforeTheRegistry touches nothing when the rollout was aborted in time.
func TestPromote_StoppedBeforeTheRegistry(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(w *world) {
		w.to("deploy_canary_100_percent")
		w.signal[1] = rollout.Signal{Name: rollout.SignalAbort}
		w.run("deploy_canary_100_percent")
		if w.moves != 0 || len(w.order("promote")) != 0 || w.state.Task != rollout.TaskRollback || w.state.Promoting {
			t.Errorf("asked %d times, at %s, promoting %v", len(w.order("promote")), w.state.Task, w.state.Promoting)
		}
	})
}

func TestFirstChampion(t *testing.T) {
	t.Parallel()
	bubble(t, firstChampion, func(w *world) {
		delete(w.stages, "41")
		w.finish()
		if w.state.Phase != rollout.Succeeded || w.stages["42"] != "Production" || w.doc().Control.Champion.Version != "42" || w.doc().WeightPct() != 0 {
			t.Errorf("%s: %v", w.state.Phase, w.stages)
		}
		if slices.Contains(w.calls, "check") {
			t.Error("a first champion was deployed as a canary")
		}
	})
	bubble(t, firstChampion, func(w *world) { // the registry never comes: there is nobody to go back to, and the row ends all the same
		delete(w.stages, "41")
		w.fail["promote"] = errors.New("registry away")
		w.finish()
		if w.state.Phase != rollout.RolledBack || w.doc().Generation() != 0 || w.marks["42"] != "rolled_back" {
			t.Errorf("%s, generation %d, marks %v: %s", w.state.Phase, w.doc().Generation(), w.marks, w.state.Reason)
		}
	})
	bubble(t, firstChampion, func(w *world) { // somebody else's canary is not written over
		delete(w.stages, "41")
		w.to("deploy_canary_100_percent")
		w.five(`{"canary_enabled": true, "canary_traffic_pct": 10, "canary_model_uri": "models:/fraud/7", "champion_traffic_pct": 90, "production_model_uri": "models:/fraud/6"}`)
		w.run("deploy_canary_100_percent")
		if w.state.Phase != rollout.Held || w.doc().WeightPct() != 10 || w.moves != 0 {
			t.Errorf("%s with %g %%, %d moves", w.state.Phase, w.doc().WeightPct(), w.moves)
		}
	})
}

// undoWorld is an undo of the promotion of 42: back to 41.
func undoWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, nil).finish()
	var err error
	w.state, _, err = rollout.StartUndo(rollout.UndoParams{
		ID: "u1", Of: "r1", Plan: w.state.Plan, Driver: rollout.DriverLocal, Actor: "ann", Reason: "complaints",
		To: model.Pin{Version: "41"}, From: model.Pin{Version: "42"}, Salt: "s2", NextSalt: "s3",
	}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	w.calls = nil
	return w
}

func TestUndo(t *testing.T) {
	t.Parallel()
	want := []string{"route", "observe", "restore", "notify"}
	bubble(t, nil, func(w *world) {
		w = undoWorld(w.t)
		w.finish()
		d := w.doc()
		if w.state.Phase != rollout.Succeeded || d.ProductionURI != "models:/fraud/41" || d.Table("fraud").Champion.Pin.Version != "41" {
			t.Errorf("%s: %s", w.state.Phase, d.ProductionURI)
		}
		if w.stages["41"] != "Production" || w.stages["42"] != "Archived" || w.marks["42"] != "undone" || w.told["undone u1"] != 1 {
			t.Errorf("registry %v %v, told %v", w.stages, w.marks, w.told)
		}
		if got := w.order(want...); !slices.Equal(got, want) {
			t.Errorf("called %v, want %v", got, want)
		}
	})
	bubble(t, nil, func(w *world) { // the registry is away, the gateways are slow, and it is run twice
		w = undoWorld(w.t)
		w.fail["restore"] = errors.New("registry away")
		w.gateways = func(g int64) []GatewayView { return []GatewayView{{Name: "gw-1", Generation: g - 1}} }
		if r := w.run(rollout.TaskUndo); r.Status != rollout.StatusNotProven || len(w.order("restore")) != 0 {
			t.Fatalf("%s: %s", r.Status, r.Reason)
		}
		w.gateways = nil
		generation := w.doc().Generation()
		w.drive(func(s rollout.State) bool { return s.Task == "" })
		if w.state.Phase != rollout.Succeeded || w.doc().Generation() != generation || !slices.Equal(w.state.Owed, []string{rollout.TaskSettle}) {
			t.Errorf("%s, owes %v", w.state.Phase, w.state.Owed)
		}
		delete(w.fail, "restore")
		if w.finish(); w.stages["41"] != "Production" {
			t.Errorf("settled as %v", w.stages)
		}
	})
	bubble(t, nil, func(w *world) {
		w = undoWorld(w.t)
		w.fail["route"] = errors.New("disk full")
		if r := w.run(rollout.TaskUndo); r.Status != rollout.StatusRetry || w.state.Phase.Ended() || len(w.order("restore")) != 0 {
			t.Errorf("%s: %s", r.Status, r.Reason)
		}
	})
}

func TestSettle_LeavesWhatSomebodyElseHasChanged(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(w *world) {
		w.to("monitor_5_percent")
		abort(w)
		w.fail["mark"] = errors.Join(errors.New("version 42 is\nProduction now"), ErrRegistryChanged)
		w.finish()
		if r := w.results[len(w.results)-1]; len(w.state.Owed) != 0 || !strings.Contains(r.Reason, "is left alone: version 42 is Production now") {
			t.Errorf("owes %v: %q", w.state.Owed, r.Reason)
		}
		if diff := cmp.Diff(map[string]string{"41": "Production", "42": "Staging"}, w.stages); diff != "" {
			t.Error(diff)
		}
	})
}
