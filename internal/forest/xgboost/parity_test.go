package xgboost

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"serin/internal/forest"
)

// tolerated names the objectives whose outputs, not margins, may differ by one
// unit in the last place, and why. No recorded fixture makes use of it.
var tolerated = map[string]string{
	"survival:aft": "the package xgboost computes exp in float32, as here, and xgboost-cpu in float64",
}

// tally counts what was compared.
type tally struct{ models, files, rows, values, tolerated, different int }

func (t *tally) add(u tally) {
	t.models += u.models
	t.files += u.files
	t.rows += u.rows
	t.values += u.values
	t.tolerated += u.tolerated
	t.different += u.different
}

// Every model of every version, in every format, scores as that version scored it: in every bit.
func TestParse_ScoresBitForBitAsXGBoost(t *testing.T) {
	t.Parallel()
	var total tally
	for version, models := range packs {
		var sum tally
		for _, f := range readPack(t, version) {
			sum.models++
			for _, file := range f.models() {
				sum.add(compareFile(t, version, f, file))
			}
		}
		if sum.models != models {
			t.Errorf("xgboost %s: %d models, want %d", version, sum.models, models)
		}
		t.Logf("xgboost %s: %+v", version, sum)
		total.add(sum)
	}
	if total.tolerated != 0 {
		t.Errorf("%d recorded values are only tolerated; they must be equal", total.tolerated)
	}
	t.Logf("all: %d models, %d files, %d rows, %d values, %d different", total.models, total.files, total.rows, total.values, total.different)
}

// compareFile scores one model file and compares all that was recorded for it.
func compareFile(t *testing.T, version string, f *fixture, file string) tally {
	t.Helper()
	where := version + "/" + f.Name + "/" + file
	sum := tally{files: 1}
	m, err := Parse(f.files[file])
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return sum
	}
	rows := f.rows(t)
	sum.rows = len(rows) / f.Features
	compare := func(what string, width int, score func(dst, rows []float32)) {
		want, got := f.want(what), make([]float32, sum.rows*width)
		if len(want) != len(got) {
			t.Errorf("%s: %d %s values, want %d", where, len(got), what, len(want))
			return
		}
		score(got, rows)
		sum.values += len(want)
		if tolerated[f.Objective] != "" && strings.HasSuffix(what, "output") {
			sum.tolerated += tolerate(got, want)
		}
		if d := differences(got, want); d > 0 {
			sum.different += d
			t.Errorf("%s: %d of %d %s values differ, first %s", where, d, len(want), what, firstDifference(got, want))
		}
	}
	compare("margin", m.Groups(), m.Margins)
	compare("output", m.Outputs(), m.Predict)
	if _, ok := f.files["best_margin.f32"]; ok {
		best := m.AtBestIteration()
		compare("best_margin", m.Groups(), best.Margins)
		compare("best_output", m.Outputs(), best.Predict)
	}
	checkFacts(t, where, f, file, m)
	return sum
}

// tolerate takes over wanted values that are the next float32 to what was got, and counts them.
func tolerate(got, want []float32) int {
	n := 0
	for i := range got {
		if got[i] != want[i] && math.Nextafter32(got[i], want[i]) == want[i] {
			got[i] = want[i]
			n++
		}
	}
	return n
}

// The tolerance must not hide more than a last bit.
func TestTolerate_OneUnitOnly(t *testing.T) {
	t.Parallel()
	up := math.Nextafter32(1, 2)
	got, want := []float32{1, 1, 1, 2}, []float32{1, up, math.Nextafter32(up, 2), 3}
	if n := tolerate(got, want); n != 1 || differences(got, want) != 2 {
		t.Errorf("%d tolerated, %d different, want 1 and 2", n, differences(got, want))
	}
}

// checkFacts compares what the model says of itself.
func checkFacts(t *testing.T, where string, f *fixture, file string, m *forest.Model) {
	t.Helper()
	type facts struct {
		Features, Groups, Outputs int
		Objective                 string
		Best                      *int
		Names, Types              []string
	}
	want := facts{f.Features, f.Groups, f.Outputs, f.Objective, f.BestIteration, f.FeatureNames, f.FeatureTypes}
	if file == "model.deprecated" { // it holds neither
		want.Names, want.Types = nil, nil
	}
	got := facts{m.NumFeature(), m.Groups(), m.Outputs(), m.Objective(), nil, m.FeatureNames(), m.FeatureTypes()}
	if best, ok := m.BestIteration(); ok {
		got.Best = &best
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: what the model says of itself (-want +got):\n%s", where, diff)
	}
	if m.HoldsCategories() {
		t.Errorf("%s: says that it holds category names; none of these models does", where)
	}
}

// differences counts values that differ in any bit. Two NaN are the same.
func differences(got, want []float32) int {
	n := 0
	for i := range got {
		if !same(got[i], want[i]) {
			n++
		}
	}
	return n
}

func firstDifference(got, want []float32) string {
	for i := range got {
		if !same(got[i], want[i]) {
			return cmp.Diff(want[i], got[i])
		}
	}
	return ""
}

func same(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

// The kinds of output, one objective each.
func TestParse_SaysWhatAModelPredicts(t *testing.T) {
	t.Parallel()
	want := map[string]forest.Output{
		"gbtree-binary-logistic":  forest.OutputProbability,
		"gbtree-reg-logistic":     forest.OutputProbability,
		"gbtree-multi-softprob":   forest.OutputProbability,
		"gbtree-multi-softmax":    forest.OutputLabel,
		"gbtree-binary-hinge":     forest.OutputLabel,
		"gbtree-binary-logitraw":  forest.OutputMargin,
		"gbtree-reg-squarederror": forest.OutputValue,
		"gbtree-rank-ndcg":        forest.OutputValue,
		"gbtree-survival-cox":     forest.OutputValue,
	}
	got := map[string]forest.Output{}
	for _, f := range readPack(t, "3.2.0") {
		if _, ok := want[f.Name]; ok {
			got[f.Name] = mustParse(t, f.files["model.ubj"]).Output()
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outputs (-want +got):\n%s", diff)
	}
}
