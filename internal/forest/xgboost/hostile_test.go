package xgboost

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"strings"
	"testing"
)

// object is a decoded JSON object.
type object = map[string]any

// document decodes a fixture's JSON, so that a test can spoil one thing in it.
func document(t *testing.T, name string) object {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(one(t, "3.2.0", name).files["model.json"]))
	d.UseNumber()
	var doc object
	if err := d.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// in follows keys and list indices.
func in(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			v = v.(object)[p]
		case int:
			v = v.([]any)[p]
		}
	}
	return v
}

// set replaces the value at a path.
func set(doc object, to any, path ...any) {
	last := path[len(path)-1]
	switch parent := in(doc, path[:len(path)-1]...).(type) {
	case object:
		parent[last.(string)] = to
	case []any:
		parent[last.(int)] = to
	}
}

// tree is the path to a field of the first tree.
func tree(field string, rest ...any) []any {
	return append([]any{"learner", "gradient_booster", "model", "trees", 0, field}, rest...)
}

// inModel is a path inside the booster's model.
func inModel(rest ...any) []any {
	return append([]any{"learner", "gradient_booster", "model"}, rest...)
}

// Documents that XGBoost would crash on, score wrongly or refuse without a word: each is refused by name.
func TestParse_RefusesHostileDocuments(t *testing.T) {
	t.Parallel()
	param := func(name string) []any { return []any{"learner", "learner_model_param", name} }
	tests := []struct {
		name    string
		fixture string
		path    []any
		to      any
		want    string
	}{
		{"no version", "stump", []any{"version"}, nil, "version is missing"},
		{"version of one number", "stump", []any{"version"}, []int{3}, "version has 1 numbers"},
		{"before 1.0", "stump", []any{"version"}, []int{0, 90, 0}, "written by XGBoost 0.90, before 1.0: load it with XGBoost 1.7"},
		{"newer than known", "stump", []any{"version"}, []int{3, 5, 0}, "written by XGBoost 3.5, newer than 3.4"},
		{"negative version", "stump", []any{"version"}, []int{-1, 0, 0}, "is no version"},
		{"no learner", "stump", []any{"learner"}, nil, "learner is missing"},
		{"learner is a string", "stump", []any{"learner"}, "x", "learner is a string, want an object"},
		{"unknown objective", "stump", []any{"learner", "objective", "name"}, "my:loss", `objective "my:loss" cannot be reproduced exactly in this version: serve this model over HTTP`},
		{"expectile", "stump", []any{"learner", "objective", "name"}, "reg:expectileerror", `"reg:expectileerror" cannot be reproduced`},
		{"no objective", "stump", []any{"learner", "objective"}, nil, "learner.objective.name is missing"},
		{"unknown booster", "stump", []any{"learner", "gradient_booster", "name"}, "gbtree2", `booster "gbtree2" is not in this version: serve`},
		{"no features", "stump", param("num_feature"), "0", "0 features"},
		{"more features than a row may have", "stump", param("num_feature"), "2000000000", `num_feature is "2000000000", want a number from 0 to 1048576`},
		{"features are no number", "stump", param("num_feature"), "five", `num_feature is "five"`},
		{"features as a number", "stump", param("num_feature"), 5, "num_feature is a number, want a string"},
		{"too many classes", "stump", param("num_class"), "2147483647", "2147483647 outputs, more than 16384: serve"},
		{"classes and targets", "targets-squared", param("num_class"), "4", "4 classes and 3 targets"},
		{"base score is no number", "stump", param("base_score"), "[half]", `base_score is "[half]"`},
		{"empty base score", "stump", param("base_score"), "[]", `base_score is "[]"`},
		{"three base scores for one output", "stump", param("base_score"), "[1E-1,2E-1,3E-1]", "3 base scores for 1 outputs"},
		{"base score beyond the link", "stump", param("base_score"), "[1.5E0]", "base score 1.5 is not between 0 and 1"},
		{"base score is not a number", "gbtree-reg-squarederror", param("base_score"), "NaN", "base score NaN has no finite margin"},
		{"base score zero of an exponential", "gbtree-count-poisson", param("base_score"), "[0E0]", "base score 0 is not above 0"},
		{"names of another width", "names", []any{"learner", "feature_names"}, []string{"a"}, "1 feature names for 5 features"},
		{"names are numbers", "names", []any{"learner", "feature_names"}, []int{1}, "feature_names is an array of numbers, want a list"},
		{"one name is a number", "names", []any{"learner", "feature_names", 0}, 1, "feature_names holds a number, want strings"},
		{"best iteration is text", "stop-logistic", []any{"learner", "attributes", "best_iteration"}, "last", `best_iteration is "last"`},
		{"best iteration beyond the model", "stop-logistic", []any{"learner", "attributes", "best_iteration"}, "4000", "best_iteration is 4000, but the model has"},
		{"best iteration is negative", "stop-logistic", []any{"learner", "attributes", "best_iteration"}, "-1", `best_iteration is "-1"`},
		{"no trees", "stump", inModel("trees"), nil, "trees is missing"},
		{"trees is a number", "stump", inModel("trees"), 3, "trees is a number, want a list"},
		{"a tree is a number", "stump", inModel("trees", 1), 3, "trees[1].id is not the number"},
		{"one tree less", "stump", inModel("gbtree_model_param", "num_trees"), "5", "num_trees is 5, but there are 6 trees"},
		{"short tree info", "stump", inModel("tree_info"), []int{0}, "1 entries in tree_info"},
		{"tree adds to no output", "stump", inModel("tree_info", 2), 1, "tree 2: adds to output 1 of 1"},
		{"tree info is fractional", "stump", inModel("tree_info", 2), 0.5, "tree_info: element 2 is not a number of its kind"},
		{"two trees of one id", "stump", tree("id"), 1, "id is 1, which an earlier tree has too"},
		{"id out of range", "stump", tree("id"), 6, "trees[0].id is not the number of one of the 6 trees"},
		{"falling index of iterations", "stump", inModel("iteration_indptr", 1), 6, "iteration_indptr does not rise from 0 to the 6 trees"},
		{"index beyond the trees", "stump", inModel("iteration_indptr", 6), 7, "iteration_indptr does not rise"},
		{"no parallel trees", "stump", inModel("gbtree_model_param", "num_parallel_tree"), "0", "num_parallel_tree is 0"},
		{"no nodes", "stump", tree("tree_param", "num_nodes"), "0", "trees[0] has no nodes"},
		{"more nodes than given", "stump", tree("tree_param", "num_nodes"), "2000", "left_children has 3 entries for 2000 nodes"},
		{"nodes beyond the limit", "stump", tree("tree_param", "num_nodes"), "2147483647", `num_nodes is "2147483647"`},
		{"child out of range", "stump", tree("left_children", 0), 3, "tree 0: node 0: its child 3 is not one of the 3 nodes"},
		{"negative child", "stump", tree("right_children", 0), -1, "its child -1 is not one"},
		{"cycle", "stump", tree("left_children", 0), 0, "its child 0 is reached twice"},
		{"one child twice", "stump", tree("right_children", 0), 1, "its child 1 is reached twice"},
		{"child beyond 32 bits", "stump", tree("left_children", 0), int64(1 << 40), "left_children: element 0 is not a number of its kind"},
		{"feature that does not exist", "stump", tree("split_indices", 0), 5, "splits on feature 5 of 5"},
		{"short thresholds", "stump", tree("split_conditions"), []float64{1}, "arrays of different lengths"},
		{"threshold beyond float32", "stump", tree("split_conditions", 0), json.Number("1e39"), "split_conditions: element 0 is not a number"},
		{"default is 2", "stump", tree("default_left", 0), 2, "default_left: element 0 is not a number of its kind"},
		{"split type of another length", "stump", tree("split_type"), []int{0}, "split_type has 1 entries for 3 nodes"},
		{"categorical split without a set", "stump", tree("split_type", 0), 1, "node 0 splits on categories but has none"},
		{"set without a categorical split", "stump", tree("categories_nodes"), []int{0}, "1 categorical nodes, 0 segments, 0 sizes"},
		{"set of a node that does not exist", "cat-onehot", tree("categories_nodes", 0), 999, "node 999 has categories but no categorical split"},
		{"set beyond the categories", "cat-onehot", tree("categories_sizes", 0), 999, "has categories 0 to 999 of"},
		{"set from below", "cat-onehot", tree("categories_segments", 0), -1, "has categories -1 to 0 of"},
		{"empty set", "cat-onehot", tree("categories_sizes", 0), 0, "its set of categories is empty"},
		{"negative category", "cat-onehot", tree("categories", 0), -4, "its category -4 is not below"},
		{"categorical before 1.6", "cat-onehot", []any{"version"}, []int{1, 5, 2}, "splits on categories and was written by XGBoost 1.5: save the model again"},
		{"leaf rows beyond the weights", "vector-squared", tree("leaf_weights"), []float64{1, 2, 3}, "its leaf is row"},
		{"leaf vector of another width", "vector-squared", tree("tree_param", "size_leaf_vector"), "2", "leaves of 2 values for 3 outputs"},
		{"weights of some trees", "dart-binary-logistic", []any{"learner", "gradient_booster", "weight_drop"}, []float64{1}, "weight_drop has 1 weights for 5 trees"},
		{"no weights", "dart-binary-logistic", []any{"learner", "gradient_booster", "weight_drop"}, nil, "weight_drop is missing"},
		{"linear weights of another width", "gblinear-reg-squarederror", inModel("weights"), []float64{1, 2}, "2 linear weights, want (5 features + 1 bias) x 1"},
		{"linear without weights", "gblinear-reg-squarederror", inModel("weights"), []float64{}, "saved before it was trained"},
		{"linear after 3.2", "targets-linear", []any{"version"}, []int{3, 3, 0}, "a linear model with several base scores, written by XGBoost 3.3"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			doc := document(t, tt.fixture)
			set(doc, tt.to, tt.path...)
			data, err := json.Marshal(doc)
			if err != nil {
				t.Fatal(err)
			}
			checkRefused(t, data, tt.want)
		})
	}
}

// checkRefused wants one line that says what is wrong.
func checkRefused(t *testing.T, data []byte, want string) {
	t.Helper()
	_, err := Parse(data)
	switch {
	case err == nil:
		t.Errorf("accepted, want %q", want)
	case !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "xgboost model: ") || strings.Contains(err.Error(), "\n"):
		t.Errorf("error %q, want one line with %q", err, want)
	}
}

func TestParse_RefusesHostileText(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, data, want string }{
		{"nothing", "", "the file is empty"},
		{"white space", " \n", "the file is empty"},
		{"base64", "bs64AAAA", "base64 files"},
		{"a pickle", "\x80\x04\x95\x00\x00", "needs 136 bytes, 5 left: it is cut off or no XGBoost model"},
		{"an empty object", "{}", "version is missing"},
		{"only a brace", "{", "json at byte 1: want a key in quotes"},
		{"not closed", `{"version":[1,7,6]`, `want ','`},
		{"key without a value", `{"version"}`, `want ':'`},
		{"no comma", `{"a":1 "b":2}`, `want ','`},
		{"trailing comma in an object", `{"a":1,}`, "want a key in quotes"},
		{"trailing comma in an array", `{"a":[1,]}`, "is not a value"},
		{"a key twice", `{"a":1,"a":2}`, `the key "a" appears twice`},
		{"a key twice by an escape", `{"a":1,"\u0061":2}`, `the key "a" appears twice`},
		{"more after the end", `{"a":1} x`, "more text after the document"},
		{"string not closed", `{"a":"b`, "a string without an end"},
		{"string ends in an escape", `{"a":"b\`, "a string without an end"},
		{"bad escape", `{"a":"\q"}`, "a string with a bad escape"},
		{"control character", "{\"a\":\"\\u00\n1\"}", "a string with a bad escape"},
		{"not UTF-8", "{\"a\":\"\xff\"}", "not UTF-8"},
		{"a word", `{"a":maybe}`, `"maybe" is not a value`},
		{"half a null", `{"a":nul}`, "want a value"},
		{"hexadecimal", `{"a":[0x10]}`, "is not a value"},
		{"underscore", `{"a":[1_0]}`, "is not a value"},
		{"lower-case nan", `{"a":[nan]}`, "want a value"},
		{"plus sign", `{"a":+1}`, "is not a value"},
		{"no digit after the point", `{"a":1.}`, "is not a value"},
		{"no digit in the exponent", `{"a":1e}`, "is not a value"},
		{"deep", `{"a":` + strings.Repeat("[", 100), "nested deeper than 64"},
		{"many values", `{"a":[` + strings.Repeat("null,", maxValues) + "null]}", "more than 2097152 values"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			checkRefused(t, []byte(tt.data), tt.want)
		})
	}
}

func TestParse_RefusesHostileUBJSON(t *testing.T) {
	t.Parallel()
	long := func(n uint64) string { return "L" + string(binary.BigEndian.AppendUint64(nil, n)) }
	key := "{" + long(1) + "a"
	tests := []struct{ name, data, want string }{
		{"only a brace and a length", "{L", "8 bytes claimed, 0 left"},
		{"a long key", "{" + long(1<<40) + "a", "a length of 1099511627776, 1 bytes left"},
		{"a negative key", "{" + long(math.MaxUint64), "a length of -1"},
		{"a key of a float length", "{d\x00\x00\x00\x00", `a length of type 'd'`},
		{"a key twice", key + "Z" + long(1) + "aZ}", `the key "a" appears twice`},
		{"a key that is not UTF-8", "{" + long(1) + "\xffZ}", "not UTF-8"},
		{"no value", key, "the file ends too early"},
		{"no end", key + "Z", "the file ends too early"},
		{"unknown type", key + "?", `unknown type '?'`},
		{"half a number", key + "l\x00\x00", "4 bytes claimed, 2 left"},
		{"a counted object", key + "{#" + long(1), "a counted object"},
		{"a string beyond the end", key + "S" + long(1<<62), "a length of 4611686018427387904"},
		{"a large array of floats", key + "[$d#" + long(8) + "12345678", "8 numbers of 4 bytes claimed, 8 bytes left"},
		{"a typed array of strings", key + "[$S#" + long(1), "an array of type 'S'"},
		{"a typed array without a count", key + "[$d" + long(1), "a typed array without a count"},
		{"a large list", key + "[#" + long(3) + "ZZ", "a length of 3, 2 bytes left"},
		{"a list that ends early", key + "[ZZ", "the file ends too early"},
		{"more after the end", key + "Z}}", "more bytes after the document"},
		{"deep", key + strings.Repeat("[", 100), "nested deeper than 64"},
		{"many values", key + "[" + strings.Repeat("Z", maxValues+1) + "]}", "more than 2097152 values"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			checkRefused(t, []byte(tt.data), tt.want)
		})
	}
}

func TestParse_RefusesHostileLegacyFiles(t *testing.T) {
	t.Parallel()
	// Offsets in a file of 2.1.4: 4 (binf), learner 136, objective 8+15, booster 8+6, booster's parameters 160, first tree.
	const objectiveAt = 4 + learnerBytes
	const treesAt = objectiveAt + 8 + len("binary:logistic") + 8 + len("gbtree")
	const treeAt = treesAt + gbtreeBytes
	const nodeAt = treeAt + treeBytes
	tests := []struct {
		name string
		at   int
		to   uint32
		want string
	}{
		{"base score is not a number", 4, math.Float32bits(float32(math.NaN())), "base score NaN"},
		{"features", 8, 1 << 30, "1073741824 features"},
		{"classes", 12, 1 << 31, "classes"},
		{"outputs", 12, 1 << 20, "1048576 outputs, more than"},
		{"before 1.0", 24, 0, "before 1.0"},
		{"version", 24, math.MaxUint32, "is no version"},
		{"targets", 32, math.MaxUint32, "targets"},
		{"length of the objective", objectiveAt, 1 << 30, "1073741824 the objective claimed"},
		{"objective", objectiveAt + 8, 0x61616161, `objective "aaaary:logistic" cannot be reproduced`},
		{"booster", treesAt - 6, 0x61616161, `booster "aaaaee" is not in this version`},
		{"booster is not UTF-8", treesAt - 6, 0xffffffff, "is not UTF-8"},
		{"number of trees", treesAt, 1 << 30, "1073741824 trees claimed"},
		{"negative number of trees", treesAt, 1 << 31, "-2147483648 trees claimed"},
		{"number of parallel trees", treesAt + 4, 0, "num_parallel_tree is 0"},
		{"number of nodes", treeAt + 4, 1 << 30, "tree 0: legacy file at byte"},
		{"negative number of nodes", treeAt + 4, 1 << 31, "nodes claimed"},
		{"no nodes", treeAt + 4, 0, "legacy file"},
		{"leaf vector", treeAt + 20, 3, "a leaf vector of 3 is not in this version"},
		{"left child", nodeAt + 4, 99, "tree 0: node 0: its child 99"},
		{"right child", nodeAt + 8, 1 << 31, "its child -2147483648"},
		{"cycle", nodeAt + 4, 0, "its child 0 is reached twice"},
		{"feature", nodeAt + 12, 77, "splits on feature 77 of 5"},
		{"deleted", nodeAt + 12, deletedNode, "splits on feature -1"},
		{"threshold", nodeAt + 16, math.Float32bits(float32(math.NaN())), "its threshold is not a number"},
	}
	good := one(t, "2.1.4", "stump").files["model.deprecated"]
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			data := bytes.Clone(good)
			binary.LittleEndian.PutUint32(data[tt.at:], tt.to)
			checkRefused(t, data, tt.want)
		})
	}
	checkRefused(t, append(bytes.Clone(good), 0), "legacy file: 1 bytes after the model")
}

// A file that is cut anywhere is refused, whatever its format. Larger files are cut in steps that share no factor with their records.
func TestParse_RefusesEveryPrefix(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]int{"one-leaf": 1, "gblinear-binary-logistic": 1, "dart-binary-logistic": 13, "names": 17} {
		f := one(t, "2.1.4", name)
		for _, file := range f.models() {
			data := f.files[file]
			for n := 0; n < len(data); n += step {
				if _, err := Parse(data[:n]); err == nil {
					t.Errorf("%s/%s: the first %d of %d bytes are accepted", name, file, n, len(data))
				}
			}
		}
	}
}
