package storetest

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/store"
)

func updateUndone(t *testing.T, db *store.DB) {
	boom := errors.New("boom")
	err := db.Update(t.Context(), func(tx *store.Tx) error {
		if err := tx.SetMeta(t.Context(), "k", "v"); err != nil {
			return err
		}
		return boom
	})
	want(t, err, boom)
	err = db.View(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Meta(t.Context(), "k")
		return err
	})
	want(t, err, store.ErrNotFound)
}

// updatesSerialise counts with read and write in one transaction: no addition may be lost.
func updatesSerialise(t *testing.T, db *store.DB) {
	const writers, each = 8, 10
	update(t, db, func(ctx context.Context, tx *store.Tx) error { return tx.SetMeta(ctx, "n", "0") })
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				if err := db.Update(t.Context(), func(tx *store.Tx) error { return addOne(t.Context(), tx) }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	view(t, db, func(ctx context.Context, tx *store.Tx) error {
		got, err := tx.Meta(ctx, "n")
		if wanted := strconv.Itoa(writers * each); got != wanted {
			t.Errorf("counted %s, want %s", got, wanted)
		}
		return err
	})
}

func addOne(ctx context.Context, tx *store.Tx) error {
	v, err := tx.Meta(ctx, "n")
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		return err
	}
	return tx.SetMeta(ctx, "n", strconv.Itoa(n+1))
}

// viewIsSnapshot commits a change between two reads of one view: both must give the same.
func viewIsSnapshot(t *testing.T, db *store.DB) {
	update(t, db, func(ctx context.Context, tx *store.Tx) error { return tx.SetMeta(ctx, "k", "before") })
	view(t, db, func(ctx context.Context, tx *store.Tx) error {
		first, err := tx.Meta(ctx, "k")
		if err != nil {
			return err
		}
		if err := db.Update(ctx, func(tx *store.Tx) error { return tx.SetMeta(ctx, "k", "after") }); err != nil {
			return err
		}
		second, err := tx.Meta(ctx, "k")
		if first != "before" || second != "before" {
			t.Errorf("one view read %q, then %q", first, second)
		}
		return err
	})
	view(t, db, func(ctx context.Context, tx *store.Tx) error {
		got, err := tx.Meta(ctx, "k")
		if got != "after" {
			t.Errorf("the next view read %q", got)
		}
		return err
	})
}

func meta(t *testing.T, db *store.DB) {
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		if _, err := tx.Meta(ctx, "next_salt/fraud"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("missing key: %v", err)
		}
		for _, v := range []string{"one", "two", ""} {
			if err := tx.SetMeta(ctx, "next_salt/fraud", v); err != nil {
				return err
			}
			if got, err := tx.Meta(ctx, "next_salt/fraud"); err != nil || got != v {
				t.Errorf("read %q, %v; want %q", got, err, v)
			}
		}
		return nil
	})
}

// bigBodies stores a gate report of four megabytes and text that quoting would break.
func bigBodies(t *testing.T, db *store.DB) {
	nasty := "Ünïcode \u2028 'quotes' \"double\" $1 ? \\ \n\t" + strings.Repeat("x", 4<<20)
	s := State(t, "r1", "fraud")
	s.Reason = nasty
	insert(t, db, s)
	view(t, db, func(ctx context.Context, tx *store.Tx) error {
		got, err := tx.Rollout(ctx, "r1")
		if got.State.Reason != nasty {
			t.Error("a big body came back changed")
		}
		return err
	})
}

func timesRoundTrip(t *testing.T, db *store.DB) {
	insert(t, db, State(t, "r1", "fraud"))
	zone := time.FixedZone("far", 13*3600)
	for _, at := range []time.Time{Epoch, Epoch.In(zone), time.Unix(0, 1).UTC(), time.Unix(-1, 5).UTC(), time.Date(2200, 1, 1, 0, 0, 0, 999999999, time.UTC)} {
		update(t, db, func(ctx context.Context, tx *store.Tx) error {
			return tx.AppendHistory(ctx, store.Entry{Rollout: "r1", Model: "fraud", At: at, Actor: "a", Event: "e", Reason: "r"})
		})
		view(t, db, func(ctx context.Context, tx *store.Tx) error {
			all, err := tx.History(ctx, store.HistoryFilter{Rollout: "r1"})
			if len(all) == 0 {
				t.Fatalf("no history: %v", err)
			}
			got := all[len(all)-1].At
			if !got.Equal(at) || got.Location() != time.UTC {
				t.Errorf("stored %s, read %s", at, got)
			}
			return err
		})
	}
}

func blocks(t *testing.T, db *store.DB) {
	first := store.Block{Model: "fraud", Version: "42", Reason: "bad", Actor: "ann", At: Epoch}
	other := store.Block{Model: "churn", Version: "7", Reason: "bad", Actor: "bob", At: Epoch.Add(time.Second)}
	again := store.Block{Model: "fraud", Version: "42", Reason: "worse", Actor: "bob", At: Epoch.Add(2 * time.Second)}
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.Block(ctx, "fraud", "42")
		want(t, err, store.ErrNotFound)
		want(t, tx.UnblockVersion(ctx, "fraud", "42"), store.ErrNotFound)
		return errors.Join(tx.BlockVersion(ctx, first), tx.BlockVersion(ctx, other), tx.BlockVersion(ctx, again))
	})
	view(t, db, func(ctx context.Context, tx *store.Tx) error {
		one, err1 := tx.Block(ctx, "fraud", "42")
		all, err2 := tx.Blocks(ctx, "")
		own, err3 := tx.Blocks(ctx, "fraud")
		if diff := cmp.Diff([]any{again, []store.Block{other, again}, []store.Block{again}}, []any{one, all, own}); diff != "" {
			t.Error(diff)
		}
		return errors.Join(err1, err2, err3)
	})
	update(t, db, func(ctx context.Context, tx *store.Tx) error { return tx.UnblockVersion(ctx, "fraud", "42") })
	view(t, db, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.Block(ctx, "fraud", "42")
		want(t, err, store.ErrNotFound)
		return nil
	})
}
