package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"serin/internal/api"
	"serin/internal/engine"
	"serin/internal/rollout"
	"serin/internal/routingfile"
	"serin/internal/store"
	"serin/internal/traffic"
)

// safety carries out what must work on bad days.
type safety struct {
	store  *store.DB
	engine *engine.Engine
	router *router
	writer string
}

// DisableCanary gives the champion everything by the routing file alone: no store, no registry, no server. It is durable when it returns. A file without a
// canary is left as it is, and says so.
func DisableCanary(ctx context.Context, file *routingfile.File, name, writer string) (line string, err error) {
	already := false
	change := func(prev traffic.Document) (traffic.Document, error) {
		already = !prev.CanaryEnabled && prev.ProductionURI != ""
		if already {
			return prev, nil
		}
		by := traffic.Author{Writer: writer, Task: rollout.TaskRollback}
		if prev.Control != nil {
			by.Rollout = prev.Control.Rollout
		}
		return traffic.Rollback(prev, traffic.RollbackParams{Model: name, URIs: traffic.URIStage, At: time.Now(), By: by})
	}
	doc, err := file.Update(ctx, change)
	for range 10 {
		if !errors.Is(err, routingfile.ErrGeneration) {
			break
		}
		doc, err = file.Update(ctx, change)
	}
	if errors.Is(err, routingfile.ErrBroken) {
		doc, err = file.Repair(ctx, change)
	}
	if err != nil {
		return "", fmt.Errorf("give the champion of %s everything: %w", name, err)
	}
	if already {
		return fmt.Sprintf("%s had no canary: the champion has 100 %% (generation %d)", file.Path(), doc.Generation()), nil
	}
	return fmt.Sprintf("%s written: the champion has 100 %% (generation %d)", file.Path(), doc.Generation()), nil
}

// Rollback takes the canary of a model away at once, then tells the rollout. A model whose last rollout succeeded has no canary to take away: that is an undo's work.
func (s *safety) Rollback(ctx context.Context, actor, name string, r api.RollbackRequest) (api.RollbackAnswer, error) {
	m, err := s.router.models.get(name)
	if err != nil {
		return api.RollbackAnswer{}, err
	}
	open, last, err := s.rows(ctx, name)
	if err != nil {
		return api.RollbackAnswer{}, err
	}
	if open == nil && last != nil && last.Phase == rollout.Succeeded {
		doc, err := m.file.Read(ctx)
		if err == nil && !doc.CanaryEnabled || errors.Is(err, fs.ErrNotExist) {
			return api.RollbackAnswer{}, fmt.Errorf("rollout %s of %s has succeeded, there is no canary to roll back: %w: to go back to the version before, run serin undo %s --reason WHY", last.ID, name, api.ErrConflict, name)
		}
	}
	writer := fmt.Sprintf("%s (serin rollback-deployment by %s)", s.writer, actor)
	line, err := DisableCanary(ctx, m.file, name, writer)
	if err != nil {
		return api.RollbackAnswer{}, err
	}
	answer := api.RollbackAnswer{Done: []string{line}}
	if open == nil {
		return answer, nil
	}
	answer.Rollout = open.ID
	return answer, s.abort(ctx, actor, *open, r, &answer)
}

// abort ends the open rollout. What is not settled within a short time is owed, and settled by the server.
func (s *safety) abort(ctx context.Context, actor string, open rollout.State, r api.RollbackRequest, answer *api.RollbackAnswer) error {
	reason := r.Reason
	if reason == "" {
		reason = "rollback-deployment"
	}
	err := s.engine.Signal(ctx, open.ID, rollout.Signal{Name: rollout.SignalAbort, Actor: actor, Reason: reason})
	if err != nil && !errors.Is(err, rollout.ErrIllegal) {
		answer.Owed = append(answer.Owed, fmt.Sprintf("rollout %s does not know yet: %v", open.ID, err))
		return nil
	}
	answer.Done = append(answer.Done, fmt.Sprintf("rollout %s is told to end", open.ID))
	done, err := s.engine.Do(ctx, engine.Command{Rollout: open.ID, Task: rollout.TaskRollback, Actor: actor, Reason: reason, Until: time.Now().Add(20 * time.Second)})
	answer.Phase = done.Phase
	switch {
	case done.Phase.Ended() && len(done.Owed) == 0:
		answer.Done = append(answer.Done, fmt.Sprintf("rollout %s: %s", done.ID, done.Phase))
	case done.Phase.Ended():
		answer.Owed = append(answer.Owed, "the registry: it is settled when it can be reached")
	case err != nil:
		answer.Owed = append(answer.Owed, fmt.Sprintf("proof that canary requests have stopped: %v", err))
	}
	return nil
}

// rows gives the open rollout of a model and its newest one, nil where there is none.
func (s *safety) rows(ctx context.Context, name string) (open, last *rollout.State, err error) {
	err = s.store.View(ctx, func(tx *store.Tx) error {
		row, err := tx.OpenRollout(ctx, name)
		if err == nil {
			open = &row.State
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		list, err := tx.Rollouts(ctx, store.RolloutFilter{Model: name, Limit: 1})
		if err == nil && len(list) > 0 {
			last = &list[0].State
		}
		return err
	})
	return open, last, err
}

// Unblock lets a blocked version be rolled out again; the history keeps who said so and why.
func (s *safety) Unblock(ctx context.Context, actor, name string, r api.UnblockRequest) error {
	return s.store.Update(ctx, func(tx *store.Tx) error {
		blocks, err := tx.Blocks(ctx, name)
		if err != nil {
			return err
		}
		if r.Version == "" && len(blocks) == 1 {
			r.Version = blocks[0].Version
		}
		if r.Version == "" {
			return fmt.Errorf("unblock %s: %d versions are blocked: %w: name one with --version N", name, len(blocks), api.ErrInvalid)
		}
		if err := tx.UnblockVersion(ctx, name, r.Version); err != nil {
			return err
		}
		return tx.AppendHistory(ctx, store.Entry{Model: name, At: time.Now(), Actor: actor, Event: "VersionUnblocked", Reason: fmt.Sprintf("version %s: %s", r.Version, r.Reason)})
	})
}

// blocks is the tasks' view of the block list.
type blocks struct{ store *store.DB }

func (b blocks) Blocked(ctx context.Context, name, version string) (reason string, blocked bool, err error) {
	err = b.store.View(ctx, func(tx *store.Tx) error {
		block, err := tx.Block(ctx, name, version)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		reason, blocked = block.Reason, err == nil
		return err
	})
	return reason, blocked, err
}
