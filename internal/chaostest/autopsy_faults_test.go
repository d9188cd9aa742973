package chaostest

import (
	"encoding/json"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"

	"serin/internal/analysis"
	"serin/internal/model"
	"serin/internal/rollout"
	"serin/internal/store"
)

// What the autopsy is for must be seen when it is there.
func TestRemains_SeesPlantedFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		left remains
		want []string
	}{
		{"nothing at all", remains{}, nil},
		{"all is well", remains{
			history:  []store.Entry{{Seq: 1}, {Seq: 2}},
			rows:     map[string][]rollout.State{better: {{ID: "a"}}},
			attempts: map[string][]store.Attempt{"a": {{Status: store.AttemptLost}, {Status: store.AttemptOpen}}},
			versions: map[string][]store.ModelVersion{better: {{Version: 1, Stage: model.StageArchived}, {Version: 2, Stage: model.StageProduction}}},
		}, nil},
		{"a gap in the history", remains{history: []store.Entry{{Seq: 1}, {Seq: 3}}}, []string{"history: entry 2 has number 3"}},
		{"a beginning that is gone", remains{history: []store.Entry{{Seq: 2}}}, []string{"history: entry 1 has number 2"}},
		{
			"two open attempts",
			remains{attempts: map[string][]store.Attempt{"a": {{Status: store.AttemptOpen}, {Status: store.AttemptOpen}}}},
			[]string{"rollout a has 2 open attempts"},
		},
		{"a second rollout", remains{rows: map[string][]rollout.State{better: {{ID: "b"}, {ID: "a"}}}}, []string{"better has 2 rollouts, one was started"}},
		{
			"two champions",
			remains{versions: map[string][]store.ModelVersion{better: {{Version: 1, Stage: model.StageProduction}, {Version: 2, Stage: model.StageProduction}}}},
			[]string{"better has [1 2] in Production"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, tt.left.faults()); diff != "" {
				t.Errorf("faults (-want +got)\n%s", diff)
			}
		})
	}
}

func TestToldInLog(t *testing.T) {
	t.Parallel()
	const log = `time=2026-01-01T00:00:00Z level=INFO msg=notification channel=log event=started model=better rollout=R1 text="better: rollout=R9"
time=2026-01-01T00:00:01Z level=INFO msg="rollout event" rollout=R1 event=RolloutHeld
time=2026-01-01T00:00:02Z level=INFO msg=notification channel=log event=started model=poor rollout=R2 text="x"
time=2026-01-01T00:00:03Z level=INFO msg=notification channel=log event=started model=better rollout=R1 text="again"
`
	if diff := cmp.Diff(map[string]int{"R1/started": 2, "R2/started": 1}, toldInLog(log)); diff != "" {
		t.Errorf("told (-want +got)\n%s", diff)
	}
}

// checkReplayCanFail plants another figure in the evidence of each bake: the replay must tell it from what the samples give.
func (w *world) checkReplayCanFail(left remains, s rollout.State) {
	w.t.Helper()
	planted := remains{history: left.history, scrapes: left.scrapes, attempts: maps.Clone(left.attempts)}
	list := append([]store.Attempt{}, left.attempts[s.ID]...)
	bakes := 0
	for i, a := range list {
		var j analysis.Judgement
		if len(a.Evidence) == 0 || a.Task != "monitor_20_percent" && a.Task != "monitor_50_percent" || json.Unmarshal(a.Evidence, &j) != nil {
			continue
		}
		bakes++
		j.Covered += tick
		b, err := json.Marshal(j)
		if err != nil {
			w.t.Fatal(err)
		}
		list[i].Evidence = b
	}
	planted.attempts[s.ID] = list
	if faults, stages := planted.replay(s); bakes == 0 || len(faults) != stages {
		w.t.Errorf("one tick too much in %d attempts: the replay of %d bakes sees %q", bakes, stages, faults)
	}
}
