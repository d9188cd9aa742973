package task

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/analysis"
	"serin/internal/rollout"
)

// watched has a watch of five minutes.
func watched(p *rollout.StartParams) { p.Plan.Watch.Duration = 5 * time.Minute }

// opens counts the undo that the events ask for.
func (w *world) opens() (n int) {
	for _, e := range w.events {
		if e.OpenUndo {
			n++
		}
	}
	return n
}

// TestWatch_JudgesTheNewChampion by what it answers as champion, from its first minute on: what it did as a canary, and what the old champion did, do not count.
func TestWatch_JudgesTheNewChampion(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		champion float64 // the share of errors of whoever is champion, from the promotion on
		before   float64 // of the old champion
		verdict  string
		undo     int
	}{
		"good":                      {0, 0, "healthy", 0},
		"good after a bad champion": {0, 0.03, "healthy", 0},
		"bad":                       {0.3, 0, "unhealthy", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, watched, func(w *world) {
				w.samples.champion = func(time.Time) (float64, float64) {
					if w.state.Phase == rollout.Succeeded {
						return tt.champion, 0
					}
					return tt.before, 0
				}
				w.drive(func(s rollout.State) bool { return s.Phase.Ended() && s.Task == "" })
				ended := time.Now()
				w.finish()
				if got := w.state.Tasks[rollout.TaskWatch].Verdict; got != tt.verdict || w.opens() != tt.undo || w.state.Phase != rollout.Succeeded {
					t.Errorf("%s, watch %q, %d undos: %s", w.state.Phase, got, w.opens(), w.state.Tasks[rollout.TaskWatch].Reason)
				}
				if took := time.Since(ended); tt.undo == 0 && (took < 5*time.Minute || took > 6*time.Minute) || tt.undo == 1 && took > 2*time.Minute {
					t.Errorf("watched for %s", took)
				}
				if !w.said("watching version 42 at 100 % for 5m0s; version 41 stays loaded") {
					t.Errorf("log %q", w.log)
				}
			})
		})
	}
}

// TestWatch_Notify tells people and undoes nothing when the plan says so.
func TestWatch_Notify(t *testing.T) {
	t.Parallel()
	bubble(t, func(p *rollout.StartParams) { watched(p); p.Plan.Watch.OnFail = rollout.WatchNotify }, func(w *world) {
		w.samples.champion = func(time.Time) (float64, float64) {
			if w.state.Phase == rollout.Succeeded {
				return 0.3, 0
			}
			return 0, 0
		}
		w.finish()
		if w.opens() != 0 || !slices.ContainsFunc(w.events, func(e rollout.Event) bool { return e.Notify == rollout.NotifyWatch }) {
			t.Errorf("%d undos: %+v", w.opens(), w.events)
		}
	})
}

// TestWatch_GoesOnAfterARestart judges each tick once, and ends in the end without samples.
func TestWatch_GoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	bubble(t, watched, func(w *world) {
		w.drive(func(s rollout.State) bool { return s.Phase.Ended() && s.Task == "" })
		w.log = nil
		w.crash, w.cutAt = true, len(w.calls)+200
		w.run(rollout.TaskWatch)
		if !w.cut {
			t.Fatal("the watch was not cut")
		}
		w.finish()
		if got := w.ticks(); !slices.IsSorted(got) || len(got) != 21 || len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Errorf("judged %d ticks: %v", len(got), got)
		}
		if w.opens() != 0 || w.state.Tasks[rollout.TaskWatch].Verdict != "healthy" {
			t.Errorf("%+v", w.state.Tasks[rollout.TaskWatch])
		}
	})
	bubble(t, watched, func(w *world) {
		w.drive(func(s rollout.State) bool { return s.Phase.Ended() && s.Task == "" })
		w.samples.mute = func(time.Time) bool { return true }
		ended := time.Now()
		w.finish()
		if took := time.Since(ended); took > 11*time.Minute || w.opens() != 0 || w.state.Tasks[rollout.TaskWatch].Verdict == "healthy" {
			t.Errorf("after %s: %+v", took, w.state.Tasks[rollout.TaskWatch])
		}
	})
}

// TestWatch_EndsWhenANewRolloutTakesOver stops at the next look.
func TestWatch_EndsWhenANewRolloutTakesOver(t *testing.T) {
	t.Parallel()
	bubble(t, watched, func(w *world) {
		w.drive(func(s rollout.State) bool { return s.Phase.Ended() && s.Task == "" })
		w.signal[10] = rollout.Signal{Name: rollout.SignalSupersede}
		began := time.Now()
		if w.finish(); time.Since(began) > 15*time.Second || w.state.Tasks[rollout.TaskWatch].Verdict != "superseded" {
			t.Errorf("after %s: %+v", time.Since(began), w.state.Tasks[rollout.TaskWatch])
		}
	})
}

func TestChampionAsCanary(t *testing.T) {
	t.Parallel()
	at := time.Date(2025, 1, 20, 10, 0, 0, 0, time.UTC)
	requests := map[string]analysis.Number{"200": 7}
	histogram := &analysis.Histogram{LE: map[string]analysis.Number{"0.1": 6, "+Inf": 7}}
	in := []analysis.Sample{
		{At: at, Role: analysis.RoleChampion, Instance: "a", Revision: "41", Requests: requests},
		{At: at, Role: analysis.RoleCanary, Instance: "a", Revision: "42", Requests: requests},
		{At: at, Role: analysis.RoleShadow, Instance: "a", Revision: "42", Requests: requests},
		{At: at, Role: analysis.RoleChampion, Instance: "a", Revision: "42", Requests: requests, Latency: histogram},
		{At: at, Role: analysis.RoleChampion, Instance: "b", Requests: requests},
	}
	want := []analysis.Sample{
		{At: at, Role: analysis.RoleCanary, Instance: "a", Revision: "42", WeightPct: 100, Requests: requests, Latency: histogram},
		{
			At: at, Role: analysis.RoleChampion, Instance: "a", WeightPct: 100, Requests: map[string]analysis.Number{},
			Latency: &analysis.Histogram{LE: map[string]analysis.Number{"0.1": 0, "+Inf": 0}},
		},
		{At: at, Role: analysis.RoleCanary, Instance: "b", WeightPct: 100, Requests: requests},
		{At: at, Role: analysis.RoleChampion, Instance: "b", WeightPct: 100, Requests: map[string]analysis.Number{}},
	}
	if diff := cmp.Diff(want, championAsCanary(in, "42")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLine(t *testing.T) {
	t.Parallel()
	at := time.Date(2025, 1, 20, 10, 12, 30, 0, time.UTC)
	stage := analysis.Stage{Name: "monitor_5_percent", WeightPct: 5, Bake: 30 * time.Minute}
	few := "; 50 requests in 8 ticks are needed"
	for name, tt := range map[string]struct {
		stage analysis.Stage
		j     analysis.Judgement
		want  string
	}{
		"numbers beside the champion's": {stage, analysis.Judgement{
			At: at, Decision: analysis.DecisionRollback, Covered: 5 * time.Minute,
			Checks: []analysis.Evidence{
				{Text: "error rate 6.7 % (12 of 180 requests) > 5 % in 2 successive ticks", Requests: 180, ChampionValue: 0.0031, ChampionEvents: 11, ChampionRequests: 3550},
				{Text: "slower than 100ms: 1.1 % (2 of 180 requests) < 5 %, p95 61.7ms", Requests: 180, ChampionValue: 0.0152, ChampionEvents: 54, ChampionRequests: 3550, ChampionP95: 0.0598},
			},
		}, "10:12:30 rollback 5m0s covered of 30m0s: error rate 6.7 % (12 of 180 requests) > 5 % in 2 successive ticks, champion 0.31 % (11 of 3550); " +
			"slower than 100ms: 1.1 % (2 of 180 requests) < 5 %, p95 61.7ms, champion 1.5 % (54 of 3550), p95 59.8ms"},
		"what both lack is said once": {stage, analysis.Judgement{
			At: at, Decision: analysis.DecisionHold, Covered: 5 * time.Minute, Lost: time.Minute,
			Checks: []analysis.Evidence{
				{Text: "no sample since 10:00 (so far: error rate 0 % (0 of 20 requests) < 5 %)", Requests: 20},
				{Text: "no sample since 10:00 (so far: slower than 100ms: 5 % (1 of 20 requests) = 5 %)", Requests: 20, ChampionValue: 0.04, ChampionEvents: 16, ChampionRequests: 400},
			},
		}, "10:12:30 hold 5m0s covered of 30m0s, 1m0s lost: no sample since 10:00; so far error rate 0 % (0 of 20 requests) < 5 %; " +
			"so far slower than 100ms: 5 % (1 of 20 requests) = 5 %, champion 4 % (16 of 400)"},
		"nothing but a reason": {stage, analysis.Judgement{
			At: at, Decision: analysis.DecisionHold,
			Checks: []analysis.Evidence{{Text: "gw-1: connection refused"}, {Text: "gw-1: connection refused"}},
		}, "10:12:30 hold 0s covered of 30m0s: gw-1: connection refused"},
		"few requests": {stage, analysis.Judgement{
			At: at, Decision: analysis.DecisionContinue, Covered: 15 * time.Second,
			Checks: []analysis.Evidence{
				{Text: "error rate 0 % (0 of 9 requests) < 5 %" + few, Requests: 9},
				{Text: "slower than 100ms: 0 % (0 of 9 requests) < 5 %" + few, Requests: 9},
			},
		}, "10:12:30 continue 15s covered of 30m0s: error rate 0 % (0 of 9 requests) < 5 %; 50 requests in 8 ticks are needed; slower than 100ms: 0 % (0 of 9 requests) < 5 %"},
		"no bake of its own": {analysis.Stage{Bake: time.Nanosecond}, analysis.Judgement{
			At: at, Decision: analysis.DecisionPromote, Covered: time.Minute, Checks: []analysis.Evidence{{Text: "error rate 0 %"}},
		}, "10:12:30 promote 1m0s covered: error rate 0 %"},
	} {
		if got := line(tt.stage, tt.j); got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, tt.want)
		}
	}
}

// TestLines_AreOneLineEach says nothing in two lines, whatever the outside says.
func TestLines_AreOneLineEach(t *testing.T) {
	t.Parallel()
	u := &run{}
	u.say("a\nb")
	if got := u.lines[0]; strings.Contains(got, "\n") {
		t.Errorf("%q", got)
	}
	for in, want := range map[string]string{"": "", "a": "a", " a\n\tb  c\n": "a b c"} { //nolint:gocritic // mapKey: white space is what it is about
		if got := oneLine(in); got != want {
			t.Errorf("oneLine(%q) = %q, want %q", in, got, want)
		}
	}
	for share, want := range map[float64]string{0: "0", 0.00001: "0.001", 0.0031: "0.31", 0.0152: "1.5", 0.05: "5", 1: "100"} {
		if got := percent(share); got != want {
			t.Errorf("percent(%v) = %s, want %s", share, got, want)
		}
	}
	if text := string(evidence(func() {})); !strings.Contains(text, "evidence could not be written") {
		t.Error(text)
	}
}
