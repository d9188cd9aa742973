package forest

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// stump is x[0] < 1 ? -2 : 3 with a missing value going right.
func stump() Tree {
	return Tree{
		Left: []int32{1, -1, -1}, Right: []int32{2, -1, -1}, Feature: []int32{0, 0, 0},
		Value: []float32{1, -2, 3}, MissingLeft: []bool{false, false, false},
	}
}

// small is a good Spec of two features and one stump.
func small() Spec {
	return Spec{
		Features: 2, Names: []string{"a", "b"}, Types: []string{"float", "c"},
		Objective: "reg:squarederror", Link: LinkIdentity, Output: OutputValue,
		Base: []float32{0.5}, Trees: []Tree{stump()},
	}
}

// chain is a tree of depth splits down its left side: splits at even indices, a leaf after each.
func chain(depth int) Tree {
	n := 2*depth + 1
	t := Tree{Left: make([]int32, n), Right: make([]int32, n), Feature: make([]int32, n), Value: make([]float32, n), MissingLeft: make([]bool, n)}
	for i := range n {
		t.Left[i], t.Right[i] = -1, -1
		if i%2 == 0 && i < n-1 {
			t.Left[i], t.Right[i] = int32(i+2), int32(i+1)
		}
	}
	return t
}

func TestNew_RefusesABadSpec(t *testing.T) {
	t.Parallel()
	nan := float32(math.NaN())
	tests := []struct {
		name string
		edit func(s *Spec)
		want string
	}{
		{"no features", func(s *Spec) { s.Features = 0 }, "0 features, want 1 to"},
		{"too many features", func(s *Spec) { s.Features = MaxFeatures + 1 }, "1048577 features"},
		{"names of another width", func(s *Spec) { s.Names = []string{"a"} }, "1 feature names for 2 features"},
		{"types of another width", func(s *Spec) { s.Types = []string{"a"} }, "1 feature types for 2 features"},
		{"one name twice", func(s *Spec) { s.Names = []string{"a", "a"} }, `features 0 and 1 are both called "a"`},
		{"no groups", func(s *Spec) { s.Base = nil }, "0 outputs"},
		{"too many groups", func(s *Spec) { s.Base = make([]float32, MaxGroups+1) }, "16385 outputs"},
		{"unknown link", func(s *Spec) { s.Link = "probit" }, `unknown link "probit"`},
		{"unknown output", func(s *Spec) { s.Output = "rank" }, `unknown output "rank"`},
		{"base is not a number", func(s *Spec) { s.Base[0] = nan }, "base margin 0 is NaN"},
		{"trees and weights", func(s *Spec) { s.Linear = make([]float32, 3) }, "either linear or made of trees"},
		{"weights of another width", func(s *Spec) { s.Trees, s.Linear = nil, make([]float32, 4) }, "4 linear weights, want (2 features + 1 bias) x 1 outputs"},
		{"best beyond the trees", func(s *Spec) { s.Best = &Best{Iteration: 1, Trees: 2} }, "best iteration 1 ends at tree 2 of 1"},
		{"negative best", func(s *Spec) { s.Best = &Best{Iteration: -1} }, "best iteration -1"},
		{"no nodes", func(s *Spec) { s.Trees[0] = Tree{} }, "tree 0: no nodes"},
		{"short array", func(s *Spec) { s.Trees[0].Value = s.Trees[0].Value[:2] }, "tree 0: arrays of different lengths"},
		{"group out of range", func(s *Spec) { s.Trees[0].Group = 1 }, "adds to output 1 of 1"},
		{"negative group", func(s *Spec) { s.Trees[0].Group = -1 }, "adds to output -1 of 1"},
		{"weight is not a number", func(s *Spec) { s.Trees[0].Weighted, s.Trees[0].Weight = true, nan }, "weight NaN"},
		{"leaf size of another width", func(s *Spec) { s.Trees[0].LeafSize = 2 }, "leaves of 2 values for 1 outputs"},
		{"no leaf rows", func(s *Spec) { s.Trees[0].LeafSize = 1 }, "0 leaf rows for 3 nodes"},
		{"leaf row out of range", func(s *Spec) {
			s.Trees[0].LeafSize, s.Trees[0].LeafRow, s.Trees[0].Leaves = 1, []int32{0, 0, 1}, []float32{7}
		}, "node 2: its leaf is row 1 of 1"},
		{"vector leaf is not a number", func(s *Spec) {
			s.Trees[0].LeafSize, s.Trees[0].LeafRow, s.Trees[0].Leaves = 1, []int32{0, 0, 1}, []float32{7, nan}
		}, "node 2: its leaf holds a value that is not a number"},
		{"weighted vector", func(s *Spec) {
			s.Trees[0].LeafSize, s.Trees[0].LeafRow, s.Trees[0].Weighted = 1, []int32{0, 0, 0}, true
		}, "weighted trees with vector leaves are not in this version"},
		{"leaf is not a number", func(s *Spec) { s.Trees[0].Value[1] = nan }, "node 1: its leaf value is not a number"},
		{"threshold is not a number", func(s *Spec) { s.Trees[0].Value[0] = nan }, "node 0: its threshold is not a number"},
		{"feature out of range", func(s *Spec) { s.Trees[0].Feature[0] = 2 }, "node 0: it splits on feature 2 of 2"},
		{"negative feature", func(s *Spec) { s.Trees[0].Feature[0] = -1 }, "splits on feature -1"},
		{"child out of range", func(s *Spec) { s.Trees[0].Right[0] = 3 }, "node 0: its child 3 is not one of the 3 nodes"},
		{"negative child", func(s *Spec) { s.Trees[0].Left[0] = -2 }, "its child -2 is not one"},
		{"missing child", func(s *Spec) { s.Trees[0].Right[0] = -1 }, "its child -1 is not one"},
		{"cycle", func(s *Spec) { s.Trees[0].Left[1], s.Trees[0].Right[1] = 0, 2 }, "node 1: its child 0 is reached twice"},
		{"two parents", func(s *Spec) { s.Trees[0].Right[0] = 1 }, "its child 1 is reached twice"},
		{"too deep", func(s *Spec) { s.Trees[0] = chain(MaxDepth + 1) }, "deeper than 8192"},
		{"empty set", func(s *Spec) { s.Trees[0].Categories = map[int32][]int32{0: {}} }, "its set of categories is empty"},
		{"negative category", func(s *Spec) { s.Trees[0].Categories = map[int32][]int32{0: {-1}} }, "its category -1 is not below"},
		{"category beyond float32", func(s *Spec) { s.Trees[0].Categories = map[int32][]int32{0: {MaxCategory}} }, "its category 16777216"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := small()
			tt.edit(&s)
			if _, err := New(s); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// Sets of categories cost memory by their largest category, so the sum is bounded.
func TestNew_BoundsTheSizeOfCategorySets(t *testing.T) {
	t.Parallel()
	s := small()
	s.Trees = nil
	for range 40 { // 2 MB each
		tree := stump()
		tree.Categories = map[int32][]int32{0: {MaxCategory - 1}}
		s.Trees = append(s.Trees, tree)
	}
	if _, err := New(s); err == nil || !strings.Contains(err.Error(), "sets of categories of this model need more than 67108864 bytes") {
		t.Errorf("error %v, want one about the size of the sets", err)
	}
}

func TestNew_AcceptsTheDeepestTree(t *testing.T) {
	t.Parallel()
	s := small()
	s.Trees[0] = chain(MaxDepth)
	if _, err := New(s); err != nil {
		t.Error(err)
	}
}

// What cannot be reached cannot do harm: pruning leaves such nodes behind.
func TestNew_IgnoresUnreachableNodes(t *testing.T) {
	t.Parallel()
	s := small()
	tree := &s.Trees[0]
	tree.Left, tree.Right = append(tree.Left, 99, 3), append(tree.Right, -7, 4)
	tree.Feature, tree.Value = append(tree.Feature, 1<<30, -5), append(tree.Value, float32(math.NaN()), 0)
	tree.MissingLeft = append(tree.MissingLeft, true, true)
	m, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.nodes) != 3 {
		t.Errorf("%d nodes kept, want the 3 that can be reached", len(m.nodes))
	}
}

func TestModel_Facts(t *testing.T) {
	t.Parallel()
	s := small()
	s.HoldsCategories = true
	m, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	type facts struct {
		Features, Groups, Outputs, Trees int
		Names, Types                     []string
		Objective                        string
		Output                           Output
		Base                             []float32
		Holds                            bool
	}
	want := facts{2, 1, 1, 1, []string{"a", "b"}, []string{"float", "c"}, "reg:squarederror", OutputValue, []float32{0.5}, true}
	got := facts{m.NumFeature(), m.Groups(), m.Outputs(), m.Trees(), m.FeatureNames(), m.FeatureTypes(), m.Objective(), m.Output(), m.BaseMargins(), m.HoldsCategories()}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
	m.FeatureNames()[0] = "changed"
	m.BaseMargins()[0] = 9
	s.Names[0], s.Base[0] = "changed", 9
	if m.FeatureNames()[0] != "a" || m.BaseMargins()[0] != 0.5 {
		t.Error("a caller can change the model")
	}
}

func TestModel_NoNamesAreNil(t *testing.T) {
	t.Parallel()
	s := small()
	s.Names, s.Types = []string{}, nil
	m, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	if m.FeatureNames() != nil || m.FeatureTypes() != nil {
		t.Errorf("names %v, types %v, want nil", m.FeatureNames(), m.FeatureTypes())
	}
}

func TestModel_AtBestIteration(t *testing.T) {
	t.Parallel()
	s := small()
	s.Trees = slices.Repeat(s.Trees, 4)
	plain, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := plain.BestIteration(); ok || plain.AtBestIteration() != plain {
		t.Error("a model without a best iteration must be its own best")
	}
	s.Best = &Best{Iteration: 1, Trees: 2}
	m, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	best := m.AtBestIteration()
	if i, ok := m.BestIteration(); !ok || i != 1 {
		t.Errorf("best iteration %d, %v, want 1", i, ok)
	}
	if i, ok := best.BestIteration(); !ok || i != 1 || best.AtBestIteration() != best {
		t.Errorf("the best model's best iteration is %d, %v; it must be its own best", i, ok)
	}
	all, cut := make([]float32, 1), make([]float32, 1)
	m.Margins(all, []float32{0, 0})
	best.Margins(cut, []float32{0, 0})
	if m.Trees() != 4 || best.Trees() != 2 || all[0] != -7.5 || cut[0] != -3.5 {
		t.Errorf("%d trees give %v, %d at best give %v; want 4, -7.5, 2, -3.5", m.Trees(), all[0], best.Trees(), cut[0])
	}
}
