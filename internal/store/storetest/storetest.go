// Package storetest is the suite that every kind of database has to pass to carry the store. It never knows which one it runs on; that the
// database itself refuses to change the history is each opener's own test, because no method of the store could try.
package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"serin/internal/rollout"
	"serin/internal/store"
)

// Epoch is the time at which the suite's rows begin. Its nanoseconds show a database that rounds.
var Epoch = time.Date(2026, 1, 5, 9, 0, 0, 123456789, time.UTC)

// Run runs the whole suite. open gives an empty, migrated store that the test closes by itself.
func Run(t *testing.T, open func(t *testing.T) *store.DB) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, *store.DB){
		"update is undone by an error":       updateUndone,
		"updates run one at a time":          updatesSerialise,
		"view sees one state":                viewIsSnapshot,
		"rollouts come back as stored":       rolloutRoundTrip,
		"one open rollout a model":           oneOpenRollout,
		"a stale save is refused":            staleSave,
		"rollouts are listed newest first":   listRollouts,
		"live rows are found":                liveRollouts,
		"watching and last succeeded":        watchingAndSucceeded,
		"attempts are fenced":                attemptsFenced,
		"attempts keep verdict and evidence": attemptContents,
		"logs are in order":                  logs,
		"signals wait and settle once":       signals,
		"history is filtered":                historyFilter,
		"notices are queued once":            noticesOnce,
		"deliveries are due and settle":      deliveries,
		"scrapes come back whole":            scrapesRoundTrip,
		"scrapes by range":                   scrapesRange,
		"a tick is saved once":               scrapeOnce,
		"blocks":                             blocks,
		"meta":                               meta,
		"big bodies":                         bigBodies,
		"times round trip":                   timesRoundTrip,
		"registered models":                  registryModels,
		"model versions":                     registryVersions,
		"version numbers":                    registryNumbers,
		"a deleted version is gone":          registryDeletedVersion,
		"rename and delete take all along":   registryRenameAndDelete,
		"registry sentinels":                 registrySentinels,
		"aliases come off":                   registryAliasMovesOff,
		"artifacts are fixed by a version":   registryArtifacts,
		"registry events":                    registryEvents,
		"rows point at rows":                 rowsPointAtRows,
		"a view cannot write":                viewCannotWrite,
		"a panic undoes":                     panicUndoes,
		"a canceled context undoes":          cancelUndoes,
		"one of many wins":                   oneWins,
		"numbers are given once":             numbersAreGivenOnce,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// Plan is a valid plan of a model.
func Plan(model string) rollout.Plan {
	p := rollout.DefaultPlan(model)
	p.Gate.Data, p.Gate.Label = "/data/holdout.parquet", "is_fraud"
	return p
}

// State is the state of a new rollout.
func State(t *testing.T, id, model string) rollout.State {
	t.Helper()
	s, _, err := rollout.Start(rollout.StartParams{
		ID: id, Plan: Plan(model), Driver: rollout.DriverLocal, Actor: "ann", Reason: "weekly", Salt: "s1", NextSalt: "s2",
	}, Epoch)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Ended is the state of a rollout that has ended with nothing left to do.
func Ended(s rollout.State, phase rollout.Phase, at time.Time) rollout.State {
	s.Phase, s.Task, s.EndedAt = phase, "", at
	return s
}

// update runs fn in a transaction and fails the test on an error.
func update(t *testing.T, db *store.DB, fn func(ctx context.Context, tx *store.Tx) error) {
	t.Helper()
	if err := db.Update(t.Context(), func(tx *store.Tx) error { return fn(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

// view runs fn in a reading transaction and fails the test on an error.
func view(t *testing.T, db *store.DB, fn func(ctx context.Context, tx *store.Tx) error) {
	t.Helper()
	if err := db.View(t.Context(), func(tx *store.Tx) error { return fn(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

// insert stores the rows of states.
func insert(t *testing.T, db *store.DB, states ...rollout.State) {
	t.Helper()
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		for _, s := range states {
			if _, err := tx.InsertRollout(ctx, s, Epoch); err != nil {
				return err
			}
		}
		return nil
	})
}

// want fails the test unless err wraps the sentinel.
func want(t *testing.T, err, sentinel error) {
	t.Helper()
	if !errors.Is(err, sentinel) {
		t.Fatalf("error %v, want one that wraps %q", err, sentinel)
	}
}
