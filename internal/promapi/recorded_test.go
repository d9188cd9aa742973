package promapi

import (
	"math"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"serin/internal/analysis"
)

// testdata/two-replicas.json is what Prometheus 2.42 answered at the end of the integration test, written by its flag:
//
//	go test -tags integration -run Integration ./internal/promapi -record testdata/two-replicas.json
//
// One replica stands still, the other restarted and went from 5 to 75.
const (
	recordedStill     = "127.0.0.1:45927"
	recordedRestarted = "127.0.0.1:39023"
)

func recordedTime(seconds float64) time.Time {
	return time.UnixMilli(int64(math.Round(seconds * 1000))).UTC()
}

func recordedLine(role analysis.Role, host, revision string, ok, failed, fast, all float64) analysis.Sample {
	n := func(f float64) analysis.Number { return analysis.Number(f) }
	return analysis.Sample{
		Role: role, Instance: host + "@" + revision, Revision: revision, Requests: map[string]analysis.Number{"200": n(ok), "503": n(failed)},
		Latency: &analysis.Histogram{LE: map[string]analysis.Number{"0.05": n(fast), "0.1": n(fast), "1": n(all), "+Inf": n(all)}},
	}
}

// TestScrape_ARecordedServer reads a real answer at three instants.
func TestScrape_ARecordedServer(t *testing.T) {
	t.Parallel()
	body, err := os.ReadFile("testdata/two-replicas.json")
	if err != nil {
		t.Fatal(err)
	}
	still := []analysis.Sample{
		recordedLine(analysis.RoleCanary, recordedStill, "42", 105, 5, 105, 110),
		recordedLine(analysis.RoleChampion, recordedStill, "41", 199, 1, 200, 200),
	}
	for name, tc := range map[string]struct {
		at        float64
		restarted []analysis.Sample
	}{
		"the last of both":   {1795570742.2, []analysis.Sample{recordedLine(analysis.RoleCanary, recordedRestarted, "42", 75, 0, 75, 75)}},
		"between the two":    {1795570741.0, []analysis.Sample{recordedLine(analysis.RoleCanary, recordedRestarted, "42", 5, 0, 5, 5)}},
		"one is too old now": {1795570743.5, nil},
	} {
		want := append(append([]analysis.Sample(nil), tc.restarted...), still...)
		for i := range want {
			want[i].At = recordedTime(tc.at)
		}
		c := client(t, Options{URL: serve(t, http.StatusOK, string(body)).URL, ScrapeInterval: time.Second})
		got, err := c.Scrape(t.Context(), "fraud", recordedTime(tc.at))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(analysis.Histogram{}, "Sum")); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}
