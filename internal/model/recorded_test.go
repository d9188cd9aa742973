package model_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"serin/internal/model"
)

// The files were uploaded by MLflow's own clients, 2.22 and 3.18; only their ids were replaced by repeated digits.
func TestParseMLmodelThatMLflowWrote(t *testing.T) {
	t.Parallel()
	tests := []struct {
		file, class, data, format string // class is empty where there is no xgboost flavor
		inputs, outputs           int
		example, serving          string
	}{
		{"recorded-3.18-classifier", "xgboost.sklearn.XGBClassifier", "model.ubj", "ubj", 4, 1, "input_example.json", "serving_input_example.json"},
		{"recorded-3.18-booster", "xgboost.core.Booster", "model.ubj", "ubj", 4, 1, "", ""},
		{"recorded-2.22-classifier", "xgboost.sklearn.XGBClassifier", "model.xgb", "xgb", 3, 1, "input_example.json", "serving_input_example.json"},
		{"recorded-2.22-sklearn", "", "", "", 0, 0, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.Join("testdata", "mlmodel", tt.file+".yaml"))
			if err != nil {
				t.Fatal(err)
			}
			m, err := model.ParseMLmodel(text)
			if err != nil {
				t.Fatal(err)
			}
			if m.RunID == "" || m.ModelUUID == "" || m.PyFunc == nil || !strings.HasPrefix(tt.file, "recorded-"+m.MLflowVersion[:4]) {
				t.Errorf("run %q, model %q, python_function %+v, MLflow %q", m.RunID, m.ModelUUID, m.PyFunc, m.MLflowVersion)
			}
			if m.InputExample != tt.example || m.ServingInputExample != tt.serving {
				t.Errorf("examples %q and %q", m.InputExample, m.ServingInputExample)
			}
			if len(m.Inputs) != tt.inputs || len(m.Outputs) != tt.outputs {
				t.Errorf("signature %+v > %+v", m.Inputs, m.Outputs)
			}
			for _, c := range m.Inputs {
				if c.Type != "double" || len(c.Name) != 1 || !c.Required {
					t.Errorf("input %+v", c)
				}
			}
			if tt.class == "" {
				if m.XGBoost != nil {
					t.Errorf("xgboost flavor %+v", m.XGBoost)
				}
				return
			}
			if x := *m.XGBoost; x.ModelClass != tt.class || x.Data != tt.data || x.Format != tt.format || x.Version == "" {
				t.Errorf("xgboost flavor %+v", x)
			}
		})
	}
}
