package scorer

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"serin/internal/compare"
)

// fixtureFiles takes the files of one fixture out of what XGBoost 2.1.4 wrote: models, rows and recorded outputs.
func fixtureFiles(t *testing.T, name string) map[string]string {
	t.Helper()
	file, err := os.Open("../forest/xgboost/testdata/xgboost-2.1.4.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for archive := tar.NewReader(unzipped); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if path.Dir(header.Name) == name {
			data, err := io.ReadAll(archive)
			if err != nil {
				t.Fatal(err)
			}
			files[path.Base(header.Name)] = string(data)
		}
	}
	if len(files) == 0 {
		t.Fatalf("no fixture %s", name)
	}
	return files
}

func float32s(raw string) []uint32 {
	out := make([]uint32, len(raw)/4)
	for i := range out {
		out[i] = binary.LittleEndian.Uint32([]byte(raw[4*i:]))
	}
	return out
}

func bits(values []float32) []uint32 {
	out := make([]uint32, len(values))
	for i, x := range values {
		out[i] = math.Float32bits(x)
	}
	return out
}

// positional is the fixture's rows without names.
func positional(files map[string]string, features int) Frame {
	raw := []byte(files["rows.f64"])
	f := Frame{N: len(raw) / 8 / features}
	for i := 0; i < len(raw); i += 8 {
		f.Values = append(f.Values, math.Float64frombits(binary.LittleEndian.Uint64(raw[i:])))
	}
	return f
}

// TestModelClass scores one early-stopped file as each class would: the wrapper applies best_iteration, a Booster and a bare file do not.
func TestModelClass(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"stop-logistic", "stop-dart", "stop-forest", "stop-softprob"} {
		files := fixtureFiles(t, name)
		described := func(class string) string {
			return folder(t, map[string]string{"model.ubj": files["model.ubj"], "MLmodel": "flavors: {xgboost: {data: model.ubj, model_class: " + class + "}}"})
		}
		tests := []struct{ kind, path, want, note string }{
			{"classifier", described("xgboost.sklearn.XGBClassifier"), "best_output.f32", "XGBClassifier: probabilities with best_iteration"},
			{"booster", described("xgboost.core.Booster"), "output.f32", "Booster: its outputs, all trees"},
			{"bare", folder(t, map[string]string{"m": files["model.json"]}), "output.f32", "is not applied"},
		}
		for _, tt := range tests {
			sc := openPath(t, tt.path)
			scores, err := sc.Score(context.Background(), positional(files, sc.Info().Features))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(bits(scores.Values), float32s(files[tt.want])) {
				t.Errorf("%s as %s differs from %s", name, tt.kind, tt.want)
			}
			if notes := strings.Join(sc.Info().Notes, "; "); !strings.Contains(notes, tt.note) {
				t.Errorf("%s as %s: notes %q, want %q", name, tt.kind, notes, tt.note)
			}
		}
		if files["output.f32"] == files["best_output.f32"] {
			t.Errorf("%s does not tell the classes apart", name)
		}
	}
}

// TestKinds holds what each objective gives, its margins, and that the gate refuses what is no class.
func TestKinds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		kind  Kind
		width int
		gate  string
	}{
		{"gbtree-binary-logistic", Probability, 1, ""},
		{"gbtree-binary-logitraw", Margin, 1, "gives a margin, which cannot be held against labels"},
		{"gbtree-binary-hinge", Label, 1, ""},
		{"gbtree-reg-squarederror", Value, 1, "gives a value, which cannot be held against labels"},
		{"gbtree-multi-softprob", Probability, 4, "gives 4 numbers a row"},
		{"gbtree-rank-map", Value, 1, "gives a value"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			files := fixtureFiles(t, tt.name)
			sc := openPath(t, folder(t, map[string]string{"m": files["model.ubj"]}))
			info := sc.Info()
			if info.Kind != tt.kind || info.Width != tt.width {
				t.Errorf("%s of width %d, want %s of %d", info.Kind, info.Width, tt.kind, tt.width)
			}
			f := positional(files, info.Features)
			scores, err := sc.Score(context.Background(), f)
			if err != nil || !slices.Equal(bits(scores.Values), float32s(files["output.f32"])) {
				t.Errorf("scores differ from XGBoost's, %v", err)
			}
			margins, err := Margins(context.Background(), sc, f)
			if err != nil || !slices.Equal(bits(margins.Values), float32s(files["margin.f32"])) {
				t.Errorf("margins differ from XGBoost's, %v", err)
			}
			checkGate(t, sc, f, tt.gate)
		})
	}
}

// checkGate gathers a side from a scorer on a table of the frame's columns.
func checkGate(t *testing.T, sc Scorer, f Frame, want string) {
	t.Helper()
	table := &memoryTable{columns: map[string][]float64{}}
	table.names = slices.Clone(sc.Info().Columns)
	if table.names == nil {
		table.names = strings.Split("abcdefghijklmnopqrstuvwxyz"[:f.Width()], "")
	}
	for i := range f.Values {
		name := table.names[i%f.Width()]
		table.columns[name] = append(table.columns[name], f.Values[i])
	}
	g := gatherer{GatherParams: params(table)}
	side, err := g.fromScorer(context.Background(), sc)
	switch {
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("the gate says %v, want %q", err, want)
	case want == "" && (err != nil || side.Kind != compare.Kind(sc.Info().Kind) || len(side.Latency.OneRow) != 30):
		t.Errorf("the gate says %v", err)
	}
}

// TestColumnNames holds where the names come from: the model, else the signature, else nowhere.
func TestColumnNames(t *testing.T) {
	t.Parallel()
	named, legacy := fixtureFiles(t, "names"), fixtureFiles(t, "stop-logistic")
	features := openPath(t, folder(t, map[string]string{"m": legacy["model.deprecated"]})).Info().Features
	var signature []string
	for _, name := range strings.Split("zyxwvutsrqponmlkjihgfedcba"[:features], "") {
		signature = append(signature, `{"type": "double", "name": "`+name+`", "required": true}`)
	}
	mlmodel := "flavors: {xgboost: {data: m, model_class: xgboost.core.Booster}}\nsignature:\n  inputs: '[" + strings.Join(signature, ", ") + "]'\n  outputs: null\n"
	tests := []struct {
		name, path string
		first      string
		note       string
	}{
		{"in the model", folder(t, map[string]string{"m": named["model.ubj"]}), "", "bare file: all trees"},
		{"legacy file", folder(t, map[string]string{"m": legacy["model.deprecated"]}), "none", "no column names in the model file: columns are bound by position"},
		{"signature", folder(t, map[string]string{"m": legacy["model.deprecated"], "MLmodel": mlmodel}), "z", "those of the MLmodel signature are used"},
	}
	for _, tt := range tests {
		info := openPath(t, tt.path).Info()
		switch {
		case tt.first == "none" && info.Columns != nil, tt.first != "none" && len(info.Columns) != info.Features, tt.first == "z" && info.Columns[0] != "z":
			t.Errorf("%s: columns %q", tt.name, info.Columns)
		}
		if notes := strings.Join(info.Notes, "; "); !strings.Contains(notes, tt.note) {
			t.Errorf("%s: notes %q, want %q", tt.name, notes, tt.note)
		}
	}
}
