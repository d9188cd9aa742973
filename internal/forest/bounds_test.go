package forest

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// A category is the number before the point; what is none goes left, as in XGBoost.
func TestInSet_AgainstAList(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(5, 5))
	for range 200 {
		var categories []int32
		for range 1 + rng.IntN(10) {
			categories = append(categories, int32(rng.IntN(200)))
		}
		set, err := bitSet(categories)
		if err != nil {
			t.Fatal(err)
		}
		for range 200 {
			x := float32(rng.IntN(260)) - 20 + float32(rng.IntN(4))/4
			want := int32(0)
			if x >= 0 && slices.Contains(categories, int32(x)) {
				want = 1
			}
			if got := inSet(set, x); got != want {
				t.Fatalf("%v in %v: %d, want %d", x, categories, got, want)
			}
		}
	}
	largest, err := bitSet([]int32{MaxCategory - 1})
	if err != nil {
		t.Fatal(err)
	}
	inf := float32(math.Inf(1))
	for x, want := range map[float32]int32{MaxCategory - 1: 1, MaxCategory: 0, MaxCategory * 2: 0, 1e38: 0, inf: 0, -inf: 0, -0.5: 0, float32(math.Copysign(0, -1)): 0} {
		if got := inSet(largest, x); got != want {
			t.Errorf("%v: %d, want %d", x, got, want)
		}
	}
}

func TestBitSet_Refuses(t *testing.T) {
	t.Parallel()
	for want, categories := range map[string][]int32{
		"its set of categories is empty":              {},
		"its category -1 is not below 16777216":       {3, -1},
		"its category 16777216 is not below 16777216": {MaxCategory},
	} {
		if set, err := bitSet(categories); err == nil || err.Error() != want || set != nil {
			t.Errorf("%v: %v, %v; want %s", categories, set, err, want)
		}
	}
}

// The order of rows, and how many come at once, changes no bit: blocks, halves and single rows agree.
func TestMargins_DoNotDependOnTheBlock(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(6, 2))
	tree := func(group int) Tree {
		t := stump()
		t.Group = group
		t.Value = []float32{rng.Float32(), rng.Float32() - 0.5, rng.Float32() - 0.5}
		return t
	}
	s := small()
	s.Base = []float32{0.1, -0.2, 0.3}
	s.Link, s.Output, s.Best = LinkSoftprob, OutputProbability, nil
	s.Trees = nil
	for i := range 30 {
		s.Trees = append(s.Trees, tree(i%3))
	}
	m, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, blockRows - 1, blockRows, blockRows + 1, 3*blockRows + 7} {
		rows := make([]float32, n*m.NumFeature())
		for i := range rows {
			rows[i] = rng.Float32()
			if rng.IntN(5) == 0 {
				rows[i] = float32(math.NaN())
			}
		}
		whole, single := make([]float32, n*3), make([]float32, n*3)
		m.Predict(whole, rows)
		for i := range n {
			m.Predict(single[i*3:i*3+3], rows[i*m.NumFeature():(i+1)*m.NumFeature()])
		}
		for i := range whole {
			if !sameBits(whole[i], single[i]) {
				t.Fatalf("%d rows: value %d is %v in a block and %v alone", n, i, whole[i], single[i])
			}
		}
	}
}

// More room than is needed is left as it was.
func TestPredict_WritesItsRowsOnly(t *testing.T) {
	t.Parallel()
	for _, link := range []Link{LinkIdentity, LinkLogistic, LinkHinge, LinkSoftmax, LinkSorted} {
		s := small()
		s.Link = link
		m, err := New(s)
		if err != nil {
			t.Fatal(err)
		}
		dst := []float32{7, 7, 7, 7}
		m.Predict(dst, make([]float32, m.NumFeature()))
		for i := m.Outputs(); i < len(dst); i++ {
			if dst[i] != 7 {
				t.Errorf("%s: value %d became %v", link, i, dst[i])
			}
		}
	}
}

// What is handed in and handed out is the caller's: no change of it reaches the model.
func TestModel_SharesNothingWithItsCaller(t *testing.T) {
	t.Parallel()
	s := small()
	s.Names = make([]string, s.Features)
	for i := range s.Names {
		s.Names[i] = strings.Repeat("f", i+1)
	}
	m, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	row := make([]float32, s.Features)
	before, after := make([]float32, m.Groups()), make([]float32, m.Groups())
	m.Margins(before, row)
	s.Names[0], s.Base[0] = "changed", 99
	for i := range s.Trees {
		clear(s.Trees[i].Value)
		clear(s.Trees[i].Left)
	}
	m.FeatureNames()[0] = "changed"
	m.BaseMargins()[0] = 99
	m.Margins(after, row)
	if !slices.Equal(before, after) || m.FeatureNames()[0] != "f" {
		t.Errorf("margins %v became %v, name %q", before, after, m.FeatureNames()[0])
	}
}

// Sigmoid stays within 0 and 1 and rises; probabilities of a row sum to one whatever the margins are.
func TestLinks_StayInRange(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 4))
	last := float32(0)
	for x := float32(-200); x < 200; x += 0.37 {
		y := sigmoid(x)
		if !(y >= last && y >= 0 && y <= 1) {
			t.Fatalf("sigmoid(%v) is %v after %v", x, y, last)
		}
		last = y
	}
	for range 1000 {
		row := make([]float32, 1+rng.IntN(20))
		for i := range row {
			row[i] = (rng.Float32() - 0.5) * float32(math.Pow(10, float64(rng.IntN(30))))
		}
		best := argmax(row)
		softprob(row)
		sum := 0.0
		for _, p := range row {
			if !(p >= 0 && p <= 1) {
				t.Fatalf("%v is no probability", p)
			}
			sum += float64(p)
		}
		if math.Abs(sum-1) > 1e-5 || row[int(best)] != slices.Max(row) {
			t.Fatalf("probabilities sum to %v, the largest is %v and not %v", sum, slices.Max(row), row[int(best)])
		}
	}
}
