package rollout

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"serin/internal/analysis"
	"serin/internal/model"
)

var epoch = time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)

// world answers every task as the test wants it, and keeps what happened.
type world struct {
	t      *testing.T
	s      State
	now    time.Time
	events []Event
	order  []string
	// answer overrides the result of a task id for its next run.
	answer map[string]Result
	// ticks answers monitors: the decision at each tick, the last one for ever.
	ticks map[string][]analysis.Decision
}

func testPlan() Plan {
	p := DefaultPlan("fraud")
	p.Gate.Data, p.Gate.Label = "/data/holdout.parquet", "is_fraud"
	return p
}

func newWorld(t *testing.T, change func(*StartParams)) *world {
	t.Helper()
	p := StartParams{ID: "r1", Plan: testPlan(), Driver: DriverLocal, Actor: "ann", Reason: "weekly", Salt: "s1", NextSalt: "s2"}
	if change != nil {
		change(&p)
	}
	s, events, err := Start(p, epoch)
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, s: s, now: epoch, events: events, answer: map[string]Result{}, ticks: map[string][]analysis.Decision{}}
}

func good(n Node, s State) Result {
	switch n.Kind {
	case KindAdmit:
		return Result{Status: StatusDone, Reason: "pinned 41 and 42", Pins: &Pins{Champion: model.Pin{Version: "41"}, Challenger: model.Pin{Version: "42"}}}
	case KindCompare:
		return Result{Status: StatusDone, Gate: &GateVerdict{Decision: "promote", Reasons: []string{"better"}}}
	case KindDecide, KindDeploy, KindMonitor, KindPromote, KindRollback, KindKeep, KindNotify, KindWatch, KindUndo, KindSettle:
		return Result{Status: StatusDone, Reason: "ok " + n.ID}
	}
	panic("unknown kind " + string(n.Kind) + s.ID)
}

// step runs what Next says once; it reports whether anything ran.
func (w *world) step() bool {
	w.t.Helper()
	a := Next(w.s, w.now)
	if a.Do == nil {
		if a.Wait.After(w.now) {
			w.now = a.Wait
			return true
		}
		return false
	}
	w.run(*a.Do)
	return true
}

func (w *world) run(n Node) {
	w.t.Helper()
	task := Task{Rollout: w.s.ID, ID: n.ID, Kind: n.Kind, Attempt: 1, State: w.s, Node: n}
	if n.Kind == KindMonitor || n.Kind == KindWatch {
		w.bake(task)
	}
	if n.Kind == KindDeploy || n.Kind == KindPromote {
		w.apply(task, Result{Status: StatusRunning, Exposed: true, Promoting: n.Kind == KindPromote})
	}
	r, ok := w.answer[n.ID]
	if !ok {
		r = good(n, w.s)
	}
	delete(w.answer, n.ID)
	w.order = append(w.order, n.ID)
	w.apply(task, r)
}

// bake gives the monitor its ticks until it is asked to stop.
func (w *world) bake(task Task) {
	w.t.Helper()
	for i := 0; i < 2000; i++ {
		w.now = w.now.Add(15 * time.Second)
		w.tick(task)
		if w.s.Directive(task).Stop {
			return
		}
		if len(w.ticks[task.ID]) == 0 && Next(w.s, w.now).Do == nil {
			return
		}
		if i > 200 && len(w.ticks[task.ID]) <= 1 && w.s.Pause != nil {
			return
		}
	}
}

func (w *world) tick(task Task) {
	w.t.Helper()
	d := analysis.DecisionPromote
	if list := w.ticks[task.ID]; len(list) > 0 {
		d = list[0]
		if len(list) > 1 {
			w.ticks[task.ID] = list[1:]
		}
	}
	j := analysis.Judgement{At: w.now, Decision: d, Reason: fmt.Sprintf("the judge says %s", d), Code: "no_data"}
	w.apply(task, Result{Status: StatusRunning, Judge: &Judged{State: analysis.State(`{"v":1}`), Judgement: j}})
}

func (w *world) apply(task Task, r Result) {
	w.t.Helper()
	before := encode(w.t, w.s)
	s, events, err := Apply(w.s, task, r, w.now)
	if after := encode(w.t, w.s); after != before {
		w.t.Fatalf("Apply changed the state it was given:\n%s\n%s", before, after)
	}
	if errors.Is(err, ErrStale) {
		return
	}
	if err != nil {
		w.t.Fatalf("apply %s: %v", task.ID, err)
	}
	w.s, w.events = s, append(w.events, events...)
}

func (w *world) send(sig Signal) error {
	w.t.Helper()
	if sig.Actor == "" {
		sig.Actor, sig.Reason = "ann", "because"
	}
	s, events, err := Send(w.s, sig, w.now)
	if err == nil {
		w.s, w.events = s, append(w.events, events...)
	}
	return err
}

func (w *world) finish() *world {
	w.t.Helper()
	for i := 0; w.step(); i++ {
		if i > 500 {
			w.t.Fatalf("no end: %s at %s (%s)", w.s.Phase, w.s.Task, w.s.Reason)
		}
	}
	return w
}

func (w *world) until(task string) *world {
	w.t.Helper()
	for i := 0; w.s.Task != task; i++ {
		if !w.step() || i > 500 {
			w.t.Fatalf("never at %s: %s at %s", task, w.s.Phase, w.s.Task)
		}
	}
	return w
}

func (w *world) told(name string) int {
	n := 0
	for _, e := range w.events {
		if e.Notify == name {
			n++
		}
	}
	return n
}

func encode(t *testing.T, s State) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
