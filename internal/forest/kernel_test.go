package forest

import (
	"math"
	"math/rand/v2"
	"sync"
	"testing"
)

// random describes a model to make up.
type random struct {
	features, groups, trees, depth int
	vector, weighted, categories   int // one in this many; 0 never
}

// spec makes up a Spec.
func (r random) spec(rng *rand.Rand) Spec {
	s := Spec{Features: r.features, Link: LinkIdentity, Output: OutputValue, Base: make([]float32, r.groups)}
	for g := range s.Base {
		s.Base[g] = float32(rng.NormFloat64())
	}
	for range r.trees {
		t := Tree{Group: rng.IntN(r.groups), Categories: map[int32][]int32{}}
		switch {
		case one(rng, r.vector):
			t.LeafSize = r.groups
		case one(rng, r.weighted):
			t.Weighted, t.Weight = true, float32(rng.NormFloat64())
		}
		r.grow(rng, &t, r.depth)
		s.Trees = append(s.Trees, t)
	}
	return s
}

func one(rng *rand.Rand, in int) bool { return in > 0 && rng.IntN(in) == 0 }

// grow appends a subtree and returns its root. Children lie wherever recursion puts them, not side by side.
func (r random) grow(rng *rand.Rand, t *Tree, depth int) int32 {
	at := int32(len(t.Left))
	t.Left, t.Right = append(t.Left, -1), append(t.Right, -1)
	t.Feature = append(t.Feature, int32(rng.IntN(r.features)))
	t.Value = append(t.Value, values[rng.IntN(len(values))])
	t.MissingLeft = append(t.MissingLeft, rng.IntN(2) == 0)
	t.LeafRow = append(t.LeafRow, int32(len(t.Leaves)/max(1, t.LeafSize)))
	for range t.LeafSize {
		t.Leaves = append(t.Leaves, float32(rng.NormFloat64()))
	}
	if depth == 0 || rng.IntN(8) == 0 {
		t.Value[at] = float32(rng.NormFloat64())
		return at
	}
	if one(rng, r.categories) {
		t.Categories[at] = []int32{rng.Int32N(5), rng.Int32N(70)}
	}
	right := r.grow(rng, t, depth-1)
	left := r.grow(rng, t, depth-1)
	t.Left[at], t.Right[at] = left, right
	return at
}

// values are thresholds and inputs alike, so that rows hit thresholds and their neighbors.
var values = func() []float32 {
	out := []float32{0, float32(math.Copysign(0, -1)), 1e-45, -1e-45, 1e-39, math.MaxFloat32, -math.MaxFloat32, 3, 64, 69, 1 << 24, 2.75}
	for _, x := range []float32{1, -1, 0.1, 100} {
		out = append(out, x, math.Nextafter32(x, 1e9), math.Nextafter32(x, -1e9))
	}
	return out
}()

// rows makes up inputs, one in eight missing.
func (r random) rows(rng *rand.Rand, n int) []float32 {
	out := make([]float32, n*r.features)
	for i := range out {
		out[i] = values[rng.IntN(len(values))]
		if rng.IntN(8) == 0 {
			out[i] = float32(math.NaN())
		}
	}
	return out
}

// oracle scores one row straight from the Spec, by recursion, one group after another.
func oracle(s Spec, row []float32) []float32 {
	out := append([]float32(nil), s.Base...)
	for _, t := range s.Trees {
		leaf := follow(t, 0, row)
		switch {
		case t.LeafSize > 0:
			for g := range out {
				out[g] += t.Leaves[int(t.LeafRow[leaf])*t.LeafSize+g]
			}
		case t.Weighted:
			product := t.Value[leaf] * t.Weight
			out[t.Group] += product
		default:
			out[t.Group] += t.Value[leaf]
		}
	}
	return out
}

func follow(t Tree, at int32, row []float32) int32 {
	if t.Left[at] < 0 {
		return at
	}
	x := float64(row[t.Feature[at]])
	left := x < float64(t.Value[at])
	if set, ok := t.Categories[at]; ok {
		left = true
		for _, c := range set {
			if x >= 0 && x < MaxCategory && int32(x) == c {
				left = false
			}
		}
	}
	if math.IsNaN(x) {
		left = t.MissingLeft[at]
	}
	if left {
		return follow(t, t.Left[at], row)
	}
	return follow(t, t.Right[at], row)
}

// Made-up models score as the oracle does, in every bit, whatever the number of rows (blocks and their tails).
func TestMargins_MatchAnOracleOnRandomModels(t *testing.T) {
	t.Parallel()
	shapes := []random{
		{features: 1, groups: 1, trees: 1, depth: 0},
		{features: 1, groups: 1, trees: 30, depth: 5},
		{features: 7, groups: 1, trees: 20, depth: 6},
		{features: 7, groups: 3, trees: 20, depth: 4, categories: 3},
		{features: 4, groups: 2, trees: 20, depth: 4, weighted: 1, categories: 5},
		{features: 4, groups: 5, trees: 20, depth: 3, vector: 2, categories: 5},
		{features: 200, groups: 1, trees: 40, depth: 9},
	}
	compared := 0
	for seed, shape := range shapes {
		rng := rand.New(rand.NewPCG(uint64(seed), 1))
		for range 8 {
			s := shape.spec(rng)
			m, err := New(s)
			if err != nil {
				t.Fatal(err)
			}
			n := 1 + rng.IntN(2*blockRows+5)
			compared += compareWithOracle(t, m, s, shape.rows(rng, n))
		}
	}
	if compared < 5000 {
		t.Errorf("only %d margins compared", compared)
	}
}

func compareWithOracle(t *testing.T, m *Model, s Spec, rows []float32) int {
	t.Helper()
	groups, n := m.Groups(), len(rows)/m.NumFeature()
	batch, single := make([]float32, n*groups), make([]float32, groups)
	m.Margins(batch, rows)
	for i := range n {
		row := rows[i*m.NumFeature() : (i+1)*m.NumFeature()]
		m.Margins(single, row)
		for g, want := range oracle(s, row) {
			if !sameBits(single[g], want) || !sameBits(batch[i*groups+g], want) {
				t.Fatalf("row %d of %d, group %d: alone %v, in a batch %v, want %v", i, n, g, single[g], batch[i*groups+g], want)
			}
		}
	}
	return len(batch)
}

func TestMargins_Decisions(t *testing.T) {
	t.Parallel()
	nan, zero, minus := float32(math.NaN()), float32(0), float32(math.Copysign(0, -1))
	numeric := func(threshold float32, missingLeft bool) Tree {
		tree := stump()
		tree.Value[0], tree.MissingLeft[0] = threshold, missingLeft
		return tree
	}
	category := func(set ...int32) Tree {
		tree := stump()
		tree.Categories = map[int32][]int32{0: set}
		return tree
	}
	const left, right = -2, 3
	tests := []struct {
		name string
		tree Tree
		x    float32
		want float32
	}{
		{"below goes left", numeric(1, false), math.Nextafter32(1, 0), left},
		{"equal goes right", numeric(1, false), 1, right},
		{"above goes right", numeric(1, false), math.Nextafter32(1, 2), right},
		{"zeros are equal", numeric(zero, false), minus, right},
		{"zeros are equal, the other way", numeric(minus, false), zero, right},
		{"denormals count", numeric(math.SmallestNonzeroFloat32, false), zero, left},
		{"missing goes right", numeric(1, false), nan, right},
		{"missing goes left", numeric(1, true), nan, left},
		{"infinity", numeric(math.MaxFloat32, false), float32(math.Inf(1)), right},
		{"in the set goes right", category(1, 40), 40, right},
		{"not in the set goes left", category(1, 40), 2, left},
		{"a fraction is cut", category(2), 2.75, right},
		{"minus zero is category 0", category(0), minus, right},
		{"negative goes left", category(0), -0.5, left},
		{"beyond the set goes left", category(1), 64, left},
		{"beyond float32's integers goes left", category(1), MaxCategory, left},
		{"infinite category goes left", category(1), float32(math.Inf(1)), left},
		{"missing category follows the default", category(1), nan, right},
	}
	for _, tt := range tests {
		s := small()
		s.Base[0], s.Trees = 0, []Tree{tt.tree}
		m, err := New(s)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]float32, 1)
		m.Margins(got, []float32{tt.x, 0})
		if got[0] != tt.want {
			t.Errorf("%s: %v scores %v, want %v", tt.name, tt.x, got[0], tt.want)
		}
	}
}

// The order and the rounding of sums are part of the result.
func TestMargins_SumFloat32InTreeOrder(t *testing.T) {
	t.Parallel()
	leaf := func(v float32) Tree {
		return Tree{Left: []int32{-1}, Right: []int32{-1}, Feature: []int32{0}, Value: []float32{v}, MissingLeft: []bool{false}}
	}
	s := small()
	s.Base[0], s.Trees = 1, []Tree{leaf(1e8), leaf(-1e8)}
	m, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]float32, 1)
	m.Margins(got, []float32{0, 0})
	if got[0] != 0 {
		t.Errorf("1 + 1e8 - 1e8 in float32 is 0, got %v", got[0])
	}
	// A fused multiply-add would give 2^-24 x (1 - 2^-24): the product must be rounded to 1 first.
	weighted := leaf(1 + 0x1p-23)
	weighted.Weighted, weighted.Weight = true, 1-0x1p-23
	s.Base[0], s.Trees = -1, []Tree{weighted}
	if m, err = New(s); err != nil {
		t.Fatal(err)
	}
	if m.Margins(got, []float32{0, 0}); got[0] != 0 {
		t.Errorf("the weighted leaf was not rounded before the sum: %v", got[0])
	}
}

func TestMargins_Linear(t *testing.T) {
	t.Parallel()
	s := Spec{
		Features: 2, Link: LinkIdentity, Output: OutputValue, Base: []float32{0.5, -0.5},
		Linear: []float32{1, 10, 2, 20, 0.25, 0.75},
	}
	m, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]float32, 6)
	m.Margins(got, []float32{3, 4, float32(math.NaN()), 4, float32(math.NaN()), float32(math.NaN())})
	want := []float32{11.75, 110.25, 8.75, 80.25, 0.75, 0.25}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("margins %v, want %v", got, want)
			break
		}
	}
}

func TestPredict_AppliesTheLink(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 3))
	shape := random{features: 3, groups: 4, trees: 12, depth: 3}
	s := shape.spec(rng)
	rows := shape.rows(rng, 70)
	for _, link := range []Link{LinkIdentity, LinkLogistic, LinkExp, LinkHinge, LinkSoftprob, LinkSorted, LinkSoftmax} {
		s.Link = link
		m, err := New(s)
		if err != nil {
			t.Fatal(err)
		}
		margins, got := make([]float32, 70*4), make([]float32, 70*m.Outputs())
		m.Margins(margins, rows)
		m.Predict(got, rows)
		want := margins
		if link == LinkSoftmax {
			want = nil
			for i := range 70 {
				want = append(want, argmax(margins[4*i:4*i+4]))
			}
		} else {
			link.apply(want, 4)
		}
		for i := range want {
			if !sameBits(got[i], want[i]) {
				t.Errorf("%s: value %d is %v, want %v", link, i, got[i], want[i])
				break
			}
		}
	}
}

func TestPredict_AllocatesNothing(t *testing.T) {
	shape := random{features: 5, groups: 3, trees: 20, depth: 5, categories: 4, weighted: 3}
	rng := rand.New(rand.NewPCG(5, 5))
	s := shape.spec(rng)
	rows := shape.rows(rng, 100)
	for _, link := range []Link{LinkLogistic, LinkSoftprob, LinkSoftmax, LinkSorted} {
		s.Link = link
		m, err := New(s)
		if err != nil {
			t.Fatal(err)
		}
		margins, out := make([]float32, 300), make([]float32, 100*m.Outputs())
		if n := testing.AllocsPerRun(50, func() { m.Margins(margins, rows) }); n != 0 {
			t.Errorf("Margins allocates %v times", n)
		}
		if n := testing.AllocsPerRun(50, func() { m.Predict(out, rows) }); n != 0 {
			t.Errorf("%s: Predict allocates %v times", link, n)
		}
	}
}

// Goroutines that share a model get what one alone gets; the race detector watches.
func TestPredict_IsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	shape := random{features: 5, groups: 3, trees: 10, depth: 4}
	rng := rand.New(rand.NewPCG(6, 6))
	s := shape.spec(rng)
	s.Link = LinkSoftmax
	m, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	rows := shape.rows(rng, 50)
	want := make([]float32, 50)
	m.Predict(want, rows)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			got := make([]float32, 50)
			for range 20 {
				m.Predict(got, rows)
				for i := range want {
					if got[i] != want[i] {
						t.Errorf("row %d: %v, want %v", i, got[i], want[i])
						return
					}
				}
			}
		})
	}
	group.Wait()
}

func BenchmarkMargins(b *testing.B) {
	shape := random{features: 30, groups: 1, trees: 200, depth: 6}
	rng := rand.New(rand.NewPCG(1, 1))
	m, err := New(shape.spec(rng))
	if err != nil {
		b.Fatal(err)
	}
	rows := shape.rows(rng, 1024)
	dst := make([]float32, 1024)
	b.Run("batch", func(b *testing.B) {
		for b.Loop() {
			m.Margins(dst, rows)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1024, "ns/row")
	})
	b.Run("row", func(b *testing.B) {
		i := 0
		for b.Loop() {
			m.Margins(dst, rows[i*30:i*30+30])
			i = (i + 1) % 1024
		}
	})
}
