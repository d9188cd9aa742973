package notify

import (
	"fmt"
	"strings"
	"time"

	"serin/internal/analysis"
	"serin/internal/rollout"
)

// Message is what people are told, once a rollout and event, whoever drives the rollout. Its JSON form is the body of a webhook and is stable.
type Message struct {
	Model   string `json:"model"`
	Rollout string `json:"rollout"`
	// Event is one of the rollout.Notify... names.
	Event string `json:"event"`
	// Title is a short line without evidence, Text the whole on one line: value, limit, sample size, next command and link.
	Title string `json:"title"`
	Text  string `json:"text"`
	// Facts are the checks that Text speaks of.
	Facts []Fact `json:"facts"`
	// Link leads to the rollout's page; "" when the address of the server is not known.
	Link string `json:"link,omitempty"`
	// NextCommand is what to type, several commands separated by "; ".
	NextCommand string `json:"next_command"`
	// At is when it happened, in UTC.
	At time.Time `json:"at"`
}

// Fact is one check as it stood: a share of the canary's requests against its limit.
type Fact struct {
	Check string `json:"check"`
	// Value and Limit are shares between 0 and 1; healthy is strictly below. Value is 0 when Requests is.
	Value float64 `json:"value"`
	Limit float64 `json:"limit"`
	// Events of Requests make the value: the sample size.
	Events   int64  `json:"events"`
	Requests int64  `json:"requests"`
	Text     string `json:"text"`
}

// Facts are what a message is made of.
type Facts struct {
	// State is the row as it was when it happened.
	State rollout.State
	// Event is one of the rollout.Notify... names; Actor and Reason are those of the history's line.
	Event  string
	Actor  string
	Reason string
	At     time.Time
	// BaseURL is the address of the web page without a slash at its end; "" leaves the link out.
	BaseURL string
}

// Render puts facts into words. It is pure: the same facts give the same message.
func Render(f Facts) Message {
	w := words{Facts: f}
	title, text, next := w.tell()
	m := Message{
		Model: f.State.Model, Rollout: f.State.ID, Event: f.Event, Title: oneLine(f.State.Model + ": " + title), Facts: w.facts(),
		NextCommand: strings.Join(next, "; "), At: f.At.UTC(),
	}
	parts := []string{f.State.Model + ": " + title}
	if text != "" {
		parts[0] += ": " + text
	}
	parts[0] = strings.TrimRight(parts[0], ".") + "."
	if m.NextCommand != "" {
		parts = append(parts, "Next: "+m.NextCommand)
	}
	if f.BaseURL != "" {
		m.Link = f.BaseURL + "/rollouts/" + f.State.ID
		parts = append(parts, m.Link)
	}
	m.Text = oneLine(strings.Join(parts, " "))
	return m
}

// words builds the parts of a message.
type words struct{ Facts }

// tell gives title, text and next commands of the event.
func (w words) tell() (title, text string, next []string) {
	canary, get := w.challenger(), "serin get "+w.State.ID
	switch w.Event {
	case rollout.NotifyStarted:
		return "rollout of " + canary + " started" + w.by(), join(w.reason(), w.against(), w.steps()), []string{get}
	case rollout.NotifyPaused:
		return "rollout of " + canary + " paused" + w.by(), join(w.reason(), w.serving(), "judging and rollback go on"), []string{get, w.command("resume")}
	case rollout.NotifyHeld:
		return "rollout of " + canary + " held", join(w.evidence(), w.serving(), w.deadline()), []string{get, w.command("retry"), w.command("abort")}
	case rollout.NotifyHoldTooLong:
		return "rollout of " + canary + " held too long", join(w.evidence(), w.serving(), w.afterHold()), []string{get, w.command("retry")}
	case rollout.NotifySucceeded:
		return canary + " promoted", join(w.lastBake(), w.serving()), []string{get, w.undo()}
	case rollout.NotifyRolledBack:
		return "canary " + canary + " rolled back", join(w.evidence(), w.serving()), []string{get, w.command("retry")}
	case rollout.NotifyUnproven:
		title, next := w.unproven()
		return title, join(w.evidence(), "requests may still reach "+canary, "it is tried again"), append([]string{get}, next...)
	case rollout.NotifyRejected:
		return canary + " rejected offline", join(w.gate(), w.serving()), []string{get, w.command("retry")}
	case rollout.NotifyAborted:
		return "rollout of " + canary + " aborted" + w.by(), join(w.reason(), w.serving()), []string{get, w.command("retry")}
	case rollout.NotifyUndone:
		return "undone", join(w.reason(), w.serving(), canary+" is blocked"), []string{get, "serin unblock " + argument(w.State.Model) + " " + w.State.Pins.Challenger.Version}
	case rollout.NotifyFailed:
		return "rollout of " + canary + " failed", join(w.reason(), w.serving()), []string{get, w.command("retry")}
	case rollout.NotifyWatch:
		text, next := w.onFail()
		return canary + " breaks a limit after its promotion", join(w.evidence(), text), append([]string{get}, next...)
	}
	return w.Event, w.reason(), []string{get}
}

// checks are the judge's evidence, nil where nothing has been judged.
func (w words) checks() []analysis.Evidence {
	if w.State.Stage == nil || w.State.Stage.Judgement == nil {
		return nil
	}
	return w.State.Stage.Judgement.Checks
}

func (w words) facts() []Fact {
	facts := []Fact{}
	for _, c := range w.checks() {
		facts = append(facts, Fact{Check: c.Check, Value: c.Value, Limit: c.Limit, Events: c.Events, Requests: c.Requests, Text: c.Text})
	}
	return facts
}

// evidence is the reason together with the checks that it does not already quote: the failed ones, or all when none has failed.
func (w words) evidence() string {
	parts := []string{w.reason()}
	failed := false
	for _, c := range w.checks() {
		failed = failed || c.Verdict == analysis.VerdictFail
	}
	for _, c := range w.checks() {
		if (c.Verdict == analysis.VerdictFail) == failed && !strings.Contains(parts[0], c.Text) {
			parts = append(parts, c.Text)
		}
	}
	return join(parts...)
}

// lastBake is what the last bake before the promotion came to.
func (w words) lastBake() string {
	last := ""
	for _, node := range rollout.Graph(w.State.Plan, w.State.Kind) {
		if outcome, ok := w.State.Tasks[node.ID]; ok && node.Kind == rollout.KindMonitor {
			last = outcome.Reason
		}
	}
	if last == "" {
		return w.reason()
	}
	return last
}

// gate is why the offline comparison rejected.
func (w words) gate() string {
	if w.State.Gate == nil || len(w.State.Gate.Reasons) == 0 {
		return w.reason()
	}
	return strings.Join(w.State.Gate.Reasons, "; ")
}

func (w words) reason() string {
	if w.Reason != "" {
		return w.Reason
	}
	return w.State.Reason
}

// by names a person; what Serin does by itself needs no name.
func (w words) by() string {
	if w.Actor == "" || w.Actor == rollout.Controller {
		return ""
	}
	return " by " + w.Actor
}

func (w words) challenger() string {
	if v := w.State.Pins.Challenger.Version; v != "" {
		return "v" + v
	}
	return w.State.Plan.Challenger
}

func (w words) against() string {
	switch {
	case w.State.Pins.Champion.Version != "":
		return "champion v" + w.State.Pins.Champion.Version
	case w.State.Pins.FirstChampion != "":
		return "no champion yet"
	}
	return "champion " + w.State.Plan.Champion
}

func (w words) steps() string {
	var names []string
	for _, s := range w.State.Plan.Stages() {
		names = append(names, s.Name()+" %")
	}
	return "steps " + strings.Join(names, ", ")
}

// serving says who has the traffic.
func (w words) serving() string {
	champion := w.State.Pins.Champion.Version
	switch {
	case w.Event == rollout.NotifySucceeded:
		return w.challenger() + " serves 100 %"
	case champion == "":
		return ""
	case w.State.Exposed && w.State.WeightPct > 0 && !w.State.Phase.Ended():
		return fmt.Sprintf("champion v%s serves %g %%, canary %s %g %%", champion, 100-w.State.WeightPct, w.challenger(), w.State.WeightPct)
	}
	return "champion v" + champion + " serves 100 %"
}

// deadline says how a hold ends.
func (w words) deadline() string {
	h := w.State.Hold
	if h == nil || h.Deadline.IsZero() {
		return "it waits for a person"
	}
	at := h.Deadline.UTC().Format("15:04 UTC")
	switch {
	case w.State.Plan.Hold.Then == rollout.HoldKeep:
		return "at " + at + " you are told again"
	case w.State.Exposed:
		return "at " + at + " it is rolled back"
	}
	return "at " + at + " it is aborted"
}

func (w words) afterHold() string {
	switch {
	case w.State.Plan.Hold.Then == rollout.HoldKeep:
		return "it keeps waiting for a person"
	case w.State.Exposed:
		return "it is rolled back now"
	}
	return "it is aborted now"
}

// onFail says what the breach of a watch leads to, and what is left for a person.
func (w words) onFail() (text string, next []string) {
	if w.State.Plan.Watch.OnFail == rollout.WatchUndo {
		return "an undo is started", nil
	}
	return "nothing is undone, as the plan says", []string{w.undo()}
}

// unproven names what is not proven. The command that works without a server takes back a rollout, not a promotion.
func (w words) unproven() (title string, next []string) {
	if w.State.Kind == rollout.KindOfUndo {
		return "undo of " + w.challenger() + " is not proven", nil
	}
	return "rollback of canary " + w.challenger() + " is not proven", []string{"serin rollback-deployment --model " + argument(w.State.Model)}
}

func (w words) command(name string) string {
	return "serin " + name + " " + w.State.ID + " --reason ..."
}

func (w words) undo() string { return "serin undo " + argument(w.State.Model) + " --reason ..." }

// argument quotes a model's name where a shell would split it.
func argument(name string) string {
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r) {
			return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
		}
	}
	return name
}

func join(parts ...string) string {
	var said []string
	for _, p := range parts {
		if p = strings.Trim(p, " .;"); p != "" {
			said = append(said, p)
		}
	}
	return strings.Join(said, "; ")
}

// oneLine keeps what a reason brings along, such as line breaks, out of logs and chats.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 }), " ")
}
