package storetest

import (
	"context"
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/analysis"
	"serin/internal/store"
)

func scrape(at time.Time) analysis.Scrape {
	sample := func(role analysis.Role, instance string) analysis.Sample {
		return analysis.Sample{
			At: at, Role: role, Instance: instance, Revision: "42", WeightPct: 5,
			Requests: map[string]analysis.Number{"200": 180, "503": analysis.Number(math.NaN())},
			Latency:  &analysis.Histogram{LE: map[string]analysis.Number{"0.1": 170, "+Inf": 192}, Sum: 3.25},
			Cells:    json.RawMessage(`{"a":[1,2]}`),
		}
	}
	return analysis.Scrape{At: at, Samples: []analysis.Sample{
		sample(analysis.RoleCanary, "gw-2"), sample(analysis.RoleChampion, "gw-1"), sample(analysis.RoleCanary, "gw-1"),
	}}
}

// scrapesRoundTrip keeps order, NaN, a failed source and a tick without any line.
func scrapesRoundTrip(t *testing.T, db *store.DB) {
	failed := analysis.Scrape{At: Epoch.Add(15 * time.Second), Err: "gateway gw-2: connection refused"}
	empty := analysis.Scrape{At: Epoch.Add(30 * time.Second)}
	wanted := []analysis.Scrape{scrape(Epoch), failed, empty}
	for _, sc := range []analysis.Scrape{wanted[2], wanted[0], wanted[1]} {
		if err := db.SaveScrape(t.Context(), "fraud", sc); err != nil {
			t.Fatal(err)
		}
	}
	got, err := db.Scrapes(t.Context(), "fraud", time.Time{}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wanted, got, cmp.Comparer(sameNumber)); diff != "" {
		t.Error(diff)
	}
}

// sameNumber takes NaN for equal to NaN: a counter that could not be read must stay one.
func sameNumber(a, b analysis.Number) bool {
	return a == b || math.IsNaN(float64(a)) && math.IsNaN(float64(b))
}

func scrapesRange(t *testing.T, db *store.DB) {
	tick := func(n int) time.Time { return Epoch.Add(time.Duration(n) * 15 * time.Second) }
	for n := range 10 {
		if err := db.SaveScrape(t.Context(), "fraud", scrape(tick(n))); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.SaveScrape(t.Context(), "churn", scrape(tick(3))); err != nil {
		t.Fatal(err)
	}
	expect := func(model string, after, until time.Time, wanted ...int) {
		t.Helper()
		all, err := db.Scrapes(t.Context(), model, after, until)
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, sc := range all {
			got = append(got, int(sc.At.Sub(Epoch)/(15*time.Second)))
			if len(sc.Samples) != 3 {
				t.Errorf("tick %s has %d lines, want 3", sc.At, len(sc.Samples))
			}
		}
		if diff := cmp.Diff(wanted, got); diff != "" {
			t.Error(diff)
		}
	}
	expect("fraud", tick(2), tick(4), 3, 4)
	expect("fraud", tick(7), time.Time{}, 8, 9)
	expect("fraud", time.Time{}, tick(1), 0, 1)
	expect("fraud", tick(9), tick(20))
	expect("churn", time.Time{}, time.Time{}, 3)
	if err := db.PruneSamples(t.Context(), "fraud", tick(8)); err != nil {
		t.Fatal(err)
	}
	expect("fraud", time.Time{}, time.Time{}, 8, 9)
	expect("churn", time.Time{}, time.Time{}, 3)
}

// scrapeOnce shows that a second scrape of a tick changes nothing of the first.
func scrapeOnce(t *testing.T, db *store.DB) {
	if err := db.SaveScrape(t.Context(), "fraud", scrape(Epoch)); err != nil {
		t.Fatal(err)
	}
	want(t, db.SaveScrape(t.Context(), "fraud", analysis.Scrape{At: Epoch, Err: "again"}), store.ErrExists)
	view(t, db, func(ctx context.Context, tx *store.Tx) error {
		got, err := tx.Scrapes(ctx, "fraud", time.Time{}, time.Time{})
		if len(got) != 1 || len(got[0].Samples) != 3 || got[0].Err != "" {
			t.Errorf("after a second save: %+v", got)
		}
		return err
	})
}
