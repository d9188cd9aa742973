package scorer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"serin/internal/compare"
	"serin/internal/model"
)

// memoryTable is a table of numbers.
type memoryTable struct {
	names   []string
	columns map[string][]float64
	// asked are the columns that duplicates were counted in.
	asked [][]string
}

func (m *memoryTable) Names() []string { return m.names }

func (m *memoryTable) Float(name string) ([]float64, error) {
	values, ok := m.columns[name]
	if !ok {
		return nil, fmt.Errorf("no column %q", name)
	}
	return values, nil
}

func (m *memoryTable) Label(name string) ([]bool, error) {
	values, err := m.Float(name)
	labels := make([]bool, len(values))
	for i, x := range values {
		labels[i] = x == 1
	}
	return labels, err
}

func (m *memoryTable) duplicates(names ...string) (int, error) {
	m.asked = append(m.asked, names)
	return 7, nil
}

func newTable() *memoryTable {
	m := &memoryTable{names: []string{"x", "y", "fraud", "old", "new"}, columns: make(map[string][]float64)}
	for i := range 200 {
		truth := float64(i % 2)
		m.columns["x"] = append(m.columns["x"], truth*0.75+0.125)
		m.columns["y"] = append(m.columns["y"], float64(i))
		m.columns["fraud"] = append(m.columns["fraud"], truth)
		m.columns["old"] = append(m.columns["old"], 0.25+truth*0.25)
		m.columns["new"] = append(m.columns["new"], truth)
	}
	return m
}

func params(table *memoryTable) GatherParams {
	return GatherParams{
		Opener: NewOpener(Options{}), Table: table, Duplicates: table.duplicates, DataName: "t.csv", Label: "fraud", Threshold: 0.5,
		Criteria: compare.DefaultCriteria(), Latency: LatencyParams{Rows: 30, Warmup: 1},
	}
}

func urlRef(t *testing.T, url string) model.Ref {
	t.Helper()
	ref, err := model.ParseRef(url)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func TestGatherColumnAndURL(t *testing.T) {
	t.Parallel()
	table := newTable()
	var requests []string
	p := params(table)
	p.Champion = &Source{Column: "old"}
	p.Challenger = Source{Ref: urlRef(t, modelServer(t, &requests).URL)}
	in, err := Gather(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	if in.Champion.Latency.Off == "" || in.Champion.Kind != compare.Probability || in.Champion.Ref != "column old" {
		t.Errorf("champion %+v", in.Champion.Latency)
	}
	if in.Challenger.Kind != compare.Probability || len(in.Challenger.Latency.OneRow) != 30 || in.Challenger.Scores[1] != 0.875 {
		t.Errorf("challenger kind %s, %d timings, score %v", in.Challenger.Kind, len(in.Challenger.Latency.OneRow), in.Challenger.Scores[1])
	}
	if len(requests) != 1+31 || !strings.HasPrefix(requests[0], `{"dataframe_split": {"columns": ["x","y","new"]`) {
		t.Errorf("%d requests, the first %.80s", len(requests), requests[0])
	}
	if in.Data.Duplicates != 7 || len(table.asked) != 1 || len(table.asked[0]) != 0 {
		t.Errorf("duplicates %d counted in %q, want all columns", in.Data.Duplicates, table.asked)
	}
	report, err := compare.Run(in)
	if err != nil {
		t.Fatal(err)
	}
	if report.Decision != compare.Reject { // both find every positive, so F1 is equal
		t.Errorf("decision %s: %q", report.Decision, report.Reasons)
	}
}

func TestGatherErrors(t *testing.T) {
	t.Parallel()
	width := func(body string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) }))
		t.Cleanup(server.Close)
		return server.URL
	}
	list := func(one string) string { return `{"predictions":[` + strings.Repeat(one+",", 199) + one + `]}` }
	tests := []struct {
		name   string
		change func(*GatherParams)
		want   string
	}{
		{"no label column", func(p *GatherParams) { p.Label = "nope" }, `no column "nope"`},
		{"no score column", func(p *GatherParams) { p.Challenger.Column = "nope" }, `challenger: no column "nope"`},
		{"the label as scores", func(p *GatherParams) { p.Champion.Column = "fraud" }, `champion: column "fraud" is the label`},
		{"three classes", func(p *GatherParams) { p.Challenger = Source{Ref: urlRef(t, width(list("[0.1,0.2,0.7]")))} }, "gives 3 numbers a row"},
		{"two numbers that are no classes", func(p *GatherParams) { p.Challenger = Source{Ref: urlRef(t, width(list("[0.1,0.2]")))} }, "not the probabilities of two classes"},
		{"no registry", func(p *GatherParams) { p.Challenger = Source{Ref: urlRef(t, "models:/fraud/Staging")} }, "no registry is configured"},
		{"nothing set", func(p *GatherParams) { p.Duplicates = nil }, "must be set"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := params(newTable())
			p.Champion, p.Challenger = &Source{Column: "old"}, Source{Column: "new"}
			tt.change(&p)
			if _, err := Gather(context.Background(), p); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestGatherKinds(t *testing.T) {
	t.Parallel()
	p := params(newTable())
	p.Champion, p.Challenger = &Source{Column: "old"}, Source{Column: "new"}
	in, err := Gather(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	if in.Challenger.Kind != compare.Label {
		t.Errorf("a column of 0 and 1 is %s", in.Challenger.Kind)
	}
	if _, err := compare.Run(in); err == nil || !strings.Contains(err.Error(), "the champion gives a probability and the challenger a label") {
		t.Errorf("labels against probabilities: %v", err)
	}
}

func TestPositiveScores(t *testing.T) {
	t.Parallel()
	got, err := positiveScores(Info{}, Scores{Values: []float32{0.75, 0.25, 0.5, 0.5}, Width: 2})
	if err != nil || !slices.Equal(got, []float32{0.25, 0.5}) {
		t.Errorf("two classes give %v, %v", got, err)
	}
}

func TestFrameOf(t *testing.T) {
	t.Parallel()
	table := newTable()
	tests := []struct {
		name   string
		info   Info
		except []string
		want   []string
		err    string
	}{
		{"by name", Info{Columns: []string{"y", "x"}, Features: 2}, []string{"fraud"}, []string{"y", "x"}, ""},
		{"all but the label", Info{}, []string{"fraud"}, []string{"x", "y", "old", "new"}, ""},
		{"by position", Info{Features: 2}, []string{"fraud", "old", "new"}, []string{"x", "y"}, ""},
		{"by position, too many", Info{Features: 2}, []string{"fraud"}, nil, "the model has 2 columns without names, the data has 4"},
		{"missing", Info{Columns: []string{"x", "v1", "v2"}, Features: 3}, nil, nil, "columns that the data lacks: v1, v2: the data has x, y, fraud"},
		{"the label as input", Info{Columns: []string{"x", "fraud"}, Features: 2}, []string{"fraud"}, nil, `the model reads the column "fraud"`},
		{"nothing left", Info{}, table.names, nil, "no columns to score"},
	}
	for _, tt := range tests {
		f, err := FrameOf(table, tt.info, tt.except...)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: error %v, want one with %q", tt.name, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if diff := cmp.Diff(tt.want, f.Columns); diff != "" || f.N != 200 {
			t.Errorf("%s: %d rows, columns (-want +got):\n%s", tt.name, f.N, diff)
		}
		for place, name := range f.Columns {
			if got, want := f.Values[3*len(f.Columns)+place], table.columns[name][3]; got != want {
				t.Errorf("%s: row 4, %s: %v, want %v", tt.name, name, got, want)
			}
		}
	}
	table.columns["y"] = table.columns["y"][:5]
	if _, err := FrameOf(table, Info{}); err == nil || !strings.Contains(err.Error(), `column "y" has 5 values`) {
		t.Errorf("uneven columns: %v", err)
	}
}

// registryFunc is a registry of one function.
type registryFunc func(model.Ref) (Fetched, error)

func (f registryFunc) Fetch(_ context.Context, ref model.Ref) (Fetched, error) { return f(ref) }

func TestOpenAsksTheRegistry(t *testing.T) {
	t.Parallel()
	away := errors.New("registry away")
	o := NewOpener(Options{Registry: registryFunc(func(ref model.Ref) (Fetched, error) { return Fetched{}, away })})
	if sc, err := o.Open(context.Background(), urlRef(t, "models:/fraud@champion")); !errors.Is(err, away) || sc != nil || !strings.Contains(err.Error(), "models:/fraud@champion") {
		t.Errorf("error %v, want the registry's with the reference", err)
	}
}
