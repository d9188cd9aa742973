package xgboost

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"serin/internal/forest"
)

// version is the XGBoost that wrote a file: 1000 x major + minor.
type version int

// The versions where the meaning of a file changed, and the last one that this reader was compared with.
const (
	oldest         version = 1_000 // before, base_score was a margin
	categoriesFrom version = 1_006 // before, categorical splits were an experiment with other rules
	clampedFrom    version = 3_002 // a logistic base score is kept inside (0, 1)
	linearUntil    version = 3_002 // last one seen to start all outputs of a linear model from the first base score
	sortedFrom     version = 3_004 // quantiles come in rising order
	newest         version = 3_004
)

// makeVersion joins what files hold apart. A number out of range makes a version that check refuses.
func makeVersion(major, minor int64) version {
	if major < 0 || minor < 0 || major > 999 || minor > 999 {
		return -1
	}
	return version(1000*major + minor)
}

// String is major.minor.
func (v version) String() string { return fmt.Sprintf("%d.%d", v/1000, v%1000) }

// check refuses files whose meaning this reader does not know.
func (v version) check() error {
	switch {
	case v < 0:
		return errors.New("the file's version of XGBoost is no version")
	case v < oldest:
		return fmt.Errorf("written by XGBoost %v, before %v: load it with XGBoost 1.7 and save it again as .ubj", v, oldest)
	case v > newest:
		return fmt.Errorf("written by XGBoost %v, newer than %v, the last one this version was compared with: %s", v, newest, elsewhere)
	}
	return nil
}

// meaning is what an objective's margins mean.
type meaning struct {
	link   forest.Link
	output forest.Output
}

// meaningOf says what can be reproduced exactly. A custom objective leaves the
// name of the one it was set beside, and its model predicts as that one does in
// XGBoost too.
func meaningOf(objective string, v version) (meaning, bool) {
	switch objective {
	case "binary:logistic", "reg:logistic":
		return meaning{forest.LinkLogistic, forest.OutputProbability}, true
	case "binary:logitraw":
		return meaning{forest.LinkIdentity, forest.OutputMargin}, true
	case "binary:hinge":
		return meaning{forest.LinkHinge, forest.OutputLabel}, true
	case "multi:softprob":
		return meaning{forest.LinkSoftprob, forest.OutputProbability}, true
	case "multi:softmax":
		return meaning{forest.LinkSoftmax, forest.OutputLabel}, true
	case "reg:quantileerror":
		if v >= sortedFrom {
			return meaning{forest.LinkSorted, forest.OutputValue}, true
		}
		return meaning{forest.LinkIdentity, forest.OutputValue}, true
	case "reg:squarederror", "reg:linear", // reg:linear is its old name
		"reg:squaredlogerror", "reg:pseudohubererror", "reg:absoluteerror",
		"rank:pairwise", "rank:ndcg", "rank:map":
		return meaning{forest.LinkIdentity, forest.OutputValue}, true
	case "reg:gamma", "reg:tweedie", "count:poisson", "survival:cox", "survival:aft":
		// As the package xgboost scores survival:aft. The package xgboost-cpu calls
		// exp there and not expf, and one output in 1,500 differs in its last bit.
		return meaning{forest.LinkExp, forest.OutputValue}, true
	}
	return meaning{}, false
}

// header is what all formats say of a model beside its booster.
type header struct {
	version         version
	objective       string
	booster         string
	features        int
	groups          int
	base            []float32 // as in the file: one value, or one a group
	names, types    []string
	holdsCategories bool
	best            *int // attributes.best_iteration
}

// setGroups derives the number of margins a row from the classes and targets of a file.
func (h *header) setGroups(classes, targets int) error {
	if classes > 1 && targets > 1 {
		return fmt.Errorf("%d classes and %d targets: XGBoost has no such model", classes, targets)
	}
	h.groups = max(1, classes, targets)
	if h.groups > forest.MaxGroups {
		return fmt.Errorf("%d outputs, more than %d: %s", h.groups, forest.MaxGroups, elsewhere)
	}
	return nil
}

// setBest reads the best iteration out of the attributes.
func (h *header) setBest(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return fmt.Errorf("attribute best_iteration is %q, want a number from 0", clip(text))
	}
	h.best = &n
	return nil
}

// spec starts a Spec: everything but the trees or weights.
func (h *header) spec() (forest.Spec, error) {
	m, ok := meaningOf(h.objective, h.version)
	if !ok {
		return forest.Spec{}, fmt.Errorf("objective %q cannot be reproduced exactly in this version: %s", clip(h.objective), elsewhere)
	}
	base, err := h.margins(m.link)
	if err != nil {
		return forest.Spec{}, err
	}
	return forest.Spec{
		Features: h.features, Names: h.names, Types: h.types, HoldsCategories: h.holdsCategories,
		Objective: h.objective, Link: m.link, Output: m.output, Base: base,
	}, nil
}

// margins turns the base scores into one margin a group.
func (h *header) margins(link forest.Link) ([]float32, error) {
	base := slices.Clone(h.base)
	if len(base) == 1 {
		base = slices.Repeat(base, h.groups)
	}
	if len(base) != h.groups {
		return nil, fmt.Errorf("%d base scores for %d outputs", len(base), h.groups)
	}
	for i, b := range base {
		if link == forest.LinkLogistic && h.version >= clampedFrom && b >= 0 && b <= 1 {
			const edge = float32(1e-6)
			b = min(max(b, edge), 1-edge)
		}
		margin, err := link.Margin(b)
		if err != nil {
			return nil, err
		}
		base[i] = margin
	}
	return base, nil
}

// parseBase reads a base score: "5E-1", "[5E-1,2E-1]" or "(0.5,)".
func parseBase(text string) ([]float32, error) {
	inner := text
	for _, pair := range []string{"[]", "()"} {
		if len(text) >= 2 && text[0] == pair[0] && text[len(text)-1] == pair[1] {
			inner = strings.TrimSuffix(text[1:len(text)-1], ",")
		}
	}
	var out []float32
	for part := range strings.SplitSeq(inner, ",") {
		f, ok := parseFloat([]byte(strings.TrimSpace(part)))
		if !ok || len(out) >= forest.MaxGroups {
			return nil, fmt.Errorf("base_score is %q, want a number or a list of numbers", clip(text))
		}
		out = append(out, f)
	}
	return out, nil
}

// bestTrees says how many trees the model has after its best iteration. indptr
// gives for each iteration its first tree, and the number of trees at the end;
// files of before 2.0 have none, there every iteration has as many trees.
func (h *header) bestTrees(e *ensemble) (*forest.Best, error) {
	if h.best == nil {
		return nil, nil
	}
	rounds, perRound := len(e.indptr)-1, 1
	if e.indptr == nil {
		perRound = e.parallel
		if !e.vector {
			perRound *= h.groups
		}
		rounds = len(e.trees) / perRound
	}
	if *h.best >= rounds {
		return nil, fmt.Errorf("attribute best_iteration is %d, but the model has %d iterations", *h.best, rounds)
	}
	best := forest.Best{Iteration: *h.best, Trees: (*h.best + 1) * perRound}
	if e.indptr != nil {
		best.Trees = int(e.indptr[*h.best+1])
	}
	return &best, nil
}

// ensemble is a tree booster of any format.
type ensemble struct {
	trees    []forest.Tree
	parallel int     // trees a round and group
	indptr   []int32 // nil when the file has none
	vector   bool    // leaves hold a value a group
}

// check compares the index of iterations with the trees.
func (e *ensemble) check() error {
	if e.parallel < 1 {
		return errors.New("num_parallel_tree is 0")
	}
	if e.indptr == nil {
		return nil
	}
	if !slices.IsSorted(e.indptr) || len(e.indptr) == 0 || e.indptr[0] != 0 || int(e.indptr[len(e.indptr)-1]) != len(e.trees) {
		return fmt.Errorf("iteration_indptr does not rise from 0 to the %d trees", len(e.trees))
	}
	return nil
}
