package strictyaml

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

func TestRead_RefusesWhatIsNoText(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", "f.yaml:1:1: the file is empty"},
		{"comments only", "# a\n\n# b\n", "f.yaml:1:1: the file is empty"},
		{"a bell", "text: a\nword: b\a\n", "f.yaml:2:8: control character U+0007: remove it"},
		{"a delete", "text: \x7f", "f.yaml:1:7: control character U+007F: remove it"},
		{"a NUL first", "\x00", "f.yaml:1:1: control character U+0000: remove it"},
		{"Latin-1", "text: \xfc", "f.yaml:1:7: not UTF-8 text: save the file as UTF-8"},
		{"a surrogate", "text: \xed\xa0\x80", "f.yaml:1:7: not UTF-8 text: save the file as UTF-8"},
		{"UTF-16", "\xff\xfet\x00", "f.yaml:1:1: not UTF-8 text: save the file as UTF-8"},
		{"too long", strings.Repeat("#", maxBytes+1), "f.yaml:1:1: the file has 1048577 bytes: at most 1048576 are read"},
		{"a second document", "text: a\n---\ntext: b\n", "f.yaml:2:1: a second document (---): put it into a file of its own"},
		{"a broken second document", "text: a\n---\n[\n", "f.yaml:4:1: not YAML: did not find expected node content: check indentation, colons and quotes here"},
		{"a bare marker", "---", "f.yaml:1:1: is empty: a mapping (key: value) belongs here"},
		{"after an old line break", "\ra\r", `f.yaml:2:1: is the text "a": a mapping (key: value) belongs here`},
		{"a list", "- a\n", "f.yaml:1:1: is a list: a mapping (key: value) belongs here"},
		{"a word", "a\n", `f.yaml:1:1: is the text "a": a mapping (key: value) belongs here`},
		{"an unknown anchor", "text: *a\n", "f.yaml:1:1: not YAML: unknown anchor 'a' referenced: check indentation, colons and quotes here"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, said := readAll(t, tt.text)
			if diff := cmp.Diff([]string{tt.want}, said); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
	if _, said := readAll(t, "#"+strings.Repeat("x", maxBytes-10)+"\ntext: a\n"); len(said) != 0 {
		t.Errorf("a file of %d bytes: %v", maxBytes-1, said)
	}
}

func TestEntries_KeysThatAreNoNames(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, want string }{
		{"<<: {text: a}", "1:1: merge keys (<<) are not read: write the keys out"},
		{"? [a]\n: b", "1:3: has a list as a key: keys are plain names"},
		{"? {a: b}\n: c", "1:3: has a mapping as a key: keys are plain names"},
		{"~: a", "1:1: has empty as a key: keys are plain names"},
		{"entries: {a: b, a: c}", "1:17: entries.a: is there twice: remove one of them (the first is in line 1)"},
		{"text: a\n\"text\": b", "2:1: text: is there twice: remove one of them (the first is in line 1)"},
		{"entries: {1: b, '1': c}", "1:17: entries.1: is there twice: remove one of them (the first is in line 1)"},
		{"entries: !!set {a}", "1:10: entries: is a value with the tag !!set: a mapping (key: value) belongs here"},
		{"entries: !mine {a: b}", "1:10: entries: is a value with the tag !mine: a mapping (key: value) belongs here"},
		{"list: !!omap [a: b]", "1:7: list: is a value with the tag !!omap: a list belongs here"},
	} {
		t.Run(tt.text, func(t *testing.T) {
			t.Parallel()
			_, said := readAll(t, tt.text)
			if diff := cmp.Diff([]string{"f.yaml:" + tt.want}, said); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

// A tag that a person writes must not turn one value into another.
func TestScalars_WithTags(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, want string }{
		{"bool: !!bool yes", "1:7: bool: is the truth value yes: use true or false"},
		{"bool: !!bool maybe", "1:7: bool: is the truth value maybe: use true or false"},
		{"bool: !!str true", `1:7: bool: is the text "true": use true or false`},
		{"number: !!float abc", "1:9: number: is the number abc: use a finite number"},
		{"number: !!int 1.5x", "1:9: number: is the number 1.5x: use a finite number"},
		{"number: .nan", "1:9: number: is the number .nan: use a finite number"},
		{"number: 1e999", `1:9: number: is the text "1e999": a number belongs here`},
		{"text: !!binary aGk=", `1:7: text: is "aGk=" with the tag !!binary: write it in quotes if the text is meant`},
		{"text: !secret a", `1:7: text: is "a" with the tag !secret: write it in quotes if the text is meant`},
		{"duration: !!int 5m", `1:11: duration: "5m" is no length of time: write it like 90s, 30m or 1h30m (no days: 1d is 24h)`},
		{"choice: !!int red", "1:9: choice: is the number red: use red, green or true"},
	} {
		t.Run(tt.text, func(t *testing.T) {
			t.Parallel()
			got, said := readAll(t, tt.text)
			if diff := cmp.Diff([]string{"f.yaml:" + tt.want}, said); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(all{}, got); diff != "" {
				t.Errorf("a refused value was stored (-want +got):\n%s", diff)
			}
		})
	}
}

// Limits count: what is at them is taken, what is beside them is not, and the refusal says where they are.
func TestScalars_AtTheirLimits(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, want string }{
		{"whole: 1", ""},
		{"whole: 1000000", ""},
		{"whole: 0", "whole: is the number 0: use a whole number from 1 to 1000000"},
		{"whole: 1000001", "whole: is the number 1000001: use a whole number from 1 to 1000000"},
		{"whole: -1", "whole: is the number -1: use a whole number from 1 to 1000000"},
		{"share: 0", ""},
		{"share: 1", ""},
		{"share: 1.0000001", "share: is the number 1.0000001: use a share between 0 and 1, such as 0.010000001"},
		{"share: 100", "share: is the number 100: use a share between 0 and 1, such as 1"},
		{"share: 100.1", "share: is the number 100.1: use a share between 0 and 1"},
		{"share: -0.1", "share: is the number -0.1: use a share between 0 and 1"},
		{"duration: 1s", ""},
		{"duration: 8760h", ""},
		{"duration: 999ms", "duration: 999ms is too short: at least 1s"},
		{"duration: -5m", "duration: -5m is too short: at least 1s"},
		{"duration: 8760h1ns", "duration: 8760h1ns is too long: at most 8760h"},
		{"duration: 1.5", `duration: "1.5" has no unit: write 1.5s, 1.5m or 1h`},
		{"duration: ' 7 '", `duration: " 7 " has no unit: write 7s, 7m or 1h`},
	} {
		t.Run(tt.text, func(t *testing.T) {
			t.Parallel()
			_, said := readAll(t, tt.text)
			got := ""
			if len(said) > 0 {
				_, got, _ = strings.Cut(strings.Join(said, "; "), ": ")
			}
			if got != tt.want {
				t.Errorf("said %q, want %q", got, tt.want)
			}
		})
	}
}

// A fault is one line that a terminal shows as it is, whatever stands in the file.
func TestFaults_HoldNoControlCharacters(t *testing.T) {
	t.Parallel()
	for _, key := range []string{`"a\nb"`, `"a\u0085b"`, `"\u009b31m"`, `"\u2028"`, `"\e[31m"`, `"\0"`, `"a\tb"`, `"\u007f"`} {
		_, said := readAll(t, key+": 1\n")
		if len(said) != 1 || strings.ContainsFunc(said[0], func(r rune) bool { return unicode.IsControl(r) || r == 0x2028 || r == 0x2029 }) {
			t.Errorf("key %s: %q", key, said)
		}
	}
}

// slowDistance is Levenshtein's by its definition.
func slowDistance(a, b string) int {
	switch {
	case a == "":
		return len(b)
	case b == "":
		return len(a)
	}
	cost := 1
	if a[0] == b[0] {
		cost = 0
	}
	return min(slowDistance(a[1:], b)+1, slowDistance(a, b[1:])+1, slowDistance(a[1:], b[1:])+cost)
}

func TestEditDistance_AgainstItsDefinition(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(2, 6))
	word := func() string {
		b := make([]byte, rng.IntN(7))
		for i := range b {
			b[i] = "abc"[rng.IntN(3)]
		}
		return string(b)
	}
	for range 500 {
		a, b := word(), word()
		if got, want := editDistance(a, b), slowDistance(a, b); got != want {
			t.Fatalf("from %q to %q is %d, want %d", a, b, got, want)
		}
	}
}

// What FormatDuration writes, Duration reads, for any length it accepts.
func TestDurations_ReadBack(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(8, 8))
	units := []time.Duration{time.Nanosecond, time.Millisecond, time.Second, time.Minute, time.Hour}
	for range 2000 {
		want := time.Duration(1+rng.IntN(5000)) * units[rng.IntN(len(units))]
		text := FormatDuration(want)
		doc, root, ok := Read(Source{File: "f", Data: []byte(text)})
		if !ok {
			t.Fatalf("%s: %v", text, doc.Faults())
		}
		if got, ok := root.Duration(0); !ok || got != want {
			t.Fatalf("%v is written %s and read as %v, %v", want, text, got, doc.Faults())
		}
	}
}

// Numbers are read to the last bit, in every form that JSON and Go write them.
func TestNumbers_ReadBack(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(9, 1))
	for range 2000 {
		want := math.Float64frombits(rng.Uint64())
		if math.IsNaN(want) || math.IsInf(want, 0) {
			continue
		}
		for _, format := range []byte{'e', 'g'} {
			text := strconv.FormatFloat(want, format, -1, 64)
			doc, root, ok := Read(Source{File: "f", Data: []byte(text)})
			if !ok {
				t.Fatalf("%s: %v", text, doc.Faults())
			}
			if got, ok := root.Number(); !ok || got != want {
				t.Fatalf("%s is read as %v: %v", text, got, doc.Faults())
			}
		}
	}
}

// Hide takes off the first prefix that fits and nothing else.
func TestHide(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ path, want string }{
		{"spec.steps[0].weight", "weight"}, {"spec.name", "name"}, {"spec", "spec"}, {"other.spec.x", "other.spec.x"}, {"", ""},
	} {
		v := Value{doc: &Document{hide: []string{"spec.steps[0].", "spec."}}, path: tt.path}
		if got := v.name(); got != tt.want {
			t.Errorf("%s is called %s, want %s", tt.path, got, tt.want)
		}
	}
}

func TestError_IsAnError(t *testing.T) {
	t.Parallel()
	var refused *Error
	err := fmt.Errorf("plan: %w", Refusal([]Fault{{File: "f", Line: 1, Column: 1, Message: "m"}}))
	if !errors.As(err, &refused) || len(refused.Faults) != 1 {
		t.Errorf("%v holds %+v", err, refused)
	}
	if got := (&Error{}).Error(); got != "refused for no stated fault" {
		t.Errorf("without faults: %s", got)
	}
	for want, words := range map[string][]string{"": nil, "a": {"a"}, "a or b": {"a", "b"}, "a, b or c": {"a", "b", "c"}} {
		if got := orList(words); got != want {
			t.Errorf("%v: %q, want %q", words, got, want)
		}
	}
}
