package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"serin/internal/api"
	"serin/internal/mlflow"
	"serin/internal/model"
	"serin/internal/store"
	"serin/internal/task"
)

// resolver pins versions. Those of a model behind `urls` are pinned by number alone: Serin does not need to read their files.
type resolver struct {
	registryAdapter
	models *catalog
}

// Resolve gives the version behind a reference, with its digest where Serin serves it itself.
func (r resolver) Resolve(ctx context.Context, name, ref string) (model.Pin, error) {
	if r.models.slots(name) == nil {
		return r.registryAdapter.Resolve(ctx, name, ref)
	}
	parsed, err := registered(name, ref)
	if err != nil {
		return model.Pin{}, fmt.Errorf("%w: %w", err, task.ErrFinal)
	}
	v, err := r.client.Resolve(ctx, parsed)
	if errors.Is(err, mlflow.ErrNotFound) {
		return model.Pin{}, fmt.Errorf("%w: %w: %w", err, task.ErrNoVersion, task.ErrFinal)
	}
	return model.Pin{Version: v.Version, Slot: 1}, final(err)
}

// Models lists what the API knows of the models.
func (a *App) Models(ctx context.Context) ([]api.Model, error) {
	var out []api.Model
	for _, name := range a.models.names() {
		m, err := a.models.get(name)
		if err != nil {
			return nil, err
		}
		v := api.Model{Name: name, RoutingFile: m.file.Path()}
		if doc, err := a.router.Current(ctx, name); err != nil {
			v.Error = err.Error() // one model's broken file does not hide the others
		} else {
			v.WeightPct, v.Generation, v.Champion = doc.CanaryPct, doc.Generation(), doc.Table(name).Champion.Pin.Version
		}
		err = a.store.View(ctx, func(tx *store.Tx) error {
			row, err := tx.OpenRollout(ctx, name)
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			v.Rollout = row.State.ID
			return err
		})
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// Routing gives a model's routing document.
func (a *App) Routing(ctx context.Context, name string) (document []byte, generation int64, err error) {
	if !slices.Contains(a.models.names(), name) {
		return nil, 0, fmt.Errorf("model %s is not served here: %w", name, api.ErrNotFound)
	}
	m, err := a.models.get(name)
	if err != nil {
		return nil, 0, err
	}
	doc, err := m.file.Read(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("model %s has no routing file yet: %w: the first rollout writes %s", name, api.ErrNotFound, m.file.Path())
	}
	if err != nil {
		return nil, 0, err
	}
	document, _, err = doc.Marshal("extended")
	return document, doc.Generation(), err
}
