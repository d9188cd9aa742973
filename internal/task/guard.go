package task

import (
	"fmt"

	"serin/internal/rollout"
	"serin/internal/traffic"
)

// foreign says whether the routing document is another than the one this rollout last wrote: nil when it is ours. Whoever changed it is
// believed: Serin never puts back what somebody else took away.
func foreign(s rollout.State, d traffic.Document) *rollout.Foreign {
	writer := "another writer"
	if d.Control != nil && d.Control.Writer != "" {
		writer = d.Control.Writer
	}
	ours := d.Control != nil && d.Control.Rollout == s.ID
	switch {
	case ours && s.Promoting && !d.CanaryEnabled && d.Control.Champion.Version == s.Pins.Challenger.Version:
		return nil // our own promotion, not proven yet
	case !d.CanaryEnabled:
		return &rollout.Foreign{Disabled: true, Writer: writer, Reason: "the canary was disabled in the routing file"}
	case !ours:
		return &rollout.Foreign{Writer: writer, Reason: fmt.Sprintf("it has a canary at %g %% that is not of rollout %s", d.CanaryPct, s.ID)}
	case !sameWeight(d.CanaryPct, s.WeightPct) && !sameWeight(d.CanaryPct, pendingWeight(s)):
		return &rollout.Foreign{Writer: writer, Reason: fmt.Sprintf("the canary has %g %%, not %g %%", d.CanaryPct, s.WeightPct)}
	case d.Control.Canary == nil || d.Control.Canary.Version != s.Pins.Challenger.Version || d.Control.Champion.Version != s.Pins.Champion.Version:
		return &rollout.Foreign{Writer: writer, Reason: "it names other versions"}
	}
	return nil
}

// pendingWeight is the weight of a deploy that was written and is not proven yet.
func pendingWeight(s rollout.State) float64 {
	if s.Stage == nil {
		return s.WeightPct
	}
	stages := s.Plan.Stages()
	return stages[min(max(s.Stage.Stage, 0), len(stages)-1)].Weight
}

func sameWeight(a, b float64) bool { return a-b < 0.005 && b-a < 0.005 }
