package model

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"
)

// MLmodelFile is the name of the description that stands at the root of every MLflow model directory.
const MLmodelFile = "MLmodel"

// maxMLmodel bounds the text that ParseMLmodel reads, in bytes; real files have a few kilobytes.
const maxMLmodel = 4 << 20

// MLmodel is what Serin uses of an MLmodel file. Source: mlflow/models/model.py, Model.to_dict, of MLflow 1.x to 3.18.
type MLmodel struct {
	// Flavors are the names of all flavors in the file, sorted: what the model can be loaded as.
	Flavors []string
	// XGBoost is the xgboost flavor; nil when the file has none.
	XGBoost *XGBoostFlavor
	// PyFunc is the python_function flavor; nil when the file has none.
	PyFunc *PyFuncFlavor
	// Inputs and Outputs are the signature; nil when the model was logged without one.
	Inputs, Outputs []Column
	// InputExample and ServingInputExample are paths inside the model directory; empty when no example was saved.
	InputExample, ServingInputExample string
	// ModelUUID names the logged model (MLflow 3: the same as model_id). RunID is empty when it was logged outside a run.
	ModelUUID, RunID string
	// MLflowVersion is the version of MLflow that wrote the file; empty in very old files.
	MLflowVersion string
}

// XGBoostFlavor is flavors.xgboost.
type XGBoostFlavor struct {
	// Data is the model file's path inside the directory. Its name says nothing about its format: look at its bytes.
	Data string `yaml:"data"`
	// ModelClass is the Python class, such as xgboost.core.Booster (predicts probabilities) or xgboost.sklearn.XGBClassifier (predicts labels).
	ModelClass string `yaml:"model_class"`
	// Format is model_format: ubj, json or xgb; empty in old files.
	Format string `yaml:"model_format"`
	// Version is xgb_version, the XGBoost that wrote the model.
	Version string `yaml:"xgb_version"`
}

// PyFuncFlavor is flavors.python_function: how `mlflow models serve` would load the model.
type PyFuncFlavor struct {
	// LoaderModule is the Python module that loads it, such as mlflow.xgboost or mlflow.sklearn.
	LoaderModule string `yaml:"loader_module"`
	// Data is the path that the loader is given; empty means the directory itself.
	Data string `yaml:"data"`
	// PythonVersion is the interpreter that logged the model.
	PythonVersion string `yaml:"python_version"`
}

// Column is one column or tensor of a signature.
type Column struct {
	// Name is empty for an unnamed column or tensor.
	Name string
	// Type is MLflow's name of the type: boolean, integer, long, float, double, string, binary, datetime, tensor, array, object, map or any.
	// For a tensor, DType is its NumPy type and Shape its dimensions, -1 where any size goes.
	Type  string
	DType string
	Shape []int64
	// Required is false only when the signature says that the column may be left out.
	Required bool
}

// mlmodelYAML is the file as it is written. Keys that are not named here are ignored: MLflow adds some in every release.
type mlmodelYAML struct {
	Flavors   map[string]yaml.Node `yaml:"flavors"`
	Signature *struct {
		Inputs  string `yaml:"inputs"`
		Outputs string `yaml:"outputs"`
	} `yaml:"signature"`
	Example *struct {
		Path    string `yaml:"artifact_path"`
		Serving string `yaml:"serving_input_path"`
	} `yaml:"saved_input_example_info"`
	ModelUUID     string `yaml:"model_uuid"`
	ModelID       string `yaml:"model_id"`
	RunID         string `yaml:"run_id"`
	MLflowVersion string `yaml:"mlflow_version"`
}

// ParseMLmodel reads the text of an MLmodel file. Unknown keys and flavors are let through; paths that would leave the model directory are refused.
func ParseMLmodel(text []byte) (MLmodel, error) {
	if len(text) > maxMLmodel {
		return MLmodel{}, fmt.Errorf("MLmodel of %d bytes: at most %d are read; is this the description and not the model file?", len(text), maxMLmodel)
	}
	var y mlmodelYAML
	if err := yaml.Unmarshal(text, &y); err != nil {
		return MLmodel{}, fmt.Errorf("MLmodel is not valid YAML: %w", err)
	}
	if len(y.Flavors) == 0 {
		return MLmodel{}, fmt.Errorf("MLmodel has no flavors: give the MLmodel file that MLflow's log_model or save_model wrote")
	}
	m := MLmodel{
		Flavors: slices.Sorted(maps.Keys(y.Flavors)), ModelUUID: y.ModelUUID, RunID: y.RunID, MLflowVersion: y.MLflowVersion,
	}
	if m.ModelUUID == "" {
		m.ModelUUID = y.ModelID
	}
	if err := m.readFlavors(y.Flavors); err != nil {
		return MLmodel{}, err
	}
	if err := m.readSignature(y); err != nil {
		return MLmodel{}, err
	}
	if y.Example != nil {
		m.InputExample, m.ServingInputExample = y.Example.Path, y.Example.Serving
	}
	return m, m.checkPaths()
}

func (m *MLmodel) readFlavors(flavors map[string]yaml.Node) error {
	if node, ok := flavors["xgboost"]; ok {
		m.XGBoost = &XGBoostFlavor{}
		if err := node.Decode(m.XGBoost); err != nil {
			return fmt.Errorf("MLmodel flavors.xgboost: %w", err)
		}
		if m.XGBoost.Data == "" {
			return fmt.Errorf("MLmodel flavors.xgboost has no data: it must name the model file, such as model.ubj")
		}
	}
	if node, ok := flavors["python_function"]; ok {
		m.PyFunc = &PyFuncFlavor{}
		if err := node.Decode(m.PyFunc); err != nil {
			return fmt.Errorf("MLmodel flavors.python_function: %w", err)
		}
	}
	return nil
}

func (m *MLmodel) readSignature(y mlmodelYAML) (err error) {
	if y.Signature == nil {
		return nil
	}
	if m.Inputs, err = parseColumns(y.Signature.Inputs); err != nil {
		return fmt.Errorf("MLmodel signature.inputs: %w", err)
	}
	if m.Outputs, err = parseColumns(y.Signature.Outputs); err != nil {
		return fmt.Errorf("MLmodel signature.outputs: %w", err)
	}
	return nil
}

func (m *MLmodel) checkPaths() error {
	paths := map[string]string{
		"saved_input_example_info.artifact_path":      m.InputExample,
		"saved_input_example_info.serving_input_path": m.ServingInputExample,
	}
	if m.XGBoost != nil {
		paths["flavors.xgboost.data"] = m.XGBoost.Data
	}
	if m.PyFunc != nil && m.PyFunc.Data != "." {
		paths["flavors.python_function.data"] = m.PyFunc.Data
	}
	for _, key := range slices.Sorted(maps.Keys(paths)) {
		if paths[key] == "" {
			continue
		}
		if err := ValidatePath(paths[key]); err != nil {
			return fmt.Errorf("MLmodel %s: %w", key, err)
		}
	}
	return nil
}

// columnJSON is one entry of a signature, which is JSON inside YAML. The type is a string in every column that MLflow writes; a name is a number
// where a data frame had numbered columns. Source: mlflow/types/schema.py.
type columnJSON struct {
	Name     json.RawMessage `json:"name"`
	Type     string          `json:"type"`
	Required *bool           `json:"required"`
	Optional bool            `json:"optional"` // before MLflow 2.6
	Tensor   *struct {
		DType string  `json:"dtype"`
		Shape []int64 `json:"shape"`
	} `json:"tensor-spec"`
}

// columnName gives a name as it is written: a float64 in between would turn column 1000000 into 1e+06. What is neither text nor number, such as
// the list that a data frame with several levels of columns leaves, is its JSON.
func columnName(raw json.RawMessage) string {
	var text string
	if len(raw) == 0 || json.Unmarshal(raw, &text) == nil { // null leaves it empty
		return text
	}
	return string(raw)
}

// parseColumns reads a list of columns. The empty text and null are no signature.
func parseColumns(text string) ([]Column, error) {
	if text == "" {
		return nil, nil
	}
	var entries []columnJSON
	if err := json.Unmarshal([]byte(text), &entries); err != nil {
		return nil, fmt.Errorf("not a JSON list of columns: %w", err)
	}
	columns := make([]Column, 0, len(entries))
	for i, e := range entries {
		if e.Type == "" {
			return nil, fmt.Errorf("column %d has no type: log the model again with infer_signature", i+1)
		}
		c := Column{Name: columnName(e.Name), Type: e.Type, Required: !e.Optional && (e.Required == nil || *e.Required)}
		if e.Type == "tensor" {
			if e.Tensor == nil {
				return nil, fmt.Errorf("column %d is a tensor without tensor-spec: log the model again with infer_signature", i+1)
			}
			c.DType, c.Shape = e.Tensor.DType, e.Tensor.Shape
		}
		columns = append(columns, c)
	}
	if len(columns) == 0 {
		return nil, nil
	}
	return columns, nil
}
