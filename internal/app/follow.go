package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"serin/internal/mlflow"
	"serin/internal/model"
	"serin/internal/rollout"
	"serin/internal/store"
	"serin/internal/traffic"
)

// follower keeps the routing documents in step with the registry between rollouts: when a person moves Production by hand, the pinned
// champion follows. While a rollout is open or something is owed to the registry it does nothing, and a document that another writer made is that writer's.
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
	reported := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := f.once(ctx, name)
		switch {
		case err == nil || errors.Is(err, mlflow.ErrNotFound):
			reported = ""
		case ctx.Err() == nil && err.Error() != reported:
			reported = err.Error()
			f.log.Warn("the registry could not be followed", "model", name, "err", err)
		}
	}
}

// championRef is the reference that a plan's champion moves by: the one that a promotion moves too. A fixed version moves by nothing.
func championRef(p rollout.Plan) (ref model.Ref, ok bool) {
	word := p.Champion
	if p.Promotion == rollout.PromoteAliases && !strings.HasPrefix(word, "@") {
		word = "@" + mlflow.AliasChampion
	}
	ref, err := registered(p.Model, word)
	return ref, err == nil && ref.Kind != model.RefVersion
}

func (f *follower) once(ctx context.Context, name string) error {
	doc, err := f.router.Current(ctx, name)
	if err != nil || !settled(doc, name) {
		return err
	}
	busy, err := f.busy(ctx, name)
	if err != nil || busy {
		return err
	}
	ref, ok := championRef(f.router.models.planOf(name))
	if !ok {
		return nil
	}
	v, err := f.client.Resolve(ctx, ref)
	if err != nil || v.Version == doc.Control.Champion.Version {
		return err
	}
	return f.move(ctx, doc, moving{name: name, ref: ref, version: v.Version})
}

// settled says whether the document is Serin's, has no canary, and means the version that Serin pinned.
func settled(doc traffic.Document, name string) bool {
	return doc.Control != nil && !doc.CanaryEnabled && doc.Control.Champion.Version != "" && doc.Table(name).Champion.Pin == doc.Control.Champion
}

// busy says whether a rollout of the model is open or owes something to the registry.
func (f *follower) busy(ctx context.Context, name string) (busy bool, err error) {
	err = f.store.View(ctx, func(tx *store.Tx) error {
		live, err := tx.LiveRollouts(ctx)
		if err != nil {
			return err
		}
		for _, l := range live {
			if l.Model != name {
				continue
			}
			row, err := tx.Rollout(ctx, l.ID)
			if err != nil {
				return err
			}
			busy = busy || !row.State.Phase.Ended() || len(row.State.Owed) > 0
		}
		return nil
	})
	return busy, err
}

// moving is a champion that somebody has moved in the registry.
type moving struct {
	name    string
	ref     model.Ref
	version string
}

func (f *follower) move(ctx context.Context, seen traffic.Document, to moving) error {
	m, err := f.router.models.get(to.name)
	if err != nil {
		return err
	}
	pin := model.Pin{Version: to.version}
	if m.slots == nil {
		got, err := f.client.Fetch(ctx, model.Ref{Kind: model.RefVersion, Name: to.name, Version: to.version})
		if err != nil {
			return err
		}
		pin = got.Pin
	}
	moved := false
	doc, err := f.router.Apply(ctx, to.name, func(prev traffic.Document) (traffic.Document, error) {
		if moved = prev.Generation() == seen.Generation() && settled(prev, to.name); !moved {
			return prev, nil // somebody was here meanwhile: look again
		}
		pin.Slot = prev.Control.Champion.Slot
		return traffic.Promote(prev, traffic.PromoteParams{Model: to.name, URIs: traffic.URIs(m.inForce.Routing.URIs), Champion: pin, By: traffic.Author{Writer: f.writer}})
	})
	if err != nil || !moved {
		return err
	}
	entry := store.Entry{Model: to.name, At: time.Now(), Actor: f.writer, Event: "ProductionFollowed", Reason: fmt.Sprintf("%s was moved to version %s in the registry; routing generation %d", to.ref, to.version, doc.Generation())}
	return f.store.Update(ctx, func(tx *store.Tx) error { return tx.AppendHistory(ctx, entry) })
}
