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
	if s.Pins.Champion.Version == "" {
		r := u.done("there is no older champion to go back to: the routing stays as it is")
		r.Owed = u.settleNow(ctx)
		return r, nil
	}
	doc, err := u.Router.Apply(ctx, s.Model, u.rolledBack)
	if err != nil {
		return u.failed(fmt.Errorf("write the routing of %s: %w", s.Model, err)), nil
	}
	u.say("routing 0 / 100 written, generation %d: version %s has everything", doc.Generation(), s.Pins.Champion.Version)
	r, err := u.prove(ctx, proof{doc: doc, quiet: true, what: fmt.Sprintf("100 %% restored on version %s, no request meets the canary", s.Pins.Champion.Version)})
	if err != nil || r.Status != rollout.StatusDone {
		return r, err
	}
	r.Owed = u.settleNow(ctx)
	return r, nil
}

// rolledBack is the document without a canary. One that is somebody's rollback to the same champion already stays as it is. A promotion that had
// begun may have moved the stage, or named the challenger by number: then the champion is named by number, because the registry comes second.
func (u *run) rolledBack(prev traffic.Document) (traffic.Document, error) {
	s := u.state
	next, err := traffic.Rollback(prev, traffic.RollbackParams{
		Model: s.Model, Champion: s.Pins.Champion, URIs: traffic.URIs(s.Plan.Routing.URIs), At: time.Now(), By: u.author(),
	})
	if err != nil {
		return prev, err
	}
	if s.Promoting || namesOther(next.ProductionURI, s.Pins.Champion) {
		next.ProductionURI = pinnedURI(s.Model, s.Pins.Champion)
	}
	already := !prev.CanaryEnabled && !prev.RollbackAt.IsZero() && prev.ProductionURI == next.ProductionURI
	if already && prev.Control != nil && prev.Control.Champion == s.Pins.Champion {
		return prev, nil
	}
	return next, nil
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
	if s.Kind != rollout.KindOfUndo && (!s.Promoting || s.Pins.Champion.Version == "") {
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
		return u.done("the registry was changed meanwhile and is left alone: %s", oneLine(err.Error())), nil
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
	r, err := u.prove(ctx, proof{doc: doc, what: fmt.Sprintf("version %s has 100 %% of the traffic again", s.Pins.Champion.Version)})
	if err != nil || r.Status != rollout.StatusDone {
		return r, err
	}
	r.Owed = u.settleNow(ctx)
	return r, nil
}

func (u *run) undone(prev traffic.Document) (traffic.Document, error) {
	if ours(u.state, prev) && prev.Control.Task == u.task.ID && !prev.CanaryEnabled {
		return prev, nil
	}
	return traffic.Promote(prev, traffic.PromoteParams{Model: u.state.Model, URIs: traffic.URIVersion, Champion: u.state.Pins.Champion, By: u.author()})
}
