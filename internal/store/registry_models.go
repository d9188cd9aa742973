package store

import (
	"context"
	"fmt"
	"time"
)

// RegisteredModel is a model of the embedded registry.
type RegisteredModel struct {
	Name, Description    string
	CreatedAt, UpdatedAt time.Time
	Tags                 map[string]string
	// Aliases gives the version of every alias.
	Aliases map[string]int64
}

// CreateRegisteredModel adds a model with its tags; ErrExists when the name is taken.
func (tx *Tx) CreateRegisteredModel(ctx context.Context, m RegisteredModel) error {
	n, err := tx.exec(ctx, `INSERT INTO registered_models (name, description, created_at, updated_at) VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO NOTHING`,
		m.Name, m.Description, nanos(m.CreatedAt), nanos(m.UpdatedAt))
	if err == nil && n == 0 {
		err = ErrExists
	}
	if err != nil {
		return fmt.Errorf("model %s: %w", m.Name, err)
	}
	for k, v := range m.Tags {
		if err := tx.SetModelTag(ctx, ModelTag{Name: m.Name, Key: k, Value: v}); err != nil {
			return err
		}
	}
	return nil
}

func scanModel(row scanner) (m RegisteredModel, err error) {
	var created, updated int64
	err = row.Scan(&m.Name, &m.Description, &created, &updated)
	m.CreatedAt, m.UpdatedAt = timeOf(created), timeOf(updated)
	m.Tags, m.Aliases = map[string]string{}, map[string]int64{}
	return m, orNotFound(err)
}

// RegisteredModel reads a model; ErrNotFound when there is none of that name.
func (tx *Tx) RegisteredModel(ctx context.Context, name string) (RegisteredModel, error) {
	m, err := scanModel(tx.q.QueryRowContext(ctx, `SELECT name, description, created_at, updated_at FROM registered_models WHERE name = $1`, name))
	if err == nil {
		err = tx.fillModels(ctx, name, map[string]RegisteredModel{name: m})
	}
	if err != nil {
		return m, fmt.Errorf("model %s: %w", name, err)
	}
	return m, nil
}

// RegisteredModels lists all models by name.
func (tx *Tx) RegisteredModels(ctx context.Context) ([]RegisteredModel, error) {
	all, err := collect(ctx, tx, scanModel, `SELECT name, description, created_at, updated_at FROM registered_models ORDER BY name`)
	if err == nil {
		byName := make(map[string]RegisteredModel, len(all))
		for _, m := range all {
			byName[m.Name] = m
		}
		err = tx.fillModels(ctx, "", byName)
	}
	if err != nil {
		return nil, fmt.Errorf("list registered models: %w", err)
	}
	return all, nil
}

// fillModels reads tags and aliases of one model, or of all for an empty name, into the maps of the models.
func (tx *Tx) fillModels(ctx context.Context, name string, byName map[string]RegisteredModel) error {
	tags, err := collect(ctx, tx, func(row scanner) (t ModelTag, err error) {
		return t, row.Scan(&t.Name, &t.Key, &t.Value)
	}, `SELECT name, key, value FROM registered_model_tags WHERE ($1 = '' OR name = $1)`, name)
	if err != nil {
		return err
	}
	for _, t := range tags {
		byName[t.Name].Tags[t.Key] = t.Value
	}
	aliases, err := tx.aliases(ctx, name)
	if err != nil {
		return err
	}
	for _, a := range aliases {
		byName[a.Name].Aliases[a.Alias] = a.Version
	}
	return nil
}

// UpdateRegisteredModel writes description and update time; ErrNotFound when there is no such model.
func (tx *Tx) UpdateRegisteredModel(ctx context.Context, m RegisteredModel) error {
	return tx.one(ctx, "model "+m.Name, `UPDATE registered_models SET description = $2, updated_at = $3 WHERE name = $1`, m.Name, m.Description, nanos(m.UpdatedAt))
}

// Rename is a model's new name.
type Rename struct {
	From, To string
	At       time.Time
}

// RenameRegisteredModel renames a model with its versions, tags and aliases; ErrExists when the new name is taken.
func (tx *Tx) RenameRegisteredModel(ctx context.Context, r Rename) error {
	taken, err := tx.number(ctx, `SELECT count(*) FROM registered_models WHERE name = $1`, r.To)
	if err != nil {
		return fmt.Errorf("rename model %s: %w", r.From, err)
	}
	if taken > 0 {
		return fmt.Errorf("model %s: %w", r.To, ErrExists)
	}
	if err := tx.one(ctx, "model "+r.From, `UPDATE registered_models SET name = $2, updated_at = $3 WHERE name = $1`, r.From, r.To, nanos(r.At)); err != nil {
		return err
	}
	_, err = tx.exec(ctx, `UPDATE model_versions SET updated_at = $2 WHERE name = $1 AND deleted = 0`, r.To, nanos(r.At))
	if err != nil {
		return fmt.Errorf("rename versions of model %s: %w", r.From, err)
	}
	return nil
}

// DeleteRegisteredModel removes a model with its versions, tags and aliases; ErrNotFound when there is none of that name.
func (tx *Tx) DeleteRegisteredModel(ctx context.Context, name string) error {
	return tx.one(ctx, "model "+name, `DELETE FROM registered_models WHERE name = $1`, name)
}

// one runs a statement that must touch a row; ErrNotFound when it touched none.
func (tx *Tx) one(ctx context.Context, what, query string, args ...any) error {
	n, err := tx.exec(ctx, query, args...)
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// ModelTag is a tag of a registered model.
type ModelTag struct{ Name, Key, Value string }

// SetModelTag sets a tag of a model that exists.
func (tx *Tx) SetModelTag(ctx context.Context, t ModelTag) error {
	_, err := tx.exec(ctx, `INSERT INTO registered_model_tags (name, key, value) VALUES ($1, $2, $3)
		ON CONFLICT (name, key) DO UPDATE SET value = excluded.value`, t.Name, t.Key, t.Value)
	if err != nil {
		return fmt.Errorf("tag %s of model %s: %w", t.Key, t.Name, err)
	}
	return nil
}

// DeleteModelTag removes a tag of a model; one that is not there is fine.
func (tx *Tx) DeleteModelTag(ctx context.Context, t ModelTag) error {
	if _, err := tx.exec(ctx, `DELETE FROM registered_model_tags WHERE name = $1 AND key = $2`, t.Name, t.Key); err != nil {
		return fmt.Errorf("tag %s of model %s: %w", t.Key, t.Name, err)
	}
	return nil
}

// ModelAlias is an alias of a model and the version it points at.
type ModelAlias struct {
	Name, Alias string
	Version     int64
}

func (tx *Tx) aliases(ctx context.Context, name string) ([]ModelAlias, error) {
	return collect(ctx, tx, func(row scanner) (a ModelAlias, err error) {
		return a, row.Scan(&a.Name, &a.Alias, &a.Version)
	}, `SELECT name, alias, version FROM model_aliases WHERE ($1 = '' OR name = $1) ORDER BY name, alias`, name)
}

// SetModelAlias points an alias at a version that exists.
func (tx *Tx) SetModelAlias(ctx context.Context, a ModelAlias) error {
	_, err := tx.exec(ctx, `INSERT INTO model_aliases (name, alias, version) VALUES ($1, $2, $3)
		ON CONFLICT (name, alias) DO UPDATE SET version = excluded.version`, a.Name, a.Alias, a.Version)
	if err != nil {
		return fmt.Errorf("alias %s of model %s: %w", a.Alias, a.Name, err)
	}
	return nil
}

// DeleteModelAlias removes an alias; one that is not there is fine.
func (tx *Tx) DeleteModelAlias(ctx context.Context, a ModelAlias) error {
	if _, err := tx.exec(ctx, `DELETE FROM model_aliases WHERE name = $1 AND alias = $2`, a.Name, a.Alias); err != nil {
		return fmt.Errorf("alias %s of model %s: %w", a.Alias, a.Name, err)
	}
	return nil
}
