package scorer

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"serin/internal/compare"
	"serin/internal/dataset"
	"serin/internal/model"
)

// golden is what XGBoost says of the demo's models.
type golden struct {
	ExampleRows []int `json:"example_rows"`
	Models      map[string]struct {
		ExampleScores []float32 `json:"example_scores"`
		SHA256        string    `json:"holdout_scores_sha256"`
		Holdout       struct {
			TP, FP, FN, TN int
			AUC            float64
		}
	}
}

func readGolden(tb testing.TB) golden {
	tb.Helper()
	data, err := os.ReadFile(demo + "golden.json")
	if err != nil {
		tb.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(data, &g); err != nil {
		tb.Fatal(err)
	}
	return g
}

func holdout(tb testing.TB) *dataset.Table {
	tb.Helper()
	table, err := dataset.Read(context.Background(), demo+"holdout.parquet")
	if err != nil {
		tb.Fatal(err)
	}
	return table
}

// TestHoldoutScores holds every score of the demo's models against XGBoost's own, bit by bit.
func TestHoldoutScores(t *testing.T) {
	t.Parallel()
	g, table := readGolden(t), holdout(t)
	for _, name := range []string{"champion", "better", "poor"} {
		sc := openPath(t, demo+name)
		f, err := FrameOf(table, sc.Info())
		if err != nil {
			t.Fatal(err)
		}
		scores, err := sc.Score(context.Background(), f)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		for _, x := range scores.Values {
			binary.Write(sum, binary.LittleEndian, x)
		}
		if got := hex.EncodeToString(sum.Sum(nil)); got != g.Models[name].SHA256 || len(scores.Values) != 2669 {
			t.Errorf("%s: %d scores with SHA-256 %s, XGBoost's have %s", name, len(scores.Values), got, g.Models[name].SHA256)
		}
		margins, err := Margins(context.Background(), sc, f)
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range margins.Values {
			if p := 1 / (1 + math.Exp(-float64(m))); math.Abs(p-float64(scores.Values[i])) > 1e-6 {
				t.Fatalf("%s: row %d: margin %v and probability %v do not fit", name, i+1, m, scores.Values[i])
			}
		}
	}
}

// TestServingExample scores MLflow's own serving example, as a client would send it.
func TestServingExample(t *testing.T) {
	t.Parallel()
	g := readGolden(t)
	for name, want := range g.Models {
		body, err := os.ReadFile(demo + name + "/serving_input_example.json")
		if err != nil {
			t.Fatal(err)
		}
		answer, err := NewPayloadScorer(openPath(t, demo+name)).ScorePayload(context.Background(), "application/json", body, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parsePredictions(answer, len(g.ExampleRows))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.ExampleScores, got.Values); diff != "" {
			t.Errorf("%s (-xgboost +serin):\n%s", name, diff)
		}
	}
}

// TestGateOnDemo judges the demo's challengers end to end; the figures are those of examples/creditcard/README.md.
func TestGateOnDemo(t *testing.T) {
	t.Parallel()
	g, table := readGolden(t), holdout(t)
	path := func(name string) model.Ref { return model.Ref{Kind: model.RefPath, Location: demo + name} }
	tests := []struct {
		challenger string
		want       compare.Decision
		reasons    []string
	}{
		{"better", compare.Promote, nil},
		{"poor", compare.Reject, []string{"recall 0.496 < 0.75 (65 of 131 positives found)", "f1 0.663 < 0.803 (champion 0.795 x 1.01)"}},
		{"champion", compare.Reject, []string{"recall 0.710 < 0.75 (93 of 131 positives found)", "f1 0.795 < 0.803 (champion 0.795 x 1.01)"}},
	}
	for _, tt := range tests {
		criteria := compare.DefaultCriteria()
		criteria.Recall = 0.75
		in, err := Gather(context.Background(), GatherParams{
			Opener: NewOpener(Options{}), Champion: &Source{Ref: path("champion")}, Challenger: Source{Ref: path(tt.challenger)},
			Table: table, Duplicates: table.Duplicates, DataName: "holdout.parquet", Label: "is_fraud", Threshold: 0.5, Criteria: criteria,
			Latency: LatencyParams{Rows: 100},
		})
		if err != nil {
			t.Fatal(err)
		}
		r, err := compare.Run(in)
		if err != nil {
			t.Fatal(err)
		}
		if r.Decision != tt.want || tt.reasons != nil && !slices.Equal(r.Reasons, tt.reasons) {
			t.Errorf("%s: %s, want %s: %q", tt.challenger, r.Decision, tt.want, r.Reasons)
		}
		for name, side := range map[string]compare.SideReport{"champion": *r.Champion, tt.challenger: r.Challenger} {
			want := g.Models[name].Holdout
			if got := side.Confusion; got != (compare.Confusion{TP: want.TP, FP: want.FP, FN: want.FN, TN: want.TN}) || math.Abs(*side.AUC-want.AUC) > 1e-12 {
				t.Errorf("%s: %+v and AUC %v, scikit-learn says %+v", name, got, *side.AUC, want)
			}
		}
		if r.Data.Duplicates != 3 || r.Data.Rows != 2669 || r.Data.Positives != 131 {
			t.Errorf("data %+v", r.Data)
		}
	}
}

// TestGateDefaults judges the demo's best model by the default limits, which no model of this data reaches.
func TestGateDefaults(t *testing.T) {
	t.Parallel()
	table := holdout(t)
	in, err := Gather(context.Background(), GatherParams{
		Opener: NewOpener(Options{}), FirstChampion: "the first model", Challenger: Source{Ref: model.Ref{Kind: model.RefPath, Location: demo + "better"}},
		Table: table, Duplicates: table.Duplicates, Label: "is_fraud", Threshold: 0.5, Criteria: compare.DefaultCriteria(), Latency: LatencyParams{Rows: 20},
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := compare.Run(in)
	if err != nil || r.Decision != compare.Reject || !slices.Equal(r.Reasons, []string{"recall 0.832 < 0.95 (109 of 131 positives found)"}) {
		t.Errorf("%s, %q, %v", r.Decision, r.Reasons, err)
	}
}

func demoBody(tb testing.TB, form string, rows int) []byte {
	tb.Helper()
	sc := openPath(tb, demo+"champion")
	f, err := FrameOf(holdout(tb), sc.Info())
	if err != nil {
		tb.Fatal(err)
	}
	part := f.slice(0, rows)
	if form == formSplit {
		body, err := appendSplit(nil, &part, 0)
		if err != nil {
			tb.Fatal(err)
		}
		return body
	}
	records := make([]string, rows)
	for row := range records {
		fields := []string{`"customer_id":"c0001"`}
		for i, name := range f.Columns {
			fields = append(fields, fmt.Sprintf("%q:%v", name, f.Values[row*len(f.Columns)+i]))
		}
		records[row] = "{" + strings.Join(fields, ",") + "}"
	}
	return []byte(`{"dataframe_records":[` + strings.Join(records, ",") + `]}`)
}

func TestScorePayloadErrors(t *testing.T) {
	t.Parallel()
	p := NewPayloadScorer(openPath(t, demo+"champion"))
	row := strings.TrimSuffix(strings.Repeat("0,", 29), ",")
	tests := []struct {
		name, contentType, body, want string
		status                        int
	}{
		{"content type", "text/html", "", "content type", 415},
		{"bad json", "application/json", `{"instances":`, "invalid JSON", 400},
		{"missing columns", "application/json", `{"dataframe_split":{"columns":["V1"],"data":[[1]]}}`, "missing columns: V2, V3", 400},
		{"narrow row", "application/json", `{"instances":[[1,2]]}`, "rows of 2 columns, the model wants 29", 400},
		{"text", "application/json", `{"instances":[["x"` + row[1:] + `]]}`, "row 1, column 1: a string is not a number", 400},
		{"infinite", "application/json", `{"instances":[[` + row + `],[1e39` + row[1:] + `]]}`, "row 2, column 1: ", 400},
	}
	for _, tt := range tests {
		out, err := p.ScorePayload(context.Background(), tt.contentType, []byte(tt.body), []byte("kept"))
		var input *InputError
		if !errors.As(err, &input) || input.Status() != tt.status || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want status %d and %q", tt.name, err, tt.status, tt.want)
		}
		if string(out) != "kept" {
			t.Errorf("%s: out is %q after an error", tt.name, out)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := p.ScorePayload(ctx, "application/json", []byte(`{"instances":[[`+row+`]]}`), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled request: %v", err)
	}
	if out, err := p.ScorePayload(context.Background(), "text/csv", []byte("a\n"), nil); err == nil {
		t.Errorf("a CSV without the columns: %s", out)
	}
}

// TestPayloadForms sends the same rows in every form and wants the same answer.
func TestPayloadForms(t *testing.T) {
	t.Parallel()
	sc := openPath(t, demo+"better")
	p := NewPayloadScorer(sc)
	split := demoBody(t, formSplit, 20)
	want, err := p.ScorePayload(context.Background(), "application/json", split, nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := DecodePayload("application/json", split)
	if err != nil {
		t.Fatal(err)
	}
	var csvText, rows, columns strings.Builder
	csvText.WriteString(strings.Join(f.Columns, ",") + "\n")
	for row := range f.N {
		line := strings.Trim(strings.ReplaceAll(fmt.Sprint(f.Values[row*29:(row+1)*29]), " ", ","), "[]")
		csvText.WriteString(line + "\n")
		rows.WriteString(",[" + line + "]")
	}
	for i, name := range f.Columns {
		var values []string
		for row := range f.N {
			values = append(values, fmt.Sprint(f.Values[row*29+i]))
		}
		fmt.Fprintf(&columns, ",%q:[%s]", name, strings.Join(values, ","))
	}
	bodies := map[string]string{
		"records": string(demoBody(t, formRecords, 20)), "instances": `{"instances":[` + rows.String()[1:] + `]}`,
		"inputs": `{"inputs":{` + columns.String()[1:] + `}}`, "inputs as rows": `{"inputs":[` + rows.String()[1:] + `],"params":{}}`,
	}
	for name, body := range bodies {
		if got, err := p.ScorePayload(context.Background(), "application/json", []byte(body), nil); err != nil || string(got) != string(want) {
			t.Errorf("%s: %s, %v, want %s", name, got, err, want)
		}
	}
	if got, err := p.ScorePayload(context.Background(), "text/csv; charset=utf-8", []byte(csvText.String()), nil); err != nil || string(got) != string(want) {
		t.Errorf("csv: %s, %v, want %s", got, err, want)
	}
	if got, err := p.ScorePayload(context.Background(), "application/json", []byte(`{"dataframe_split":{"columns":["V1"],"data":[]}}`), nil); err == nil {
		t.Errorf("missing columns without rows: %s", got)
	}
}

func TestScorePayloadConcurrently(t *testing.T) {
	t.Parallel()
	p := NewPayloadScorer(openPath(t, demo+"champion"))
	bodies := [][]byte{demoBody(t, formSplit, 3), demoBody(t, formRecords, 7), demoBody(t, formSplit, 1)}
	want := make([]string, len(bodies))
	for i, body := range bodies {
		out, err := p.ScorePayload(context.Background(), "application/json", body, nil)
		if err != nil {
			t.Fatal(err)
		}
		want[i] = string(out)
	}
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for i := range 200 {
				k := (worker + i) % len(bodies)
				if out, err := p.ScorePayload(context.Background(), "application/json", bodies[k], nil); err != nil || string(out) != want[k] {
					t.Errorf("%s, %v, want %s", out, err, want[k])
					return
				}
			}
		})
	}
	group.Wait()
}

// TestRemoteBehindPayloadScorer answers with a server's scores.
func TestRemoteBehindPayloadScorer(t *testing.T) {
	t.Parallel()
	p := NewPayloadScorer(openURL(t, Options{}, modelServer(t, nil).URL))
	out, err := p.ScorePayload(context.Background(), "application/json", []byte(`{"dataframe_records":[{"a":0.5,"b":1},{"b":2,"a":0.25}]}`), nil)
	if err != nil || string(out) != `{"predictions": [0.5, 0.25]}` {
		t.Errorf("%s, %v", out, err)
	}
	if p.Info().Native {
		t.Error("a server is said to be native")
	}
}

// TestBlocks scores more rows than a block has, each as it would be alone.
func TestBlocks(t *testing.T) {
	t.Parallel()
	sc := openPath(t, demo+"champion")
	f, err := FrameOf(holdout(t), sc.Info())
	if err != nil {
		t.Fatal(err)
	}
	all, err := sc.Score(context.Background(), f)
	if err != nil {
		t.Fatal(err)
	}
	for row := 0; row < f.N; row += 97 {
		one, err := sc.Score(context.Background(), f.slice(row, row+1))
		if err != nil || one.Values[0] != all.Values[row] {
			t.Fatalf("row %d alone %v, %v, among others %v", row+1, one.Values, err, all.Values[row])
		}
	}
	empty, err := sc.Score(context.Background(), Frame{Columns: f.Columns})
	if err != nil || len(empty.Values) != 0 {
		t.Errorf("no rows: %v, %v", empty, err)
	}
}

func BenchmarkScorePayload(b *testing.B) {
	p := NewPayloadScorer(openPath(b, demo+"champion"))
	for _, form := range []string{formSplit, formRecords} {
		body := demoBody(b, form, 1)
		b.Run(form, func(b *testing.B) {
			out := make([]byte, 0, 1<<12)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.ScorePayload(context.Background(), "application/json", body, out); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
