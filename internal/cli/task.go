package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"serin/internal/api"
	"serin/internal/model"
	"serin/internal/rollout"
)

// taskOptions are the words that single tasks share: which model, which rollout, and why.
type taskOptions struct {
	*root
	// uri is --model-uri, rollout --rollout.
	uri, rollout, reason string
	maxHold              time.Duration
	once                 bool
}

func (o *taskOptions) flagsOf(cmd *cobra.Command) {
	o.modelFlag(cmd)
	o.planFlag(cmd)
	cmd.Flags().StringVar(&o.rollout, "rollout", "", "rollout id (the model's open one)")
	reasonFlag(cmd, &o.reason)
}

func (o *taskOptions) uriFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.uri, "model-uri", "", "the challenger, such as models:/NAME/Staging")
}

// reconnect is how often a task is asked for again when the server goes away under it: asking again is harmless, the row remembers.
const reconnect = 30

// steadily runs fn in a session, and again in a new one when the server went away meanwhile: another one, or this process, goes on.
func (o *taskOptions) steadily(ctx context.Context, fn func(*session) error) error {
	for attempt := 1; ; attempt++ {
		reached := attempt > 1
		err := o.with(ctx, func(s *session) error {
			reached = true
			return fn(s)
		})
		if !reached || attempt == reconnect || ctx.Err() != nil || !errors.Is(err, api.ErrUnreachable) {
			return err
		}
		fmt.Fprintf(o.Stderr, "the server went away (%s): asking again\n", oneLine(err.Error()))
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// reference is --model-uri, read; the zero Ref when there is none.
func (o *taskOptions) reference() (model.Ref, error) {
	if o.uri == "" {
		return model.Ref{}, nil
	}
	ref, err := model.ParseRef(o.uri)
	if err != nil {
		return ref, usage("--model-uri: %w", err)
	}
	if !ref.Registered() {
		return ref, usage("--model-uri %s: name a registered model, such as models:/NAME/Staging", o.uri)
	}
	return ref, nil
}

// which says which model is meant: --model, SERIN_MODEL, the name in --model-uri, the only open rollout, the only model.
func (o *taskOptions) which(ctx context.Context, s *session) (string, error) {
	ref, err := o.reference()
	if err != nil {
		return "", err
	}
	name := s.cfg.Model
	switch {
	case name != "" && ref.Name != "" && name != ref.Name:
		return "", usage("--model-uri %s is not of the model %s: leave one of them out", o.uri, name)
	case name != "":
		return name, nil
	case ref.Name != "":
		return ref.Name, nil
	}
	open, err := openModels(ctx, s)
	if err != nil || len(open) == 1 {
		return first(open), err
	}
	all, err := o.allModels(ctx, s)
	if err != nil || len(all) == 1 {
		return first(all), err
	}
	if len(all) == 0 {
		return "", usage("there is no model: register one with serin register NAME PATH")
	}
	return "", usage("which model? give --model or SERIN_MODEL: %s", strings.Join(all, ", "))
}

// openModels lists the models that have an open rollout.
func openModels(ctx context.Context, s *session) ([]string, error) {
	list, err := s.client.List(ctx, "", 200)
	names := map[string]bool{}
	for _, r := range list {
		if !r.Phase.Ended() {
			names[r.Model] = true
		}
	}
	return slices.Sorted(maps.Keys(names)), err
}

// allModels lists the models of the configuration, or else those of the registry.
func (o *taskOptions) allModels(ctx context.Context, s *session) ([]string, error) {
	var names []string
	for _, m := range s.cfg.Models {
		names = append(names, m.Name)
	}
	if len(names) > 0 {
		return names, nil
	}
	bench, err := o.bench(s)
	if err != nil {
		return nil, err
	}
	return bench.Names(ctx)
}

// row gives the rollout that is meant: --rollout, else the open one of the model that is meant; ok is false when that has none. An undo is not one:
// it runs to its end by itself.
func (o *taskOptions) row(ctx context.Context, s *session) (r api.Rollout, name string, ok bool, err error) {
	if o.rollout != "" {
		r, err = s.client.Get(ctx, o.rollout)
		return r, r.Model, err == nil, err
	}
	if name, err = o.which(ctx, s); err != nil {
		return r, name, false, err
	}
	list, err := s.client.List(ctx, name, 1)
	if err != nil || len(list) == 0 || list[0].Phase.Ended() {
		return r, name, false, err
	}
	if list[0].Kind == rollout.KindOfUndo {
		return r, name, false, fmt.Errorf("undo %s of %s is running by itself: wait for its end (serin get %s)", list[0].ID, name, list[0].ID)
	}
	return list[0], name, true, nil
}

// needRow is row for tasks that open none.
func (o *taskOptions) needRow(ctx context.Context, s *session) (api.Rollout, error) {
	r, name, ok, err := o.row(ctx, s)
	if err == nil && !ok {
		err = fmt.Errorf("%s has no open rollout: serin compare-models opens one, serin list --model %s shows those before", name, name)
	}
	return r, err
}

// needTask refuses a task that the plan does not have; nothing is done then.
func needTask(r api.Rollout, id string) (api.Task, error) {
	t, ok := findTask(r, id)
	if ok {
		return t, nil
	}
	var ids []string
	for _, have := range r.Tasks {
		ids = append(ids, have.ID)
	}
	return t, fmt.Errorf("rollout %s has no task %s, its plan gives: %s", r.ID, id, strings.Join(ids, ", "))
}

// errNoSource refuses to sample from nothing.
var errNoSource = errors.New("without a server this needs something to sample from: set PROMETHEUS_URL, or list gateways: in serin.yaml, or start serin serve")

// perform brings a task about and tells on stderr what is logged meanwhile. Without a server this process samples.
func (o *taskOptions) perform(ctx context.Context, s *session, r api.Rollout, task string) (api.TaskAnswer, error) {
	req := api.TaskRequest{Once: o.once, Reason: o.reason}
	if o.maxHold > 0 && !o.once { // one look has a limit of its own
		req.MaxHold = o.maxHold.String()
	}
	if s.app != nil && s.app.HasSource() {
		stop, err := s.app.StartSampling(ctx, r.Model)
		if err != nil {
			return api.TaskAnswer{}, err
		}
		defer stop()
	}
	if task == rollout.TaskCompare {
		return s.client.Perform(ctx, r.ID, task, req) // its log is the report, which is printed anyway
	}
	finish, err := o.tell(ctx, s, r.ID)
	if err != nil {
		return api.TaskAnswer{}, err
	}
	answer, err := s.client.Perform(ctx, r.ID, task, req)
	return answer, errors.Join(err, finish())
}

// tell passes the new lines of the rollout's log to stderr until finish is called.
func (o *taskOptions) tell(ctx context.Context, s *session, id string) (finish func() error, err error) {
	t := &tail{client: s.client, id: id, write: func(api.LogLine) error { return nil }}
	if err := t.more(ctx); err != nil {
		return nil, err
	}
	t.write = func(l api.LogLine) error {
		_, err := fmt.Fprintf(o.Stderr, "%s %s: %s\n", l.At.UTC().Format("15:04:05"), l.Task, l.Line)
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		ticker := time.NewTicker(redrawEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			_ = t.more(ctx) // asked again at the next tick, and at the end
		}
	})
	return func() error {
		cancel()
		wg.Wait()
		err := t.more(context.WithoutCancel(ctx))
		if errors.Is(err, api.ErrUnreachable) {
			return nil // Perform has said so
		}
		return err
	}, nil
}

// answer prints how a task ended and turns it into the exit code.
func (o *taskOptions) answer(kind rollout.TaskKind, a api.TaskAnswer) error {
	word := a.Verdict
	if word == "" {
		word = "not over, the rollout is " + string(a.Phase)
	}
	text := fmt.Sprintf("%s of rollout %s: %s: %s\n", a.Task, a.Rollout, word, oneLine(a.Reason))
	if err := o.print(a, text); err != nil {
		return err
	}
	return ends(taskCode(kind, a))
}

// taskCode is the exit code of a single task, spec sections 3 and 6.
func taskCode(kind rollout.TaskKind, a api.TaskAnswer) int {
	switch kind {
	case rollout.KindCompare:
		return verdictCode(a, verdicts{"promote": codeOK, "skipped": codeOK, "reject": codeError, "undecided": codeHeld}, codeUsage)
	case rollout.KindMonitor, rollout.KindWatch:
		return verdictCode(a, verdicts{rollout.OnHealthy: codeOK, "skipped": codeOK, "done": codeOK, "superseded": codeOK}, codeError)
	case rollout.KindDecide:
		return verdictCode(a, verdicts{rollout.OnApprove: codeOK, rollout.OnHealthy: codeOK}, codeError)
	case rollout.KindAdmit, rollout.KindDeploy, rollout.KindPromote, rollout.KindRollback, rollout.KindKeep, rollout.KindNotify, rollout.KindUndo, rollout.KindSettle:
		if a.Verdict == "done" {
			return codeOK
		}
		return codeError
	}
	return codeError
}

// verdicts are the exit codes of verdicts.
type verdicts map[string]int

// verdictCode looks the verdict up; one that is not listed has the code otherwise. Without a verdict it is held, has ended without one, or not yet.
func verdictCode(a api.TaskAnswer, known verdicts, otherwise int) int {
	code, ok := known[a.Verdict]
	switch {
	case ok:
		return code
	case a.Verdict != "" || a.Phase.Ended():
		return otherwise
	case a.Held:
		return codeHeld
	}
	return codeNotYet
}

// stageOf gives the stage of a weight in a stored row's plan.
func stageOf(s rollout.State, weight float64) (rollout.Stage, bool) {
	for _, stage := range s.Plan.Stages() {
		if stage.Weight == weight {
			return stage, true
		}
	}
	return rollout.Stage{}, false
}

func deployID(weight float64) string {
	return "deploy_canary_" + rollout.Stage{Weight: weight}.Name() + "_percent"
}

func monitorID(weight float64) string {
	return "monitor_" + rollout.Stage{Weight: weight}.Name() + "_percent"
}
