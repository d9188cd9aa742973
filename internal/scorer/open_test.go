package scorer

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"serin/internal/model"
)

const demo = "../../examples/creditcard/"

func openPath(tb testing.TB, path string) Scorer {
	tb.Helper()
	sc, err := NewOpener(Options{}).Open(context.Background(), model.Ref{Kind: model.RefPath, Location: path})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { sc.Close() })
	return sc
}

// folder makes a directory with the given files.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func modelBytes(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestOpenNotes(t *testing.T) {
	t.Parallel()
	champion := modelBytes(t, demo+"champion/model.ubj")
	mlmodel := func(class string) string {
		return "flavors:\n  xgboost: {data: model.ubj, model_class: " + class + "}\n"
	}
	tests := []struct {
		name, path string
		want       []string
	}{
		{"mlflow's folder", demo + "champion", []string{"XGBClassifier: probabilities, all trees (no best_iteration)"}},
		{"bare file", demo + "champion/model.ubj", []string{"bare file: all trees"}},
		{"folder of a bare file", folder(t, map[string]string{"m.ubj": champion, "registered_model_meta": "x"}), []string{"bare file: all trees"}},
		{"booster", folder(t, map[string]string{"model.ubj": champion, "MLmodel": mlmodel("xgboost.core.Booster")}), []string{"Booster: its outputs, all trees"}},
		{"old MLmodel without a class", folder(t, map[string]string{"model.ubj": champion, "MLmodel": "flavors: {xgboost: {data: model.ubj}}"}), []string{"Booster: its outputs, all trees"}},
		{"regressor", folder(t, map[string]string{"model.ubj": champion, "MLmodel": mlmodel("xgboost.sklearn.XGBRegressor")}), []string{"XGBRegressor: values, all trees (no best_iteration)"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			info := openPath(t, tt.path).Info()
			if diff := cmp.Diff(tt.want, info.Notes); diff != "" {
				t.Errorf("notes (-want +got):\n%s", diff)
			}
			if !info.Native || info.Kind != Probability || info.Width != 1 || info.Features != 29 || len(info.Columns) != 29 || info.Columns[28] != "Amount" {
				t.Errorf("info %+v", info)
			}
		})
	}
}

func TestOpenFromRegistry(t *testing.T) {
	t.Parallel()
	pin := model.Pin{Version: "4", Digest: "sha256:ab"}
	o := NewOpener(Options{Registry: registryFunc(func(ref model.Ref) (Fetched, error) {
		return Fetched{Dir: demo + "better", Name: ref.Name, Pin: pin}, nil
	})})
	sc, err := o.Open(context.Background(), urlRef(t, "models:/fraud/Staging"))
	if err != nil {
		t.Fatal(err)
	}
	if info := sc.Info(); info.Name != "fraud" || info.Pin != pin || info.Ref != "models:/fraud/Staging" {
		t.Errorf("info %+v", info)
	}
}

func TestOpenRefusals(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "secret.ubj")
	if err := os.WriteFile(outside, []byte(modelBytes(t, demo+"champion/model.ubj")), 0o600); err != nil {
		t.Fatal(err)
	}
	linked := folder(t, map[string]string{"MLmodel": "flavors: {xgboost: {data: model.ubj}}"})
	if err := os.Symlink(outside, filepath.Join(linked, "model.ubj")); err != nil {
		t.Fatal(err)
	}
	files := func(files map[string]string) string { return folder(t, files) }
	xgb := func(data, class string) string {
		return "flavors: {python_function: {loader_module: mlflow.xgboost}, xgboost: {data: " + data + ", model_class: " + class + "}}"
	}
	tests := []struct{ name, path, want string }{
		{"nothing there", filepath.Join(t.TempDir(), "no"), "no such file"},
		{"empty folder", t.TempDir(), "no MLmodel and 0 files"},
		{"two files", files(map[string]string{"a": "", "b": ""}), "no MLmodel and 2 files"},
		{
			"sklearn", files(map[string]string{"MLmodel": "flavors: {python_function: {loader_module: mlflow.sklearn}, sklearn: {pickled_model: model.pkl}}"}),
			"of flavor sklearn, stored as a pickle that Serin never loads",
		},
		{"pyfunc", files(map[string]string{"MLmodel": "flavors: {python_function: {loader_module: mlflow.pyfunc.model}}"}), "a Python function (pyfunc), stored as a pickle"},
		{"onnx", files(map[string]string{"MLmodel": "flavors: {onnx: {data: model.onnx}, python_function: {loader_module: mlflow.onnx}}"}), "of flavor onnx; only the xgboost flavor"},
		{"lightgbm", files(map[string]string{"MLmodel": "flavors: {lightgbm: {data: model.lgb}}"}), "of flavor lightgbm"},
		{"pickle by name", files(map[string]string{"model.pkl": "x"}), "is a pickle, which Serin never loads"},
		{"pickle by content", files(map[string]string{"model": "\x80\x04\x95abc"}), "is a pickle, which Serin never loads"},
		{"zip", files(map[string]string{"model": "PK\x03\x04"}), "is a pickle, which Serin never loads"},
		{"a pickle as xgboost's data", files(map[string]string{"MLmodel": xgb("m", "xgboost.core.Booster"), "m": "\x80\x05\x95"}), "is a pickle"},
		{"no model file", files(map[string]string{"MLmodel": xgb("model.ubj", "xgboost.core.Booster")}), "model.ubj"},
		{"out of the folder", files(map[string]string{"MLmodel": xgb("../m", "xgboost.core.Booster")}), "inside the model directory"},
		{"link out of the folder", linked, "escapes"},
		{"own class", files(map[string]string{"MLmodel": xgb("m", "mycompany.Model"), "m": modelBytes(t, demo+"champion/model.ubj")}), "model class mycompany.Model is not XGBoost's own"},
		{"unknown class", files(map[string]string{"MLmodel": xgb("m", "xgboost.sklearn.XGBDream"), "m": modelBytes(t, demo+"champion/model.ubj")}), "XGBDream is not known"},
		{"no model", files(map[string]string{"m.ubj": "hello"}), "m.ubj: "},
		{"bad MLmodel", files(map[string]string{"MLmodel": "flavors: ["}), "MLmodel"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sc, err := NewOpener(Options{}).Open(context.Background(), model.Ref{Kind: model.RefPath, Location: tt.path})
			if err == nil || sc != nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("scorer %v, error %v, want one line with %q", sc, err, tt.want)
			}
			if strings.Contains(tt.want, "never loads") && (!strings.Contains(err.Error(), "--champion-scores") || !strings.Contains(err.Error(), "http://HOST/invocations")) {
				t.Errorf("error %q names no way on", err)
			}
		})
	}
	small := NewOpener(Options{MaxModelBytes: 100})
	if _, err := small.Open(context.Background(), model.Ref{Kind: model.RefPath, Location: demo + "champion/model.ubj"}); err == nil || !strings.Contains(err.Error(), "the limit is 100") {
		t.Errorf("a model that is too large: %v", err)
	}
	if _, err := small.Open(context.Background(), model.Ref{}); err == nil {
		t.Error("an empty reference was opened")
	}
}
