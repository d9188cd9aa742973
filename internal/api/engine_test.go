package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"serin/internal/engine"
	"serin/internal/rollout"
)

// idle is a runner that nobody runs.
type idle struct{}

func (idle) Run(context.Context, rollout.Task, func(rollout.Result) (rollout.Signals, error)) (rollout.Result, error) {
	return rollout.Result{}, errors.New("nothing is run in this test")
}

// TestActions_OnTheRealEngine are applied to the row in one transaction: what is not possible is a 409 that says why, changes nothing, and stays in
// the history with its actor.
func TestActions_OnTheRealEngine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e, err := engine.New(engine.Options{Store: w.store, Runner: idle{}})
	if err != nil {
		t.Fatal(err)
	}
	if w.server, err = New(Options{Store: w.store, Engine: e, Operator: w, Safety: w, Models: w, Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	w.http.Config.Handler = w.server
	w.row("R1", baking)
	for _, tt := range []struct {
		action string
		req    ActionRequest
		phase  rollout.Phase
		refuse string
	}{
		{"resume", ActionRequest{Reason: "go"}, rollout.Progressing, "nobody has paused it"},
		{"retry", ActionRequest{Reason: "go"}, rollout.Progressing, "it is neither held nor failing"},
		{"pause", ActionRequest{Reason: "lunch"}, rollout.Paused, ""},
		{"pause", ActionRequest{Reason: "again"}, rollout.Paused, "ann@desk has paused it already (lunch)"},
		{"promote", ActionRequest{Reason: "sure", Override: true}, rollout.Paused, "resume it first"},
		{"resume", ActionRequest{Reason: "back"}, rollout.Progressing, ""},
		{"promote", ActionRequest{Reason: "sure", Override: true}, rollout.Progressing, ""},
		{"abort", ActionRequest{Reason: "no"}, rollout.Progressing, ""},
		{"promote", ActionRequest{Reason: "yes"}, rollout.Progressing, "it is going back to the champion"},
	} {
		_, err := w.client.Act(t.Context(), "fraud", tt.action, tt.req)
		if tt.refuse == "" && err != nil || tt.refuse != "" && (!errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), tt.refuse)) {
			t.Errorf("%s (%s): %v, want %q", tt.action, tt.req.Reason, err, tt.refuse)
		}
		if r, err := w.client.Get(t.Context(), "R1"); err != nil || r.Phase != tt.phase {
			t.Errorf("after %s (%s): %s, %v", tt.action, tt.req.Reason, r.Phase, err)
		}
	}
	history, err := w.client.History(t.Context(), "R1")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range history {
		got = append(got, h.Event+" by "+h.Actor)
	}
	want := []string{
		"RolloutStarted by ann", "SignalRefused by ann@desk", "SignalRefused by ann@desk", "RolloutPaused by ann@desk", "SignalRefused by ann@desk",
		"SignalRefused by ann@desk", "RolloutResumed by ann@desk", "StepPromotedWithoutEvidence by ann@desk", "RollbackStarted by ann@desk", "SignalRefused by ann@desk",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
	if _, err := w.client.Act(t.Context(), "R9", "pause", ActionRequest{Reason: "x"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("an unknown rollout: %v", err)
	}
}

// TestStoreAway is an error of the server, not an unknown rollout.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.row("R1", baking)
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/api/v1/rollouts/R1", "/api/v1/rollouts", "/api/v1/rollouts/R1/wait", "/api/v1/models/fraud/history", "/api/v1/models/fraud/samples"} {
		w.refused("GET", path, "", http.StatusInternalServerError, "internal", "closed")
	}
}

// FuzzBody sends any bytes as the body of an action: they are carried out once or refused with one line, and never anything else.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{"", "{}", `{"reason": "a"}`, `{"reason": "a"} x`, `{"reason": "a", "override": true}`, "null", `{"Reason": "A"}`, "{\"reason\": \"\xff\"}", strings.Repeat("[", 20000)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var req ActionRequest
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(string(body)))
		err := decode(r, &req)
		if err == nil {
			return
		}
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v is no error of the caller", body, err)
		}
		w := httptest.NewRecorder()
		(&Server{Options: Options{Logger: slog.New(slog.DiscardHandler)}}).failed(w, r, err)
		if answer := strings.TrimSpace(w.Body.String()); w.Code != http.StatusBadRequest || strings.Contains(answer, "\n") {
			t.Errorf("%q: %d %q", body, w.Code, answer)
		}
	})
}

var _ Signaller = (*engine.Engine)(nil)
