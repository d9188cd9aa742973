package stories

import (
	"context"
	"fmt"
	"time"

	"serin/internal/api"
	"serin/internal/demo"
)

// How long a rollout may take, and how often it is looked at. The longest story takes 25 s.
const (
	storyWithin = 90 * time.Second
	lookEvery   = 100 * time.Millisecond
)

// telling is one story while it is told, with the traffic that its rollout meets.
type telling struct {
	*world
	story    story
	out      *Outcome
	player   *demo.Player
	id       string
	narrator narrator
	seen     int64 // the last line of the log
	// shares are the weights at which the customers' sides have been checked.
	shares map[float64]bool
	// before is the gateway's counters at the beginning of the story.
	before counters
	// canaryFrom is when a customer was first seen with an answer of the canary, acted that the story's event has happened.
	canaryFrom time.Time
	acted      bool
	// within and samplesWithin are the constants of these names when zero.
	within, samplesWithin time.Duration
}

func (t *telling) note(k kind, who, format string, args ...any) {
	t.Teller.tell(event{Story: t.out.Name, Kind: k, Who: who, Text: fmt.Sprintf(format, args...)})
}

func (t *telling) fault(format string, args ...any) {
	f := fmt.Sprintf(format, args...)
	t.out.Faults = append(t.out.Faults, f)
	t.note(kindFault, whoDemo, "NOT AS IT MUST BE: %s", f)
}

// tell tells the story and fills in its outcome. It says whether another can be told: what cannot go on is a fault, unless ctx has ended.
func (t *telling) tell(ctx context.Context) (goOn bool) {
	err := t.roll(ctx)
	if ctx.Err() != nil {
		t.out.Faults = append(t.out.Faults, "interrupted")
		return false
	}
	if err != nil {
		t.fault("%v (logs: %s and %s)", err, t.path("server.log"), t.path("gateway.log"))
	}
	t.end()
	return err == nil
}

// roll stages the challenger, plays traffic, starts a rollout, follows it to its end, and holds the counts against each other.
func (t *telling) roll(ctx context.Context) error {
	if err := t.prepare(ctx); err != nil {
		return err
	}
	player, stop, err := t.play(ctx, t.story.model)
	if err != nil {
		return err
	}
	defer stop()
	t.player = player
	started, err := t.client.Start(ctx, api.StartRequest{Model: t.story.model, Reason: "demo: " + t.out.Name})
	if err != nil {
		return err
	}
	t.id = started.Rollout
	r, err := t.follow(ctx)
	if err != nil {
		return err
	}
	t.ended(r)
	if err := t.checkBack(ctx, r); err != nil {
		return err
	}
	stop()
	t.checkCustomers()
	return t.reconcile(ctx, r)
}

func (t *telling) prepare(ctx context.Context) (err error) {
	if t.story.model == service {
		if err := t.slots[1].SetFaults(t.story.faults); err != nil {
			return err
		}
	}
	if t.story.challenger != "" {
		version, err := t.stage(ctx, t.story.model, t.story.challenger)
		if err != nil {
			return err
		}
		t.note("", whoDemo, "version %s is in Staging", version)
	}
	t.before, err = t.counters(ctx)
	return err
}

// follow looks at the rollout until it has ended and told people, and passes on its log.
func (t *telling) follow(ctx context.Context) (api.Rollout, error) {
	within := t.within
	if within == 0 {
		within = storyWithin
	}
	deadline := time.Now().Add(within)
	for {
		r, err := t.client.Get(ctx, t.id)
		if err != nil {
			return r, err
		}
		if err := t.look(ctx, r); err != nil {
			return r, err
		}
		if r.Phase.Ended() && r.Task == "" {
			return r, t.passOn(ctx)
		}
		if time.Now().After(deadline) {
			return r, fmt.Errorf("rollout %s is still %s at %s after %s: %s", t.id, r.Phase, r.Task, within, r.Reason)
		}
		if err := pause(ctx, lookEvery); err != nil {
			return r, err
		}
	}
}

// look is all that happens at one look at the rollout.
func (t *telling) look(ctx context.Context, r api.Rollout) error {
	if t.canaryFrom.IsZero() && t.player.Snapshot().Total.Roles[roleCanary] > 0 {
		t.canaryFrom = time.Now()
	}
	if err := t.passOn(ctx); err != nil {
		return err
	}
	if err := t.checkShare(ctx, r); err != nil {
		return err
	}
	if t.story.during == nil || t.acted {
		return nil
	}
	var err error
	t.acted, err = t.story.during(ctx, t, r)
	return err
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// ended fills in how the rollout ended.
func (t *telling) ended(r api.Rollout) {
	t.out.Outcome = string(r.Phase)
	if !t.canaryFrom.IsZero() && r.EndedAt != nil {
		t.out.Took = r.EndedAt.Sub(t.canaryFrom).Round(100 * time.Millisecond).String()
	}
	t.note(kindVerdict, whoDemo, "%s: %s", r.Phase, r.Reason)
	if r.Phase != t.story.wanted {
		t.fault("the rollout is %s, it must be %s", r.Phase, t.story.wanted)
	}
	if t.story.during != nil && !t.acted {
		t.fault("the rollout ended before what the story is about could happen")
	}
}

// end is the last line of a story: what happened, in figures.
func (t *telling) end() {
	if len(t.out.Faults) > 0 {
		t.note(kindFault, whoDemo, "this story did not end as it must: %s", t.out.Outcome)
		return
	}
	after := ""
	if t.out.Took != "" {
		after = fmt.Sprintf(" %s after the canary's first answer,", t.out.Took)
	}
	t.note(kindEnd, whoDemo, "%s%s with %d canary requests; customers saw %d failures", t.out.Outcome, after, t.out.CanaryRequests, t.out.Failures)
}
