package xgboost

import (
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"

	"serin/internal/forest"
)

// Sizes of the records of the legacy format, little-endian C structs written as they lay in memory.
const (
	learnerBytes = 136
	gbtreeBytes  = 160
	treeBytes    = 148
	nodeBytes    = 20
	statBytes    = 16
	linearBytes  = 136
)

// deletedNode marks the split index of a node that was pruned away.
const deletedNode = math.MaxUint32

// legacyReader reads the binary format that XGBoost wrote up to 3.0. Every claimed
// length is compared with the bytes left before anything is allocated for it.
type legacyReader struct {
	data []byte
	pos  int
	err  error // the first fault; reads after it return zeros
}

// take returns the next n bytes, or nil after a fault.
func (r *legacyReader) take(n int, what string) []byte {
	if r.err == nil && (n < 0 || n > len(r.data)-r.pos) {
		r.err = fmt.Errorf("legacy file at byte %d: %s needs %d bytes, %d left: it is cut off or no XGBoost model", r.pos, what, n, len(r.data)-r.pos)
	}
	if r.err != nil {
		return nil
	}
	r.pos += n
	return r.data[r.pos-n : r.pos]
}

// record returns a fixed-size record; zeros after a fault, so that fields can be read without a check.
func (r *legacyReader) record(n int, what string) record {
	if b := r.take(n, what); b != nil {
		return b
	}
	return make(record, n)
}

// many returns count records of size bytes.
func (r *legacyReader) many(count, size int, what string) record {
	if r.err == nil && (count < 0 || count > (len(r.data)-r.pos)/size) {
		r.err = fmt.Errorf("legacy file at byte %d: %d %s claimed, %d bytes left", r.pos, count, what, len(r.data)-r.pos)
	}
	return r.take(count*size, what)
}

// length reads a 64-bit count of things of at least size bytes.
func (r *legacyReader) length(size int, what string) int {
	n := binary.LittleEndian.Uint64(r.record(8, what))
	if r.err == nil && n > uint64((len(r.data)-r.pos)/size) {
		r.err = fmt.Errorf("legacy file at byte %d: %d %s claimed, %d bytes left", r.pos, n, what, len(r.data)-r.pos)
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}

// text reads a counted string.
func (r *legacyReader) text(what string) string {
	b := r.take(r.length(1, what), what)
	if r.err == nil && !utf8.Valid(b) {
		r.err = fmt.Errorf("legacy file at byte %d: %s is not UTF-8: no XGBoost model", r.pos, what)
	}
	return string(b)
}

// floats reads a counted vector of float32.
func (r *legacyReader) floats(what string) []float32 {
	b := r.many(r.length(4, what), 4, what)
	out := make([]float32, len(b)/4)
	for i := range out {
		out[i] = b.float(4 * i)
	}
	return out
}

// record is bytes with typed fields.
type record []byte

func (b record) uint(at int) uint32   { return binary.LittleEndian.Uint32(b[at:]) }
func (b record) int(at int) int32     { return int32(b.uint(at)) }
func (b record) float(at int) float32 { return math.Float32frombits(b.uint(at)) }

// readLegacy reads a whole file. It holds no feature names.
func readLegacy(data []byte) (forest.Spec, error) {
	r := &legacyReader{data: data}
	if len(data) >= 4 && string(data[:4]) == "binf" {
		r.pos = 4
	}
	h, hasAttributes, err := r.header()
	if err != nil {
		return forest.Spec{}, err
	}
	spec, err := h.spec()
	if err != nil {
		return spec, err
	}
	var e ensemble
	if h.booster == "gblinear" {
		r.record(linearBytes, "the linear booster's parameters")
		spec.Linear = r.floats("weights")
	} else if e, err = r.ensemble(h); err != nil {
		return spec, err
	}
	if hasAttributes {
		r.attributes(h)
	}
	switch {
	case r.err != nil:
		return spec, r.err
	case r.pos != len(data):
		return spec, fmt.Errorf("legacy file: %d bytes after the model", len(data)-r.pos)
	case h.booster == "gblinear":
		return linear(h, spec)
	}
	return complete(h, spec, e)
}

// header reads the learner's parameters, the objective and the booster.
func (r *legacyReader) header() (*header, bool, error) {
	p := r.record(learnerBytes, "the header")
	h := &header{
		base:     []float32{p.float(0)},
		features: int(p.uint(4)),
		version:  makeVersion(int64(p.uint(20)), int64(p.uint(24))),
	}
	h.objective = r.text("the objective")
	h.booster = r.text("the booster")
	if r.err != nil {
		return nil, false, r.err
	}
	if err := h.version.check(); err != nil {
		return nil, false, err
	}
	switch h.booster {
	case "gbtree", "dart", "gblinear":
	default:
		return nil, false, fmt.Errorf("booster %q is not in this version: %s", clip(h.booster), elsewhere)
	}
	classes, targets := p.int(8), p.uint(28)
	if classes < 0 || targets > math.MaxInt32 {
		return nil, false, fmt.Errorf("%d classes and %d targets", classes, targets)
	}
	return h, p.uint(12) != 0, h.setGroups(int(classes), int(targets))
}

// ensemble reads the trees of gbtree and dart.
func (r *legacyReader) ensemble(h *header) (ensemble, error) {
	p := r.record(gbtreeBytes, "the tree booster's parameters")
	count := int(p.int(0))
	e := ensemble{parallel: int(p.int(4))}
	if r.err == nil && (count < 0 || count > (len(r.data)-r.pos)/(treeBytes+nodeBytes+statBytes)) {
		return e, fmt.Errorf("legacy file: %d trees claimed, %d bytes left", count, len(r.data)-r.pos)
	}
	e.trees = make([]forest.Tree, 0, count)
	for i := 0; i < count && r.err == nil; i++ {
		t, err := r.tree()
		if err != nil {
			return e, fmt.Errorf("tree %d: %w", i, err)
		}
		e.trees = append(e.trees, t)
	}
	if info := r.many(count, 4, "entries of tree_info"); r.err == nil {
		for i := range e.trees {
			e.trees[i].Group = int(info.int(4 * i))
		}
	}
	if h.booster == "dart" && count > 0 {
		weights := r.floats("weights of trees")
		if r.err == nil {
			return e, weigh(e.trees, weights, h.booster)
		}
	}
	return e, r.err
}

// tree reads one tree.
func (r *legacyReader) tree() (forest.Tree, error) {
	p := r.record(treeBytes, "a tree's parameters")
	n := int(p.int(4))
	nodes := r.many(n, nodeBytes, "nodes")
	r.many(n, statBytes, "node statistics")
	if r.err != nil {
		return forest.Tree{}, r.err
	}
	if leaf := p.int(20); leaf > 1 {
		return forest.Tree{}, fmt.Errorf("a leaf vector of %d is not in this version: %s", leaf, elsewhere)
	}
	t := forest.Tree{
		Left: make([]int32, n), Right: make([]int32, n), Feature: make([]int32, n),
		Value: make([]float32, n), MissingLeft: make([]bool, n),
	}
	for i := range n {
		b := nodes[nodeBytes*i:]
		split := b.uint(12)
		t.Left[i], t.Right[i], t.Value[i] = b.int(4), b.int(8), b.float(16)
		t.Feature[i], t.MissingLeft[i] = int32(split&math.MaxInt32), split>>31 == 1
		if split == deletedNode {
			t.Left[i], t.Feature[i] = 0, -1 // so that reaching a deleted node is an error
		}
	}
	return t, nil
}

// attributes reads the pairs at the end.
func (r *legacyReader) attributes(h *header) {
	for range r.length(16, "attributes") {
		key, text := r.text("an attribute's name"), r.text("an attribute")
		if r.err == nil && key == "best_iteration" {
			r.err = h.setBest(text)
		}
	}
}
