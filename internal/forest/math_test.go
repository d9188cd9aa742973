package forest

import (
	"fmt"
	"math"
	"testing"
)

// expf and logf give what the C library gives: hashes over 4 million floats that
// testdata/libm.c printed. The same comparison over all 2^32 floats found no difference.
func TestMath_IsTheCLibrarys(t *testing.T) {
	t.Parallel()
	const stride = 1021
	tests := []struct {
		name string
		f    func(float32) float32
		want string
	}{
		{"expf", expf, "4190196 values, 125773ce88f634f7"},
		{"logf", logf, "2095098 values, 69433c34b268b3c7"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			hash, count := uint64(1469598103934665603), 0
			for i := uint64(0); i < 1<<32; i += stride {
				x := math.Float32frombits(uint32(i))
				y := tt.f(x)
				if x != x || y != y {
					continue
				}
				hash = (hash ^ uint64(math.Float32bits(y))) * 1099511628211
				count++
			}
			if got := fmt.Sprintf("%d values, %016x", count, hash); got != tt.want {
				t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
			}
		})
	}
}

func TestMath_Edges(t *testing.T) {
	t.Parallel()
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	tests := []struct {
		name string
		got  float32
		want float32
	}{
		{"e^0", expf(0), 1},
		{"e^-0", expf(float32(math.Copysign(0, -1))), 1},
		{"e^inf", expf(inf), inf},
		{"e^-inf", expf(-inf), 0},
		{"e^89 overflows", expf(89), inf},
		{"e^-104 underflows", expf(-104), 0},
		{"e^-103.5 is the smallest denormal", expf(-103.5), math.SmallestNonzeroFloat32},
		{"e^nan", expf(nan), nan},
		{"ln 1 is +0", logf(1), 0},
		{"ln 0", logf(0), -inf},
		{"ln of a negative", logf(-1), nan},
		{"ln inf", logf(inf), inf},
		{"ln nan", logf(nan), nan},
		{"ln of a denormal", logf(math.SmallestNonzeroFloat32), -103.27893},
	}
	for _, tt := range tests {
		if !sameBits(tt.got, tt.want) {
			t.Errorf("%s = %v, want %v", tt.name, tt.got, tt.want)
		}
	}
}

// sameBits compares bits; any NaN equals any other.
func sameBits(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}
