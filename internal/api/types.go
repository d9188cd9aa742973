// Package api is Serin's REST API under /api/v1: the types on the wire, the handler, and the client that the commands use. It decides
// nothing: it reads rows, and hands people's words to the engine.
package api

import (
	"encoding/json"
	"time"

	"serin/internal/analysis"
	"serin/internal/model"
	"serin/internal/rollout"
)

// Rollout is one rollout as `serin get -o json` prints it.
type Rollout struct {
	ID      string         `json:"id"`
	Model   string         `json:"model"`
	Kind    rollout.Kind   `json:"kind"`
	Of      string         `json:"of,omitempty"`
	RetryOf string         `json:"retry_of,omitempty"`
	Driver  rollout.Driver `json:"driver"`
	Phase   rollout.Phase  `json:"phase"`
	// Step is the current stage counted from 1, 0 before the first and Steps after the last; Steps is how many stages the plan has.
	Step  int `json:"step"`
	Steps int `json:"steps"`
	// Task is the task that is next or running, empty at the end.
	Task      string    `json:"task"`
	WeightPct float64   `json:"weight_pct"`
	Reason    string    `json:"reason"`
	Champion  model.Pin `json:"champion"`
	// Challenger is the canary while it has traffic.
	Challenger model.Pin `json:"challenger"`
	// NextWeightPct is the weight that follows, 0 at the end. BakeFor and Covered are Go durations of the current stage.
	NextWeightPct float64              `json:"next_weight_pct,omitempty"`
	BakeFor       string               `json:"bake_for,omitempty"`
	Covered       string               `json:"covered,omitempty"`
	Pause         *rollout.Pause       `json:"pause,omitempty"`
	Hold          *rollout.Hold        `json:"hold,omitempty"`
	Gate          *rollout.GateVerdict `json:"gate,omitempty"`
	Judgement     *analysis.Judgement  `json:"judgement,omitempty"`
	Owed          []string             `json:"owed,omitempty"`
	Tasks         []Task               `json:"tasks"`
	StartedAt     time.Time            `json:"started_at"`
	EndedAt       *time.Time           `json:"ended_at,omitempty"`
	WatchUntil    *time.Time           `json:"watch_until,omitempty"`
}

// Task is one task of a rollout's graph and what became of it.
type Task struct {
	ID        string           `json:"id"`
	Kind      rollout.TaskKind `json:"kind"`
	WeightPct float64          `json:"weight_pct,omitempty"`
	// State is pending, running, waiting (between attempts), done, failed or not_taken (a branch that the rollout did not go).
	State string `json:"state"`
	// Verdict is what it came to: done, promote, reject, undecided, approve, healthy, unhealthy, skipped, aborted, failed.
	Verdict  string    `json:"verdict,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Attempts []Attempt `json:"attempts"`
}

// The states of tasks.
const (
	TaskPending  = "pending"
	TaskRunning  = "running"
	TaskWaiting  = "waiting"
	TaskDone     = "done"
	TaskFailed   = "failed"
	TaskNotTaken = "not_taken"
)

// Attempt is one run of a task.
type Attempt struct {
	Attempt   int             `json:"attempt"`
	Status    string          `json:"status"`
	StartedAt time.Time       `json:"started_at"`
	EndedAt   *time.Time      `json:"ended_at,omitempty"`
	Verdict   string          `json:"verdict,omitempty"`
	Reason    string          `json:"reason,omitempty"`
	Evidence  json.RawMessage `json:"evidence,omitempty"`
}

// LogLine is one line of a task's log.
type LogLine struct {
	Seq     int64     `json:"seq"`
	At      time.Time `json:"at"`
	Task    string    `json:"task"`
	Attempt int       `json:"attempt"`
	Line    string    `json:"line"`
}

// HistoryEntry is one line of the append-only history.
type HistoryEntry struct {
	Seq     int64     `json:"seq"`
	At      time.Time `json:"at"`
	Rollout string    `json:"rollout,omitempty"`
	Model   string    `json:"model"`
	Actor   string    `json:"actor"`
	Event   string    `json:"event"`
	Reason  string    `json:"reason"`
}

// Started answers a start: the id of the new rollout.
type Started struct {
	Rollout string `json:"rollout"`
}

// StartRequest starts a rollout. With neither PlanYAML nor a plan in the server's configuration the default plan is used.
type StartRequest struct {
	Model string `json:"model"`
	// PlanYAML is the text of a plan file, PlanName its name for errors, PlanDir the folder its relative paths are below.
	PlanYAML string         `json:"plan_yaml,omitempty"`
	PlanName string         `json:"plan_name,omitempty"`
	PlanDir  string         `json:"plan_dir,omitempty"`
	Driver   rollout.Driver `json:"driver,omitempty"`
	Reason   string         `json:"reason"`
	// FirstChampion and NoGate are reasons: for starting where nothing serves yet, and for starting without the gate.
	FirstChampion string `json:"first_champion,omitempty"`
	NoGate        string `json:"no_gate,omitempty"`
	RetryOf       string `json:"retry_of,omitempty"`
	// Challenger overrides the plan's, for a command that was given a --model-uri.
	Challenger string `json:"challenger,omitempty"`
	// Task refuses the start when the plan has no task of that id: what a command came for must be there.
	Task string `json:"task,omitempty"`
	// Key makes the start idempotent: a second one with the same key returns the first one's rollout.
	Key string `json:"key,omitempty"`
}

// ActionRequest is a person's word: pause, resume, promote, abort or retry.
type ActionRequest struct {
	Reason string `json:"reason"`
	// Override, with promote, goes on without the evidence.
	Override bool `json:"override,omitempty"`
}

// UndoRequest goes back to an older champion: To, or the one before.
type UndoRequest struct {
	To     string `json:"to,omitempty"`
	Reason string `json:"reason"`
}

// RollbackRequest is the big red button of a model.
type RollbackRequest struct {
	Reason string `json:"reason"`
	// Wait is a Go duration: how long the proof that canary requests have stopped is waited for; less than a second when empty. What is not proven by then is owed.
	Wait string `json:"wait,omitempty"`
}

// RollbackAnswer says what a rollback did and what is owed.
type RollbackAnswer struct {
	Rollout string        `json:"rollout,omitempty"`
	Phase   rollout.Phase `json:"phase,omitempty"`
	Done    []string      `json:"done"`
	Owed    []string      `json:"owed,omitempty"`
}

// UnblockRequest lets a version be rolled out again that an undo had blocked.
type UnblockRequest struct {
	Version string `json:"version"`
	Reason  string `json:"reason"`
}

// TaskRequest asks for one task to be performed, for a rollout that commands drive.
type TaskRequest struct {
	// MaxHold is a Go duration: how long a held bake is waited for. Once judges what has come and answers "not yet" otherwise.
	MaxHold string `json:"max_hold,omitempty"`
	Once    bool   `json:"once,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

// TaskAnswer says how the task and the rollout stand.
type TaskAnswer struct {
	Rollout string        `json:"rollout"`
	Task    string        `json:"task"`
	Phase   rollout.Phase `json:"phase"`
	// Verdict is the task's, empty while it has none; then Held says whether the rollout is held.
	Verdict string `json:"verdict,omitempty"`
	Held    bool   `json:"held,omitempty"`
	Reason  string `json:"reason"`
}

// Model is a served or configured model.
type Model struct {
	Name        string  `json:"name"`
	Champion    string  `json:"champion,omitempty"`
	Rollout     string  `json:"rollout,omitempty"`
	WeightPct   float64 `json:"weight_pct"`
	Generation  int64   `json:"generation"`
	RoutingFile string  `json:"routing_file"`
	// Error says why the routing file cannot be read; weight, generation and champion are unknown then.
	Error string `json:"error,omitempty"`
}

// Wait answers GET /api/v1/rollouts/ID/wait: with 404 while the rollout goes on and 200 when it has ended.
type Wait struct {
	Rollout string        `json:"rollout"`
	Status  rollout.Phase `json:"status"`
	Reason  string        `json:"reason"`
}

// Health answers GET /api/v1/health.
type Health struct {
	Status  string `json:"status"`
	Version string `json:"version"`
	PID     int    `json:"pid"`
}

// Error is the body of every answer that is not 2xx.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}
