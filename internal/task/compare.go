package task

import (
	"context"
	"fmt"
	"strings"

	"serin/internal/rollout"
)

// compareModels is the offline gate. Data that cannot be judged on end the rollout as failed: that is neither a promote nor a reject.
func compareModels(ctx context.Context, u *run) (rollout.Result, error) {
	g := u.state.Plan.Gate
	u.say("comparing version %s with version %s on %s, label %s", u.state.Pins.Challenger.Version, orNone(u.state.Pins.Champion.Version), g.Data, g.Label)
	report, err := u.Gate.Compare(ctx, u.state)
	if err != nil {
		return u.failed(fmt.Errorf("compare offline: %w", err)), nil
	}
	for line := range strings.Lines(report.Text()) {
		u.say("%s", strings.TrimRight(line, "\n"))
	}
	r := u.done("%s: %s", report.Decision, strings.Join(report.Reasons, "; "))
	r.Evidence = evidence(report)
	r.Gate = &rollout.GateVerdict{Decision: string(report.Decision), Reasons: report.Reasons, Report: r.Evidence}
	return r, nil
}

// decide has no effect of its own: the branch follows from the row, see rollout.Apply.
func decide(_ context.Context, u *run) (rollout.Result, error) {
	s := u.state
	switch {
	case u.task.Node.Stage == 0 && s.Gate != nil:
		return u.done("the gate says %s: %s", s.Gate.Decision, strings.Join(s.Gate.Reasons, "; ")), nil
	case s.Stage != nil && s.Stage.Promoted != nil && s.Stage.Verdict == "skipped":
		return u.done("the rest of the bake was skipped by %s without the evidence: %s", s.Stage.Promoted.Actor, s.Stage.Promoted.Reason), nil
	case s.Stage != nil && s.Stage.Judgement != nil:
		return u.done("the bake was %s: %s", s.Stage.Verdict, s.Stage.Judgement.Reason), nil
	}
	return u.done("nothing was judged"), nil
}

// keep says that the champion stays, and marks the challenger as rejected. A registry that is away is settled later.
func keep(ctx context.Context, u *run) (rollout.Result, error) {
	owed := u.mark(ctx, "rejected", strings.Join(u.state.Gate.Reasons, "; "))
	r := u.done("version %s stays champion", orNone(u.state.Pins.Champion.Version))
	r.Owed = owed
	return r, nil
}
