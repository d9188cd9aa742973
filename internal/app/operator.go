package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"serin/internal/api"
	"serin/internal/engine"
	"serin/internal/mlflow"
	"serin/internal/model"
	"serin/internal/planfile"
	"serin/internal/rollout"
	"serin/internal/store"
	"serin/internal/task"
)

// operator carries out what people ask of the API beyond a signal: starting, undoing, and performing single tasks.
type operator struct {
	store    *store.DB
	engine   *engine.Engine
	models   *catalog
	registry *mlflow.Client
	resolver task.Resolver
	router   task.Router
	checker  checker
	// starting lets one start be made at a time, so that two with one key are one.
	starting sync.Mutex
}

// Start starts a rollout under the plan of the request, of the configuration, or of the rollout that it tries again.
func (o *operator) Start(ctx context.Context, actor string, r api.StartRequest) (rollout.State, error) {
	o.starting.Lock()
	defer o.starting.Unlock()
	if s, ok, err := o.engine.Started(ctx, r.Key); ok || err != nil {
		return s, err
	}
	plan, err := o.plan(ctx, r)
	if err != nil {
		return rollout.State{}, err
	}
	if r.Challenger != "" {
		plan.Challenger = r.Challenger
	}
	if _, ok := rollout.Find(rollout.Graph(plan, rollout.KindOfRollout), r.Task); r.Task != "" && !ok {
		return rollout.State{}, fmt.Errorf("the plan of %s has no task %s: %w: its weights are %s", plan.Model, r.Task, api.ErrInvalid, weights(plan))
	}
	if err := o.servable(ctx, plan.Model); err != nil {
		return rollout.State{}, err
	}
	if r.Driver != "" && r.Driver != rollout.DriverLocal && r.Driver != rollout.DriverExternal {
		return rollout.State{}, fmt.Errorf("driver %q: %w: use local or external", r.Driver, api.ErrInvalid)
	}
	reason := r.Reason
	if reason == "" {
		reason = "started"
	}
	s, err := o.engine.Start(ctx, rollout.StartParams{
		Plan: plan, Driver: r.Driver, Actor: actor, Reason: reason, RetryOf: r.RetryOf, NoGate: r.NoGate, FirstChampion: r.FirstChampion, Key: r.Key,
	})
	switch {
	case errors.Is(err, engine.ErrOpen):
		return s, fmt.Errorf("%w: %w", err, api.ErrConflict)
	case err != nil:
		return s, fmt.Errorf("%w: %w", err, api.ErrInvalid)
	}
	return s, o.models.adopt(plan)
}

// servable refuses a model that nothing would serve: its canary would never have traffic.
func (o *operator) servable(ctx context.Context, name string) error {
	if listed, known := o.models.configured(name); listed && !known {
		return fmt.Errorf("model %s is not served here: %w: list it under models: in serin.yaml and start the server again", name, api.ErrInvalid)
	} else if !listed {
		if _, err := o.registry.Snapshot(ctx, name); errors.Is(err, mlflow.ErrNotFound) {
			return fmt.Errorf("model %s is not in the registry: %w: register it first", name, api.ErrInvalid)
		} else if err != nil {
			return err
		}
	}
	if _, err := o.models.claim(name); err != nil {
		return fmt.Errorf("%w: %w", err, api.ErrInvalid)
	}
	return nil
}

func (o *operator) plan(ctx context.Context, r api.StartRequest) (rollout.Plan, error) {
	switch {
	case r.PlanYAML != "":
		plan, err := planfile.Parse(r.PlanName, []byte(r.PlanYAML), r.PlanDir)
		if err != nil {
			return plan, fmt.Errorf("%w: %w", err, api.ErrInvalid)
		}
		if r.Model != "" && plan.Model != r.Model {
			return plan, fmt.Errorf("plan %s is for %s, not for %s: %w", r.PlanName, plan.Model, r.Model, api.ErrInvalid)
		}
		return plan, nil
	case r.RetryOf != "":
		var row store.Rollout
		err := o.store.View(ctx, func(tx *store.Tx) (err error) { row, err = tx.Rollout(ctx, r.RetryOf); return err })
		return row.State.Plan, err
	case r.Model == "":
		return rollout.Plan{}, fmt.Errorf("start without a model: %w: give MODEL or --plan FILE", api.ErrInvalid)
	}
	m, err := o.models.get(r.Model)
	if err != nil {
		return rollout.Plan{}, fmt.Errorf("%w: %w", err, api.ErrInvalid)
	}
	return m.plan, nil
}

// weights lists the shares that a plan gives the canary, for a message.
func weights(p rollout.Plan) string {
	var names []string
	for _, s := range p.Stages() {
		names = append(names, s.Name()+" %")
	}
	return strings.Join(names, ", ")
}

// Undo goes back to the version that was Production before, or to the one that is asked for.
func (o *operator) Undo(ctx context.Context, actor, name string, r api.UndoRequest) (rollout.State, error) {
	last, err := o.lastSuccess(ctx, name)
	if err != nil {
		return rollout.State{}, err
	}
	p := rollout.UndoParams{Of: last.ID, Plan: last.Plan, Actor: actor, Reason: r.Reason}
	if p.From, err = o.champion(ctx, name); err != nil {
		return rollout.State{}, err
	}
	if p.To, err = o.undoTo(ctx, name, r.To, last, p.From); err != nil {
		return rollout.State{}, err
	}
	if p.To.Slot = 0; o.models.slots(name) != nil {
		p.To.Slot = 3 - max(p.From.Slot, 1)
	}
	if err := o.checker.ready(ctx, name, p.To); err != nil {
		return rollout.State{}, fmt.Errorf("undo %s to version %s: %w: %w", name, p.To.Version, err, api.ErrConflict)
	}
	s, err := o.engine.StartUndo(ctx, p)
	switch {
	case errors.Is(err, engine.ErrOpen):
		return s, fmt.Errorf("%w: %w", err, api.ErrConflict)
	case err != nil:
		return s, fmt.Errorf("%w: %w", err, api.ErrInvalid)
	}
	return s, nil
}

func (o *operator) lastSuccess(ctx context.Context, name string) (rollout.State, error) {
	var row store.Rollout
	err := o.store.View(ctx, func(tx *store.Tx) (err error) { row, err = tx.LastSucceeded(ctx, name); return err })
	if errors.Is(err, store.ErrNotFound) {
		return rollout.State{}, fmt.Errorf("undo %s: no rollout of it has succeeded here: %w: move it back in the registry, or start a rollout of the older version", name, api.ErrNotFound)
	}
	return row.State, err
}

// champion is the version that has the traffic now: what the routing pins.
func (o *operator) champion(ctx context.Context, name string) (model.Pin, error) {
	doc, err := o.router.Current(ctx, name)
	if err != nil {
		return model.Pin{}, err
	}
	if doc.Control != nil && doc.Control.Champion.Version != "" {
		return doc.Control.Champion, nil
	}
	return o.resolver.Resolve(ctx, name, string(model.StageProduction))
}

func (o *operator) undoTo(ctx context.Context, name, to string, last rollout.State, from model.Pin) (model.Pin, error) { //nolint:revive // argument-limit: called once
	if to == "" {
		before := last.Pins.Champion
		if last.Kind == rollout.KindOfUndo || last.Pins.Challenger.Version != from.Version || before.Version == "" {
			return model.Pin{}, fmt.Errorf("undo %s: which version stood before %s is not known: %w: name it with --to N", name, from.Version, api.ErrInvalid)
		}
		return before, nil
	}
	version, err := model.ParseVersion(to)
	if err != nil {
		return model.Pin{}, fmt.Errorf("undo %s --to %s: %w: %w", name, to, err, api.ErrInvalid)
	}
	for _, pin := range []model.Pin{last.Pins.Champion, last.Pins.Challenger} {
		if pin.Version == version {
			return pin, nil // known, also while the registry is away
		}
	}
	pin, err := o.resolver.Resolve(ctx, name, version)
	if errors.Is(err, task.ErrFinal) {
		return pin, fmt.Errorf("%w: %w", err, api.ErrInvalid)
	}
	return pin, err
}

// Perform brings about one task of a rollout that commands drive, and what follows from it by itself.
func (o *operator) Perform(ctx context.Context, actor, id, taskID string, r api.TaskRequest) (api.TaskAnswer, error) { //nolint:revive // argument-limit: the parts of one request, from path, header and body
	c := engine.Command{Rollout: id, Task: taskID, Actor: actor, Reason: r.Reason}
	if c.Reason == "" {
		c.Reason = "asked for by a command"
	}
	if r.MaxHold != "" {
		d, err := time.ParseDuration(r.MaxHold)
		if err != nil || d <= 0 {
			return api.TaskAnswer{}, fmt.Errorf("max_hold %q: %w: give a duration such as 30m", r.MaxHold, api.ErrInvalid)
		}
		c.MaxHold = d
	}
	s, err := o.do(ctx, c, r.Once)
	if err != nil {
		return api.TaskAnswer{}, err
	}
	return o.answer(s, taskID), nil
}

// do brings the task about, then the tasks that nobody asks for: the decision after the gate, the messages, a rollback.
func (o *operator) do(ctx context.Context, c engine.Command, once bool) (rollout.State, error) { //nolint:revive // flag-parameter: it is the request's --once
	if once {
		s, err := o.state(ctx, c.Rollout)
		if err != nil {
			return s, err
		}
		c.Until = time.Now().Add(2*s.Plan.Analysis.Tick + time.Second)
	}
	s, err := o.engine.Do(ctx, c)
	if errors.Is(err, engine.ErrNotYet) || errors.Is(err, engine.ErrHeld) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	return o.doRest(ctx, c, s)
}

// restFor bounds how long a command waits for what follows its task by itself; a running server goes on with it.
const restFor = 30 * time.Second

// doRest brings about what follows a task that has its outcome.
func (o *operator) doRest(ctx context.Context, c engine.Command, s rollout.State) (rollout.State, error) {
	until := time.Now().Add(restFor)
	for range 4 {
		next := follows(s)
		if next == "" {
			return s, nil
		}
		done, err := o.engine.Do(ctx, engine.Command{Rollout: c.Rollout, Task: next, Actor: c.Actor, Reason: c.Reason, Until: until})
		if errors.Is(err, engine.ErrNotYet) {
			return done, nil // the rollout's reason says what is missing
		}
		if err != nil {
			return done, err
		}
		s = done
	}
	return s, nil
}

// follows is the task that comes next by itself whoever drives: never one that goes forward.
func follows(s rollout.State) string {
	node, ok := rollout.Find(rollout.Graph(s.Plan, s.Kind), s.Task)
	if !ok {
		return ""
	}
	switch node.Kind {
	case rollout.KindRollback, rollout.KindKeep, rollout.KindNotify, rollout.KindUndo:
		return node.ID
	case rollout.KindDecide:
		if node.Stage == 0 && s.Gate != nil && s.Gate.Decision == "reject" {
			return rollout.TaskNotifyRejected
		}
		if s.Stage != nil && s.Stage.Verdict == rollout.OnUnhealthy {
			return rollout.TaskRollback
		}
	case rollout.KindMonitor:
		if s.Stage != nil && s.Stage.Verdict == rollout.OnUnhealthy {
			return rollout.TaskRollback
		}
	case rollout.KindAdmit, rollout.KindCompare, rollout.KindDeploy, rollout.KindPromote, rollout.KindWatch, rollout.KindSettle:
	}
	return ""
}

func (o *operator) state(ctx context.Context, id string) (s rollout.State, err error) {
	err = o.store.View(ctx, func(tx *store.Tx) error {
		row, err := tx.Rollout(ctx, id)
		s = row.State
		return err
	})
	return s, err
}

func (o *operator) answer(s rollout.State, taskID string) api.TaskAnswer {
	a := api.TaskAnswer{Rollout: s.ID, Task: taskID, Phase: s.Phase, Held: s.Phase == rollout.Held, Reason: s.Reason}
	if outcome, ok := s.Tasks[taskID]; ok {
		a.Verdict = outcome.Verdict
		if outcome.Reason != "" {
			a.Reason = outcome.Reason
		}
	}
	return a
}
