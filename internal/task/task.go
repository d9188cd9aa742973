// Package task holds the effects of a rollout, one file a task: admit, compare, decide, deploy, monitor, promote, rollback, undo, settle,
// notify, watch. A task reads the row it was given, acts through the interfaces declared here, and says what came of it; it never changes the row itself.
package task

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"serin/internal/analysis"
	"serin/internal/compare"
	"serin/internal/model"
	"serin/internal/rollout"
	"serin/internal/traffic"
)

// ErrFinal is wrapped by the errors of the interfaces below when trying again cannot help: a missing version, a digest that differs, a
// model that cannot be scored, data that cannot be judged on. Every other error is tried again.
var ErrFinal = errors.New("it will not help to try again")

// ErrNoVersion is wrapped by Resolver's error when a stage or an alias has no version.
var ErrNoVersion = errors.New("no version there")

// ErrRegistryChanged is wrapped by Registry's errors when somebody else has changed the champion since the rollout started.
var ErrRegistryChanged = errors.New("the registry was changed by somebody else")

// Resolver finds a version and fixes it. It may be called again after any error.
type Resolver interface {
	// Resolve gives the version that ref (a stage, a version number or "@alias") stands for now, with the digest of its files. The pin of a
	// model behind `urls` has a slot that is not 0; which one is the task's to say.
	Resolve(ctx context.Context, name, ref string) (model.Pin, error)
}

// Move is a change of the champion in the registry, or the mark that a version gets instead of one.
type Move struct {
	Model string
	// From is the champion before, To the one after; for Mark, To is the version that is marked.
	From, To string
	Mode     rollout.PromotionMode
	Rollout  string
	Outcome  string
	Reason   string
}

// Registry writes what came of a rollout. Each call looks before it writes and reads back, so that it may be repeated.
type Registry interface {
	Promote(ctx context.Context, m Move) ([]string, error)
	// Restore makes To, an older champion, the champion again, and archives From.
	Restore(ctx context.Context, m Move) ([]string, error)
	// Mark writes the outcome and the reason on a version that did not become champion.
	Mark(ctx context.Context, m Move) ([]string, error)
}

// Router puts routing documents in force.
type Router interface {
	// Apply changes the model's routing document. change sees the newest one and is called again when another writer was faster; what it returns
	// unchanged is not written. Its own errors come back as they are.
	Apply(ctx context.Context, name string, change func(traffic.Document) (traffic.Document, error)) (traffic.Document, error)
	// Current gives the document that stands now, the zero Document when there is none.
	Current(ctx context.Context, name string) (traffic.Document, error)
	// Observe asks every gateway which generation it routes by.
	Observe(ctx context.Context, name string) (Observation, error)
}

// Observation is what the gateways of a model say.
type Observation struct {
	Gateways []GatewayView
}

// GatewayView is one gateway's generation, or why it did not tell.
type GatewayView struct {
	Name       string `json:"name"`
	Generation int64  `json:"generation"`
	Err        string `json:"error,omitempty"`
}

// Gate compares challenger and champion on labeled rows. An error that wraps ErrFinal means that it could not judge.
type Gate interface {
	Compare(ctx context.Context, s rollout.State) (compare.Report, error)
}

// Checker proves that a pinned version answers.
type Checker interface {
	// Check loads the challenger and the champion, compares their signatures and scores the challenger's example and golden rows. It returns what it saw, line by line.
	Check(ctx context.Context, s rollout.State) ([]string, error)
	// Identity asks the processes behind both roles which version they are; nil when they say the pinned ones, or when nothing tells.
	Identity(ctx context.Context, s rollout.State) error
}

// Samples reads what the sampler has stored.
type Samples interface {
	// Scrapes gives the complete ticks in (after, until], in order.
	Scrapes(ctx context.Context, name string, after, until time.Time) ([]analysis.Scrape, error)
}

// Blocks knows the versions that an undo has blocked.
type Blocks interface {
	// Blocked gives the reason of a block, and whether there is one.
	Blocked(ctx context.Context, name, version string) (reason string, blocked bool, err error)
}

// Notifier tells people. A message that was told is not told again.
type Notifier interface {
	Notify(ctx context.Context, s rollout.State, event string) ([]string, error)
}

// Checkpoint commits what a task has come to so far, and brings back what it must know.
type Checkpoint = func(rollout.Result) (rollout.Signals, error)

// Deps is everything that the tasks use.
type Deps struct {
	Resolver Resolver
	Registry Registry
	Router   Router
	Gate     Gate
	Checker  Checker
	Samples  Samples
	Blocks   Blocks
	Notifier Notifier
	// Writer names this process in the routing document.
	Writer string
	// ProveFor is how long a deploy waits for the gateways before it says "not proven"; three ticks, at least ten seconds, when zero.
	ProveFor time.Duration
}

// Runner runs tasks by their kind.
type Runner struct {
	deps Deps
	runs map[rollout.TaskKind]func(context.Context, *run) (rollout.Result, error)
}

// New maps each kind of task to its effect.
func New(d Deps) (*Runner, error) {
	if d.Resolver == nil || d.Registry == nil || d.Router == nil || d.Gate == nil || d.Checker == nil || d.Samples == nil || d.Blocks == nil || d.Notifier == nil || d.Writer == "" {
		return nil, errors.New("tasks need a resolver, a registry, a router, a gate, a checker, samples, blocks, a notifier and a writer's name")
	}
	return &Runner{deps: d, runs: map[rollout.TaskKind]func(context.Context, *run) (rollout.Result, error){
		rollout.KindAdmit: admit, rollout.KindCompare: compareModels, rollout.KindDecide: decide, rollout.KindDeploy: deploy,
		rollout.KindMonitor: monitor, rollout.KindPromote: promote, rollout.KindRollback: rollback, rollout.KindKeep: keep,
		rollout.KindNotify: notify, rollout.KindWatch: watch, rollout.KindUndo: undo, rollout.KindSettle: settle,
	}}, nil
}

// Run runs one attempt of a task.
func (r *Runner) Run(ctx context.Context, t rollout.Task, checkpoint Checkpoint) (rollout.Result, error) {
	effect, ok := r.runs[t.Kind]
	if !ok {
		return rollout.Result{}, fmt.Errorf("task %s of rollout %s is of kind %q: this serin does not know it", t.ID, t.Rollout, t.Kind)
	}
	u := &run{Deps: r.deps, task: t, state: t.State, checkpoint: checkpoint}
	result, err := effect(ctx, u)
	result.Log = append(u.lines, result.Log...)
	return result, err
}

// run is one attempt: what it may use, the row it started from, and the lines of its log that are not stored yet.
type run struct {
	Deps
	task       rollout.Task
	state      rollout.State
	checkpoint Checkpoint
	lines      []string
}

// say adds a line to the task's log; it is stored with the next checkpoint or the result.
func (u *run) say(format string, args ...any) {
	u.lines = append(u.lines, strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " "))
}

// commit stores a checkpoint with the lines so far.
func (u *run) commit(r rollout.Result) (rollout.Signals, error) {
	r.Status, r.Log = rollout.StatusRunning, u.lines
	u.lines = nil
	return u.checkpoint(r)
}

// author signs what this attempt writes to the routing document.
func (u *run) author() traffic.Author {
	return traffic.Author{Writer: u.Writer, Rollout: u.task.Rollout, Task: u.task.ID, Attempt: u.task.Attempt}
}

// tick is the plan's tick.
func (u *run) tick() time.Duration { return u.state.Plan.Analysis.Tick }

// done is a success in one line. The engine ends the attempt's log with it.
func (u *run) done(format string, args ...any) rollout.Result {
	return rollout.Result{Status: rollout.StatusDone, Reason: fmt.Sprintf(format, args...)}
}

// failed turns an error of the interfaces above into a result: final, or to be tried again.
func (u *run) failed(err error) rollout.Result {
	if errors.Is(err, ErrFinal) || errors.Is(err, ErrNoVersion) {
		return rollout.Result{Status: rollout.StatusRefused, Reason: oneLine(err.Error())}
	}
	return rollout.Result{Status: rollout.StatusRetry, Code: "provider_error", Reason: oneLine(err.Error())}
}

// evidence is v as it is stored with the attempt.
func evidence(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		return json.RawMessage(fmt.Sprintf("%q", "evidence could not be written: "+err.Error()))
	}
	return b
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
