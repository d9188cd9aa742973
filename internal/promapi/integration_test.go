//go:build integration

package promapi

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"serin/internal/analysis"
)

var record = flag.String("record", "", "write the last raw answer of the server to this file")

// exporter is a gateway's page by the official client. restart gives it new counters, as a new process has.
type exporter struct {
	mu        sync.Mutex
	handler   http.Handler
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
}

func newExporter(t *testing.T) (*exporter, string) {
	t.Helper()
	e := &exporter{}
	e.restart()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock() // a page shows all of a serve or nothing
		defer e.mu.Unlock()
		e.handler.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return e, strings.TrimPrefix(srv.URL, "http://")
}

func (e *exporter) restart() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.requests = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "http_requests_total", Help: "Requests."}, []string{"model", "version", "revision", "status"})
	e.durations = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "http_request_duration_seconds", Help: "Durations.", Buckets: []float64{0.05, 0.1, 1}}, []string{"model", "version", "revision"})
	reg := prometheus.NewRegistry()
	reg.MustRegister(e.requests, e.durations)
	e.handler = promhttp.HandlerFor(reg, promhttp.HandlerOpts{})
}

// serve counts n requests, of which failed fail and slow take 0.5 s.
func (e *exporter) serve(version, revision string, n, failed, slow int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.requests.WithLabelValues("fraud", version, revision, "200").Add(float64(n - failed))
	e.requests.WithLabelValues("fraud", version, revision, "503").Add(float64(failed))
	for i := range n {
		d := 0.01
		if i < slow {
			d = 0.5
		}
		e.durations.WithLabelValues("fraud", version, revision).Observe(d)
	}
}

// startPrometheus runs the server that SERIN_PROMETHEUS names, scraping the targets every second.
func startPrometheus(t *testing.T, targets ...string) string {
	t.Helper()
	binary := os.Getenv("SERIN_PROMETHEUS")
	if binary == "" {
		t.Fatal("SERIN_PROMETHEUS is not set: point it at a prometheus executable (scripts/peers installs one)")
	}
	dir := t.TempDir()
	config := fmt.Sprintf("global: {scrape_interval: 1s, scrape_timeout: 900ms}\nscrape_configs:\n- job_name: gateways\n  static_configs: [{targets: [%s]}]\n", strings.Join(targets, ", "))
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	var log strings.Builder
	cmd := exec.Command(binary, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--log.level=warn")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", binary, err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("prometheus said:\n%s", log.String())
		}
	})
	return "http://" + address
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// until asks for samples at the present second until they satisfy want.
func until(t *testing.T, c *Client, what string, want func([]analysis.Sample) bool) (time.Time, []analysis.Sample) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var last string
	for {
		at := time.Now().Truncate(time.Second)
		samples, err := c.Scrape(ctx, "fraud", at)
		if err == nil && want(samples) {
			return at, samples
		}
		last = fmt.Sprintf("%+v, %v", samples, err)
		select {
		case <-ctx.Done():
			t.Fatalf("never saw %s; last %s", what, last)
		case <-time.After(300 * time.Millisecond):
		}
	}
}

func total(samples []analysis.Sample, role analysis.Role, instance string) float64 {
	sum := 0.0
	for _, s := range samples {
		if s.Role == role && strings.HasPrefix(s.Instance, instance) {
			for _, n := range s.Requests {
				sum += float64(n)
			}
		}
	}
	return sum
}

// TestIntegration_CountsOfTheSeamAreCountsOfTheExporters drives the real server: two replicas, births, and a reset that outgrows its old value.
func TestIntegration_CountsOfTheSeamAreCountsOfTheExporters(t *testing.T) {
	one, host1 := newExporter(t)
	two, host2 := newExporter(t)
	one.serve("champion", "41", 200, 1, 0)
	one.serve("canary", "42", 10, 1, 2)
	two.serve("champion", "41", 100, 0, 0)
	two.serve("canary", "42", 8, 0, 0)
	server := startPrometheus(t, host1, host2)
	c := client(t, Options{URL: server, ScrapeInterval: time.Second})

	at, samples := until(t, c, "all four lines", func(s []analysis.Sample) bool { return len(s) == 4 })
	want := []analysis.Sample{
		line(at, analysis.RoleCanary, host1, "42", 9, 1, 8, 10),
		line(at, analysis.RoleCanary, host2, "42", 8, 0, 8, 8),
		line(at, analysis.RoleChampion, host1, "41", 199, 1, 200, 200),
		line(at, analysis.RoleChampion, host2, "41", 100, 0, 100, 100),
	}
	byInstance := cmpopts.SortSlices(func(a, b analysis.Sample) bool { return string(a.Role)+a.Instance < string(b.Role)+b.Instance })
	if diff := cmp.Diff(want, samples, byInstance, cmpopts.IgnoreFields(analysis.Histogram{}, "Sum")); diff != "" {
		t.Fatalf("(-want +got)\n%s", diff)
	}

	cfg := analysis.DefaultConfig()
	cfg.Tick = time.Second
	cfg.Latency.SLO = 100 * time.Millisecond
	stage := analysis.Stage{Name: "monitor_5_percent", WeightPct: 5, Bake: time.Minute}
	st, _, err := analysis.Judge(cfg, stage, nil, weighed(at, samples))
	if err != nil {
		t.Fatal(err)
	}
	one.serve("canary", "42", 100, 4, 3)
	two.restart()
	two.serve("canary", "42", 50, 1, 0) // more than the 8 before: only the champion's line and the statuses show the reset
	two.serve("champion", "41", 300, 0, 0)
	at, samples = until(t, c, "the new counts", func(s []analysis.Sample) bool {
		return total(s, analysis.RoleCanary, host1) == 110 && total(s, analysis.RoleCanary, host2) == 50 && total(s, analysis.RoleChampion, host2) == 300
	})
	_, j, err := analysis.Judge(cfg, stage, st, weighed(at, samples))
	if err != nil {
		t.Fatal(err)
	}
	e := j.Checks[0]
	// one: 100 and 4 more. two, whose canary went from 8 to 50: a hidden reset only where no raw sample fell between; none fell here, so 42 and 1.
	if j.CanaryRequests != 142 || e.StageEvents != 5 || j.Checks[1].StageRequests != 142 || j.Checks[1].StageEvents != 3 {
		t.Errorf("judged %d requests, %d failed; histogram %d, %d slow", j.CanaryRequests, e.StageEvents, j.Checks[1].StageRequests, j.Checks[1].StageEvents)
	}
	if got := j.ChampionRequests; got != 200 {
		t.Errorf("judged %d champion requests, want 300 - 100", got)
	}
	seenReset(t, c, two, host2)
	if *record != "" {
		recordAnswer(t, c)
	}
}

// seenReset restarts a replica, lets one low value be scraped, and grows past the old one within a tick.
func seenReset(t *testing.T, c *Client, e *exporter, host string) {
	t.Helper()
	before, _ := until(t, c, "the counts before", func(s []analysis.Sample) bool { return total(s, analysis.RoleCanary, host) == 50 })
	e.restart()
	e.serve("canary", "42", 5, 0, 0)
	// Another client looks between the ticks: the one under test goes from the tick before the restart to the one after.
	between := &Client{endpoint: c.endpoint, http: c.http, names: c.names, interval: c.interval, last: map[string]time.Time{}}
	until(t, between, "the low count", func(s []analysis.Sample) bool { return total(s, analysis.RoleCanary, host) == 5 })
	e.serve("canary", "42", 70, 0, 0)
	wide := &Client{endpoint: c.endpoint, http: c.http, names: c.names, interval: 10 * time.Second, last: map[string]time.Time{"fraud": before}}
	at, _ := until(t, between, "the grown count", func(s []analysis.Sample) bool { return total(s, analysis.RoleCanary, host) == 75 })
	samples, err := wide.Scrape(t.Context(), "fraud", at)
	if err != nil || total(samples, analysis.RoleCanary, host) != 75 {
		t.Fatalf("%+v, %v", samples, err)
	}
	for _, s := range samples {
		if s.Role == analysis.RoleCanary && strings.HasPrefix(s.Instance, host) && !s.Restarted {
			t.Errorf("the restart of %s was not seen: %+v", host, s)
		}
	}
}

func weighed(at time.Time, samples []analysis.Sample) analysis.Scrape {
	for i := range samples {
		samples[i].WeightPct = 5
	}
	return analysis.Scrape{At: at, Samples: samples}
}

func line(at time.Time, role analysis.Role, host, revision string, ok, failed, fast, all float64) analysis.Sample {
	s := recordedLine(role, host, revision, ok, failed, fast, all)
	s.At = at
	return s
}

// recordAnswer stores what the server says now, for the tests that run without one.
func recordAnswer(t *testing.T, c *Client) {
	t.Helper()
	at := time.Now()
	body, err := c.query(t.Context(), c.expression("fraud"), at)
	if err != nil || !json.Valid(body) {
		t.Fatalf("%s, %v", body, err)
	}
	if err := os.WriteFile(*record, append(body, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Logf("recorded at %s", timestamp(at))
}
