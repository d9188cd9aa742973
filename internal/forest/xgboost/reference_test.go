package xgboost

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"serin/internal/forest"
)

// plainOf turns a read value into what encoding/json makes of the same document.
func plainOf(t *testing.T, v value) any {
	t.Helper()
	number := func(encoding byte, raw []byte) any {
		switch encoding {
		case decimal:
			var out any
			if err := json.Unmarshal(raw, &out); err != nil {
				t.Fatalf("%q: %v", raw, err)
			}
			return out
		case 'd':
			return float64(math.Float32frombits(binary.BigEndian.Uint32(raw)))
		}
		n, ok := integer(encoding, raw)
		if !ok {
			t.Fatalf("%q of type %q is no integer", raw, encoding)
		}
		return float64(n)
	}
	switch v.kind {
	case kindNull:
		return nil
	case kindString:
		return string(v.raw)
	case kindNumber:
		return number(v.encoding, v.raw)
	case kindArray:
		out := []any{}
		for rest := v.raw; len(rest) > 0; {
			var first []byte
			first, rest = element(v.encoding, rest)
			out = append(out, number(v.encoding, first))
		}
		return out
	case kindList:
		out := []any{}
		for _, x := range v.list {
			out = append(out, plainOf(t, x))
		}
		return out
	case kindObject:
		out := object{}
		for i := 0; i < len(v.list); i += 2 {
			out[string(v.list[i].raw)] = plainOf(t, v.list[i+1])
		}
		return out
	}
	t.Fatalf("kind %d", v.kind)
	return nil
}

// randomValue is a document of all kinds; numbers are exact in float32.
func randomValue(rng *rand.Rand, depth int) any {
	words := []string{"", "a", `quo"te\`, "ü😀", "a,b]}", " \n\t", "NaN", "\u2028"}
	n := 5
	if depth > 0 {
		n = 8
	}
	switch rng.IntN(n) {
	case 0:
		return nil
	case 1:
		return words[rng.IntN(len(words))]
	case 2:
		return float64(rng.IntN(2001) - 1000)
	case 3: // an array of numbers
		out := make([]any, rng.IntN(5))
		for i := range out {
			out[i] = float64(rng.IntN(4001)-2000) / 8
		}
		return out
	case 4:
		return float64(math.MinInt32)
	case 5, 6:
		out := object{}
		for range rng.IntN(4) {
			out[words[rng.IntN(len(words))]+strconv.Itoa(rng.IntN(9))] = randomValue(rng, depth-1)
		}
		return out
	default:
		out := make([]any, rng.IntN(4))
		for i := range out {
			out[i] = randomValue(rng, depth-1)
		}
		return out
	}
}

// The two readers and encoding/json agree on random documents, indented or not.
func TestReaders_AgreeWithEncodingJSON(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 21))
	for i := range 2000 {
		doc := object{"root": randomValue(rng, 4)}
		text, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 1 {
			var wide bytes.Buffer
			if err := json.Indent(&wide, text, " ", "\t"); err != nil {
				t.Fatal(err)
			}
			text = wide.Bytes()
		}
		fromText, err := readJSON(text)
		if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		if diff := cmp.Diff(any(doc), plainOf(t, fromText)); diff != "" {
			t.Fatalf("json %s (-want +got):\n%s", text, diff)
		}
		binary, err := readUBJSON(appendUBJSON(nil, doc))
		if err != nil {
			t.Fatalf("%v in the UBJSON of %s", err, text)
		}
		if diff := cmp.Diff(any(doc), plainOf(t, binary)); diff != "" {
			t.Fatalf("ubjson of %s (-want +got):\n%s", text, diff)
		}
	}
}

// A float32 is parsed as one: any bit pattern reads back, and decimals between two of them round once.
func TestParseFloat_ToTheLastBit(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 33))
	for range 20_000 {
		want := math.Float32frombits(rng.Uint32())
		if want-want != 0 {
			continue
		}
		for _, text := range []string{strconv.FormatFloat(float64(want), 'E', -1, 32), strconv.FormatFloat(float64(want), 'e', 20, 64)} {
			if got, ok := parseFloat([]byte(text)); !ok || math.Float32bits(got) != math.Float32bits(want) {
				t.Fatalf("%s is read as %v, %v; want %v", text, got, ok, want)
			}
		}
	}
	// Halfway between 1 and the next float32, and a little above: through float64 both would round down.
	for text, want := range map[string]float32{
		"1.000000059604644775390625": 1, "1.00000005960464477539062500000000000001": 1 + 1.0/(1<<23), "-0": float32(math.Copysign(0, -1)), "1e-50": 0,
		"3.40282346638528859811704183484516925440e+38": math.MaxFloat32,
	} {
		if got, ok := parseFloat([]byte(text)); !ok || math.Float32bits(got) != math.Float32bits(want) {
			t.Errorf("%s is read as %v, %v; want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "-", ".", "1.", ".5", "1e", "1e+", "+1", "0x1p3", "1_0", "inf", "nan", "-NaN", "infinity", "1e39", "-1e39", " 1", "1 ", "1f", "--1"} {
		if got, ok := parseFloat([]byte(text)); ok {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}

// What the readers take for a number is JSON's, beside zeros in front.
func TestDecimalNumber_AgainstEncodingJSON(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(4, 44))
	numbers := 0
	for range 50_000 {
		b := make([]byte, 1+rng.IntN(8))
		for i := range b {
			b[i] = "0123.eE+-"[rng.IntN(9)]
		}
		plain := bytes.TrimPrefix(b, []byte("-"))
		if len(plain) > 1 && plain[0] == '0' && plain[1] >= '0' && plain[1] <= '9' {
			continue
		}
		if got, want := decimalNumber(b), json.Valid(b); got != want {
			t.Fatalf("%q: %v, encoding/json says %v", b, got, want)
		}
		if decimalNumber(b) {
			numbers++
		}
	}
	if numbers < 1000 {
		t.Errorf("only %d of the texts were numbers", numbers)
	}
}

// Every width of integer at its ends, and what does not fit an int32 is refused rather than cut.
func TestInts_AtTheirEnds(t *testing.T) {
	t.Parallel()
	u32, u64 := binary.BigEndian.AppendUint32, binary.BigEndian.AppendUint64
	for _, tt := range []struct {
		encoding byte
		raw      []byte
		want     int32
		ok       bool
	}{
		{'i', []byte{0x80}, -128, true},
		{'U', []byte{0xff}, 255, true},
		{'I', []byte{0x80, 0}, -32768, true},
		{'l', u32(nil, 1<<31), math.MinInt32, true},
		{'L', u64(nil, math.MaxInt32), math.MaxInt32, true},
		{'L', u64(nil, math.MaxInt32+1), 0, false},
		{'L', u64(nil, math.MaxUint64), -1, true},
		{'L', u64(nil, 1<<63), 0, false},
		{'d', u32(nil, 0), 0, false},
		{'D', u64(nil, 0), 0, false},
		{decimal, []byte("-2147483648"), math.MinInt32, true},
		{decimal, []byte("2147483648"), 0, false},
		{decimal, []byte("9223372036854775808"), 0, false},
		{decimal, []byte("1.0"), 0, false},
		{decimal, []byte("true"), 1, true},
		{decimal, []byte("NaN"), 0, false},
	} {
		c := cursor{value: value{kind: kindArray, encoding: tt.encoding, raw: tt.raw}, path: "x"}
		got, err := c.ints()
		if tt.ok && (err != nil || len(got) != 1 || got[0] != tt.want) {
			t.Errorf("%q %x: %v, %v; want %d", tt.encoding, tt.raw, got, err, tt.want)
		}
		if !tt.ok && (err == nil || err.Error() != "x: element 0 is not a number of its kind") {
			t.Errorf("%q %x: %v, %v", tt.encoding, tt.raw, got, err)
		}
	}
}

func TestVersion_Ends(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		major, minor int64
		want         string
	}{
		{1, 0, ""},
		{1, 999, ""},
		{3, 4, ""},
		{0, 999, "written by XGBoost 0.999, before 1.0: load it with XGBoost 1.7 and save it again as .ubj"},
		{3, 5, "written by XGBoost 3.5, newer than 3.4, the last one this version was compared with: " + elsewhere},
		{1, 1000, "the file's version of XGBoost is no version"},
		{1000, 0, "the file's version of XGBoost is no version"},
		{2, -1, "the file's version of XGBoost is no version"},
		{math.MaxInt64, math.MaxInt64, "the file's version of XGBoost is no version"},
	} {
		if err := makeVersion(tt.major, tt.minor).check(); tt.want == "" && err != nil || tt.want != "" && (err == nil || err.Error() != tt.want) {
			t.Errorf("%d.%d: %v, want %q", tt.major, tt.minor, err, tt.want)
		}
	}
}

func TestParseBase_Forms(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][]float32{
		"5E-1": {0.5}, "0.5": {0.5}, "[5E-1]": {0.5}, "[1E0,2E0]": {1, 2}, "(0.5,)": {0.5}, "[1, 2 ,3]": {1, 2, 3}, "-1": {-1}, "[1,]": {1},
	} {
		got, err := parseBase(in)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", in, err, diff)
		}
	}
	for _, in := range []string{"", "[]", "()", "[", "]", "[1", "1]", "[1)", "[[1]]", "[1,,2]", ",", "1e39", "0.5f", strings.Repeat("1,", forest.MaxGroups) + "1"} {
		want := fmt.Sprintf("base_score is %q, want a number or a list of numbers", clip(in))
		if got, err := parseBase(in); err == nil || err.Error() != want {
			t.Errorf("%.40s: %v, %v\nwant %s", in, got, err, want)
		}
	}
}

// After how many trees the best iteration ends: by the index where the file has one, else by trees a round.
func TestBestTrees(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		best   int
		groups int
		e      ensemble
		want   int
		fault  string
	}{
		{"one tree a round", 2, 1, ensemble{trees: make([]forest.Tree, 5), parallel: 1}, 3, ""},
		{"three classes", 1, 3, ensemble{trees: make([]forest.Tree, 12), parallel: 1}, 6, ""},
		{"a forest of two", 0, 3, ensemble{trees: make([]forest.Tree, 12), parallel: 2}, 6, ""},
		{"vector leaves", 1, 3, ensemble{trees: make([]forest.Tree, 4), parallel: 2, vector: true}, 4, ""},
		{"by the index", 1, 1, ensemble{trees: make([]forest.Tree, 9), parallel: 1, indptr: []int32{0, 2, 5, 9}}, 5, ""},
		{"the last", 2, 1, ensemble{trees: make([]forest.Tree, 9), parallel: 1, indptr: []int32{0, 2, 5, 9}}, 9, ""},
		{"beyond the index", 3, 1, ensemble{trees: make([]forest.Tree, 9), parallel: 1, indptr: []int32{0, 2, 5, 9}}, 0, "attribute best_iteration is 3, but the model has 3 iterations"},
		{"beyond the trees", 4, 3, ensemble{trees: make([]forest.Tree, 12), parallel: 1}, 0, "attribute best_iteration is 4, but the model has 4 iterations"},
		{"no trees", 0, 1, ensemble{parallel: 1}, 0, "attribute best_iteration is 0, but the model has 0 iterations"},
	} {
		h := &header{groups: tt.groups, best: &tt.best}
		got, err := h.bestTrees(&tt.e)
		switch {
		case tt.fault != "":
			if err == nil || err.Error() != tt.fault {
				t.Errorf("%s: %v, want %s", tt.name, err, tt.fault)
			}
		case err != nil || got.Trees != tt.want || got.Iteration != tt.best:
			t.Errorf("%s: %+v, %v; want %d trees", tt.name, got, err, tt.want)
		}
	}
	if got, err := (&header{groups: 1}).bestTrees(&ensemble{parallel: 1}); got != nil || err != nil {
		t.Errorf("without a best iteration: %v, %v", got, err)
	}
}

// Each objective says what its model predicts; what is not in the list is refused by name, also when it differs by a letter.
func TestMeaningOf_EveryObjective(t *testing.T) {
	t.Parallel()
	for objective, want := range map[string]meaning{
		"binary:logistic": {forest.LinkLogistic, forest.OutputProbability}, "reg:logistic": {forest.LinkLogistic, forest.OutputProbability},
		"binary:logitraw": {forest.LinkIdentity, forest.OutputMargin}, "binary:hinge": {forest.LinkHinge, forest.OutputLabel},
		"multi:softprob": {forest.LinkSoftprob, forest.OutputProbability}, "multi:softmax": {forest.LinkSoftmax, forest.OutputLabel},
		"reg:squarederror": {forest.LinkIdentity, forest.OutputValue}, "reg:linear": {forest.LinkIdentity, forest.OutputValue},
		"rank:ndcg": {forest.LinkIdentity, forest.OutputValue}, "count:poisson": {forest.LinkExp, forest.OutputValue},
		"reg:gamma": {forest.LinkExp, forest.OutputValue}, "survival:cox": {forest.LinkExp, forest.OutputValue},
	} {
		for _, v := range []version{oldest, newest} {
			if got, ok := meaningOf(objective, v); !ok || got != want {
				t.Errorf("%s of %v: %+v, %v; want %+v", objective, v, got, ok, want)
			}
		}
		for _, wrong := range []string{strings.ToUpper(objective), objective + " ", objective[1:]} {
			if _, err := (&header{objective: wrong, version: newest, groups: 1, base: []float32{0.5}}).spec(); err == nil ||
				err.Error() != fmt.Sprintf("objective %q cannot be reproduced exactly in this version: %s", wrong, elsewhere) {
				t.Errorf("%q: %v", wrong, err)
			}
		}
	}
	for v, want := range map[version]forest.Link{sortedFrom - 1: forest.LinkIdentity, sortedFrom: forest.LinkSorted} {
		if got, ok := meaningOf("reg:quantileerror", v); !ok || got.link != want {
			t.Errorf("quantiles of %v: %s, want %s", v, got.link, want)
		}
	}
}

// The index of iterations rises from nothing to all trees.
func TestEnsemble_Index(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		indptr []int32
		ok     bool
	}{
		{nil, true},
		{[]int32{0, 3}, true},
		{[]int32{0, 1, 1, 3}, true},
		{[]int32{0, 0, 3}, true},
		{[]int32{}, false},
		{[]int32{3}, false},
		{[]int32{0}, false},
		{[]int32{1, 3}, false},
		{[]int32{0, 4}, false},
		{[]int32{0, 2, 1, 3}, false},
		{[]int32{-1, 0, 3}, false},
	} {
		err := (&ensemble{trees: make([]forest.Tree, 3), parallel: 1, indptr: tt.indptr}).check()
		if tt.ok && err != nil || !tt.ok && (err == nil || err.Error() != "iteration_indptr does not rise from 0 to the 3 trees") {
			t.Errorf("%v: %v", tt.indptr, err)
		}
	}
}

// Sets of categories and the nodes that split on them name each other, each once, and stay inside their array.
func TestSegments_Sets(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		s           segments
		categorical []bool
		want        string
	}{
		{"good", segments{[]int32{0, 2}, []int32{0, 2}, []int32{2, 1}, []int32{5, 6, 7}}, []bool{true, false, true}, ""},
		{"shared", segments{[]int32{0, 1}, []int32{0, 0}, []int32{1, 1}, []int32{5}}, []bool{true, true}, ""},
		{"twice", segments{[]int32{0, 0}, []int32{0, 0}, []int32{1, 1}, []int32{5}}, []bool{true}, "p: node 0 has two sets of categories"},
		{"negative node", segments{[]int32{-1}, []int32{0}, []int32{1}, []int32{5}}, []bool{true}, "p: node -1 has categories but no categorical split"},
		{"backwards", segments{[]int32{0}, []int32{1}, []int32{-1}, []int32{5}}, []bool{true}, "p: node 0 has categories 1 to 0 of 1"},
		{"overflow", segments{[]int32{0}, []int32{math.MaxInt32}, []int32{math.MaxInt32}, []int32{5}}, []bool{true}, "p: node 0 has categories 2147483647 to 4294967294 of 1"},
		{"none", segments{}, []bool{false, true}, "p: node 1 splits on categories but has none"},
	} {
		got, err := tt.s.sets("p", tt.categorical)
		if tt.want != "" {
			if err == nil || err.Error() != tt.want {
				t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
			}
			continue
		}
		for i, n := range tt.s.nodes {
			if diff := cmp.Diff(tt.s.categories[tt.s.begins[i]:tt.s.begins[i]+tt.s.sizes[i]], got[n]); diff != "" || err != nil {
				t.Errorf("%s: node %d: %v (-want +got):\n%s", tt.name, n, err, diff)
			}
		}
	}
}
