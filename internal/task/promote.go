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
	doc, err := u.Router.Current(ctx, s.Model)
	if err != nil {
		return u.failed(fmt.Errorf("read the routing of %s: %w", s.Model, err)), nil
	}
	if _, err := u.promoted(doc); err != nil { // before the registry is touched: another writer may have taken the canary away
		return u.unwritten(err), nil
	}
	if signals, err := u.commit(rollout.Result{Exposed: true, Promoting: true}); err != nil || signals.Stop {
		return rollout.Result{Status: rollout.StatusRetry, Reason: "stopped before the registry was touched"}, err
	}
	writes, err := u.Registry.Promote(ctx, u.move("promoted", u.why()))
	u.tell(writes)
	if errors.Is(err, ErrRegistryChanged) {
		return rollout.Result{Status: rollout.StatusRefused, Code: "registry_changed", Reason: oneLine(err.Error())}, nil
	}
	if err != nil {
		return u.failed(fmt.Errorf("promote version %s in the registry: %w", s.Pins.Challenger.Version, err)), nil
	}
	if doc, err = u.Router.Apply(ctx, s.Model, u.promoted); err != nil {
		return u.unwritten(err), nil
	}
	u.say("routing 100 %% to version %s written, generation %d", s.Pins.Challenger.Version, doc.Generation())
	return u.prove(ctx, proof{doc: doc, what: fmt.Sprintf("version %s is champion and has 100 %% of the traffic", s.Pins.Challenger.Version)})
}

// promoted is the document after the promotion.
func (u *run) promoted(prev traffic.Document) (traffic.Document, error) {
	s := u.state
	if ours(s, prev) && prev.Control.Task == u.task.ID && !prev.CanaryEnabled {
		return prev, nil
	}
	switch f := foreign(s, prev); {
	case s.Pins.FirstChampion == "" && f != nil:
		return prev, &errForeign{*f}
	case prev.WeightPct() > 0 && f != nil:
		return prev, &errForeign{*f}
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
