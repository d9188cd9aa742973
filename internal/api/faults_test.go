package api

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/analysis"
	"serin/internal/rollout"
	"serin/internal/store"
)

var update = flag.Bool("update", false, "write the golden files of this package")

// routes are all that the API has, with a body that each takes.
var routes = []struct{ method, path, body string }{
	{"GET", "/api/v1/health", ""},
	{"GET", "/api/v1/models", ""},
	{"POST", "/api/v1/models/fraud/undo", `{"reason": "complaints"}`},
	{"POST", "/api/v1/models/fraud/rollback", `{}`},
	{"POST", "/api/v1/models/fraud/unblock", `{"reason": "fixed"}`},
	{"GET", "/api/v1/models/fraud/samples", ""},
	{"GET", "/api/v1/models/fraud/history", ""},
	{"GET", "/api/v1/models/fraud/routing", ""},
	{"POST", "/api/v1/rollouts", `{"model": "fraud"}`},
	{"GET", "/api/v1/rollouts", ""},
	{"GET", "/api/v1/rollouts/R1", ""},
	{"GET", "/api/v1/rollouts/R1/state", ""},
	{"GET", "/api/v1/rollouts/R1/logs", ""},
	{"GET", "/api/v1/rollouts/R1/history", ""},
	{"GET", "/api/v1/rollouts/R1/graph", ""},
	{"POST", "/api/v1/rollouts/R1/actions/pause", `{"reason": "lunch"}`},
	{"POST", "/api/v1/rollouts/R1/tasks/admit", `{}`},
}

// serving is a world that serves the model fraud and has a sample and a row of it.
func serving(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.row("R1", baking)
	w.sample()
	return w
}

func (w *world) sample() {
	w.t.Helper()
	at := time.Now().Add(-time.Minute).Truncate(time.Second).UTC()
	if err := w.store.SaveScrape(w.t.Context(), "fraud", analysis.Scrape{At: at}); err != nil {
		w.t.Fatal(err)
	}
}

func TestRoutes_AnswerAndNameTheirMethod(t *testing.T) {
	t.Parallel()
	w := serving(t)
	for _, r := range routes {
		if status, body, header := w.ask(r.method, r.path, r.body); status != http.StatusOK || header.Get("Content-Type") != "application/json" || !json.Valid([]byte(body)) {
			t.Errorf("%s %s: %d %s %s", r.method, r.path, status, header.Get("Content-Type"), body)
		}
		for _, method := range []string{"PUT", "DELETE", "PATCH", "GET", "POST"} {
			if method == r.method || r.path == "/api/v1/rollouts" && (method == "GET" || method == "POST") {
				continue
			}
			w.refused(method, r.path, r.body, http.StatusMethodNotAllowed, "method_not_allowed", "use ")
			if _, _, header := w.ask(method, r.path, r.body); !strings.Contains(header.Get("Allow"), r.method) {
				t.Errorf("%s %s allows %q, want %s", method, r.path, header.Get("Allow"), r.method)
			}
		}
	}
	if _, _, header := w.ask("PUT", "/api/v1/rollouts", ""); header.Get("Allow") != "GET, POST" {
		t.Errorf("allows %q", header.Get("Allow"))
	}
	if status, body, _ := w.ask("HEAD", "/api/v1/rollouts/R1", ""); status != http.StatusOK || body != "" {
		t.Errorf("HEAD: %d %q", status, body)
	}
}

func TestRoutes_UnknownIDs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, r := range routes {
		if strings.Contains(r.path, "/rollouts/R1") {
			w.refused(r.method, r.path, r.body, http.StatusNotFound, "not_found", `rollout or model "R1"`)
		}
	}
	w.refused("GET", "/api/v1/models/fruad/history", "", http.StatusNotFound, "not_found", `model "fruad"`)
	w.refused("GET", "/api/v1/models/fruad/samples", "", http.StatusNotFound, "not_found", `model "fruad"`)
	w.row("R1", baking)
	w.refused("GET", "/api/v1/rollouts/R1/logs?task=monitor_7_percent", "", http.StatusNotFound, "not_found", "serin get R1 lists its tasks")
	for _, path := range []string{"/", "/api", "/api/v1/", "/api/v2/health", "/api/v1/rollouts/R1/nothing", "/api/v1/models/fraud"} {
		w.refused("GET", path, "", http.StatusNotFound, "no_such_endpoint", "GET "+path)
	}
}

// TestModels_NothingYetIsNotNothing answers an empty list for a model that is served and has no samples or history yet.
func TestModels_NothingYetIsNotNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.models = []Model{{Name: "fraud", Champion: "41"}}
	for _, path := range []string{"/api/v1/models/fraud/samples", "/api/v1/models/fraud/history"} {
		if status, body, _ := w.ask("GET", path, ""); status != http.StatusOK || strings.TrimSpace(body) != "[]" {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	w.refuse = errBoom
	w.refused("GET", "/api/v1/models/fraud/samples", "", http.StatusInternalServerError, "internal", "disk is full")
	w.refuse = nil
	if models, err := w.client.Models(t.Context()); err != nil || len(models) != 1 || models[0].Champion != "41" {
		t.Errorf("%+v, %v", models, err)
	}
}

// TestModels_History has what concerns the model and no rollout, in its order, from a place on.
func TestModels_History(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.row("R1", baking)
	w.update(func(ctx context.Context, tx *store.Tx) error {
		return tx.AppendHistory(ctx, store.Entry{Model: "fraud", At: began, Actor: "bob", Event: "VersionUnblocked", Reason: "version 42: fixed"})
	})
	read := func(query string) (list []HistoryEntry) {
		_, body, _ := w.ask("GET", "/api/v1/models/fraud/history"+query, "")
		if err := json.Unmarshal([]byte(body), &list); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		return list
	}
	want := []HistoryEntry{
		{Seq: 1, At: began, Rollout: "R1", Model: "fraud", Actor: "ann", Event: "RolloutStarted", Reason: "weekly"},
		{Seq: 2, At: began, Model: "fraud", Actor: "bob", Event: "VersionUnblocked", Reason: "version 42: fixed"},
	}
	if diff := cmp.Diff(want, read("")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[1:], read("?after=1")); diff != "" {
		t.Errorf("after 1 (-want +got):\n%s", diff)
	}
	w.refused("GET", "/api/v1/models/fraud/history?after=1.5", "", http.StatusBadRequest, "invalid", `after="1.5"`)
}

func TestBodies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.row("R1", baking)
	long := `{"reason": "` + strings.Repeat("x", maxBody-20) + `"}`
	for name, tt := range map[string]struct {
		body   string
		status int
		code   string
		text   string
	}{
		"nothing":           {"", http.StatusBadRequest, "invalid", "it is empty: send a JSON object"},
		"two objects":       {`{"reason": "a"} {"reason": "b"}`, http.StatusBadRequest, "invalid", "something follows the JSON object"},
		"rubbish after it":  {`{"reason": "a"} rubbish`, http.StatusBadRequest, "invalid", "something follows the JSON object"},
		"a list":            {`["a"]`, http.StatusBadRequest, "invalid", "request body"},
		"a number":          {`{"reason": 7}`, http.StatusBadRequest, "invalid", "request body"},
		"null":              {`null`, http.StatusBadRequest, "invalid", "give --reason"},
		"an override":       {`{"reason": "a", "override": true}`, http.StatusBadRequest, "invalid", "only a promote overrides"},
		"space without end": {`{"reason": "a"}` + strings.Repeat(" ", maxBody), http.StatusRequestEntityTooLarge, "too_large", "larger than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			w.refused("POST", "/api/v1/rollouts/R1/actions/pause", tt.body, tt.status, tt.code, tt.text)
		})
	}
	if len(w.signals) != 0 {
		t.Errorf("refused bodies had effects: %v", w.signals)
	}
	if status, body, _ := w.ask("POST", "/api/v1/rollouts/R1/actions/pause", long); status != http.StatusOK || len(w.signals) != 1 {
		t.Errorf("a body of the largest size: %d %s", status, body)
	}
	if status, body, _ := w.ask("POST", "/api/v1/rollouts/R1/actions/pause", "{\"reason\": \"a\"}\n\n"); status != http.StatusOK {
		t.Errorf("a body with line ends: %d %s", status, body)
	}
}

func TestHosts(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"LocalHost:8080": true, "": true, "127.0.0.1.evil.example": false, "localhost.evil.example": false, "[::1]": true, "[::2]:80": false,
		"0.0.0.0:8080": false, "127.0.0.1:8080": true, "evil.example:127": false,
	} {
		if got := loopback(host); got != want {
			t.Errorf("loopback(%q) = %v", host, got)
		}
	}
	w := newWorld(t)
	for _, origin := range []string{"null", "https://127.0.0.1:1", "evil", "http://localhost"} {
		w.refused("GET", "/api/v1/health", "", http.StatusForbidden, "forbidden", "may not call this API", "Origin", origin)
	}
}

func TestActors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.row("R1", baking)
	const path, body = "/api/v1/rollouts/R1/actions/pause", `{"reason": "lunch"}`
	for header, want := range map[string]string{"ann@desk": "ann@desk", "  ann ": "ann", "": "api", "   ": "api", strings.Repeat("x", maxActor): strings.Repeat("x", maxActor)} {
		w.signals = nil
		if status, answer, _ := w.ask("POST", path, body, actorHeader, header); status != http.StatusOK || w.signals[0].Actor != want {
			t.Errorf("%q: %d %s, actor %+v", header, status, answer, w.signals)
		}
	}
	w.refused("POST", path, body, http.StatusBadRequest, "invalid", "more than 200 bytes", actorHeader, strings.Repeat("x", maxActor+1))
}

// TestErrors_AreOneLine also where what went wrong has several.
func TestErrors_AreOneLine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.row("R1", baking)
	w.refuse = errors.Join(errors.New("first"), fmt.Errorf("second\n\tthird: %w", ErrConflict))
	w.refused("POST", "/api/v1/models/fraud/rollback", "{}", http.StatusConflict, "conflict", "first second third: conflict")
}

func TestRouting_AnotherWriterChangesTheTag(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const path = "/api/v1/models/fraud/routing"
	_, _, header := w.ask("GET", path, "")
	tag := header.Get("ETag")
	for _, match := range []string{tag, "W/" + tag, `"1", ` + tag} {
		if status, _, _ := w.ask("GET", path, "", "If-None-Match", match); status != http.StatusNotModified {
			t.Errorf("If-None-Match %s: %d", match, status)
		}
	}
	w.document = `{"canary_enabled": true}` // the generation stays: its writer knows of none
	status, body, header := w.ask("GET", path, "", "If-None-Match", tag)
	if status != http.StatusOK || body != w.document || header.Get("ETag") == tag || header.Get("Cache-Control") != "no-cache" {
		t.Errorf("%d %s %s", status, body, header.Get("ETag"))
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 5 {
		w.row(fmt.Sprintf("R%d", i), func(s *rollout.State) { s.Phase, s.Task, s.EndedAt = rollout.Aborted, "", began })
	}
	ids := func(query string) (list []string) {
		var rows []Rollout
		_, body, _ := w.ask("GET", "/api/v1/rollouts"+query, "")
		if err := json.Unmarshal([]byte(body), &rows); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		for _, r := range rows {
			list = append(list, r.ID)
		}
		return list
	}
	for query, want := range map[string][]string{
		"":                                {"R4", "R3", "R2", "R1", "R0"},
		"?limit=2":                        {"R4", "R3"},
		"?limit=2&before=R3":              {"R2", "R1"},
		"?model=fraud&before=R1":          {"R0"},
		"?model=other":                    nil,
		fmt.Sprintf("?limit=%d", maxList): {"R4", "R3", "R2", "R1", "R0"},
	} {
		if diff := cmp.Diff(want, ids(query)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
	w.refused("GET", fmt.Sprintf("/api/v1/rollouts?limit=%d", maxList+1), "", http.StatusBadRequest, "invalid", "at most 1000")
	w.refused("GET", "/api/v1/rollouts?limit=99999999999999999999", "", http.StatusBadRequest, "invalid", "give a number")
}

// TestFind_TheOpenRolloutOfAModel comes before a newer one that has ended.
func TestFind_TheOpenRolloutOfAModel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.row("R1", baking)
	w.row("R2", func(s *rollout.State) { s.Phase, s.Task, s.EndedAt = rollout.Aborted, "", began })
	if r, err := w.client.Get(t.Context(), "fraud"); err != nil || r.ID != "R1" {
		t.Errorf("%s, %v", r.ID, err)
	}
}

func TestRetry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.row("U1", func(s *rollout.State) {
		s.Kind, s.Phase, s.Task, s.EndedAt = rollout.KindOfUndo, rollout.Succeeded, "", began
	})
	const body = `{"reason": "again"}`
	w.refused("POST", "/api/v1/rollouts/U1/actions/retry", body, http.StatusConflict, "conflict", "it is an undo")
	if len(w.started) != 0 {
		t.Errorf("started %+v", w.started)
	}
	w.row("R1", func(s *rollout.State) { s.Phase, s.Task, s.EndedAt = rollout.RolledBack, "", began })
	if status, answer, _ := w.ask("POST", "/api/v1/rollouts/R1/actions/retry", body, "Idempotency-Key", "k1"); status != http.StatusOK || w.started[0].Key != "k1" {
		t.Errorf("%d %s: %+v", status, answer, w.started)
	}
	w.refuse = wrapped(ErrConflict)
	w.refused("POST", "/api/v1/rollouts/R1/actions/retry", body, http.StatusConflict, "conflict", "do this")
}

// attempt stores an attempt of a task; an empty status leaves it open.
func (w *world) attempt(id, task string, status store.AttemptStatus, reason string) {
	w.t.Helper()
	w.update(func(ctx context.Context, tx *store.Tx) error {
		n, err := tx.OpenAttempt(ctx, id, task, began)
		if err != nil || status == "" {
			return err
		}
		k := store.AttemptKey{Rollout: id, Task: task, Attempt: n}
		return tx.CloseAttempt(ctx, store.Closing{AttemptKey: k, Status: status, At: began.Add(time.Second), Reason: reason})
	})
}

func TestTaskState(t *testing.T) {
	t.Parallel()
	open, retry := []Attempt{{Status: "open"}}, []Attempt{{Status: "retry", Reason: "gw-2 is silent"}}
	base := rollout.State{Reason: "baking", Phase: rollout.Progressing, Task: "monitor_5_percent", Tasks: map[string]rollout.Outcome{}, Stage: &rollout.StageVerdict{}}
	with := func(change func(*rollout.State)) rollout.State {
		s := base
		s.Tasks, s.Stage = map[string]rollout.Outcome{}, &rollout.StageVerdict{}
		change(&s)
		return s
	}
	outcome := func(verdict string) func(*rollout.State) {
		return func(s *rollout.State) {
			s.Task = ""
			s.Tasks["t"] = rollout.Outcome{Verdict: verdict, Reason: "why"}
		}
	}
	at := func(s *rollout.State) { s.Task = "t" }
	type shown struct{ state, verdict, reason string }
	for name, tt := range map[string]struct {
		state    rollout.State
		kind     rollout.TaskKind
		attempts []Attempt
		want     shown
	}{
		"not yet":                     {base, rollout.KindDeploy, nil, shown{TaskPending, "", ""}},
		"next":                        {with(at), rollout.KindDeploy, nil, shown{TaskPending, "", ""}},
		"running":                     {with(at), rollout.KindDeploy, open, shown{TaskRunning, "", "baking"}},
		"between attempts":            {with(at), rollout.KindDeploy, retry, shown{TaskWaiting, "", "gw-2 is silent"}},
		"parked in a bake":            {with(func(s *rollout.State) { s.Stage.Return = "t" }), rollout.KindDeploy, retry, shown{TaskWaiting, "", "gw-2 is silent"}},
		"parked and refused":          {with(func(s *rollout.State) { outcome("failed")(s); s.Stage.Return = "t" }), rollout.KindPromote, retry, shown{TaskWaiting, "failed", "gw-2 is silent"}},
		"parked, and it goes back":    {with(func(s *rollout.State) { s.Stage.Return, s.Ending = "t", &rollout.Ending{} }), rollout.KindDeploy, retry, shown{TaskFailed, "failed", "gw-2 is silent"}},
		"done":                        {with(outcome("healthy")), rollout.KindMonitor, retry, shown{TaskDone, "healthy", "why"}},
		"failed":                      {with(outcome("failed")), rollout.KindDeploy, retry, shown{TaskFailed, "failed", "why"}},
		"running, verdict known":      {with(func(s *rollout.State) { outcome("healthy")(s); s.Task = "t" }), rollout.KindMonitor, open, shown{TaskRunning, "healthy", "baking"}},
		"cut off by an abort":         {with(func(s *rollout.State) { s.Task, s.Phase, s.Reason = "", rollout.Aborted, "no" }), rollout.KindCompare, []Attempt{{Status: "dropped"}}, shown{TaskDone, "aborted", "no"}},
		"never came to an end":        {with(func(s *rollout.State) { s.Task, s.Phase = "", rollout.RolledBack }), rollout.KindDeploy, retry, shown{TaskFailed, "failed", "gw-2 is silent"}},
		"a branch that was not taken": {with(func(s *rollout.State) { s.Task, s.Phase = "", rollout.Succeeded }), rollout.KindKeep, nil, shown{TaskNotTaken, "", ""}},
		"owed":                        {with(func(s *rollout.State) { s.Task, s.Phase, s.Owed = "", rollout.RolledBack, []string{"t"} }), rollout.KindSettle, retry, shown{TaskWaiting, "", "gw-2 is silent"}},
		"watching":                    {with(func(s *rollout.State) { s.Task, s.Phase, s.WatchUntil = "", rollout.Succeeded, began }), rollout.KindWatch, open, shown{TaskRunning, "", "baking"}},
		"the watch is to come":        {with(func(s *rollout.State) { s.Task, s.Phase, s.WatchUntil = "", rollout.Succeeded, began }), rollout.KindWatch, nil, shown{TaskPending, "", ""}},
		"open, but the row moved on":  {with(func(s *rollout.State) { s.Ending = &rollout.Ending{} }), rollout.KindDeploy, open, shown{TaskFailed, "failed", ""}},
	} {
		var got shown
		got.state, got.verdict, got.reason = taskState(tt.state, rollout.Node{ID: "t", Kind: tt.kind}, tt.attempts)
		if got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}

// TestView_GoingBackHasNoNextWeight shows no step that will not come.
func TestView_GoingBackHasNoNextWeight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.row("R1", func(s *rollout.State) {
		baking(s)
		s.Task, s.Ending = rollout.TaskRollback, &rollout.Ending{Phase: rollout.RolledBack, Reason: "6.7 % > 5 %"}
	})
	if r, err := w.client.Get(t.Context(), "R1"); err != nil || r.NextWeightPct != 0 || r.WeightPct != 5 {
		t.Errorf("%+v, %v", r, err)
	}
	w.row("R2", func(s *rollout.State) { s.Model = "churn" })
	if r, err := w.client.Get(t.Context(), "R2"); err != nil || r.Step != 0 || r.NextWeightPct != 5 || r.Judgement != nil {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestView_Shape holds the JSON of a rollout, which programs read, against a golden file; `go test ./internal/api -run Shape -update` writes it anew.
func TestView_Shape(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.row("R1", func(s *rollout.State) {
		baking(s)
		s.RetryOf, s.Reason, s.Phase = "R0", "no sample since 09:00", rollout.Held
		s.Hold = &rollout.Hold{Code: "provider_error", Reason: "no sample since 09:00", Since: began, Deadline: began.Add(2 * time.Hour)}
		s.Gate = &rollout.GateVerdict{Decision: "promote", Reasons: []string{"f1 0.92 >= 0.90 x 1.01"}, Report: json.RawMessage(`{"decision":"promote"}`)}
		s.Stage.Judgement.Checks = []analysis.Evidence{{Check: analysis.CheckErrors, Verdict: analysis.VerdictPass, Code: analysis.CodeBaking, Action: analysis.DecisionContinue, Limit: 0.05, Requests: 812, Text: "error rate 0 % (0 of 812 requests) < 5 %"}}
	})
	w.attempt("R1", "admit", store.AttemptLost, "the process that ran it ended without a result")
	w.attempt("R1", "admit", store.AttemptDone, "champion version 41, challenger version 42")
	w.attempt("R1", "monitor_5_percent", "", "")
	_, body, _ := w.ask("GET", "/api/v1/rollouts/R1", "")
	var shape any
	if err := json.Unmarshal([]byte(body), &shape); err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(shape, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/rollout.json"
	if *update {
		if err := os.WriteFile(golden, append(got, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestClient_EveryErrorIsOfItsKind also through the wire.
func TestClient_EveryErrorIsOfItsKind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kinds := []error{ErrNotFound, ErrConflict, ErrInvalid}
	for i, err := range kinds {
		w.refuse = wrapped(err)
		_, got := w.client.Models(t.Context())
		for j, kind := range kinds {
			if errors.Is(got, kind) != (i == j) {
				t.Errorf("%v is %v: %v", got, kind, errors.Is(got, kind))
			}
		}
		var status *StatusError
		if !errors.As(got, &status) || status.Body.Code == "" || got.Error() != w.refuse.Error() {
			t.Errorf("%v: %+v", got, status)
		}
	}
	if errors.Is(&StatusError{Status: http.StatusTeapot, Body: Error{Code: "x"}}, ErrConflict) || !errors.Is(&StatusError{Status: http.StatusGone, Body: Error{Code: "not_found"}}, ErrNotFound) {
		t.Error("a status is of another kind")
	}
}

// TestClient_SomebodyElsesAnswers are not taken for Serin's: a page that is not found says nothing of a rollout.
func TestClient_SomebodyElsesAnswers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"404 of another server": {http.NotFound, "check --server"},
		"html":                  {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, "is not Serin's"},
		"another shape":         {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`["a"]`)) }, "is not Serin's"},
		"half an answer": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte(`{"id": `))
		}, "no serin server answers"},
		"empty 500": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, "500 Internal Server Error"},
	} {
		server := httptest.NewServer(tt.answer)
		c, err := NewClient(ClientOptions{URL: server.URL + "/"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Get(t.Context(), "R1")
		if err == nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, ErrNotFound) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
		server.Close()
	}
}

// TestClient_NamesAreEscaped lets a model have any name that the registry allows.
func TestClient_NamesAreEscaped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const name = "fraud & co? 100%#1"
	w.row("R1", func(s *rollout.State) { baking(s); s.Model = name })
	if r, err := w.client.Get(t.Context(), name); err != nil || r.Model != name {
		t.Errorf("%+v, %v", r.Model, err)
	}
	if list, err := w.client.List(t.Context(), name, 5); err != nil || len(list) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	if a, err := w.client.Rollback(t.Context(), name, RollbackRequest{}); err != nil || a.Rollout != name {
		t.Errorf("%+v, %v", a, err)
	}
}

// TestClient_SlowServer says who has not answered; a caller that gives up gets its own word back.
func TestClient_SlowServer(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"no header": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"half a body": func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(`{"id": "R1",`))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
	} {
		server := httptest.NewServer(answer)
		c, err := NewClient(ClientOptions{URL: server.URL})
		if err != nil {
			t.Fatal(err)
		}
		late, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err = c.Get(late, "R1")
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), server.URL+" has not answered in time") || errors.Is(err, ErrUnreachable) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.Get(gone, "R1"); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnreachable) {
			t.Errorf("%s, given up: %v", name, err)
		}
		server.Close()
	}
}
