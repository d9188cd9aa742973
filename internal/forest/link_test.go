package forest

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLink_ApplyToRows(t *testing.T) {
	t.Parallel()
	inf := float32(math.Inf(1))
	tests := []struct {
		link   Link
		groups int
		in     []float32
		want   []float32
	}{
		{LinkIdentity, 2, []float32{-1, 2, 3, -4}, []float32{-1, 2, 3, -4}},
		{LinkLogistic, 1, []float32{0, inf, -inf, 100, -100}, []float32{0.5, 1, 3.0066358e-39, 1, 3.0066358e-39}},
		{LinkExp, 1, []float32{0, 1, -inf, 1000}, []float32{1, 2.7182817, 0, inf}},
		{LinkHinge, 1, []float32{0, -0.1, 0.1, inf}, []float32{0, 0, 1, 1}},
		{LinkSoftprob, 2, []float32{0, 0, 1000, -1000}, []float32{0.5, 0.5, 1, 0}},
		{LinkSorted, 3, []float32{3, 1, 2, -1, 5, 0}, []float32{1, 2, 3, -1, 0, 5}},
		{LinkSoftmax, 3, []float32{3, 1, 2}, []float32{3, 1, 2}}, // Predict does it
	}
	for _, tt := range tests {
		got := append([]float32(nil), tt.in...)
		tt.link.apply(got, tt.groups)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s of %v (-want +got):\n%s", tt.link, tt.in, diff)
		}
	}
}

func TestLink_ArgmaxTakesTheFirst(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		row  []float32
		want float32
	}{{[]float32{1}, 0}, {[]float32{1, 3, 3, 2}, 1}, {[]float32{-5, -7, -4}, 2}} {
		if got := argmax(tt.row); got != tt.want {
			t.Errorf("argmax(%v) = %v, want %v", tt.row, got, tt.want)
		}
	}
}

func TestLink_Margin(t *testing.T) {
	t.Parallel()
	inf := float32(math.Inf(1))
	tests := []struct {
		link  Link
		base  float32
		want  float32
		fault string
	}{
		{link: LinkLogistic, base: 0.5, want: float32(math.Copysign(0, -1))},
		{link: LinkLogistic, base: 0.137, want: -1.8404338},
		{link: LinkLogistic, base: 0, fault: "base score 0 is not between 0 and 1"},
		{link: LinkLogistic, base: 1, fault: "base score 1 is not between 0 and 1"},
		{link: LinkLogistic, base: float32(math.NaN()), fault: "base score NaN is not between"},
		{link: LinkExp, base: 1, want: 0},
		{link: LinkExp, base: 2.25, want: 0.8109302},
		{link: LinkExp, base: 0, fault: "base score 0 is not above 0"},
		{link: LinkExp, base: inf, fault: "no finite margin"},
		{link: LinkIdentity, base: -3, want: -3},
		{link: LinkIdentity, base: inf, fault: "base score +Inf has no finite margin"},
		{link: LinkHinge, base: 0, want: 0},
		{link: LinkSoftprob, base: -2, want: -2},
		{link: LinkSoftmax, base: 0.5, want: 0.5},
		{link: LinkSorted, base: -1, want: -1},
	}
	for _, tt := range tests {
		got, err := tt.link.Margin(tt.base)
		if tt.fault != "" {
			if err == nil || !strings.Contains(err.Error(), tt.fault) {
				t.Errorf("%s margin of %v: error %v, want %q", tt.link, tt.base, err, tt.fault)
			}
			continue
		}
		if err != nil || !sameBits(got, tt.want) {
			t.Errorf("%s margin of %v = %v, %v, want %v", tt.link, tt.base, got, err, tt.want)
		}
	}
}

func TestRowFloat(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in    float64
		want  float32
		fault string
	}{
		{in: 0.1, want: 0.1},
		{in: math.NaN(), want: float32(math.NaN())},
		{in: math.Copysign(0, -1), want: float32(math.Copysign(0, -1))},
		{in: 3.40282356e38, want: math.MaxFloat32},
		{in: -3.40282356e38, want: -math.MaxFloat32},
		{in: 5e-324, want: 0},
		{in: 1e-45, want: math.SmallestNonzeroFloat32},
		{in: 16777217, want: 16777216}, // ties to even
		{in: 3.402823669209385e38, fault: "beyond float32"},
		{in: 1e39, fault: "1e+39 is beyond float32: send a number of at most"},
		{in: math.Inf(1), fault: "+Inf is not a feature value: leave it empty"},
		{in: math.Inf(-1), fault: "-Inf is not a feature value"},
	}
	for _, tt := range tests {
		got, err := RowFloat(tt.in)
		if tt.fault != "" {
			if err == nil || !strings.Contains(err.Error(), tt.fault) {
				t.Errorf("RowFloat(%v): error %v, want %q", tt.in, err, tt.fault)
			}
			continue
		}
		if err != nil || !sameBits(got, tt.want) {
			t.Errorf("RowFloat(%v) = %v, %v, want %v", tt.in, got, err, tt.want)
		}
	}
}
