package storetest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"serin/internal/rollout"
	"serin/internal/store"
)

// rowsPointAtRows shows that the database itself refuses what belongs to nothing.
func rowsPointAtRows(t *testing.T, db *store.DB) {
	insert(t, db, State(t, "r1", "fraud"))
	addModel(t, db, "m", 1)
	for name, fn := range map[string]func(context.Context, *store.Tx) error{
		"attempt of no rollout": func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.OpenAttempt(ctx, "nope", "admit", Epoch)
			return err
		},
		"log of no attempt": func(ctx context.Context, tx *store.Tx) error {
			return tx.AppendLog(ctx, store.AttemptKey{Rollout: "r1", Task: "admit", Attempt: 1}, Epoch, []string{"line"})
		},
		"signal to no rollout": func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.AddSignal(ctx, "nope", rollout.Signal{Name: rollout.SignalPause, Actor: "ann", Reason: "x"}, Epoch)
			return err
		},
		"notice of no rollout": func(ctx context.Context, tx *store.Tx) error {
			return tx.QueueNotice(ctx, store.Notice{Rollout: "nope", Event: "held"}, nil)
		},
		"the same rollout twice": func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.InsertRollout(ctx, Ended(State(t, "r1", "churn"), rollout.Aborted, Epoch), Epoch)
			return err
		},
		"alias to no version": func(ctx context.Context, tx *store.Tx) error {
			return tx.SetModelAlias(ctx, store.ModelAlias{Name: "m", Alias: "a", Version: 9})
		},
		"tag of no version": func(ctx context.Context, tx *store.Tx) error {
			return tx.SetVersionTag(ctx, store.VersionTag{Name: "m", Version: 9, Key: "k"})
		},
		"tag of no model": func(ctx context.Context, tx *store.Tx) error {
			return tx.SetModelTag(ctx, store.ModelTag{Name: "nope", Key: "k"})
		},
		"version of no model": func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.CreateModelVersion(ctx, version("nope"))
			return err
		},
	} {
		if err := db.Update(t.Context(), func(tx *store.Tx) error { return fn(t.Context(), tx) }); err == nil {
			t.Errorf("%s was written", name)
		}
	}
	want(t, db.Update(t.Context(), func(tx *store.Tx) error { return tx.SettleSignal(t.Context(), 9, Epoch, "") }), store.ErrConflict)
	want(t, db.Update(t.Context(), func(tx *store.Tx) error {
		return tx.SettleDelivery(t.Context(), store.DeliveryResult{DeliveryKey: store.DeliveryKey{Rollout: "r1", Event: "held", Channel: "log"}})
	}), store.ErrConflict)
	ghost := store.Rollout{State: State(t, "ghost", "fraud"), Generation: 1}
	want(t, db.Update(t.Context(), func(tx *store.Tx) error {
		_, err := tx.SaveRollout(t.Context(), ghost, Epoch)
		return err
	}), store.ErrConflict)
}

// viewCannotWrite shows that a reading transaction is one, whatever runs in it.
func viewCannotWrite(t *testing.T, db *store.DB) {
	err := db.View(t.Context(), func(tx *store.Tx) error { return tx.SetMeta(t.Context(), "k", "v") })
	if err == nil {
		t.Error("a view wrote")
	}
	view(t, db, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.Meta(ctx, "k")
		want(t, err, store.ErrNotFound)
		return nil
	})
}

// panicUndoes shows that a function that panics leaves neither rows nor a taken connection: the only writing one, here.
func panicUndoes(t *testing.T, db *store.DB) {
	for _, run := range []func(context.Context, func(*store.Tx) error) error{db.Update, db.View} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			_ = run(t.Context(), func(tx *store.Tx) error {
				_ = tx.SetMeta(t.Context(), "k", "v")
				panic("a fault in the caller")
			})
		}()
	}
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.Meta(ctx, "k")
		want(t, err, store.ErrNotFound)
		return nil
	})
}

// cancelUndoes ends the context inside a transaction: nothing of it may stay, and the store goes on.
func cancelUndoes(t *testing.T, db *store.DB) {
	ctx, cancel := context.WithCancel(t.Context())
	err := db.Update(ctx, func(tx *store.Tx) error {
		if err := tx.SetMeta(ctx, "k", "v"); err != nil {
			return err
		}
		cancel()
		return nil
	})
	if err == nil {
		t.Error("a transaction whose context is over was committed")
	}
	if err := db.View(ctx, func(*store.Tx) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("a view with a context that is over: %v", err)
	}
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.Meta(ctx, "k")
		want(t, err, store.ErrNotFound)
		return nil
	})
}

// together runs fn n times at once, each in its own transaction, and gives how many succeeded.
func together(t *testing.T, db *store.DB, n int, fn func(ctx context.Context, tx *store.Tx, i int) error) int {
	t.Helper()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			errs[i] = db.Update(t.Context(), func(tx *store.Tx) error { return fn(t.Context(), tx, i) })
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		}
	}
	return won
}

// oneWins lets many do what only one may: start a model's rollout, save a row as it was read, take the place of an attempt.
func oneWins(t *testing.T, db *store.DB) {
	const n = 12
	ids := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"}
	states := make([]rollout.State, n)
	for i, id := range ids {
		states[i] = State(t, id, "fraud")
	}
	if won := together(t, db, n, func(ctx context.Context, tx *store.Tx, i int) error {
		_, err := tx.InsertRollout(ctx, states[i], Epoch)
		return err
	}); won != 1 {
		t.Fatalf("%d of %d started a rollout of one model", won, n)
	}
	var row store.Rollout
	view(t, db, func(ctx context.Context, tx *store.Tx) (err error) {
		row, err = tx.OpenRollout(ctx, "fraud")
		return err
	})
	if won := together(t, db, n, func(ctx context.Context, tx *store.Tx, _ int) error {
		_, err := tx.SaveRollout(ctx, row, Epoch)
		return err
	}); won != 1 {
		t.Errorf("%d of %d saved the row as they had read it", won, n)
	}
	key := store.AttemptKey{Rollout: row.State.ID, Task: "admit", Attempt: 1}
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.OpenAttempt(ctx, key.Rollout, key.Task, Epoch)
		return err
	})
	if won := together(t, db, n, func(ctx context.Context, tx *store.Tx, _ int) error {
		return tx.CloseAttempt(ctx, store.Closing{AttemptKey: key, Status: store.AttemptDone, At: Epoch})
	}); won != 1 {
		t.Errorf("%d of %d closed one attempt", won, n)
	}
}

// numbersAreGivenOnce lets many take the next number at once: none twice, none left out.
func numbersAreGivenOnce(t *testing.T, db *store.DB) {
	const n = 10
	insert(t, db, State(t, "r1", "fraud"))
	addModel(t, db, "m", 0)
	numbers := map[string][]int64{}
	won := together(t, db, n, func(ctx context.Context, tx *store.Tx, _ int) error {
		attempt, err1 := tx.OpenAttempt(ctx, "r1", "admit", Epoch)
		sig, err2 := tx.AddSignal(ctx, "r1", rollout.Signal{Name: rollout.SignalPause, Actor: "ann", Reason: "x"}, Epoch)
		v, err3 := tx.CreateModelVersion(ctx, version("m"))
		for what, number := range map[string]int64{"attempts": int64(attempt), "signals": sig.ID, "versions": v} {
			numbers[what] = append(numbers[what], number) // updates run one at a time
		}
		return errors.Join(err1, err2, err3, tx.AppendHistory(ctx, store.Entry{Rollout: "r1", Model: "fraud", At: Epoch}))
	})
	view(t, db, func(ctx context.Context, tx *store.Tx) error {
		all, err := tx.History(ctx, store.HistoryFilter{})
		for _, e := range all {
			numbers["history"] = append(numbers["history"], e.Seq)
		}
		return err
	})
	wanted := []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	if diff := cmp.Diff(map[string][]int64{"attempts": wanted, "signals": wanted, "versions": wanted, "history": wanted}, numbers); diff != "" || won != n {
		t.Errorf("%d of %d went through: %s", won, n, diff)
	}
}
