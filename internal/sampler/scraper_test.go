package sampler

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"serin/internal/analysis"
)

var at = time.Date(2025, 1, 20, 10, 0, 0, 0, time.UTC)

// exporter serves counters as a gateway does, by the official client.
func exporter(t *testing.T) (url string, requests *prometheus.CounterVec, durations *prometheus.HistogramVec) {
	t.Helper()
	requests = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "http_requests_total", Help: "Requests."}, []string{"model", "version", "revision", "status"})
	durations = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "http_request_duration_seconds", Help: "Durations.", Buckets: []float64{0.05, 0.1}}, []string{"model", "version", "revision"})
	reg := prometheus.NewRegistry()
	reg.MustRegister(requests, durations)
	srv := httptest.NewServer(promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	t.Cleanup(srv.Close)
	return srv.URL, requests, durations
}

func scraper(t *testing.T, url string) *Scraper {
	t.Helper()
	s, err := NewScraper(ScraperOptions{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestScraper_ReadsAnExporter(t *testing.T) {
	t.Parallel()
	url, requests, durations := exporter(t)
	requests.WithLabelValues("fraud", "canary", "42", "200").Add(7)
	requests.WithLabelValues("fraud", "canary", "42", "503").Add(1)
	requests.WithLabelValues("fraud", "champion", "41", "200").Add(150)
	requests.WithLabelValues("churn", "champion", "3", "200").Add(9)
	for _, d := range []float64{0.01, 0.07, 0.07, 3} {
		durations.WithLabelValues("fraud", "canary", "42").Observe(d)
	}
	got, err := scraper(t, url).Scrape(t.Context(), "fraud", at)
	if err != nil {
		t.Fatal(err)
	}
	host := strings.TrimPrefix(url, "http://")
	want := []analysis.Sample{
		{
			At: at, Role: analysis.RoleCanary, Instance: host + "@42", Revision: "42", Requests: map[string]analysis.Number{"200": 7, "503": 1},
			Latency: &analysis.Histogram{LE: map[string]analysis.Number{"0.05": 1, "0.1": 3, "+Inf": 4}, Sum: 3.15},
		},
		{At: at, Role: analysis.RoleChampion, Instance: host + "@41", Revision: "41", Requests: map[string]analysis.Number{"200": 150}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestScraper_KeepsAnInstanceLabelAndReadsUntypedPages(t *testing.T) {
	t.Parallel()
	page := `http_requests_total{model="fraud",version="canary",instance="pod-7",status="200"} 3
http_request_duration_seconds_bucket{model="fraud",version="canary",instance="pod-7",le="0.1"} 2
http_request_duration_seconds_bucket{model="fraud",version="canary",instance="pod-7",le="+Inf"} 3
`
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/custom" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, page)
	}))
	t.Cleanup(srv.Close)
	got, err := scraper(t, srv.URL+"/custom").Scrape(t.Context(), "fraud", at)
	want := []analysis.Sample{{
		At: at, Role: analysis.RoleCanary, Instance: "pod-7", Requests: map[string]analysis.Number{"200": 3},
		Latency: &analysis.Histogram{LE: map[string]analysis.Number{"0.1": 2, "+Inf": 3}},
	}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
}

func TestScraper_SaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		words  string
	}{
		"not found":   {http.NotFound, "answered 404 Not Found"},
		"a redirect":  {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) }, "answered 302"},
		"not metrics": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>sign in</html>") }, "not in the text format"},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "99")
			fmt.Fprint(w, "a 1\n")
		}, "unexpected EOF"},
		"too large": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, maxBody+1)) }, "larger than 16 MiB"},
		"no status": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintln(w, `http_requests_total{model="fraud",version="canary"} 1`)
		}, "no label status"},
		"version is not": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintln(w, `http_requests_total{model="fraud",status="200"} 1`)
		}, "no label version"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(tc.answer)
			t.Cleanup(srv.Close)
			got, err := scraper(t, srv.URL).Scrape(t.Context(), "fraud", at)
			if err == nil || !strings.Contains(err.Error(), tc.words) || !strings.Contains(err.Error(), strings.TrimPrefix(srv.URL, "http://")) || got != nil {
				t.Errorf("%+v, error %v, want one with %q and the address", got, err, tc.words)
			}
		})
	}
}

func TestScraper_EndsWithItsContext(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(srv.Close)
	t.Cleanup(func() { close(release) })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := scraper(t, srv.URL).Scrape(ctx, "fraud", at); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

func TestNewScraper_Refuses(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "gw-1:8081", "ftp://gw-1", "http://", "http://%zz"} {
		if _, err := NewScraper(ScraperOptions{URL: url}); err == nil {
			t.Errorf("address %q was taken", url)
		}
	}
	if _, err := NewScraper(ScraperOptions{URL: "http://gw-1", Names: analysis.Names{Requests: "r"}}); err == nil {
		t.Error("half a set of names was taken")
	}
}

// FuzzParse reads any page: no panic, and no count that no counter reaches.
func FuzzParse(f *testing.F) {
	f.Add([]byte("# TYPE h histogram\nh_bucket{le=\"0.1\"} NaN\nh_bucket{le=\"+Inf\"} 2\nh_sum 1\nh_count -2\n"))
	f.Add([]byte(`http_requests_total{model="fraud",version="canary",status="200"} 3` + "\n"))
	f.Add([]byte("# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 1\ns_count 1\n# TYPE g gauge\ng 1\n"))
	f.Fuzz(func(t *testing.T, page []byte) {
		series, err := parse(page, counters)
		if err != nil {
			return
		}
		for _, s := range series {
			if strings.HasSuffix(s.Name, "_bucket") && s.Labels["le"] == "" && s.Value > 1<<62 {
				t.Fatalf("series %+v", s)
			}
		}
		names, err := analysis.Preset("serin")
		if err != nil {
			t.Fatal(err)
		}
		samples, err := analysis.Collect(at, "fraud", names, series)
		if err != nil {
			return
		}
		for _, l := range samples {
			if l.Latency == nil {
				continue
			}
			for le, n := range l.Latency.LE {
				if le == "" || float64(n) == 1<<63 {
					t.Fatalf("bound %q with %v", le, n)
				}
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	var page strings.Builder
	for m := range 10 {
		for _, version := range []string{"champion", "canary"} {
			for _, status := range []string{"200", "400", "500", "503"} {
				fmt.Fprintf(&page, "http_requests_total{model=\"m%d\",version=%q,status=%q} 123456\n", m, version, status)
			}
			for le := range 19 {
				fmt.Fprintf(&page, "http_request_duration_seconds_bucket{model=\"m%d\",version=%q,le=\"%d\"} 123456\n", m, version, le)
			}
		}
	}
	body := []byte(page.String())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parse(body, counters); err != nil {
			b.Fatal(err)
		}
	}
}
