package forest

import (
	"errors"
	"fmt"
)

// node is one reachable node. The two children of a split are neighbors.
type node struct {
	value   float32 // split: threshold; scalar leaf: its value
	feature int32   // split: column; leaf: leafFeature
	next    int32   // split: the left child, the right one follows; vector leaf: offset into Model.leaves
	set     int32   // categorical split: index into Model.sets; else noSet
	missing int32   // split: what to add to next for a missing value
}

// maxSetWords bounds the bits of all categorical splits: one large category in a
// small file costs 2 MB a node.
const maxSetWords = 1 << 24

const (
	leafFeature = -1
	noSet       = -1
)

// tree is a root and what its leaf is added to.
type tree struct {
	root     int32
	group    int32 // of a scalar tree
	vector   bool  // leaves hold one value a group
	weighted bool
	weight   float32
}

// add checks t and appends its reachable nodes in breadth-first order, so that
// siblings are neighbors. Reaching a node twice (a cycle, or two parents) is an
// error, and so the walk ends after at most MaxDepth steps.
func (m *Model) add(t *Tree) error {
	if err := m.checkTree(t); err != nil {
		return err
	}
	w := walk{m: m, t: t, seen: make([]bool, len(t.Left)), depth: []int32{0}, queue: []int32{0}}
	w.seen[0] = true
	root := len(m.nodes)
	m.nodes = append(m.nodes, node{})
	for i := 0; i < len(w.queue); i++ {
		if err := w.visit(root, i); err != nil {
			return fmt.Errorf("node %d: %w", w.queue[i], err)
		}
	}
	m.trees = append(m.trees, tree{
		root: int32(root), group: int32(t.Group), vector: t.LeafSize > 0,
		weighted: t.Weighted, weight: t.Weight,
	})
	return nil
}

// checkTree checks the arrays' lengths and what concerns the whole tree.
func (m *Model) checkTree(t *Tree) error {
	n := len(t.Left)
	switch {
	case n == 0:
		return errors.New("no nodes")
	case n > MaxNodes-len(m.nodes):
		return fmt.Errorf("more than %d nodes in the model", MaxNodes)
	case len(t.Right) != n || len(t.Feature) != n || len(t.Value) != n || len(t.MissingLeft) != n:
		return fmt.Errorf("arrays of different lengths: %d left, %d right, %d features, %d values, %d defaults",
			n, len(t.Right), len(t.Feature), len(t.Value), len(t.MissingLeft))
	case t.LeafSize == 0 && (t.Group < 0 || t.Group >= len(m.base)):
		return fmt.Errorf("adds to output %d of %d", t.Group, len(m.base))
	case t.LeafSize != 0 && t.LeafSize != len(m.base):
		return fmt.Errorf("leaves of %d values for %d outputs", t.LeafSize, len(m.base))
	case t.LeafSize != 0 && len(t.LeafRow) != n:
		return fmt.Errorf("%d leaf rows for %d nodes", len(t.LeafRow), n)
	case t.Weighted && !finite(t.Weight):
		return fmt.Errorf("weight %v", t.Weight)
	case t.Weighted && t.LeafSize != 0:
		return errors.New("weighted trees with vector leaves are not in this version: score this model over HTTP or by a score column")
	}
	return nil
}

// walk is a breadth-first pass over one tree.
type walk struct {
	m     *Model
	t     *Tree
	seen  []bool
	queue []int32 // nodes of the file, in the order of their new indices
	depth []int32
}

// visit fills in the i-th node of the tree and queues its children.
func (w *walk) visit(root, i int) error {
	at := w.queue[i]
	if w.t.Left[at] == -1 {
		n, err := w.leaf(at)
		if err != nil {
			return err
		}
		w.m.nodes[root+i] = n
		return nil
	}
	n, err := w.split(at)
	if err != nil {
		return err
	}
	if int(w.depth[i]) >= MaxDepth {
		return fmt.Errorf("deeper than %d", MaxDepth)
	}
	n.next = int32(len(w.m.nodes))
	for _, child := range []int32{w.t.Left[at], w.t.Right[at]} {
		if err := w.push(child, w.depth[i]+1); err != nil {
			return err
		}
	}
	w.m.nodes[root+i] = n
	return nil
}

// push queues a child after checking that it exists and is reached once.
func (w *walk) push(child, depth int32) error {
	switch {
	case child < 0 || int(child) >= len(w.seen):
		return fmt.Errorf("its child %d is not one of the %d nodes", child, len(w.seen))
	case w.seen[child]:
		return fmt.Errorf("its child %d is reached twice", child)
	}
	w.seen[child] = true
	w.queue = append(w.queue, child)
	w.depth = append(w.depth, depth)
	w.m.nodes = append(w.m.nodes, node{})
	return nil
}

// leaf checks a leaf and copies its values.
func (w *walk) leaf(at int32) (node, error) {
	n := node{feature: leafFeature, set: noSet}
	if w.t.LeafSize == 0 {
		if v := w.t.Value[at]; v == v {
			n.value = v
			return n, nil
		}
		return n, errors.New("its leaf value is not a number")
	}
	size, row := w.t.LeafSize, int(w.t.LeafRow[at])
	if row < 0 || row >= len(w.t.Leaves)/size {
		return n, fmt.Errorf("its leaf is row %d of %d", row, len(w.t.Leaves)/size)
	}
	n.next = int32(len(w.m.leaves))
	for _, v := range w.t.Leaves[row*size : (row+1)*size] {
		if v != v {
			return n, errors.New("its leaf holds a value that is not a number")
		}
		w.m.leaves = append(w.m.leaves, v)
	}
	return n, nil
}

// split checks a split's column, threshold or categories.
func (w *walk) split(at int32) (node, error) {
	n := node{feature: w.t.Feature[at], value: w.t.Value[at], set: noSet}
	if n.feature < 0 || int(n.feature) >= w.m.features {
		return n, fmt.Errorf("it splits on feature %d of %d", n.feature, w.m.features)
	}
	if !w.t.MissingLeft[at] {
		n.missing = 1
	}
	categories, ok := w.t.Categories[at]
	if !ok {
		if n.value != n.value {
			return n, errors.New("its threshold is not a number")
		}
		return n, nil
	}
	set, err := bitSet(categories)
	if err != nil {
		return n, err
	}
	if w.m.setWords += len(set); w.m.setWords > maxSetWords {
		return n, fmt.Errorf("the sets of categories of this model need more than %d bytes", 4*maxSetWords)
	}
	n.value = 0
	n.set = int32(len(w.m.sets))
	w.m.sets = append(w.m.sets, set)
	return n, nil
}

// bitSet turns categories into bits, lowest first.
func bitSet(categories []int32) ([]uint32, error) {
	if len(categories) == 0 {
		return nil, errors.New("its set of categories is empty")
	}
	var highest int32
	for _, c := range categories {
		if c < 0 || c >= MaxCategory {
			return nil, fmt.Errorf("its category %d is not below %d", c, MaxCategory)
		}
		highest = max(highest, c)
	}
	set := make([]uint32, highest/32+1)
	for _, c := range categories {
		set[c/32] |= 1 << (c % 32)
	}
	return set, nil
}
