package task

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/rollout"
)

// end is what is left of a rollout when nothing is left to do: the same, however it got there.
type end struct {
	Phase  rollout.Phase
	Owed   []string
	Stages map[string]string
	Marks  map[string]string
	Moves  int
	Told   map[string]int
	Weight float64
	URI    string
	Pin    string
}

func (w *world) end() end {
	d := w.doc()
	e := end{Phase: w.state.Phase, Owed: w.state.Owed, Stages: w.stages, Marks: w.marks, Moves: w.moves, Told: w.told, Weight: d.WeightPct(), URI: d.ProductionURI}
	if len(e.Owed) == 0 {
		e.Owed = nil
	}
	if d.Control != nil {
		e.Pin = d.Control.Champion.Version
	}
	return e
}

// stories are the three ways that a rollout goes.
var stories = map[string]struct {
	set  func(*world)
	want end
}{
	"promoted": {
		func(*world) {},
		end{
			Phase: rollout.Succeeded, Stages: map[string]string{"41": "Archived", "42": "Production"}, Marks: map[string]string{}, Moves: 1,
			Told: map[string]int{"succeeded r1": 1}, URI: "models:/fraud/Production", Pin: "42",
		},
	},
	"rolled back": {
		func(w *world) { w.samples.canary = from(time.Now().Add(70*time.Second), 0.5) },
		end{
			Phase: rollout.RolledBack, Stages: map[string]string{"41": "Production", "42": "Staging"}, Marks: map[string]string{"42": "rolled_back"},
			Told: map[string]int{"rolled_back r1": 1}, URI: "models:/fraud/Production", Pin: "41",
		},
	},
	"rejected": {
		func(w *world) { w.report.Decision, w.report.Reasons = "reject", []string{"recall 0.91 < 0.95"} },
		end{
			Phase: rollout.Rejected, Stages: map[string]string{"41": "Production", "42": "Staging"}, Marks: map[string]string{"42": "rejected"},
			Told: map[string]int{"rejected r1": 1},
		},
	},
}

// TestCut_EveryCallOfEveryStory cuts a whole rollout at its n-th call to the outside, before or after the call's effect, once by an error and once by a
// crash that loses the attempt, for n over the whole rollout. It must come to the same end, with no effect doubled and none missing.
func TestCut_EveryCallOfEveryStory(t *testing.T) {
	t.Parallel()
	const stride = 5 // each kind of cut takes another fifth of the calls, so that a run of the test stays below ten seconds
	for name, story := range stories {
		calls := 0
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			story.set(w)
			if diff := cmp.Diff(story.want, w.finish().end()); diff != "" {
				t.Fatalf("%s without a cut (-want +got):\n%s", name, diff)
			}
			calls = len(w.calls)
		})
		for kind, cut := range []journal{{}, {after: true}, {crash: true}, {crash: true, after: true}} {
			t.Run(fmt.Sprintf("%s/after %t, crash %t", name, cut.after, cut.crash), func(t *testing.T) {
				t.Parallel()
				for n := 1 + kind; n <= calls; n += stride {
					synctest.Test(t, func(t *testing.T) {
						w := newWorld(t, nil)
						w.journal = cut
						w.cutAt = n
						story.set(w)
						if diff := cmp.Diff(story.want, w.finish().end()); diff != "" {
							t.Errorf("cut at call %d of %d, %s (-want +got):\n%s\n%v", n, calls, w.calls[n-1], diff, w.state.Tasks)
						}
						if !w.cut {
							t.Errorf("call %d was not cut", n)
						}
					})
				}
			})
		}
	}
}

// TestTwice_EveryTask runs each task of the success path and of the rollback a second time on the row that it started from: no effect is doubled.
func TestTwice_EveryTask(t *testing.T) {
	t.Parallel()
	for name, story := range stories {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				story.set(w)
				for w.state.Task != "" {
					a := rollout.Next(w.state, time.Now())
					before := w.state
					if w.run(a.Do.ID); w.state.Task == "" {
						break
					}
					after, generation := w.state, w.doc().Generation()
					w.state = before
					w.run(a.Do.ID)
					if a.Do.Kind != rollout.KindMonitor && w.doc().Generation() != generation {
						t.Errorf("%s wrote the routing a second time", a.Do.ID)
					}
					if w.state.Task != after.Task || w.state.Phase != after.Phase {
						t.Errorf("%s led to %s and then to %s", a.Do.ID, after.Task, w.state.Task)
					}
				}
				if diff := cmp.Diff(story.want, w.end()); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}
