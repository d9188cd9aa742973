package rollout

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/analysis"
	"serin/internal/model"
)

// TestState_JSONRoundTrip stores and loads every situation: what the engine reads back is what was decided on, and decides the same.
func TestState_JSONRoundTrip(t *testing.T) {
	t.Parallel()
	for at, w := range situations(t) {
		var back State
		if err := json.Unmarshal([]byte(encode(t, w.s)), &back); err != nil {
			t.Fatalf("%s: %v", at, err)
		}
		if diff := cmp.Diff(w.s, back); diff != "" {
			t.Errorf("%s (-stored +loaded):\n%s", at, diff)
		}
		for _, now := range []time.Time{w.now, w.now.Add(time.Second), w.now.Add(3 * time.Hour)} {
			if diff := cmp.Diff(Next(w.s, now), Next(back, now)); diff != "" {
				t.Errorf("%s: the loaded row does something else:\n%s", at, diff)
			}
		}
	}
}

// TestState_JSONOfAFullRow fills every field, so that none can lose its tag or its value unseen.
func TestState_JSONOfAFullRow(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 5, 9, 0, 0, 123456789, time.UTC)
	s := State{
		ID: "r1", Model: "fraud", Kind: KindOfUndo, Of: "r0", RetryOf: "r-1", Driver: DriverExternal, Plan: testPlan(),
		Pins: Pins{Champion: model.Pin{Version: "41", Digest: "sha256:a"}, Challenger: model.Pin{Version: "42", Digest: "sha256:b"}, FirstChampion: "none"},
		Salt: "s1", NextSalt: "s2", Phase: Held, Reason: "why\nnot \u2028 <b>", Task: "monitor_0.5_percent",
		Tasks: map[string]Outcome{"admit": {Verdict: "done", Reason: "pinned", At: at}}, Granted: "decide_25_percent",
		Exposed: true, WeightPct: 0.5, Promoting: true,
		Pause:  &Pause{Actor: "ann", Reason: "lunch", Since: at},
		Hold:   &Hold{Code: "no_data", Reason: "none", Since: at, Deadline: at.Add(time.Hour), Told: true},
		Ending: &Ending{Phase: RolledBack, Reason: "bad", Actor: "ops", External: true},
		Gate:   &GateVerdict{Decision: "undecided", Reasons: []string{"a", "b"}, Override: "ann: sure", Report: json.RawMessage(`{"recall":0.96}`)},
		Stage: &StageVerdict{
			Stage: 1, Verdict: OnHealthy, Judge: analysis.State(`{"v":1}`), Judgement: &analysis.Judgement{At: at, Decision: analysis.DecisionHold, Reason: "r"},
			Since: at, Promoted: &Promotion{Actor: "ann", Reason: "sure", Override: true}, Stop: true, Restart: true, Return: "deploy_canary_25_percent", ReturnAt: at,
		},
		RetryAt: at, Failures: 3, Owed: []string{TaskSettle}, WatchUntil: at, StartedAt: at, EndedAt: at,
	}
	s.Plan.Gate.Off, s.Plan.Gate.Reason, s.Plan.Gate.ChampionScores, s.Plan.Gate.ChallengerScores = true, "why", "a", "b"
	text := encode(t, s)
	var back State
	if err := json.Unmarshal([]byte(text), &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, back); diff != "" {
		t.Errorf("(-stored +loaded):\n%s", diff)
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &keys); err != nil {
		t.Fatal(err)
	}
	for _, key := range strings.Fields("id model kind of retry_of driver plan pins salt next_salt phase reason task tasks granted exposed weight_pct promoting pause hold ending gate stage retry_at failures owed watch_until started_at ended_at") {
		if string(keys[key]) == "" {
			t.Errorf("no key %q in the row", key)
		}
		delete(keys, key)
	}
	if len(keys) > 0 {
		t.Errorf("keys that this test does not know, and no row of an older release has: %v", keys)
	}
}

// TestState_LittleSaysLittle: a new row carries no empty ends, holds or stages for a reader to wonder about.
func TestState_LittleSaysLittle(t *testing.T) {
	t.Parallel()
	text := encode(t, newWorld(t, nil).s)
	for _, key := range []string{"hold", "pause", "ending", "gate", "stage", "retry_at", "watch_until", "ended_at", "owed", "granted"} {
		if strings.Contains(text, `"`+key+`":null`) || strings.Contains(text, `"`+key+`":"0001`) {
			t.Errorf("%s in %s", key, text)
		}
	}
}

// TestNext_IsPureAndAgrees: asking twice gives the same and changes nothing, whenever it is asked.
func TestNext_IsPureAndAgrees(t *testing.T) {
	t.Parallel()
	for at, w := range situations(t) {
		before := encode(t, w.s)
		for _, now := range []time.Time{{}, epoch, w.now, w.now.Add(24 * time.Hour)} {
			if diff := cmp.Diff(Next(w.s, now), Next(w.s, now)); diff != "" {
				t.Errorf("%s: two answers\n%s", at, diff)
			}
			if a := Next(w.s, now); a.Done && (a.Do != nil || !a.Wait.IsZero()) || a.Do != nil && !a.Wait.IsZero() {
				t.Errorf("%s: %+v is more than one answer", at, a)
			}
		}
		if encode(t, w.s) != before {
			t.Errorf("%s: Next changed the row", at)
		}
	}
}

// TestDirective tells a running attempt when to leave: when the row is elsewhere, and for each kind when its own time is over.
func TestDirective(t *testing.T) {
	t.Parallel()
	rows := situations(t)
	for _, tt := range []struct {
		name, task string
		row        State
		want       Signals
	}{
		{"admit goes on", TaskAdmit, rows[TaskAdmit].s, Signals{}},
		{"admit of a row that went on", TaskAdmit, rows[TaskCompare].s, Signals{Stop: true}},
		{"bake goes on", "monitor_5_percent", rows["monitor_5_percent"].s, Signals{}},
		{"bake under a pause goes on", "monitor_5_percent", rows["monitor_5_percent paused"].s, Signals{}},
		{"bake that holds goes on", "monitor_5_percent", rows["monitor_5_percent held"].s, Signals{}},
		{"bake whose hold is over", "monitor_5_percent", rows["monitor_5_percent hold over"].s, Signals{Stop: true}},
		{"bake that waits for a person", "monitor_5_percent", rows["monitor_5_percent waits for a person"].s, Signals{}},
		{"bake of the step before", "monitor_5_percent", rows["monitor_25_percent"].s, Signals{Stop: true}},
		{"bake promoted", "monitor_5_percent", sent(t, rows["monitor_5_percent"], Signal{Name: SignalPromote}), Signals{Promoted: true}},
		{"bake promoted without evidence", "monitor_5_percent", sent(t, rows["monitor_5_percent"], Signal{Name: SignalPromote, Override: true}), Signals{Stop: true, Promoted: true}},
		{"bake aborted", "monitor_5_percent", sent(t, rows["monitor_5_percent"], Signal{Name: SignalAbort}), Signals{Stop: true}},
		{"bake to begin anew", "monitor_5_percent", sent(t, rows["monitor_5_percent held"], Signal{Name: SignalRetry}), Signals{Stop: true}},
		{"first deploy goes on", "deploy_canary_5_percent", rows["deploy_canary_5_percent"].s, Signals{}},
		{"first deploy paused in time", "deploy_canary_5_percent", sent(t, rows["deploy_canary_5_percent"], Signal{Name: SignalPause}), Signals{Stop: true}},
		{"first deploy aborted", "deploy_canary_5_percent", sent(t, rows["deploy_canary_5_percent"], Signal{Name: SignalAbort}), Signals{Stop: true}},
		{"promotion paused", "deploy_canary_100_percent", sent(t, rows["deploy_canary_100_percent"], Signal{Name: SignalPause}), Signals{Stop: true}},
		{"rollback goes on", TaskRollback, rows[TaskRollback].s, Signals{}},
		{"settle after the end goes on", TaskSettle, rows[TaskSettle].s, Signals{}},
		{"settle that nothing is owed to", TaskSettle, rows["succeeded"].s, Signals{Stop: true}},
		{"watch goes on", TaskWatch, rows[TaskWatch].s, Signals{}},
		{"watch superseded", TaskWatch, sent(t, rows[TaskWatch], Signal{Name: SignalSupersede}), Signals{Stop: true}},
		{"undo goes on", TaskUndo, rows[TaskUndo].s, Signals{}},
		{"undo done", TaskUndo, rows[TaskNotifyUndone].s, Signals{Stop: true}},
	} {
		node, ok := Find(append(Graph(testPlan(), KindOfRollout), Graph(testPlan(), KindOfUndo)...), tt.task)
		if !ok {
			t.Fatalf("no task %s", tt.task)
		}
		if got := tt.row.Directive(Task{ID: tt.task, Kind: node.Kind}); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
	if got := rows[TaskAdmit].s.Directive(Task{ID: TaskAdmit, Kind: "later"}); !got.Stop {
		t.Error("an attempt of a kind that this release does not know goes on")
	}
}

// sent is the row after a signal; the world stays as it was.
func sent(t *testing.T, w *world, sig Signal) State {
	t.Helper()
	sig.Actor, sig.Reason = "ann", "because"
	s, _, err := Send(w.s, sig, w.now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStart_TheRow(t *testing.T) {
	t.Parallel()
	p := StartParams{ID: "r9", Plan: testPlan(), Driver: DriverExternal, Actor: "train-job", Reason: "weekly", RetryOf: "r8", Salt: "s1", NextSalt: "s2", NoGate: "labels are late", FirstChampion: "new model"}
	s, events, err := Start(p, epoch)
	if err != nil {
		t.Fatal(err)
	}
	want := State{
		ID: "r9", Model: "fraud", Kind: KindOfRollout, RetryOf: "r8", Driver: DriverExternal, Plan: p.Plan, Pins: Pins{FirstChampion: "new model"},
		Salt: "s1", NextSalt: "s2", Phase: Progressing, Reason: "started", Task: TaskAdmit, Tasks: map[string]Outcome{}, StartedAt: epoch,
	}
	want.Plan.Gate.Off, want.Plan.Gate.Reason = true, "labels are late"
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Event{{Name: "RolloutStarted", Notify: NotifyStarted, Actor: "train-job", Reason: "weekly"}}, events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if p.Plan.Gate.Off {
		t.Error("Start changed the caller's plan")
	}
}

func TestStart_WithoutAGateSkipsIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(p *StartParams) { p.NoGate, p.Plan.Gate.Data = "labels are late", "" }).until("deploy_canary_5_percent")
	out := w.s.Tasks[TaskCompare]
	if out.Verdict != "skipped" || !strings.Contains(out.Reason, "labels are late") || strings.Contains(strings.Join(w.order, " "), TaskCompare) {
		t.Errorf("compare_models is %+v, ran %v", out, w.order)
	}
	if w.s.Gate == nil || w.s.Gate.Decision != "promote" || !strings.Contains(strings.Join(w.s.Gate.Reasons, ""), "the offline gate is off: labels are late") {
		t.Errorf("the verdict must say that nobody judged: %+v", w.s.Gate)
	}
}

func TestStartUndo_Refusals(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*UndoParams){
		"no id":      func(p *UndoParams) { p.ID = "" },
		"no salt":    func(p *UndoParams) { p.Salt = "" },
		"no next":    func(p *UndoParams) { p.NextSalt = "" },
		"to nothing": func(p *UndoParams) { p.To = model.Pin{} },
		"from none":  func(p *UndoParams) { p.From = model.Pin{} },
		"to itself":  func(p *UndoParams) { p.To = p.From },
	} {
		p := UndoParams{ID: "u", Plan: testPlan(), To: pin("41"), From: pin("42"), Salt: "a", NextSalt: "b", Actor: "ann", Reason: "x"}
		change(&p)
		if s, events, err := StartUndo(p, epoch); err == nil || s.ID != "" || len(events) > 0 {
			t.Errorf("%s: started as %+v", name, s)
		}
	}
}

// TestUndo_ThatOwesTheRegistry: traffic is back, people are told, and the registry follows when it can.
func TestUndo_ThatOwesTheRegistry(t *testing.T) {
	t.Parallel()
	w := newUndo(t)
	w.answer[TaskUndo] = Result{Status: StatusDone, Owed: true, Reason: "41 serves; the registry is away"}
	w.answer[TaskSettle] = Result{Status: StatusRetry, Reason: "still away"}
	w.finish()
	if diff := cmp.Diff([]string{TaskUndo, TaskNotifyUndone, TaskSettle, TaskSettle}, w.order); diff != "" {
		t.Errorf("tasks (-want +got):\n%s", diff)
	}
	if w.s.Phase != Succeeded || w.s.WeightPct != 0 || len(w.s.Owed) != 0 || !w.s.WatchUntil.IsZero() {
		t.Errorf("%s at %g %%, owed %v", w.s.Phase, w.s.WeightPct, w.s.Owed)
	}
	if !errors.Is(w.send(Signal{Name: SignalAbort}), ErrIllegal) {
		t.Error("an undo that is over was aborted")
	}
}

func TestTask_KeyIsTheSameForEveryAttempt(t *testing.T) {
	t.Parallel()
	a, b := Task{Rollout: "r1", ID: "admit", Attempt: 1}, Task{Rollout: "r1", ID: "admit", Attempt: 2}
	if a.Key() != b.Key() || a.Key() == (Task{Rollout: "r2", ID: "admit"}).Key() || a.Key() == (Task{Rollout: "r1", ID: TaskCompare}).Key() {
		t.Errorf("keys %s, %s", a.Key(), b.Key())
	}
}
