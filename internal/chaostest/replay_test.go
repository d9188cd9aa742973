package chaostest

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"serin/internal/analysis"
	"serin/internal/rollout"
	"serin/internal/store"
)

// replay judges the stored samples of a rollout anew, stage by stage, without a kill in between, and says what differs from what was judged then.
// stages counts those that were compared.
func (r remains) replay(s rollout.State) (faults []string, stages int) {
	var proven []time.Time // when each stage's weight was
	for _, e := range r.history {
		if e.Rollout == s.ID && e.Event == "TrafficWeightUpdated" {
			proven = append(proven, e.At)
		}
	}
	for i, st := range s.Plan.Stages() {
		task := fmt.Sprintf("monitor_%s_percent", st.Name())
		final, ok := r.finalJudgement(s.ID, task, time.Time{})
		if !ok {
			continue
		}
		if i >= len(proven) {
			faults = append(faults, fmt.Sprintf("rollout %s: %s %% was judged and never proven", s.ID, st.Name()))
			continue
		}
		stages++
		stage := analysis.Stage{
			Name: task, WeightPct: st.Weight, Bake: st.Bake,
			ChampionRevision: s.Pins.Champion.Version, CanaryRevision: s.Pins.Challenger.Version,
		}
		var found []string
		if promoting := r.promotedUnder(s, st.Weight, final.At); !promoting.IsZero() {
			beside := final
			if final, ok = r.finalJudgement(s.ID, task, promoting); !ok {
				found = append(found, "promoted without a judgement before")
			} else if passed := beside.At.Sub(final.At); beside.Covered > passed {
				found = append(found, fmt.Sprintf("covered %s beside the promotion, %s after the bake", beside.Covered, passed))
			}
		}
		if len(found) == 0 {
			found = r.rejudge(s, stage, span{proven[i], final})
		}
		for _, fault := range found {
			faults = append(faults, fmt.Sprintf("rollout %s, %s: %s", s.ID, stage.Name, fault))
		}
	}
	return faults, stages
}

// span is a stage in time: after since, up to the judgement that ended it.
type span struct {
	since time.Time
	final analysis.Judgement
}

func (r remains) rejudge(s rollout.State, stage analysis.Stage, in span) (faults []string) {
	var state analysis.State
	var last analysis.Judgement
	var first, end time.Time
	for _, sc := range r.scrapes[s.Model] {
		if !sc.At.After(in.since) || sc.At.After(in.final.At) {
			continue
		}
		next, j, err := analysis.Judge(s.Plan.Analysis, stage, state, sc)
		if err != nil {
			return append(faults, err.Error())
		}
		if first.IsZero() {
			first = sc.At
		}
		state, last, end = next, j, sc.At
	}
	switch {
	case last.Covered != in.final.Covered:
		faults = append(faults, fmt.Sprintf("covered %s, the stored samples give %s", in.final.Covered, last.Covered))
	case in.final.Covered > end.Sub(first):
		faults = append(faults, fmt.Sprintf("covered %s, samples span %s", in.final.Covered, end.Sub(first)))
	}
	return faults
}

// promotedUnder says whether a promotion wrote the routing and was killed before it committed, and then had to wait: the bake goes on beside it, and
// judges the new champion at 100 %, which is no time at the stage's weight. promoting is when the promotion was first tried; zero where it was not so.
func (r remains) promotedUnder(s rollout.State, weight float64, until time.Time) (promoting time.Time) {
	for _, a := range r.attempts[s.ID] {
		if a.Task == "deploy_canary_100_percent" && (promoting.IsZero() || a.StartedAt.Before(promoting)) {
			promoting = a.StartedAt
		}
	}
	for _, sc := range r.scrapes[s.Model] {
		if !promoting.IsZero() && sc.At.After(promoting) && !sc.At.After(until) && len(sc.Samples) > 0 && sc.Samples[0].WeightPct != weight {
			return promoting
		}
	}
	return time.Time{}
}

// finalJudgement is the last one that a task's attempts have stored; with a time, of those attempts that began before it.
func (r remains) finalJudgement(id, task string, before time.Time) (last analysis.Judgement, ok bool) {
	for _, a := range r.attempts[id] {
		if !before.IsZero() && !a.StartedAt.Before(before) {
			continue
		}
		var j analysis.Judgement
		if a.Task != task || len(a.Evidence) == 0 || json.Unmarshal(a.Evidence, &j) != nil {
			continue
		}
		if j.At.After(last.At) {
			last, ok = j, true
		}
	}
	return last, ok
}

// told counts the notices that each life of a server wrote to its log, by "rollout/event".
func toldInLog(log string) map[string]int {
	told := map[string]int{}
	for line := range strings.Lines(log) {
		if strings.Contains(line, "msg=notification ") {
			told[field(line, "rollout")+"/"+field(line, "event")]++
		}
	}
	return told
}

// field reads a value without spaces from a line of slog's text form.
func field(line, key string) string {
	_, rest, _ := strings.Cut(line, " "+key+"=")
	value, _, _ := strings.Cut(rest, " ")
	return strings.TrimSpace(value)
}

// notices are the deliveries of a rollout, by event, for one channel.
func (r remains) notices(id, channel string) map[string]store.DeliveryStatus {
	all := map[string]store.DeliveryStatus{}
	for _, d := range r.deliveries[id] {
		if d.Channel == channel {
			all[d.Event] = d.Status
		}
	}
	return all
}
