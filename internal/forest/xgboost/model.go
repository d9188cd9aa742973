package xgboost

import (
	"fmt"
	"math"

	"serin/internal/forest"
)

// learner reads the document that JSON and UBJSON files share.
func learner(doc value) (forest.Spec, error) {
	root := cursor{value: doc}
	h, err := readHeader(root)
	if err != nil {
		return forest.Spec{}, err
	}
	spec, err := h.spec()
	if err != nil {
		return forest.Spec{}, err
	}
	booster := root.at("learner", "gradient_booster")
	switch h.booster {
	case "gbtree":
		return withTrees(h, spec, booster.at("model"), booster.at("model", "weight_drop"))
	case "dart":
		return withTrees(h, spec, booster.at("gbtree", "model"), booster.at("weight_drop"))
	case "gblinear":
		return withWeights(h, spec, booster.at("model", "weights"))
	}
	return spec, fmt.Errorf("booster %q is not in this version: %s", clip(h.booster), elsewhere)
}

// readHeader reads everything but the booster.
func readHeader(root cursor) (*header, error) {
	h := &header{}
	if err := h.readVersion(root.at("version")); err != nil {
		return nil, err
	}
	l := root.at("learner")
	if l.kind != kindObject {
		return nil, l.mismatch("an object")
	}
	var err error
	if h.objective, err = l.at("objective", "name").text(); err != nil {
		return nil, err
	}
	if h.booster, err = l.at("gradient_booster", "name").text(); err != nil {
		return nil, err
	}
	if h.names, err = l.at("feature_names").texts(); err != nil {
		return nil, err
	}
	if h.types, err = l.at("feature_types").texts(); err != nil {
		return nil, err
	}
	if best := l.at("attributes", "best_iteration"); best.kind != kindNull {
		text, err := best.text()
		if err != nil {
			return nil, err
		}
		if err := h.setBest(text); err != nil {
			return nil, err
		}
	}
	return h, h.readParam(l.at("learner_model_param"))
}

// readVersion reads "version": [major, minor, patch].
func (h *header) readVersion(c cursor) error {
	v, err := c.ints()
	if err != nil {
		return err
	}
	if len(v) != 3 {
		return fmt.Errorf("version has %d numbers, want 3", len(v))
	}
	h.version = makeVersion(int64(v[0]), int64(v[1]))
	return h.version.check()
}

// readParam reads the numbers of learner_model_param, all strings.
func (h *header) readParam(c cursor) error {
	if c.kind != kindObject {
		return c.mismatch("an object")
	}
	var err error
	if h.features, err = c.at("num_feature").count("", forest.MaxFeatures); err != nil {
		return err
	}
	classes, err := c.at("num_class").count("0", math.MaxInt32)
	if err != nil {
		return err
	}
	targets, err := c.at("num_target").count("1", math.MaxInt32)
	if err != nil {
		return err
	}
	if err := h.setGroups(classes, targets); err != nil {
		return err
	}
	text, err := c.at("base_score").text()
	if err != nil {
		return err
	}
	h.base, err = parseBase(text)
	return err
}

// withWeights adds the weights of a linear booster.
func withWeights(h *header, spec forest.Spec, weights cursor) (forest.Spec, error) {
	var err error
	if spec.Linear, err = weights.floats(); err != nil {
		return spec, err
	}
	return linear(h, spec)
}

// linear completes the Spec of a linear booster. XGBoost ignores the best iteration
// there, and starts every output from the first base score, also where the file
// (since 3.1) holds one for each output.
func linear(h *header, spec forest.Spec) (forest.Spec, error) {
	if len(spec.Linear) == 0 {
		return spec, fmt.Errorf("the linear booster has no weights: it was saved before it was trained")
	}
	for i, b := range spec.Base {
		if b != spec.Base[0] && h.version > linearUntil {
			return spec, fmt.Errorf("a linear model with several base scores, written by XGBoost %v after %v, is not in this version: %s", h.version, linearUntil, elsewhere)
		}
		spec.Base[i] = spec.Base[0]
	}
	if h.best != nil {
		spec.Best = &forest.Best{Iteration: *h.best}
	}
	return spec, nil
}

// withTrees adds the trees of gbtree and dart.
func withTrees(h *header, spec forest.Spec, model, weightDrop cursor) (forest.Spec, error) {
	e, err := readEnsemble(h, model)
	if err != nil {
		return spec, err
	}
	spec.HoldsCategories = len(model.at("cats", "enc").list) > 0
	if weightDrop.kind != kindNull {
		weights, err := weightDrop.floats()
		if err != nil {
			return spec, err
		}
		if err := weigh(e.trees, weights, h.booster); err != nil {
			return spec, err
		}
	} else if h.booster == "dart" {
		return spec, weightDrop.mismatch("an array of numbers")
	}
	return complete(h, spec, e)
}

// weigh applies DART's weights. Since 3.4 a plain gbtree holds them too, empty when there are none.
func weigh(trees []forest.Tree, weights []float32, booster string) error {
	if booster != "dart" && len(weights) == 0 {
		return nil
	}
	if len(weights) != len(trees) {
		return fmt.Errorf("weight_drop has %d weights for %d trees", len(weights), len(trees))
	}
	for i := range trees {
		trees[i].Weight, trees[i].Weighted = weights[i], true
	}
	return nil
}

// complete checks the ensemble and adds it to the Spec.
func complete(h *header, spec forest.Spec, e ensemble) (forest.Spec, error) {
	if err := e.check(); err != nil {
		return spec, err
	}
	var err error
	spec.Trees = e.trees
	spec.Best, err = h.bestTrees(&e)
	return spec, err
}

// readEnsemble reads a gbtree model.
func readEnsemble(h *header, model cursor) (ensemble, error) {
	e := ensemble{}
	if model.kind != kindObject {
		return e, model.mismatch("an object")
	}
	list, err := model.at("trees").items()
	if err != nil {
		return e, err
	}
	info, err := model.at("tree_info").ints()
	if err != nil {
		return e, err
	}
	claimed, err := model.at("gbtree_model_param", "num_trees").count("", math.MaxInt32)
	if err != nil {
		return e, err
	}
	if claimed != len(list) || len(info) != len(list) {
		return e, fmt.Errorf("num_trees is %d, but there are %d trees and %d entries in tree_info", claimed, len(list), len(info))
	}
	if e.parallel, err = model.at("gbtree_model_param", "num_parallel_tree").count("1", math.MaxInt32); err != nil {
		return e, err
	}
	if indptr := model.at("iteration_indptr"); indptr.kind != kindNull {
		if e.indptr, err = indptr.ints(); err != nil {
			return e, err
		}
	}
	e.trees = make([]forest.Tree, len(list))
	return e, e.readTrees(h, list, info)
}

// readTrees reads every tree into the place that its id names.
func (e *ensemble) readTrees(h *header, list []value, info []int32) error {
	for i, v := range list {
		c := cursor{value: v, path: fmt.Sprintf("trees[%d]", i)}
		id, ok := int64(0), c.at("id").kind == kindNumber
		if ok {
			id, ok = integer(c.field("id").encoding, c.field("id").raw)
		}
		if !ok || id < 0 || id >= int64(len(list)) {
			return fmt.Errorf("%s.id is not the number of one of the %d trees", c.path, len(list))
		}
		if e.trees[id].Left != nil {
			return fmt.Errorf("%s.id is %d, which an earlier tree has too", c.path, id)
		}
		t, err := readTree(h, c)
		if err != nil {
			return err
		}
		t.Group = int(info[id])
		if t.LeafSize > 0 {
			e.vector = true
		}
		e.trees[id] = t
	}
	return nil
}
