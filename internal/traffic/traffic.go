// Package traffic decides which side a request goes to: the bucket of a key, sets of buckets, the routing table and the routing
// document (traffic_routing.json) as values. It never reads a file or a clock.
package traffic

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/cespare/xxhash/v2"
)

// Buckets is the number of buckets that the key space is divided into: 0.01 % each.
const Buckets = 10000

// Role is the part a version plays in the traffic of a model.
type Role string

// The roles a request can be assigned to.
const (
	Champion Role = "champion"
	Canary   Role = "canary"
)

// Bucket gives the bucket of a key, 0 to Buckets-1: xxh64(salt + ":" + key, seed 0) mod Buckets. HAProxy and Envoy compute the same.
func Bucket(salt, key string) int {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.WriteString(salt)
	_, _ = d.WriteString(":")
	_, _ = d.WriteString(key)
	return int(d.Sum64() % Buckets)
}

// BucketBytes is Bucket for a key that is still part of a request's bytes.
func BucketBytes(salt string, key []byte) int {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.WriteString(salt)
	_, _ = d.WriteString(":")
	_, _ = d.Write(key)
	return int(d.Sum64() % Buckets)
}

// Set is an immutable set of buckets. The zero value is empty. Its JSON form is a list of inclusive ranges, [[0,499],[700,799]].
type Set struct{ ranges [][2]int }

// Percent is the set of the first round(pct*100) buckets, so that a larger percentage only adds buckets: nobody leaves the canary when it grows.
// pct is clamped to 0..100; NaN is 0.
func Percent(pct float64) Set {
	if math.IsNaN(pct) {
		return Set{}
	}
	n := int(math.Round(min(max(pct, 0), 100) * Buckets / 100)) // clamped first: a large float64 has no int
	if n == 0 {
		return Set{}
	}
	return Set{ranges: [][2]int{{0, n - 1}}}
}

// Ranges makes a set of inclusive ranges, which must be ascending, disjoint and within 0..Buckets-1.
func Ranges(ranges [][2]int) (Set, error) {
	last := -1
	for _, r := range ranges {
		if r[0] <= last || r[1] < r[0] || r[1] >= Buckets {
			return Set{}, fmt.Errorf("bucket range [%d,%d]: ranges ascend, do not overlap and lie within 0..%d", r[0], r[1], Buckets-1)
		}
		last = r[1]
	}
	return Set{ranges: append([][2]int(nil), ranges...)}, nil
}

// Has says whether bucket b is in the set.
func (s Set) Has(b int) bool {
	for _, r := range s.ranges {
		if b >= r[0] && b <= r[1] {
			return true
		}
	}
	return false
}

// Count is the number of buckets in the set.
func (s Set) Count() int {
	n := 0
	for _, r := range s.ranges {
		n += r[1] - r[0] + 1
	}
	return n
}

// MarshalJSON writes the ranges; an empty set is [].
func (s Set) MarshalJSON() ([]byte, error) {
	if s.ranges == nil {
		return []byte("[]"), nil
	}
	return json.Marshal(s.ranges)
}

// UnmarshalJSON reads what MarshalJSON writes and refuses ranges that overlap or leave 0..Buckets-1.
func (s *Set) UnmarshalJSON(b []byte) error {
	var lists [][]int // and not [][2]int, for which encoding/json drops and invents numbers
	if err := json.Unmarshal(b, &lists); err != nil {
		return fmt.Errorf("buckets: %w", err)
	}
	ranges := make([][2]int, len(lists))
	for i, l := range lists {
		if len(l) != 2 {
			return fmt.Errorf("bucket range %v: a range has two numbers, its first and its last bucket", l)
		}
		ranges[i] = [2]int(l)
	}
	set, err := Ranges(ranges)
	if err != nil {
		return err
	}
	*s = set
	return nil
}
