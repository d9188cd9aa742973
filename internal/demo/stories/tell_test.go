package stories

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got, -update rewrites it):\n%s", path, diff)
	}
}

// aDemo tells one line of every kind, a second or so apart, and a table with a good and a bad story.
func aDemo(teller *Teller, note string) {
	const name = "a challenger that is slow"
	teller.tell(event{Kind: kindTitle, Text: "Serin demo: " + strings.Repeat("a long sentence ", 10)})
	teller.tell(event{Who: whoDemo, Text: "server and registry at http://127.0.0.1:1"})
	teller.tell(event{Kind: kindBegin, Story: name, Text: "3 of 5, model fraud. Its server is slow for a fifth of the requests. It must be rolled back, " +
		"and then this sentence goes on over the width of a line."})
	<-time.After(1234 * time.Millisecond)
	teller.tell(event{Story: name, Who: "compare_models", Text: "comparing version 2 with version 1"})
	teller.tell(event{Story: name, Kind: kindDetail, Who: "compare_models", Text: "criterion       limit     challenger  result"})
	teller.tell(event{Story: name, Kind: kindDetail, Who: "compare_models", Text: "recall          >= 0.75   0.832       met"})
	<-time.After(98 * time.Second)
	teller.tell(event{Story: name, Kind: kindVerdict, Who: "deploy_canary_100_percent", Text: "rollback, slower than 100ms: 19.5 % (15 of 77 requests) > 5 %, " +
		"p95 189.8ms, in 2 successive ticks, champion 0 % (0 of 1422)"})
	teller.tell(event{Story: name, Kind: kindFault, Who: whoDemo, Text: "NOT AS IT MUST BE: 3 customers are on the canary"})
	teller.tell(event{Story: name, Kind: kindEnd, Who: whoDemo, Text: "rolled_back"})
	teller.summary(Summary{Stories: []Outcome{
		{Name: "a better challenger", Outcome: "succeeded", Wanted: "succeeded", Took: "24.3s", CanaryRequests: 2728},
		{
			Name: "a challenger that fails on 7 % of requests", Outcome: "failed", Wanted: "rolled_back", CanaryRequests: 1, Failures: 12,
			Faults: []string{"customers saw 12 failures", "the gateway counted 7 requests of canary 2, the samples hold 6"},
		},
	}}, note)
}

func TestTeller_Golden(t *testing.T) {
	t.Parallel()
	for name, format := range map[string]Format{"told.txt": Text, "told.jsonl": JSON} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var b bytes.Buffer
				aDemo(NewTeller(&b, format), "Everything keeps running until Ctrl-C.")
				golden(t, name, b.Bytes())
			})
		})
	}
}

// Whoever reads the objects takes the last for the summary, with --keep too.
func TestTeller_JSONEndsWithTheSummary(t *testing.T) {
	t.Parallel()
	for _, note := range []string{"", "a note"} {
		var b bytes.Buffer
		teller := NewTeller(&b, JSON)
		teller.tell(event{Text: "5 % < 7 %\nand more"})
		teller.summary(Summary{Stories: []Outcome{}, OK: true}, note)
		lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
		if want := 2 + min(len(note), 1); len(lines) != want {
			t.Errorf("%d lines, want %d: %s", len(lines), want, b.String())
		}
		if last := lines[len(lines)-1]; last != `{"stories":[],"ok":true}` {
			t.Errorf("last line %s", last)
		}
		if !strings.Contains(lines[0], `"5 % < 7 %\nand more"`) {
			t.Errorf("first line %s: limits must stay readable", lines[0])
		}
		for _, line := range lines {
			if !json.Valid([]byte(line)) {
				t.Errorf("no JSON: %s", line)
			}
		}
	}
}

func TestTeller_SummarySaysWhetherAllIsWell(t *testing.T) {
	t.Parallel()
	good := Outcome{Name: "one", Outcome: "succeeded", Wanted: "succeeded"}
	tests := []struct {
		name string
		s    Summary
		want []string
		not  []string
	}{
		{"ok", Summary{Stories: []Outcome{good}, OK: true}, []string{"✔ one", "\nEvery story ended as it must.\n"}, []string{"✖", "NOT"}},
		{"another outcome", Summary{Stories: []Outcome{good, {Name: "two", Outcome: "failed", Wanted: "rejected"}}}, []string{"✔ one", "✖ two", "\nNOT every story"}, []string{"Every"}},
		{"a fault", Summary{Stories: []Outcome{{Name: "two", Outcome: "x", Wanted: "x", Faults: []string{"it lied"}}}}, []string{"✖ two", "\n    it lied\n", "\nNOT every story"}, []string{"✔"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var b bytes.Buffer
			NewTeller(&b, Text).summary(tt.s, "")
			for _, want := range tt.want {
				if !strings.Contains(b.String(), want) {
					t.Errorf("no %q in\n%s", want, b.String())
				}
			}
			for _, not := range tt.not {
				if strings.Contains(b.String(), not) {
					t.Errorf("%q in\n%s", not, b.String())
				}
			}
		})
	}
}

func TestOutcome_OK(t *testing.T) {
	t.Parallel()
	tests := []struct {
		o    Outcome
		want bool
	}{
		{Outcome{Outcome: "succeeded", Wanted: "succeeded"}, true},
		{Outcome{Outcome: "rolled_back", Wanted: "succeeded"}, false},
		{Outcome{Outcome: "succeeded", Wanted: "succeeded", Faults: []string{"x"}}, false},
		{Outcome{Outcome: notTold, Wanted: "succeeded"}, false},
	}
	for _, tt := range tests {
		if got := tt.o.ok(); got != tt.want {
			t.Errorf("%+v is ok: %v", tt.o, got)
		}
	}
}

// A reader that has gone must not stop the stories: servers have to be ended in their order.
func TestTeller_WriterThatFails(t *testing.T) {
	t.Parallel()
	for _, f := range []Format{Text, JSON} {
		aDemoSoon(NewTeller(failing{}, f))
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func aDemoSoon(teller *Teller) {
	teller.tell(event{Text: "one"})
	teller.summary(Summary{}, "note")
}

func TestFold(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", lineWidth+5)
	tests := []struct {
		name, text string
		indent     int
		want       string
	}{
		{"short", "a b", 10, "a b"},
		{"nothing", "", 3, ""},
		{"spaces", "  a   b ", 0, "a b"},
		{"word without room", long + " b", 2, long + "\n  b"},
		{"first word is not moved", long, 2, long},
		{"a number and its %", strings.Repeat("y", lineWidth-6) + " a 12 % b", 1, strings.Repeat("y", lineWidth-6) + " a\n 12 % b"},
	}
	for _, tt := range tests {
		if got := fold(tt.text, tt.indent); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// Whatever is told, no word is lost and no line is too wide, unless one word is.
func FuzzFold(f *testing.F) {
	f.Add("error rate 0 % (0 of 141 requests) < 5 %, champion 0 % (0 of 2257); slower than 100ms: 0 % (0 of 141 requests) < 5 %, p95 4.8ms", 36)
	f.Add("ü % %", 0)
	f.Fuzz(func(t *testing.T, text string, indent int) {
		if indent < 0 || indent > lineWidth || strings.Contains(text, "\x00") || !utf8.ValidString(text) {
			return
		}
		got := fold(text, indent)
		if diff := cmp.Diff(strings.Fields(text), strings.Fields(got)); diff != "" {
			t.Errorf("words (-want +got)\n%s", diff)
		}
		for i, line := range strings.Split(got, "\n") {
			words := strings.Fields(strings.ReplaceAll(line, " %", glued))
			if width := utf8.RuneCountInString(line) + indent*min(1, 1-min(i, 1)); len(words) > 1 && width > lineWidth {
				t.Errorf("line %d of %d runes: %q", i, width, line)
			}
		}
	})
}
