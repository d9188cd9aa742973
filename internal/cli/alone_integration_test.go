//go:build integration

package cli

import (
	"bytes"
	"encoding/json"
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
)

// TestAlone_OnRealPrometheus runs the five commands with no server and an empty folder, on a real Prometheus that scrapes a service which
// reads the routing file itself: promote, reject and roll back, each command twice.
func TestAlone_OnRealPrometheus(t *testing.T) {
	t.Parallel()
	t.Run("promote", func(t *testing.T) {
		t.Parallel()
		a := newAlone(t, "better", 0)
		a.twice(0, "compare-models", "--model", "fraud", "--plan", a.plan)
		a.twice(0, "deploy-canary", "--traffic", "5", "--model-uri", "models:/fraud/Staging")
		a.twice(0, "monitor-canary", "--traffic", "5", "--duration", "6s")
		a.twice(0, "promote-to-production", "--model-uri", "models:/fraud/Staging")
		if doc := a.routing(); doc["canary_enabled"] != false || doc["champion_traffic_pct"] != 100.0 {
			t.Errorf("routing after the promotion: %v", doc)
		}
		if out := a.run(1, "rollback-deployment"); !strings.Contains(out, "serin undo") {
			t.Errorf("rollback after a success does not name undo: %s", out)
		}
	})
	t.Run("reject", func(t *testing.T) {
		t.Parallel()
		a := newAlone(t, "poor", 0)
		a.twice(1, "compare-models", "--model", "fraud", "--plan", a.plan)
		a.run(1, "deploy-canary", "--traffic", "5", "--model-uri", "models:/fraud/Staging")
		if _, err := os.Stat(a.routingFile); err == nil {
			t.Error("a rejected challenger got a routing file")
		}
	})
	t.Run("roll back", func(t *testing.T) {
		t.Parallel()
		a := newAlone(t, "better", 0.2)
		a.run(0, "compare-models", "--model", "fraud", "--plan", a.plan)
		a.run(0, "deploy-canary", "--traffic", "5", "--model-uri", "models:/fraud/Staging")
		a.twice(1, "monitor-canary", "--traffic", "5", "--duration", "6s")
		if doc := a.routing(); doc["canary_enabled"] != false || doc["rollback_timestamp"] == nil {
			t.Errorf("routing after the rollback: %v", doc)
		}
		a.twice(0, "rollback-deployment")
	})
}

// alone is a folder, a service that follows its routing file, and a Prometheus that scrapes the service.
type alone struct {
	t                             *testing.T
	dir, plan, routingFile, promi string
}

func newAlone(t *testing.T, challenger string, failing float64) *alone {
	t.Helper()
	dir := t.TempDir()
	a := &alone{t: t, dir: dir, plan: filepath.Join(dir, "plan.yaml"), routingFile: filepath.Join(dir, "config", "traffic_routing.json")}
	examples, err := filepath.Abs("../../examples/creditcard")
	if err != nil {
		t.Fatal(err)
	}
	plan := fmt.Sprintf(`apiVersion: serin/v1
kind: ModelRollout
metadata: {name: fraud}
spec:
  offlineGate: {data: %s, label: is_fraud, criteria: {recall: 0.75}}
  strategy: {canary: {steps: [{setWeight: 5}, {pause: {duration: 6s}}, {setWeight: 100}]}}
  analysis: {mode: threshold, tick: 1s}
  hold: {max: 40s, then: rollback}
`, filepath.Join(examples, "holdout.parquet"))
	if err := os.WriteFile(a.plan, []byte(plan), 0o600); err != nil {
		t.Fatal(err)
	}
	a.promi = scrapedBy(t, &followingService{routing: a.routingFile, failing: failing})
	a.run(0, "register", "fraud", filepath.Join(examples, "champion"), "--stage", "Production")
	a.run(0, "register", "fraud", filepath.Join(examples, challenger), "--stage", "Staging")
	return a
}

// run runs one command in this process and wants an exit code; it gives all that was printed.
func (a *alone) run(want int, args ...string) string {
	a.t.Helper()
	var out bytes.Buffer
	env := map[string]string{"PROMETHEUS_URL": a.promi, "SERIN_DATA": filepath.Join(a.dir, "data"), "SERIN_ROUTING_FILE": a.routingFile}
	code := Main(a.t.Context(), args, Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Getenv: func(name string) string { return env[name] }})
	a.t.Logf("serin %s: exit %d\n%s", strings.Join(args, " "), code, out.String())
	if code != want {
		a.t.Fatalf("serin %s: exit %d, want %d", strings.Join(args, " "), code, want)
	}
	return out.String()
}

func (a *alone) twice(want int, args ...string) {
	a.t.Helper()
	a.run(want, args...)
	a.run(want, args...)
}

func (a *alone) routing() map[string]any {
	a.t.Helper()
	text, err := os.ReadFile(a.routingFile)
	if err != nil {
		a.t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(text, &doc); err != nil {
		a.t.Fatal(err)
	}
	return doc
}

// followingService counts requests as a service would that reads the routing file: the canary has some while it is enabled, of which a share fails.
type followingService struct {
	routing string
	failing float64

	mu       sync.Mutex
	last     time.Time
	champion float64
	canary   float64
	failed   float64
}

// ServeHTTP is the page of metrics.
func (s *followingService) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count()
	fmt.Fprintf(w, "# TYPE http_requests_total counter\n")
	fmt.Fprintf(w, "http_requests_total{model=\"fraud\",version=\"champion\",status=\"200\"} %g\n", s.champion)
	fmt.Fprintf(w, "http_requests_total{model=\"fraud\",version=\"canary\",status=\"200\"} %g\n", s.canary-s.failed)
	fmt.Fprintf(w, "http_requests_total{model=\"fraud\",version=\"canary\",status=\"503\"} %g\n", s.failed)
	fmt.Fprintf(w, "# TYPE http_request_duration_seconds histogram\n")
	for role, n := range map[string]float64{"champion": s.champion, "canary": s.canary} {
		for _, le := range []string{"0.05", "0.1", "+Inf"} {
			fmt.Fprintf(w, "http_request_duration_seconds_bucket{model=\"fraud\",version=%q,le=%q} %g\n", role, le, n)
		}
		fmt.Fprintf(w, "http_request_duration_seconds_sum{model=\"fraud\",version=%q} %g\n", role, n/100)
		fmt.Fprintf(w, "http_request_duration_seconds_count{model=\"fraud\",version=%q} %g\n", role, n)
	}
}

// count adds what came since the last page: 200 requests a second for the champion, 50 for an enabled canary.
func (s *followingService) count() {
	now := time.Now()
	if s.last.IsZero() {
		s.last = now
	}
	tenths := float64(now.Sub(s.last) / (100 * time.Millisecond))
	s.last = s.last.Add(time.Duration(tenths) * 100 * time.Millisecond)
	s.champion += 20 * tenths
	var doc struct {
		Enabled bool `json:"canary_enabled"`
	}
	text, err := os.ReadFile(s.routing)
	if err == nil && json.Unmarshal(text, &doc) == nil && doc.Enabled {
		s.canary += 5 * tenths
		s.failed += 5 * tenths * s.failing
	}
}

// scrapedBy starts a real Prometheus that scrapes the service every second, and waits until it has.
func scrapedBy(t *testing.T, service http.Handler) string {
	t.Helper()
	binary := os.Getenv("SERIN_PROMETHEUS")
	if binary == "" {
		t.Fatal("SERIN_PROMETHEUS is not set: point it at a prometheus executable (scripts/peers installs one)")
	}
	target := httptest.NewServer(service)
	t.Cleanup(target.Close)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := fmt.Sprintf("global: {scrape_interval: 1s, scrape_timeout: 900ms}\nscrape_configs:\n- job_name: service\n  static_configs: [{targets: [%q]}]\n", strings.TrimPrefix(target.URL, "http://"))
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "tsdb"), "--web.listen-address="+address, "--log.level=warn")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	waitForSeries(t, "http://"+address)
	return "http://" + address
}

func waitForSeries(t *testing.T, url string) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for time.Now().Before(deadline) {
		resp, err := http.Get(url + "/api/v1/query?query=http_requests_total")
		if err == nil {
			var body bytes.Buffer
			_, err = body.ReadFrom(resp.Body)
			_ = resp.Body.Close()
			if err == nil && strings.Contains(body.String(), `"canary"`) {
				return
			}
		}
		<-time.After(200 * time.Millisecond)
	}
	t.Fatal("prometheus has not scraped the service within a minute")
}
