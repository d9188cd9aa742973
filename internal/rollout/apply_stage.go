package rollout

import (
	"fmt"
	"time"

	"serin/internal/analysis"
)

// stage is the current stage of the plan: the one being judged, or the first.
func (s State) stage() Stage {
	stages := s.Plan.Stages()
	if s.Stage == nil || s.Stage.Stage < 0 || s.Stage.Stage >= len(stages) {
		return stages[0]
	}
	return stages[s.Stage.Stage]
}

// noBake is the bake of a stage that has none, or whose rest a person has taken away: the judge wants one above zero, and this one is over with the first evidence.
const noBake = time.Nanosecond

// JudgeStage is the current stage as the judge wants it. A person's promote takes the rest of the bake away, not the evidence.
func (s State) JudgeStage() analysis.Stage {
	if s.Phase == Succeeded {
		return analysis.Stage{Name: TaskWatch, WeightPct: 100, Bake: s.Plan.Watch.Duration}
	}
	st := s.stage()
	bake := st.Bake
	if s.Stage != nil && s.Stage.Promoted != nil {
		bake = noBake
	}
	return analysis.Stage{
		Name: monitorID(st), WeightPct: st.Weight, Bake: max(bake, noBake),
		ChampionRevision: s.Pins.Champion.Version, CanaryRevision: s.Pins.Challenger.Version,
	}
}

// deployed starts the bake of a weight that has been proven.
func (c *change) deployed(node Node, r Result) {
	c.Exposed, c.WeightPct, c.Hold = true, node.Weight, nil
	c.outcome(node.ID, "done", r.Reason)
	c.event(Event{Name: "TrafficWeightUpdated", Reason: r.Reason})
	c.Stage = &StageVerdict{Stage: node.Stage, Since: c.now}
	st := c.stage()
	c.Task, c.Reason = monitorID(st), fmt.Sprintf("baking at %s %% for %s", st.Name(), st.Bake)
	c.spendGrant(node.ID)
}

// spendGrant forgets a command's permission once the task that it asked for is done.
func (c *change) spendGrant(id string) {
	if c.Granted != "" && position(c.State, id) >= position(c.State, c.Granted) {
		c.Granted = ""
	}
}

// judged takes one tick of a bake.
func (c *change) judged(node Node, j Judged) {
	if c.Stage == nil {
		c.Stage = &StageVerdict{Stage: node.Stage, Since: c.now}
	}
	if c.Stage.Verdict == OnUnhealthy {
		return
	}
	if c.Stage.Restart && j.Judgement.Decision != analysis.DecisionRollback {
		return // the bake begins anew: of the judge that is about to stop only harm is heard
	}
	c.Stage.Judge, c.Stage.Judgement = j.State, &j.Judgement
	switch j.Judgement.Decision {
	case analysis.DecisionRollback:
		c.Stage.Verdict = OnUnhealthy
		c.outcome(node.ID, OnUnhealthy, j.Judgement.Reason)
	case analysis.DecisionPromote:
		c.healthy(node, j.Judgement.Reason)
		c.release()
	case analysis.DecisionHold:
		c.Stage.Verdict = ""
		if node.Kind == KindMonitor {
			c.hold(string(j.Judgement.Code), j.Judgement.Reason)
		}
	case analysis.DecisionContinue:
		c.Stage.Verdict = ""
		c.release()
		c.Reason = j.Judgement.Reason
	}
	c.Stage.Stop = node.Kind == KindWatch && c.Stage.Verdict != ""
}

// healthy records that the evidence for going on is there; whether the rollout does go on is stopWhenOver's to say.
func (c *change) healthy(node Node, reason string) {
	c.Stage.Verdict = OnHealthy
	if c.stage().Manual && c.Stage.Promoted == nil && node.Kind == KindMonitor {
		c.Reason = "waiting for a person to promote: " + reason
		return
	}
	if c.Tasks[node.ID].Verdict != OnHealthy {
		c.outcome(node.ID, OnHealthy, reason)
		c.event(Event{Name: "BakePassed", Reason: node.ID + ": " + reason})
	}
	c.Reason = reason
}

// stopWhenOver asks the running bake to return when the rollout goes back, when it may go on, or when a parked task may be tried again.
func (c *change) stopWhenOver() {
	if c.Stage == nil {
		return
	}
	c.Stage.Stop = c.Stage.Restart || c.bakeOver() || c.mayReturn()
}

// mayReturn says whether the parked task may have its next attempt. While nobody lets it, the canary goes on being judged.
func (c *change) mayReturn() bool {
	if c.Stage.Return == "" || c.Stage.ReturnAt.After(c.now) {
		return false
	}
	node, ok := Find(Graph(c.Plan, c.Kind), c.Stage.Return)
	return ok && c.mayGo(node)
}

func (c *change) bakeOver() bool {
	switch {
	case c.Stage == nil:
		return false
	case c.Ending != nil || c.Stage.Verdict == OnUnhealthy:
		return true
	case c.Stage.Return != "":
		return false
	case c.Hold.sticky() && (c.Stage.Promoted == nil || !c.Stage.Promoted.Override):
		return false
	case c.Stage.Promoted != nil && c.Stage.Promoted.Override:
		return c.mayGo(c.nextDecide())
	case c.stage().Manual && c.Stage.Promoted == nil:
		return false
	}
	return c.Stage.Verdict == OnHealthy && c.mayGo(c.nextDecide())
}

func (c *change) nextDecide() Node {
	node, _ := Find(Graph(c.Plan, c.Kind), decideID(c.Plan.Stages(), c.Stage.Stage+1))
	return node
}

// monitored closes a bake. One that returns before it is over is simply begun again.
func (c *change) monitored(node Node) {
	c.Stage.Restart = false
	c.stopWhenOver()
	switch {
	case c.Ending != nil:
		c.goBack(*c.Ending)
	case c.Stage.Verdict == OnUnhealthy:
		c.Task = decideID(c.Plan.Stages(), node.Stage+1)
	case c.Stage.Return != "" && c.Stage.Stop:
		c.Task, c.Stage.Return = c.Stage.Return, ""
	case c.Stage.Stop:
		c.passed(node)
		c.Hold = nil
		c.event(Event{Name: "RolloutStepCompleted", Reason: node.ID + ": " + c.Tasks[node.ID].Reason})
		c.Task = decideID(c.Plan.Stages(), node.Stage+1)
	}
}

// passed records why a bake ended well: the judge's word, or a person's.
func (c *change) passed(node Node) {
	if p := c.Stage.Promoted; p != nil && c.Stage.Verdict != OnHealthy {
		c.Stage.Verdict = "skipped"
		c.outcome(node.ID, "skipped", fmt.Sprintf("promoted by %s without the evidence: %s", p.Actor, p.Reason))
		return
	}
	if c.Tasks[node.ID].Verdict != OnHealthy {
		c.outcome(node.ID, OnHealthy, c.Reason)
	}
}

// promoted is success: the registry says so and everybody gets the new champion.
func (c *change) promoted(node Node, r Result) {
	c.outcome(node.ID, "done", r.Reason)
	c.WeightPct, c.Promoting = 100, false
	c.end(Succeeded, r.Reason)
	c.Task = TaskNotifySuccess
	if d := c.Plan.Watch.Duration; d > 0 && c.Pins.FirstChampion == "" {
		c.WatchUntil = c.now.Add(2 * d)
	}
	c.Stage = &StageVerdict{Stage: node.Stage, Since: c.now}
	c.event(Event{Name: "RolloutSucceeded", Reason: r.Reason})
}

// tryAgain plans another attempt of a task that failed or is not proven. After three failures in a row the rollout is held; when the
// hold has lasted its maximum it goes back. While a canary has traffic the wait is spent judging it.
func (c *change) tryAgain(node Node, r Result) {
	c.Failures++
	c.RetryAt = c.now.Add(backoff(c.Failures, 30*time.Second))
	switch node.Kind {
	case KindNotify:
		c.giveUpNotify(node, r)
	case KindMonitor:
		c.blind(node, r)
	case KindWatch:
		c.unwatched(r)
	case KindRollback, KindUndo, KindSettle:
		c.insist(node, r)
	case KindAdmit, KindCompare, KindDecide, KindDeploy, KindPromote, KindKeep:
		c.Reason = fmt.Sprintf("%s: %s; trying again", node.ID, r.Reason)
		if c.Failures >= 3 || r.Status == StatusNotProven {
			c.hold(codeOr(r.Code, "provider_error"), fmt.Sprintf("%s: %s", node.ID, r.Reason))
			c.holdDeadline()
			c.park(node)
		} else if !c.mayGo(node) {
			c.park(node)
		}
	}
}

// blind is a bake that cannot be judged at all: the canary has traffic and nobody looks, so it is held as any other doubt, and the hold is bounded.
func (c *change) blind(node Node, r Result) {
	c.Reason = fmt.Sprintf("%s: %s", node.ID, r.Reason)
	if c.Failures >= 3 {
		c.hold(codeOr(r.Code, "provider_error"), c.Reason)
	}
	c.holdDeadline()
	if c.Ending != nil {
		c.goBack(*c.Ending)
	}
}

func codeOr(code, otherwise string) string {
	if code != "" {
		return code
	}
	return otherwise
}

// backoff is 1, 2, 4, ... seconds and at most the given time, which is a minute or less.
func backoff(failures int, most time.Duration) time.Duration {
	return min(time.Second<<min(failures-1, 6), most)
}

// park spends the wait for another attempt of deploy or promote in the bake of the weight that has traffic, so that a canary that goes bad meanwhile is rolled back.
// A first champion has no canary before it.
func (c *change) park(node Node) {
	if !c.Exposed || c.Pins.FirstChampion != "" || c.Ending != nil || c.Phase.Ended() || node.Kind != KindDeploy && node.Kind != KindPromote {
		return
	}
	stage := node.Stage
	if node.Kind == KindPromote {
		stage--
	}
	if stage < 0 {
		return
	}
	if c.Stage == nil || c.Stage.Stage != stage {
		c.Stage = &StageVerdict{Stage: stage, Since: c.now}
	}
	c.Stage.Return, c.Stage.Stop = node.ID, false
	c.Task = monitorID(c.stage())
	c.Stage.ReturnAt, c.RetryAt = c.RetryAt, time.Time{}
}
