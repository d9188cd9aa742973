package compare

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// Report is the gate's answer. Its JSON form is stable: keys are added, never renamed; a value that does not exist is null.
type Report struct {
	Decision Decision `json:"decision"`
	// Reasons are the criteria that decided, in words and numbers.
	Reasons   []string `json:"reasons"`
	Mode      Mode     `json:"mode"`
	Threshold float64  `json:"threshold"`
	// Champion is null for a first champion, and FirstChampion is then the reason that was given.
	Champion      *SideReport `json:"champion"`
	FirstChampion string      `json:"first_champion,omitempty"`
	Challenger    SideReport  `json:"challenger"`
	Data          DataReport  `json:"data"`
	Criteria      []Criterion `json:"criteria"`
	// Changes is null without a champion.
	Changes *Changes `json:"changes"`
}

// SideReport is what was measured of one model.
type SideReport struct {
	Ref     string `json:"ref"`
	Version string `json:"version,omitempty"`
	Digest  string `json:"digest,omitempty"`
	Kind    Kind   `json:"kind"`
	// Recall is tp/(tp+fn), FPR fp/(fp+tn), F1 2tp/(2tp+fp+fn). Precision, tp/(tp+fp), is null when no row was flagged.
	Recall    float64  `json:"recall"`
	FPR       float64  `json:"fpr"`
	Precision *float64 `json:"precision"`
	F1        float64  `json:"f1"`
	// AUC is the area under the ROC curve, ties counting half; null for labels.
	AUC *float64 `json:"auc_roc"`
	// LatencyP95 is in milliseconds, null when it was not measured; LatencyOff says why.
	LatencyP95  *float64  `json:"latency_p95_ms"`
	LatencyRows int       `json:"latency_rows"`
	LatencyOff  string    `json:"latency_off,omitempty"`
	Confusion   Confusion `json:"confusion"`
	// Intervals has the confidence interval of each metric by name; null in mode point.
	Intervals map[string]Interval `json:"intervals"`
	Notes     []string            `json:"notes,omitempty"`
}

// Confusion counts the rows by truth and answer at the threshold.
type Confusion struct {
	TP int `json:"tp"`
	FP int `json:"fp"`
	FN int `json:"fn"`
	TN int `json:"tn"`
}

// Interval is a confidence interval at Level, such as 0.95.
type Interval struct {
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
	Level float64 `json:"level"`
}

// DataReport describes the labeled rows.
type DataReport struct {
	Name      string `json:"name,omitempty"`
	Label     string `json:"label,omitempty"`
	Rows      int    `json:"rows"`
	Positives int    `json:"positives"`
	Negatives int    `json:"negatives"`
	// Share is positives / rows. Precision and F1 depend on it.
	Share float64 `json:"share"`
	// Duplicates is the number of rows that equal an earlier one.
	Duplicates int `json:"duplicates"`
}

// Criterion is one limit and how the challenger stands to it.
type Criterion struct {
	// Name is recall, fpr, latency_p95_ms or f1.
	Name string `json:"name"`
	// Value, Limit and Passed are null when the criterion is off, and Off says why.
	Value  *float64 `json:"value"`
	Limit  *float64 `json:"limit"`
	Passed *bool    `json:"passed"`
	Off    string   `json:"off,omitempty"`
	// Interval is the bound that a proof needs; null in mode point.
	Interval *Interval `json:"interval"`
	Text     string    `json:"text"`
}

// Changes counts the rows on which champion and challenger disagree.
type Changes struct {
	Discordant int `json:"discordant"`
	// NewlyFound and NewlyMissed are positives, NewFalseAlarms and ClearedFalseAlarms negatives.
	NewlyFound         int `json:"newly_found"`
	NewlyMissed        int `json:"newly_missed"`
	NewFalseAlarms     int `json:"new_false_alarms"`
	ClearedFalseAlarms int `json:"cleared_false_alarms"`
	// Cells counts truth x champion x challenger in the order 000, 001, 010, 011, 100, 101, 110, 111: all that a paired test needs.
	Cells [8]int `json:"cells"`
}

// Text is the report for a person, some twenty lines.
func (r Report) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "decision: %s\n", r.Decision)
	for _, reason := range r.Reasons {
		fmt.Fprintf(&b, "  %s\n", reason)
	}
	b.WriteByte('\n')
	r.writeCriteria(&b)
	b.WriteByte('\n')
	r.writeSides(&b)
	b.WriteByte('\n')
	r.writeSentences(&b)
	return b.String()
}

func (r Report) writeCriteria(b *strings.Builder) {
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "criterion\tlimit\tchallenger\tresult")
	for _, c := range r.Criteria {
		if c.Passed == nil {
			fmt.Fprintf(w, "%s\t-\t-\toff\n", c.Name)
			continue
		}
		result, sign := "failed", ">="
		if c.upper() {
			sign = "<="
		}
		if *c.Passed {
			result = "met"
		}
		value, limit := apart(*c.Value, *c.Limit)
		fmt.Fprintf(w, "%s\t%s %s\t%s\t%s\n", c.Name, sign, limit, value, result)
	}
	_ = w.Flush() // to a strings.Builder, which does not fail
}

// writeSides puts the metrics and then the confusion matrices of both models side by side.
func (r Report) writeSides(b *strings.Builder) {
	sides, roles := []*SideReport{&r.Challenger}, []string{"challenger"}
	if r.Champion != nil {
		sides, roles = []*SideReport{r.Champion, &r.Challenger}, []string{"champion", "challenger"}
	}
	row := func(name string, cell func(i int) string) {
		fmt.Fprintf(b, "%-16s", name)
		for i := range sides {
			fmt.Fprintf(b, "%20s", cell(i))
		}
		b.WriteByte('\n')
	}
	row("metric", func(i int) string { return roles[i] })
	row("recall", func(i int) string { return fixed(sides[i].Recall, 4) })
	row("fpr", func(i int) string { return fixed(sides[i].FPR, 4) })
	row("precision", func(i int) string { return orDash(sides[i].Precision, 4) })
	row("f1", func(i int) string { return fixed(sides[i].F1, 4) })
	row("auc_roc", func(i int) string { return orDash(sides[i].AUC, 4) })
	row("latency_p95_ms", func(i int) string { return orDash(sides[i].LatencyP95, 3) })
	b.WriteByte('\n')
	row("confusion", func(i int) string { return roles[i] })
	row("", func(int) string { return pair("flagged", "passed") })
	row(fmt.Sprint(r.Data.Positives, " positive"), func(i int) string { return pair(sides[i].Confusion.TP, sides[i].Confusion.FN) })
	row(fmt.Sprint(r.Data.Negatives, " negative"), func(i int) string { return pair(sides[i].Confusion.FP, sides[i].Confusion.TN) })
}

// pair is one row of a confusion matrix.
func pair(flagged, passed any) string { return fmt.Sprintf("%9v%9v", flagged, passed) }

func orDash(x *float64, digits int) string {
	if x == nil {
		return "-"
	}
	return fixed(*x, digits)
}

// writeSentences says what the numbers rest on.
func (r Report) writeSentences(b *strings.Builder) {
	d := r.Data
	fmt.Fprintf(b, "data: %d rows, %d positive (%s %%), %d negative, %d equal to an earlier row\n", d.Rows, d.Positives, fixed(100*d.Share, 2), d.Negatives, d.Duplicates)
	b.WriteString("caution: precision and F1 depend on the share of positives; where positives are rarer than here, both are lower\n")
	if r.Challenger.Kind == Label {
		b.WriteString("scored as: labels; there is no threshold and no ROC curve\n")
	} else {
		fmt.Fprintf(b, "scored as: probabilities, positive from %s\n", shortest(r.Threshold))
	}
	if c := r.Changes; c != nil {
		fmt.Fprintf(b, "changed answers: %d rows; %d more positives found, %d lost; %d new false alarms, %d gone\n",
			c.Discordant, c.NewlyFound, c.NewlyMissed, c.NewFalseAlarms, c.ClearedFalseAlarms)
	} else {
		fmt.Fprintf(b, "first champion: %s\n", r.FirstChampion)
	}
	fmt.Fprintf(b, "how sure: mode %s compares point estimates on these rows; it proves nothing about other rows\n", r.Mode)
	sides := []struct {
		role string
		side *SideReport
	}{{"champion", r.Champion}, {"challenger", &r.Challenger}}
	for _, s := range sides {
		if s.side != nil {
			s.side.writeNotes(b, s.role)
		}
	}
}

func (s *SideReport) writeNotes(b *strings.Builder, role string) {
	fmt.Fprintf(b, "%s: %s", role, s.Ref)
	if s.Version != "" {
		fmt.Fprintf(b, ", version %s", s.Version)
	}
	for _, note := range s.Notes {
		fmt.Fprintf(b, "; %s", note)
	}
	if s.LatencyOff != "" {
		fmt.Fprintf(b, "; latency off: %s", s.LatencyOff)
	}
	b.WriteByte('\n')
}
