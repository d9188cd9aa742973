package app

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"serin/internal/notify"
	"serin/internal/rollout"
	"serin/internal/store"
	"serin/internal/store/sqlite"
)

// outbox is a deliverer on a store of its own, with a webhook that counts.
type outbox struct {
	*deliverer
	came   atomic.Int64
	status atomic.Int64
	raw    *sql.DB
}

func newOutbox(t *testing.T) *outbox {
	t.Helper()
	o := &outbox{}
	o.status.Store(http.StatusOK)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		o.came.Add(1)
		w.WriteHeader(int(o.status.Load()))
	}))
	t.Cleanup(srv.Close)
	dir := t.TempDir()
	db, err := sqlite.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if o.raw, err = sql.Open("sqlite", "file:"+filepath.Join(dir, sqlite.File)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(o.raw.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	n, err := notify.New(notify.Options{Logger: slog.New(slog.DiscardHandler), Channels: []notify.Channel{
		{Name: "hook", Kind: notify.KindWebhook, URL: srv.URL, On: []string{"started"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	o.deliverer = &deliverer{store: db, notifier: n, channels: []string{"hook"}, log: slog.New(slog.DiscardHandler), unwritten: map[store.DeliveryKey]store.DeliveryResult{}}
	plan := rollout.DefaultPlan("fraud")
	plan.Gate.Off = true
	s, _, err := rollout.Start(rollout.StartParams{ID: "r1", Plan: plan, Driver: rollout.DriverLocal, Actor: "ann", Reason: "test", Salt: "a", NextSalt: "b"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.InsertRollout(t.Context(), s, time.Now()); err != nil {
			return err
		}
		return tx.QueueNotice(t.Context(), store.Notice{Rollout: "r1", Event: "started", Model: "fraud", Body: body, At: time.Now()}, []string{"hook"})
	})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// full makes the store refuse to record deliveries, as one whose disk is full; space ends that.
func (o *outbox) full(t *testing.T) {
	t.Helper()
	o.execute(t, `CREATE TRIGGER full BEFORE UPDATE ON deliveries BEGIN SELECT RAISE(ABORT, 'disk is full'); END`)
}

func (o *outbox) space(t *testing.T) {
	t.Helper()
	o.execute(t, `DROP TRIGGER full`)
}

func (o *outbox) execute(t *testing.T, statement string) {
	t.Helper()
	if _, err := o.raw.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func (o *outbox) delivery(t *testing.T) store.Delivery {
	t.Helper()
	var all []store.Delivery
	err := o.store.View(t.Context(), func(tx *store.Tx) (err error) {
		all, err = tx.Deliveries(context.WithoutCancel(t.Context()), "r1")
		return err
	})
	if err != nil || len(all) != 1 {
		t.Fatalf("%d deliveries, %v", len(all), err)
	}
	return all[0]
}

// What was told and could not be recorded is told once all the same, and recorded when the store takes it.
func TestDeliverer_TellsOnceOnAFullDisk(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]store.DeliveryStatus{http.StatusOK: store.DeliveryDelivered, http.StatusNotFound: store.DeliveryFailed} {
		o := newOutbox(t)
		o.status.Store(int64(status))
		o.full(t)
		for range 3 {
			if _, err := o.flush(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "disk is full") {
				t.Errorf("answer %d: flush: %v, want that the disk is full", status, err)
			}
		}
		if got := o.delivery(t); o.came.Load() != 1 || got.Status != store.DeliveryPending {
			t.Errorf("answer %d, disk full: told %d times, recorded as %s", status, o.came.Load(), got.Status)
		}
		o.space(t)
		lines, err := o.flush(t.Context(), "")
		if err != nil || len(lines) != 1 || !strings.Contains(lines[0], "that is recorded now") {
			t.Errorf("answer %d, with space: %q, %v", status, lines, err)
		}
		if got := o.delivery(t); o.came.Load() != 1 || got.Status != want || got.Attempts != 1 || len(o.unwritten) != 0 {
			t.Errorf("answer %d, with space: told %d times, %+v, %d unwritten", status, o.came.Load(), got, len(o.unwritten))
		}
		if lines, err := o.flush(t.Context(), ""); err != nil || len(lines) != 0 {
			t.Errorf("answer %d, again: %q, %v", status, lines, err)
		}
	}
}

// A delivery that somebody else has recorded meanwhile is theirs: it is neither told nor recorded again.
func TestDeliverer_LeavesWhatSomebodyElseRecorded(t *testing.T) {
	t.Parallel()
	o := newOutbox(t)
	pending := o.delivery(t)
	o.full(t)
	if _, err := o.flush(t.Context(), ""); err == nil {
		t.Error("recorded on a full disk")
	}
	o.space(t)
	o.execute(t, `UPDATE deliveries SET status = 'delivered', attempts = 1`)
	if _, err := o.deliver(t.Context(), pending); !errors.Is(err, store.ErrConflict) || len(o.unwritten) != 0 || o.came.Load() != 1 {
		t.Errorf("%v, %d unwritten, told %d times", err, len(o.unwritten), o.came.Load())
	}
}
