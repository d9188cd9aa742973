package api

import (
	"context"
	"slices"
	"time"

	"serin/internal/rollout"
	"serin/internal/store"
)

// view is a row as it is shown, with the attempts of its tasks.
func view(ctx context.Context, tx *store.Tx, s rollout.State) (Rollout, error) {
	attempts, err := tx.Attempts(ctx, s.ID)
	if err != nil {
		return Rollout{}, err
	}
	v := Rollout{
		ID: s.ID, Model: s.Model, Kind: s.Kind, Of: s.Of, RetryOf: s.RetryOf, Driver: s.Driver, Phase: s.Phase, Task: s.Task,
		WeightPct: s.WeightPct, Reason: s.Reason, Champion: s.Pins.Champion, Challenger: s.Pins.Challenger,
		Pause: s.Pause, Hold: s.Hold, Gate: s.Gate, Owed: s.Owed, StartedAt: s.StartedAt, EndedAt: present(s.EndedAt), WatchUntil: present(s.WatchUntil),
		Tasks: tasks(s, attempts),
	}
	addStage(&v, s)
	return v, nil
}

func present(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func addStage(v *Rollout, s rollout.State) {
	stages := s.Plan.Stages()
	v.Steps = len(stages)
	if s.Stage == nil {
		if len(stages) > 0 && !s.Phase.Ended() {
			v.NextWeightPct = stages[0].Weight
		}
		return
	}
	v.Judgement = s.Stage.Judgement
	v.Step = s.Stage.Stage + 1
	if s.Stage.Judgement != nil {
		v.Covered = s.Stage.Judgement.Covered.String()
	}
	if !s.Phase.Ended() && s.Stage.Stage < len(stages) {
		v.BakeFor = stages[s.Stage.Stage].Bake.String()
		if s.Ending == nil && s.Stage.Stage+1 < len(stages) {
			v.NextWeightPct = stages[s.Stage.Stage+1].Weight
		}
	}
}

// tasks lists the graph's tasks. Those of branches that an ended rollout did not take are shown as such.
func tasks(s rollout.State, attempts []store.Attempt) []Task {
	var out []Task
	for _, n := range rollout.Graph(s.Plan, s.Kind) {
		t := Task{ID: n.ID, Kind: n.Kind, WeightPct: n.Weight, Attempts: []Attempt{}}
		for _, a := range attempts {
			if a.Task == n.ID {
				t.Attempts = append(t.Attempts, Attempt{
					Attempt: a.Attempt, Status: string(a.Status), StartedAt: a.StartedAt, EndedAt: present(a.EndedAt),
					Verdict: a.Verdict, Reason: a.Reason, Evidence: a.Evidence,
				})
			}
		}
		t.State, t.Verdict, t.Reason = taskState(s, n, t.Attempts)
		if n.Kind == rollout.KindSettle && len(t.Attempts) == 0 && !slices.Contains(s.Owed, n.ID) {
			continue
		}
		out = append(out, t)
	}
	return out
}

// taskState says how a task stands. A task that waits in a bake for its next attempt is waiting too, and one that was begun and cut off for good has
// failed, or was aborted with its rollout: it is not a branch that was not taken.
func taskState(s rollout.State, n rollout.Node, attempts []Attempt) (state, verdict, reason string) {
	outcome, has := s.Tasks[n.ID]
	next := s.Task == n.ID || slices.Contains(s.Owed, n.ID) || n.Kind == rollout.KindWatch && !s.WatchUntil.IsZero()
	parked := s.Stage != nil && s.Stage.Return == n.ID && s.Ending == nil && !s.Phase.Ended()
	var last Attempt
	if len(attempts) > 0 {
		last = attempts[len(attempts)-1]
	}
	switch {
	case next && last.Status == string(store.AttemptOpen):
		return TaskRunning, outcome.Verdict, s.Reason
	case (next || parked) && len(attempts) > 0:
		return TaskWaiting, outcome.Verdict, last.Reason
	case has && outcome.Verdict == "failed":
		return TaskFailed, outcome.Verdict, outcome.Reason
	case has:
		return TaskDone, outcome.Verdict, outcome.Reason
	case next:
		return TaskPending, "", ""
	case len(attempts) > 0 && s.Phase == rollout.Aborted:
		return TaskDone, "aborted", s.Reason
	case len(attempts) > 0 && (s.Ending != nil || s.Phase.Ended()):
		return TaskFailed, "failed", last.Reason
	case s.Phase.Ended():
		return TaskNotTaken, "", ""
	}
	return TaskPending, "", ""
}
