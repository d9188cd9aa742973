package app

import (
	"cmp"
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

// Rollback takes the canary of a model away at once, then tells the rollout. The routing file comes first: neither a store that hangs nor gateways
// that are away delay it. A model whose last rollout succeeded has no canary to take away: that is an undo's work.
func (s *safety) Rollback(ctx context.Context, actor, name string, r api.RollbackRequest) (api.RollbackAnswer, error) {
	m, err := s.router.models.claim(name)
	if err != nil {
		return api.RollbackAnswer{}, fmt.Errorf("%w: %w", err, api.ErrInvalid)
	}
	wait, err := proofWait(r)
	if err != nil {
		return api.RollbackAnswer{}, err
	}
	open, last, rowsErr := s.rows(ctx, name)
	if open == nil && last != nil && last.Phase == rollout.Succeeded {
		doc, err := m.file.Read(ctx)
		if err == nil && !doc.CanaryEnabled || errors.Is(err, fs.ErrNotExist) {
			return api.RollbackAnswer{}, fmt.Errorf("rollout %s of %s has succeeded, there is no canary to roll back: %w: to go back to the version before, run serin undo %s --reason WHY", last.ID, name, api.ErrConflict, name)
		}
	}
	line, err := DisableCanary(ctx, m.file, name, fmt.Sprintf("%s (serin rollback-deployment by %s)", s.writer, actor))
	if err != nil {
		return api.RollbackAnswer{}, err
	}
	answer := api.RollbackAnswer{Done: []string{line}}
	switch {
	case rowsErr != nil:
		answer.Owed = append(answer.Owed, fmt.Sprintf("the rollout does not know yet: %v", rowsErr))
	case open != nil && open.Kind == rollout.KindOfUndo:
		answer.Rollout, answer.Phase = open.ID, open.Phase
		answer.Owed = append(answer.Owed, fmt.Sprintf("undo %s is on its way by itself: %s", open.ID, open.Reason))
	case open != nil:
		answer.Rollout = open.ID
		s.abort(ctx, abortion{open: *open, actor: actor, reason: cmp.Or(r.Reason, "rollback-deployment"), wait: wait}, &answer)
	}
	return answer, nil
}

// How long a rollback waits: for the rows before it writes the file, for the rollout to be told, and for the proof that canary requests have stopped.
const (
	rowsPatience  = 300 * time.Millisecond
	proofPatience = 700 * time.Millisecond
)

// proofWait is how long a rollback waits for the proof that canary requests have stopped.
func proofWait(r api.RollbackRequest) (time.Duration, error) {
	if r.Wait == "" {
		return proofPatience, nil
	}
	d, err := time.ParseDuration(r.Wait)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("wait %q: %w: give a duration such as 20s", r.Wait, api.ErrInvalid)
	}
	return d, nil
}

// abortion is an open rollout that is to end, who says so and why, and how long its proof is waited for.
type abortion struct {
	open          rollout.State
	actor, reason string
	wait          time.Duration
}

// abort ends the open rollout. What is not settled in the time to wait is owed, and settled by the server.
func (s *safety) abort(ctx context.Context, a abortion, answer *api.RollbackAnswer) {
	ctx, cancel := context.WithTimeout(ctx, max(a.wait, time.Millisecond))
	defer cancel()
	err := s.engine.Signal(ctx, a.open.ID, rollout.Signal{Name: rollout.SignalAbort, Actor: a.actor, Reason: a.reason})
	if err != nil && !errors.Is(err, rollout.ErrIllegal) {
		answer.Owed = append(answer.Owed, fmt.Sprintf("rollout %s does not know yet: %v", a.open.ID, err))
		return
	}
	answer.Done = append(answer.Done, fmt.Sprintf("rollout %s is told to end", a.open.ID))
	done, err := s.engine.Do(ctx, engine.Command{Rollout: a.open.ID, Task: rollout.TaskRollback, Actor: a.actor, Reason: a.reason})
	answer.Phase = done.Phase
	switch {
	case done.Phase.Ended() && len(done.Owed) == 0:
		answer.Done = append(answer.Done, fmt.Sprintf("rollout %s: %s", done.ID, done.Phase))
	case done.Phase.Ended():
		answer.Owed = append(answer.Owed, "the registry: it is settled when it can be reached")
	case err != nil:
		answer.Owed = append(answer.Owed, fmt.Sprintf("proof that canary requests have stopped (%v): %s", a.wait, done.Reason))
	}
}

// rows gives the open rollout of a model and its newest one, nil where there is none.
func (s *safety) rows(ctx context.Context, name string) (open, last *rollout.State, err error) {
	ctx, cancel := context.WithTimeout(ctx, rowsPatience)
	defer cancel()
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
