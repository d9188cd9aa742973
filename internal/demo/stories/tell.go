package stories

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Teller writes what happens: lines for people, or one JSON object a line.
type Teller struct {
	out    io.Writer
	asJSON bool
	began  time.Time
	mu     sync.Mutex // guards out
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

// line is one event in JSON.
type line struct {
	Seconds float64 `json:"seconds"`
	Story   string  `json:"story,omitempty"`
	Text    string  `json:"text"`
}

func (t *Teller) say(story, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := line{Seconds: float64(time.Since(t.began).Milliseconds()) / 1000, Story: story, Text: fmt.Sprintf(format, args...)}
	if t.asJSON {
		t.encode(l)
		return
	}
	fmt.Fprintf(t.out, "%6.1fs  %s\n", l.Seconds, l.Text)
}

func (t *Teller) title(story, format string, args ...any) {
	if t.asJSON {
		t.say(story, format, args...)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, "\n%s\n", fmt.Sprintf(format, args...))
}

func (t *Teller) encode(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		b = []byte(fmt.Sprintf("%q", err.Error()))
	}
	_, _ = t.out.Write(append(b, '\n'))
}

// Outcome is how one story ended.
type Outcome struct {
	Name    string `json:"name"`
	Outcome string `json:"outcome"`
	Wanted  string `json:"wanted"`
	// Took is from the first canary request to the end of the rollout, CanaryRequests how many the canary got.
	Took           string `json:"took,omitempty"`
	CanaryRequests int64  `json:"canary_requests"`
	Failures       int64  `json:"failures_seen_by_users"`
	// Faults lists what was not as it must be; empty in a good story.
	Faults []string `json:"faults,omitempty"`
}

func (o Outcome) ok() bool { return o.Outcome == o.Wanted && len(o.Faults) == 0 }

// Summary is the end of a demo.
type Summary struct {
	Stories []Outcome `json:"stories"`
	OK      bool      `json:"ok"`
}

func (t *Teller) summary(s Summary) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.asJSON {
		t.encode(s)
		return
	}
	fmt.Fprintf(t.out, "\n%-44s %-12s %-12s %8s %9s %9s\n", "story", "outcome", "wanted", "took", "canary rq", "user errs")
	for _, o := range s.Stories {
		mark := "✔"
		if !o.ok() {
			mark = "✖"
		}
		fmt.Fprintf(t.out, "%s %-42s %-12s %-12s %8s %9d %9d\n", mark, o.Name, o.Outcome, o.Wanted, o.Took, o.CanaryRequests, o.Failures)
		if len(o.Faults) > 0 {
			fmt.Fprintf(t.out, "    %s\n", strings.Join(o.Faults, "; "))
		}
	}
}
