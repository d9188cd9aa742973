package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/rollout"
	"serin/internal/store"
)

// attemptsFenced opens an attempt, takes it over with the next one, and shows that the first can do nothing any more.
func attemptsFenced(t *testing.T, db *store.DB) {
	insert(t, db, State(t, "r1", "fraud"))
	first, second := store.AttemptKey{Rollout: "r1", Task: "admit", Attempt: 1}, store.AttemptKey{Rollout: "r1", Task: "admit", Attempt: 2}
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		for i, k := range []store.AttemptKey{first, second} {
			n, err := tx.OpenAttempt(ctx, "r1", "admit", Epoch)
			if err != nil || n != k.Attempt {
				t.Fatalf("attempt %d opened as %d: %v", i+1, n, err)
			}
			if err := tx.CheckAttempt(ctx, k); err != nil {
				return err
			}
			if i == 0 {
				if err := tx.CloseAttempt(ctx, store.Closing{AttemptKey: first, Status: store.AttemptLost, At: Epoch, Reason: "process gone"}); err != nil {
					return err
				}
			}
		}
		open, err := tx.OpenAttempts(ctx, "r1")
		if len(open) != 1 || open[0].AttemptKey != second {
			t.Errorf("open attempts: %+v", open)
		}
		return err
	})
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		want(t, tx.CheckAttempt(ctx, first), store.ErrFenced)
		want(t, tx.SaveProgress(ctx, store.Progress{AttemptKey: first, Reason: "late"}), store.ErrFenced)
		want(t, tx.CloseAttempt(ctx, store.Closing{AttemptKey: first, Status: store.AttemptDone, At: Epoch}), store.ErrFenced)
		want(t, tx.CloseAttempt(ctx, store.Closing{AttemptKey: store.AttemptKey{Rollout: "r1", Task: "admit", Attempt: 9}}), store.ErrFenced)
		return tx.CloseAttempt(ctx, store.Closing{AttemptKey: second, Status: store.AttemptDone, At: Epoch})
	})
	view(t, db, func(ctx context.Context, tx *store.Tx) error {
		all, err := tx.Attempts(ctx, "r1")
		if len(all) != 2 || all[0].Status != store.AttemptLost || all[0].Reason != "process gone" || all[1].Status != store.AttemptDone {
			t.Errorf("attempts: %+v", all)
		}
		return err
	})
}

func attemptContents(t *testing.T, db *store.DB) {
	insert(t, db, State(t, "r1", "fraud"))
	k := store.AttemptKey{Rollout: "r1", Task: "compare_models", Attempt: 1}
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.OpenAttempt(ctx, "r1", "compare_models", Epoch)
		return errors.Join(err,
			tx.SaveProgress(ctx, store.Progress{AttemptKey: k, Reason: "half way", Evidence: json.RawMessage(`{"rows":50}`)}),
			tx.SaveProgress(ctx, store.Progress{AttemptKey: k}))
	})
	expect := func(wanted store.Attempt) {
		t.Helper()
		view(t, db, func(ctx context.Context, tx *store.Tx) error {
			all, err := tx.Attempts(ctx, "r1")
			if diff := cmp.Diff([]store.Attempt{wanted}, all); diff != "" {
				t.Error(diff)
			}
			return err
		})
	}
	expect(store.Attempt{AttemptKey: k, Status: store.AttemptOpen, StartedAt: Epoch, Reason: "half way", Evidence: json.RawMessage(`{"rows":50}`)})
	end := Epoch.Add(time.Minute)
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		return tx.CloseAttempt(ctx, store.Closing{AttemptKey: k, Status: store.AttemptDone, At: end, Verdict: "promote", Reason: "better"})
	})
	expect(store.Attempt{AttemptKey: k, Status: store.AttemptDone, StartedAt: Epoch, EndedAt: end, Verdict: "promote", Reason: "better", Evidence: json.RawMessage(`{"rows":50}`)})
}

func logs(t *testing.T, db *store.DB) {
	insert(t, db, State(t, "r1", "fraud"), State(t, "r2", "churn"))
	a1 := store.AttemptKey{Rollout: "r1", Task: "a", Attempt: 1}
	a2 := store.AttemptKey{Rollout: "r1", Task: "a", Attempt: 2}
	b1 := store.AttemptKey{Rollout: "r1", Task: "b", Attempt: 1}
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		for _, k := range []store.AttemptKey{a1, a2, b1, {Rollout: "r2", Task: "a", Attempt: 1}} {
			if _, err := tx.OpenAttempt(ctx, k.Rollout, k.Task, Epoch); err != nil {
				return err
			}
			if err := tx.AppendLog(ctx, k, Epoch, []string{k.Task + " begins", k.Task + " ends"}); err != nil {
				return err
			}
		}
		return tx.AppendLog(ctx, a1, Epoch, nil)
	})
	for _, c := range []struct {
		f    store.LogFilter
		want []int64
	}{
		{store.LogFilter{Rollout: "r1"}, []int64{1, 2, 3, 4, 5, 6}},
		{store.LogFilter{Rollout: "r1", Task: "a"}, []int64{1, 2, 3, 4}},
		{store.LogFilter{Rollout: "r1", Task: "a", Attempt: 2}, []int64{3, 4}},
		{store.LogFilter{Rollout: "r1", After: 4}, []int64{5, 6}},
		{store.LogFilter{Rollout: "r1", Limit: 1}, []int64{1}},
		{store.LogFilter{Rollout: "r2"}, []int64{1, 2}},
	} {
		view(t, db, func(ctx context.Context, tx *store.Tx) error {
			lines, err := tx.Logs(ctx, c.f)
			var got []int64
			for _, l := range lines {
				got = append(got, l.Seq)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%+v: %s", c.f, diff)
			}
			return err
		})
	}
}

func signals(t *testing.T, db *store.DB) {
	insert(t, db, State(t, "r1", "fraud"), State(t, "r2", "churn"))
	pause := rollout.Signal{Name: rollout.SignalPause, Actor: "ann", Reason: "lunch"}
	promote := rollout.Signal{Name: rollout.SignalPromote, Actor: "bob", Reason: "sure", Override: true}
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		for _, c := range []struct {
			id  string
			sig rollout.Signal
		}{{"r1", pause}, {"r2", pause}, {"r1", promote}} {
			if _, err := tx.AddSignal(ctx, c.id, c.sig, Epoch); err != nil {
				return err
			}
		}
		return nil
	})
	later := Epoch.Add(time.Second)
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		got, err := tx.WaitingSignals(ctx, "r1")
		wanted := []store.Signal{{ID: 1, Rollout: "r1", Signal: pause, At: Epoch}, {ID: 3, Rollout: "r1", Signal: promote, At: Epoch}}
		if diff := cmp.Diff(wanted, got); diff != "" {
			t.Error(diff)
		}
		return errors.Join(err, tx.SettleSignal(ctx, 1, later, ""), tx.SettleSignal(ctx, 3, later, "not now"))
	})
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		want(t, tx.SettleSignal(ctx, 1, later, ""), store.ErrConflict)
		waiting, err1 := tx.WaitingSignals(ctx, "r1")
		all, err2 := tx.Signals(ctx, "r1")
		if len(waiting) != 0 || len(all) != 2 || all[1].Error != "not now" || !all[1].AppliedAt.Equal(later) {
			t.Errorf("waiting %+v, all %+v", waiting, all)
		}
		return errors.Join(err1, err2)
	})
}
