package task

import (
	"fmt"

	"serin/internal/model"
	"serin/internal/rollout"
	"serin/internal/traffic"
)

// foreign says whether the routing document is another than the one this rollout last wrote: nil when it is ours. Whoever changed it is
// believed: Serin never puts back what somebody else took away.
func foreign(s rollout.State, d traffic.Document) *rollout.Foreign {
	writer := writerOf(d)
	switch {
	case gone(d):
		return &rollout.Foreign{Writer: writer, Reason: "the routing file is gone"}
	case ours(s, d) && s.Promoting && !d.CanaryEnabled && d.Control.Champion.Version == s.Pins.Challenger.Version:
		return nil // our own promotion, not proven yet
	case d.WeightPct() == 0:
		return &rollout.Foreign{Disabled: true, Writer: writer, Reason: "the canary was disabled in the routing file"}
	case !ours(s, d):
		return &rollout.Foreign{Writer: writer, Reason: fmt.Sprintf("it has a canary at %g %% that is not of rollout %s", d.CanaryPct, s.ID)}
	case !sameWeight(d.CanaryPct, s.WeightPct) && !sameWeight(d.CanaryPct, pendingWeight(s)):
		return &rollout.Foreign{Writer: writer, Reason: fmt.Sprintf("the canary has %g %%, not %g %%", d.CanaryPct, s.WeightPct)}
	case d.Control.Canary == nil || d.Control.Canary.Version != s.Pins.Challenger.Version || d.Control.Champion.Version != s.Pins.Champion.Version:
		return &rollout.Foreign{Writer: writer, Reason: "it names other versions"}
	case !sameReferences(s, d):
		return &rollout.Foreign{Writer: writer, Reason: fmt.Sprintf("it sends the canary's requests to %s and the champion's to %s", d.CanaryURI, d.ProductionURI)}
	}
	return nil
}

// ours says whether this rollout was the last to sign the document.
func ours(s rollout.State, d traffic.Document) bool {
	return d.Control != nil && d.Control.Rollout == s.ID
}

// gone says whether there is no document at all.
func gone(d traffic.Document) bool { return d.Control == nil && d.ProductionURI == "" }

func writerOf(d traffic.Document) string {
	if d.Control == nil || d.Control.Writer == "" {
		return "another writer"
	}
	return d.Control.Writer
}

// sameReferences says whether the document's references are those that a deploy writes: they decide for readers that know no pins.
func sameReferences(s rollout.State, d traffic.Document) bool {
	want, err := traffic.Deploy(traffic.Document{}, traffic.DeployParams{
		Model: s.Model, WeightPct: d.CanaryPct, URIs: traffic.URIs(s.Plan.Routing.URIs),
		Champion: s.Pins.Champion, Canary: s.Pins.Challenger, Salt: s.Salt, By: traffic.Author{Writer: "to compare"},
	})
	return err == nil && want.CanaryURI == d.CanaryURI && want.ProductionURI == d.ProductionURI && d.Control.Salt == s.Salt
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

// pinnedURI names exactly one version, whatever a stage resolves to at the moment.
func pinnedURI(name string, pin model.Pin) string {
	return model.Ref{Kind: model.RefVersion, Name: name, Version: pin.Version}.String()
}

// namesOther says whether a reference names another version than the pinned one.
func namesOther(uri string, pin model.Pin) bool {
	ref, err := model.ParseRef(uri)
	return err == nil && ref.Kind == model.RefVersion && ref.Version != pin.Version
}
