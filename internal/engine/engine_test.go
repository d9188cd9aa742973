package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"serin/internal/analysis"
	"serin/internal/model"
	"serin/internal/rollout"
	"serin/internal/store"
	"serin/internal/store/sqlite"
)

type effect = func(ctx context.Context, t rollout.Task, checkpoint func(rollout.Result) (rollout.Signals, error)) (rollout.Result, error)

// script is a runner that does what a test wants: the effects by task id, once each in their order, the last one for ever, and a good end without one.
type script struct {
	mu      sync.Mutex
	effects map[string][]effect // guarded by mu
	ran     []string            // guarded by mu; task ids in the order in which they began
}

func (s *script) on(task string, effects ...effect) { s.effects[task] = effects }

func (s *script) take(task string) effect {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ran = append(s.ran, task)
	list := s.effects[task]
	if len(list) == 0 {
		return good
	}
	if len(list) > 1 {
		s.effects[task] = list[1:]
	}
	return list[0]
}

func (s *script) order() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.ran...)
}

func (s *script) Run(ctx context.Context, t rollout.Task, checkpoint func(rollout.Result) (rollout.Signals, error)) (rollout.Result, error) {
	return s.take(t.ID)(ctx, t, checkpoint)
}

// good is what each task comes to when all is well. Bakes tick in real time.
func good(ctx context.Context, t rollout.Task, checkpoint func(rollout.Result) (rollout.Signals, error)) (rollout.Result, error) {
	done := rollout.Result{Status: rollout.StatusDone, Reason: t.ID + " is done"}
	switch t.Kind {
	case rollout.KindAdmit:
		done.Pins = &rollout.Pins{Champion: model.Pin{Version: "41"}, Challenger: model.Pin{Version: "42"}}
	case rollout.KindCompare:
		done.Gate = &rollout.GateVerdict{Decision: "promote", Reasons: []string{"F1 0.91 >= 0.90 x 1.01"}}
	case rollout.KindDeploy, rollout.KindPromote:
		running := rollout.Result{Status: rollout.StatusRunning, Exposed: true, Promoting: t.Kind == rollout.KindPromote}
		if signals, err := checkpoint(running); err != nil || signals.Stop {
			return rollout.Result{Status: rollout.StatusRetry, Reason: "stopped"}, err
		}
	case rollout.KindMonitor, rollout.KindWatch:
		return bake(analysis.DecisionPromote)(ctx, t, checkpoint)
	case rollout.KindDecide, rollout.KindRollback, rollout.KindKeep, rollout.KindNotify, rollout.KindUndo, rollout.KindSettle:
	}
	return done, nil
}

// bake judges ticks of the plan until the row says stop: continue until the bake is covered, then the given decision.
func bake(end analysis.Decision) effect {
	return func(ctx context.Context, t rollout.Task, checkpoint func(rollout.Result) (rollout.Signals, error)) (rollout.Result, error) {
		covered, tick := time.Duration(0), t.State.Plan.Analysis.Tick
		if v := t.State.Stage; v != nil && v.Judgement != nil {
			covered = v.Judgement.Covered
		}
		for {
			if !pause(ctx, tick) {
				return rollout.Result{}, ctx.Err()
			}
			covered += tick
			j := analysis.Judgement{At: now(), Decision: analysis.DecisionContinue, Reason: "baking", Covered: covered}
			if covered >= t.State.JudgeStage().Bake {
				j.Decision, j.Reason, j.Code = end, fmt.Sprintf("the judge says %s", end), "no_data"
			}
			signals, err := checkpoint(rollout.Result{Status: rollout.StatusRunning, Judge: &rollout.Judged{State: analysis.State(`{"v":1}`), Judgement: j}})
			if err != nil || signals.Stop {
				return rollout.Result{Status: rollout.StatusDone, Reason: "the bake is over"}, err
			}
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// result is an effect that only answers.
func result(r rollout.Result, err error) effect {
	return func(context.Context, rollout.Task, func(rollout.Result) (rollout.Signals, error)) (rollout.Result, error) {
		return r, err
	}
}

// block is an effect that runs until the test lets it go or ctx ends.
func block(entered, leave chan struct{}) effect {
	return func(ctx context.Context, t rollout.Task, checkpoint func(rollout.Result) (rollout.Signals, error)) (rollout.Result, error) {
		close(entered)
		select {
		case <-leave:
			return good(ctx, t, checkpoint)
		case <-ctx.Done():
			return rollout.Result{}, ctx.Err()
		}
	}
}

// world is an engine on a real database, with a scripted runner.
type world struct {
	*Engine
	t      *testing.T
	db     *store.DB
	script *script
	logged *strings.Builder
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db, err := sqlite.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, db: db, script: &script{effects: map[string][]effect{}}, logged: &strings.Builder{}}
	w.Engine = w.another()
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// another is an engine of another process on the same rows.
func (w *world) another() *Engine {
	w.t.Helper()
	e, err := New(Options{Store: w.db, Runner: w.script, Logger: slog.New(slog.NewTextHandler(w.logged, nil))})
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

func plan(name string) rollout.Plan {
	p := rollout.DefaultPlan(name)
	p.Gate.Data, p.Gate.Label = "/data/holdout.parquet", "is_fraud"
	p.Notifications = []string{"log"}
	return p
}

func params(name string) rollout.StartParams {
	return rollout.StartParams{Plan: plan(name), Actor: "ann", Reason: "weekly"}
}

// start opens a rollout of "fraud".
func (w *world) start(change func(*rollout.StartParams)) string {
	w.t.Helper()
	p := params("fraud")
	if change != nil {
		change(&p)
	}
	s, err := w.Start(w.t.Context(), p)
	if err != nil {
		w.t.Fatal(err)
	}
	return s.ID
}

func external(p *rollout.StartParams) { p.Driver = rollout.DriverExternal }

// loop runs Run in the background until the test calls stop.
func (w *world) loop() (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	over := make(chan error, 1)
	go func() { over <- w.Run(ctx) }()
	return func() {
		w.t.Helper()
		cancel()
		if err := <-over; err != nil {
			w.t.Errorf("run: %v", err)
		}
	}
}

func (w *world) get(id string) rollout.State {
	w.t.Helper()
	s, err := w.state(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// until waits for a condition of a row, which a change of the row brings about.
func (w *world) waitFor(id, what string, ok func(rollout.State) bool) rollout.State {
	w.t.Helper()
	limit := time.After(24 * time.Hour)
	for {
		changed := w.changes.listen(id)
		if s := w.get(id); ok(s) {
			return s
		}
		select {
		case <-changed:
		case <-limit:
			w.t.Fatalf("never came about: %s; the row is %s at %q: %s", what, w.get(id).Phase, w.get(id).Task, w.get(id).Reason)
		}
	}
}

func at(task string) func(rollout.State) bool {
	return func(s rollout.State) bool { return s.Task == task }
}

func phase(p rollout.Phase) func(rollout.State) bool {
	return func(s rollout.State) bool { return s.Phase == p }
}

func over(s rollout.State) bool { return rollout.Next(s, s.EndedAt).Done }

// step plans and performs once and gives what was planned.
func (w *world) once(id string) Planned {
	w.t.Helper()
	p, err := w.step(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// stepTo plans and performs until the row is at a task.
func (w *world) stepTo(id, task string) {
	w.t.Helper()
	for range 50 {
		if w.get(id).Task == task {
			return
		}
		w.once(id)
	}
	w.t.Fatalf("rollout %s does not come to %s", id, task)
}

// read runs fn on the rows.
func (w *world) read(fn func(ctx context.Context, tx *store.Tx) error) {
	w.t.Helper()
	if err := w.db.View(w.t.Context(), func(tx *store.Tx) error { return fn(w.t.Context(), tx) }); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) attempts(id string) (list []string) {
	w.t.Helper()
	w.read(func(ctx context.Context, tx *store.Tx) error {
		all, err := tx.Attempts(ctx, id)
		for _, a := range all {
			list = append(list, fmt.Sprintf("%s/%d %s", a.Task, a.Attempt, a.Status))
		}
		return err
	})
	return list
}

func (w *world) history(id string) (list []string) {
	w.t.Helper()
	w.read(func(ctx context.Context, tx *store.Tx) error {
		all, err := tx.History(ctx, store.HistoryFilter{Rollout: id})
		for _, e := range all {
			list = append(list, e.Event+" by "+e.Actor)
		}
		return err
	})
	return list
}

// story is the log of a rollout as a person reads it.
func (w *world) story(id string) string {
	w.t.Helper()
	var b strings.Builder
	w.read(func(ctx context.Context, tx *store.Tx) error {
		lines, err := tx.Logs(ctx, store.LogFilter{Rollout: id})
		for _, l := range lines {
			fmt.Fprintf(&b, "%s %s\n", l.At.Format("15:04:05"), l.Line)
		}
		return err
	})
	return b.String()
}

func wantError(t *testing.T, err, sentinel error) {
	t.Helper()
	if !errors.Is(err, sentinel) {
		t.Fatalf("error %v, want one that wraps %q", err, sentinel)
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error has several lines: %v", err)
	}
}

func TestNew_RefusesWhatIsMissing(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{{}, {Runner: &script{}}, {Store: &store.DB{}}} {
		if _, err := New(o); err == nil {
			t.Errorf("New(%+v) made an engine", o)
		}
	}
}

func TestMain(m *testing.M) {
	if child() {
		return
	}
	goleak.VerifyTestMain(m)
}
