package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/analysis"
	"serin/internal/rollout"
	"serin/internal/store"
)

func TestNewWantsEveryPart(t *testing.T) {
	t.Parallel()
	if _, err := New(Options{}); err == nil {
		t.Error("an API without parts was made")
	}
}

func TestHostAndOriginAreDefended(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, host := range []string{"localhost:8080", "127.0.0.1", "[::1]:8080", "127.9.9.9:1"} {
		if status, body, _ := w.ask("GET", "/api/v1/health", "", "Host", host); status != http.StatusOK {
			t.Errorf("host %s: %d %s", host, status, body)
		}
	}
	for _, host := range []string{"evil.example", "serin.internal:8080", "10.0.0.7:8080"} {
		w.refused("GET", "/api/v1/health", "", http.StatusForbidden, "forbidden", "loopback", "Host", host)
	}
	w.refused("POST", "/api/v1/rollouts", `{"model":"fraud"}`, http.StatusForbidden, "forbidden", "evil.example", "Origin", "https://evil.example")
	origin := w.http.URL
	if status, _, _ := w.ask("GET", "/api/v1/health", "", "Origin", origin); status != http.StatusOK {
		t.Errorf("a page of our own is refused with %d", status)
	}
	if len(w.started) != 0 {
		t.Error("a refused request started something")
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.row("R1", nil)
	w.refused("GET", "/api/v1/nothing", "", http.StatusNotFound, "no_such_endpoint", "GET /api/v1/nothing")
	w.refused("DELETE", "/api/v1/rollouts/R1", "", http.StatusMethodNotAllowed, "method_not_allowed", "DELETE /api/v1/rollouts/R1: use GET")
	w.refused("GET", "/api/v1/rollouts/R9", "", http.StatusNotFound, "not_found", "serin list")
	w.refused("POST", "/api/v1/rollouts/R1/actions/explode", `{"reason":"x"}`, http.StatusNotFound, "not_found", "pause, resume, promote, abort or retry")
	w.refused("POST", "/api/v1/rollouts/R1/actions/grant", `{"reason":"x"}`, http.StatusNotFound, "not_found", "grant")
	w.refused("GET", "/api/v1/rollouts/R1/logs?after=x", "", http.StatusBadRequest, "invalid", "from 0 up")
	w.refused("GET", "/api/v1/rollouts?limit=-1", "", http.StatusBadRequest, "invalid", "from 0 up")
	w.refused("GET", "/api/v1/rollouts/R1/history?after=-3", "", http.StatusBadRequest, "invalid", "from 0 up")
}

func TestBodiesAreChecked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.row("R1", nil)
	for _, path := range []string{"/api/v1/rollouts", "/api/v1/rollouts/R1/actions/pause", "/api/v1/rollouts/R1/tasks/admit", "/api/v1/models/fraud/undo", "/api/v1/models/fraud/rollback", "/api/v1/models/fraud/unblock"} {
		w.refused("POST", path, "{", http.StatusBadRequest, "invalid", "request body")
		w.refused("POST", path, `{"surprise": 1}`, http.StatusBadRequest, "invalid", "surprise")
		w.refused("POST", path, `{"reason": "`+strings.Repeat("x", maxBody)+`"}`, http.StatusRequestEntityTooLarge, "too_large", "larger than")
	}
	for _, path := range []string{"/api/v1/rollouts/R1/actions/abort", "/api/v1/models/fraud/undo", "/api/v1/models/fraud/unblock"} {
		w.refused("POST", path, `{"reason": "  "}`, http.StatusBadRequest, "invalid", "--reason")
	}
	if len(w.signals)+len(w.actors) != 0 {
		t.Errorf("refused bodies had effects: %v %v", w.signals, w.actors)
	}
}

func TestErrorsHaveOneStatusEach(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.row("R1", nil)
	for _, tt := range []struct {
		err    error
		status int
		code   string
	}{
		{wrapped(ErrNotFound), http.StatusNotFound, "not_found"},
		{wrapped(store.ErrNotFound), http.StatusNotFound, "not_found"},
		{wrapped(rollout.ErrIllegal), http.StatusConflict, "conflict"},
		{wrapped(ErrConflict), http.StatusConflict, "conflict"},
		{wrapped(ErrInvalid), http.StatusBadRequest, "invalid"},
		{context.Canceled, http.StatusServiceUnavailable, "stopping"},
		{errBoom, http.StatusInternalServerError, "internal"},
	} {
		w.refuse = tt.err
		text := tt.err.Error()
		if tt.code == "stopping" {
			text = "try again"
		}
		w.refused("POST", "/api/v1/rollouts/R1/actions/pause", `{"reason":"x"}`, tt.status, tt.code, text)
		w.refused("POST", "/api/v1/models/fraud/rollback", `{}`, tt.status, tt.code, text)
		w.refused("GET", "/api/v1/models", "", tt.status, tt.code, text)
	}
}

func TestPeoplesWordsReachTheEngineWithTheirActor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.row("R1", baking)
	for _, action := range []string{"pause", "resume", "promote", "abort", "retry"} {
		got, err := w.client.Act(t.Context(), "fraud", action, ActionRequest{Reason: "because", Override: action == "promote"})
		if err != nil || got.Rollout != "R1" {
			t.Fatalf("%s: %+v, %v", action, got, err)
		}
	}
	want := []rollout.Signal{
		{Name: "pause", Actor: "ann@desk", Reason: "because"},
		{Name: "resume", Actor: "ann@desk", Reason: "because"},
		{Name: "promote", Actor: "ann@desk", Reason: "because", Override: true},
		{Name: "abort", Actor: "ann@desk", Reason: "because"},
		{Name: "retry", Actor: "ann@desk", Reason: "because"},
	}
	if diff := cmp.Diff(want, w.signals); diff != "" {
		t.Errorf("signals (-want +got):\n%s", diff)
	}
	if _, _, header := w.ask("POST", "/api/v1/rollouts/R1/actions/pause", `{"reason":"x"}`); header.Get("Content-Type") != "application/json" {
		t.Errorf("content type %q", header.Get("Content-Type"))
	}
	if last := w.signals[len(w.signals)-1]; last.Actor != "api" {
		t.Errorf("a caller without a name is %q", last.Actor)
	}
}

func TestRetryOfAnEndedRolloutStartsAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.row("R1", func(s *rollout.State) { s.Phase, s.Task, s.EndedAt = rollout.Rejected, "", began })
	got, err := w.client.Act(t.Context(), "R1", "retry", ActionRequest{Reason: "more data"})
	if err != nil || got.Rollout != "NEW" {
		t.Fatalf("%+v, %v", got, err)
	}
	want := []StartRequest{{Model: "fraud", RetryOf: "R1", Reason: "more data"}}
	if diff := cmp.Diff(want, w.started); diff != "" {
		t.Errorf("started (-want +got):\n%s", diff)
	}
	if len(w.signals) != 0 {
		t.Errorf("an ended row got %v", w.signals)
	}
}

func TestStartTakesTheIdempotencyKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if status, body, _ := w.ask("POST", "/api/v1/rollouts", `{"model":"fraud","reason":"r"}`, "Idempotency-Key", "dag-1"); status != http.StatusOK || !strings.Contains(body, `"rollout":"NEW"`) {
		t.Fatalf("%d %s", status, body)
	}
	if _, err := w.client.Start(t.Context(), StartRequest{Model: "fraud", Key: "mine", Driver: rollout.DriverExternal}); err != nil {
		t.Fatal(err)
	}
	if w.started[0].Key != "dag-1" || w.started[1].Key != "mine" || w.started[1].Driver != rollout.DriverExternal {
		t.Errorf("started with %+v", w.started)
	}
}

func TestTasksUndoRollbackAndUnblock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.row("R1", baking)
	a, err := w.client.Perform(t.Context(), "fraud", "monitor_5_percent", TaskRequest{MaxHold: "30m"})
	if err != nil || a.Rollout != "R1" || a.Task != "monitor_5_percent" || a.Reason != "30m" {
		t.Errorf("perform: %+v, %v", a, err)
	}
	if u, err := w.client.Undo(t.Context(), "fraud", UndoRequest{Reason: "r"}); err != nil || u.Rollout != "UNDO" {
		t.Errorf("undo: %+v, %v", u, err)
	}
	if b, err := w.client.Rollback(t.Context(), "fraud", RollbackRequest{}); err != nil || len(b.Done) != 1 {
		t.Errorf("rollback: %+v, %v", b, err)
	}
	if err := w.client.Unblock(t.Context(), "fraud", UnblockRequest{Version: "3", Reason: "fixed"}); err != nil {
		t.Errorf("unblock: %v", err)
	}
	if diff := cmp.Diff([]string{"ann@desk", "ann@desk", "ann@desk", "ann@desk"}, w.actors); diff != "" {
		t.Errorf("actors:\n%s", diff)
	}
}

func TestWaitIsForPollersThatKnowOnlyStatuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.row("R1", baking)
	status, body, _ := w.ask("GET", "/api/v1/rollouts/R1/wait", "")
	if status != http.StatusNotFound || !strings.Contains(body, `"status":"progressing"`) {
		t.Errorf("going on: %d %s", status, body)
	}
	w.update(func(ctx context.Context, tx *store.Tx) error {
		row, err := tx.Rollout(ctx, "R1")
		if err != nil {
			return err
		}
		row.State.Phase, row.State.Reason, row.State.Task, row.State.EndedAt = rollout.RolledBack, "6.7 % > 5 %", "", began
		_, err = tx.SaveRollout(ctx, row, began)
		return err
	})
	status, body, _ = w.ask("GET", "/api/v1/rollouts/R1/wait", "")
	if status != http.StatusOK || !strings.Contains(body, `"status":"rolled_back"`) || !strings.Contains(body, "6.7 %") {
		t.Errorf("ended: %d %s", status, body)
	}
	w.refused("GET", "/api/v1/rollouts/NONE/wait", "", http.StatusGone, "not_found", "NONE")
}

func TestRoutingHasAnETag(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	status, body, header := w.ask("GET", "/api/v1/models/fraud/routing", "")
	tag := header.Get("ETag")
	if status != http.StatusOK || body != w.document || !strings.HasPrefix(tag, `"7-`) {
		t.Errorf("%d %s %s", status, body, tag)
	}
	status, body, _ = w.ask("GET", "/api/v1/models/fraud/routing", "", "If-None-Match", tag)
	if status != http.StatusNotModified || body != "" {
		t.Errorf("unchanged: %d %q", status, body)
	}
	if status, _, _ := w.ask("GET", "/api/v1/models/fraud/routing", "", "If-None-Match", `"6"`); status != http.StatusOK {
		t.Errorf("an older generation: %d", status)
	}
	w.refuse = wrapped(ErrNotFound)
	w.refused("GET", "/api/v1/models/fraud/routing", "", http.StatusNotFound, "not_found", "fraud")
}

func TestHistoryLogsSamplesGraphAndState(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.row("R1", baking)
	w.update(func(ctx context.Context, tx *store.Tx) error {
		n, err := tx.OpenAttempt(ctx, "R1", "monitor_5_percent", began)
		if err != nil {
			return err
		}
		k := store.AttemptKey{Rollout: "R1", Task: "monitor_5_percent", Attempt: n}
		if err := tx.AppendLog(ctx, k, began, []string{"routing 5 / 95", "6.7 % > 5 %"}); err != nil {
			return err
		}
		if n, err = tx.OpenAttempt(ctx, "R1", "admit", began); err != nil {
			return err
		}
		return tx.AppendLog(ctx, store.AttemptKey{Rollout: "R1", Task: "admit", Attempt: n}, began, []string{"pinned"})
	})
	lines, err := w.client.Logs(t.Context(), "fraud", "monitor_5_percent", 1)
	if err != nil || len(lines) != 1 || lines[0].Line != "6.7 % > 5 %" || lines[0].Seq != 2 {
		t.Errorf("logs %+v, %v", lines, err)
	}
	history, err := w.client.History(t.Context(), "R1")
	if err != nil || len(history) != 1 || history[0].Event != "RolloutStarted" || history[0].Actor != "ann" {
		t.Errorf("history %+v, %v", history, err)
	}
	raw, err := w.client.State(t.Context(), "R1")
	var back rollout.State
	if err := errors.Join(err, json.Unmarshal(raw, &back)); err != nil || back.Salt != s.Salt || back.Task != s.Task {
		t.Errorf("state %s, %v", raw, err)
	}
	var nodes []rollout.Node
	graph, err := w.client.Graph(t.Context(), "R1")
	if err := errors.Join(err, json.Unmarshal(graph, &nodes)); err != nil || len(nodes) != len(rollout.Graph(s.Plan, s.Kind)) {
		t.Errorf("graph of %d nodes, %v", len(nodes), err)
	}
	at := time.Now().Add(-time.Minute).Truncate(time.Second).UTC()
	sc := analysis.Scrape{At: at, Samples: []analysis.Sample{{At: at, Role: analysis.RoleCanary, Instance: "gw", Requests: map[string]analysis.Number{"200": 3}}}}
	if err := w.store.SaveScrape(t.Context(), "fraud", sc); err != nil {
		t.Fatal(err)
	}
	scrapes, err := w.client.Samples(t.Context(), "fraud")
	if err != nil || len(scrapes) != 1 || scrapes[0].Samples[0].Requests["200"] != 3 {
		t.Errorf("samples %+v, %v", scrapes, err)
	}
	if health, err := w.client.Health(t.Context()); err != nil || health.Version != "v1.2.3" || health.PID == 0 {
		t.Errorf("health %+v, %v", health, err)
	}
	if models, err := w.client.Models(t.Context()); err != nil || models == nil {
		t.Errorf("no models are %v, %v: an empty list is wanted", models, err)
	}
}
