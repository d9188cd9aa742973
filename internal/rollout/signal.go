package rollout

import (
	"fmt"
	"time"
)

// Send gives a row a person's word. What the row, as it stands, cannot do is an error wrapping ErrIllegal that says what can be done; nothing has changed then.
func Send(s State, sig Signal, now time.Time) (State, []Event, error) {
	if sig.Actor == "" || sig.Reason == "" && sig.Name != SignalGrant {
		return s, nil, fmt.Errorf("%s of rollout %s: %w: give an actor and a reason", sig.Name, s.ID, ErrIllegal)
	}
	c := &change{State: s.clone(), now: now}
	var err error
	switch sig.Name {
	case SignalPause:
		err = c.pause(sig)
	case SignalResume:
		err = c.resume(sig)
	case SignalPromote:
		err = c.promote(sig)
	case SignalAbort:
		err = c.abortBy(sig)
	case SignalRetry:
		err = c.retry(sig)
	case SignalGrant:
		err = c.grant(sig)
	case SignalSupersede:
		err = c.supersede(sig)
	default:
		err = fmt.Errorf("signal %q: %w: know pause, resume, promote, abort and retry", sig.Name, ErrIllegal)
	}
	if err != nil {
		return s, nil, err
	}
	if c.Stage != nil && c.atMonitor() {
		c.stopWhenOver()
	}
	return c.done()
}

// illegal is the error of a signal that has no transition: what is not possible, and what is.
func (c *change) illegal(sig Signal, why string, args ...any) error {
	return fmt.Errorf("%s rollout %s of %s: %w: %s", sig.Name, c.ID, c.Model, ErrIllegal, fmt.Sprintf(why, args...))
}

func (c *change) mustBeOpen(sig Signal) error {
	switch {
	case c.Phase.Ended():
		return c.illegal(sig, "it has ended as %s", c.Phase)
	case c.Ending != nil && sig.Name != SignalAbort:
		return c.illegal(sig, "it is going back to the champion: %s", c.Ending.Reason)
	case c.Kind == KindOfUndo:
		return c.illegal(sig, "an undo runs to its end by itself")
	}
	return nil
}

// pause stops going forward. An exposed canary between two steps goes back to being judged, also when the next one has begun.
func (c *change) pause(sig Signal) error {
	if err := c.mustBeOpen(sig); err != nil {
		return err
	}
	if c.Pause != nil {
		return c.illegal(sig, "%s has paused it already (%s)", c.Pause.Actor, c.Pause.Reason)
	}
	c.Pause = &Pause{Actor: sig.Actor, Reason: sig.Reason, Since: c.now}
	c.Reason = fmt.Sprintf("paused by %s: %s", sig.Actor, sig.Reason)
	c.event(Event{Name: "RolloutPaused", Notify: NotifyPaused, Actor: sig.Actor, Reason: sig.Reason})
	node, _ := Find(Graph(c.Plan, c.Kind), c.Task)
	if c.Exposed && c.Stage != nil && c.Stage.Verdict != OnUnhealthy && node.Kind == KindDecide {
		c.Task = monitorID(c.stage())
	}
	c.park(node)
	return nil
}

func (c *change) resume(sig Signal) error {
	if err := c.mustBeOpen(sig); err != nil {
		return err
	}
	if c.Pause == nil {
		if c.waitsForPerson() {
			return c.illegal(sig, "the plan waits for a person to promote this step: promote it")
		}
		return c.illegal(sig, "nobody has paused it")
	}
	c.Pause = nil
	c.Reason = fmt.Sprintf("resumed by %s: %s", sig.Actor, sig.Reason)
	c.event(Event{Name: "RolloutResumed", Actor: sig.Actor, Reason: sig.Reason})
	return nil
}

// promote skips the rest of a step: with evidence, or without it when the person overrides the analysis.
func (c *change) promote(sig Signal) error {
	if err := c.mustBeOpen(sig); err != nil {
		return err
	}
	if c.Pause != nil {
		return c.illegal(sig, "%s has paused it (%s): resume it first", c.Pause.Actor, c.Pause.Reason)
	}
	node, _ := Find(Graph(c.Plan, c.Kind), c.Task)
	switch {
	case node.Kind == KindDecide && c.undecided(node):
		if !sig.Override {
			return c.illegal(sig, "the offline gate is undecided: retry it with more data, or promote with --override-analysis")
		}
		c.Gate.Override = sig.Actor + ": " + sig.Reason
		c.Hold = nil
	case node.Kind == KindMonitor && c.Stage != nil && c.Stage.Return == "":
		c.Stage.Promoted = &Promotion{Actor: sig.Actor, Reason: sig.Reason, Override: sig.Override}
		if sig.Override {
			c.Hold = nil
		}
	default:
		return c.illegal(sig, "it is at %s, which has no bake to skip", c.Task)
	}
	name := "StepPromoted"
	if sig.Override {
		name = "StepPromotedWithoutEvidence"
	}
	c.Reason = fmt.Sprintf("promoted by %s: %s", sig.Actor, sig.Reason)
	c.event(Event{Name: name, Actor: sig.Actor, Reason: sig.Reason})
	return nil
}

// abortBy ends the rollout now: quietly when nobody has met the canary, by a rollback otherwise.
func (c *change) abortBy(sig Signal) error {
	if c.Phase.Ended() || c.Kind == KindOfUndo {
		return c.mustBeOpen(sig)
	}
	if !c.Exposed {
		c.abort(sig.Reason, sig.Actor)
		return nil
	}
	if c.Task == TaskRollback {
		return nil
	}
	c.outcome(c.Task, "aborted", fmt.Sprintf("aborted by %s: %s", sig.Actor, sig.Reason))
	c.goBack(Ending{Phase: RolledBack, Reason: fmt.Sprintf("aborted by %s: %s", sig.Actor, sig.Reason), Actor: sig.Actor})
	return nil
}

// retry gives a held rollout a new attempt: a new gate, a new bake, or the failed task at once.
func (c *change) retry(sig Signal) error {
	if err := c.mustBeOpen(sig); err != nil {
		return err
	}
	node, _ := Find(Graph(c.Plan, c.Kind), c.Task)
	switch {
	case c.Hold == nil && c.Failures == 0:
		return c.illegal(sig, "it is neither held nor failing")
	case node.Kind == KindDecide && c.undecided(node):
		c.Gate, c.Task = nil, TaskCompare
		delete(c.Tasks, TaskCompare)
	case node.Kind == KindMonitor && c.Stage != nil && c.Stage.Return != "":
		c.Stage.ReturnAt = c.now
	case node.Kind == KindMonitor && c.Stage != nil:
		c.Stage = &StageVerdict{Stage: c.Stage.Stage, Since: c.now, Restart: true}
		delete(c.Tasks, node.ID)
	}
	c.Hold, c.RetryAt, c.Failures = nil, time.Time{}, 0
	c.Reason = fmt.Sprintf("tried again by %s: %s", sig.Actor, sig.Reason)
	c.event(Event{Name: "RolloutRetried", Actor: sig.Actor, Reason: sig.Reason})
	return nil
}

// grant lets a command's task run: only when nothing but decisions lies between it and where the rollout stands.
func (c *change) grant(sig Signal) error {
	if err := c.mustBeOpen(sig); err != nil {
		return err
	}
	if c.Driver != DriverExternal {
		return c.illegal(sig, "the server drives it; promote, pause or abort it instead")
	}
	graph := Graph(c.Plan, c.Kind)
	node, ok := Find(graph, sig.Task)
	if !ok {
		return c.illegal(sig, "its plan has no task %q", sig.Task)
	}
	from, to := position(c.State, c.Task), position(c.State, sig.Task)
	if from < 0 {
		return c.illegal(sig, "it is at %q, which this release does not know", c.Task)
	}
	if to < from {
		return c.illegal(sig, "%s has passed, it is at %s", sig.Task, c.Task)
	}
	for _, n := range graph[from:to] {
		if n.Kind == KindDecide || n.ID == TaskAdmit || n.Kind == KindCompare && c.Plan.Gate.Off || n.Kind == KindMonitor && c.Tasks[n.ID].Verdict == OnHealthy {
			continue
		}
		return c.illegal(sig, "%s comes first, and it has not passed", n.ID)
	}
	if !c.forward(node) {
		return nil
	}
	if c.Pause != nil {
		return c.illegal(sig, "%s has paused it (%s)", c.Pause.Actor, c.Pause.Reason)
	}
	c.Granted = sig.Task
	return nil
}

// supersede ends the watch of a succeeded rollout.
func (c *change) supersede(sig Signal) error {
	if c.WatchUntil.IsZero() {
		return c.illegal(sig, "no watch is running")
	}
	c.WatchUntil = time.Time{}
	c.outcome(TaskWatch, "superseded", sig.Reason)
	c.event(Event{Name: "WatchEnded", Actor: sig.Actor, Reason: sig.Reason})
	return nil
}
