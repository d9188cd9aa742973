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
	if err != nil {
		return u.unwritten(err), nil
	}
	w := u.task.Node.Weight
	u.say("routing %g / %g written, generation %d", w, 100-w, doc.Generation())
	return u.prove(ctx, proof{doc: doc, what: fmt.Sprintf("version %s has %g %% of the traffic, version %s %g %%", u.state.Pins.Challenger.Version, w, u.state.Pins.Champion.Version, 100-w)})
}

// unwritten is the result of a routing document that was not written: refused because of another writer, or an error.
func (u *run) unwritten(err error) rollout.Result {
	var f *errForeign
	if errors.As(err, &f) {
		return rollout.Result{Status: rollout.StatusRefused, Code: rollout.CodeRoutingChanged, Foreign: &f.Foreign, Reason: f.Error()}
	}
	return u.failed(fmt.Errorf("write the routing of %s: %w", u.state.Model, err))
}

// deployed is the document with this task's weight. One that this task has written is left as it is; one that somebody else has changed is refused.
func (u *run) deployed(prev traffic.Document) (traffic.Document, error) {
	s := u.state
	switch {
	case u.task.Node.Stage > 0 || ours(s, prev):
		// also at the first stage: a document of ours without a canary is one that somebody took away after an earlier attempt
		if f := foreign(s, prev); f != nil && !u.ownWeight(prev) {
			return prev, &errForeign{*f}
		}
		if sameWeight(prev.WeightPct(), u.task.Node.Weight) {
			return prev, nil
		}
	case prev.WeightPct() > 0:
		return prev, &errForeign{rollout.Foreign{Writer: writerOf(prev), Reason: fmt.Sprintf("a canary has %g %% already", prev.CanaryPct)}}
	case u.rolledBackSince(prev):
		return prev, &errForeign{rollout.Foreign{Disabled: true, Writer: writerOf(prev), Reason: "the canary was rolled back in the routing file"}}
	}
	return traffic.Deploy(prev, traffic.DeployParams{
		Model: s.Model, WeightPct: u.task.Node.Weight, URIs: traffic.URIs(s.Plan.Routing.URIs),
		Champion: s.Pins.Champion, Canary: s.Pins.Challenger, Salt: s.Salt, LeaseUntil: time.Now().Add(LeaseFor), By: u.author(),
	})
}

// rolledBackSince says whether somebody has rolled the model back since this rollout started: such a canary is not given traffic again. The
// document's time has whole seconds; in the second of the start itself only a rollout that was exposed can have been meant.
func (u *run) rolledBackSince(d traffic.Document) bool {
	second := u.state.StartedAt.Truncate(time.Second)
	if !u.state.Exposed {
		second = second.Add(time.Second)
	}
	return !d.RollbackAt.Before(second)
}

// ownWeight says whether the document is ours at the weight of this very task: an attempt before this one wrote it, and the row does not know yet.
func (u *run) ownWeight(d traffic.Document) bool {
	s := u.state
	s.WeightPct = u.task.Node.Weight
	return foreign(s, d) == nil
}

// proof is what must come true after a document was written.
type proof struct {
	doc traffic.Document
	// what is proven, in words for the log.
	what string
	// quiet asks, where there is no gateway to ask, for samples in which canary requests have stopped.
	quiet bool
}

// prove waits until every gateway routes by the document. Without a gateway to ask, canary requests within three ticks are the proof.
func (u *run) prove(ctx context.Context, p proof) (rollout.Result, error) {
	limit := u.ProveFor
	if limit == 0 {
		limit = max(3*u.tick(), 10*time.Second)
	}
	since := time.Now()
	for {
		missing, err := u.unproven(ctx, p, since)
		if err != nil {
			return rollout.Result{}, err
		}
		if missing == "" {
			return u.done("proven: %s", p.what), nil
		}
		if time.Since(since) >= limit {
			return rollout.Result{Status: rollout.StatusNotProven, Code: "not_proven", Reason: "requested, not proven: " + oneLine(missing)}, nil
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
func (u *run) unproven(ctx context.Context, p proof, since time.Time) (string, error) {
	seen, err := u.Router.Observe(ctx, u.state.Model)
	if err != nil {
		return "the gateways could not be asked: " + err.Error(), ctx.Err()
	}
	for _, g := range seen.Gateways {
		if g.Err != "" {
			return fmt.Sprintf("gateway %s: %s", g.Name, g.Err), nil
		}
		if g.Generation < p.doc.Generation() {
			return fmt.Sprintf("gateway %s routes by generation %d, not %d", g.Name, g.Generation, p.doc.Generation()), nil
		}
	}
	switch {
	case len(seen.Gateways) > 0:
		return "", nil
	case p.quiet:
		return u.notQuiet(ctx, since)
	case !p.doc.CanaryEnabled:
		return "", nil
	}
	return u.noRequests(ctx, since)
}
