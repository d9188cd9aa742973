package mlflow

import (
	"context"
	"errors"
	"fmt"

	"serin/internal/model"
)

// DemoteParams are the arguments of Demote.
type DemoteParams struct {
	Model, Version string
	Mode           Mode
	// To is the stage that the version leaves Staging for: Archived, or None.
	To model.Stage
	// Rollout names the rollout; repeating a call with the same one is harmless.
	Rollout string
	// Outcome is what TagOutcome becomes, such as rejected or rolled_back.
	Outcome string
	// Tags are written first: the reason belongs here, as TagReason.
	Tags map[string]string
}

// Demote takes a challenger that was rejected or rolled back out of its role: out of Staging, the challenger alias off, the reason on the version.
// It refuses a version that is the champion. A version that a person has put into another stage meanwhile stays there. It may be repeated.
func (c *Client) Demote(ctx context.Context, p DemoteParams) (Promoted, error) {
	m := mover{
		c: c, marked: p.Version, idTag: TagRollout, outcome: p.Outcome, out: Promoted{Mode: p.Mode},
		p: PromoteParams{Model: p.Model, To: p.Version, Mode: p.Mode, Rollout: p.Rollout, Tags: p.Tags},
	}
	if err := m.demote(ctx, p); err != nil {
		return m.out, fmt.Errorf("demote model %s version %s: %w", p.Model, p.Version, err)
	}
	return m.out, nil
}

func (m *mover) demote(ctx context.Context, p DemoteParams) (err error) {
	if err := m.check(); err != nil {
		return err
	}
	if p.Outcome == "" || (p.To != model.StageArchived && p.To != model.StageNone) {
		return fmt.Errorf("outcome %q and stage %q: give an outcome, and Archived or None", p.Outcome, p.To)
	}
	if m.snap, err = m.c.Snapshot(ctx, p.Model); err != nil {
		return err
	}
	v, ok := m.snap.Version(p.Version)
	if !ok {
		return fmt.Errorf("%w: it was deleted", ErrNotFound)
	}
	if v.Tags[TagRollout] == p.Rollout && v.Tags[TagOutcome] == p.Outcome {
		return nil
	}
	if v.Stage == model.StageProduction || m.snap.Aliases[AliasChampion] == p.Version {
		return fmt.Errorf("%w: it is the champion; use undo, which puts another version in its place", ErrRegistryChanged)
	}
	if err := m.claim(ctx); err != nil {
		return err
	}
	if err := m.unstage(ctx, p, v); err != nil {
		return err
	}
	if m.out.Mode != ModeStages && m.snap.Aliases[AliasChallenger] == p.Version {
		if err := m.alias(ctx, AliasChallenger, ""); err != nil {
			return err
		}
	}
	return m.tag(ctx, map[string]string{TagOutcome: p.Outcome})
}

func (m *mover) unstage(ctx context.Context, p DemoteParams, v Version) error {
	if m.out.Mode == ModeAliases || v.Stage != model.StageStaging {
		return nil
	}
	_, err := m.c.Transition(ctx, TransitionParams{Model: p.Model, Version: p.Version, To: p.To})
	if errors.Is(err, ErrEndpointGone) && m.p.Mode == ModeBoth {
		m.out.Mode = ModeAliases
		return nil
	}
	if err != nil {
		return err
	}
	m.wrote("version %s: out of Staging, to %s", p.Version, p.To)
	return nil
}
