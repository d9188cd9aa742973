package planfile

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"serin/internal/rollout"
	"serin/internal/strictyaml"
)

// Marshal writes a valid plan as the commented file that `serin init` makes; Parse reads the same plan back. Head is put on top as comment
// lines, such as where the values come from; it may be empty.
func Marshal(p rollout.Plan, head string) []byte {
	w := &writer{}
	for line := range strings.Lines(head) {
		w.line("", "# %s", strings.TrimRight(strings.Map(printable, line), " "))
	}
	w.line("", "apiVersion: serin/v1")
	w.line("", "kind: ModelRollout")
	w.line("the registered model", "metadata: {name: %s}", text(p.Model))
	w.line("", "spec:")
	w.line("Production, \"@champion\" or a version number; resolved once, at the start", "  champion: %s", reftext(p.Champion))
	w.line("", "  challenger: %s", reftext(p.Challenger))
	w.gate(p.Gate)
	w.line("", "  strategy:")
	w.line("", "    canary:")
	w.line("weights are percent of the traffic; a bake counts the time that samples cover", "      steps:")
	for _, s := range p.Steps {
		w.step(s)
	}
	w.line("after success; onFail: undo | notify", "      watch: {duration: %s, onFail: %s}", strictyaml.FormatDuration(p.Watch.Duration), p.Watch.OnFail)
	w.analysis(p)
	w.line("what cannot be decided waits this long; then: rollback | keep", "  hold: {max: %s, then: %s}", strictyaml.FormatDuration(p.Hold.Max), p.Hold.Then)
	w.line("", "  routing:")
	w.line("customers keep their side by this header", "    key: %s", text(p.Routing.Key))
	w.line("else by this field of the request's JSON", "    field: %s", text(p.Routing.Field))
	w.line("key: each customer stays on one side | random: each request is drawn", "    by: %s", text(p.Routing.By))
	w.line("requests without a key: champion | random", "    missing: %s", text(p.Routing.Missing))
	w.line("stage | version", "    uris: %s", text(p.Routing.URIs))
	w.line("extended | strict (the key serin in a file of its own)", "    compat: %s", text(p.Routing.Compat))
	w.line("stages | aliases | both", "  promotion: {mode: %s}", p.Promotion)
	w.line("channels of serin.yaml", "  notifications: %s", list(p.Notifications))
	return []byte(w.String())
}

// printable keeps a comment a comment: some control characters end a line of YAML.
func printable(r rune) rune {
	if !unicode.IsPrint(r) {
		return ' '
	}
	return r
}

type writer struct{ strings.Builder }

// noteColumn is where the comments begin, unless the line is longer.
const noteColumn = 44

// line writes one line with its comment, if it has one.
func (w *writer) line(note, format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if note != "" {
		line = fmt.Sprintf("%-*s  # %s", noteColumn, line, note)
	}
	w.WriteString(line + "\n")
}

func (w *writer) gate(g rollout.Gate) {
	w.line("", "  offlineGate:")
	if g.Off {
		w.line("no comparison before the canary", "    off: true")
		w.line("", "    reason: %s", text(g.Reason))
	}
	if g.Data != "" {
		w.line("CSV or Parquet; beside this file, or absolute", "    data: %s", text(g.Data))
	}
	if g.Label != "" {
		w.line("its 0/1 column", "    label: %s", text(g.Label))
	}
	if g.ChampionScores != "" {
		w.line("columns with scores, for models that Serin cannot score", "    championScores: %s", text(g.ChampionScores))
		w.line("", "    challengerScores: %s", text(g.ChallengerScores))
	}
	w.line("", "    threshold: %s", number(g.Threshold))
	w.line("the limits are taken as they are", "    mode: %s", text(g.Mode))
	w.line("", "    criteria:")
	w.line("at least", "      recall: %s", number(g.Criteria.Recall))
	w.line("false-positive rate, at most", "      fpr: %s", number(g.Criteria.FPR))
	latency := "off"
	if g.Criteria.LatencyP95 > 0 {
		latency = strictyaml.FormatDuration(g.Criteria.LatencyP95)
	}
	w.line("one-row scoring, at most; or off", "      latencyP95: %s", latency)
	w.line("F1 at least the champion's times this", "      f1Ratio: %s", number(g.Criteria.F1Ratio))
}

func (w *writer) step(s rollout.Step) {
	switch {
	case s.Kind == rollout.StepSetWeight:
		w.line("", "        - setWeight: %s", number(s.Weight))
	case s.Duration == 0:
		w.line("until a person promotes", "        - pause: {}")
	default:
		w.line("", "        - pause: {duration: %s}", strictyaml.FormatDuration(s.Duration))
	}
}

func (w *writer) analysis(p rollout.Plan) {
	a := p.Analysis
	w.line("", "  analysis:")
	w.line("", "    mode: %s", text(a.Mode))
	w.line("the distance of two samples", "    tick: %s", strictyaml.FormatDuration(a.Tick))
	w.line("ticks that are judged together", "    window: %d", a.Window)
	w.line("canary requests below which a share says nothing", "    minRequests: %d", a.MinRequests)
	w.line("successive ticks over a limit that roll back", "    consecutive: %d", a.Consecutive)
	w.line("share of 5xx answers, strictly below", "    errors: {enabled: %t, slo: %s}", a.Errors.Enabled, number(a.Errors.SLO))
	w.line("", "    latency: {enabled: %t, slo: %s, quantile: %s}", a.Latency.Enabled, strictyaml.FormatDuration(a.Latency.SLO), number(a.Latency.Quantile))
}

var (
	plainText = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_./-]*$`)
	// reserved are words that some reader of YAML takes for something else than text.
	reserved = regexp.MustCompile(`^(?i:y|n|yes|no|on|off|true|false|null)$`)
	digits   = regexp.MustCompile(`^[0-9]+$`)
)

// text quotes where YAML would read anything else.
func text(s string) string {
	if plainText.MatchString(s) && !reserved.MatchString(s) {
		return s
	}
	return strconv.Quote(s)
}

// reftext leaves version numbers unquoted, as people write them.
func reftext(s string) string {
	if digits.MatchString(s) {
		return s
	}
	return text(s)
}

func list(names []string) string {
	words := make([]string, len(names))
	for i, n := range names {
		words[i] = text(n)
	}
	return "[" + strings.Join(words, ", ") + "]"
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
