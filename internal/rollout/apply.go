package rollout

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// ErrStale is wrapped by the error of Apply when the row has moved past the attempt: its result changes nothing and is dropped.
var ErrStale = errors.New("the rollout has moved on")

// ErrIllegal is wrapped by the error of Send and Apply when the row, as it stands, has no such transition.
var ErrIllegal = errors.New("not possible now")

// change is a transition in the making: the new state, the time and the events so far.
type change struct {
	State
	now    time.Time
	events []Event
}

func (c *change) event(e Event) {
	if e.Actor == "" {
		e.Actor = Controller
	}
	c.events = append(c.events, e)
}

// done closes the transition: the phase follows from the rest of the state.
func (c *change) done() (State, []Event, error) {
	if !c.Phase.Ended() {
		c.Phase = c.openPhase()
	}
	return c.State, c.events, nil
}

func (c *change) openPhase() Phase {
	switch {
	case c.Pause != nil:
		return Paused
	case c.Hold != nil:
		return Held
	case c.waitsForPerson():
		return Paused
	default:
		return Progressing
	}
}

// waitsForPerson says whether a stage with `pause: {}` has all its evidence and only a person's promote is missing.
func (c *change) waitsForPerson() bool {
	return c.Stage != nil && c.Stage.Verdict == OnHealthy && c.stage().Manual && c.Stage.Promoted == nil && c.Ending == nil
}

// clone copies what a transition may write to, so that the caller's state stays as it was.
func (s State) clone() State {
	s.Tasks = maps.Clone(s.Tasks)
	s.Owed = slices.Clone(s.Owed)
	s.Pause, s.Hold, s.Ending, s.Gate, s.Stage = copied(s.Pause), copied(s.Hold), copied(s.Ending), copied(s.Gate), copied(s.Stage)
	return s
}

func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

// Apply takes the result of an attempt, or a checkpoint on its way (StatusRunning), and returns the row after it with the events that it causes.
// The state it was given is not changed. An attempt that the row has moved past is ErrStale.
func Apply(s State, t Task, r Result, now time.Time) (State, []Event, error) {
	if s.Task != t.ID && !s.owes(t.ID) && (t.ID != TaskWatch || s.WatchUntil.IsZero()) {
		return s, nil, fmt.Errorf("%s of rollout %s: %w: it is at %q", t.ID, s.ID, ErrStale, s.Task)
	}
	node, ok := Find(Graph(s.Plan, s.Kind), t.ID)
	if !ok {
		return s, nil, fmt.Errorf("task %q of rollout %s: %w: its plan has no such task", t.ID, s.ID, ErrIllegal)
	}
	c := &change{State: s.clone(), now: now}
	switch {
	case r.Foreign != nil:
		c.foreign(node, *r.Foreign)
		return c.done()
	case r.Status == StatusRunning:
		c.checkpoint(node, r)
		return c.done()
	}
	if err := c.finish(node, r); err != nil {
		return s, nil, err
	}
	return c.done()
}

// checkpoint records what a running task says on its way.
func (c *change) checkpoint(node Node, r Result) {
	if c.Exposed || c.Pause == nil { // a pause that came in time keeps the canary from its first request
		c.Exposed = c.Exposed || r.Exposed
		c.Promoting = c.Promoting || r.Promoting
	}
	if r.Judge != nil && (node.Kind == KindMonitor || node.Kind == KindWatch) {
		c.judged(node, *r.Judge)
	}
	if node.Kind == KindMonitor {
		c.holdDeadline()
		c.stopWhenOver()
	}
	if node.Kind == KindWatch && !c.WatchUntil.IsZero() && !c.now.Before(c.WatchUntil) && c.Stage != nil {
		c.Stage.Stop = true
	}
}

// finish closes a task: the result is one of done, retry, not proven, refused.
func (c *change) finish(node Node, r Result) error {
	switch r.Status {
	case StatusDone:
		c.RetryAt = time.Time{}
		if node.Kind != KindMonitor {
			c.Failures = 0
		}
		return c.succeed(node, r)
	case StatusRetry, StatusNotProven:
		c.tryAgain(node, r)
		return nil
	case StatusRefused:
		c.refused(node, r)
		return nil
	case StatusRunning:
	}
	return fmt.Errorf("result %q of %s in rollout %s: %w: a run ends as done, retry, not_proven or refused", r.Status, node.ID, c.ID, ErrIllegal)
}

func (c *change) succeed(node Node, r Result) error {
	switch node.Kind {
	case KindAdmit:
		c.release()
		return c.admitted(r)
	case KindCompare:
		c.release()
		return c.compared(r)
	case KindDecide:
		c.decided(node)
	case KindDeploy:
		c.deployed(node, r)
	case KindMonitor:
		c.monitored(node)
	case KindPromote:
		c.promoted(node, r)
	case KindRollback:
		c.rolledBack(r)
	case KindKeep:
		c.outcome(TaskKeepChampion, "done", r.Reason)
		c.end(Rejected, c.Ending.Reason)
		c.owe(r)
		c.Task = TaskNotifyRejected
		c.event(Event{Name: "RolloutRejected", Reason: c.Reason})
	case KindNotify:
		c.outcome(node.ID, "done", r.Reason)
		c.Task = ""
	case KindWatch:
		c.watched(r)
	case KindUndo:
		c.undone(r)
	case KindSettle:
		c.settled(r)
	}
	return nil
}

func (c *change) outcome(task, verdict, reason string) {
	c.Tasks[task] = Outcome{Verdict: verdict, Reason: reason, At: c.now}
}

// end gives the row its last phase. What is owed, told or watched afterwards is Next's business.
func (c *change) end(phase Phase, reason string) {
	c.Phase, c.Reason, c.EndedAt = phase, reason, c.now
	c.Pause, c.Hold, c.Granted, c.Task = nil, nil, "", ""
	c.RetryAt, c.Failures = time.Time{}, 0
}
