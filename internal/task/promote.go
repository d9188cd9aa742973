package task

import (
	"context"
	"errors"
	"fmt"

	"serin/internal/rollout"
	"serin/internal/traffic"
)

// promote makes the challenger the champion: in the registry first, while both versions serve from their pins and nobody sees a gap, then all traffic.
func promote(ctx context.Context, u *run) (rollout.Result, error) {
	s := u.state
	if signals, err := u.commit(rollout.Result{Exposed: true, Promoting: true}); err != nil || signals.Stop {
		return rollout.Result{Status: rollout.StatusRetry, Reason: "stopped before the registry was touched"}, err
	}
	writes, err := u.Registry.Promote(ctx, u.move("promoted", u.why()))
	u.tell(writes)
	if errors.Is(err, ErrRegistryChanged) {
		u.say("failed: %v", err)
		return rollout.Result{Status: rollout.StatusRefused, Code: "registry_changed", Reason: err.Error()}, nil
	}
	if err != nil {
		return u.failed(fmt.Errorf("promote version %s in the registry: %w", s.Pins.Challenger.Version, err)), nil
	}
	doc, err := u.Router.Apply(ctx, s.Model, u.promoted)
	var f *errForeign
	if errors.As(err, &f) {
		return rollout.Result{Status: rollout.StatusRefused, Foreign: &f.Foreign, Reason: f.Error()}, nil
	}
	if err != nil {
		return u.failed(fmt.Errorf("write the routing of %s: %w", s.Model, err)), nil
	}
	u.say("routing 100 %% to version %s written, generation %d", s.Pins.Challenger.Version, doc.Generation())
	return u.prove(ctx, doc, fmt.Sprintf("version %s is champion and has 100 %% of the traffic", s.Pins.Challenger.Version))
}

// promoted is the document after the promotion.
func (u *run) promoted(prev traffic.Document) (traffic.Document, error) {
	s := u.state
	if prev.Control != nil && prev.Control.Rollout == s.ID && prev.Control.Task == u.task.ID && !prev.CanaryEnabled {
		return prev, nil
	}
	if s.Pins.FirstChampion == "" {
		if f := foreign(s, prev); f != nil {
			return prev, &errForeign{*f}
		}
	}
	return traffic.Promote(prev, traffic.PromoteParams{Model: s.Model, URIs: traffic.URIs(s.Plan.Routing.URIs), Champion: s.Pins.Challenger, By: u.author()})
}

func (u *run) move(outcome, reason string) Move {
	s := u.state
	return Move{Model: s.Model, From: s.Pins.Champion.Version, To: s.Pins.Challenger.Version, Mode: s.Plan.Promotion, Rollout: s.ID, Outcome: outcome, Reason: reason}
}

// why is the evidence in one line, for the registry.
func (u *run) why() string {
	if v := u.state.Stage; v != nil && v.Judgement != nil {
		return v.Judgement.Reason
	}
	return u.state.Reason
}

func (u *run) tell(lines []string) {
	for _, line := range lines {
		u.say("registry: %s", line)
	}
}
