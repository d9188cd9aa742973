package stories

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Teller writes what happens: lines for people, or one JSON object a line. It is safe for concurrent use. What cannot be written is lost: the
// end of the demo does not depend on a reader.
type Teller struct {
	asJSON bool
	began  time.Time
	mu     sync.Mutex // guards out
	out    io.Writer
}

// Format is how a Teller writes.
type Format string

// The formats.
const (
	Text Format = "text"
	JSON Format = "json"
)

// NewTeller writes to out from now on.
func NewTeller(out io.Writer, f Format) *Teller {
	return &Teller{out: out, asJSON: f == JSON, began: time.Now()}
}

// kind says how much a line matters.
type kind string

// The kinds of lines; most are none of them.
const (
	kindTitle   kind = "title"   // what the demo is
	kindBegin   kind = "begin"   // what will happen in a story
	kindDetail  kind = "detail"  // one more line of the one before, such as a table's
	kindVerdict kind = "verdict" // what Serin decided
	kindFault   kind = "fault"   // what is not as it must be
	kindEnd     kind = "end"     // how a story ended
)

// event is one line.
type event struct {
	// Seconds since the demo began.
	Seconds float64 `json:"seconds"`
	Story   string  `json:"story,omitempty"`
	Kind    kind    `json:"kind,omitempty"`
	// Who is the task that speaks, or customers, server, demo.
	Who  string `json:"who,omitempty"`
	Text string `json:"text"`
}

// The speakers that are no task.
const (
	whoDemo      = "demo"
	whoCustomers = "customers"
	whoServer    = "server"
)

// The places of a line for people: seconds, a mark, who speaks, and the text, folded to the width.
const (
	whoWidth  = 25
	textAt    = 7 + 1 + 1 + 1 + whoWidth + 1
	lineWidth = 120
)

func (t *Teller) tell(e event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e.Seconds = float64(time.Since(t.began).Milliseconds()) / 1000
	switch {
	case t.asJSON:
		t.encode(e)
	case e.Kind == kindTitle:
		fmt.Fprintf(t.out, "%s\n", fold(e.Text, 0))
	case e.Kind == kindBegin:
		fmt.Fprintf(t.out, "\n── %s\n   %s\n", e.Story, fold(e.Text, 3))
	case e.Kind == kindDetail:
		fmt.Fprintf(t.out, "%*s%s\n", textAt, "", e.Text)
	default:
		fmt.Fprintf(t.out, "%6.1fs %s %-*s %s\n", e.Seconds, e.Kind.mark(), whoWidth, e.Who, fold(e.Text, textAt))
	}
}

func (k kind) mark() string {
	switch k {
	case kindVerdict:
		return "▸"
	case kindFault:
		return "✖"
	case kindEnd:
		return "✔"
	case kindTitle, kindBegin, kindDetail:
	}
	return " "
}

// glued keeps a number and its % on one line.
const glued = "\x00%"

// fold breaks a text between words so that its lines fit the width behind an indent.
func fold(text string, indent int) string {
	var b strings.Builder
	column := indent
	for i, word := range strings.Fields(strings.ReplaceAll(text, " %", glued)) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case column+1+n > lineWidth:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	return strings.ReplaceAll(b.String(), glued, " %")
}

func (t *Teller) encode(v any) {
	enc := json.NewEncoder(t.out)
	enc.SetEscapeHTML(false) // limits are read by people too: "5 % < 7 %"
	_ = enc.Encode(v)        // numbers and strings have a JSON form
}

// Outcome is how one story ended.
type Outcome struct {
	Name    string `json:"name"`
	Outcome string `json:"outcome"`
	Wanted  string `json:"wanted"`
	// Took is a Go duration, from the canary's first answer that a customer got to the end of the rollout; empty when there was none.
	Took string `json:"took,omitempty"`
	// CanaryRequests is how many requests the gateway gave to the canary, Failures how many failures its customers saw.
	CanaryRequests int64 `json:"canary_requests"`
	Failures       int64 `json:"failures_seen_by_users"`
	// Faults lists what was not as it must be; empty in a good story.
	Faults []string `json:"faults,omitempty"`
}

func (o Outcome) ok() bool { return o.Outcome == o.Wanted && len(o.Faults) == 0 }

// Summary is the end of a demo: every story in its order.
type Summary struct {
	Stories []Outcome `json:"stories"`
	OK      bool      `json:"ok"`
}

// summary ends the demo: a table, or the last JSON object. A note is told after the table, but before the last object.
func (t *Teller) summary(s Summary, note string) {
	if t.asJSON {
		if note != "" {
			t.tell(event{Who: whoDemo, Text: note})
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		t.encode(s)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.table(s)
	if note != "" {
		fmt.Fprintf(t.out, "\n%s\n", fold(note, 0))
	}
}

// table wants the lock.
func (t *Teller) table(s Summary) {
	fmt.Fprintf(t.out, "\n  %-42s %-12s %-12s %8s %9s %9s\n", "story", "outcome", "wanted", "took", "canary rq", "user errs")
	for _, o := range s.Stories {
		mark := "✔"
		if !o.ok() {
			mark = "✖"
		}
		fmt.Fprintf(t.out, "%s %-42s %-12s %-12s %8s %9d %9d\n", mark, o.Name, o.Outcome, o.Wanted, o.Took, o.CanaryRequests, o.Failures)
		for _, f := range o.Faults {
			fmt.Fprintf(t.out, "    %s\n", fold(f, 4))
		}
	}
	end := "Every story ended as it must."
	if !s.OK {
		end = "NOT every story ended as it must."
	}
	fmt.Fprintf(t.out, "\n%s\n", end)
}
