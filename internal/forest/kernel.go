package forest

// blockRows is how many rows pass one tree before the next tree is read: a tree
// stays in the cache for all of them, and each row still adds its leaves in tree order.
const blockRows = 64

// Margins writes the raw sums of every row.
//
// rows is n x NumFeature row-major, NaN meaning missing; dst is n x Groups. The
// number of rows is len(rows)/NumFeature; a dst that is too short is a bug of the
// caller and panics as an index out of range does. Nothing is allocated.
func (m *Model) Margins(dst, rows []float32) {
	groups := len(m.base)
	n := len(rows) / m.features
	for first := 0; first < n; first += blockRows {
		last := min(first+blockRows, n)
		d, r := dst[first*groups:last*groups], rows[first*m.features:last*m.features]
		if len(m.linear) > 0 {
			m.linearBlock(d, r)
		} else {
			m.treeBlock(d, r)
		}
	}
}

// treeBlock sums all trees for a block of rows.
func (m *Model) treeBlock(dst, rows []float32) {
	for at := 0; at < len(dst); at += len(m.base) {
		copy(dst[at:], m.base)
	}
	for i := range m.trees {
		t := &m.trees[i]
		switch {
		case t.vector:
			m.addVector(dst, rows, t)
		case t.weighted:
			m.addWeighted(dst, rows, t)
		default:
			m.addScalar(dst, rows, t)
		}
	}
}

// addScalar adds a leaf to one group of each row.
func (m *Model) addScalar(dst, rows []float32, t *tree) {
	groups, at := len(m.base), int(t.group)
	for r := 0; r < len(rows); r += m.features {
		dst[at] += m.nodes[m.leaf(t.root, rows[r:r+m.features])].value
		at += groups
	}
}

// addWeighted adds a weighted leaf. XGBoost sums each tree from +0 on its own
// before it applies the weight, so a leaf of -0 counts as +0. The conversion
// keeps the compiler from fusing the product with the sum, which would round once
// instead of twice.
func (m *Model) addWeighted(dst, rows []float32, t *tree) {
	groups, at := len(m.base), int(t.group)
	for r := 0; r < len(rows); r += m.features {
		leaf := 0 + m.nodes[m.leaf(t.root, rows[r:r+m.features])].value
		dst[at] += float32(leaf * t.weight)
		at += groups
	}
}

// addVector adds a leaf of one value a group.
func (m *Model) addVector(dst, rows []float32, t *tree) {
	groups, at := len(m.base), 0
	for r := 0; r < len(rows); r += m.features {
		offset := m.nodes[m.leaf(t.root, rows[r:r+m.features])].next
		for g, v := range m.leaves[offset : int(offset)+groups] {
			dst[at+g] += v
		}
		at += groups
	}
}

// leaf walks one row from a root to a leaf and returns the leaf's index. The
// common decision, a number against a threshold, is written so that the compiler
// needs no branch for it: which way a row goes cannot be predicted.
func (m *Model) leaf(at int32, row []float32) int32 {
	nodes := m.nodes
	for {
		n := &nodes[at]
		if n.feature == leafFeature {
			return at
		}
		x := row[n.feature]
		right := int32(1)
		if x < n.value {
			right = 0
		}
		if x != x {
			right = n.missing
		} else if n.set != noSet {
			right = inSet(m.sets[n.set], x)
		}
		at = n.next + right
	}
}

// inSet returns 1 when category x is in the set and 0 when it is not, or is no category at all.
func inSet(set []uint32, x float32) int32 {
	if x < 0 || x >= MaxCategory {
		return 0
	}
	c := uint32(x) // truncates: 2.75 is category 2
	if int(c/32) >= len(set) {
		return 0
	}
	return int32(set[c/32] >> (c % 32) & 1)
}

// linearBlock computes bias + base + sum of products in feature order; a missing value adds nothing.
func (m *Model) linearBlock(dst, rows []float32) {
	groups, at := len(m.base), 0
	bias := m.linear[m.features*groups:]
	for r := 0; r < len(rows); r += m.features {
		row := rows[r : r+m.features]
		for g := range groups {
			sum := bias[g] + m.base[g]
			for f, x := range row {
				if x == x {
					sum += float32(x * m.linear[f*groups+g])
				}
			}
			dst[at+g] = sum
		}
		at += groups
	}
}

// Predict writes what the objective makes of the margins: probabilities, values or labels, see Output.
//
// rows is n x NumFeature row-major, NaN meaning missing; dst is n x Outputs. See
// Margins for lengths. Nothing is allocated once the model has warmed up.
func (m *Model) Predict(dst, rows []float32) {
	if m.Outputs() == len(m.base) {
		n := len(rows) / m.features
		dst = dst[:n*len(m.base)]
		m.Margins(dst, rows)
		m.link.apply(dst, len(m.base))
		return
	}
	buffer, ok := m.scratch.Get().(*[]float32)
	if !ok { // the pool is empty
		b := make([]float32, len(m.base))
		buffer = &b
	}
	for i := range len(rows) / m.features {
		m.Margins(*buffer, rows[i*m.features:(i+1)*m.features])
		dst[i] = argmax(*buffer)
	}
	m.scratch.Put(buffer)
}
