package cli

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"serin/internal/analysis"
	"serin/internal/api"
	"serin/internal/model"
	"serin/internal/rollout"
)

// renderRollout is the page of `serin get`: a head of keys and values, then the tasks as a tree. Every state is an icon and a word, so that nothing
// depends on color.
func renderRollout(r api.Rollout, now time.Time) string {
	p := &page{}
	p.head(r)
	p.line("")
	p.tree(r, now)
	return p.String()
}

// renderLine is the one line that a watch prints for a change where nothing can be redrawn.
func renderLine(r api.Rollout) string {
	task := ""
	if r.Task != "" {
		task = " at " + r.Task
	}
	return fmt.Sprintf("%s %s%s, %g %% canary: %s\n", phaseIcon(r.Phase), r.Phase, task, r.WeightPct, oneLine(r.Reason))
}

// page is text that is being laid out.
type page struct{ strings.Builder }

func (p *page) line(s string) { p.WriteString(strings.TrimRight(s, " ") + "\n") }

// field writes a key with its value in a fixed column; an empty value writes nothing.
func (p *page) field(key, format string, args ...any) {
	if value := fmt.Sprintf(format, args...); value != "" {
		p.line(fmt.Sprintf("%-16s %s", key+":", oneLine(value)))
	}
}

func (p *page) head(r api.Rollout) {
	p.field("Rollout", "%s", r.ID)
	p.field("Model", "%s", r.Model)
	if r.Kind == rollout.KindOfUndo {
		p.field("Undo of", "%s", r.Of)
	}
	p.field("Retry of", "%s", r.RetryOf)
	p.field("Status", "%s %s", phaseIcon(r.Phase), r.Phase)
	p.field("Message", "%s", r.Reason)
	p.field("Champion", "%s", pin(r.Champion, "(none)"))
	p.field("Challenger", "%s", pin(r.Challenger, "(not pinned yet)"))
	if r.Driver == rollout.DriverExternal {
		p.field("Driver", "commands: it goes forward when one asks it to")
	}
	p.field("  Step", "%d/%d", r.Step, r.Steps)
	p.field("  Weight", "%g %%", r.WeightPct)
	if r.BakeFor != "" && r.Judgement != nil {
		p.field("  Bake", "%s of %s covered by samples", r.Covered, r.BakeFor)
	}
	if j := r.Judgement; j != nil {
		p.field("  Requests", "%d canary, %d champion", j.CanaryRequests, j.ChampionRequests)
	}
	if r.NextWeightPct > 0 {
		p.field("  Next", "%g %%", r.NextWeightPct)
	}
	if r.Pause != nil {
		p.field("Paused", "by %s since %s: %s", r.Pause.Actor, clock(r.Pause.Since), r.Pause.Reason)
	}
	p.hold(r.Hold)
	if len(r.Owed) > 0 {
		p.field("Owed", "%s", strings.Join(r.Owed, ", "))
	}
	if r.WatchUntil != nil {
		p.field("Watched", "until %s", clock(*r.WatchUntil))
	}
}

func (p *page) hold(h *rollout.Hold) {
	switch {
	case h == nil:
	case h.Deadline.IsZero():
		p.field("Held", "since %s, until a person decides: %s", clock(h.Since), h.Reason)
	default:
		p.field("Held", "since %s, until %s at the latest: %s", clock(h.Since), clock(h.Deadline), h.Reason)
	}
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// pin is a version with the beginning of its digest.
func pin(v model.Pin, none string) string {
	switch {
	case v.Version == "":
		return none
	case len(v.Digest) > 19:
		return fmt.Sprintf("version %s (%s...)", v.Version, v.Digest[:19])
	}
	return "version " + v.Version
}

// row is one line of the tree before its columns are aligned.
type row struct{ name, kind, status, age, info string }

func (p *page) tree(r api.Rollout, now time.Time) {
	rows := []row{
		{"NAME", "KIND", "STATUS", "AGE", "INFO"},
		{"⟳ " + r.Model, string(r.Kind), phaseIcon(r.Phase) + " " + string(r.Phase), since(r.StartedAt, r.EndedAt, now), ""},
	}
	var shown []api.Task
	for _, t := range r.Tasks {
		if t.State != api.TaskNotTaken {
			shown = append(shown, t)
		}
	}
	for i, t := range shown {
		branch, below := "├──", "│  "
		if i == len(shown)-1 {
			branch, below = "└──", "   "
		}
		rows = append(rows, taskRow(branch, t, now))
		if r.Judgement != nil && (t.ID == r.Task && t.Kind == rollout.KindMonitor || t.Kind == rollout.KindWatch && t.State == api.TaskRunning) {
			rows = append(rows, checkRows(below, r.Judgement.Checks)...)
		}
	}
	p.align(rows)
}

func taskRow(branch string, t api.Task, now time.Time) row {
	info := t.Reason
	if n := len(t.Attempts); n > 1 {
		info = fmt.Sprintf("%s (attempt %d)", info, t.Attempts[n-1].Attempt)
	}
	out := row{name: branch + " " + t.ID, kind: string(t.Kind), status: taskIcon(t) + " " + taskWord(t), info: clip(strings.TrimSpace(oneLine(info)))}
	if n := len(t.Attempts); n > 0 {
		out.age = since(t.Attempts[0].StartedAt, t.Attempts[n-1].EndedAt, now)
	}
	return out
}

// clip keeps the tree on a screen; the whole text is in the log.
func clip(s string) string {
	const most = 96
	if r := []rune(s); len(r) > most {
		return string(r[:most-3]) + "..."
	}
	return s
}

func checkRows(below string, checks []analysis.Evidence) []row {
	var rows []row
	for i, c := range checks {
		branch := "├──"
		if i == len(checks)-1 {
			branch = "└──"
		}
		rows = append(rows, row{below + branch + "α " + c.Check, "check", verdictIcon(c.Verdict) + " " + string(c.Verdict), "", c.Text})
	}
	return rows
}

// align writes rows in columns, counting characters rather than bytes.
func (p *page) align(rows []row) {
	var widths [4]int
	for _, r := range rows {
		for i, cell := range [4]string{r.name, r.kind, r.status, r.age} {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, r := range rows {
		var line strings.Builder
		for i, cell := range [4]string{r.name, r.kind, r.status, r.age} {
			line.WriteString(cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
		p.line(line.String() + r.info)
	}
}

// since is how long something took, or has taken so far.
func since(from time.Time, to *time.Time, now time.Time) string {
	if to != nil {
		now = *to
	}
	return age(now.Sub(from))
}

func phaseIcon(phase rollout.Phase) string {
	switch phase {
	case rollout.Succeeded:
		return "✔"
	case rollout.RolledBack, rollout.Rejected, rollout.Aborted, rollout.Failed:
		return "✖"
	case rollout.Held:
		return "?"
	case rollout.Paused:
		return "॥"
	case rollout.Progressing:
		return "◌"
	}
	return "•"
}

func taskIcon(t api.Task) string {
	switch t.State {
	case api.TaskRunning:
		return "◌"
	case api.TaskWaiting:
		return "◷"
	case api.TaskFailed:
		return "✖"
	case api.TaskDone:
		switch t.Verdict {
		case "reject", "unhealthy", "aborted", "failed":
			return "✖"
		case "undecided", "held":
			return "?"
		}
		return "✔"
	}
	return "•"
}

// taskWord is the verdict once there is one, the state before.
func taskWord(t api.Task) string {
	if t.State == api.TaskDone && t.Verdict != "" {
		return t.Verdict
	}
	return t.State
}

func verdictIcon(v analysis.Verdict) string {
	switch v {
	case analysis.VerdictPass:
		return "✔"
	case analysis.VerdictFail:
		return "✖"
	case analysis.VerdictInconclusive:
		return "?"
	case analysis.VerdictNoData:
		return "∅"
	case analysis.VerdictProviderError, analysis.VerdictEnvironmentDegraded:
		return "⚠"
	}
	return "•"
}
