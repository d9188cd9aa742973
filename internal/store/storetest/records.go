package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/store"
)

func historyFilter(t *testing.T, db *store.DB) {
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		for _, e := range []store.Entry{
			{Rollout: "r1", Model: "fraud", Event: "1"},
			{Rollout: "r2", Model: "churn", Event: "2"},
			{Rollout: "r1", Model: "fraud", Event: "3"},
			{Model: "fraud", Event: "4"},
		} {
			e.At, e.Actor = Epoch, "ann"
			if err := tx.AppendHistory(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
	for _, c := range []struct {
		f    store.HistoryFilter
		want string
	}{
		{store.HistoryFilter{}, "1234"},
		{store.HistoryFilter{Rollout: "r1"}, "13"},
		{store.HistoryFilter{Model: "fraud"}, "134"},
		{store.HistoryFilter{Model: "fraud", After: 1}, "34"},
		{store.HistoryFilter{Limit: 2}, "12"},
	} {
		view(t, db, func(ctx context.Context, tx *store.Tx) error {
			all, err := tx.History(ctx, c.f)
			got := ""
			for _, e := range all {
				got += e.Event
			}
			if got != c.want {
				t.Errorf("%+v: %s, want %s", c.f, got, c.want)
			}
			return err
		})
	}
}

func notice(event string, at time.Time) store.Notice {
	return store.Notice{Rollout: "r1", Event: event, Model: "fraud", Actor: "serin", Reason: "6.7 % > 5 %", Body: json.RawMessage(`{"id":"r1"}`), At: at}
}

func noticesOnce(t *testing.T, db *store.DB) {
	insert(t, db, State(t, "r1", "fraud"))
	first, again := notice("held", Epoch), notice("held", Epoch.Add(time.Hour))
	again.Reason = "once more"
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		return errors.Join(tx.QueueNotice(ctx, first, []string{"log", "log"}), tx.QueueNotice(ctx, again, []string{"log", "oncall"}))
	})
	view(t, db, func(ctx context.Context, tx *store.Tx) error {
		notices, err1 := tx.Notices(ctx, "r1")
		all, err2 := tx.Deliveries(ctx, "r1")
		if diff := cmp.Diff([]store.Notice{first}, notices); diff != "" {
			t.Error(diff)
		}
		wanted := []store.Delivery{{DeliveryKey: store.DeliveryKey{Rollout: "r1", Event: "held", Channel: "log"}, Notice: first, Status: store.DeliveryPending, NextAt: Epoch}}
		if diff := cmp.Diff(wanted, all); diff != "" {
			t.Error(diff)
		}
		return errors.Join(err1, err2)
	})
}

// dueNow lists what is due to the channels at a time, as "event>channel".
func dueNow(t *testing.T, db *store.DB, now time.Time, channels ...string) (names []string) {
	t.Helper()
	view(t, db, func(ctx context.Context, tx *store.Tx) error {
		all, err := tx.DueDeliveries(ctx, store.Due{Channels: channels, Now: now})
		for _, d := range all {
			names = append(names, d.Event+">"+d.Channel)
		}
		return err
	})
	return names
}

func deliveries(t *testing.T, db *store.DB) {
	insert(t, db, State(t, "r1", "fraud"))
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		return errors.Join(tx.QueueNotice(ctx, notice("started", Epoch), []string{"log", "oncall"}),
			tx.QueueNotice(ctx, notice("held", Epoch.Add(time.Second)), []string{"log"}))
	})
	expect := func(what string, now time.Time, wanted []string, channels ...string) {
		t.Helper()
		if diff := cmp.Diff(wanted, dueNow(t, db, now, channels...)); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	later := Epoch.Add(time.Minute)
	expect("too early", Epoch.Add(-1), nil, "log")
	expect("first", Epoch, []string{"started>log", "started>oncall"}, "log", "oncall")
	expect("one channel", later, []string{"started>log", "held>log"}, "log", "nobody")
	expect("no channel", later, nil)
	settle := func(r store.DeliveryResult) error {
		r.Rollout = "r1"
		return db.Update(t.Context(), func(tx *store.Tx) error { return tx.SettleDelivery(t.Context(), r) })
	}
	log := store.DeliveryKey{Event: "started", Channel: "log"}
	oncall := store.DeliveryKey{Event: "started", Channel: "oncall"}
	if err := errors.Join(settle(store.DeliveryResult{DeliveryKey: log, Status: store.DeliveryDelivered, At: later}),
		settle(store.DeliveryResult{DeliveryKey: oncall, Status: store.DeliveryPending, At: later, NextAt: later.Add(time.Minute), Error: "503"})); err != nil {
		t.Fatal(err)
	}
	expect("one delivered, one later", later, []string{"held>log"}, "log", "oncall")
	expect("the retry", later.Add(time.Minute), []string{"started>oncall", "held>log"}, "log", "oncall")
	want(t, settle(store.DeliveryResult{DeliveryKey: log, Status: store.DeliveryFailed, At: later}), store.ErrConflict)
	view(t, db, func(ctx context.Context, tx *store.Tx) error {
		all, err := tx.Deliveries(ctx, "r1")
		if len(all) != 3 || all[0].Status != store.DeliveryDelivered || !all[0].SettledAt.Equal(later) || all[1].Attempts != 1 || all[1].LastError != "503" {
			t.Errorf("deliveries: %+v", all)
		}
		return err
	})
}
