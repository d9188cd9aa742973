package rollout

import (
	"encoding/json"
	"time"

	"serin/internal/analysis"
	"serin/internal/model"
)

// Kind says what a row is: a rollout forward, or an undo back to an older champion.
type Kind string

// The kinds of rows.
const (
	KindOfRollout Kind = "rollout"
	KindOfUndo    Kind = "undo"
)

// Driver says who moves a row forward. Whoever drives, a running server samples, judges and rolls back.
type Driver string

// The drivers. External is a scheduler or a person running the tasks as single commands.
const (
	DriverLocal    Driver = "local"
	DriverExternal Driver = "external"
)

// Phase is where a rollout stands, in the words of the contract with users.
type Phase string

// The phases. The last five are ends.
const (
	Progressing Phase = "progressing"
	Paused      Phase = "paused"
	Held        Phase = "held"
	Succeeded   Phase = "succeeded"
	RolledBack  Phase = "rolled_back"
	Rejected    Phase = "rejected"
	Aborted     Phase = "aborted"
	Failed      Phase = "failed"
)

// Ended says whether the phase is an end; an ended row blocks no new rollout of its model.
func (p Phase) Ended() bool {
	switch p {
	case Succeeded, RolledBack, Rejected, Aborted, Failed:
		return true
	case Progressing, Paused, Held:
		return false
	}
	return false
}

// State is one rollout: the row that Next, Apply and Signal work on. Only they change it.
type State struct {
	ID      string `json:"id"`
	Model   string `json:"model"`
	Kind    Kind   `json:"kind"`
	Of      string `json:"of,omitempty"`       // the rollout that an undo takes back
	RetryOf string `json:"retry_of,omitempty"` // the ended rollout that this one tries again
	Driver  Driver `json:"driver"`
	Plan    Plan   `json:"plan"`
	Pins    Pins   `json:"pins"`
	// Salt divides the users of this rollout, NextSalt those of the one after it; both are drawn once, before the rollout starts.
	Salt     string `json:"salt"`
	NextSalt string `json:"next_salt"`

	Phase  Phase  `json:"phase"`
	Reason string `json:"reason"`
	// Task is the task that is next or running; empty when nothing is left but what is owed.
	Task string `json:"task,omitempty"`
	// Tasks is what each task that has run came to, by task id.
	Tasks map[string]Outcome `json:"tasks"`
	// Granted is, for an external driver, the task up to which a command has asked to go forward.
	Granted string `json:"granted,omitempty"`

	// Exposed is set before the first request can meet the canary. WeightPct is the weight that was last asked for.
	Exposed   bool    `json:"exposed"`
	WeightPct float64 `json:"weight_pct"`
	// Promoting is set before the registry is first touched: a rollback from then on must restore it.
	Promoting bool `json:"promoting,omitempty"`

	Pause *Pause `json:"pause,omitempty"`
	Hold  *Hold  `json:"hold,omitempty"`
	// Ending is why the rollout is going back; set with the cursor on rollback_deployment.
	Ending *Ending `json:"ending,omitempty"`

	Gate  *GateVerdict  `json:"gate,omitempty"`
	Stage *StageVerdict `json:"stage,omitempty"`

	// RetryAt is when the current task may run again after a failure, Failures how often in a row it failed.
	RetryAt  time.Time `json:"retry_at,omitzero"`
	Failures int       `json:"failures,omitempty"`

	// Owed lists the tasks that Next still returns after the end.
	Owed []string `json:"owed,omitempty"`
	// WatchUntil is when the watch after success ends at the latest; zero when none runs.
	WatchUntil time.Time `json:"watch_until,omitzero"`

	StartedAt time.Time `json:"started_at"`
	EndedAt   time.Time `json:"ended_at,omitzero"`
}

// Pins are the versions that were fixed at the start.
type Pins struct {
	Champion   model.Pin `json:"champion"`
	Challenger model.Pin `json:"challenger"`
	// FirstChampion is set when there was no champion, with the reason a person gave.
	FirstChampion string `json:"first_champion,omitempty"`
}

// Pause is a person's pause: it blocks going forward; sampling, judging and rollback go on.
type Pause struct {
	Actor  string    `json:"actor"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
}

// Hold is the controller's: it cannot tell, says why, and waits at most until Deadline (zero: for a person).
type Hold struct {
	Code     string    `json:"code"`
	Reason   string    `json:"reason"`
	Since    time.Time `json:"since"`
	Deadline time.Time `json:"deadline,omitzero"`
	// Told is set when people were told that the hold has lasted its maximum and is kept.
	Told bool `json:"told,omitempty"`
}

// Ending says why a rollout goes back and what its phase will be.
type Ending struct {
	Phase  Phase  `json:"phase"`
	Reason string `json:"reason"`
	Actor  string `json:"actor,omitempty"`
	// External is set when another writer had already disabled the canary.
	External bool `json:"external,omitempty"`
}

// GateVerdict is what the offline gate came to.
type GateVerdict struct {
	Decision string   `json:"decision"` // promote, reject, undecided
	Reasons  []string `json:"reasons,omitempty"`
	// Override is the actor and reason of a promotion without the evidence.
	Override string          `json:"override,omitempty"`
	Report   json.RawMessage `json:"report,omitempty"`
}

// StageVerdict is how the current stage stands: the judge's state and its last judgement.
type StageVerdict struct {
	Stage     int                 `json:"stage"`
	Verdict   string              `json:"verdict,omitempty"` // "", healthy, unhealthy, skipped
	Judge     analysis.State      `json:"judge,omitempty"`
	Judgement *analysis.Judgement `json:"judgement,omitempty"`
	// Since is when the stage's weight was proven; samples up to then are the base.
	Since time.Time `json:"since"`
	// Promoted is set when a person promoted the stage: the rest of its bake is skipped once the evidence allows it, or at once with Override.
	Promoted *Promotion `json:"promoted,omitempty"`
	// Stop asks the running bake to return; Restart makes it begin anew, because a person asked for a retry.
	Stop    bool `json:"stop,omitempty"`
	Restart bool `json:"restart,omitempty"`
	// Return is a task that waits for another attempt while the bake goes on, and ReturnAt when it may have it.
	Return   string    `json:"return,omitempty"`
	ReturnAt time.Time `json:"return_at,omitzero"`
}

// Promotion is a person's word to go on.
type Promotion struct {
	Actor    string `json:"actor"`
	Reason   string `json:"reason"`
	Override bool   `json:"override,omitempty"`
}

// Outcome is what a task came to.
type Outcome struct {
	// Verdict is done, promote, reject, undecided, approve, healthy, unhealthy, skipped, held or failed.
	Verdict string    `json:"verdict"`
	Reason  string    `json:"reason,omitempty"`
	At      time.Time `json:"at"`
}

// Task is one attempt that the engine has opened: what to run, on which state.
type Task struct {
	Rollout string   `json:"rollout"`
	ID      string   `json:"id"`
	Kind    TaskKind `json:"kind"`
	Attempt int      `json:"attempt"`
	// State is the row as it was when the attempt was opened.
	State State `json:"-"`
	// Node is the task's place in the graph.
	Node Node `json:"-"`
}

// Key is the idempotency key of the task's effects: rollout/task, the same for every attempt, so that an attempt finds what the one before it did.
func (t Task) Key() string { return t.Rollout + "/" + t.ID }

// Status is how a run of a task ended.
type Status string

// The statuses. A checkpoint is Running. Retry and NotProven are tried again: Retry after an error, NotProven while an effect is asked for but not seen.
// Refused is final: trying again will not help.
const (
	StatusRunning   Status = "running"
	StatusDone      Status = "done"
	StatusRetry     Status = "retry"
	StatusNotProven Status = "not_proven"
	StatusRefused   Status = "refused"
)

// Result is what a run of a task brings to Apply; also a checkpoint on the way, with StatusRunning.
type Result struct {
	Status Status `json:"status"`
	// Reason is one line for people: why it failed, or what was done.
	Reason string `json:"reason,omitempty"`
	// Code is a word for machines: no_data, not_proven, routing_changed, registry_changed, ...
	Code string `json:"code,omitempty"`

	Pins  *Pins        `json:"pins,omitempty"` // admit
	Gate  *GateVerdict `json:"gate,omitempty"` // compare
	Judge *Judged      `json:"judge,omitempty"`
	// Exposed is set by the checkpoint that a deploy makes before it writes the routing, Promoting by the one before a promotion touches the registry.
	Exposed   bool `json:"exposed,omitempty"`
	Promoting bool `json:"promoting,omitempty"`
	// Foreign is set when another writer has changed the routing under the task.
	Foreign *Foreign `json:"foreign,omitempty"`
	// Owed asks for the settle task after the end.
	Owed bool `json:"owed,omitempty"`

	// Log are lines of the task's log; Evidence is stored with the attempt.
	Log      []string        `json:"-"`
	Evidence json.RawMessage `json:"-"`
}

// Foreign is a change of the routing that was not ours. One that disabled the canary is an abort by its writer; any other is a person's to judge.
type Foreign struct {
	Disabled bool   `json:"disabled"`
	Writer   string `json:"writer"`
	Reason   string `json:"reason"`
}

// Judged is one tick of a bake: the judge's new state and its judgement.
type Judged struct {
	State     analysis.State     `json:"state"`
	Judgement analysis.Judgement `json:"judgement"`
}

// Signals is what a running task learns at a checkpoint.
type Signals struct {
	// Stop asks the task to return now: the bake is over, the rollout goes back, or somebody ended it.
	Stop bool
	// Promoted says that a person promoted the stage: judge it as if its bake were over.
	Promoted bool
}

// Action is what Next says to do.
type Action struct {
	// Do is the task to run, nil when there is nothing to run now.
	Do *Node
	// Wait is when to ask again if no signal comes first; zero with Do nil and Done false means: only a signal helps.
	Wait time.Time
	// Done means that nothing is left.
	Done bool
}

// Event is one line of the append-only history. Notify is the name under which channels are told, empty for events that are only recorded.
type Event struct {
	Name   string `json:"name"`
	Notify string `json:"notify,omitempty"`
	Actor  string `json:"actor"`
	Reason string `json:"reason"`
	// OpenUndo asks the engine to open an undo of this rollout in the same transaction.
	OpenUndo bool `json:"-"`
	// Block asks the engine to block the version in the same transaction.
	Block string `json:"-"`
}

// The names that notifications are told under.
const (
	NotifyStarted     = "started"
	NotifyPaused      = "paused"
	NotifyHeld        = "held"
	NotifyHoldTooLong = "hold_too_long"
	NotifySucceeded   = "succeeded"
	NotifyRolledBack  = "rolled_back"
	NotifyUnproven    = "rollback_unproven"
	NotifyRejected    = "rejected"
	NotifyAborted     = "aborted"
	NotifyUndone      = "undone"
	NotifyFailed      = "failed"
	NotifyWatch       = "watch_failed"
)

// Controller is the actor of what Serin does by itself.
const Controller = "serin"

// Signal is a person's word, or another writer's.
type Signal struct {
	Name   SignalName `json:"name"`
	Actor  string     `json:"actor"`
	Reason string     `json:"reason"`
	// Override, with SignalPromote: go on without the evidence.
	Override bool `json:"override,omitempty"`
	// Task, with SignalGrant: the task that a command asks to perform.
	Task string `json:"task,omitempty"`
}

// SignalName says what a signal asks for.
type SignalName string

// The signals.
const (
	SignalPause   SignalName = "pause"
	SignalResume  SignalName = "resume"
	SignalPromote SignalName = "promote"
	SignalAbort   SignalName = "abort"
	SignalRetry   SignalName = "retry"
	// SignalGrant lets an external driver's row go forward up to a task.
	SignalGrant SignalName = "grant"
	// SignalSupersede ends the watch of a succeeded rollout because a new one starts.
	SignalSupersede SignalName = "supersede"
)

// StartParams is what a new row is made of.
type StartParams struct {
	ID       string
	Plan     Plan
	Driver   Driver
	Actor    string
	Reason   string
	RetryOf  string
	Salt     string
	NextSalt string
	// Key makes the start idempotent: a second start with the same key is the first one's rollout. Empty: every start is its own.
	Key string
	// NoGate, a reason, starts without the gate. FirstChampion, a reason, starts where no version serves yet.
	NoGate        string
	FirstChampion string
}

// UndoParams is what an undo is made of: the version to go back to and the one to leave.
type UndoParams struct {
	ID       string
	Of       string
	Plan     Plan
	Driver   Driver
	Actor    string
	Reason   string
	To       model.Pin
	From     model.Pin
	Salt     string
	NextSalt string
}
