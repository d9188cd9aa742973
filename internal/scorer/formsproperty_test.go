package scorer

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// grid is a table of numbers, some missing, that is written in every form.
type grid struct {
	names []string
	rows  [][]float64
}

func randomGrid(random *rand.Rand) grid {
	g := grid{}
	for i := range 1 + random.IntN(40) {
		g.names = append(g.names, fmt.Sprintf("c%d %s", i, []string{"", "é", "\"q\"", "a,b", "\\", "\u2028"}[random.IntN(6)]))
	}
	for range 1 + random.IntN(12) {
		row := make([]float64, len(g.names))
		for i := range row {
			row[i] = []float64{0, 1, -2.5, 1e-7, 123456789.125, math.NaN(), random.NormFloat64(), float64(random.IntN(100))}[random.IntN(8)]
		}
		g.rows = append(g.rows, row)
	}
	return g
}

func (g grid) frame() shown {
	return shown{g.names, slices.Concat(g.rows...), len(g.rows)}
}

// cells are the rows as JSON writes them: nil for a missing value.
func (g grid) cells() [][]any {
	rows := make([][]any, len(g.rows))
	for i, row := range g.rows {
		for _, x := range row {
			if math.IsNaN(x) {
				rows[i] = append(rows[i], nil)
			} else {
				rows[i] = append(rows[i], x)
			}
		}
	}
	return rows
}

func marshal(t *testing.T, document any) []byte {
	t.Helper()
	body, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// bodies writes the grid in each form with encoding/json and encoding/csv.
func (g grid) bodies(t *testing.T) map[string][]byte {
	t.Helper()
	cells := g.cells()
	inputs := "{"
	for col, name := range g.names {
		var column []any
		for _, row := range cells {
			column = append(column, row[col])
		}
		inputs += string(marshal(t, name)) + ":" + string(marshal(t, column)) + ","
	}
	// encoding/json sorts the keys of a map, so that records and inputs are put together by hand, in the order of the columns.
	var records []string
	for _, row := range cells {
		record := "{"
		for col, name := range g.names {
			record += string(marshal(t, name)) + ":" + string(marshal(t, row[col])) + ","
		}
		records = append(records, strings.TrimSuffix(record, ",")+"}")
	}
	var text bytes.Buffer
	w := csv.NewWriter(&text)
	lines := [][]string{g.names}
	for _, row := range g.rows {
		var line []string
		for _, x := range row {
			line = append(line, strconv.FormatFloat(x, 'g', -1, 64)) // NaN is a word of CSV
		}
		lines = append(lines, line)
	}
	if err := w.WriteAll(lines); err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		formSplit:     marshal(t, map[string]any{formSplit: map[string]any{"columns": g.names, "data": cells}}),
		formRecords:   []byte(`{"dataframe_records":[` + strings.Join(records, ",") + `]}`),
		formInstances: []byte(`{"instances":[` + strings.Join(records, ",") + `]}`),
		formInputs:    []byte(`{"inputs":` + strings.TrimSuffix(inputs, ",") + `}}`),
		"csv":         text.Bytes(),
	}
}

func contentType(form string) string {
	if form == "csv" {
		return "text/csv; charset=utf-8"
	}
	return "application/json"
}

// TestFormsAgree writes random tables in every form: all are the same frame, through a fresh decoder and through one that has read the others.
func TestFormsAgree(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(127, 131))
	var reused decoder
	for round := range 150 {
		g := randomGrid(random)
		for form, body := range g.bodies(t) {
			fresh, err := DecodePayload(contentType(form), body)
			if err != nil {
				t.Fatalf("%s: %v\n%s", form, err, body)
			}
			if err := reused.decode(contentType(form), body); err != nil {
				t.Fatalf("%s, reused: %v\n%s", form, err, body)
			}
			for how, f := range map[string]Frame{"fresh": fresh, "reused": reused.frame} {
				if diff := cmp.Diff(g.frame(), show(f), cmpopts.EquateNaNs()); diff != "" || len(f.faults) != 0 {
					t.Fatalf("round %d, %s, %s: faults %v (-want +got):\n%s", round, form, how, f.faults, diff)
				}
			}
		}
	}
}

// TestSplitRoundTrip holds that the frame a remote scorer sends is the frame a server reads, NaN, names and position included.
func TestSplitRoundTrip(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(137, 139))
	for range 150 {
		g := randomGrid(random)
		f := Frame{Columns: g.names, Values: slices.Concat(g.rows...), N: len(g.rows)}
		for _, names := range [][]string{g.names, nil} {
			f.Columns = names
			body, err := appendSplit([]byte("x"), &f, 0)
			if err != nil {
				t.Fatal(err)
			}
			if !json.Valid(body[1:]) {
				t.Fatalf("not JSON: %s", body)
			}
			got, err := DecodePayload("application/json", body[1:])
			if diff := cmp.Diff(show(f), show(got), cmpopts.EquateNaNs()); err != nil || diff != "" {
				t.Fatalf("%v, of %s (-sent +read):\n%s", err, body, diff)
			}
		}
	}
}

// TestSparseAgainstSlow gives records of random keys, as pandas makes a frame of them: the union of the keys in the order they are met.
func TestSparseAgainstSlow(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(149, 151))
	var reused decoder
	for round := range 300 {
		keys := 1 + random.IntN(60)
		var names, records []string
		var rows []map[string]float64
		for range 1 + random.IntN(25) {
			row := make(map[string]float64)
			var members []string
			for range random.IntN(30) {
				key, x := fmt.Sprint("k", random.IntN(keys)), float64(random.IntN(1000))
				row[key] = x // the last of equal keys counts
				members = append(members, fmt.Sprintf("%q:%v", key, x))
				if !slices.Contains(names, key) {
					names = append(names, key)
				}
			}
			rows, records = append(rows, row), append(records, "{"+strings.Join(members, ",")+"}")
		}
		want := shown{names, nil, len(rows)}
		for _, row := range rows {
			for _, name := range names {
				x, there := row[name]
				if !there {
					x = math.NaN()
				}
				want.Values = append(want.Values, x)
			}
		}
		body := `{"dataframe_records":[` + strings.Join(records, ",") + `]}`
		if err := reused.decode("application/json", []byte(body)); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		if diff := cmp.Diff(want, show(reused.frame), cmpopts.EquateNaNs(), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("round %d, %s (-want +got):\n%s", round, body, diff)
		}
	}
}

// TestCutPayloads cuts a payload of each form at each byte: no part of it is taken for the whole.
func TestCutPayloads(t *testing.T) {
	t.Parallel()
	g := randomGrid(rand.New(rand.NewPCG(157, 163)))
	g.names, g.rows = []string{"a", "b\""}, [][]float64{{1, 22.5}, {math.NaN(), 4}}
	for form, body := range g.bodies(t) {
		if form == "csv" {
			continue // a shorter CSV is a CSV
		}
		for cut := range body {
			_, err := DecodePayload("application/json", body[:cut])
			var input *InputError
			if !errors.As(err, &input) || input.Status() != 400 || input.Code() != codeBadRequest {
				t.Errorf("%s cut to %s: error %v", form, body[:cut], err)
			}
		}
	}
}

// TestFaults holds which value of each column is told, in each form; the columns beside it keep their numbers.
func TestFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		contentType, body string
		want              []fault
	}{
		{"application/json", `{"dataframe_split":{"columns":["a","b"],"data":[[1,"x"],["y",{}],[[],"z"]]}}`, []fault{{0, 1, "a string"}, {1, 0, "a string"}}},
		{"application/json", `{"dataframe_records":[{"a":{"b":[1]}},{"b":[{}],"a":"x"}]}`, []fault{{0, 0, "an object"}, {1, 1, "a list"}}},
		{"application/json", `{"inputs":{"a":[1,"x","y"],"b":[[1],2,3]}}`, []fault{{1, 0, "a string"}, {0, 1, "a list"}}},
		{"application/json", `{"instances":[1,"x",2]}`, []fault{{1, 0, "a string"}}},
		{"text/csv", "a,b,c\n1,x,0x1p4\n0x10,2,3\n1_000,2,3\n", []fault{{0, 1, "text"}, {0, 2, "text"}, {1, 0, "text"}}},
		{"text/csv", "a,b\n inf , 1e400 \n,nan\n", nil},
	}
	for _, tt := range tests {
		f, err := DecodePayload(tt.contentType, []byte(tt.body))
		if err != nil {
			t.Errorf("%s: %v", tt.body, err)
			continue
		}
		if diff := cmp.Diff(tt.want, f.faults, cmp.AllowUnexported(fault{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: faults (-want +got):\n%s", tt.body, diff)
		}
		for _, x := range f.faults {
			if value := f.Values[x.row*f.Width()+x.col]; !math.IsNaN(value) {
				t.Errorf("%s: the faulty value is %v", tt.body, value)
			}
		}
	}
}

// TestPayloadTexts holds whole lines that a client reads.
func TestPayloadTexts(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`[]`:                                  "the payload is not a JSON object: send one with dataframe_split, dataframe_records, instances or inputs",
		`{}`:                                  "the payload has no data: send exactly one of dataframe_split, dataframe_records, instances and inputs",
		`{"inputs":[1],"dataframe_split":{}}`: "the payload has inputs and dataframe_split: send exactly one of dataframe_split, dataframe_records, instances and inputs",
		`{"inputs":[1],"inputs":[2]}`:         "the payload has inputs and inputs: send exactly one of dataframe_split, dataframe_records, instances and inputs",
		`{"dataframe_split":{}}`:              "dataframe_split has no data",
		`{"dataframe_split":{"rows":[]}}`:     `dataframe_split has "rows": it takes columns, data and index`,
		`{"dataframe_split":{"columns":["a"],"columns":["b"]}}`: "dataframe_split has columns twice",
		`{"dataframe_split":{"data":[[1]],"data":[[2]]}}`:       "dataframe_split has data twice",
		`{"dataframe_split":{"columns":["a"],"data":[[1,2]]}}`:  "dataframe_split has 1 columns and rows of 2 values",
		`{"dataframe_split":{"data":[[1,2],[3]]}}`:              "dataframe_split: row 2 has 1 values, want 2",
		`{"dataframe_split":{"data":[1]}}`:                      "dataframe_split: row 1 is not a list",
		`{"dataframe_records":[[1]]}`:                           "dataframe_records: row 1 is not an object",
		`{"instances":[[1],{"a":1}]}`:                           "instances: row 2 is another kind of JSON value than the rows before",
		`{"instances":[1,[1]]}`:                                 "instances: row 2 is another kind of JSON value than the rows before",
		`{"inputs":{"a":[1],"b":[1,2]}}`:                        `inputs: column "b" has 2 values, the columns before have 1`,
	} {
		if _, err := DecodePayload("application/json", []byte(body)); err == nil || err.Error() != want {
			t.Errorf("%s: error %v, want %q", body, err, want)
		}
	}
}

// TestFormsScoreAlike scores the demo's rows in all forms, columns shuffled and one more beside them: the answer is the same to the byte.
func TestFormsScoreAlike(t *testing.T) {
	t.Parallel()
	sc := openPath(t, demo+"champion")
	p := NewPayloadScorer(sc)
	random := rand.New(rand.NewPCG(167, 173))
	for range 20 {
		names := slices.Clone(sc.Info().Columns)
		values := make(map[string][]float64)
		for _, name := range names {
			values[name] = []float64{random.NormFloat64(), math.NaN(), random.NormFloat64() * 5}
		}
		want := ""
		for range 3 {
			g := grid{names: append(slices.Clone(names), "customer"), rows: make([][]float64, 3)}
			random.Shuffle(len(g.names), func(i, j int) { g.names[i], g.names[j] = g.names[j], g.names[i] })
			for row := range g.rows {
				for _, name := range g.names {
					x := 7.0
					if column, there := values[name]; there {
						x = column[row]
					}
					g.rows[row] = append(g.rows[row], x)
				}
			}
			for form, body := range g.bodies(t) {
				out, err := p.ScorePayload(context.Background(), contentType(form), body, nil)
				if err != nil {
					t.Fatal(err)
				}
				if want == "" {
					want = string(out)
				}
				if string(out) != want {
					t.Fatalf("%s answers %s, want %s", form, out, want)
				}
			}
		}
	}
}
