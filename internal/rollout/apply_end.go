package rollout

import (
	"fmt"
	"slices"
	"time"
)

// hold says that the controller cannot tell. A hold that lasts keeps its beginning and its deadline; people are told once.
func (c *change) hold(code, reason string) {
	if c.Hold.sticky() {
		return
	}
	c.Reason = reason
	if c.Hold != nil {
		c.Hold.Code, c.Hold.Reason = code, reason
		return
	}
	c.Hold = &Hold{Code: code, Reason: reason, Since: c.now, Deadline: c.now.Add(c.Plan.Hold.Max)}
	c.event(Event{Name: "RolloutHeld", Notify: NotifyHeld, Reason: reason})
}

// CodeRoutingChanged is the code of the hold that a foreign writer of the routing file causes.
const CodeRoutingChanged = "routing_changed"

// foreign takes a change of the routing that was not ours: it is never undone. A canary that somebody disabled is an abort by that writer.
func (c *change) foreign(node Node, f Foreign) {
	if c.Ending != nil || c.Phase.Ended() {
		return
	}
	if f.Disabled && c.Exposed {
		reason := fmt.Sprintf("aborted by %s: %s", f.Writer, f.Reason)
		c.outcome(node.ID, "aborted", reason)
		c.goBack(Ending{Phase: RolledBack, Reason: reason, Actor: f.Writer, External: true})
		return
	}
	reason := fmt.Sprintf("the routing was changed by %s: %s", f.Writer, f.Reason)
	c.hold(CodeRoutingChanged, reason)
	c.Hold.Code, c.Hold.Reason, c.Reason = CodeRoutingChanged, reason, reason
	c.holdDeadline()
	switch node.Kind {
	case KindDeploy, KindPromote:
		c.Failures++
		if c.Ending == nil {
			c.RetryAt = c.now.Add(backoff(c.Failures, 30*time.Second))
		}
		c.park(node)
	case KindMonitor:
		c.stopWhenOver()
	case KindAdmit, KindCompare, KindDecide, KindRollback, KindKeep, KindNotify, KindWatch, KindUndo, KindSettle:
	}
}

// sticky says whether only a person can end the hold: samples cannot tell why somebody else changed the routing.
func (h *Hold) sticky() bool { return h != nil && h.Code == CodeRoutingChanged }

// release ends a hold: the judge can tell again. A parked task's hold stays until that task is done.
func (c *change) release() {
	if c.Hold == nil || c.Hold.sticky() || c.Stage != nil && c.Stage.Return != "" {
		return
	}
	c.Hold = nil
	c.event(Event{Name: "HoldReleased", Reason: c.Reason})
}

// holdDeadline applies the plan's policy to a hold that has lasted its maximum.
func (c *change) holdDeadline() {
	if c.Ending == nil && c.Hold.expired(c.now) {
		c.holdOver()
	}
}

func (c *change) holdOver() {
	reason := fmt.Sprintf("held for %s: %s", c.Plan.Hold.Max, c.Hold.Reason)
	c.event(Event{Name: "HoldTooLong", Notify: NotifyHoldTooLong, Reason: reason})
	switch c.Plan.Hold.Then {
	case HoldKeep:
		c.Hold.Deadline, c.Hold.Told = time.Time{}, true
	case HoldRollback:
		if !c.Exposed {
			c.abort(reason, Controller)
			return
		}
		c.Ending = &Ending{Phase: RolledBack, Reason: reason}
		if c.Task != "" && !c.atMonitor() {
			c.goBack(*c.Ending)
		}
	}
}

func (c *change) atMonitor() bool {
	node, _ := Find(Graph(c.Plan, c.Kind), c.Task)
	return node.Kind == KindMonitor
}

// abort ends a rollout that nobody has met.
func (c *change) abort(reason, actor string) {
	c.end(Aborted, reason)
	c.event(Event{Name: "RolloutAborted", Notify: NotifyAborted, Actor: actor, Reason: reason})
}

// goBack puts the cursor on the rollback: nothing goes forward from here.
func (c *change) goBack(e Ending) {
	c.Ending = &e
	c.Task, c.Reason = TaskRollback, "rolling back: "+e.Reason
	c.Hold, c.Pause, c.Granted = nil, nil, ""
	c.RetryAt, c.Failures = time.Time{}, 0
	if c.Stage != nil {
		c.Stage.Return, c.Stage.ReturnAt = "", time.Time{} // no parked task comes back
	}
	c.event(Event{Name: "RollbackStarted", Actor: e.Actor, Reason: e.Reason})
}

// refused ends what cannot work by trying again. Where users may have met the canary it goes back; a registry that changed under a promotion is a person's to judge.
func (c *change) refused(node Node, r Result) {
	c.outcome(node.ID, "failed", r.Reason)
	reason := fmt.Sprintf("%s: %s", node.ID, r.Reason)
	switch node.Kind {
	case KindRollback, KindUndo, KindSettle, KindNotify, KindMonitor, KindWatch:
		r.Status = StatusRetry
		c.tryAgain(node, r)
	case KindPromote:
		c.Failures++
		c.RetryAt = c.now.Add(backoff(c.Failures, 30*time.Second))
		c.hold(codeOr(r.Code, "refused"), reason)
		c.holdDeadline()
		c.park(node)
	case KindAdmit, KindCompare, KindDecide, KindDeploy, KindKeep:
		if c.Exposed {
			c.goBack(Ending{Phase: RolledBack, Reason: reason})
			return
		}
		c.end(Failed, reason)
		c.event(Event{Name: "RolloutFailed", Notify: NotifyFailed, Reason: reason})
	}
}

// insist keeps trying what must not be given up: traffic back to the champion, and what is owed to the registry. People are told once when it does not
// come true. A debt to the registry harms nobody's traffic, and a registry may be away for days: every attempt is a row, so they come once a minute then.
func (c *change) insist(node Node, r Result) {
	if c.Phase.Ended() {
		c.RetryAt = c.now.Add(backoff(c.Failures, time.Minute))
		return
	}
	c.RetryAt = c.now.Add(backoff(c.Failures, 5*time.Second))
	c.Reason = fmt.Sprintf("%s: %s", node.ID, r.Reason)
	if c.Failures == 3 {
		c.event(Event{Name: "RollbackUnproven", Notify: NotifyUnproven, Reason: c.Reason})
	}
}

// giveUpNotify stops after five attempts: the rollout has ended, and its channels go on retrying by themselves.
func (c *change) giveUpNotify(node Node, r Result) {
	if c.Failures < 5 {
		return
	}
	c.outcome(node.ID, "failed", r.Reason)
	c.event(Event{Name: "NotificationFailed", Reason: r.Reason})
	c.Task, c.RetryAt, c.Failures = "", time.Time{}, 0
}

func (c *change) rolledBack(r Result) {
	ending := Ending{Phase: RolledBack, Reason: r.Reason}
	if c.Ending != nil {
		ending = *c.Ending
	}
	c.outcome(TaskRollback, "done", r.Reason)
	c.WeightPct = 0
	c.end(ending.Phase, ending.Reason)
	c.owe(r)
	c.Task = TaskNotifyRollback
	c.event(Event{Name: "RolloutRolledBack", Actor: ending.Actor, Reason: ending.Reason})
}

func (c *change) owe(r Result) {
	if r.Owed && !c.owes(TaskSettle) {
		c.Owed = append(c.Owed, TaskSettle)
	}
}

func (c *change) settled(r Result) {
	c.outcome(TaskSettle, "done", r.Reason)
	c.Owed = slices.DeleteFunc(c.Owed, func(id string) bool { return id == TaskSettle })
	c.event(Event{Name: "RegistrySettled", Reason: r.Reason})
}

// watched ends the watch after success. A breach opens an undo or tells people, as the plan says.
func (c *change) watched(r Result) {
	verdict, reason := "done", r.Reason
	if c.Stage != nil && c.Stage.Verdict != "" {
		verdict = c.Stage.Verdict
		if c.Stage.Judgement != nil {
			reason = c.Stage.Judgement.Reason
		}
	}
	c.WatchUntil = time.Time{}
	c.outcome(TaskWatch, verdict, reason)
	if verdict != OnUnhealthy {
		c.event(Event{Name: "WatchEnded", Reason: reason})
		return
	}
	c.event(Event{Name: "WatchFailed", Notify: NotifyWatch, Reason: reason, OpenUndo: c.Plan.Watch.OnFail == WatchUndo})
}

// unwatched is an attempt of the watch that failed. What was seen before counts; when the time is over without a verdict, that is said.
func (c *change) unwatched(r Result) {
	switch {
	case c.Stage != nil && c.Stage.Verdict == OnUnhealthy:
		c.watched(r)
	case !c.now.Before(c.WatchUntil):
		c.WatchUntil = time.Time{}
		c.outcome(TaskWatch, "failed", r.Reason)
		c.event(Event{Name: "WatchEnded", Reason: "ended without a verdict: " + r.Reason})
	default:
		return
	}
	c.RetryAt, c.Failures = time.Time{}, 0
}

func (c *change) undone(r Result) {
	c.outcome(TaskUndo, "done", r.Reason)
	c.WeightPct = 0
	c.end(Succeeded, r.Reason)
	c.owe(r)
	c.Task = TaskNotifyUndone
	c.event(Event{Name: "UndoDone", Reason: r.Reason})
}
