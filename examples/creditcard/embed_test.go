package creditcard

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	modelBudget = 300 << 10
	totalBudget = 1500 << 10
)

type golden struct {
	Threshold   float64 `json:"threshold"`
	Rows        int     `json:"rows"`
	Positives   int     `json:"positives"`
	ExampleRows []int   `json:"example_rows"`
	Models      map[string]struct {
		ExampleScores []float64 `json:"example_scores"`
		Holdout       figures   `json:"holdout"`
	} `json:"models"`
}

type figures struct {
	TP, FP, FN, TN       int
	Recall, FPR, F1, AUC float64
}

func readGolden(t *testing.T) golden {
	t.Helper()
	raw, err := FS.ReadFile("golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// The three models must keep the roles that the demo gives them.
func TestGolden_ModelsPlayTheirRoles(t *testing.T) {
	t.Parallel()
	g := readGolden(t)
	champion, better, poor := g.Models["champion"].Holdout, g.Models["better"].Holdout, g.Models["poor"].Holdout
	if better.F1 < champion.F1*1.01 || better.Recall < 0.75 || better.FPR > 0.02 {
		t.Errorf("better %+v does not pass recall 0.75, fpr 0.02, f1Ratio 1.01 against champion %+v", better, champion)
	}
	if poor.Recall >= 0.75 {
		t.Errorf("poor has recall %g, want below 0.75: the gate has to reject it", poor.Recall)
	}
}

// The rates must follow from the counts, and the counts from the holdout.
func TestGolden_CountsAndRatesAgree(t *testing.T) {
	t.Parallel()
	g := readGolden(t)
	if len(g.Models) != 3 {
		t.Fatalf("golden.json has %d models, want 3", len(g.Models))
	}
	for name, m := range g.Models {
		h := m.Holdout
		if h.TP+h.FN != g.Positives || h.TP+h.FP+h.FN+h.TN != g.Rows {
			t.Errorf("%s: counts %+v do not add up to %d rows, %d positives", name, h, g.Rows, g.Positives)
		}
		want := figures{
			TP: h.TP, FP: h.FP, FN: h.FN, TN: h.TN, AUC: h.AUC,
			Recall: float64(h.TP) / float64(h.TP+h.FN),
			FPR:    float64(h.FP) / float64(h.FP+h.TN),
			F1:     2 * float64(h.TP) / float64(2*h.TP+h.FP+h.FN),
		}
		if diff := cmp.Diff(want, h); diff != "" {
			t.Errorf("%s: rates (-want +got):\n%s", name, diff)
		}
		if h.AUC <= 0.5 || h.AUC >= 1 {
			t.Errorf("%s: AUC %g is not that of a useful model", name, h.AUC)
		}
	}
}

func TestGolden_ExampleScoresAreFloat32(t *testing.T) {
	t.Parallel()
	g := readGolden(t)
	for name, m := range g.Models {
		if len(m.ExampleScores) != len(g.ExampleRows) {
			t.Errorf("%s: %d example scores for %d example rows", name, len(m.ExampleScores), len(g.ExampleRows))
		}
		for _, s := range m.ExampleScores {
			if float64(float32(s)) != s || s <= 0 || s >= 1 {
				t.Errorf("%s: %g is not a probability as float32", name, s)
			}
		}
	}
}

// README.md is where people read the figures; train.py writes both.
func TestReadme_HasTheFiguresAndTheLicence(t *testing.T) {
	t.Parallel()
	raw, err := FS.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	for name, m := range readGolden(t).Models {
		h := m.Holdout
		want := fmt.Sprintf("| %d | %d | %d | %.4f | %.4f |", h.TP, h.FP, h.FN, h.Recall, h.FPR)
		if !strings.Contains(text, want) {
			t.Errorf("README.md lacks the figures of %s: %s; run scripts/train-demo-models", name, want)
		}
	}
	for _, want := range []string{"Open Database License", "Database Contents License", "Worldline", "Machine Learning Group", "made up"} {
		if !strings.Contains(text, want) {
			t.Errorf("README.md lacks %q", want)
		}
	}
}

type splitExample struct {
	Columns []string    `json:"columns"`
	Data    [][]float64 `json:"data"`
}

// The folders must be what MLflow writes: the parts, and an example that names the features.
func TestModels_AreCompleteFolders(t *testing.T) {
	t.Parallel()
	g := readGolden(t)
	for name := range g.Models {
		mlmodel, err := FS.ReadFile(name + "/MLmodel")
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"model_class: xgboost.sklearn.XGBClassifier", "data: model.ubj", `"name": "V28"`, `"name": "Amount"`} {
			if !bytes.Contains(mlmodel, []byte(want)) {
				t.Errorf("%s/MLmodel lacks %q", name, want)
			}
		}
		var direct splitExample
		readJSON(t, name+"/input_example.json", &direct)
		var serving struct {
			Split splitExample `json:"dataframe_split"`
		}
		readJSON(t, name+"/serving_input_example.json", &serving)
		if diff := cmp.Diff(featureNames(), direct.Columns); diff != "" {
			t.Errorf("%s: features of the example (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(direct, serving.Split); diff != "" {
			t.Errorf("%s: the two examples differ (-input +serving):\n%s", name, diff)
		}
		if len(direct.Data) != len(g.ExampleRows) {
			t.Errorf("%s: %d example rows, want %d", name, len(direct.Data), len(g.ExampleRows))
		}
	}
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	raw, err := FS.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func featureNames() []string {
	var names []string
	for i := 1; i <= 28; i++ {
		names = append(names, "V"+strconv.Itoa(i))
	}
	return append(names, "Amount")
}

// Replayed traffic: a customer and 29 finite numbers a row, a few customers busy, most of them rare.
func TestTraffic_RowsAndCustomers(t *testing.T) {
	t.Parallel()
	raw, err := FS.ReadFile("traffic.csv.gz")
	if err != nil {
		t.Fatal(err)
	}
	zr, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(zr).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(append([]string{"customer_id"}, featureNames()...), rows[0]); diff != "" {
		t.Fatalf("header (-want +got):\n%s", diff)
	}
	if len(rows) != 2001 {
		t.Fatalf("%d lines, want a header and 2000 rows", len(rows))
	}
	requests := map[string]int{}
	for i, row := range rows[1:] {
		requests[row[0]]++
		for j, cell := range row[1:] {
			v, err := strconv.ParseFloat(cell, 32)
			if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
				t.Fatalf("row %d, column %s: %q is not a finite float32", i+1, rows[0][j+1], cell)
			}
		}
	}
	if n := len(requests); n < 400 || n > 1000 {
		t.Errorf("%d customers, want a few hundred of 2000", n)
	}
	if busiest := requests["c0001"]; busiest < 200 || busiest > 600 {
		t.Errorf("the busiest customer has %d of 2000 requests, want a Zipf's 10 to 30 %%", busiest)
	}
}

// The binary carries what is embedded and the repository the rest: both stay small.
func TestSizes_StayInBudget(t *testing.T) {
	t.Parallel()
	var total int64
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		total += info.Size()
		if d.Name() == "model.ubj" && info.Size() > modelBudget {
			t.Errorf("%s has %d bytes, want at most %d", path, info.Size(), modelBudget)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if total > totalBudget {
		t.Errorf("the folder has %d bytes, want at most %d", total, totalBudget)
	}
}
