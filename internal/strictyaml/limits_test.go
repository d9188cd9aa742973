package strictyaml

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// walk reads a document to its leaves, as a careless caller would.
func walk(v Value, depth int) int {
	if depth > 60 {
		return 0
	}
	n := 1
	switch {
	case v.IsMapping():
		for _, e := range v.Entries() {
			n += walk(e.Value, depth+1)
		}
	case !v.Empty() && !v.null() && v.node.Value == "":
		for _, e := range v.List() {
			n += walk(e, depth+1)
		}
	}
	return n
}

// However often aliases multiply, no more than maxVisits values are looked at, and the file is refused.
func TestRead_AliasesAreBounded(t *testing.T) {
	t.Parallel()
	var bomb strings.Builder
	bomb.WriteString("l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 10; i++ {
		fmt.Fprintf(&bomb, "l%d: &l%d [%s*l%d]\n", i, i, strings.Repeat(fmt.Sprintf("*l%d, ", i-1), 9), i-1)
	}
	for name, text := range map[string]string{"ten to the tenth": bomb.String(), "a list of itself": "a: &a [*a, *a, *a]\n", "a mapping of itself": "a: &a {b: *a, c: *a}\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			doc, root, ok := Read(Source{File: "f", Data: []byte(text)})
			if !ok {
				t.Fatalf("not read: %v", doc.Faults())
			}
			began := time.Now()
			visited := walk(root, 0)
			faults := doc.Faults()
			if visited > maxVisits+1 || len(faults) != 1 || !strings.Contains(faults[0].Message, "too many values") {
				t.Errorf("%d values visited in %s, faults %v", visited, time.Since(began), faults)
			}
		})
	}
}

func TestRead_HonestAliasesAreNoBomb(t *testing.T) {
	t.Parallel()
	doc, root, ok := Read(Source{File: "f", Data: []byte("a: &a [1, 2]\nb: *a\nc: [*a, *a]\n")})
	if !ok || walk(root, 0) != 14 || len(doc.Faults()) != 0 {
		t.Errorf("visited %d, faults %v", walk(root, 0), doc.Faults())
	}
}

// Columns count characters, as editors do, and lines end with \n or \r\n.
func TestFaults_PlacesInOddFiles(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want string }{
		{"umlauts before", "{ä: ü, bool: no}", "1:14"},
		{"emoji before", "{😀: a, bool: no}", "1:14"},
		{"windows lines", "text: a\r\nbool: no\r\n", "2:7"},
		{"byte order mark", "\ufeffbool: no\n", "1:7"},
		{"after comments", "# one\n\n# two\n  \nbool: no # three\n", "5:7"},
		{"after a directive", "%YAML 1.1\n---\nbool: no\n", "3:7"},
		{"value in the next line", "bool:\n  no\n", "2:3"},
		{"quoted key", "\"bool\": no\n", "1:9"},
		{"folded text", "bool: >\n  no\n  more\ntext: a\n", "1:7"},
		{"bad byte after umlauts", "text: ä\nword: äö\xff\n", "2:9"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, said := readAll(t, tt.text)
			found := false
			for _, s := range said {
				found = found || strings.HasPrefix(s, "f.yaml:"+tt.want+": ")
			}
			if !found {
				t.Errorf("said %q, want a fault at %s", said, tt.want)
			}
		})
	}
}

func TestSuggestion(t *testing.T) {
	t.Parallel()
	fields := Fields{"latencyP95": nil, "recall": nil, "fpr": nil, "f1Ratio": nil}
	tests := []struct{ key, want string }{
		{"latency_p95", ": did you mean latencyP95?"},
		{"LATENCYP95", ": did you mean latencyP95?"},
		{"latencyP99", ": did you mean latencyP95?"},
		{"recal", ": did you mean recall?"},
		{"reclal", ": did you mean recall?"},
		{"f1-ratio", ": did you mean f1Ratio?"},
		{"fprr", ": did you mean fpr?"},
		{"x", ": use one of f1Ratio, fpr, latencyP95, recall"},
		{"precision", ": use one of f1Ratio, fpr, latencyP95, recall"},
		{strings.Repeat("recall", 1000), ": use one of f1Ratio, fpr, latencyP95, recall"},
		{"", ": use one of f1Ratio, fpr, latencyP95, recall"},
	}
	for _, tt := range tests {
		if got := suggestion(tt.key, fields); got != tt.want {
			t.Errorf("for %.20q: %q, want %q", tt.key, got, tt.want)
		}
	}
	if got := suggestion("x", Fields{}); got != ": it has no keys, write {}" {
		t.Errorf("without keys: %q", got)
	}
}

func TestEditDistance(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "abc", 3}, {"abc", "abc", 0}, {"abc", "abd", 1}, {"abc", "acb", 2}, {"kitten", "sitting", 3}, {strings.Repeat("a", 41), "a", 40}} {
		if got := editDistance(tt.a, tt.b); got != tt.want {
			t.Errorf("from %q to %q is %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if back := editDistance(tt.b, tt.a); back != tt.want {
			t.Errorf("from %q to %q is %d, want %d", tt.b, tt.a, back, tt.want)
		}
	}
}

func TestObject_RequireAndLookup(t *testing.T) {
	t.Parallel()
	doc, root, ok := Read(Source{File: "f", Data: []byte("\n  here: 1\n")})
	if !ok {
		t.Fatal(doc.Faults())
	}
	obj := root.Fields(Fields{"here": func(Value) {}, "gone": func(Value) {}})
	obj.Require("here", "it is")
	obj.Require("gone", "say where")
	v, has := obj.Lookup("here")
	if !has || v.Line() != 2 || obj.Has("gone") {
		t.Errorf("here: %v in line %d; gone: %v", has, v.Line(), obj.Has("gone"))
	}
	want := []Fault{{File: "f", Line: 2, Column: 3, Message: "gone is missing: say where"}}
	if diff := cmp.Diff(want, doc.Faults()); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

// After a fault the default stays, so that later checks do not report it a second time.
func TestSet_KeepsTheDefaultAfterAFault(t *testing.T) {
	t.Parallel()
	doc, root, _ := Read(Source{File: "f", Data: []byte("share: 7\nchoice: blue\n")})
	share, choice := 0.5, "red"
	root.Fields(Fields{"share": Set(&share, Value.Share), "choice": Choose(&choice, "red", "green")})
	if share != 0.5 || choice != "red" || len(doc.Faults()) != 2 {
		t.Errorf("share %v, choice %s, faults %v", share, choice, doc.Faults())
	}
}
