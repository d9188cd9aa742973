package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"serin/internal/model"
)

// ModelVersion is a version of a registered model.
type ModelVersion struct {
	Name    string
	Version int64
	Stage   model.Stage
	// Source is the address that the client gave, Storage the one where the files lie.
	Source, Storage       string
	RunID, RunLink        string
	Description           string
	Status, StatusMessage string
	CreatedAt, UpdatedAt  time.Time
	Tags                  map[string]string
	// Aliases are sorted. CreateModelVersion and UpdateModelVersion do not look at them.
	Aliases []string
}

const versionColumns = `name, version, stage, description, source, storage, run_id, run_link, status, status_message, created_at, updated_at`

func scanVersion(row scanner) (v ModelVersion, err error) {
	var stage string
	var created, updated int64
	err = row.Scan(&v.Name, &v.Version, &stage, &v.Description, &v.Source, &v.Storage, &v.RunID, &v.RunLink, &v.Status, &v.StatusMessage, &created, &updated)
	v.Stage, v.CreatedAt, v.UpdatedAt, v.Tags = model.Stage(stage), timeOf(created), timeOf(updated), map[string]string{}
	return v, orNotFound(err)
}

// CreateModelVersion adds the next version of a model and returns its number, which no deleted version ever had.
func (tx *Tx) CreateModelVersion(ctx context.Context, v ModelVersion) (int64, error) {
	number, err := tx.number(ctx, `SELECT coalesce(max(version), 0) + 1 FROM model_versions WHERE name = $1`, v.Name)
	if err != nil {
		return 0, fmt.Errorf("next version of model %s: %w", v.Name, err)
	}
	_, err = tx.exec(ctx, `INSERT INTO model_versions (name, version, stage, description, source, storage, run_id, run_link, status, status_message,
		created_at, updated_at, deleted) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0)`,
		v.Name, number, string(v.Stage), v.Description, v.Source, v.Storage, v.RunID, v.RunLink, v.Status, v.StatusMessage, nanos(v.CreatedAt), nanos(v.UpdatedAt))
	if err != nil {
		return 0, fmt.Errorf("create version %d of model %s: %w", number, v.Name, err)
	}
	for k, value := range v.Tags {
		if err := tx.SetVersionTag(ctx, VersionTag{Name: v.Name, Version: number, Key: k, Value: value}); err != nil {
			return 0, err
		}
	}
	return number, nil
}

// ModelVersion reads a version; ErrNotFound when it does not exist or was deleted.
func (tx *Tx) ModelVersion(ctx context.Context, name string, version int64) (ModelVersion, error) {
	v, err := scanVersion(tx.q.QueryRowContext(ctx, `SELECT `+versionColumns+` FROM model_versions WHERE name = $1 AND version = $2 AND deleted = 0`, name, version))
	if err == nil {
		all := []ModelVersion{v}
		err = tx.fillVersions(ctx, name, all)
		v = all[0]
	}
	if err != nil {
		return v, fmt.Errorf("model %s version %d: %w", name, version, err)
	}
	return v, nil
}

// ModelVersions lists the versions of a model, or of all models for an empty name, by name and then newest first. Deleted ones are left out.
func (tx *Tx) ModelVersions(ctx context.Context, name string) ([]ModelVersion, error) {
	all, err := collect(ctx, tx, scanVersion, `SELECT `+versionColumns+` FROM model_versions
		WHERE ($1 = '' OR name = $1) AND deleted = 0 ORDER BY name, version DESC`, name)
	if err == nil {
		err = tx.fillVersions(ctx, name, all)
	}
	if err != nil {
		return nil, fmt.Errorf("list model versions: %w", err)
	}
	return all, nil
}

type versionKey struct {
	name    string
	version int64
}

func (tx *Tx) fillVersions(ctx context.Context, name string, all []ModelVersion) error {
	index := make(map[versionKey]int, len(all))
	for i, v := range all {
		index[versionKey{v.Name, v.Version}] = i
	}
	tags, err := collect(ctx, tx, func(row scanner) (t VersionTag, err error) {
		return t, row.Scan(&t.Name, &t.Version, &t.Key, &t.Value)
	}, `SELECT name, version, key, value FROM model_version_tags WHERE ($1 = '' OR name = $1)`, name)
	if err != nil {
		return err
	}
	for _, t := range tags {
		if i, ok := index[versionKey{t.Name, t.Version}]; ok { // a deleted version keeps its tags
			all[i].Tags[t.Key] = t.Value
		}
	}
	aliases, err := tx.aliases(ctx, name)
	if err != nil {
		return err
	}
	for _, a := range aliases {
		if i, ok := index[versionKey{a.Name, a.Version}]; ok {
			all[i].Aliases = append(all[i].Aliases, a.Alias)
		}
	}
	for i := range all {
		slices.Sort(all[i].Aliases)
	}
	return nil
}

// UpdateModelVersion writes stage, description and update time; ErrNotFound when the version does not exist or was deleted.
func (tx *Tx) UpdateModelVersion(ctx context.Context, v ModelVersion) error {
	return tx.one(ctx, fmt.Sprintf("model %s version %d", v.Name, v.Version), `UPDATE model_versions SET stage = $3, description = $4, updated_at = $5
		WHERE name = $1 AND version = $2 AND deleted = 0`, v.Name, v.Version, string(v.Stage), v.Description, nanos(v.UpdatedAt))
}

// DeletedVersion names a version that is deleted.
type DeletedVersion struct {
	Name    string
	Version int64
	At      time.Time
}

// DeleteModelVersion hides a version and removes its aliases. Its row stays, so that its number is not given again and its files stay protected.
func (tx *Tx) DeleteModelVersion(ctx context.Context, d DeletedVersion) error {
	if err := tx.one(ctx, fmt.Sprintf("model %s version %d", d.Name, d.Version), `UPDATE model_versions SET deleted = 1, source = 'REDACTED-SOURCE-PATH',
		run_id = '', run_link = '', description = '', updated_at = $3 WHERE name = $1 AND version = $2 AND deleted = 0`, d.Name, d.Version, nanos(d.At)); err != nil {
		return err
	}
	if _, err := tx.exec(ctx, `DELETE FROM model_aliases WHERE name = $1 AND version = $2`, d.Name, d.Version); err != nil {
		return fmt.Errorf("aliases of model %s version %d: %w", d.Name, d.Version, err)
	}
	return nil
}

// VersionTag is a tag of a model version.
type VersionTag struct {
	Name       string
	Version    int64
	Key, Value string
}

// SetVersionTag sets a tag of a version that exists.
func (tx *Tx) SetVersionTag(ctx context.Context, t VersionTag) error {
	_, err := tx.exec(ctx, `INSERT INTO model_version_tags (name, version, key, value) VALUES ($1, $2, $3, $4)
		ON CONFLICT (name, version, key) DO UPDATE SET value = excluded.value`, t.Name, t.Version, t.Key, t.Value)
	if err != nil {
		return fmt.Errorf("tag %s of model %s version %d: %w", t.Key, t.Name, t.Version, err)
	}
	return nil
}

// DeleteVersionTag removes a tag of a version; one that is not there is fine.
func (tx *Tx) DeleteVersionTag(ctx context.Context, t VersionTag) error {
	if _, err := tx.exec(ctx, `DELETE FROM model_version_tags WHERE name = $1 AND version = $2 AND key = $3`, t.Name, t.Version, t.Key); err != nil {
		return fmt.Errorf("tag %s of model %s version %d: %w", t.Key, t.Name, t.Version, err)
	}
	return nil
}
