package app

import (
	"context"
	"errors"
	"fmt"

	"serin/internal/mlflow"
	"serin/internal/model"
	"serin/internal/rollout"
	"serin/internal/scorer"
	"serin/internal/task"
)

// registryAdapter gives the tasks and the scorer the registry, in their words.
type registryAdapter struct{ client *mlflow.Client }

// final marks the errors that trying again does not help.
func final(err error) error {
	for _, kind := range []error{
		mlflow.ErrNotFound, mlflow.ErrInvalid, mlflow.ErrUnauthorized, mlflow.ErrForbidden, mlflow.ErrHostRejected, mlflow.ErrConflict,
		mlflow.ErrUnsupported, mlflow.ErrDigestMismatch, mlflow.ErrTooLarge, mlflow.ErrBadArtifact, mlflow.ErrNotMLflow,
	} {
		if errors.Is(err, kind) {
			return fmt.Errorf("%w: %w", err, task.ErrFinal)
		}
	}
	return err
}

// Resolve fixes a version: what ref stands for now, and the digest of its files. A version whose files Serin cannot read is pinned by number alone.
func (r registryAdapter) Resolve(ctx context.Context, name, ref string) (model.Pin, error) {
	parsed, err := registered(name, ref)
	if err != nil {
		return model.Pin{}, fmt.Errorf("%w: %w", err, task.ErrFinal)
	}
	v, err := r.client.Resolve(ctx, parsed)
	switch {
	case errors.Is(err, mlflow.ErrNotFound):
		return model.Pin{}, fmt.Errorf("%w: %w: %w", err, task.ErrNoVersion, task.ErrFinal)
	case err != nil:
		return model.Pin{}, final(err)
	}
	got, err := r.client.Fetch(ctx, model.Ref{Kind: model.RefVersion, Name: name, Version: v.Version})
	if err != nil {
		return model.Pin{}, final(err)
	}
	return got.Pin, nil
}

// registered is the reference that a plan's short form ("Staging", "41", "@challenger") means.
func registered(name, ref string) (model.Ref, error) {
	if len(ref) > 0 && ref[0] == '@' {
		return model.ParseRef("models:/" + name + ref)
	}
	return model.ParseRef("models:/" + name + "/" + ref)
}

// Fetch brings a version's files here, for the scorer.
func (r registryAdapter) Fetch(ctx context.Context, ref model.Ref) (scorer.Fetched, error) {
	got, err := r.client.Fetch(ctx, ref)
	return scorer.Fetched{Dir: got.Dir, Name: got.Name, Pin: got.Pin}, err
}

// onePin is a scorer.Registry for exactly one version: the files that were pinned, or an error.
type onePin struct {
	client *mlflow.Client
	name   string
	pin    model.Pin
}

func (p onePin) Fetch(ctx context.Context, _ model.Ref) (scorer.Fetched, error) {
	if p.pin.Digest == "" {
		got, err := p.client.Fetch(ctx, model.Ref{Kind: model.RefVersion, Name: p.name, Version: p.pin.Version})
		return scorer.Fetched{Dir: got.Dir, Name: p.name, Pin: got.Pin}, err
	}
	got, err := p.client.FetchPinned(ctx, p.name, p.pin)
	return scorer.Fetched{Dir: got.Dir, Name: p.name, Pin: p.pin}, err
}

// Promote makes the challenger the champion.
func (r registryAdapter) Promote(ctx context.Context, m task.Move) ([]string, error) {
	done, err := r.client.Promote(ctx, promotion(m))
	return done.Writes, moved(err)
}

// Restore makes an older champion the champion again.
func (r registryAdapter) Restore(ctx context.Context, m task.Move) ([]string, error) {
	snapshot, err := r.client.Snapshot(ctx, m.Model)
	if err != nil {
		return nil, final(err)
	}
	if now, ok := snapshot.Champion(); ok && now.Version == m.To && m.Outcome != "" && m.Mode != rollout.PromoteAliases {
		return r.Mark(ctx, task.Move{Model: m.Model, To: m.From, Rollout: m.Rollout, Outcome: m.Outcome, Reason: m.Reason})
	}
	done, err := r.client.Undo(ctx, promotion(m))
	return done.Writes, moved(err)
}

// Mark writes the outcome and the reason on a version. Its stage stays: a retry finds the challenger where it was.
func (r registryAdapter) Mark(ctx context.Context, m task.Move) ([]string, error) {
	var writes []string
	for _, tag := range []mlflow.VersionTag{
		{Model: m.Model, Version: m.To, Key: mlflow.TagRollout, Value: m.Rollout},
		{Model: m.Model, Version: m.To, Key: mlflow.TagReason, Value: m.Reason},
		{Model: m.Model, Version: m.To, Key: mlflow.TagOutcome, Value: m.Outcome},
	} {
		if err := r.client.SetVersionTag(ctx, tag); err != nil {
			return writes, final(err)
		}
		writes = append(writes, fmt.Sprintf("version %s: %s = %s", tag.Version, tag.Key, tag.Value))
	}
	return writes, nil
}

func promotion(m task.Move) mlflow.PromoteParams {
	return mlflow.PromoteParams{
		Model: m.Model, From: m.From, To: m.To, Mode: mlflow.Mode(m.Mode), Rollout: m.Rollout, Tags: map[string]string{mlflow.TagReason: m.Reason},
	}
}

func moved(err error) error {
	if errors.Is(err, mlflow.ErrRegistryChanged) {
		return fmt.Errorf("%w: %w", task.ErrRegistryChanged, err)
	}
	return final(err)
}
