package scorer

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"serin/internal/forest"
	"serin/internal/model"
)

// ways is what a person can do about a model that Serin does not score itself.
const ways = "serve it (such as mlflow models serve) and give http://HOST/invocations, or put its scores into the data and name the columns (--champion-scores, --challenger-scores)"

// openDescribed opens what an MLmodel describes. Only the xgboost flavor is scored here; the class in it decides how.
func (o *Opener) openDescribed(root *os.Root, described model.MLmodel, info Info) (*native, error) {
	if described.XGBoost == nil {
		return nil, refuseFlavors(described)
	}
	flavor := described.XGBoost
	m, err := o.parse(root, flavor.Data)
	if err != nil {
		return nil, err
	}
	m, note, err := applyClass(m, flavor.ModelClass)
	if err != nil {
		return nil, err
	}
	info.Notes = append(info.Notes, note)
	return o.finish(m, described.Inputs, info)
}

// applyClass does what the Python class of the model would do. The scikit-learn wrappers predict with the trees up to best_iteration where the model
// was stopped early; a Booster predicts with all of them. An XGBClassifier behind MLflow answers labels; here it answers the probabilities behind them.
func applyClass(m *forest.Model, class string) (*forest.Model, string, error) {
	name := class[strings.LastIndexByte(class, '.')+1:]
	switch {
	case class == "", class == "xgboost.core.Booster":
		return m, "Booster: its outputs, all trees", nil
	case !strings.HasPrefix(class, "xgboost.sklearn."):
		return nil, "", fmt.Errorf("model class %s is not XGBoost's own and may predict anything: %s", class, ways)
	case !slices.Contains([]string{"XGBClassifier", "XGBRFClassifier", "XGBRegressor", "XGBRFRegressor", "XGBRanker", "XGBModel"}, name):
		return nil, "", fmt.Errorf("model class %s is not known in this version: %s", class, ways)
	}
	what := "values"
	if strings.HasSuffix(name, "Classifier") {
		if Kind(m.Output()) != Probability {
			return nil, "", fmt.Errorf("%s with objective %s: predict_proba is not reproduced in this version: %s", name, m.Objective(), ways)
		}
		what = "probabilities"
	}
	best, ok := m.BestIteration()
	if !ok {
		return m, fmt.Sprintf("%s: %s, all trees (no best_iteration)", name, what), nil
	}
	return m.AtBestIteration(), fmt.Sprintf("%s: %s with best_iteration %d applied", name, what, best), nil
}

// refuseFlavors says what the model is and what can be done.
func refuseFlavors(described model.MLmodel) error {
	others := slices.DeleteFunc(slices.Clone(described.Flavors), func(f string) bool { return f == "python_function" })
	what := "a Python function (pyfunc)"
	if len(others) > 0 {
		what = "of flavor " + strings.Join(others, ", ")
	}
	if slices.Contains(others, "sklearn") || len(others) == 0 {
		what += ", stored as a pickle that Serin never loads"
	}
	return fmt.Errorf("the model is %s; only the xgboost flavor is scored in this version: %s", what, ways)
}
