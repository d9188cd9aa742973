package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"serin/internal/analysis"
	"serin/internal/model"
	"serin/internal/rollout"
	"serin/internal/store"
)

func TestStart_OneOpenRolloutAModel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.start(nil)
	_, err := w.Start(t.Context(), params("fraud"))
	wantError(t, err, ErrOpen)
	if !strings.Contains(err.Error(), id) {
		t.Errorf("%v does not name the open rollout %s", err, id)
	}
	_, err = w.StartUndo(t.Context(), undoParams())
	wantError(t, err, ErrOpen)
	if _, err := w.Start(t.Context(), params("churn")); err != nil {
		t.Errorf("another model: %v", err)
	}
	if err := w.Signal(t.Context(), id, rollout.Signal{Name: rollout.SignalAbort, Actor: "ann", Reason: "changed my mind"}); err != nil {
		t.Fatal(err)
	}
	w.start(nil)
}

// TestStart_KeyCommitsWithTheRow: whoever got no answer to a start, because the server died after its commit, asks again and gets the same rollout.
func TestStart_KeyCommitsWithTheRow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := params("fraud")
	p.Key = "dag-run-7"
	refused := p
	refused.Plan.Steps = nil
	if _, err := w.Start(t.Context(), refused); err == nil {
		t.Fatal("a plan without steps was started")
	}
	if _, ok, err := w.Started(t.Context(), p.Key); ok || err != nil {
		t.Fatalf("a refused start took the key: %v", err)
	}
	first, err := w.Start(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	again, err := w.Start(t.Context(), p)
	if err != nil || again.ID != first.ID {
		t.Errorf("the same key again: %s, %v, want %s", again.ID, err, first.ID)
	}
	if s, ok, err := w.Started(t.Context(), p.Key); !ok || err != nil || s.ID != first.ID {
		t.Errorf("started by the key: %s %v, %v", s.ID, ok, err)
	}
	other := p
	other.Key = "dag-run-8"
	_, err = w.Start(t.Context(), other)
	wantError(t, err, ErrOpen)
	w.read(func(ctx context.Context, tx *store.Tx) error {
		rows, err := tx.Rollouts(ctx, store.RolloutFilter{})
		if len(rows) != 1 {
			t.Errorf("%d rows", len(rows))
		}
		return err
	})
}

func TestStart_RefusedPlanLeavesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := params("fraud")
	p.Plan.Steps = nil
	if _, err := w.Start(t.Context(), p); err == nil {
		t.Fatal("a plan without steps was started")
	}
	w.read(func(ctx context.Context, tx *store.Tx) error {
		rows, err := tx.Rollouts(ctx, store.RolloutFilter{})
		if _, saltErr := tx.Meta(ctx, nextSaltKey("fraud")); !errors.Is(saltErr, store.ErrNotFound) || len(rows) != 0 {
			t.Errorf("a refused start left %d rows and a salt (%v)", len(rows), saltErr)
		}
		return err
	})
}

// TestStart_Salts shows that the salt of the next rollout is known before it starts, and that no two share one.
func TestStart_Salts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	seen := map[string]bool{}
	var next string
	for range 3 {
		s, err := w.Start(t.Context(), params("fraud"))
		if err != nil {
			t.Fatal(err)
		}
		if next != "" && s.Salt != next {
			t.Errorf("salt %s, the rollout before announced %s", s.Salt, next)
		}
		if seen[s.Salt] || s.Salt == s.NextSalt || s.Salt == "" {
			t.Errorf("salt %q is not new", s.Salt)
		}
		seen[s.Salt], next = true, s.NextSalt
		if err := w.Signal(t.Context(), s.ID, rollout.Signal{Name: rollout.SignalAbort, Actor: "ann", Reason: "again"}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStart_WritesHistoryAndNotice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.start(nil)
	w.read(func(ctx context.Context, tx *store.Tx) error {
		due, err := tx.DueDeliveries(ctx, store.Due{Channels: []string{"log"}, Now: now()})
		if len(due) != 1 || due[0].Event != rollout.NotifyStarted || !strings.Contains(string(due[0].Notice.Body), id) {
			t.Errorf("due: %+v", due)
		}
		return err
	})
	if got := w.history(id); !slices.Equal(got, []string{"RolloutStarted by ann"}) {
		t.Errorf("history %v", got)
	}
}

// TestStart_EndsTheWatch starts a rollout while the one before is still watched.
func TestStart_EndsTheWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stop := w.loop()
		first := w.start(nil)
		w.waitFor(first, "the watch", func(s rollout.State) bool { return s.Phase == rollout.Succeeded && s.Task == "" })
		pause(t.Context(), time.Minute)
		second := w.start(nil)
		s := w.get(first)
		if !s.WatchUntil.IsZero() || s.Tasks[rollout.TaskWatch].Verdict != "superseded" {
			t.Errorf("the watch goes on: until %s, %+v", s.WatchUntil, s.Tasks[rollout.TaskWatch])
		}
		w.waitFor(second, "the bake", at("monitor_5_percent"))
		pause(t.Context(), time.Minute)
		stop()
		if got := w.attempts(first); !slices.Contains(got, "watch_100_percent/1 dropped") {
			t.Errorf("attempts of the first: %v", got)
		}
	})
}

// TestWatch_BreachOpensAnUndo fails the watch: the undo row, the block and the message come in one transaction, and the loop carries the undo.
func TestWatch_BreachOpensAnUndo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.script.on("watch_100_percent", bake(analysis.DecisionRollback))
		stop := w.loop()
		first := w.start(func(p *rollout.StartParams) { p.Plan.Watch.Duration = time.Minute })
		w.waitFor(first, "the end of the watch", over)
		var undo rollout.State
		w.read(func(ctx context.Context, tx *store.Tx) error {
			rows, err := tx.Rollouts(ctx, store.RolloutFilter{Model: "fraud", Limit: 1})
			undo = rows[0].State
			_, blockErr := tx.Block(ctx, "fraud", "42")
			notices, noticeErr := tx.Notices(ctx, first)
			if !slices.ContainsFunc(notices, func(n store.Notice) bool { return n.Event == rollout.NotifyWatch }) {
				t.Errorf("notices: %+v", notices)
			}
			return errors.Join(err, blockErr, noticeErr)
		})
		if undo.Kind != rollout.KindOfUndo || undo.Of != first || undo.Pins.Champion.Version != "41" {
			t.Fatalf("the newest row is %+v", undo)
		}
		s := w.waitFor(undo.ID, "the end of the undo", over)
		stop()
		if s.Phase != rollout.Succeeded {
			t.Errorf("the undo ended as %s", s.Phase)
		}
	})
}

// TestWatch_UndoThatCannotBeOpened keeps the reason in the history when another rollout is open.
func TestWatch_UndoThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.start(nil)
	err := w.turn(t.Context(), first, func(u *turn) error {
		return u.record(t.Context(), []rollout.Event{{Name: "WatchFailed", Actor: "serin", Reason: "6.7 % > 5 %", OpenUndo: true}})
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := w.history(first); !slices.Contains(got, "UndoNotOpened by serin") {
		t.Errorf("history %v", got)
	}
}

func undoParams() rollout.UndoParams {
	return rollout.UndoParams{Plan: plan("fraud"), Actor: "ann", Reason: "complaints", To: model.Pin{Version: "41"}, From: model.Pin{Version: "42"}}
}

func TestStartUndo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, err := w.StartUndo(t.Context(), undoParams())
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		w.once(s.ID)
	}
	if s = w.get(s.ID); s.Phase != rollout.Succeeded || !over(s) {
		t.Errorf("the undo is %s at %q", s.Phase, s.Task)
	}
	p := undoParams()
	p.From = p.To
	if _, err := w.StartUndo(t.Context(), p); err == nil {
		t.Error("an undo from a version to itself was started")
	}
}
