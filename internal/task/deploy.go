package task

import (
	"context"
	"errors"
	"fmt"
	"time"

	"serin/internal/rollout"
	"serin/internal/traffic"
)

// LeaseFor is how long a canary's lease lasts without renewal; monitor renews it every LeaseEvery.
const (
	LeaseFor   = 5 * time.Minute
	LeaseEvery = time.Minute
)

// errForeign carries a foreign change out of a Router.Apply.
type errForeign struct{ rollout.Foreign }

func (e *errForeign) Error() string { return e.Writer + ": " + e.Reason }

// deploy gives the canary a weight: the model is proven to answer first, then the routing is written, then every gateway must say that it routes by it.
func deploy(ctx context.Context, u *run) (rollout.Result, error) {
	lines, err := u.Checker.Check(ctx, u.state)
	for _, line := range lines {
		u.say("%s", line)
	}
	if err != nil {
		return u.failed(fmt.Errorf("check version %s: %w", u.state.Pins.Challenger.Version, err)), nil
	}
	signals, err := u.commit(rollout.Result{Exposed: true})
	if err != nil || signals.Stop {
		return rollout.Result{Status: rollout.StatusRetry, Reason: "stopped before the routing was written"}, err
	}
	doc, err := u.Router.Apply(ctx, u.state.Model, u.deployed)
	var f *errForeign
	if errors.As(err, &f) {
		return rollout.Result{Status: rollout.StatusRefused, Foreign: &f.Foreign, Reason: f.Error()}, nil
	}
	if err != nil {
		return u.failed(fmt.Errorf("write the routing of %s: %w", u.state.Model, err)), nil
	}
	w := u.task.Node.Weight
	u.say("routing %g / %g written, generation %d", w, 100-w, doc.Generation())
	return u.prove(ctx, doc, fmt.Sprintf("version %s has %g %% of the traffic, version %s %g %%", u.state.Pins.Challenger.Version, w, u.state.Pins.Champion.Version, 100-w))
}

// deployed is the document with this task's weight. One that this task has written is left as it is; one that somebody else has changed is refused.
func (u *run) deployed(prev traffic.Document) (traffic.Document, error) {
	s := u.state
	ours := prev.Control != nil && prev.Control.Rollout == s.ID
	if ours && prev.Control.Task == u.task.ID && prev.CanaryEnabled && sameWeight(prev.CanaryPct, u.task.Node.Weight) {
		return prev, nil
	}
	if u.task.Node.Stage > 0 || ours && prev.CanaryEnabled {
		if f := foreign(s, prev); f != nil {
			return prev, &errForeign{*f}
		}
	} else if prev.CanaryEnabled {
		return prev, &errForeign{rollout.Foreign{Writer: writerOf(prev), Reason: fmt.Sprintf("a canary has %g %% already", prev.CanaryPct)}}
	}
	return traffic.Deploy(prev, traffic.DeployParams{
		Model: s.Model, WeightPct: u.task.Node.Weight, URIs: traffic.URIs(s.Plan.Routing.URIs),
		Champion: s.Pins.Champion, Canary: s.Pins.Challenger, Salt: s.Salt, LeaseUntil: time.Now().Add(LeaseFor), By: u.author(),
	})
}

func writerOf(d traffic.Document) string {
	if d.Control == nil || d.Control.Writer == "" {
		return "another writer"
	}
	return d.Control.Writer
}

// prove waits until every gateway routes by the document. Without a gateway to ask, canary requests within three ticks are the proof.
func (u *run) prove(ctx context.Context, doc traffic.Document, what string) (rollout.Result, error) {
	limit := u.ProveFor
	if limit == 0 {
		limit = max(3*u.tick(), 10*time.Second)
	}
	since := time.Now()
	for {
		missing, err := u.unproven(ctx, doc, since)
		if err != nil {
			return rollout.Result{}, err
		}
		if missing == "" {
			return u.done("proven: %s", what), nil
		}
		if time.Since(since) >= limit {
			u.say("requested, not proven: %s", missing)
			return rollout.Result{Status: rollout.StatusNotProven, Code: "not_proven", Reason: "requested, not proven: " + missing}, nil
		}
		signals, err := u.commit(rollout.Result{})
		if err != nil {
			return rollout.Result{}, err
		}
		if signals.Stop {
			return rollout.Result{Status: rollout.StatusRetry, Reason: "stopped before it was proven"}, nil
		}
		if err := sleep(ctx, min(u.tick(), time.Second)/4); err != nil {
			return rollout.Result{}, err
		}
	}
}

// unproven says what is missing, "" when nothing is.
func (u *run) unproven(ctx context.Context, doc traffic.Document, since time.Time) (string, error) {
	seen, err := u.Router.Observe(ctx, u.state.Model)
	if err != nil {
		return "the gateways could not be asked: " + err.Error(), ctx.Err()
	}
	for _, g := range seen.Gateways {
		if g.Err != "" {
			return fmt.Sprintf("gateway %s: %s", g.Name, g.Err), nil
		}
		if g.Generation < doc.Generation() {
			return fmt.Sprintf("gateway %s routes by generation %d, not %d", g.Name, g.Generation, doc.Generation()), nil
		}
	}
	if len(seen.Gateways) > 0 {
		return "", nil
	}
	moved, err := u.canaryRequests(ctx, since)
	if err != nil || !doc.CanaryEnabled {
		return "", err
	}
	if moved == 0 {
		return "no gateway is configured and no canary request was seen", nil
	}
	return "", nil
}
