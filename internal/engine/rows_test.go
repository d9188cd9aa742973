package engine

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/analysis"
	"serin/internal/rollout"
	"serin/internal/store"
)

// rowsDir holds state rows as released versions wrote them. Rows of a release are never changed: a later one must load them and bring them to their
// end. `go test -run TestRows -write-rows` writes the set of the version that is being made; that of a new format goes into a new folder.
const rowsDir = "../store/testdata/rows-v1"

var writeRows = flag.Bool("write-rows", false, "write the state rows of this version")

// rowMakers brings a rollout to each phase that a row can be found in.
var rowMakers = map[string]func(w *world) string{
	"progressing": func(w *world) string {
		id := w.start(slow)
		w.stepTo(id, "deploy_canary_5_percent")
		return id
	},
	"baking": func(w *world) string {
		defer w.loop()()
		id := w.start(slow)
		w.waitFor(id, "the bake", at("monitor_5_percent"))
		pause(w.t.Context(), 10*time.Minute)
		return id
	},
	"paused": func(w *world) string {
		defer w.loop()()
		id := w.start(slow)
		w.waitFor(id, "the second bake", at("monitor_25_percent"))
		w.whileDead(id, rollout.Signal{Name: rollout.SignalPause, Actor: "ann", Reason: "lunch"})
		return w.waitFor(id, "the pause", phase(rollout.Paused)).ID
	},
	"held": func(w *world) string {
		w.script.on("monitor_5_percent", bake(analysis.DecisionHold))
		defer w.loop()()
		return w.waitFor(w.start(slow), "the hold", phase(rollout.Held)).ID
	},
	"rolling_back": func(w *world) string {
		w.script.on("monitor_5_percent", bake(analysis.DecisionRollback))
		w.script.on("rollback_deployment", result(rollout.Result{Status: rollout.StatusNotProven, Reason: "gw-2 is silent"}, nil))
		defer w.loop()()
		return w.waitFor(w.start(slow), "the rollback", func(s rollout.State) bool { return s.Task == rollout.TaskRollback && s.Failures > 0 }).ID
	},
	"rolled_back": func(w *world) string {
		w.script.on("monitor_5_percent", bake(analysis.DecisionRollback))
		w.script.on("rollback_deployment", result(rollout.Result{Status: rollout.StatusDone, Owed: true, Reason: "traffic is back"}, nil))
		w.script.on(rollout.TaskSettle, result(rollout.Result{Status: rollout.StatusRetry, Reason: "registry away"}, nil))
		defer w.loop()()
		return w.waitFor(w.start(slow), "the debt", func(s rollout.State) bool { return s.Phase == rollout.RolledBack && s.Task == "" }).ID
	},
	"rejected": func(w *world) string {
		w.script.on("compare_models", result(rollout.Result{Status: rollout.StatusDone, Gate: &rollout.GateVerdict{Decision: "reject", Reasons: []string{"recall 0.91"}}}, nil))
		w.script.on(rollout.TaskNotifyRejected, result(rollout.Result{Status: rollout.StatusRetry, Reason: "slack away"}, nil))
		id := w.start(slow)
		w.stepTo(id, rollout.TaskNotifyRejected)
		return id
	},
	"succeeded": func(w *world) string {
		defer w.loop()()
		id := w.start(slow)
		w.waitFor(id, "the watch", func(s rollout.State) bool { return s.Phase == rollout.Succeeded && s.Task == "" })
		pause(w.t.Context(), 5*time.Minute)
		return id
	},
	"aborted": func(w *world) string {
		id := w.start(slow)
		w.whileDead(id, rollout.Signal{Name: rollout.SignalAbort, Actor: "ann", Reason: "no"})
		w.once(id)
		return id
	},
	"failed": func(w *world) string {
		w.script.on("admit", result(rollout.Result{Status: rollout.StatusRefused, Reason: "version 42 is blocked"}, nil))
		id := w.start(slow)
		w.once(id)
		return id
	},
	"undo": func(w *world) string {
		s, err := w.StartUndo(w.t.Context(), undoParams())
		if err != nil {
			w.t.Fatal(err)
		}
		return s.ID
	},
	"external": func(w *world) string { return w.toMonitor() },
}

func TestRows_OfEveryReleaseFinish(t *testing.T) {
	if *writeRows {
		writeAllRows(t)
	}
	files, err := filepath.Glob(rowsDir + "/*.json")
	if err != nil || len(files) != len(rowMakers) {
		t.Fatalf("%d rows in %s (%v), want one for each of %d situations", len(files), rowsDir, err, len(rowMakers))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { finishRow(t, file) })
		})
	}
}

// finishRow loads a row, shows that nothing of it is forgotten, and brings it to its end.
func finishRow(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var s rollout.State
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	forgotten(t, text, s)
	w := newWorld(t)
	if err := w.db.Update(t.Context(), func(tx *store.Tx) error {
		_, err := tx.InsertRollout(t.Context(), s, now())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if s.Pause != nil {
		w.whileDead(s.ID, sig(rollout.SignalResume))
	}
	if s.Driver == rollout.DriverExternal {
		w.whileDead(s.ID, sig(rollout.SignalAbort))
	}
	stop := w.loop()
	end := w.waitFor(s.ID, "the end", over)
	stop()
	if !end.Phase.Ended() || s.Phase.Ended() && end.Phase != s.Phase {
		t.Errorf("a row in %s ended in %s: %s", s.Phase, end.Phase, end.Reason)
	}
}

// forgotten fails the test when a key that the release wrote is not in what we would write.
func forgotten(t *testing.T, text []byte, s rollout.State) {
	t.Helper()
	again, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var before, after map[string]any
	if err := json.Unmarshal(text, &before); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(again, &after); err != nil {
		t.Fatal(err)
	}
	for key, value := range before {
		if diff := cmp.Diff(value, after[key]); diff != "" && strings.Contains(diff, "\n-") {
			t.Errorf("%s is read differently: %s", key, diff)
		}
	}
}

// writeAllRows makes the rows anew.
func writeAllRows(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll(rowsDir, 0o750); err != nil {
		t.Fatal(err)
	}
	for name, makeRow := range rowMakers {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			s := w.get(makeRow(w))
			text, err := json.MarshalIndent(s, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(rowsDir, name+".json"), append(text, '\n'), 0o600); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// slow ticks once a minute: what is tested here does not need more.
func slow(p *rollout.StartParams) { p.Plan.Analysis.Tick = time.Minute }
