package rollout

import (
	"fmt"
	"strings"
)

// admitted fixes the versions. Without a gate the decision that it would have made is the person's who switched it off.
func (c *change) admitted(r Result) error {
	if r.Pins == nil || r.Pins.Challenger.Version == "" {
		return fmt.Errorf("admit of rollout %s brought no pinned challenger: %w", c.ID, ErrIllegal)
	}
	first := c.Pins.FirstChampion
	c.Pins = *r.Pins
	c.Pins.FirstChampion = first
	c.outcome(TaskAdmit, "done", r.Reason)
	c.event(Event{Name: "VersionsPinned", Reason: r.Reason})
	c.Task, c.Reason = TaskCompare, "comparing offline"
	if c.Plan.Gate.Off {
		c.Gate = &GateVerdict{Decision: "promote", Reasons: []string{"the offline gate is off: " + c.Plan.Gate.Reason}}
		c.outcome(TaskCompare, "skipped", c.Plan.Gate.Reason)
		c.Task = TaskDecideFirst
	}
	return nil
}

func (c *change) compared(r Result) error {
	if r.Gate == nil {
		return fmt.Errorf("compare_models of rollout %s brought no verdict: %w", c.ID, ErrIllegal)
	}
	switch r.Gate.Decision {
	case "promote", "reject", "undecided":
	default:
		return fmt.Errorf("compare_models of rollout %s says %q: %w: it says promote, reject or undecided", c.ID, r.Gate.Decision, ErrIllegal)
	}
	c.Gate = copied(r.Gate)
	c.outcome(TaskCompare, r.Gate.Decision, strings.Join(r.Gate.Reasons, "; "))
	c.event(Event{Name: "OfflineGateJudged", Reason: r.Gate.Decision + ": " + strings.Join(r.Gate.Reasons, "; ")})
	c.Task = TaskDecideFirst
	if r.Gate.Decision == "undecided" {
		c.hold("gate_undecided", "the offline gate cannot tell: "+strings.Join(r.Gate.Reasons, "; "))
	}
	return nil
}

// decided takes the branch. A decide task is only run when there is a verdict, or when the hold that waited for one is over.
func (c *change) decided(node Node) {
	if node.Stage == 0 {
		c.decidedFirst(node)
		return
	}
	if c.Stage == nil || c.Stage.Verdict == OnUnhealthy {
		reason := "the canary was not healthy"
		if c.Stage != nil && c.Stage.Judgement != nil {
			reason = c.Stage.Judgement.Reason
		}
		c.outcome(node.ID, OnUnhealthy, reason)
		c.goBack(Ending{Phase: RolledBack, Reason: reason})
		return
	}
	c.outcome(node.ID, OnHealthy, c.Tasks[monitorID(c.stage())].Reason)
	c.goForward(node)
}

func (c *change) decidedFirst(node Node) {
	switch {
	case c.undecided(node):
		if c.Hold.expired(c.now) {
			c.holdOver()
		}
	case c.Gate != nil && c.Gate.Decision == "reject" && c.Gate.Override == "":
		reason := strings.Join(c.Gate.Reasons, "; ")
		c.outcome(node.ID, OnReject, reason)
		c.Ending = &Ending{Phase: Rejected, Reason: reason}
		c.Task, c.Reason = TaskKeepChampion, reason
	default:
		c.Hold = nil
		c.outcome(node.ID, OnApprove, c.Tasks[TaskCompare].Reason)
		c.goForward(node)
	}
}

// goForward puts the cursor on the deploy that a decide leads to. When the next step may not be taken yet, an exposed canary goes on being judged.
func (c *change) goForward(node Node) {
	stages := c.Plan.Stages()
	to := stages[node.Stage]
	if c.Pins.FirstChampion != "" {
		to = stages[len(stages)-1]
	}
	deploy, _ := Find(Graph(c.Plan, c.Kind), deployID(to))
	if c.Exposed && !c.mayGo(deploy) {
		c.Stage.Stop = false
		c.Task = monitorID(c.stage())
		return
	}
	c.Task, c.Reason = deploy.ID, fmt.Sprintf("going to %s %%", to.Name())
}
