package stories

import (
	"context"
	"regexp"
	"strings"
	"time"

	"serin/internal/api"
)

// tickEvery is how often the story of a bake says how it goes.
const tickEvery = 4 * time.Second

var (
	startedLine  = regexp.MustCompile(`^attempt \d+ of \S+ started$`)
	finishedLine = regexp.MustCompile(`^(attempt \d+) of \S+ finished: (\w+)(?: \((\w+)\))?(?:: ?(.*))?$`)
	tickLine     = regexp.MustCompile(`^\d\d:\d\d:\d\d (\w+) (.*)$`)
	// besideLine is the champion's figures beside the canary's; they matter when something is decided.
	besideLine = regexp.MustCompile(`, champion [^;]*`)
	// noise is what the log of a task says for those who look for a fault, and a story does not need. A line that is not known here is told.
	noise = regexp.MustCompile(`^(champion is version |challenger is version |version \S+ is loaded|XGB\w+: |takes and gives |the example answers |slot \d+ answers$` +
		`|registry: version \S+: (tag )?serin\.|\w+ told on \w+$)`)
)

// narrator makes a story of a rollout's log: it leaves out what is not needed to follow it. The lines are heard in their order.
type narrator struct {
	// hide is cut from file names: the demo's folder.
	hide string
	// inTable is set in the table of the gate's criteria.
	inTable bool
	// ticked is when the last tick was told.
	ticked time.Time
}

// hear gives what is told of a line, if anything.
func (n *narrator) hear(l api.LogLine) (e event, tell bool) {
	text := strings.TrimRight(l.Line, " ")
	e = event{Who: l.Task, Text: text}
	compare := l.Task == "compare_models"
	if m := finishedLine.FindStringSubmatch(text); m != nil {
		return finished(e, m)
	}
	switch {
	case text == "":
		n.inTable = false
		return e, false
	case startedLine.MatchString(text), noise.MatchString(text):
		return e, false
	case compare:
		return n.report(e)
	case strings.HasPrefix(l.Task, "monitor_"), strings.HasPrefix(l.Task, "watch_"):
		return n.tick(e, l.At)
	}
	return e, true
}

// finished tells what a task came to. What other lines have said is left out, what went wrong never is.
func finished(e event, m []string) (event, bool) {
	attempt, status, verdict, reason := m[1], m[2], m[3], m[4]
	is := func(prefix string) bool { return strings.HasPrefix(e.Who, prefix) }
	e.Text = reason
	switch {
	case status != "done":
		e.Kind, e.Text = kindVerdict, strings.TrimSuffix(attempt+" "+status+": "+reason, ": ")
		return e, true
	case is("compare_"), is("monitor_"), is("watch_"), is("notify_"):
		return e, false
	case is("decide_deployment"):
		e.Kind = kindVerdict
		if verdict == "approve" { // the reasons are the table above
			e.Text, _, _ = strings.Cut(reason, ": ")
		}
	case is("decide_"): // the tick above says the same
		return e, false
	case is("rollback_"), is("keep_champion"):
		e.Kind = kindVerdict
	}
	return e, reason != ""
}

// report keeps the table of the criteria, and what it was made of.
func (n *narrator) report(e event) (event, bool) {
	switch {
	case strings.HasPrefix(e.Text, "criterion "):
		n.inTable = true
	case strings.HasPrefix(e.Text, "metric "):
		n.inTable = false
	case strings.HasPrefix(e.Text, "comparing "):
		e.Text = strings.ReplaceAll(e.Text, n.hide, "")
		return e, true
	case strings.HasPrefix(e.Text, "changed answers: "):
		return e, true
	}
	e.Kind = kindDetail
	return e, n.inTable
}

// tick tells every decision of a bake, but that it goes on only every few seconds.
func (n *narrator) tick(e event, at time.Time) (event, bool) {
	m := tickLine.FindStringSubmatch(e.Text)
	if m == nil {
		n.ticked = at
		return e, true
	}
	e.Text = m[1] + ", " + m[2]
	if m[1] != "continue" {
		e.Kind = kindVerdict
		return e, true
	}
	if at.Sub(n.ticked) < tickEvery {
		return e, false
	}
	n.ticked = at
	e.Text = besideLine.ReplaceAllString(e.Text, "")
	return e, true
}

// passOn tells the new lines of the rollout's log.
func (t *telling) passOn(ctx context.Context) error {
	lines, err := t.client.Logs(ctx, t.id, "", t.seen)
	if err != nil {
		return err
	}
	for _, l := range lines {
		t.seen = l.Seq
		if e, tell := t.narrator.hear(l); tell {
			e.Story = t.out.Name
			t.Teller.tell(e)
		}
	}
	return nil
}
