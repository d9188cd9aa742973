package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"serin/internal/mlflow"
	"serin/internal/model"
	"serin/internal/store"
	"serin/internal/traffic"
)

// follower keeps the routing documents in step with the registry between rollouts: when a person moves Production by hand, the pinned
// champion follows. While a rollout or what it owes is open it does nothing.
type follower struct {
	store  *store.DB
	client *mlflow.Client
	router *router
	writer string
	log    *slog.Logger
	every  time.Duration
}

func (f *follower) run(ctx context.Context, name string) {
	ticker := time.NewTicker(f.every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := f.once(ctx, name); err != nil && ctx.Err() == nil && !errors.Is(err, mlflow.ErrNotFound) {
			f.log.Warn("the registry could not be followed", "model", name, "err", err)
		}
	}
}

func (f *follower) once(ctx context.Context, name string) error {
	doc, err := f.router.Current(ctx, name)
	if err != nil || doc.Control == nil || doc.CanaryEnabled || doc.Control.Champion.Version == "" {
		return err
	}
	busy, err := f.busy(ctx, name)
	if err != nil || busy {
		return err
	}
	v, err := f.client.Resolve(ctx, model.Ref{Kind: model.RefStage, Name: name, Stage: model.StageProduction})
	if err != nil || v.Version == doc.Control.Champion.Version {
		return err
	}
	return f.move(ctx, name, v.Version)
}

// busy says whether a rollout of the model is open or owes something to the registry.
func (f *follower) busy(ctx context.Context, name string) (busy bool, err error) {
	err = f.store.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Rollouts(ctx, store.RolloutFilter{Model: name, Limit: 1})
		if err == nil && len(rows) > 0 {
			s := rows[0].State
			busy = !s.Phase.Ended() || len(s.Owed) > 0
		}
		return err
	})
	return busy, err
}

func (f *follower) move(ctx context.Context, name, version string) error {
	m, err := f.router.models.get(name)
	if err != nil {
		return err
	}
	pin := model.Pin{Version: version}
	if m.slots == nil {
		got, err := f.client.Fetch(ctx, model.Ref{Kind: model.RefVersion, Name: name, Version: version})
		if err != nil {
			return err
		}
		pin = got.Pin
	}
	doc, err := f.router.Apply(ctx, name, func(prev traffic.Document) (traffic.Document, error) {
		if prev.CanaryEnabled || prev.Control == nil || prev.Control.Champion.Version == version {
			return prev, nil
		}
		pin.Slot = prev.Control.Champion.Slot
		return traffic.Promote(prev, traffic.PromoteParams{Model: name, URIs: traffic.URIs(f.router.models.planOf(name).Routing.URIs), Champion: pin, By: traffic.Author{Writer: f.writer}})
	})
	if err != nil {
		return err
	}
	entry := store.Entry{Model: name, At: time.Now(), Actor: f.writer, Event: "ProductionFollowed", Reason: fmt.Sprintf("Production was moved to version %s in the registry; routing generation %d", version, doc.Generation())}
	return f.store.Update(ctx, func(tx *store.Tx) error { return tx.AppendHistory(ctx, entry) })
}
