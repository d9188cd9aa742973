package rollout

import (
	"errors"
	"fmt"
	"time"
)

// Start makes the row of a new rollout. The plan must be valid; nothing has happened yet.
func Start(p StartParams, now time.Time) (State, []Event, error) {
	if p.NoGate != "" {
		p.Plan.Gate.Off, p.Plan.Gate.Reason = true, p.NoGate
	}
	if err := p.Plan.Validate(); err != nil {
		return State{}, nil, fmt.Errorf("start a rollout of %s: %w", p.Plan.Model, err)
	}
	if err := checkIdentity(p.ID, p.Salt, p.NextSalt); err != nil {
		return State{}, nil, err
	}
	c := change{now: now, State: State{
		ID: p.ID, Model: p.Plan.Model, Kind: KindOfRollout, RetryOf: p.RetryOf, Driver: p.Driver, Plan: p.Plan,
		Pins: Pins{FirstChampion: p.FirstChampion}, Salt: p.Salt, NextSalt: p.NextSalt,
		Phase: Progressing, Reason: "started", Task: TaskAdmit, Tasks: map[string]Outcome{}, StartedAt: now,
	}}
	c.event(Event{Name: "RolloutStarted", Notify: NotifyStarted, Actor: p.Actor, Reason: p.Reason})
	return c.done()
}

// StartUndo makes the row of an undo: back to the version To, away from From, which is blocked in the same transaction.
func StartUndo(p UndoParams, now time.Time) (State, []Event, error) {
	if err := checkIdentity(p.ID, p.Salt, p.NextSalt); err != nil {
		return State{}, nil, err
	}
	if p.To.Version == "" || p.From.Version == "" || p.To.Version == p.From.Version {
		return State{}, nil, fmt.Errorf("undo %s from version %q to version %q: two different versions are needed", p.Plan.Model, p.From.Version, p.To.Version)
	}
	c := change{now: now, State: State{
		ID: p.ID, Model: p.Plan.Model, Kind: KindOfUndo, Of: p.Of, Driver: p.Driver, Plan: p.Plan,
		Pins: Pins{Champion: p.To, Challenger: p.From}, Salt: p.Salt, NextSalt: p.NextSalt,
		Phase: Progressing, Reason: "undo started", Task: TaskUndo, Tasks: map[string]Outcome{}, Exposed: true, StartedAt: now,
	}}
	c.event(Event{Name: "UndoStarted", Actor: p.Actor, Reason: p.Reason, Block: p.From.Version})
	return c.done()
}

func checkIdentity(id, salt, nextSalt string) error {
	if id == "" || salt == "" || nextSalt == "" {
		return errors.New("a rollout needs an id and two salts: the engine draws them")
	}
	return nil
}
