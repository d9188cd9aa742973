package traffic_test

import (
	"encoding/csv"
	"fmt"
	"math"
	"os"
	"strconv"
	"testing"
	"time"

	"serin/internal/model"
	"serin/internal/traffic"
)

// checkShare fails when hits of n is outside five standard deviations of the share.
func checkShare(t *testing.T, what string, share float64, hits, n int) {
	t.Helper()
	want := share * float64(n)
	if band := 5 * math.Sqrt(want*(1-share)); math.Abs(float64(hits)-want) > band {
		t.Errorf("%s: %d of %d, want %.0f +- %.0f", what, hits, n, want, band)
	}
}

func TestBucketVectors(t *testing.T) {
	t.Parallel()
	f, err := os.Open("testdata/buckets.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) < 20 {
		t.Fatalf("%d rows of vectors", len(rows))
	}
	for _, row := range rows[1:] {
		want, err := strconv.Atoi(row[2])
		if err != nil {
			t.Fatal(err)
		}
		if got := traffic.Bucket(row[0], row[1]); got != want {
			t.Errorf("bucket of salt %q key %q is %d, want %d", row[0], row[1], got, want)
		}
		if got := traffic.BucketBytes(row[0], []byte(row[1])); got != want {
			t.Errorf("bucket of bytes of salt %q key %q is %d, want %d", row[0], row[1], got, want)
		}
	}
}

func TestSharesAndMonotoneGrowth(t *testing.T) {
	t.Parallel()
	const n = 200_000
	pcts := []float64{0, 0.01, 1, 5, 25, 50, 100}
	hits := make([]int, len(pcts))
	var cells [100]int
	for i := range n {
		b := traffic.Bucket("rollout-1", "customer-"+strconv.Itoa(i))
		cells[b/100]++
		in := false
		for k, pct := range pcts {
			has := traffic.Percent(pct).Has(b)
			if in && !has {
				t.Fatalf("customer %d left the canary when it grew to %v %%", i, pct)
			}
			in = has
			if has {
				hits[k]++
			}
		}
	}
	for k, pct := range pcts {
		checkShare(t, fmt.Sprintf("%v %%", pct), pct/100, hits[k], n)
	}
	chi2 := 0.0
	for _, c := range cells {
		d := float64(c) - n/100
		chi2 += d * d / (n / 100)
	}
	// 99 degrees of freedom: 45 and 170 are beyond the 1e-5 quantiles.
	if chi2 < 45 || chi2 > 170 {
		t.Errorf("chi2 over 100 cells is %.1f", chi2)
	}
}

func TestAnotherSaltChoosesOthers(t *testing.T) {
	t.Parallel()
	const n = 200_000
	five, first, both := traffic.Percent(5), 0, 0
	for i := range n {
		key := strconv.Itoa(i)
		if five.Has(traffic.Bucket("one", key)) {
			first++
			if five.Has(traffic.Bucket("two", key)) {
				both++
			}
		}
	}
	checkShare(t, "canary of the second rollout given that of the first", 0.05, both, first)
}

func TestTableFollowsThePublicKeys(t *testing.T) {
	t.Parallel()
	five := deploy(t, traffic.Document{}, 5)
	foreign := func(change func(*traffic.Document)) traffic.Document {
		d := five
		change(&d)
		return d
	}
	cells, err := traffic.Ranges([][2]int{{100, 399}, {9800, 9999}})
	if err != nil {
		t.Fatal(err)
	}
	withCells := five
	control := *five.Control
	control.Canary = &traffic.CanaryPin{Pin: canary, Buckets: cells}
	withCells.Control = &control
	tests := []struct {
		name    string
		doc     traffic.Document
		pct     float64
		version string
		in, out int
	}{
		{"ours", five, 5, "41", 499, 500},
		{"cells", withCells, 5, "41", 9999, 499},
		{"disabled, percentages left", foreign(func(d *traffic.Document) { d.CanaryEnabled = false }), 0, "", -1, 0},
		{"another weight", foreign(func(d *traffic.Document) { d.CanaryPct, d.ChampionPct = 10, 90 }), 10, "41", 999, 1000},
		{"another version", foreign(func(d *traffic.Document) { d.CanaryURI = "models:/m/43" }), 5, "43", 499, 500},
		{"control dropped", foreign(func(d *traffic.Document) { d.Control = nil }), 5, "", 499, 500},
		{"everything", foreign(func(d *traffic.Document) { d.CanaryPct, d.ChampionPct = 100, 0 }), 100, "41", 9999, -1},
	}
	for _, tt := range tests {
		table := tt.doc.Table(fraud)
		if table.WeightPct() != tt.pct {
			t.Errorf("%s: weight %v, want %v", tt.name, table.WeightPct(), tt.pct)
		}
		if table.Canary != nil && table.Canary.Pin.Version != tt.version {
			t.Errorf("%s: canary %q, want %q", tt.name, table.Canary.Pin.Version, tt.version)
		}
		if tt.in >= 0 && table.Assign(tt.in, at) != traffic.Canary {
			t.Errorf("%s: bucket %d is not the canary's", tt.name, tt.in)
		}
		if tt.out >= 0 && table.Assign(tt.out, at) != traffic.Champion {
			t.Errorf("%s: bucket %d is the canary's", tt.name, tt.out)
		}
	}
}

func TestLease(t *testing.T) {
	t.Parallel()
	table := deploy(t, traffic.Document{}, 5).Table(fraud)
	end := table.LeaseUntil
	for _, tt := range []struct {
		now  time.Time
		want traffic.Role
	}{
		{end.Add(-time.Hour), traffic.Canary},
		{end.Add(traffic.LeaseGrace), traffic.Canary},
		{end.Add(traffic.LeaseGrace + 1), traffic.Champion},
	} {
		if got := table.Assign(0, tt.now); got != tt.want {
			t.Errorf("%v after the lease: %s, want %s", tt.now.Sub(end), got, tt.want)
		}
	}
	table.LeaseUntil = time.Time{}
	if got := table.Assign(0, end.Add(1000*time.Hour)); got != traffic.Canary {
		t.Errorf("a table without a lease: %s", got)
	}
}

func TestTableOfADocumentWithoutAFile(t *testing.T) {
	t.Parallel()
	table := traffic.Document{}.Table(fraud)
	if table.Canary != nil || table.WeightPct() != 0 || table.Champion.Pin != (model.Pin{}) {
		t.Errorf("%+v", table)
	}
}

func BenchmarkBucket(b *testing.B) {
	key := []byte("customer-123456")
	b.ReportAllocs()
	for b.Loop() {
		traffic.BucketBytes("0123456789abcdef", key)
	}
}

func BenchmarkAssign(b *testing.B) {
	ranges := make([][2]int, 25)
	for i := range ranges {
		ranges[i] = [2]int{i * 400, i*400 + 99}
	}
	set, err := traffic.Ranges(ranges)
	if err != nil {
		b.Fatal(err)
	}
	table := traffic.Table{Canary: &traffic.Side{}, Buckets: set, LeaseUntil: at}
	b.ReportAllocs()
	for b.Loop() {
		table.Assign(9999, at)
	}
}
