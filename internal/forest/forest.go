// Package forest scores rows with tree ensembles and linear boosters, bit for bit as the library that trained them does in float32.
// It never reads a file, never guesses a value that a model does not state, and allocates nothing while scoring.
//
// A model is built once by New from a Spec, which a reader of some file format
// (such as forest/xgboost) fills in. New checks everything that the walk relies
// on, so that the walk itself needs no checks.
package forest

import (
	"slices"
	"sync"
)

// Output says what Predict yields.
type Output string

// What a model predicts, after its link.
const (
	OutputProbability Output = "probability" // of the positive class, or one a class
	OutputValue       Output = "value"       // a number in the unit of the label, a rate, a hazard or a ranking score
	OutputLabel       Output = "label"       // the number of a class
	OutputMargin      Output = "margin"      // the raw sum, which this model's objective leaves as it is
)

// Model is a checked ensemble. It is immutable and safe for concurrent use.
type Model struct {
	features        int
	names           []string
	types           []string
	objective       string
	output          Output
	link            Link
	base            []float32 // one margin a group
	holdsCategories bool      // see HoldsCategories

	trees    []tree
	nodes    []node
	leaves   []float32  // vector leaves, groups values each
	sets     [][]uint32 // categories that go right, as bits
	setWords int        // the size of all sets
	linear   []float32  // features x groups weights, then groups biases; nil for trees

	bestIteration int
	best          *Model     // the model cut at its best iteration, nil when no iteration is stated
	scratch       *sync.Pool // *[]float32 of groups values, for links that yield fewer values than groups
}

// NumFeature returns how many columns a row has.
func (m *Model) NumFeature() int { return m.features }

// FeatureNames returns the columns' names in row order, or nil when the file holds none.
func (m *Model) FeatureNames() []string { return slices.Clone(m.names) }

// FeatureTypes returns the columns' types as the file spells them ("float", "int", "i", "q", "c" for categorical), or nil.
func (m *Model) FeatureTypes() []string { return slices.Clone(m.types) }

// Groups returns the number of margins a row: classes or targets.
func (m *Model) Groups() int { return len(m.base) }

// Outputs returns the number of values a row that Predict writes.
func (m *Model) Outputs() int {
	if m.link == LinkSoftmax {
		return 1
	}
	return len(m.base)
}

// Objective returns the training objective's name, such as "binary:logistic".
func (m *Model) Objective() string { return m.objective }

// Output says what Predict yields.
func (m *Model) Output() Output { return m.output }

// Trees returns how many trees are summed; 0 for a linear model.
func (m *Model) Trees() int { return len(m.trees) }

// BaseMargins returns what the sum of each group starts from.
func (m *Model) BaseMargins() []float32 { return slices.Clone(m.base) }

// HoldsCategories reports that the file maps category names to codes. Rows given
// to this model must hold codes (0, 1, 2, ...): a caller that has names, or
// numbers that are names, must not pass them as they are.
func (m *Model) HoldsCategories() bool { return m.holdsCategories }

// BestIteration returns the best iteration (counted from 0) when the file states one.
func (m *Model) BestIteration() (int, bool) {
	if m.best == nil {
		return 0, false
	}
	return m.bestIteration, true
}

// AtBestIteration returns the model cut after its best iteration, as scikit-learn's
// wrappers of XGBoost score; the model itself when the file states none.
func (m *Model) AtBestIteration() *Model {
	if m.best == nil {
		return m
	}
	return m.best
}

// cut returns the model with its first trees only, sharing everything else.
func (m *Model) cut(trees int) *Model {
	c := *m
	c.trees = m.trees[:trees:trees]
	return &c
}
