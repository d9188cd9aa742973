package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/model"
	"serin/internal/store"
)

// addModel registers a model with versions whose files lie in the artifact folder of its name.
func addModel(t *testing.T, db *store.DB, name string, versions int) {
	t.Helper()
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		err := tx.CreateRegisteredModel(ctx, store.RegisteredModel{Name: name, Description: "d", CreatedAt: Epoch, UpdatedAt: Epoch, Tags: map[string]string{"team": "risk"}})
		for range versions {
			_, versionErr := tx.CreateModelVersion(ctx, version(name))
			err = errors.Join(err, versionErr)
		}
		return err
	})
}

// version has every field of a version filled that a client can give.
func version(name string) store.ModelVersion {
	return store.ModelVersion{
		Name: name, Stage: model.StageNone, Source: "runs:/r/model", Storage: store.ArtifactScheme + name, RunID: "r", RunLink: "http://runs/r",
		Description: "nightly", Status: "READY", StatusMessage: "uploaded", CreatedAt: Epoch, UpdatedAt: Epoch, Tags: map[string]string{"k": "v", "auc": "0.9"},
	}
}

func registryModels(t *testing.T, db *store.DB) {
	addModel(t, db, "m", 2)
	addModel(t, db, "a", 0)
	later := Epoch.Add(time.Minute)
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		return errors.Join(
			tx.SetModelTag(ctx, store.ModelTag{Name: "m", Key: "team", Value: "pay"}),
			tx.SetModelTag(ctx, store.ModelTag{Name: "m", Key: "gone", Value: "x"}),
			tx.DeleteModelTag(ctx, store.ModelTag{Name: "m", Key: "gone"}),
			tx.DeleteModelTag(ctx, store.ModelTag{Name: "m", Key: "never there"}),
			tx.SetModelAlias(ctx, store.ModelAlias{Name: "m", Alias: "champion", Version: 1}),
			tx.SetModelAlias(ctx, store.ModelAlias{Name: "m", Alias: "champion", Version: 2}),
			tx.UpdateRegisteredModel(ctx, store.RegisteredModel{Name: "m", Description: "new", UpdatedAt: later, CreatedAt: later}))
	})
	wanted := store.RegisteredModel{
		Name: "m", Description: "new", CreatedAt: Epoch, UpdatedAt: later, Tags: map[string]string{"team": "pay"}, Aliases: map[string]int64{"champion": 2},
	}
	other := store.RegisteredModel{Name: "a", Description: "d", CreatedAt: Epoch, UpdatedAt: Epoch, Tags: map[string]string{"team": "risk"}, Aliases: map[string]int64{}}
	view(t, db, func(ctx context.Context, tx *store.Tx) error {
		one, err1 := tx.RegisteredModel(ctx, "m")
		all, err2 := tx.RegisteredModels(ctx)
		if diff := cmp.Diff([]any{wanted, []store.RegisteredModel{other, wanted}}, []any{one, all}); diff != "" {
			t.Error(diff)
		}
		return errors.Join(err1, err2)
	})
}

func registryVersions(t *testing.T, db *store.DB) {
	addModel(t, db, "m", 2)
	addModel(t, db, "a", 1)
	later := Epoch.Add(time.Minute)
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		changed := store.ModelVersion{Name: "m", Version: 2, Stage: model.StageProduction, Description: "best", UpdatedAt: later, Source: "elsewhere", CreatedAt: later, RunID: "x"}
		return errors.Join(
			tx.SetVersionTag(ctx, store.VersionTag{Name: "m", Version: 2, Key: "k", Value: "w"}),
			tx.DeleteVersionTag(ctx, store.VersionTag{Name: "m", Version: 2, Key: "auc"}),
			tx.DeleteVersionTag(ctx, store.VersionTag{Name: "m", Version: 2, Key: "never there"}),
			tx.SetModelAlias(ctx, store.ModelAlias{Name: "m", Alias: "x", Version: 2}),
			tx.SetModelAlias(ctx, store.ModelAlias{Name: "m", Alias: "b", Version: 2}),
			tx.UpdateModelVersion(ctx, changed))
	})
	first, second, foreign := version("m"), version("m"), version("a")
	first.Version, foreign.Version = 1, 1
	second.Version, second.Stage, second.Description, second.UpdatedAt = 2, model.StageProduction, "best", later
	second.Tags, second.Aliases = map[string]string{"k": "w"}, []string{"b", "x"}
	view(t, db, func(ctx context.Context, tx *store.Tx) error {
		one, err1 := tx.ModelVersion(ctx, "m", 2)
		own, err2 := tx.ModelVersions(ctx, "m")
		all, err3 := tx.ModelVersions(ctx, "")
		none, err4 := tx.ModelVersions(ctx, "nope")
		if diff := cmp.Diff([]any{second, []store.ModelVersion{second, first}, []store.ModelVersion{foreign, second, first}, 0}, []any{one, own, all, len(none)}); diff != "" {
			t.Error(diff)
		}
		return errors.Join(err1, err2, err3, err4)
	})
}

// registryNumbers shows that the number of a deleted version, even of the last, is not given again, and that each model counts for itself.
func registryNumbers(t *testing.T, db *store.DB) {
	addModel(t, db, "m", 3)
	addModel(t, db, "a", 0)
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		for _, v := range []int64{3, 1} {
			if err := tx.DeleteModelVersion(ctx, store.DeletedVersion{Name: "m", Version: v, At: Epoch}); err != nil {
				return err
			}
		}
		own, err1 := tx.CreateModelVersion(ctx, version("m"))
		other, err2 := tx.CreateModelVersion(ctx, version("a"))
		if own != 4 || other != 1 {
			t.Errorf("next versions %d and %d, want 4 and 1", own, other)
		}
		return errors.Join(err1, err2)
	})
}

// registryDeletedVersion is gone for every reader, and its aliases with it; what it said of its run and source is gone too.
func registryDeletedVersion(t *testing.T, db *store.DB) {
	addModel(t, db, "m", 2)
	gone := store.DeletedVersion{Name: "m", Version: 1, At: Epoch.Add(time.Hour)}
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		return errors.Join(tx.SetModelAlias(ctx, store.ModelAlias{Name: "m", Alias: "old", Version: 1}),
			tx.SetModelAlias(ctx, store.ModelAlias{Name: "m", Alias: "new", Version: 2}), tx.DeleteModelVersion(ctx, gone))
	})
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ModelVersion(ctx, "m", 1)
		want(t, err, store.ErrNotFound)
		want(t, tx.UpdateModelVersion(ctx, store.ModelVersion{Name: "m", Version: 1}), store.ErrNotFound)
		want(t, tx.DeleteModelVersion(ctx, gone), store.ErrNotFound)
		all, err1 := tx.ModelVersions(ctx, "m")
		m, err2 := tx.RegisteredModel(ctx, "m")
		if len(all) != 1 || all[0].Version != 2 || len(m.Aliases) != 1 || m.Aliases["new"] != 2 {
			t.Errorf("left: versions %+v, aliases %v", all, m.Aliases)
		}
		return errors.Join(err1, err2)
	})
}

func registryRenameAndDelete(t *testing.T, db *store.DB) {
	addModel(t, db, "m", 2)
	addModel(t, db, "a", 1)
	later := Epoch.Add(time.Hour)
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		return errors.Join(tx.SetModelAlias(ctx, store.ModelAlias{Name: "m", Alias: "x", Version: 2}),
			tx.DeleteModelVersion(ctx, store.DeletedVersion{Name: "m", Version: 1, At: Epoch}),
			tx.RenameRegisteredModel(ctx, store.Rename{From: "m", To: "n", At: later}))
	})
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.RegisteredModel(ctx, "m")
		want(t, err, store.ErrNotFound)
		m, err1 := tx.RegisteredModel(ctx, "n")
		versions, err2 := tx.ModelVersions(ctx, "n")
		if m.Tags["team"] != "risk" || m.Aliases["x"] != 2 || !m.UpdatedAt.Equal(later) || !m.CreatedAt.Equal(Epoch) {
			t.Errorf("renamed model %+v", m)
		}
		if len(versions) != 1 || versions[0].Version != 2 || versions[0].Tags["k"] != "v" || !versions[0].UpdatedAt.Equal(later) {
			t.Errorf("renamed versions %+v", versions)
		}
		number, err3 := tx.CreateModelVersion(ctx, version("n"))
		if number != 3 {
			t.Errorf("next version of the renamed model %d, want 3", number)
		}
		return errors.Join(err1, err2, err3, tx.DeleteRegisteredModel(ctx, "n"))
	})
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		all, err1 := tx.ModelVersions(ctx, "")
		if len(all) != 1 || all[0].Name != "a" || len(all[0].Tags) != 2 {
			t.Errorf("versions left: %+v; want those of a, whole", all)
		}
		again := tx.CreateRegisteredModel(ctx, store.RegisteredModel{Name: "n"})
		m, err2 := tx.RegisteredModel(ctx, "n")
		if len(m.Tags) != 0 || len(m.Aliases) != 0 {
			t.Errorf("a new model of a deleted name has %v and %v", m.Tags, m.Aliases)
		}
		return errors.Join(err1, err2, again)
	})
}

func registrySentinels(t *testing.T, db *store.DB) {
	addModel(t, db, "m", 1)
	addModel(t, db, "other", 0)
	for _, tt := range []struct {
		name string
		fn   func(context.Context, *store.Tx) error
		want error
	}{
		{"create again", func(ctx context.Context, tx *store.Tx) error {
			return tx.CreateRegisteredModel(ctx, store.RegisteredModel{Name: "m", Tags: map[string]string{"team": "thief"}})
		}, store.ErrExists},
		{"read none", func(ctx context.Context, tx *store.Tx) error { _, err := tx.RegisteredModel(ctx, "nope"); return err }, store.ErrNotFound},
		{"names are exact", func(ctx context.Context, tx *store.Tx) error { _, err := tx.RegisteredModel(ctx, "M"); return err }, store.ErrNotFound},
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
	} {
		err := db.Update(t.Context(), func(tx *store.Tx) error { return tt.fn(t.Context(), tx) })
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v, want %v", tt.name, err, tt.want)
		}
	}
	view(t, db, func(ctx context.Context, tx *store.Tx) error {
		m, err := tx.RegisteredModel(ctx, "m")
		if m.Tags["team"] != "risk" {
			t.Errorf("a refused creation changed the tags to %v", m.Tags)
		}
		return err
	})
}

func registryArtifacts(t *testing.T, db *store.DB) {
	put := func(path, sha string, size int64) error {
		return db.Update(t.Context(), func(tx *store.Tx) error {
			return tx.PutArtifact(t.Context(), store.Artifact{Path: path, Size: size, SHA256: sha, CreatedAt: Epoch})
		})
	}
	for _, path := range []string{"m/a", "m/b/c", "mm", "m%/x", "m_/y", "other"} {
		if err := errors.Join(put(path, "1", 1), put(path, "2", 7)); err != nil {
			t.Fatal(err)
		}
	}
	addModel(t, db, "m", 1) // its files lie below m
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		return tx.DeleteModelVersion(ctx, store.DeletedVersion{Name: "m", Version: 1, At: Epoch}) // which protects them as before
	})
	for _, tt := range []struct {
		path, sha string
		want      error
	}{
		{"m/a", "2", nil},
		{"m/a", "3", store.ErrConflict},
		{"m/new", "1", store.ErrConflict},
		{"m/b/c/d", "1", store.ErrExists},
		{"m", "1", store.ErrConflict},
		{"m/b", "1", store.ErrConflict},
		{"mm", "3", nil},
		{"mm/x", "1", store.ErrExists},
		{"m%", "1", store.ErrExists},
		{"other", "9", nil},
	} {
		if err := put(tt.path, tt.sha, 7); !errors.Is(err, tt.want) || (tt.want == nil && err != nil) {
			t.Errorf("put %s: %v, want %v", tt.path, err, tt.want)
		}
	}
	view(t, db, func(ctx context.Context, tx *store.Tx) error {
		one, err1 := tx.Artifact(ctx, "m/a")
		below, err2 := tx.ArtifactsBelow(ctx, "m")
		all, err3 := tx.ArtifactsBelow(ctx, "")
		a, c := store.Artifact{Path: "m/a", Size: 7, SHA256: "2", CreatedAt: Epoch}, store.Artifact{Path: "m/b/c", Size: 7, SHA256: "2", CreatedAt: Epoch}
		if diff := cmp.Diff([]any{a, []store.Artifact{a, c}, 6}, []any{one, below, len(all)}); diff != "" {
			t.Error(diff)
		}
		return errors.Join(err1, err2, err3)
	})
}

func registryEvents(t *testing.T, db *store.DB) {
	event := store.RegistryEvent{At: Epoch, Actor: "ann", Kind: "stage", Name: "a", Version: 2, Before: "None", After: "Production"}
	for _, name := range []string{"a", "b", "a"} {
		event.Name = name
		update(t, db, func(ctx context.Context, tx *store.Tx) error { return tx.AppendRegistryEvent(ctx, event) })
	}
	failed := errors.New("after the event")
	want(t, db.Update(t.Context(), func(tx *store.Tx) error {
		return errors.Join(tx.AppendRegistryEvent(t.Context(), store.RegistryEvent{Name: "lost"}), failed)
	}), failed)
	for _, tt := range []struct {
		filter store.RegistryEventFilter
		want   []int64
	}{
		{store.RegistryEventFilter{}, []int64{1, 2, 3}},
		{store.RegistryEventFilter{Name: "a"}, []int64{1, 3}},
		{store.RegistryEventFilter{After: 1}, []int64{2, 3}},
		{store.RegistryEventFilter{Name: "a", After: 1, Limit: 5}, []int64{3}},
		{store.RegistryEventFilter{Limit: 1}, []int64{1}},
		{store.RegistryEventFilter{Name: "lost"}, nil},
	} {
		view(t, db, func(ctx context.Context, tx *store.Tx) error {
			events, err := tx.RegistryEvents(ctx, tt.filter)
			var got []int64
			for _, e := range events {
				got = append(got, e.Seq)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%+v: %s", tt.filter, diff)
			}
			return err
		})
	}
	view(t, db, func(ctx context.Context, tx *store.Tx) error {
		got, err := tx.RegistryEvents(ctx, store.RegistryEventFilter{After: 2})
		event.Seq = 3
		if diff := cmp.Diff([]store.RegistryEvent{event}, got); diff != "" {
			t.Error(diff)
		}
		return err
	})
}

func registryAliasMovesOff(t *testing.T, db *store.DB) {
	addModel(t, db, "m", 1)
	update(t, db, func(ctx context.Context, tx *store.Tx) error {
		alias := store.ModelAlias{Name: "m", Alias: "champion", Version: 1}
		err := errors.Join(tx.SetModelAlias(ctx, alias), tx.DeleteModelAlias(ctx, alias), tx.DeleteModelAlias(ctx, alias))
		v, err1 := tx.ModelVersion(ctx, "m", 1)
		if len(v.Aliases) != 0 {
			t.Errorf("aliases %v after the only one was removed", v.Aliases)
		}
		return errors.Join(err, err1)
	})
}
