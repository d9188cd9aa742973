package rollout

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"serin/internal/analysis"
	"serin/internal/model"
)

// situations gives every task of both graphs as the row's current one, and what lies around it: by name, the row as it stands there.
// Each is reached by a history, not set: what the table says is about rows that happen.
func situations(t *testing.T) map[string]*world {
	t.Helper()
	reject := Result{Status: StatusDone, Gate: &GateVerdict{Decision: "reject", Reasons: []string{"recall 0.41 < 0.95"}}}
	undecided := Result{Status: StatusDone, Gate: &GateVerdict{Decision: "undecided", Reasons: []string{"59 positives are needed"}}}
	rows := map[string]*world{}
	for _, n := range Graph(testPlan(), KindOfRollout) {
		w := newWorld(t, nil)
		switch n.ID {
		case TaskKeepChampion, TaskNotifyRejected:
			w.answer[TaskCompare] = reject
		case TaskRollback, TaskNotifyRollback:
			w.ticks["monitor_5_percent"] = []analysis.Decision{analysis.DecisionRollback}
		case TaskWatch:
			w.until(TaskNotifySuccess).step()
			rows[n.ID] = w
			continue
		case TaskSettle:
			w.ticks["monitor_5_percent"] = []analysis.Decision{analysis.DecisionRollback}
			w.answer[TaskRollback] = Result{Status: StatusDone, Owed: true}
			w.until(TaskNotifyRollback).step()
			rows[n.ID] = w
			continue
		}
		rows[n.ID] = w.until(n.ID)
	}
	gate := newWorld(t, nil)
	gate.answer[TaskCompare] = undecided
	rows["decide_deployment undecided"] = gate.until(TaskDecideFirst)

	paused := newWorld(t, nil).until("monitor_5_percent")
	paused.mustSend(Signal{Name: SignalPause})
	rows["monitor_5_percent paused"] = paused

	held := newWorld(t, nil).until("monitor_5_percent")
	held.ticking(1, analysis.DecisionHold)
	rows["monitor_5_percent held"] = held

	foreign := newWorld(t, nil).until("monitor_5_percent")
	foreign.apply(foreign.taskOf("monitor_5_percent"), Result{Status: StatusRunning, Foreign: &Foreign{Writer: "ops", Reason: "12 %"}})
	rows["monitor_5_percent routing changed"] = foreign

	parked := newWorld(t, nil)
	parked.answer["deploy_canary_25_percent"] = notProven
	rows["monitor_25_percent parked"] = parked.until("deploy_canary_25_percent").until("monitor_25_percent")

	failing := newWorld(t, nil).until(TaskCompare)
	failing.apply(failing.taskOf(TaskCompare), Result{Status: StatusRetry, Reason: "registry away"})
	rows["compare_models failing"] = failing

	over := newWorld(t, nil).until("monitor_5_percent")
	over.ticking(1, analysis.DecisionHold)
	over.now = over.s.Hold.Deadline
	over.ticking(1, analysis.DecisionHold)
	rows["monitor_5_percent hold over"] = over

	manual := newWorld(t, func(p *StartParams) { p.Plan.Steps[1].Duration = 0 }).until("monitor_5_percent")
	manual.ticking(1, analysis.DecisionPromote)
	rows["monitor_5_percent waits for a person"] = manual

	rows["succeeded"] = newWorld(t, nil).finish()
	rows[TaskUndo] = newUndo(t)
	rows[TaskNotifyUndone] = newUndo(t).until(TaskNotifyUndone)
	rows["undo_deployment failing"] = newUndo(t)
	u := rows["undo_deployment failing"]
	u.apply(u.taskOf(TaskUndo), Result{Status: StatusRetry, Reason: "routing file locked"})
	return rows
}

func newUndo(t *testing.T) *world {
	t.Helper()
	s, events, err := StartUndo(UndoParams{
		ID: "u1", Of: "r1", Plan: testPlan(), Driver: DriverLocal, Actor: "ann", Reason: "chargebacks",
		To: model.Pin{Version: "41"}, From: model.Pin{Version: "42"}, Salt: "a", NextSalt: "b",
	}, epoch)
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, s: s, now: epoch, events: events, answer: map[string]Result{}, ticks: map[string][]analysis.Decision{}}
}

func (w *world) mustSend(sig Signal) {
	w.t.Helper()
	if err := w.send(sig); err != nil {
		w.t.Fatal(err)
	}
}

// legality is which signal each situation takes and what the row is then; a dot is a refusal. The letters of the grants are in grants.
// Read it against the contract: a pause blocks going forward and nothing else; an abort is quiet before anybody met the canary and
// a rollback after; nothing turns a rollback round; an ended row takes nothing but the end of its watch.
var legality = []struct {
	at                                                    string
	pause, resume, promote, override, abort, retry, super string
}{
	{"admit", "paused at admit", ".", ".", ".", "aborted at -", ".", "."},
	{"compare_models", "paused at compare_models", ".", ".", ".", "aborted at -", ".", "."},
	{"compare_models failing", "paused at compare_models, failed 1, again in 1s", ".", ".", ".", "aborted at -", "progressing at compare_models", "."},
	{"decide_deployment", "paused at decide_deployment", ".", ".", ".", "aborted at -", ".", "."},
	{"decide_deployment undecided", "paused at decide_deployment, hold gate_undecided", ".", ".", "progressing at decide_deployment", "aborted at -", "progressing at compare_models", "."},
	{"deploy_canary_5_percent", "paused at deploy_canary_5_percent", ".", ".", ".", "aborted at -", ".", "."},
	{"monitor_5_percent", "paused at monitor_5_percent", ".", "progressing at monitor_5_percent", "progressing at monitor_5_percent", "progressing at rollback_deployment", ".", "."},
	{"monitor_5_percent paused", ".", "progressing at monitor_5_percent", ".", ".", "progressing at rollback_deployment", ".", "."},
	{"monitor_5_percent held", "paused at monitor_5_percent, hold no_data", ".", "held at monitor_5_percent, hold no_data", "progressing at monitor_5_percent", "progressing at rollback_deployment", "progressing at monitor_5_percent", "."},
	{"monitor_5_percent routing changed", "paused at monitor_5_percent, hold routing_changed", ".", "held at monitor_5_percent, hold routing_changed", "progressing at monitor_5_percent", "progressing at rollback_deployment", "progressing at monitor_5_percent", "."},
	{"monitor_5_percent hold over", ".", ".", ".", ".", "progressing at rollback_deployment", ".", "."},
	{"monitor_5_percent waits for a person", "paused at monitor_5_percent", ".", "progressing at monitor_5_percent", "progressing at monitor_5_percent", "progressing at rollback_deployment", ".", "."},
	{"decide_25_percent", "paused at monitor_5_percent", ".", ".", ".", "progressing at rollback_deployment", ".", "."},
	{"deploy_canary_25_percent", "paused at monitor_25_percent, parked deploy_canary_25_percent", ".", ".", ".", "progressing at rollback_deployment", ".", "."},
	{"monitor_25_percent", "paused at monitor_25_percent", ".", "progressing at monitor_25_percent", "progressing at monitor_25_percent", "progressing at rollback_deployment", ".", "."},
	{"monitor_25_percent parked", "paused at monitor_25_percent, hold not_proven, failed 1, parked deploy_canary_25_percent", ".", ".", ".", "progressing at rollback_deployment", "progressing at monitor_25_percent, parked deploy_canary_25_percent", "."},
	{"decide_100_percent", "paused at monitor_25_percent", ".", ".", ".", "progressing at rollback_deployment", ".", "."},
	{"deploy_canary_100_percent", "paused at monitor_25_percent, parked deploy_canary_100_percent", ".", ".", ".", "progressing at rollback_deployment", ".", "."},
	{"notify_success", ".", ".", ".", ".", ".", ".", "succeeded at notify_success"},
	{"watch_100_percent", ".", ".", ".", ".", ".", ".", "succeeded at -"},
	{"succeeded", ".", ".", ".", ".", ".", ".", "."},
	{"keep_champion", ".", ".", ".", ".", "aborted at -", ".", "."},
	{"notify_rejected", ".", ".", ".", ".", ".", ".", "."},
	{"rollback_deployment", ".", ".", ".", ".", "progressing at rollback_deployment", ".", "."},
	{"notify_rollback", ".", ".", ".", ".", ".", ".", "."},
	{"settle_registry", ".", ".", ".", ".", ".", ".", "."},
	{"undo_deployment", ".", ".", ".", ".", ".", ".", "."},
	{"undo_deployment failing", ".", ".", ".", ".", ".", ".", "."},
	{"notify_undone", ".", ".", ".", ".", ".", ".", "."},
}

func TestSend_EverySignalAtEveryTask(t *testing.T) {
	t.Parallel()
	rows := situations(t)
	if len(rows) != len(legality) {
		t.Errorf("%d situations, %d rows in the table", len(rows), len(legality))
	}
	for _, tt := range legality {
		w, ok := rows[tt.at]
		if !ok {
			t.Fatalf("no situation %q", tt.at)
		}
		for sig, want := range map[Signal]string{
			{Name: SignalPause}: tt.pause, {Name: SignalResume}: tt.resume, {Name: SignalPromote}: tt.promote, {Name: SignalPromote, Override: true}: tt.override,
			{Name: SignalAbort}: tt.abort, {Name: SignalRetry}: tt.retry, {Name: SignalSupersede}: tt.super,
			{Name: SignalGrant, Task: w.s.Task}: ".", {Name: "nonsense"}: ".",
		} {
			checkSignal(t, tt.at, w, sig, want)
		}
	}
}

// checkSignal sends a signal to a copy of the row, and holds a refusal to leaving it alone and to saying on one line which rollout it was.
func checkSignal(t *testing.T, at string, w *world, sig Signal, want string) {
	t.Helper()
	sig.Actor, sig.Reason = "ann", "because"
	s, events, err := Send(w.s, sig, w.now)
	got := "."
	if err == nil {
		got = describe(s, w.now)
	}
	if got != want {
		t.Errorf("%s (override %v) at %s: %s, want %s (%v)", sig.Name, sig.Override, at, got, want, err)
	}
	if err == nil {
		return
	}
	if !errors.Is(err, ErrIllegal) || len(events) != 0 || encode(t, s) != encode(t, w.s) {
		t.Errorf("%s at %s was refused with %d events: %v", sig.Name, at, len(events), err)
	}
	if text := err.Error(); strings.ContainsAny(text, "\n") || !strings.Contains(text, string(sig.Name)) {
		t.Errorf("%s at %s: %q", sig.Name, at, text)
	}
}

func describe(s State, now time.Time) string {
	out := string(s.Phase) + " at " + cmp.Or(s.Task, "-")
	if s.Hold != nil {
		out += ", hold " + s.Hold.Code
	}
	if s.Failures > 0 {
		out += fmt.Sprintf(", failed %d", s.Failures)
	}
	if s.RetryAt.After(now) {
		out += ", again in " + s.RetryAt.Sub(now).String()
	}
	if s.Stage != nil && s.Stage.Return != "" {
		out += ", parked " + s.Stage.Return
	}
	if len(s.Owed) > 0 {
		out += ", owed"
	}
	return out
}

func TestSend_NeedsAnActorAndAReason(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil).until("monitor_5_percent")
	for _, name := range []SignalName{SignalPause, SignalResume, SignalPromote, SignalAbort, SignalRetry, SignalSupersede} {
		for _, sig := range []Signal{{Name: name, Actor: "ann"}, {Name: name, Reason: "because"}, {Name: name}} {
			if _, events, err := Send(w.s, sig, w.now); !errors.Is(err, ErrIllegal) || len(events) > 0 {
				t.Errorf("%+v: %v", sig, err)
			}
		}
	}
}

// TestSend_EventsNameThePerson holds the history: who, why, and under which name people are told.
func TestSend_EventsNameThePerson(t *testing.T) {
	t.Parallel()
	rows := situations(t)
	for _, tt := range []struct {
		at   string
		sig  Signal
		want Event
	}{
		{"monitor_5_percent", Signal{Name: SignalPause}, Event{Name: "RolloutPaused", Notify: NotifyPaused}},
		{"monitor_5_percent paused", Signal{Name: SignalResume}, Event{Name: "RolloutResumed"}},
		{"monitor_5_percent", Signal{Name: SignalPromote}, Event{Name: "StepPromoted"}},
		{"monitor_5_percent", Signal{Name: SignalPromote, Override: true}, Event{Name: "StepPromotedWithoutEvidence"}},
		{"admit", Signal{Name: SignalAbort}, Event{Name: "RolloutAborted", Notify: NotifyAborted}},
		{"monitor_5_percent", Signal{Name: SignalAbort}, Event{Name: "RollbackStarted"}},
		{"monitor_5_percent held", Signal{Name: SignalRetry}, Event{Name: "RolloutRetried"}},
		{"watch_100_percent", Signal{Name: SignalSupersede}, Event{Name: "WatchEnded"}},
	} {
		tt.sig.Actor, tt.sig.Reason = "bob", "chargebacks rise"
		_, events, err := Send(rows[tt.at].s, tt.sig, rows[tt.at].now)
		if err != nil || len(events) != 1 {
			t.Errorf("%s at %s: %d events, %v", tt.sig.Name, tt.at, len(events), err)
			continue
		}
		got := events[0]
		if got.Name != tt.want.Name || got.Notify != tt.want.Notify || got.Actor != "bob" || !strings.Contains(got.Reason, "chargebacks rise") {
			t.Errorf("%s at %s: event %+v, want %+v by bob", tt.sig.Name, tt.at, got, tt.want)
		}
	}
}

// grants is, for an external driver's row at each task, which task a command may ask for: only when nothing but decisions lies before it.
var grants = []struct{ at, may string }{
	{"admit", "admit compare_models"},
	{"compare_models", "compare_models"},
	{"decide_deployment", "decide_deployment deploy_canary_5_percent"},
	{"deploy_canary_5_percent", "deploy_canary_5_percent"},
	{"monitor_5_percent", "monitor_5_percent"},
	{"monitor_5_percent healthy", "monitor_5_percent decide_25_percent deploy_canary_25_percent"},
	{"monitor_25_percent", "monitor_25_percent"},
	{"monitor_25_percent healthy", "monitor_25_percent decide_100_percent deploy_canary_100_percent"},
}

func TestSend_GrantMatrix(t *testing.T) {
	t.Parallel()
	for _, tt := range grants {
		w := externalAt(t, tt.at)
		may := strings.Fields(tt.may)
		for _, n := range Graph(w.s.Plan, w.s.Kind) {
			want := slices.Contains(may, n.ID)
			s, events, err := Send(w.s, Signal{Name: SignalGrant, Actor: "airflow", Task: n.ID}, w.now)
			if (err == nil) != want || err != nil && !errors.Is(err, ErrIllegal) || len(events) > 0 {
				t.Errorf("grant of %s at %s: %v, want legal %v", n.ID, tt.at, err, want)
			}
			if monitor := n.Kind == KindMonitor; want && (s.Granted == n.ID) == monitor {
				t.Errorf("grant of %s at %s left %q granted: a bake needs nobody's word, everything else does", n.ID, tt.at, s.Granted)
			}
		}
	}
}

func TestSend_GrantUnderAPauseOrOfNothing(t *testing.T) {
	t.Parallel()
	w := externalAt(t, "decide_deployment")
	w.mustSend(Signal{Name: SignalPause})
	for _, tt := range []struct{ task, says string }{
		{"deploy_canary_5_percent", "ann has paused it (because)"}, {"deploy_canary_7_percent", `no task "deploy_canary_7_percent"`}, {TaskAdmit, "admit has passed"},
	} {
		err := w.send(Signal{Name: SignalGrant, Task: tt.task})
		if !errors.Is(err, ErrIllegal) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("grant of %s: %v, want %q", tt.task, err, tt.says)
		}
	}
	w.s.Task = "monitor_of_a_later_release"
	if err := w.send(Signal{Name: SignalGrant, Task: TaskAdmit}); !errors.Is(err, ErrIllegal) {
		t.Errorf("grant where the row's own task is unknown: %v", err)
	}
	if a := Next(w.s, w.now); a.Do != nil || a.Done {
		t.Errorf("next of a row with an unknown task: %+v", a)
	}
}

// externalAt drives an external row by commands up to a task, and gives "healthy" bakes their verdict.
func externalAt(t *testing.T, at string) *world {
	t.Helper()
	w := external(t)
	task, verdict, _ := strings.Cut(at, " ")
	for i, n := range Graph(w.s.Plan, w.s.Kind) {
		if w.s.Task == task {
			break
		}
		if i > position(w.s, task) {
			t.Fatalf("never at %s, but at %s", task, w.s.Task)
		}
		if n.Kind == KindMonitor {
			w.ticking(1, analysis.DecisionPromote)
			continue
		}
		w.mustSend(Signal{Name: SignalGrant, Task: n.ID, Actor: "airflow", Reason: "dag"})
		for w.s.Task != task && w.s.Tasks[n.ID].Verdict == "" && w.step() {
		}
	}
	if verdict == "healthy" {
		w.ticking(1, analysis.DecisionPromote)
	}
	return w
}
