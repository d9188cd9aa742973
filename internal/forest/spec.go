package forest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Limits on what a file may claim. Each is far above what training produces and
// keeps a hostile file from costing more than its own size.
const (
	MaxFeatures = 1 << 20 // columns a row; a caller allocates rows of this many float32
	MaxGroups   = 1 << 14 // margins a row
	MaxNodes    = 1 << 27 // nodes of all trees
	MaxDepth    = 1 << 13 // splits from the root to a leaf
	MaxCategory = 1 << 24 // categories are floats, exact below this
)

// Spec is a model as a file describes it, not yet checked.
type Spec struct {
	// Features is the number of columns a row; Names and Types are empty or have one entry a column.
	Features     int
	Names, Types []string
	// HoldsCategories: see Model.HoldsCategories.
	HoldsCategories bool
	// Objective is kept for display; Link and Output say what it means for a prediction.
	Objective string
	Link      Link
	Output    Output
	// Base is the margin that each group's sum starts from.
	Base []float32
	// Trees are summed in this order. Linear holds Features x Groups weights, then Groups biases. One of the two is empty.
	Trees  []Tree
	Linear []float32
	// Best is the best iteration that the file states, nil when it states none.
	Best *Best
}

// Best is where early stopping found the model to be best.
type Best struct {
	Iteration int // counted from 0
	Trees     int // how many trees the model has after it
}

// Tree is one tree as parallel arrays, one entry a node, the root first. Nodes that cannot be reached from the root are ignored.
type Tree struct {
	// Left and Right are the indices of the children; Left is -1 at a leaf.
	Left, Right []int32
	// Feature is the column that a split reads; not read at leaves.
	Feature []int32
	// Value is the threshold of a split (less goes left) and the value of a scalar leaf.
	Value []float32
	// MissingLeft says of a split that a missing value goes left.
	MissingLeft []bool
	// Categories gives for a categorical split the categories that go right. Splits that are not in it compare with Value.
	Categories map[int32][]int32
	// LeafSize is 0 for a scalar leaf, else the number of groups: then LeafRow gives each leaf's row in Leaves.
	LeafSize int
	Leaves   []float32
	LeafRow  []int32
	// Group is the group that a scalar tree adds to.
	Group int
	// Weight multiplies the leaf. Weighted says that it is applied at all: a sum of weighted leaves starts each tree from +0.
	Weight   float32
	Weighted bool
}

// New checks a Spec and builds the model. The errors name the tree and node at fault.
func New(s Spec) (*Model, error) {
	if err := checkSpec(s); err != nil {
		return nil, err
	}
	m := &Model{
		features: s.Features, names: copyOf(s.Names), types: copyOf(s.Types),
		objective: s.Objective, output: s.Output, link: s.Link,
		base: slices.Clone(s.Base), holdsCategories: s.HoldsCategories,
		linear: slices.Clone(s.Linear), scratch: &sync.Pool{},
	}
	for i := range s.Trees {
		if err := m.add(&s.Trees[i]); err != nil {
			return nil, fmt.Errorf("tree %d: %w", i, err)
		}
	}
	if s.Best != nil {
		c := m.cut(s.Best.Trees)
		c.bestIteration = s.Best.Iteration
		c.best = c
		m.bestIteration, m.best = s.Best.Iteration, c
	}
	return m, nil
}

// checkSpec checks everything but the trees themselves.
func checkSpec(s Spec) error {
	groups := len(s.Base)
	switch {
	case s.Features < 1 || s.Features > MaxFeatures:
		return fmt.Errorf("%d features, want 1 to %d", s.Features, MaxFeatures)
	case len(s.Names) != 0 && len(s.Names) != s.Features:
		return fmt.Errorf("%d feature names for %d features", len(s.Names), s.Features)
	case len(s.Types) != 0 && len(s.Types) != s.Features:
		return fmt.Errorf("%d feature types for %d features", len(s.Types), s.Features)
	case groups < 1 || groups > MaxGroups:
		return fmt.Errorf("%d outputs, want 1 to %d", groups, MaxGroups)
	case !s.Link.known():
		return fmt.Errorf("unknown link %q", s.Link)
	case !slices.Contains([]Output{OutputProbability, OutputValue, OutputLabel, OutputMargin}, s.Output):
		return fmt.Errorf("unknown output %q", s.Output)
	case len(s.Linear) != 0 && len(s.Trees) != 0:
		return errors.New("a model is either linear or made of trees")
	case len(s.Linear) != 0 && len(s.Linear) != (s.Features+1)*groups:
		return fmt.Errorf("%d linear weights, want (%d features + 1 bias) x %d outputs", len(s.Linear), s.Features, groups)
	case s.Best != nil && (s.Best.Iteration < 0 || s.Best.Trees < 0 || s.Best.Trees > len(s.Trees)):
		return fmt.Errorf("best iteration %d ends at tree %d of %d", s.Best.Iteration, s.Best.Trees, len(s.Trees))
	}
	for i, b := range s.Base {
		if !finite(b) {
			return fmt.Errorf("base margin %d is %v", i, b)
		}
	}
	return checkNames(s.Names)
}

// checkNames refuses names that cannot bind a column.
func checkNames(names []string) error {
	seen := make(map[string]int, len(names))
	for i, n := range names {
		if first, ok := seen[n]; ok {
			return fmt.Errorf("features %d and %d are both called %q", first, i, n)
		}
		seen[n] = i
	}
	return nil
}

// copyOf clones a list; an empty one is nil, as Model documents.
func copyOf(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return slices.Clone(list)
}

// finite reports that x is neither infinite nor NaN.
func finite(x float32) bool { return x-x == 0 }
