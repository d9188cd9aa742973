package xgboost

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"serin/internal/forest"
)

// parseDocument marshals and parses an edited document.
func parseDocument(t *testing.T, doc object) *forest.Model {
	t.Helper()
	data, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return mustParse(t, data)
}

// The model that tests of other packages open scores as XGBoost scored it.
func TestParse_Tiny(t *testing.T) {
	t.Parallel()
	var want struct {
		Columns []string
		Rows    [][]float64
		Scores  []float64
	}
	text, err := os.ReadFile("testdata/tiny.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile("testdata/tiny.ubj")
	if err != nil {
		t.Fatal(err)
	}
	m := mustParse(t, data)
	if diff := cmp.Diff(want.Columns, m.FeatureNames()); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	got := make([]float32, 1)
	for i, in := range want.Rows {
		row := make([]float32, len(in))
		for f, x := range in {
			if row[f], err = forest.RowFloat(x); err != nil {
				t.Fatal(err)
			}
		}
		m.Predict(got, row)
		if float64(got[0]) != want.Scores[i] {
			t.Errorf("row %d scores %v, want %v", i, got[0], want.Scores[i])
		}
	}
	if len(want.Rows) != 6 {
		t.Errorf("%d rows, want 6", len(want.Rows))
	}
}

// Since 3.4 DART is a plain gbtree with weights in the model. Rewritten so, a file
// of 3.2 scores as before. No release of 3.4 was at hand to write one itself.
func TestParse_Dart34(t *testing.T) {
	t.Parallel()
	f := one(t, "3.2.0", "dart-binary-logistic")
	doc := document(t, f.Name)
	dart := in(doc, "learner", "gradient_booster").(object)
	plain := in(dart, "gbtree").(object)
	plain["model"].(object)["weight_drop"] = dart["weight_drop"]
	doc["learner"].(object)["gradient_booster"] = plain
	doc["version"] = []int{3, 4, 0}
	got := make([]float32, f.Rows)
	parseDocument(t, doc).Margins(got, f.rows(t))
	if n := differences(got, f.want("margin")); n != 0 {
		t.Errorf("%d of %d margins differ", n, f.Rows)
	}
	// Without DART the list is there too, empty.
	stump := one(t, "3.2.0", "stump")
	doc = document(t, stump.Name)
	in(doc, inModel()...).(object)["weight_drop"] = []float32{}
	got = make([]float32, stump.Rows)
	parseDocument(t, doc).Margins(got, stump.rows(t))
	if n := differences(got, stump.want("margin")); n != 0 {
		t.Errorf("%d of %d margins of a model without DART differ", n, stump.Rows)
	}
}

// Since 3.4 the quantiles of a row come in rising order.
func TestParse_Quantiles34AreSorted(t *testing.T) {
	t.Parallel()
	f := one(t, "3.2.0", "quantiles")
	doc := document(t, f.Name)
	doc["version"] = []int{3, 4, 0}
	got, want := make([]float32, f.Rows*3), f.want("output")
	parseDocument(t, doc).Predict(got, f.rows(t))
	crossed := 0
	for row := range slices.Chunk(want, 3) {
		if !slices.IsSorted(row) {
			crossed++
		}
		slices.Sort(row)
	}
	if n := differences(got, want); n != 0 || crossed == 0 {
		t.Errorf("%d values differ from the sorted ones of 3.2; %d rows were out of order there, want some", n, crossed)
	}
}

// Up to 3.1 a base score near 0 or 1 is taken as it is, from 3.2 on it is kept
// 1e-6 away. The margins are those that 3.0.5 and 3.2.0 gave for these files.
func TestParse_ClampsLogisticBaseScoresSince32(t *testing.T) {
	t.Parallel()
	tests := []struct {
		version []int
		base    string
		want    float32
	}{
		{[]int{3, 2, 0}, "[0E0]", -13.81551},
		{[]int{3, 2, 0}, "[1E0]", 13.74516},
		{[]int{3, 2, 0}, "[1E-7]", -13.81551},
		{[]int{3, 2, 0}, "[1.1E-6]", -13.7202},
		{[]int{3, 2, 0}, "[9.9999990E-1]", 13.74516},
		{[]int{3, 2, 0}, "[9.999988E-1]", 13.6398},
		{[]int{3, 1, 3}, "[1E-7]", -16.118095},
		{[]int{3, 0, 5}, "1E-7", -16.118095},
		{[]int{3, 0, 5}, "9.9999990E-1", 15.942385},
		{[]int{2, 1, 4}, "1E-30", -69.07755},
		{[]int{1, 7, 6}, "(0.25,)", -1.0986123},
	}
	for _, tt := range tests {
		doc := document(t, "one-leaf")
		doc["version"] = tt.version
		set(doc, tt.base, "learner", "learner_model_param", "base_score")
		if got := parseDocument(t, doc).BaseMargins()[0]; got != tt.want {
			t.Errorf("%v, base score %s: margin %v, want %v", tt.version, tt.base, got, tt.want)
		}
	}
}

// At this margin exp in float32 and in float64 differ. The package xgboost (1.7.6,
// 2.1.4 and 3.2.0) gave this output, xgboost-cpu (2.1.4, 3.0.5 and 3.2.0) gave 0.0511335805.
func TestParse_AftScoresAsThePackageXGBoost(t *testing.T) {
	t.Parallel()
	doc := document(t, "one-leaf")
	set(doc, object{"name": "survival:aft"}, "learner", "objective")
	set(doc, "[1E0]", "learner", "learner_model_param", "base_score")
	for i, leaf := range []float64{-2.97331381, 0, 0} {
		set(doc, []float64{leaf}, inModel("trees", i, "split_conditions")...)
	}
	got := make([]float32, 1)
	parseDocument(t, doc).Predict(got, make([]float32, 5))
	if got[0] != 0.0511335842 {
		t.Errorf("scores %.9g, want 0.0511335842", got[0])
	}
}

// Files of before 1.3 lack the categorical fields, and those of before 2.0 hold booleans and no index of iterations.
func TestParse_OldFields(t *testing.T) {
	t.Parallel()
	f := one(t, "1.7.6", "stop-forest")
	var doc object
	if err := json.Unmarshal(f.files["model.json"], &doc); err != nil {
		t.Fatal(err)
	}
	for _, tree := range in(doc, inModel("trees")...).([]any) {
		fields := tree.(object)
		for _, name := range []string{"split_type", "categories", "categories_nodes", "categories_segments", "categories_sizes"} {
			delete(fields, name)
		}
		var flags []bool
		for _, x := range fields["default_left"].([]any) {
			flags = append(flags, x.(float64) == 1)
		}
		fields["default_left"] = flags
	}
	delete(in(doc, "learner", "learner_model_param").(object), "num_target")
	delete(doc["learner"].(object), "feature_names")
	doc["version"] = []int{1, 2, 0}
	got := make([]float32, f.Rows)
	parseDocument(t, doc).AtBestIteration().Margins(got, f.rows(t))
	if n := differences(got, f.want("best_margin")); n != 0 {
		t.Errorf("%d of %d margins differ", n, f.Rows)
	}
}

// Category names in a file mean that rows must hold codes: the model says so.
func TestParse_SaysThatItHoldsCategories(t *testing.T) {
	t.Parallel()
	doc := document(t, "cat-partition")
	set(doc, []any{object{"offsets": []int{0, 1}, "values": []int{65}}}, inModel("cats", "enc")...)
	if !parseDocument(t, doc).HoldsCategories() {
		t.Error("a file with category names must say so")
	}
}

// Values that encoding/json refuses and XGBoost writes.
func TestReadJSON_TakesBareNaN(t *testing.T) {
	t.Parallel()
	doc, err := readJSON([]byte(` { "a" : [ NaN , -Infinity , Infinity , 1.5e-3 , -0 ] , "b" : [ ] , "c" : null , "d" : [ true , false ] , "e" : "x\"\u00fc" } `))
	if err != nil {
		t.Fatal(err)
	}
	c := cursor{value: doc}
	floats, err := c.at("a").floats()
	if err != nil || len(floats) != 5 || floats[0] == floats[0] || floats[1] >= 0 || floats[2] <= 0 || floats[3] != 0.0015 {
		t.Errorf("floats %v, %v", floats, err)
	}
	flags, err := c.at("d").flags()
	if diff := cmp.Diff([]bool{true, false}, flags); err != nil || diff != "" {
		t.Errorf("flags %v, %v", flags, err)
	}
	if s, err := c.at("e").text(); err != nil || s != `x"ü` {
		t.Errorf("text %q, %v", s, err)
	}
	if items, err := c.at("b").items(); err != nil || len(items) != 0 {
		t.Errorf("items %v, %v", items, err)
	}
	if _, err := c.at("c").text(); err == nil || !strings.Contains(err.Error(), "c is missing") {
		t.Errorf("error %v, want c is missing", err)
	}
}

// Every type of number and every form of list that UBJSON has.
func TestReadUBJSON_TakesEveryForm(t *testing.T) {
	t.Parallel()
	key := func(name string) string { return "i" + string(rune(len(name))) + name }
	data := "{" +
		key("plain") + "[i\xffU\xffI\xff\xfel\xff\xff\xff\xfdL\xff\xff\xff\xff\xff\xff\xff\xfc]" +
		key("counted") + "[#U\x02i\x05Ni\x06" +
		key("typed") + "[$I#i\x02\x00\x07\xff\xf8" +
		key("floats") + "[d\x3f\xc0\x00\x00D\x3f\xf8\x00\x00\x00\x00\x00\x00]" +
		key("flags") + "[TF]" +
		key("none") + "Z" + "}"
	doc, err := readUBJSON([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	c := cursor{value: doc}
	for name, want := range map[string][]int32{"plain": {-1, 255, -2, -3, -4}, "counted": {5, 6}, "typed": {7, -8}} {
		got, err := c.at(name).ints()
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	floats, err := c.at("floats").floats()
	if diff := cmp.Diff([]float32{1.5, 1.5}, floats); err != nil || diff != "" {
		t.Errorf("floats %v, %v", floats, err)
	}
	flags, err := c.at("flags").flags()
	if diff := cmp.Diff([]bool{true, false}, flags); err != nil || diff != "" {
		t.Errorf("flags %v, %v", flags, err)
	}
	if _, err := c.at("floats").ints(); err == nil {
		t.Error("floats must not pass for integers")
	}
	if _, err := c.at("none").ints(); err == nil || !strings.Contains(err.Error(), "none is missing") {
		t.Errorf("error %v, want none is missing", err)
	}
}
