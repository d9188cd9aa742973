package strictyaml

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// randomYAML writes a mapping of random depth in block style and counts what it wrote.
func randomYAML(rng *rand.Rand, b *strings.Builder, indent, depth int) (leaves int) {
	pad := strings.Repeat(" ", indent)
	for i := range 1 + rng.IntN(3) {
		key := fmt.Sprintf("%sk%d", pad, i)
		switch {
		case depth > 0 && rng.IntN(3) == 0:
			fmt.Fprintf(b, "%s:\n", key)
			leaves += randomYAML(rng, b, indent+2, depth-1)
		case rng.IntN(3) == 0:
			fmt.Fprintf(b, "%s: [a, 'b', \"c\"] # comment\n", key)
			leaves += 3
		default:
			fmt.Fprintf(b, "%s: word\n", key)
			leaves++
		}
	}
	return leaves
}

// visitText calls each for every text in the document.
func visitText(v Value, each func(Value)) {
	switch {
	case v.IsMapping():
		for _, e := range v.Entries() {
			visitText(e.Value, each)
		}
	case v.isText():
		each(v)
	default:
		for _, e := range v.List() {
			visitText(e, each)
		}
	}
}

// Each value is visited once, by a path of its own, and its place is where it stands in the text.
func TestPlaces_OfRandomDocuments(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(12, 1))
	for range 200 {
		var b strings.Builder
		want := randomYAML(rng, &b, 0, 4)
		doc, root, ok := Read(Source{File: "f", Data: []byte(b.String())})
		if !ok {
			t.Fatalf("%v in\n%s", doc.Faults(), b.String())
		}
		lines := strings.Split(b.String(), "\n")
		paths := map[string]bool{}
		visitText(root, func(v Value) {
			paths[v.path] = true
			text, _ := v.Text()
			at := strings.TrimLeft(lines[v.Line()-1][v.node.Column-1:], `'"`)
			if !strings.HasPrefix(at, text) {
				t.Errorf("%s is %q and said to be at %d:%d, where %q stands", v.path, text, v.Line(), v.node.Column, at)
			}
		})
		if len(paths) != want || len(doc.Faults()) != 0 {
			t.Fatalf("%d paths for %d texts, faults %v in\n%s", len(paths), want, doc.Faults(), b.String())
		}
	}
}

// Reading a document twice says everything once: faults are a set in the order of the file.
func TestFaults_AreSaidOnce(t *testing.T) {
	t.Parallel()
	doc, root, ok := Read(Source{File: "f", Data: []byte("b: 1\na: 2\n")})
	if !ok {
		t.Fatal(doc.Faults())
	}
	var one, two string
	for range 3 {
		root.Fields(Fields{"a": Set(&one, Value.Text), "b": Set(&two, Value.Text)})
	}
	want := []Fault{
		{File: "f", Line: 1, Column: 4, Message: "b: is the number 1: write it in quotes if the text is meant"},
		{File: "f", Line: 2, Column: 4, Message: "a: is the number 2: write it in quotes if the text is meant"},
	}
	got := doc.Faults()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
	got[0].Message = "changed"
	if doc.Faults()[0].Message == "changed" {
		t.Error("the list that is handed out is the document's own")
	}
}

// position counts as an editor does, at every byte of a text.
func TestPosition_AgainstARuneCount(t *testing.T) {
	t.Parallel()
	text := "aü\n\n😀b\r\nc"
	line, column := 1, 1
	for at, r := range text {
		if gotLine, gotColumn := position([]byte(text), at); gotLine != line || gotColumn != column {
			t.Errorf("byte %d: %d:%d, want %d:%d", at, gotLine, gotColumn, line, column)
		}
		column++
		if r == '\n' {
			line, column = line+1, 1
		}
	}
}
