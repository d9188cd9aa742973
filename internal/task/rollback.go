package task

import (
	"context"
	"errors"
	"fmt"
	"time"

	"serin/internal/rollout"
	"serin/internal/traffic"
)

// registryPatience bounds what a rollback spends on the registry: traffic is back already, and what is not done is owed.
const registryPatience = 10 * time.Second

// rollback gives the champion everything back: traffic first, and only when no canary request is seen any more the registry.
func rollback(ctx context.Context, u *run) (rollout.Result, error) {
	s := u.state
	doc, err := u.Router.Apply(ctx, s.Model, u.rolledBack)
	if err != nil {
		return u.failed(fmt.Errorf("write the routing of %s: %w", s.Model, err)), nil
	}
	u.say("routing 0 / 100 written, generation %d: version %s has everything", doc.Generation(), s.Pins.Champion.Version)
	r, err := u.stopped(ctx, doc)
	if err != nil || r.Status != rollout.StatusDone {
		return r, err
	}
	r.Owed = u.settleNow(ctx)
	return r, nil
}

// rolledBack is the document without a canary. One that has none is somebody's rollback already and stays as it is, unless a promotion had begun.
func (u *run) rolledBack(prev traffic.Document) (traffic.Document, error) {
	pinned := prev.Control != nil && prev.Control.Champion.Version == u.state.Pins.Champion.Version
	if !prev.CanaryEnabled && pinned && !prev.RollbackAt.IsZero() {
		return prev, nil
	}
	return traffic.Rollback(prev, traffic.RollbackParams{
		Model: u.state.Model, Champion: u.state.Pins.Champion, URIs: traffic.URIs(u.state.Plan.Routing.URIs), At: time.Now(), By: u.author(),
	})
}

// stopped waits until no request meets the canary: every gateway says so, and the samples agree where there is no gateway to ask.
func (u *run) stopped(ctx context.Context, doc traffic.Document) (rollout.Result, error) {
	r, err := u.prove(ctx, doc, fmt.Sprintf("100 %% on version %s", u.state.Pins.Champion.Version))
	if err != nil || r.Status != rollout.StatusDone {
		return r, err
	}
	seen, err := u.Router.Observe(ctx, u.state.Model)
	if err != nil || len(seen.Gateways) > 0 {
		return r, nil
	}
	return u.quiet(ctx, r)
}

// quiet waits for two scrapes after the write between which the canary got nothing.
func (u *run) quiet(ctx context.Context, r rollout.Result) (rollout.Result, error) {
	from := time.Now()
	for time.Since(from) < 4*u.tick()+time.Second {
		scrapes, err := u.Samples.Scrapes(ctx, u.state.Model, from, time.Now())
		if err != nil {
			return rollout.Result{}, err
		}
		if n := len(scrapes); n >= 2 && scrapes[n-1].Err == "" && canaryIncrease(scrapes[n-2:]) == 0 {
			return r, nil
		}
		if err := sleep(ctx, min(u.tick(), time.Second)/2); err != nil {
			return rollout.Result{}, err
		}
	}
	return rollout.Result{Status: rollout.StatusNotProven, Code: "not_proven", Reason: "the routing is written; no sample shows yet that canary requests have stopped"}, nil
}

// settleNow does the registry's part, as far as it can be reached; it returns whether something is owed.
func (u *run) settleNow(ctx context.Context) (owed bool) {
	ctx, cancel := context.WithTimeout(ctx, registryPatience)
	defer cancel()
	if err := u.settleRegistry(ctx); err != nil {
		u.say("the registry is owed: %v", err)
		return true
	}
	return false
}

// settleRegistry puts the registry where the traffic is: a promotion that had begun is taken back, otherwise the version is marked.
func (u *run) settleRegistry(ctx context.Context) error {
	s := u.state
	reason, outcome := s.Reason, string(rollout.RolledBack)
	if s.Ending != nil {
		reason = s.Ending.Reason
		outcome = string(s.Ending.Phase)
	}
	if !s.Promoting && s.Kind != rollout.KindOfUndo {
		writes, err := u.Registry.Mark(ctx, u.move(outcome, reason))
		u.tell(writes)
		return err
	}
	back := u.move("undone", reason)
	back.From, back.To = s.Pins.Challenger.Version, s.Pins.Champion.Version
	writes, err := u.Registry.Restore(ctx, back)
	u.tell(writes)
	return err
}

// mark writes an outcome on the challenger within the patience of a rollback; it returns whether that is owed.
func (u *run) mark(ctx context.Context, outcome, reason string) (owed bool) {
	ctx, cancel := context.WithTimeout(ctx, registryPatience)
	defer cancel()
	writes, err := u.Registry.Mark(ctx, u.move(outcome, reason))
	u.tell(writes)
	if err != nil {
		u.say("the registry is owed: %v", err)
	}
	return err != nil
}

// settle does what a rollback left owed at the registry. A registry that somebody else has changed meanwhile is theirs: what was owed is dropped, and said.
func settle(ctx context.Context, u *run) (rollout.Result, error) {
	err := u.settleRegistry(ctx)
	if errors.Is(err, ErrRegistryChanged) {
		return u.done("the registry was changed meanwhile and is left alone: %v", err), nil
	}
	if err != nil {
		return u.failed(fmt.Errorf("settle the registry: %w", err)), nil
	}
	return u.done("the registry says what the traffic says"), nil
}

// undo goes back to an older champion: traffic first, by pinned version, then the registry.
func undo(ctx context.Context, u *run) (rollout.Result, error) {
	s := u.state
	doc, err := u.Router.Apply(ctx, s.Model, u.undone)
	if err != nil {
		return u.failed(fmt.Errorf("write the routing of %s: %w", s.Model, err)), nil
	}
	u.say("routing 100 %% to version %s written, generation %d", s.Pins.Champion.Version, doc.Generation())
	r, err := u.prove(ctx, doc, fmt.Sprintf("version %s has 100 %% of the traffic again", s.Pins.Champion.Version))
	if err != nil || r.Status != rollout.StatusDone {
		return r, err
	}
	r.Owed = u.settleNow(ctx)
	return r, nil
}

func (u *run) undone(prev traffic.Document) (traffic.Document, error) {
	if prev.Control != nil && prev.Control.Rollout == u.state.ID && prev.Control.Task == u.task.ID {
		return prev, nil
	}
	return traffic.Promote(prev, traffic.PromoteParams{Model: u.state.Model, URIs: traffic.URIVersion, Champion: u.state.Pins.Champion, By: u.author()})
}
