package demo

import (
	"math/rand/v2"
	"testing"
	"time"
)

// The bands were computed with exact fractions.
func TestBand_Exact(t *testing.T) {
	t.Parallel()
	tests := []struct {
		n         int
		p         float64
		low, high int
	}{
		{2000, 0.05, 69, 133},
		{2000, 0.25, 437, 565},
		{500, 0.05, 11, 42},
		{10, 0.5, 0, 10},
		{1, 0.05, 0, 1},
		{100, 0.01, 0, 6},
		{100, 0, 0, 0},
		{100, 1, 100, 100},
		{0, 0.5, 0, 0},
	}
	for _, tt := range tests {
		if low, high := Band(tt.n, tt.p); low != tt.low || high != tt.high {
			t.Errorf("band of %d with %v is %d to %d, want %d to %d", tt.n, tt.p, low, high, tt.low, tt.high)
		}
	}
}

func TestBand_HoldsWhatChanceDoes(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(5, 6))
	low, high := Band(400, 0.05)
	outside := 0
	const runs = 20_000
	for range runs {
		hits := 0
		for range 400 {
			if rng.Float64() < 0.05 {
				hits++
			}
		}
		if hits < low || hits > high {
			outside++
		}
	}
	if share := float64(outside) / runs; share > 0.002 {
		t.Errorf("%v of the runs are outside a band of 99.9 %%", share)
	}
	if high-low > 50 {
		t.Errorf("band %d to %d says nothing", low, high)
	}
}

func TestCanaryShare(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		customers, canary int
		want              bool
	}{{2000, 100, true}, {2000, 69, true}, {2000, 68, false}, {2000, 134, false}, {0, 0, false}} {
		if got := (Seen{Customers: tt.customers, CanaryCustomers: tt.canary}).CanaryShare(5); got.Within != tt.want {
			t.Errorf("share %+v, want within %v", got, tt.want)
		}
	}
}

func TestTally_QuantilesAreWithinFivePercent(t *testing.T) {
	t.Parallel()
	y := newTally()
	for i := 1; i <= 1000; i++ {
		y.add("c", answer{status: 200, role: roleChampion, version: "41", took: time.Duration(i) * time.Millisecond})
	}
	for q, want := range map[float64]time.Duration{0.5: 500 * time.Millisecond, 0.95: 950 * time.Millisecond} {
		if got := y.quantile(q); got < want || float64(got) > 1.06*float64(want) {
			t.Errorf("quantile %v is %s, want %s", q, got, want)
		}
	}
	y.add("c", answer{status: 200, took: time.Hour})
	if y.counts.Unnamed != 1 {
		t.Errorf("an answer without headers counts as %+v", y.counts)
	}
}
