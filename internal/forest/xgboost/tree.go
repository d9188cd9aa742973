package xgboost

import (
	"fmt"

	"serin/internal/forest"
)

// readTree reads one tree of a JSON or UBJSON file.
func readTree(h *header, c cursor) (forest.Tree, error) {
	t := forest.Tree{}
	nodes, err := c.at("tree_param", "num_nodes").count("", forest.MaxNodes)
	if err != nil {
		return t, err
	}
	if nodes == 0 {
		return t, fmt.Errorf("%s has no nodes", c.path)
	}
	if t.Left, err = c.at("left_children").ints(); err != nil {
		return t, err
	}
	if len(t.Left) != nodes {
		return t, fmt.Errorf("%s.left_children has %d entries for %d nodes", c.path, len(t.Left), nodes)
	}
	if t.Right, err = c.at("right_children").ints(); err != nil {
		return t, err
	}
	if t.Feature, err = c.at("split_indices").ints(); err != nil {
		return t, err
	}
	if t.Value, err = c.at("split_conditions").floats(); err != nil {
		return t, err
	}
	if t.MissingLeft, err = c.at("default_left").flags(); err != nil {
		return t, err
	}
	if err := readCategories(h, c, &t); err != nil {
		return t, err
	}
	return t, readLeaves(c, &t)
}

// readLeaves reads the leaves of a tree that holds a value for every output.
func readLeaves(c cursor, t *forest.Tree) error {
	size, err := c.at("tree_param", "size_leaf_vector").count("0", forest.MaxGroups)
	if err != nil || size <= 1 { // 1.7 writes 0 for a scalar, later versions 1
		return err
	}
	t.LeafSize = size
	if weights := c.at("leaf_weights"); weights.kind != kindNull {
		// Since 3.2 leaves have rows of their own, and the right child of a leaf is its row.
		t.LeafRow = t.Right
		t.Leaves, err = weights.floats()
		return err
	}
	if t.Leaves, err = c.at("base_weights").floats(); err != nil {
		return err
	}
	t.LeafRow = make([]int32, len(t.Left))
	for i := range t.LeafRow {
		t.LeafRow[i] = int32(i)
	}
	return nil
}

// segments are the arrays that say which categories a node holds.
type segments struct {
	nodes, begins, sizes, categories []int32
}

// readCategories reads the sets of categorical splits. They and split_type must
// name the same nodes: XGBoost derives one from the other when it writes.
func readCategories(h *header, c cursor, t *forest.Tree) error {
	if c.field("split_type").kind == kindNull { // before 1.3, which had no categories either
		if nodes := c.at("categories_nodes"); nodes.kind != kindNull && (nodes.kind != kindArray || !nodes.empty()) {
			return fmt.Errorf("%s has categories but no split_type, so its splits cannot be told apart", c.path)
		}
		return nil
	}
	categorical, err := c.at("split_type").flags()
	if err != nil {
		return err
	}
	if len(categorical) != len(t.Left) {
		return fmt.Errorf("%s.split_type has %d entries for %d nodes", c.path, len(categorical), len(t.Left))
	}
	s, err := readSegments(c)
	if err != nil {
		return err
	}
	if t.Categories, err = s.sets(c.path, categorical); err != nil {
		return err
	}
	if len(t.Categories) > 0 && h.version < categoriesFrom {
		return fmt.Errorf("%s splits on categories and was written by XGBoost %v: save the model again with %v or later", c.path, h.version, categoriesFrom)
	}
	return nil
}

// readSegments reads the four arrays; a file without categories may lack them.
func readSegments(c cursor) (segments, error) {
	var s segments
	if c.field("categories_nodes").kind == kindNull {
		return s, nil
	}
	var err error
	if s.nodes, err = c.at("categories_nodes").ints(); err != nil {
		return s, err
	}
	if s.begins, err = c.at("categories_segments").ints(); err != nil {
		return s, err
	}
	if s.sizes, err = c.at("categories_sizes").ints(); err != nil {
		return s, err
	}
	if s.categories, err = c.at("categories").ints(); err != nil {
		return s, err
	}
	if len(s.begins) != len(s.nodes) || len(s.sizes) != len(s.nodes) {
		return s, fmt.Errorf("%s: %d categorical nodes, %d segments, %d sizes", c.path, len(s.nodes), len(s.begins), len(s.sizes))
	}
	return s, nil
}

// sets maps each categorical node to its categories.
func (s segments) sets(path string, categorical []bool) (map[int32][]int32, error) {
	out := make(map[int32][]int32, len(s.nodes))
	for i, n := range s.nodes {
		if n < 0 || int(n) >= len(categorical) || !categorical[n] {
			return nil, fmt.Errorf("%s: node %d has categories but no categorical split", path, n)
		}
		if _, twice := out[n]; twice {
			return nil, fmt.Errorf("%s: node %d has two sets of categories", path, n)
		}
		begin, end := int64(s.begins[i]), int64(s.begins[i])+int64(s.sizes[i])
		if begin < 0 || end < begin || end > int64(len(s.categories)) {
			return nil, fmt.Errorf("%s: node %d has categories %d to %d of %d", path, n, begin, end, len(s.categories))
		}
		out[n] = s.categories[begin:end]
	}
	for n, is := range categorical {
		if _, ok := out[int32(n)]; is && !ok {
			return nil, fmt.Errorf("%s: node %d splits on categories but has none", path, n)
		}
	}
	return out, nil
}
