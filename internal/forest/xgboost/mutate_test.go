package xgboost

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"serin/internal/forest"
)

// mutants are fixtures that have, between them, every field that is read.
var mutants = []string{"names", "stop-logistic", "cat-onehot", "vector-one-leaf", "dart-binary-logistic", "gblinear-binary-logistic", "quantiles"}

// edit is one change of a document at a path, and back.
type edit struct {
	path   []any
	parent any
	old    any
}

// walkDocument visits every field and element of a document, with the path to it; of a list it visits the first and the last, of the trees the first.
func walkDocument(v any, path []any, visit func(path []any, v any)) {
	switch v := v.(type) {
	case object:
		for k, inner := range v {
			p := append(slices.Clone(path), k)
			visit(p, inner)
			walkDocument(inner, p, visit)
		}
	case []any:
		for _, i := range []int{0, len(v) - 1} {
			if i < 0 || i >= len(v) || len(path) > 0 && path[len(path)-1] == "trees" && i > 0 {
				continue
			}
			p := append(slices.Clone(path), i)
			visit(p, v[i])
			walkDocument(v[i], p, visit)
		}
	}
}

// change puts another value at a path.
func change(doc object, path []any, to any) edit {
	e := edit{path: path, parent: in(doc, path[:len(path)-1]...), old: in(doc, path...)}
	set(doc, to, path...)
	return e
}

func (e edit) undo() {
	switch parent := e.parent.(type) {
	case object:
		parent[e.path[len(e.path)-1].(string)] = e.old
	case []any:
		parent[e.path[len(e.path)-1].(int)] = e.old
	}
}

// scores gives the bits of a model's margins at a few rows of its fixture.
func scores(t *testing.T, m *forest.Model, rows []float32) []uint32 {
	t.Helper()
	n := len(rows) / m.NumFeature()
	out := make([]float32, n*m.Groups())
	m.Margins(out, rows)
	return bits(out)
}

func bits(in []float32) []uint32 {
	out := make([]uint32, len(in))
	for i, x := range in {
		out[i] = math.Float32bits(x)
	}
	return out
}

// A field of another kind than XGBoost writes is refused with its name, or it is one that nobody reads: then nothing changes. A model must never
// load and score otherwise.
func TestParse_EveryFieldOfAnotherKind(t *testing.T) {
	t.Parallel()
	others := []any{nil, "text", json.Number("3"), true, []any{}, []any{"x"}, []any{object{}}, object{}, json.Number("-7"), ""}
	tried, refused := 0, 0
	for _, name := range mutants {
		doc := document(t, name)
		rows := fewRows(t, name)
		want := scores(t, parseDocument(t, doc), rows)
		var paths [][]any
		walkDocument(doc, nil, func(path []any, _ any) { paths = append(paths, path) })
		for _, path := range paths {
			for _, to := range others {
				if fmt.Sprintf("%T", to) == fmt.Sprintf("%T", in(doc, path...)) {
					continue // another value of the same kind is another model, not a fault
				}
				e := change(doc, path, to)
				data, err := json.Marshal(doc)
				if err != nil {
					t.Fatal(err)
				}
				e.undo()
				tried++
				m, err := Parse(data)
				if err != nil {
					refused++
					if strings.Contains(err.Error(), "\n") || len(err.Error()) > 300 {
						t.Errorf("%s, %v = %v: error %q", name, path, to, err)
					}
					continue
				}
				if m.NumFeature() != len(rows)/few {
					t.Errorf("%s, %v = %v: %d features", name, path, to, m.NumFeature())
					continue
				}
				if got := scores(t, m, rows); !slices.Equal(got, want) && !restates(path, to) {
					t.Errorf("%s, %v = %v: it loads and scores otherwise", name, path, to)
				}
			}
		}
	}
	t.Logf("%d changes tried, %d refused", tried, refused)
	if refused < 500 {
		t.Errorf("only %d of %d changes refused: the test does not reach the fields", refused, tried)
	}
}

// restates names the changes of kind that state a value in another legal way: a flag or a number may be a boolean, and a boolean is 0 or 1.
func restates(path []any, to any) bool {
	_, element := path[len(path)-1].(int)
	return element && to == true
}

const few = 4

// fewRows gives the first rows of a fixture.
func fewRows(t *testing.T, name string) []float32 {
	t.Helper()
	f := one(t, "3.2.0", name)
	return f.rows(t)[:few*f.Features]
}

// A list that lost or gained an element: the arrays of a tree belong together, and no reader may guess which of them is right.
func TestParse_EveryListOfAnotherLength(t *testing.T) {
	t.Parallel()
	for _, name := range mutants {
		doc := document(t, name)
		rows := fewRows(t, name)
		want := scores(t, parseDocument(t, doc), rows)
		var paths [][]any
		walkDocument(doc, nil, func(path []any, v any) {
			if list, ok := v.([]any); ok && len(list) > 0 {
				paths = append(paths, path)
			}
		})
		refused := 0
		for _, path := range paths {
			list := in(doc, path...).([]any)
			for what, to := range map[string][]any{"shorter": list[:len(list)-1], "longer": append(slices.Clone(list), list[len(list)-1]), "empty": {}} {
				e := change(doc, path, to)
				data, err := json.Marshal(doc)
				if err != nil {
					t.Fatal(err)
				}
				e.undo()
				m, err := Parse(data)
				if err != nil {
					refused++
					continue
				}
				if got := scores(t, m, rows); !slices.Equal(got, want) {
					t.Errorf("%s, %v %s: it loads and scores otherwise", name, path, what)
				}
			}
		}
		if refused == 0 {
			t.Errorf("%s: no change of a length was refused", name)
		}
	}
}

// A tree's place is its id, not where it stands in the file.
func TestParse_TreesInAnyOrder(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(5, 8))
	for _, name := range []string{"names", "cat-onehot", "quantiles"} {
		doc := document(t, name)
		rows := fewRows(t, name)
		want := scores(t, parseDocument(t, doc), rows)
		trees := in(doc, inModel("trees")...).([]any)
		random.Shuffle(len(trees), func(i, j int) { trees[i], trees[j] = trees[j], trees[i] })
		if got := scores(t, parseDocument(t, doc), rows); !slices.Equal(got, want) {
			t.Errorf("%s: the order of the trees in the file changes the scores", name)
		}
	}
}

// Parse keeps nothing of the buffer it is given, in any format: a caller may use it for the next file.
func TestParse_KeepsNothingOfTheFile(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"names", "dart-binary-logistic", "gblinear-binary-logistic"} {
		f := one(t, "2.1.4", name)
		rows := f.rows(t)
		for _, file := range f.models() {
			data := bytes.Clone(f.files[file])
			m := mustParse(t, data)
			want, names, objective := scores(t, m, rows), m.FeatureNames(), m.Objective()
			for i := range data {
				data[i] = 0xa5
			}
			if diff := cmp.Diff(names, m.FeatureNames()); diff != "" || m.Objective() != objective || !slices.Equal(scores(t, m, rows), want) {
				t.Errorf("%s/%s: the model changed with the buffer that it was read from: %s", name, file, diff)
			}
		}
	}
}

// One buffer is parsed from many goroutines at once: it is only read.
func TestParse_Concurrently(t *testing.T) {
	t.Parallel()
	f := one(t, "2.1.4", "names")
	rows := f.rows(t)
	for _, file := range f.models() {
		data := f.files[file]
		before, want := bytes.Clone(data), scores(t, mustParse(t, data), rows)
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				m, err := Parse(data)
				if err != nil {
					t.Error(err)
					return
				}
				out := make([]float32, len(rows)/m.NumFeature()*m.Groups())
				m.Margins(out, rows)
				if !slices.Equal(bits(out), want) {
					t.Errorf("%s: another answer", file)
				}
			})
		}
		group.Wait()
		if !bytes.Equal(before, data) {
			t.Errorf("%s: Parse wrote into the file", file)
		}
	}
}
