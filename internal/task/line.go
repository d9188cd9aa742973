package task

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"serin/internal/analysis"
	"serin/internal/rollout"
)

// line is one tick in the task's log: when, what follows, how much of the bake is covered, then each check once with its numbers and the
// champion's beside them. What two checks have in common, such as a source that failed, is said once.
func line(st analysis.Stage, j analysis.Judgement) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s covered", j.At.UTC().Format(time.TimeOnly), word(st, j.Decision), j.Covered)
	if st.Bake >= time.Second {
		fmt.Fprintf(&b, " of %s", st.Bake)
	}
	if j.Lost > 0 {
		fmt.Fprintf(&b, ", %s lost", j.Lost)
	}
	var parts []string
	for _, c := range j.Checks {
		for _, part := range checkParts(c) {
			if part != "" && !slices.Contains(parts, part) {
				parts = append(parts, part)
			}
		}
	}
	return b.String() + ": " + strings.Join(parts, "; ")
}

// word is the decision as it is called in a bake, and in the watch, where nothing is left to promote.
func word(st analysis.Stage, d analysis.Decision) string {
	switch {
	case st.Name == rollout.TaskWatch && d == analysis.DecisionPromote:
		return "healthy"
	case st.Name == rollout.TaskWatch && d == analysis.DecisionRollback:
		return "breach"
	}
	return string(d)
}

// checkParts takes one check's text apart: why it was not judged, the counts with the champion's, and the notes on them.
func checkParts(c analysis.Evidence) []string {
	why, counts, cut := strings.Cut(c.Text, " (so far: ")
	if !cut {
		why, counts = "", c.Text
	} else {
		counts = "so far " + strings.TrimSuffix(counts, ")")
	}
	counts, note, _ := strings.Cut(counts, "; ")
	if c.ChampionRequests > 0 && c.Requests > 0 {
		counts += fmt.Sprintf(", champion %s %% (%d of %d)", percent(c.ChampionValue), c.ChampionEvents, c.ChampionRequests)
		if c.ChampionP95 > 0 {
			counts += ", p95 " + time.Duration(c.ChampionP95*float64(time.Second)).Round(100*time.Microsecond).String()
		}
	}
	return []string{why, counts, note}
}

// percent writes a share with one decimal, and two digits where it is below 1 %.
func percent(share float64) string {
	if pct := 100 * share; pct > 0 && pct < 1 {
		return strconv.FormatFloat(pct, 'g', 2, 64)
	}
	return strings.TrimSuffix(strconv.FormatFloat(100*share, 'f', 1, 64), ".0")
}

// oneLine makes one line of a text that comes from elsewhere: a log has one line a line.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
