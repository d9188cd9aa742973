package strictyaml

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// readAll reads a document with one field of each kind and returns what it stored and what it said.
type all struct {
	Text, Empty, Word, Choice string
	Bool                      bool
	Number, Share             float64
	Whole                     int
	Duration                  time.Duration
	List                      []string
	Entries                   map[string]string
}

func readAll(t *testing.T, text string) (all, []string) {
	t.Helper()
	var got all
	doc, root, ok := Read(Source{File: "f.yaml", Data: []byte(text), Hide: []string{"outer."}})
	if ok {
		root.Fields(Fields{
			"text":     Set(&got.Text, Value.Text),
			"empty":    Set(&got.Empty, Value.TextOrEmpty),
			"word":     Set(&got.Word, Value.Word),
			"choice":   Choose(&got.Choice, "red", "green", "true"),
			"bool":     Set(&got.Bool, Value.Bool),
			"number":   Set(&got.Number, Value.Number),
			"share":    Set(&got.Share, Value.Share),
			"whole":    Set(&got.Whole, func(v Value) (int, bool) { return v.Whole(1) }),
			"duration": Set(&got.Duration, func(v Value) (time.Duration, bool) { return v.Duration(time.Second) }),
			"later":    Later("wait"),
			"list": func(v Value) {
				for _, e := range v.List() {
					if s, ok := e.Text(); ok {
						got.List = append(got.List, s)
					}
				}
			},
			"entries": func(v Value) {
				got.Entries = map[string]string{}
				for _, e := range v.Entries() {
					got.Entries[e.Key], _ = e.Value.Text()
				}
			},
			"outer": func(v Value) { v.Fields(Fields{"inner": Set(&got.Text, Value.Text)}) },
		})
	}
	var said []string
	for _, f := range doc.Faults() {
		said = append(said, f.String())
	}
	return got, said
}

func TestRead_Values(t *testing.T) {
	t.Parallel()
	text := `text: &t a # comment
empty: ""
word: 0042
choice: true
bool: True
number: 1e3
share: 0.25
whole: 7
duration: 1h30m
list: [*t, "2"]
entries: {k: v, 7: w}
`
	got, said := readAll(t, text)
	want := all{
		Text: "a", Word: "0042", Choice: "true", Bool: true, Number: 1000, Share: 0.25, Whole: 7, Duration: 90 * time.Minute,
		List: []string{"a", "2"}, Entries: map[string]string{"k": "v", "7": "w"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
	if len(said) > 0 {
		t.Errorf("faults: %v", said)
	}
}

func TestRead_WrongTypes(t *testing.T) {
	t.Parallel()
	tests := []struct{ text, want string }{
		{"text: 1", "1:7: text: is the number 1: write it in quotes if the text is meant"},
		{"text: 2024-01-01", "1:7: text: is the date 2024-01-01: write it in quotes if the text is meant"},
		{"text: true", "1:7: text: is the truth value true: write it in quotes if the text is meant"},
		{"text: [a]", "1:7: text: is a list: a text belongs here"},
		{"text: ' '", "1:7: text: is an empty text: give a value, or remove the key to have the default"},
		{"empty: {}", "1:8: empty: is a mapping: a text belongs here"},
		{"word: 1.5", "1:7: word: is the number 1.5: write it in quotes if the text is meant"},
		{"choice: blue", `1:9: choice: is the text "blue": use red, green or true`},
		{"choice: 3", "1:9: choice: is the number 3: use red, green or true"},
		{"bool: yes", `1:7: bool: is the text "yes": use true or false`},
		{"number: one", `1:9: number: is the text "one": a number belongs here`},
		{"number: .inf", "1:9: number: is the number .inf: use a finite number"},
		{"number: 5%", `1:9: number: is the text "5%": write the number without the sign, such as 5`},
		{"share: 5", "1:8: share: is the number 5: use a share between 0 and 1, such as 0.05"},
		{"share: 500", "1:8: share: is the number 500: use a share between 0 and 1"},
		{"whole: 1.5", "1:8: whole: is the number 1.5: use a whole number from 1 to 1000000"},
		{"whole: 99999999999999999999", "1:8: whole: is the number 99999999999999999999: use a whole number from 1 to 1000000"},
		{"duration: 5", `1:11: duration: "5" has no unit: write 5s, 5m or 1h`},
		{"duration: 5d", `1:11: duration: "5d" is no length of time: write it like 90s, 30m or 1h30m (no days: 1d is 24h)`},
		{"duration: 0s", "1:11: duration: 0s is too short: at least 1s"},
		{"duration: []", "1:11: duration: is a list: a length of time such as 30m belongs here"},
		{"duration: 999999999999h", `1:11: duration: "999999999999h" is no length of time: write it like 90s, 30m or 1h30m (no days: 1d is 24h)`},
		{"duration: " + strings.Repeat("x", 50), fmt.Sprintf(`1:11: duration: "%s..." is no length of time: write it like 90s, 30m or 1h30m (no days: 1d is 24h)`, strings.Repeat("x", 40))},
		{"list: a", `1:7: list: is the text "a": a list belongs here`},
		{"entries: a", `1:10: entries: is the text "a": a mapping (key: value) belongs here`},
		{"later: 1", "1:8: later: is not in this version: wait"},
		{"text: ~", "1:7: text: has no value: give one, or remove the key to have the default"},
		{"txet: a", "1:1: txet: unknown key: did you mean text?"},
		{"dura_tion: 1h", "1:1: dura_tion: unknown key: did you mean duration?"},
		{"outer: {iner: a}", "1:9: iner: unknown key: did you mean inner?"},
		{"text: \"a\\nb\"\nbool: \"x\\ny\"", `2:7: bool: is the text "x\ny": use true or false`},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			t.Parallel()
			_, said := readAll(t, tt.text)
			if diff := cmp.Diff([]string{"f.yaml:" + tt.want}, said); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

// The parser names a line at best, and not always the right one: these are the mistakes that people make.
func TestRead_SyntaxErrorsNameTheLine(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		place      string
	}{
		{"colon in a value", "text: a\nword: b: c\n", "2:1"},
		{"colon in a nested value", "a:\n  b:\n    c: d: e\n", "3:5"},
		{"bracket left open", "text: a\nlist: [a, b\nbool: true\n", "2:1"},
		{"quote left open", "text: a\nword: \"b\nbool: true\n", "2:1"},
		{"dedented too far", "a:\n    b: 1\n  c: 2\n", "3:3"},
		{"tab", "a:\n\tb: 1\n", "2:1"},
		{"percent", "text: a\nword: %b\n", "2:1"},
		{"key without colon", "text: a\nword\nbool: true\n", "2:1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, said := readAll(t, tt.text)
			if len(said) != 1 || !strings.HasPrefix(said[0], "f.yaml:"+tt.place+": ") {
				t.Errorf("said %q, want one fault at %s", said, tt.place)
			}
		})
	}
}

func TestFaults_InTheOrderOfTheFileWithoutRepetition(t *testing.T) {
	t.Parallel()
	_, said := readAll(t, "word: &bad [x]\nlist: [*bad, *bad, 3]\nbool: no\nentries: {a: 1}\n")
	want := []string{
		"f.yaml:1:7: word: is a list: a text belongs here",
		"f.yaml:1:7: list[0]: is a list: a text belongs here", // at the anchor
		"f.yaml:1:7: list[1]: is a list: a text belongs here",
		"f.yaml:2:20: list[2]: is the number 3: write it in quotes if the text is meant",
		"f.yaml:3:7: bool: is the text \"no\": use true or false",
		"f.yaml:4:14: entries.a: is the number 1: write it in quotes if the text is meant",
	}
	if diff := cmp.Diff(want, said); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

func TestRefusal_IsAnErrorOfTheHardFaultsOnly(t *testing.T) {
	t.Parallel()
	warning := Fault{File: "f", Line: 1, Column: 2, Message: "unwise", Warning: true}
	if err := Refusal([]Fault{warning}); err != nil {
		t.Errorf("a warning refuses: %v", err)
	}
	err := Refusal([]Fault{warning, {File: "f", Line: 3, Column: 4, Message: "wrong"}})
	if err == nil || err.Error() != "f:3:4: wrong" {
		t.Errorf("error %v, want f:3:4: wrong", err)
	}
	nowhere := Fault{File: "environment X", Message: "wrong"}
	for want, faults := range map[string][]Fault{
		"environment X: wrong":                                       {nowhere},
		"environment X: wrong (and 1 more like it)":                  {nowhere, nowhere},
		"environment X: wrong (and 1 more: serin lint f lists them)": {nowhere, {File: "f", Line: 1, Column: 1, Message: "wrong"}},
	} {
		if got := Refusal(faults).Error(); got != want {
			t.Errorf("error %q, want %q", got, want)
		}
	}
	if got := warning.String(); got != "f:1:2: warning: unwise" {
		t.Errorf("warning reads %q", got)
	}
}

func TestFormatDuration_ReadsBack(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		time.Hour: "1h", 90 * time.Minute: "1h30m", 30 * time.Minute: "30m", 15 * time.Second: "15s", 100 * time.Millisecond: "100ms",
		time.Hour + time.Second: "1h0m1s", 10 * time.Minute: "10m", 20 * time.Hour: "20h", 0: "0s",
	} {
		got := FormatDuration(d)
		back, err := time.ParseDuration(got)
		if got != want || err != nil || back != d {
			t.Errorf("%v is written %q (want %q) and reads back as %v, %v", d, got, want, back, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("text: a\nlist: [1, *x]\n")
	f.Add("a: &a {b: *a}\nentries: *a\n")
	f.Add("? [k]\n: v\n<<: {a: b}\n--- x\n")
	f.Fuzz(func(t *testing.T, text string) {
		_, said := readAll(t, text)
		for _, s := range said {
			if strings.ContainsAny(s, "\n\r") {
				t.Errorf("fault on several lines: %q", s)
			}
		}
	})
}
