package model_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"serin/internal/model"
)

func TestParseMLmodelFiles(t *testing.T) {
	t.Parallel()
	inputs := []model.Column{
		{Name: "amount", Type: "double", Required: true},
		{Name: "age", Type: "double", Required: true},
		{Name: "channel", Type: "long", Required: false},
	}
	tests := []struct {
		file string
		want model.MLmodel
	}{
		{"xgboost-3.18.yaml", model.MLmodel{
			Flavors: []string{"python_function", "xgboost"},
			XGBoost: &model.XGBoostFlavor{Data: "model.ubj", ModelClass: "xgboost.sklearn.XGBClassifier", Format: "ubj", Version: "3.2.0"},
			PyFunc:  &model.PyFuncFlavor{LoaderModule: "mlflow.xgboost", Data: "model.ubj", PythonVersion: "3.13.7"},
			Inputs:  inputs, Outputs: []model.Column{{Type: "tensor", DType: "int64", Shape: []int64{-1}, Required: true}},
			InputExample: "input_example.json", ServingInputExample: "serving_input_example.json",
			ModelUUID: "m-5a1f6c0d9e8b4a7c8d2e3f4a5b6c7d8e", RunID: "3731a0c5d2e14f6b8a9c0d1e2f3a4b5c", MLflowVersion: "3.18.0",
		}},
		{"xgboost-1.30.yaml", model.MLmodel{
			Flavors: []string{"python_function", "xgboost"},
			XGBoost: &model.XGBoostFlavor{Data: "model.xgb", ModelClass: "xgboost.core.Booster", Version: "1.7"},
			PyFunc:  &model.PyFuncFlavor{LoaderModule: "mlflow.xgboost", Data: "model.xgb", PythonVersion: "3.8.16"},
			Inputs:  inputs, ModelUUID: "0123456789abcdef0123456789abcdef", RunID: "12345678901234567890123456789012",
			MLflowVersion: "1.30.0",
		}},
		{"sklearn-no-signature.yaml", model.MLmodel{
			Flavors:   []string{"python_function", "sklearn"},
			PyFunc:    &model.PyFuncFlavor{LoaderModule: "mlflow.sklearn", Data: "", PythonVersion: "3.11.7"},
			ModelUUID: "m-00000000000000000000000000000001", MLflowVersion: "3.11.2.dev0",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.Join("testdata", "mlmodel", tt.file))
			if err != nil {
				t.Fatal(err)
			}
			got, err := model.ParseMLmodel(text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("ParseMLmodel (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseMLmodelRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want string }{
		{"empty", "", "has no flavors"},
		{"another file", "name: conda\ndependencies: [xgboost]\n", "has no flavors"},
		{"not YAML", "flavors: [}", "not valid YAML"},
		{"a list", "- 1\n- 2\n", "not valid YAML"},
		{"xgboost without data", "flavors: {xgboost: {model_class: x}}", "flavors.xgboost has no data"},
		{"xgboost is a list", "flavors: {xgboost: [1]}", "flavors.xgboost: "},
		{"python_function is a list", "flavors: {python_function: [1]}", "flavors.python_function: "},
		{"data climbs out", "flavors: {xgboost: {data: ../../etc/passwd}}", `flavors.xgboost.data: path "../../etc/passwd"`},
		{"data is absolute", "flavors: {xgboost: {data: /etc/passwd}}", "is absolute"},
		{"pyfunc climbs out", "flavors: {python_function: {data: a/../../b}}", "flavors.python_function.data"},
		{"example climbs out", "flavors: {f: {}}\nsaved_input_example_info: {artifact_path: ../x}", "saved_input_example_info.artifact_path"},
		{"serving example climbs out", "flavors: {f: {}}\nsaved_input_example_info: {serving_input_path: ../x}", "saved_input_example_info.serving_input_path"},
		{"inputs not JSON", "flavors: {f: {}}\nsignature: {inputs: '[{'}", "signature.inputs: not a JSON list"},
		{"outputs not a list", "flavors: {f: {}}\nsignature: {outputs: '{}'}", "signature.outputs: not a JSON list"},
		{"column without type", "flavors: {f: {}}\nsignature: {inputs: '[{\"name\": \"a\"}]'}", "column 1 has no type"},
		{"tensor without spec", "flavors: {f: {}}\nsignature: {inputs: '[{\"type\": \"tensor\"}]'}", "without tensor-spec"},
		{"too long", strings.Repeat("#", 5<<20), "at most"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := model.ParseMLmodel([]byte(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestParseMLmodelSignatureForms(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, inputs string
		want         []model.Column
	}{
		{"none", "", nil},
		{"null", "null", nil},
		{"empty list", "[]", nil},
		{"numbered columns", `[{"name": 0, "type": "double"}]`, []model.Column{{Name: "0", Type: "double", Required: true}}},
		{"optional, the old way", `[{"name": "a", "type": "long", "optional": true}]`, []model.Column{{Name: "a", Type: "long"}}},
		{"unknown keys", `[{"name": "a", "type": "map", "values": {"type": "string"}, "new": 1}]`, []model.Column{{Name: "a", Type: "map", Required: true}}},
		{
			"named tensor", `[{"name": "img", "type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 28, 28]}}]`,
			[]model.Column{{Name: "img", Type: "tensor", DType: "float32", Shape: []int64{-1, 28, 28}, Required: true}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := model.ParseMLmodel([]byte("flavors: {f: {}}\nsignature:\n  inputs: '" + tt.inputs + "'\n  outputs: null\n"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got.Inputs); diff != "" {
				t.Errorf("inputs (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzParseMLmodel(f *testing.F) {
	files, err := filepath.Glob("testdata/mlmodel/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("flavors: {f: {}}\nsignature: {inputs: '[{\"type\": \"tensor\"}]'}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := model.ParseMLmodel(text)
		if err != nil {
			return
		}
		if len(m.Flavors) == 0 {
			t.Error("accepted a model without flavors")
		}
		paths := []string{m.InputExample, m.ServingInputExample}
		if m.XGBoost != nil {
			paths = append(paths, m.XGBoost.Data)
		}
		for _, p := range paths {
			if p != "" && !filepath.IsLocal(filepath.FromSlash(p)) {
				t.Errorf("accepted the path %q", p)
			}
		}
		for _, c := range append(m.Inputs, m.Outputs...) {
			if c.Type == "" {
				t.Error("accepted a column without a type")
			}
		}
	})
}
