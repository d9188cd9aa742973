package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/rollout"
	"serin/internal/store"
)

func states(r Rollout) map[string]string {
	out := map[string]string{}
	for _, t := range r.Tasks {
		out[t.ID] = t.State
	}
	return out
}

func TestViewOfABake(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.row("R1", baking)
	w.update(func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.OpenAttempt(ctx, "R1", "monitor_5_percent", began)
		return err
	})
	r, err := w.client.Get(t.Context(), "fraud")
	if err != nil {
		t.Fatal(err)
	}
	if r.ID != "R1" || r.Step != 1 || r.Steps != 3 || r.WeightPct != 5 || r.NextWeightPct != 25 || r.BakeFor != "30m0s" || r.Covered != "45s" || r.EndedAt != nil {
		t.Errorf("head %+v", r)
	}
	if r.Champion.Version != "41" || r.Challenger.Digest != "sha256:bb" || r.Judgement.CanaryRequests != 812 {
		t.Errorf("pins and judgement %+v %+v", r.Champion, r.Judgement)
	}
	want := map[string]string{
		"admit": TaskDone, "compare_models": TaskDone, "decide_deployment": TaskDone, "deploy_canary_5_percent": TaskDone, "monitor_5_percent": TaskRunning,
		"decide_25_percent": TaskPending, "deploy_canary_25_percent": TaskPending, "monitor_25_percent": TaskPending, "decide_100_percent": TaskPending,
		"deploy_canary_100_percent": TaskPending, "notify_success": TaskPending, "watch_100_percent": TaskPending,
		"keep_champion": TaskPending, "notify_rejected": TaskPending, "rollback_deployment": TaskPending, "notify_rollback": TaskPending,
	}
	if diff := cmp.Diff(want, states(r)); diff != "" {
		t.Errorf("tasks (-want +got):\n%s", diff)
	}
}

func TestViewOfAnEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.row("R1", func(s *rollout.State) {
		baking(s)
		s.Phase, s.Task, s.EndedAt, s.WeightPct = rollout.RolledBack, rollout.TaskNotifyRollback, began.Add(time.Hour), 0
		s.Tasks["monitor_5_percent"] = rollout.Outcome{Verdict: "unhealthy", Reason: "6.7 % > 5 %"}
		s.Tasks["decide_25_percent"] = rollout.Outcome{Verdict: "unhealthy"}
		s.Tasks[rollout.TaskRollback] = rollout.Outcome{Verdict: "done"}
		s.Owed = []string{rollout.TaskSettle}
	})
	w.update(func(ctx context.Context, tx *store.Tx) error {
		n, err := tx.OpenAttempt(ctx, "R1", rollout.TaskNotifyRollback, began)
		if err != nil {
			return err
		}
		k := store.AttemptKey{Rollout: "R1", Task: rollout.TaskNotifyRollback, Attempt: n}
		return tx.CloseAttempt(ctx, store.Closing{AttemptKey: k, Status: store.AttemptRetry, At: began.Add(time.Second), Reason: "slack answers 500", Evidence: json.RawMessage(`{"n":1}`)})
	})
	r, err := w.client.Get(t.Context(), "R1")
	if err != nil {
		t.Fatal(err)
	}
	got := states(r)
	for id, state := range map[string]string{
		"monitor_5_percent": TaskDone, "deploy_canary_25_percent": TaskNotTaken, "watch_100_percent": TaskNotTaken, "notify_rollback": TaskWaiting,
		"settle_registry": TaskPending, "rollback_deployment": TaskDone,
	} {
		if got[id] != state {
			t.Errorf("%s is %s, want %s", id, got[id], state)
		}
	}
	if r.EndedAt == nil || r.BakeFor != "" || r.NextWeightPct != 0 {
		t.Errorf("an end with a next step: %+v", r)
	}
	for _, task := range r.Tasks {
		if task.ID == rollout.TaskNotifyRollback && (len(task.Attempts) != 1 || task.Attempts[0].Reason != "slack answers 500" || string(task.Attempts[0].Evidence) != `{"n":1}`) {
			t.Errorf("attempts %+v", task.Attempts)
		}
	}
}

func TestViewOfFailureAndWatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.row("R1", func(s *rollout.State) {
		s.Phase, s.Task, s.EndedAt = rollout.Failed, "", began
		s.Tasks["compare_models"] = rollout.Outcome{Verdict: "failed", Reason: "no positive rows"}
	})
	failed, err := w.client.Get(t.Context(), "R1")
	if err != nil || states(failed)["compare_models"] != TaskFailed || states(failed)["admit"] != TaskNotTaken {
		t.Errorf("%v, %v", states(failed), err)
	}
	w.row("R2", func(s *rollout.State) {
		baking(s)
		s.Phase, s.Task, s.EndedAt, s.WatchUntil = rollout.Succeeded, "", began, began.Add(time.Hour)
	})
	watching, err := w.client.Get(t.Context(), "R2")
	if err != nil || states(watching)["watch_100_percent"] != TaskPending || watching.WatchUntil == nil {
		t.Errorf("%v, %v", states(watching), err)
	}
	list, err := w.client.List(t.Context(), "fraud", 10)
	if err != nil || len(list) != 2 || list[0].ID != "R2" {
		t.Errorf("list of %d, %v", len(list), err)
	}
	if list, err := w.client.List(t.Context(), "other", 10); err != nil || len(list) != 0 {
		t.Errorf("list of another model: %v, %v", list, err)
	}
	if newest, err := w.client.Get(t.Context(), "fraud"); err != nil || newest.ID != "R2" {
		t.Errorf("the newest is %s, %v", newest.ID, err)
	}
}

func TestClientSaysWhatIsWrongWithTheServer(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "127.0.0.1:8080", "ftp://x"} {
		if _, err := NewClient(ClientOptions{URL: url}); err == nil || !strings.Contains(err.Error(), "http://127.0.0.1:8080") {
			t.Errorf("url %q: %v", url, err)
		}
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }))
	defer page.Close()
	sick := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "bad gateway", http.StatusBadGateway) }))
	defer sick.Close()
	for url, text := range map[string]string{gone.URL: "no serin server answers", page.URL: "is not Serin's", sick.URL: "check --server"} {
		c, err := NewClient(ClientOptions{URL: url, Actor: "ann"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Health(t.Context()); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v, want %q", url, err, text)
		}
	}
}

func TestClientGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer srv.Close()
	defer close(hang)
	c, err := NewClient(ClientOptions{URL: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Health(ctx); err == nil || ctx.Err() == nil {
		t.Errorf("a hanging server: %v", err)
	}
}
