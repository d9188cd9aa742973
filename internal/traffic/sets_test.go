package traffic_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"serin/internal/traffic"
)

// slowSet is a set as a list of all buckets.
func slowSet(ranges [][2]int) (in [traffic.Buckets]bool, ok bool) {
	last := -1
	for _, r := range ranges {
		if r[0] <= last || r[0] < 0 || r[1] < r[0] || r[1] >= traffic.Buckets {
			return in, false
		}
		for b := r[0]; b <= r[1]; b++ {
			in[b] = true
		}
		last = r[1]
	}
	return in, true
}

// Random ranges, good and bad, against the list of all buckets.
func TestRangesAgainstAListOfBuckets(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 9))
	accepted := 0
	for range 300 {
		var ranges [][2]int
		at := rng.IntN(3) - 1
		for range rng.IntN(6) {
			from := at + rng.IntN(1500) - 40
			at = from + rng.IntN(900) - 40
			ranges = append(ranges, [2]int{from, at})
			at += rng.IntN(3)
		}
		given := slices.Clone(ranges)
		in, ok := slowSet(ranges)
		set, err := traffic.Ranges(ranges)
		if (err == nil) != ok {
			t.Fatalf("%v: error %v, want accepted %v", ranges, err, ok)
		}
		if !ok {
			continue
		}
		accepted++
		for i := range ranges { // the caller's list stays the caller's
			ranges[i] = [2]int{-7, -7}
		}
		count := 0
		for b := -2; b < traffic.Buckets+2; b++ {
			want := b >= 0 && b < traffic.Buckets && in[b]
			if set.Has(b) != want {
				t.Fatalf("%v: bucket %d is in: %v, want %v", given, b, set.Has(b), want)
			}
			if want {
				count++
			}
		}
		if set.Count() != count {
			t.Fatalf("%v: %d buckets, want %d", given, set.Count(), count)
		}
		text, err := json.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}
		var back traffic.Set
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if diff := cmp.Diff(set, back, cmp.AllowUnexported(traffic.Set{})); diff != "" && count > 0 {
			t.Fatalf("%s (-want +got):\n%s", text, diff)
		}
	}
	if accepted < 50 || accepted > 280 {
		t.Errorf("%d of 300 were accepted: the test covers one side only", accepted)
	}
}

// Percentages of two decimals are exact; others are rounded to the nearest bucket, and what is no percentage is clamped.
func TestPercentIsExact(t *testing.T) {
	t.Parallel()
	for n := range traffic.Buckets + 1 {
		if got := traffic.Percent(float64(n) / 100).Count(); got != n {
			t.Fatalf("%v %%: %d buckets, want %d", float64(n)/100, got, n)
		}
	}
	for pct, want := range map[float64]int{
		0.004: 0, 0.006: 1, 99.996: 10000, 100.5: 10000, -1: 0, 1e300: 10000, -1e300: 0, math.Inf(1): 10000, math.Inf(-1): 0, math.SmallestNonzeroFloat64: 0,
	} {
		if got := traffic.Percent(pct).Count(); got != want {
			t.Errorf("%v %%: %d buckets, want %d", pct, got, want)
		}
	}
	if got := traffic.Percent(math.NaN()).Count(); got != 0 {
		t.Errorf("NaN: %d buckets", got)
	}
}

func TestSetJSON(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want, fault string }{
		{"[]", "[]", ""},
		{"[[0,9999]]", "[[0,9999]]", ""},
		{"[[7,7],[8,8]]", "[[7,7],[8,8]]", ""},
		{"[[0]]", "", "bucket range [0]: a range has two numbers, its first and its last bucket"},
		{"[[0,4,9]]", "", "bucket range [0 4 9]: a range has two numbers, its first and its last bucket"},
		{"[null]", "", "bucket range []: a range has two numbers, its first and its last bucket"},
		{"[[5,4]]", "", "bucket range [5,4]: ranges ascend, do not overlap and lie within 0..9999"},
		{"[[0,4],[4,5]]", "", "bucket range [4,5]: ranges ascend, do not overlap and lie within 0..9999"},
		{"[[-1,4]]", "", "bucket range [-1,4]: ranges ascend, do not overlap and lie within 0..9999"},
		{"[[0,10000]]", "", "bucket range [0,10000]: ranges ascend, do not overlap and lie within 0..9999"},
		{"[[0,1.5]]", "", "buckets: json: cannot unmarshal number 1.5 into Go value of type int"},
		{`{"0": 4}`, "", "buckets: json: cannot unmarshal object into Go value of type [][]int"},
	} {
		kept := traffic.Percent(1)
		set := kept
		err := json.Unmarshal([]byte(tt.in), &set)
		if tt.fault != "" {
			if err == nil || err.Error() != tt.fault {
				t.Errorf("%s: %v\nwant %s", tt.in, err, tt.fault)
			}
			if set.Count() != kept.Count() {
				t.Errorf("%s: refused, but the set changed to %d buckets", tt.in, set.Count())
			}
			continue
		}
		out, outErr := json.Marshal(set)
		if err != nil || outErr != nil || string(out) != tt.want {
			t.Errorf("%s: %s, %v, %v; want %s", tt.in, out, err, outErr, tt.want)
		}
	}
}

// A salt and a key are not one text: moving a letter over the border gives other buckets, except where the colon makes them the same text.
func TestBucketTakesBytes(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"", "a", "\xff\x00", "ü", string(make([]byte, 4096))} {
		b := traffic.Bucket("salt", key)
		if b != traffic.BucketBytes("salt", []byte(key)) || b < 0 || b >= traffic.Buckets {
			t.Errorf("key %.10q: bucket %d", key, b)
		}
	}
	same := 0
	for i := range 1000 {
		if traffic.Bucket("salt", string(rune('a'+i))) == traffic.Bucket("sal", "t"+string(rune('a'+i))) {
			same++
		}
	}
	if same > 5 {
		t.Errorf("%d of 1000 buckets do not depend on where the salt ends", same)
	}
}
