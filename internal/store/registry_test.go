package store_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/model"
	"serin/internal/store"
	"serin/internal/store/sqlite"
)

var registryTime = time.Date(2026, 11, 25, 1, 2, 3, 4, time.UTC)

func openRegistry(t *testing.T) *store.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// update runs fn in one transaction and gives back its error.
func update(t *testing.T, db *store.DB, fn func(context.Context, *store.Tx) error) error {
	t.Helper()
	return db.Update(t.Context(), func(tx *store.Tx) error { return fn(t.Context(), tx) })
}

func mustUpdate(t *testing.T, db *store.DB, fn func(context.Context, *store.Tx) error) {
	t.Helper()
	if err := update(t, db, fn); err != nil {
		t.Fatal(err)
	}
}

func addModel(t *testing.T, db *store.DB, name string, versions int) {
	t.Helper()
	mustUpdate(t, db, func(ctx context.Context, tx *store.Tx) error {
		err := tx.CreateRegisteredModel(ctx, store.RegisteredModel{Name: name, Description: "d", CreatedAt: registryTime, UpdatedAt: registryTime, Tags: map[string]string{"team": "risk"}})
		for range versions {
			_, versionErr := tx.CreateModelVersion(ctx, store.ModelVersion{
				Name: name, Stage: model.StageNone, Source: "s", Storage: "mlflow-artifacts:/" + name,
				Status: "READY", CreatedAt: registryTime, UpdatedAt: registryTime, Tags: map[string]string{"k": "v"},
			})
			err = errors.Join(err, versionErr)
		}
		return err
	})
}

func TestRegistryModelRoundTrip(t *testing.T) {
	t.Parallel()
	db := openRegistry(t)
	addModel(t, db, "m", 2)
	addModel(t, db, "a", 0)
	mustUpdate(t, db, func(ctx context.Context, tx *store.Tx) error {
		return errors.Join(tx.SetModelAlias(ctx, store.ModelAlias{Name: "m", Alias: "x", Version: 1}), tx.SetModelAlias(ctx, store.ModelAlias{Name: "m", Alias: "x", Version: 2}),
			tx.SetModelAlias(ctx, store.ModelAlias{Name: "m", Alias: "b", Version: 2}), tx.SetModelTag(ctx, store.ModelTag{Name: "m", Key: "team", Value: "pay"}))
	})
	want := store.RegisteredModel{
		Name: "m", Description: "d", CreatedAt: registryTime, UpdatedAt: registryTime,
		Tags: map[string]string{"team": "pay"}, Aliases: map[string]int64{"x": 2, "b": 2},
	}
	wantVersion := store.ModelVersion{
		Name: "m", Version: 2, Stage: model.StageNone, Source: "s", Storage: "mlflow-artifacts:/m", Status: "READY",
		CreatedAt: registryTime, UpdatedAt: registryTime, Tags: map[string]string{"k": "v"}, Aliases: []string{"b", "x"},
	}
	err := db.View(t.Context(), func(tx *store.Tx) error {
		got, err := tx.RegisteredModel(t.Context(), "m")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("model (-want +got):\n%s", diff)
		}
		v, versionErr := tx.ModelVersion(t.Context(), "m", 2)
		if diff := cmp.Diff(wantVersion, v); diff != "" {
			t.Errorf("version (-want +got):\n%s", diff)
		}
		all, listErr := tx.RegisteredModels(t.Context())
		if len(all) != 2 || all[0].Name != "a" || !cmp.Equal(all[1], want) {
			t.Errorf("list: %+v", all)
		}
		return errors.Join(err, versionErr, listErr)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRegistrySentinels(t *testing.T) {
	t.Parallel()
	db := openRegistry(t)
	addModel(t, db, "m", 1)
	addModel(t, db, "other", 0)
	tests := []struct {
		name string
		fn   func(context.Context, *store.Tx) error
		want error
	}{
		{"create again", func(ctx context.Context, tx *store.Tx) error {
			return tx.CreateRegisteredModel(ctx, store.RegisteredModel{Name: "m"})
		}, store.ErrExists},
		{"read none", func(ctx context.Context, tx *store.Tx) error { _, err := tx.RegisteredModel(ctx, "nope"); return err }, store.ErrNotFound},
		{"update none", func(ctx context.Context, tx *store.Tx) error {
			return tx.UpdateRegisteredModel(ctx, store.RegisteredModel{Name: "nope"})
		}, store.ErrNotFound},
		{"delete none", func(ctx context.Context, tx *store.Tx) error { return tx.DeleteRegisteredModel(ctx, "nope") }, store.ErrNotFound},
		{"rename to a taken name", func(ctx context.Context, tx *store.Tx) error {
			return tx.RenameRegisteredModel(ctx, store.Rename{From: "m", To: "other"})
		}, store.ErrExists},
		{"rename none", func(ctx context.Context, tx *store.Tx) error {
			return tx.RenameRegisteredModel(ctx, store.Rename{From: "nope", To: "new"})
		}, store.ErrNotFound},
		{"read no version", func(ctx context.Context, tx *store.Tx) error { _, err := tx.ModelVersion(ctx, "m", 2); return err }, store.ErrNotFound},
		{"update no version", func(ctx context.Context, tx *store.Tx) error {
			return tx.UpdateModelVersion(ctx, store.ModelVersion{Name: "m", Version: 2})
		}, store.ErrNotFound},
		{"delete no version", func(ctx context.Context, tx *store.Tx) error {
			return tx.DeleteModelVersion(ctx, store.DeletedVersion{Name: "m", Version: 2})
		}, store.ErrNotFound},
		{"read no artifact", func(ctx context.Context, tx *store.Tx) error { _, err := tx.Artifact(ctx, "nope"); return err }, store.ErrNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if err := update(t, db, tt.fn); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

// The database itself keeps aliases and tags from pointing at nothing.
func TestRegistryKeysHold(t *testing.T) {
	t.Parallel()
	db := openRegistry(t)
	addModel(t, db, "m", 1)
	for name, fn := range map[string]func(context.Context, *store.Tx) error{
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
			_, err := tx.CreateModelVersion(ctx, store.ModelVersion{Name: "nope"})
			return err
		},
	} {
		if err := update(t, db, fn); err == nil {
			t.Errorf("%s was written", name)
		}
	}
}

func TestRegistryRenameAndDeleteTakeEverythingAlong(t *testing.T) {
	t.Parallel()
	db := openRegistry(t)
	addModel(t, db, "m", 2)
	later := registryTime.Add(time.Hour)
	mustUpdate(t, db, func(ctx context.Context, tx *store.Tx) error {
		return errors.Join(tx.SetModelAlias(ctx, store.ModelAlias{Name: "m", Alias: "x", Version: 2}),
			tx.DeleteModelVersion(ctx, store.DeletedVersion{Name: "m", Version: 1, At: registryTime}),
			tx.RenameRegisteredModel(ctx, store.Rename{From: "m", To: "n", At: later}))
	})
	mustUpdate(t, db, func(ctx context.Context, tx *store.Tx) error {
		m, err := tx.RegisteredModel(ctx, "n")
		if m.Tags["team"] != "risk" || m.Aliases["x"] != 2 || !m.UpdatedAt.Equal(later) {
			t.Errorf("renamed model %+v", m)
		}
		versions, listErr := tx.ModelVersions(ctx, "n")
		if len(versions) != 1 || versions[0].Version != 2 || versions[0].Tags["k"] != "v" || !versions[0].UpdatedAt.Equal(later) {
			t.Errorf("renamed versions %+v", versions)
		}
		number, createErr := tx.CreateModelVersion(ctx, store.ModelVersion{Name: "n", Stage: model.StageNone})
		if number != 3 {
			t.Errorf("next version %d, want 3: numbers are never given again", number)
		}
		return errors.Join(err, listErr, createErr, tx.DeleteRegisteredModel(ctx, "n"))
	})
	mustUpdate(t, db, func(ctx context.Context, tx *store.Tx) error {
		versions, err := tx.ModelVersions(ctx, "")
		if len(versions) != 0 {
			t.Errorf("versions of a deleted model: %+v", versions)
		}
		return err
	})
}

func TestRegistryArtifactsAreFixedByAVersion(t *testing.T) {
	t.Parallel()
	db := openRegistry(t)
	put := func(path, sha string) error {
		return update(t, db, func(ctx context.Context, tx *store.Tx) error {
			return tx.PutArtifact(ctx, store.Artifact{Path: path, Size: 1, SHA256: sha, CreatedAt: registryTime})
		})
	}
	for _, path := range []string{"m/a", "m/b/c", "mm", "other"} {
		if err := errors.Join(put(path, "1"), put(path, "2")); err != nil {
			t.Fatal(err)
		}
	}
	addModel(t, db, "m", 1) // its storage is mlflow-artifacts:/m
	for _, tt := range []struct {
		path, sha string
		want      error
	}{
		{"m/a", "2", nil},
		{"m/a", "3", store.ErrConflict},
		{"m/new", "1", store.ErrConflict},
		{"m/b/c/d", "1", store.ErrExists},
		{"m", "1", store.ErrConflict},
		{"mm", "3", nil},
		{"mm/x", "1", store.ErrExists},
		{"other", "9", nil},
	} {
		if err := put(tt.path, tt.sha); !errors.Is(err, tt.want) || (tt.want == nil && err != nil) {
			t.Errorf("put %s: %v, want %v", tt.path, err, tt.want)
		}
	}
	err := db.View(t.Context(), func(tx *store.Tx) error {
		below, err := tx.ArtifactsBelow(t.Context(), "m")
		want := []store.Artifact{{Path: "m/a", Size: 1, SHA256: "2", CreatedAt: registryTime}, {Path: "m/b/c", Size: 1, SHA256: "2", CreatedAt: registryTime}}
		if diff := cmp.Diff(want, below); diff != "" {
			t.Errorf("below m (-want +got):\n%s", diff)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRegistryEvents(t *testing.T) {
	t.Parallel()
	db := openRegistry(t)
	for _, name := range []string{"a", "b", "a"} {
		mustUpdate(t, db, func(ctx context.Context, tx *store.Tx) error {
			return tx.AppendRegistryEvent(ctx, store.RegistryEvent{At: registryTime, Actor: "t", Kind: "k", Name: name, Version: 1, Before: "x", After: "y"})
		})
	}
	failed := errors.New("after the event")
	if err := update(t, db, func(ctx context.Context, tx *store.Tx) error {
		return errors.Join(tx.AppendRegistryEvent(ctx, store.RegistryEvent{Name: "lost"}), failed)
	}); !errors.Is(err, failed) {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		filter store.RegistryEventFilter
		want   []int64
	}{
		{store.RegistryEventFilter{}, []int64{1, 2, 3}},
		{store.RegistryEventFilter{Name: "a"}, []int64{1, 3}},
		{store.RegistryEventFilter{After: 1}, []int64{2, 3}},
		{store.RegistryEventFilter{Name: "a", After: 1, Limit: 5}, []int64{3}},
		{store.RegistryEventFilter{Limit: 1}, []int64{1}},
	} {
		var got []int64
		if err := db.View(t.Context(), func(tx *store.Tx) error {
			events, err := tx.RegistryEvents(t.Context(), tt.filter)
			for _, e := range events {
				got = append(got, e.Seq)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", tt.filter, diff)
		}
	}
}

// Even somebody with the database file in hand is stopped from rewriting what happened.
func TestRegistryEventsAreAppendOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, err := sqlite.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	mustUpdate(t, db, func(ctx context.Context, tx *store.Tx) error {
		return tx.AppendRegistryEvent(ctx, store.RegistryEvent{Actor: "t", Kind: "k", Name: "a"})
	})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := sql.Open("sqlite", "file:"+filepath.Join(dir, sqlite.File))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close() //nolint:errcheck // nothing was written
	for _, statement := range []string{`UPDATE registry_events SET actor = 'x'`, `DELETE FROM registry_events`} {
		if _, err := raw.ExecContext(t.Context(), statement); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: %v", statement, err)
		}
	}
}
