package rollout

import (
	"errors"
	"strings"
	"testing"
	"time"

	"serin/internal/analysis"
	"serin/internal/model"
)

// runs is what every status of a run leads to, by the task that ran. Deploys and promotions have made their checkpoint before.
// A refusal ends what nobody has met, turns what somebody may have met, and never gives up a rollback, an undo or what is owed.
var runs = []struct{ task, done, retry, notProven, refused string }{
	{"admit", "progressing at compare_models", "progressing at admit, failed 1, again in 1s", "held at admit, hold x, failed 1, again in 1s", "failed at -"},
	{"compare_models", "progressing at decide_deployment", "progressing at compare_models, failed 1, again in 1s", "held at compare_models, hold x, failed 1, again in 1s", "failed at -"},
	{"decide_deployment", "progressing at deploy_canary_5_percent", "progressing at decide_deployment, failed 1, again in 1s", "held at decide_deployment, hold x, failed 1, again in 1s", "failed at -"},
	{"deploy_canary_5_percent", "progressing at monitor_5_percent", "progressing at deploy_canary_5_percent, failed 1, again in 1s", "held at monitor_5_percent, hold x, failed 1, parked deploy_canary_5_percent", "progressing at rollback_deployment"},
	{"monitor_5_percent", "progressing at monitor_5_percent", "progressing at monitor_5_percent, failed 1, again in 1s", "progressing at monitor_5_percent, failed 1, again in 1s", "progressing at monitor_5_percent, failed 1, again in 1s"},
	{"decide_25_percent", "progressing at deploy_canary_25_percent", "progressing at decide_25_percent, failed 1, again in 1s", "held at decide_25_percent, hold x, failed 1, again in 1s", "progressing at rollback_deployment"},
	{"deploy_canary_25_percent", "progressing at monitor_25_percent", "progressing at deploy_canary_25_percent, failed 1, again in 1s", "held at monitor_25_percent, hold x, failed 1, parked deploy_canary_25_percent", "progressing at rollback_deployment"},
	{"monitor_25_percent", "progressing at monitor_25_percent", "progressing at monitor_25_percent, failed 1, again in 1s", "progressing at monitor_25_percent, failed 1, again in 1s", "progressing at monitor_25_percent, failed 1, again in 1s"},
	{"deploy_canary_100_percent", "succeeded at notify_success", "progressing at deploy_canary_100_percent, failed 1, again in 1s", "held at monitor_25_percent, hold x, failed 1, parked deploy_canary_100_percent", "held at monitor_25_percent, hold x, failed 1, parked deploy_canary_100_percent"},
	{"notify_success", "succeeded at -", "succeeded at notify_success, failed 1, again in 1s", "succeeded at notify_success, failed 1, again in 1s", "succeeded at notify_success, failed 1, again in 1s"},
	{"watch_100_percent", "succeeded at -", "succeeded at -, failed 1, again in 1s", "succeeded at -, failed 1, again in 1s", "succeeded at -, failed 1, again in 1s"},
	{"keep_champion", "rejected at notify_rejected", "progressing at keep_champion, failed 1, again in 1s", "held at keep_champion, hold x, failed 1, again in 1s", "failed at -"},
	{"notify_rejected", "rejected at -", "rejected at notify_rejected, failed 1, again in 1s", "rejected at notify_rejected, failed 1, again in 1s", "rejected at notify_rejected, failed 1, again in 1s"},
	{"rollback_deployment", "rolled_back at notify_rollback", "progressing at rollback_deployment, failed 1, again in 1s", "progressing at rollback_deployment, failed 1, again in 1s", "progressing at rollback_deployment, failed 1, again in 1s"},
	{"notify_rollback", "rolled_back at -", "rolled_back at notify_rollback, failed 1, again in 1s", "rolled_back at notify_rollback, failed 1, again in 1s", "rolled_back at notify_rollback, failed 1, again in 1s"},
	{"settle_registry", "rolled_back at -", "rolled_back at -, failed 1, again in 1s, owed", "rolled_back at -, failed 1, again in 1s, owed", "rolled_back at -, failed 1, again in 1s, owed"},
	{"undo_deployment", "succeeded at notify_undone", "progressing at undo_deployment, failed 1, again in 1s", "progressing at undo_deployment, failed 1, again in 1s", "progressing at undo_deployment, failed 1, again in 1s"},
	{"notify_undone", "succeeded at -", "succeeded at notify_undone, failed 1, again in 1s", "succeeded at notify_undone, failed 1, again in 1s", "succeeded at notify_undone, failed 1, again in 1s"},
}

func TestApply_EveryStatusOfEveryTask(t *testing.T) {
	t.Parallel()
	rows, kinds := situations(t), map[TaskKind]bool{}
	for _, tt := range runs {
		w := rows[tt.task]
		task := w.taskOf(tt.task)
		kinds[task.Kind] = true
		if task.Kind == KindDeploy || task.Kind == KindPromote {
			w.apply(task, Result{Status: StatusRunning, Exposed: true, Promoting: task.Kind == KindPromote})
		}
		for status, want := range map[Status]string{StatusDone: tt.done, StatusRetry: tt.retry, StatusNotProven: tt.notProven, StatusRefused: tt.refused} {
			r := good(task.Node, w.s)
			r.Status, r.Reason, r.Code = status, "why", "x"
			s, _, err := Apply(w.s, task, r, w.now)
			if got := describe(s, w.now); err != nil || got != want {
				t.Errorf("%s %s: %s, want %s (%v)", tt.task, status, got, want, err)
			}
		}
		s, events, err := Apply(w.s, task, Result{Status: "nonsense"}, w.now)
		if !errors.Is(err, ErrIllegal) || len(events) > 0 || encode(t, s) != encode(t, w.s) {
			t.Errorf("%s with a status that is none: %v", tt.task, err)
		}
	}
	for _, kind := range []TaskKind{KindAdmit, KindCompare, KindDecide, KindDeploy, KindMonitor, KindPromote, KindRollback, KindKeep, KindNotify, KindWatch, KindUndo, KindSettle} {
		if !kinds[kind] {
			t.Errorf("no row for the kind %s", kind)
		}
	}
}

// TestApply_AnotherTasksResultIsStale holds the fence: whatever task a late attempt ran, the row is as it was.
func TestApply_AnotherTasksResultIsStale(t *testing.T) {
	t.Parallel()
	for at, w := range situations(t) {
		for _, n := range Graph(w.s.Plan, w.s.Kind) {
			if n.ID == w.s.Task || w.s.owes(n.ID) || n.ID == TaskWatch && !w.s.WatchUntil.IsZero() {
				continue
			}
			for _, status := range []Status{StatusDone, StatusRunning, StatusRefused} {
				r := good(n, w.s)
				r.Status, r.Exposed = status, true
				s, events, err := Apply(w.s, w.taskOf(n.ID), r, w.now)
				if !errors.Is(err, ErrStale) || len(events) > 0 || encode(t, s) != encode(t, w.s) {
					t.Fatalf("%s %s at %s: %v", n.ID, status, at, err)
				}
			}
		}
	}
}

func TestApply_ResultsThatBringTooLittle(t *testing.T) {
	t.Parallel()
	rows := situations(t)
	for _, tt := range []struct {
		task, says string
		r          Result
	}{
		{TaskAdmit, "no pinned challenger", Result{Status: StatusDone}},
		{TaskAdmit, "no pinned challenger", Result{Status: StatusDone, Pins: &Pins{Champion: model.Pin{Version: "41"}}}},
		{TaskCompare, "no verdict", Result{Status: StatusDone}},
		{TaskCompare, `says "approve"`, Result{Status: StatusDone, Gate: &GateVerdict{Decision: "approve"}}},
		{TaskCompare, `says ""`, Result{Status: StatusDone, Gate: &GateVerdict{}}},
	} {
		w := rows[tt.task]
		s, events, err := Apply(w.s, w.taskOf(tt.task), tt.r, w.now)
		if !errors.Is(err, ErrIllegal) || !strings.Contains(err.Error(), tt.says) || len(events) > 0 || encode(t, s) != encode(t, w.s) {
			t.Errorf("%s with %+v: %v, want %q", tt.task, tt.r, err, tt.says)
		}
	}
}

func TestApply_BacksOffAndStartsAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil).until(TaskCompare)
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30, 30} {
		w.apply(w.taskOf(TaskCompare), Result{Status: StatusRetry, Reason: "registry away"})
		if got := w.s.RetryAt.Sub(w.now); got != want*time.Second || w.s.Failures != i+1 {
			t.Fatalf("failure %d: again in %s, want %s", w.s.Failures, got, want*time.Second)
		}
		if a := Next(w.s, w.now); a.Do != nil || !a.Wait.Equal(w.s.RetryAt) {
			t.Fatalf("failure %d: next %+v, want a wait until %s", i+1, a, w.s.RetryAt)
		}
		if a := Next(w.s, w.s.RetryAt); a.Do == nil {
			t.Fatalf("failure %d: nothing to do when the wait is over", i+1)
		}
		w.now = w.s.RetryAt
	}
	w.step()
	if w.s.Failures != 0 || !w.s.RetryAt.IsZero() {
		t.Errorf("after a success: %d failures, again at %s", w.s.Failures, w.s.RetryAt)
	}
}

// TestApply_AHoldOfErrorsEndsWithTheFirstSuccess: a registry that came back is no reason to go on saying held, nor to give what follows the old hold's deadline.
func TestApply_AHoldOfErrorsEndsWithTheFirstSuccess(t *testing.T) {
	t.Parallel()
	for _, task := range []string{TaskAdmit, TaskCompare} {
		w := newWorld(t, nil).until(task)
		for range 3 {
			w.apply(w.taskOf(task), Result{Status: StatusRetry, Reason: "registry away"})
			w.now = w.s.RetryAt
		}
		if w.s.Phase != Held || w.s.Hold.Code != "provider_error" {
			t.Fatalf("%s: %s, %+v", task, w.s.Phase, w.s.Hold)
		}
		w.now = w.now.Add(time.Hour)
		w.apply(w.taskOf(task), good(w.taskOf(task).Node, w.s))
		if w.s.Phase != Progressing || w.s.Hold != nil {
			t.Errorf("%s is done, and the row is %s: %+v", task, w.s.Phase, w.s.Hold)
		}
	}
	w := newWorld(t, nil).until(TaskCompare)
	for range 3 {
		w.apply(w.taskOf(TaskCompare), Result{Status: StatusRetry, Reason: "registry away"})
		w.now = w.s.RetryAt
	}
	w.now = w.now.Add(time.Hour)
	w.apply(w.taskOf(TaskCompare), Result{Status: StatusDone, Gate: &GateVerdict{Decision: "undecided", Reasons: []string{"59 positives"}}})
	if w.s.Hold == nil || w.s.Hold.Code != "gate_undecided" || w.s.Hold.Deadline.Sub(w.now) != 2*time.Hour || w.told(NotifyHeld) != 2 {
		t.Errorf("an undecided gate after an outage: %+v, told %d times", w.s.Hold, w.told(NotifyHeld))
	}
}

func TestApply_NotifyGivesUpAfterFive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil).until(TaskNotifySuccess)
	for i := range 5 {
		if w.s.Task != TaskNotifySuccess {
			t.Fatalf("given up after %d failures", i)
		}
		w.apply(w.taskOf(TaskNotifySuccess), Result{Status: StatusRetry, Reason: "slack says 503"})
	}
	if w.s.Task != "" || w.s.Tasks[TaskNotifySuccess].Verdict != "failed" || w.s.Failures != 0 || !w.s.RetryAt.IsZero() {
		t.Errorf("after five failures at %q: %+v", w.s.Task, w.s.Tasks[TaskNotifySuccess])
	}
	if a := Next(w.s, w.now); a.Do == nil || a.Do.ID != TaskWatch {
		t.Errorf("a channel that is down keeps the new champion from being watched: %+v", a)
	}
}

// TestWatch_ThatFailsWaitsAndEnds: a watch that cannot judge must neither spin nor outlive its time.
func TestWatch_ThatFailsWaitsAndEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil).until(TaskNotifySuccess)
	w.step()
	end := w.s.WatchUntil
	if got := end.Sub(w.now); got != time.Hour {
		t.Fatalf("a watch of 30m may last %s, want twice its duration", got)
	}
	tries := 0
	for ; !w.s.WatchUntil.IsZero(); tries++ {
		if tries > 200 {
			t.Fatalf("no end at %s", w.now.Sub(epoch))
		}
		w.apply(w.taskOf(TaskWatch), Result{Status: StatusRetry, Reason: "the judge's state has version 9"})
		switch a := Next(w.s, w.now); {
		case a.Do != nil:
			t.Fatalf("try %d: it is run again at once", tries)
		case !a.Done:
			w.now = a.Wait
		}
	}
	out := w.s.Tasks[TaskWatch]
	if w.now.Before(end) || w.now.Sub(end) > 30*time.Second || out.Verdict != "failed" || !strings.Contains(out.Reason, "version 9") {
		t.Errorf("ended %s after its time as %+v", w.now.Sub(end), out)
	}
	if w.s.Phase != Succeeded || w.s.Failures != 0 || !Next(w.s, w.now).Done {
		t.Errorf("%s, %d failures, next %+v", w.s.Phase, w.s.Failures, Next(w.s, w.now))
	}
}

func TestWatch_Ends(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		onFail  WatchAction
		ticks   analysis.Decision
		verdict string
		event   string
		undo    bool
	}{
		{"healthy", WatchUndo, analysis.DecisionPromote, OnHealthy, "WatchEnded", false},
		{"breach undoes", WatchUndo, analysis.DecisionRollback, OnUnhealthy, "WatchFailed", true},
		{"breach tells", WatchNotify, analysis.DecisionRollback, OnUnhealthy, "WatchFailed", false},
		{"no traffic", WatchUndo, analysis.DecisionHold, "done", "WatchEnded", false},
		{"too little evidence", WatchUndo, analysis.DecisionContinue, "done", "WatchEnded", false},
	} {
		w := newWorld(t, func(p *StartParams) { p.Plan.Watch.OnFail = tt.onFail })
		w.ticks[TaskWatch] = []analysis.Decision{tt.ticks}
		w.finish()
		last := w.events[len(w.events)-1]
		if got := w.s.Tasks[TaskWatch].Verdict; got != tt.verdict || last.Name != tt.event || last.OpenUndo != tt.undo {
			t.Errorf("%s: %s, last event %+v", tt.name, got, last)
		}
		if w.s.Phase != Succeeded || w.s.Hold != nil || !w.s.WatchUntil.IsZero() {
			t.Errorf("%s: the row itself became %s, hold %+v, watched until %s", tt.name, w.s.Phase, w.s.Hold, w.s.WatchUntil)
		}
	}
}

func TestWatch_FollowsOnlyWhereAChampionCanComeBack(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*StartParams){
		"no watch in the plan": func(p *StartParams) { p.Plan.Watch.Duration = 0 },
		"first champion":       func(p *StartParams) { p.FirstChampion = "nothing serves yet" },
	} {
		w := newWorld(t, change).finish()
		if w.s.Phase != Succeeded || !w.s.WatchUntil.IsZero() || w.order[len(w.order)-1] != TaskNotifySuccess {
			t.Errorf("%s: %s until %s by %v", name, w.s.Phase, w.s.WatchUntil, w.order)
		}
		if err := w.send(Signal{Name: SignalSupersede}); !errors.Is(err, ErrIllegal) {
			t.Errorf("%s: a watch that is none was ended: %v", name, err)
		}
	}
}

func TestRollback_EndsByWhatStartedIt(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, reason, actor string
		external            bool
		begin               func(*world)
	}{
		{"a person's abort", "aborted by ann: because", "ann", false, func(w *world) { w.mustSend(Signal{Name: SignalAbort}) }},
		{"a breach", "the judge says rollback", "", false, func(w *world) { w.ticking(1, analysis.DecisionRollback) }},
		{"another writer", "aborted by ops: by hand", "ops", true, func(w *world) {
			w.apply(w.taskOf(w.s.Task), Result{Status: StatusRunning, Foreign: &Foreign{Disabled: true, Writer: "ops", Reason: "by hand"}})
		}},
		{"a hold that lasted", "held for 2h0m0s: the judge says hold", "", false, func(w *world) {
			w.ticking(1, analysis.DecisionHold)
			w.now = w.s.Hold.Deadline
			w.ticking(1, analysis.DecisionHold)
		}},
	} {
		w := newWorld(t, nil).until("monitor_5_percent")
		tt.begin(w)
		w.finish()
		e := w.s.Ending
		if w.s.Phase != RolledBack || w.s.Reason != tt.reason || e == nil || e.Actor != tt.actor || e.External != tt.external || w.s.WeightPct != 0 {
			t.Errorf("%s: %s because %q, ending %+v", tt.name, w.s.Phase, w.s.Reason, e)
		}
		if w.s.Pause != nil || w.s.Hold != nil || w.s.Granted != "" || w.s.Failures != 0 {
			t.Errorf("%s: an ended row keeps what kept it open: %+v", tt.name, w.s)
		}
	}
}
