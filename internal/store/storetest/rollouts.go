package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/analysis"
	"serin/internal/model"
	"serin/internal/rollout"
	"serin/internal/store"
)

// full is a state with everything in it that a row can carry.
func full(t *testing.T) rollout.State {
	s := State(t, "r1", "fraud")
	s.RetryOf, s.Driver = "r0", rollout.DriverExternal
	s.Pins = rollout.Pins{Champion: model.Pin{Version: "41", Digest: "sha256:aa"}, Challenger: model.Pin{Version: "42"}}
	s.Task, s.Granted, s.Exposed, s.WeightPct = "monitor_5_percent", "monitor_5_percent", true, 5
	s.Tasks = map[string]rollout.Outcome{"admit": {Verdict: "done", Reason: "pinned", At: Epoch}}
	s.Pause = &rollout.Pause{Actor: "ann", Reason: "lunch", Since: Epoch}
	s.Hold = &rollout.Hold{Code: "no_data", Reason: "nothing seen", Since: Epoch, Deadline: Epoch.Add(time.Hour)}
	s.Gate = &rollout.GateVerdict{Decision: "promote", Reasons: []string{"better"}, Report: json.RawMessage(`{"f1":0.9}`)}
	s.Stage = &rollout.StageVerdict{
		Judge: analysis.State(`{"v":1}`), Since: Epoch,
		Judgement: &analysis.Judgement{At: Epoch, Decision: analysis.DecisionHold, Reason: "nothing seen", Covered: time.Minute},
	}
	return s
}

func rolloutRoundTrip(t *testing.T, db *store.DB) {
	s := full(t)
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.Rollout(ctx, "r1")
		want(t, err, store.ErrNotFound)
		row, err := tx.InsertRollout(ctx, s, Epoch)
		if err != nil {
			return err
		}
		row.State.Reason = "changed"
		saved, err := tx.SaveRollout(ctx, row, Epoch.Add(time.Minute))
		if saved.Generation != 2 {
			t.Errorf("generation %d after one save, want 2", saved.Generation)
		}
		return err
	})
	view(t, db, func(ctx context.Context, tx *store.Tx) error {
		got, err := tx.Rollout(ctx, "r1")
		s.Reason = "changed"
		wanted := store.Rollout{State: s, Generation: 2, CreatedAt: Epoch, UpdatedAt: Epoch.Add(time.Minute)}
		if diff := cmp.Diff(wanted, got); diff != "" {
			t.Error(diff)
		}
		return err
	})
}

func oneOpenRollout(t *testing.T, db *store.DB) {
	insert(t, db, State(t, "r1", "fraud"), State(t, "r2", "churn"))
	second := func() error {
		return db.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.InsertRollout(t.Context(), State(t, "r3", "fraud"), Epoch)
			return err
		})
	}
	if second() == nil {
		t.Fatal("two open rollouts of one model")
	}
	view(t, db, func(ctx context.Context, tx *store.Tx) error {
		got, err := tx.OpenRollout(ctx, "fraud")
		if got.State.ID != "r1" {
			t.Errorf("open rollout is %q, want r1", got.State.ID)
		}
		return err
	})
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		row, err := tx.Rollout(ctx, "r1")
		if err != nil {
			return err
		}
		row.State = Ended(row.State, rollout.Aborted, Epoch)
		_, err = tx.SaveRollout(ctx, row, Epoch)
		if err != nil {
			return err
		}
		_, err = tx.OpenRollout(ctx, "fraud")
		want(t, err, store.ErrNotFound)
		return nil
	})
	if err := second(); err != nil {
		t.Errorf("after the first has ended: %v", err)
	}
}

func staleSave(t *testing.T, db *store.DB) {
	insert(t, db, State(t, "r1", "fraud"))
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		row, err := tx.Rollout(ctx, "r1")
		if err != nil {
			return err
		}
		if _, err := tx.SaveRollout(ctx, row, Epoch); err != nil {
			return err
		}
		_, err = tx.SaveRollout(ctx, row, Epoch)
		want(t, err, store.ErrConflict)
		return nil
	})
}

func listRollouts(t *testing.T, db *store.DB) {
	for _, id := range []string{"r1", "r2", "r3", "r4"} {
		m := "fraud"
		if id == "r3" {
			m = "churn"
		}
		insert(t, db, Ended(State(t, id, m), rollout.Rejected, Epoch))
	}
	for _, c := range []struct {
		f    store.RolloutFilter
		want []string
	}{
		{store.RolloutFilter{}, []string{"r4", "r3", "r2", "r1"}},
		{store.RolloutFilter{Model: "fraud"}, []string{"r4", "r2", "r1"}},
		{store.RolloutFilter{Model: "fraud", Before: "r4"}, []string{"r2", "r1"}},
		{store.RolloutFilter{Limit: 2}, []string{"r4", "r3"}},
		{store.RolloutFilter{Model: "nobody"}, nil},
	} {
		view(t, db, func(ctx context.Context, tx *store.Tx) error {
			rows, err := tx.Rollouts(ctx, c.f)
			var got []string
			for _, r := range rows {
				got = append(got, r.State.ID)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%+v: %s", c.f, diff)
			}
			return err
		})
	}
}

// liveRollouts has a row for each reason to be live, and one that has none.
func liveRollouts(t *testing.T, db *store.DB) {
	telling := Ended(State(t, "r2", "b"), rollout.RolledBack, Epoch)
	telling.Task = rollout.TaskNotifyRollback
	owing := Ended(State(t, "r3", "c"), rollout.RolledBack, Epoch)
	owing.Owed = []string{rollout.TaskSettle}
	watching := Ended(State(t, "r4", "d"), rollout.Succeeded, Epoch)
	watching.WatchUntil, watching.Driver = Epoch.Add(time.Hour), rollout.DriverExternal
	insert(t, db, State(t, "r1", "a"), telling, owing, watching, Ended(State(t, "r5", "e"), rollout.Succeeded, Epoch))
	view(t, db, func(ctx context.Context, tx *store.Tx) error {
		got, err := tx.LiveRollouts(ctx)
		wanted := []store.Live{
			{ID: "r1", Model: "a", Driver: rollout.DriverLocal},
			{ID: "r2", Model: "b", Driver: rollout.DriverLocal},
			{ID: "r3", Model: "c", Driver: rollout.DriverLocal},
			{ID: "r4", Model: "d", Driver: rollout.DriverExternal},
		}
		if diff := cmp.Diff(wanted, got); diff != "" {
			t.Error(diff)
		}
		return err
	})
}

func watchingAndSucceeded(t *testing.T, db *store.DB) {
	old := Ended(State(t, "r1", "fraud"), rollout.Succeeded, Epoch)
	watching := Ended(State(t, "r2", "fraud"), rollout.Succeeded, Epoch)
	watching.WatchUntil = Epoch.Add(time.Hour)
	insert(t, db, old, watching, Ended(State(t, "r3", "fraud"), rollout.RolledBack, Epoch), State(t, "r4", "fraud"))
	view(t, db, func(ctx context.Context, tx *store.Tx) error {
		last, err1 := tx.LastSucceeded(ctx, "fraud")
		all, err2 := tx.Watching(ctx, "fraud")
		if last.State.ID != "r2" || len(all) != 1 || all[0].State.ID != "r2" {
			t.Errorf("last succeeded %q, watching %d rows; want r2 and r2 alone", last.State.ID, len(all))
		}
		_, err := tx.LastSucceeded(ctx, "churn")
		want(t, err, store.ErrNotFound)
		return errors.Join(err1, err2)
	})
}
