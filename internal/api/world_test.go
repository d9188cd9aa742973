package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"serin/internal/analysis"
	"serin/internal/model"
	"serin/internal/rollout"
	"serin/internal/store"
	"serin/internal/store/sqlite"
)

var began = time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)

// world is a Server on a real store, with the parts behind it that a test scripts and listens to.
type world struct {
	t      *testing.T
	store  *store.DB
	server *Server
	http   *httptest.Server
	client *Client

	signals  []rollout.Signal
	started  []StartRequest
	actors   []string
	refuse   error // what the parts answer with, when set
	document string
	models   []Model
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db, err := sqlite.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	w := &world{t: t, store: db, document: `{"canary_enabled": false}`}
	w.server, err = New(Options{Store: db, Engine: w, Operator: w, Safety: w, Models: w, Version: "v1.2.3", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	w.http = httptest.NewServer(w.server)
	t.Cleanup(w.http.Close)
	if w.client, err = NewClient(ClientOptions{URL: w.http.URL, Actor: "ann@desk"}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) Signal(ctx context.Context, id string, sig rollout.Signal) error {
	if w.refuse != nil {
		return w.refuse
	}
	w.signals = append(w.signals, sig)
	return w.store.View(ctx, func(tx *store.Tx) error { _, err := tx.Rollout(ctx, id); return err })
}

func (w *world) Start(_ context.Context, actor string, r StartRequest) (rollout.State, error) {
	w.started, w.actors = append(w.started, r), append(w.actors, actor)
	return rollout.State{ID: "NEW"}, w.refuse
}

func (w *world) Undo(_ context.Context, actor, _ string, _ UndoRequest) (rollout.State, error) {
	w.actors = append(w.actors, actor)
	return rollout.State{ID: "UNDO"}, w.refuse
}

func (w *world) Perform(_ context.Context, actor, id, task string, r TaskRequest) (TaskAnswer, error) {
	w.actors = append(w.actors, actor)
	return TaskAnswer{Rollout: id, Task: task, Phase: rollout.Progressing, Verdict: "done", Reason: r.MaxHold}, w.refuse
}

func (w *world) Rollback(_ context.Context, actor, name string, _ RollbackRequest) (RollbackAnswer, error) {
	w.actors = append(w.actors, actor)
	return RollbackAnswer{Rollout: name, Done: []string{"written"}}, w.refuse
}

func (w *world) Unblock(_ context.Context, actor, _ string, _ UnblockRequest) error {
	w.actors = append(w.actors, actor)
	return w.refuse
}

func (w *world) Models(context.Context) ([]Model, error) { return w.models, w.refuse }

func (w *world) Routing(context.Context, string) ([]byte, int64, error) {
	return []byte(w.document), 7, w.refuse
}

// row stores a rollout after changing it.
func (w *world) row(id string, change func(*rollout.State)) rollout.State {
	w.t.Helper()
	plan := rollout.DefaultPlan("fraud")
	plan.Gate.Data, plan.Gate.Label = "/data/holdout.parquet", "is_fraud"
	s, events, err := rollout.Start(rollout.StartParams{ID: id, Plan: plan, Driver: rollout.DriverLocal, Actor: "ann", Reason: "weekly", Salt: "a", NextSalt: "b"}, began)
	if err != nil {
		w.t.Fatal(err)
	}
	if change != nil {
		change(&s)
	}
	w.update(func(ctx context.Context, tx *store.Tx) error {
		for _, e := range events {
			if err := tx.AppendHistory(ctx, store.Entry{Rollout: id, Model: s.Model, At: began, Actor: e.Actor, Event: e.Name, Reason: e.Reason}); err != nil {
				return err
			}
		}
		_, err := tx.InsertRollout(ctx, s, began)
		return err
	})
	return s
}

// baking is a row in the middle of its 5 % bake.
func baking(s *rollout.State) {
	s.Task, s.Exposed, s.WeightPct = "monitor_5_percent", true, 5
	s.Pins = rollout.Pins{Champion: model.Pin{Version: "41", Digest: "sha256:aa"}, Challenger: model.Pin{Version: "42", Digest: "sha256:bb"}}
	s.Tasks = map[string]rollout.Outcome{
		rollout.TaskAdmit: {Verdict: "done", At: began}, rollout.TaskCompare: {Verdict: "promote", Reason: "better", At: began},
		"decide_deployment": {Verdict: "approve", At: began}, "deploy_canary_5_percent": {Verdict: "done", At: began},
	}
	j := analysis.Judgement{At: began.Add(time.Minute), Decision: analysis.DecisionContinue, Verdict: analysis.VerdictPass, Reason: "baking", Covered: 45 * time.Second, CanaryRequests: 812}
	s.Stage = &rollout.StageVerdict{Stage: 0, Since: began, Judgement: &j}
}

func (w *world) update(fn func(context.Context, *store.Tx) error) {
	w.t.Helper()
	ctx := w.t.Context()
	if err := w.store.Update(ctx, func(tx *store.Tx) error { return fn(ctx, tx) }); err != nil {
		w.t.Fatal(err)
	}
}

// ask sends a request as it stands and gives status, body and header back.
func (w *world) ask(method, path, body string, headers ...string) (int, string, http.Header) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.http.URL+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(text), resp.Header
}

// refused wants an error answer of one line with a status, a code and a text.
func (w *world) refused(method, path, body string, status int, code, text string, headers ...string) {
	w.t.Helper()
	got, answer, _ := w.ask(method, path, body, headers...)
	var e Error
	if err := json.Unmarshal([]byte(answer), &e); err != nil {
		w.t.Fatalf("%s %s: not an error of ours: %s", method, path, answer)
	}
	if got != status || e.Code != code || !strings.Contains(e.Message, text) || strings.Contains(e.Message, "\n") {
		w.t.Errorf("%s %s %s: %d %s %q, want %d %s with %q", method, path, body, got, e.Code, e.Message, status, code, text)
	}
}

var errBoom = errors.New("disk is full")

func wrapped(kind error) error { return fmt.Errorf("fraud: %w: do this", kind) }
