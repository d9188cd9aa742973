package cli

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/analysis"
	"serin/internal/api"
	"serin/internal/app"
	"serin/internal/model"
	"serin/internal/rollout"
)

var began = time.Date(2025, 1, 20, 10, 0, 0, 0, time.UTC)

// baking is a rollout in the middle of its first bake.
func baking() api.Rollout {
	attempt := func(n int, from, to time.Duration) []api.Attempt {
		return []api.Attempt{{Attempt: n, Status: "done", StartedAt: began.Add(from), EndedAt: new(began.Add(to))}}
	}
	return api.Rollout{
		ID: "01JHZ", Model: "fraud_detection_xgboost", Kind: rollout.KindOfRollout, Driver: rollout.DriverLocal, Phase: rollout.Progressing,
		Step: 1, Steps: 3, Task: "monitor_5_percent", WeightPct: 5, NextWeightPct: 25, Reason: "baking at 5 %: healthy so far",
		Champion:   model.Pin{Version: "41", Digest: "sha256:" + strings.Repeat("a", 64)},
		Challenger: model.Pin{Version: "42", Digest: "sha256:" + strings.Repeat("b", 64)},
		BakeFor:    "30m0s", Covered: "12m30s", StartedAt: began,
		Judgement: &analysis.Judgement{
			CanaryRequests: 7341, ChampionRequests: 149812,
			Checks: []analysis.Evidence{
				{Check: "error_rate", Verdict: analysis.VerdictPass, Text: "error rate 0.4 % (3 of 734 requests) < 5 %"},
				{Check: "latency_p95", Verdict: analysis.VerdictInconclusive, Text: "slower than 100 ms: 12 of 40 requests, 50 are needed"},
			},
		},
		Tasks: []api.Task{
			{ID: "admit", Kind: rollout.KindAdmit, State: api.TaskDone, Verdict: "done", Reason: "champion version 41, challenger version 42", Attempts: attempt(1, 0, time.Second)},
			{ID: "compare_models", Kind: rollout.KindCompare, State: api.TaskDone, Verdict: "promote", Reason: strings.Repeat("recall 0.97 >= 0.95; ", 8), Attempts: attempt(2, time.Second, 9*time.Second)},
			{ID: "decide_deployment", Kind: rollout.KindDecide, State: api.TaskDone, Verdict: "approve"},
			{ID: "deploy_canary_5_percent", Kind: rollout.KindDeploy, State: api.TaskWaiting, Reason: "requested, not proven:\ngw-2 does not answer", Attempts: attempt(1, 10*time.Second, 12*time.Second)},
			{ID: "monitor_5_percent", Kind: rollout.KindMonitor, State: api.TaskRunning, Attempts: []api.Attempt{{Attempt: 1, Status: "open", StartedAt: began.Add(15 * time.Second)}}},
			{ID: "keep_champion", Kind: rollout.KindKeep, State: api.TaskNotTaken},
			{ID: "notify_success", Kind: rollout.KindNotify, State: api.TaskPending},
		},
	}
}

// heldByCommands is an undecided rollout that commands drive and a person has paused.
func heldByCommands() api.Rollout {
	r := baking()
	r.Driver, r.Phase, r.RetryOf = rollout.DriverExternal, rollout.Held, "01JHY"
	r.Reason, r.Judgement = "the offline gate cannot tell", nil
	r.Hold = &rollout.Hold{Code: "gate_undecided", Reason: "the offline gate cannot tell", Since: began.Add(time.Hour), Deadline: began.Add(3 * time.Hour)}
	r.Pause = &rollout.Pause{Actor: "ann@desk", Reason: "lunch", Since: began.Add(time.Minute)}
	r.Tasks = []api.Task{
		{ID: "compare_models", Kind: rollout.KindCompare, State: api.TaskDone, Verdict: "undecided", Reason: "too few positives"},
		{ID: "rollback_deployment", Kind: rollout.KindRollback, State: api.TaskFailed, Verdict: "failed"},
	}
	return r
}

// undone is an ended undo that owes something to the registry.
func undone() api.Rollout {
	until := began.Add(30 * time.Minute)
	return api.Rollout{
		ID: "01JJ0", Model: "fraud", Kind: rollout.KindOfUndo, Of: "01JHZ", Phase: rollout.Succeeded, Reason: "version 41 has 100 % again",
		Champion: model.Pin{Version: "41"}, Owed: []string{"settle_registry"}, StartedAt: began, EndedAt: new(began.Add(26 * time.Hour)), WatchUntil: &until,
		Hold: &rollout.Hold{Since: began, Reason: "kept"},
	}
}

func TestRender_Golden(t *testing.T) {
	t.Parallel()
	now := began.Add(12*time.Minute + 45*time.Second)
	var b strings.Builder
	for _, r := range []api.Rollout{baking(), heldByCommands(), undone()} {
		b.WriteString(renderRollout(r, now) + "---\n")
	}
	golden(t, "get.txt", b.String())
}

func TestRender_Line(t *testing.T) {
	t.Parallel()
	r := baking()
	r.Reason = "two\nlines"
	want := "◌ progressing at monitor_5_percent, 5 % canary: two; lines\n"
	if got := renderLine(r); got != want {
		t.Errorf("line %q, want %q", got, want)
	}
	r.Task = ""
	if got := renderLine(r); strings.Contains(got, " at ") {
		t.Errorf("line of a rollout at no task: %q", got)
	}
}

func TestRender_List(t *testing.T) {
	t.Parallel()
	got := renderList([]api.Rollout{baking(), undone()}, began.Add(90*time.Second))
	want := "" +
		"ROLLOUT  MODEL                    STATUS         STEP  WEIGHT  VERSIONS  AGE    REASON\n" +
		"01JHZ    fraud_detection_xgboost  ◌ progressing  1/3   5 %     41 > 42   1m30s  baking at 5 %: healthy so far\n" +
		"01JJ0    fraud                    ✔ succeeded    0/0   0 %     41 > -    1m30s  version 41 has 100 % again\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
}

// Every state has an icon of its own kind and a word: nothing depends on color.
func TestRender_IconsAndWords(t *testing.T) {
	t.Parallel()
	for phase, want := range map[rollout.Phase]string{
		rollout.Progressing: "◌", rollout.Paused: "॥", rollout.Held: "?", rollout.Succeeded: "✔",
		rollout.RolledBack: "✖", rollout.Rejected: "✖", rollout.Aborted: "✖", rollout.Failed: "✖", "else": "•",
	} {
		if got := phaseIcon(phase); got != want {
			t.Errorf("icon of %s: %s, want %s", phase, got, want)
		}
	}
	for verdict, want := range map[analysis.Verdict]string{
		analysis.VerdictPass: "✔", analysis.VerdictFail: "✖", analysis.VerdictInconclusive: "?", analysis.VerdictNoData: "∅",
		analysis.VerdictProviderError: "⚠", analysis.VerdictEnvironmentDegraded: "⚠", "else": "•",
	} {
		if got := verdictIcon(verdict); got != want {
			t.Errorf("icon of %s: %s, want %s", verdict, got, want)
		}
	}
	for _, tt := range []struct {
		state, verdict, icon, word string
	}{
		{api.TaskPending, "", "•", "pending"},
		{api.TaskNotTaken, "", "•", "not_taken"},
		{api.TaskRunning, "", "◌", "running"},
		{api.TaskWaiting, "", "◷", "waiting"},
		{api.TaskFailed, "failed", "✖", "failed"},
		{api.TaskDone, "done", "✔", "done"},
		{api.TaskDone, "unhealthy", "✖", "unhealthy"},
		{api.TaskDone, "undecided", "?", "undecided"},
		{api.TaskDone, "", "✔", "done"},
	} {
		task := api.Task{State: tt.state, Verdict: tt.verdict}
		if taskIcon(task) != tt.icon || taskWord(task) != tt.word {
			t.Errorf("%s %q: %s %s, want %s %s", tt.state, tt.verdict, taskIcon(task), taskWord(task), tt.icon, tt.word)
		}
	}
}

func TestAge(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0s", 59 * time.Second: "59s", time.Minute: "1m", 90 * time.Second: "1m30s", time.Hour: "1h",
		2*time.Hour + 5*time.Minute: "2h5m", 24 * time.Hour: "1d", 50 * time.Hour: "2d2h",
	} {
		if got := age(d); got != want {
			t.Errorf("age of %s: %q, want %q", d, got, want)
		}
	}
}

func TestClip(t *testing.T) {
	t.Parallel()
	if got := clip("kurz"); got != "kurz" {
		t.Errorf("clip of a short text: %q", got)
	}
	got := clip(strings.Repeat("ä", 200))
	if n := len([]rune(got)); n != 96 || !strings.HasSuffix(got, "ä...") {
		t.Errorf("clip of 200 characters: %d, %q", n, got)
	}
}

func TestScores_JSON(t *testing.T) {
	t.Parallel()
	s := app.Scored{Values: []float32{0.1, 1, 1e-9, float32(math.NaN()), float32(math.Inf(1)), 0.33333334}, Width: 1, Kind: "probability", Notes: []string{"note"}}
	b, err := json.Marshal(scored{byRow(s)})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(b), `{"scores":[0.1,1,1e-09,null,null,0.33333334]}`; got != want {
		t.Errorf("one output: %s, want %s", got, want)
	}
	s.Width = 2
	if b, err = json.Marshal(scored{byRow(s)}); err != nil {
		t.Fatal(err)
	}
	if got, want := string(b), `{"scores":[[0.1,1],[1e-09,null],[null,0.33333334]]}`; got != want {
		t.Errorf("two outputs: %s, want %s", got, want)
	}
	if got, want := renderScores(s, byRow(s)), "# 3 rows, probability\n# note\n0.1 1\n1e-09 null\nnull 0.33333334\n"; got != want {
		t.Errorf("text: %q, want %q", got, want)
	}
	if b, err = json.Marshal(scored{byRow(app.Scored{})}); err != nil || string(b) != `{"scores":[]}` {
		t.Errorf("no rows: %s (%v)", b, err)
	}
}

func TestRender_History(t *testing.T) {
	t.Parallel()
	got := renderHistory([]api.HistoryEntry{{At: began, Actor: "ann@desk", Event: "RolloutPaused", Reason: "a\nb"}, {At: began, Actor: "serin", Event: "HoldReleased", Reason: "back"}})
	want := "2025-01-20 10:00:00 UTC  ann@desk  RolloutPaused  a; b\n2025-01-20 10:00:00 UTC  serin     HoldReleased   back\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}
