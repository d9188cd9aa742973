package task

import (
	"context"
	"errors"
	"fmt"

	"serin/internal/model"
	"serin/internal/rollout"
)

// admit fixes both versions and refuses a challenger that is blocked, missing or the champion itself.
func admit(ctx context.Context, u *run) (rollout.Result, error) {
	plan := u.state.Plan
	pins := rollout.Pins{FirstChampion: u.state.Pins.FirstChampion}
	var err error
	if pins.Challenger, err = u.Resolver.Resolve(ctx, plan.Model, plan.Challenger); err != nil {
		return u.failed(fmt.Errorf("find the challenger %s of %s: %w", plan.Challenger, plan.Model, err)), nil
	}
	pins.Champion, err = u.Resolver.Resolve(ctx, plan.Model, plan.Champion)
	switch {
	case errors.Is(err, ErrNoVersion) && pins.FirstChampion != "":
		u.say("no champion yet: %s", pins.FirstChampion)
	case errors.Is(err, ErrNoVersion):
		return u.failed(fmt.Errorf("%s has no version in %s to compare with: start with --first-champion --reason WHY: %w", plan.Model, plan.Champion, ErrFinal)), nil
	case err != nil:
		return u.failed(fmt.Errorf("find the champion %s of %s: %w", plan.Champion, plan.Model, err)), nil
	case pins.FirstChampion != "":
		return u.failed(fmt.Errorf("%s has a champion, version %s: start without --first-champion: %w", plan.Model, pins.Champion.Version, ErrFinal)), nil
	case pins.Champion.Version == pins.Challenger.Version:
		return u.failed(fmt.Errorf("%s and %s of %s are both version %s: register a new version first: %w", plan.Champion, plan.Challenger, plan.Model, pins.Champion.Version, ErrFinal)), nil
	}
	for _, pin := range []model.Pin{pins.Challenger, pins.Champion} { // a blocked champion is one that an undo has left, and the registry does not say so yet
		if err := u.refuseBlocked(ctx, pin.Version); err != nil {
			return u.failed(err), nil
		}
	}
	if err := u.assignSlots(ctx, &pins); err != nil {
		return u.failed(err), nil
	}
	u.say("champion is version %s %s", orNone(pins.Champion.Version), pins.Champion.Digest)
	u.say("challenger is version %s %s", pins.Challenger.Version, pins.Challenger.Digest)
	r := u.done("champion version %s, challenger version %s", orNone(pins.Champion.Version), pins.Challenger.Version)
	r.Pins, r.Evidence = &pins, evidence(pins)
	return r, nil
}

func orNone(version string) string {
	if version == "" {
		return "(none)"
	}
	return version
}

func (u *run) refuseBlocked(ctx context.Context, version string) error {
	if version == "" {
		return nil
	}
	reason, blocked, err := u.Blocks.Blocked(ctx, u.state.Model, version)
	if err != nil {
		return fmt.Errorf("look for a block of %s version %s: %w", u.state.Model, version, err)
	}
	if blocked {
		return fmt.Errorf("version %s of %s is blocked (%s): serin unblock %s --version %s --reason WHY: %w", version, u.state.Model, reason, u.state.Model, version, ErrFinal)
	}
	return nil
}

// assignSlots gives the challenger the slot that the champion does not serve from. Only the backend `urls` has slots; its resolver says so by a slot in the pin.
func (u *run) assignSlots(ctx context.Context, pins *rollout.Pins) error {
	if pins.Challenger.Slot == 0 {
		return nil
	}
	doc, err := u.Router.Current(ctx, u.state.Model)
	if err != nil {
		return fmt.Errorf("read the routing of %s: %w", u.state.Model, err)
	}
	pins.Champion.Slot = 1
	if doc.Control != nil && doc.Control.Champion.Slot != 0 {
		pins.Champion.Slot = doc.Control.Champion.Slot
	}
	pins.Challenger.Slot = 3 - pins.Champion.Slot
	return nil
}
