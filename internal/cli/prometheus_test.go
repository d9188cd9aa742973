package cli

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"serin/internal/traffic"
)

// The requests a second of the service that the small Prometheus scrapes. All canary requests are those of a 5 % canary or more.
const (
	championRate = 200
	canaryRate   = 50
)

// prometheus answers instant queries with a range selector, as the real one does for a service that reads the routing file itself: the canary has
// requests while the file says so. Its mode says how the canary does.
type prometheus struct {
	routing string // the routing file that the service follows
	mode    string // healthy, failing or silent

	mu      sync.Mutex
	points  []point // guarded by mu; oldest first
	current map[string]float64
}

// point is all counters at one instant.
type point struct {
	at     time.Time
	values map[string]float64
}

// startPrometheus implements prometheus VARIABLE MODE: a Prometheus that scrapes a service which routes by config/traffic_routing.json. MODE is healthy, failing (a fifth
// of the canary's requests are 500s) or silent (no series).
func startPrometheus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: prometheus VARIABLE healthy|failing|silent")
	}
	p := &prometheus{routing: ts.MkAbs("config/traffic_routing.json"), mode: args[1], current: map[string]float64{}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		ts.Fatalf("%v", err)
	}
	srv := &http.Server{Handler: p, ReadHeaderTimeout: time.Second}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(ln) })
	wg.Go(func() { p.scrape(stop) })
	ts.Defer(func() { close(stop); _ = srv.Close(); wg.Wait() })
	ts.Setenv(args[0], "http://"+ln.Addr().String())
}

// scrape counts requests every 50 ms.
func (p *prometheus) scrape(stop <-chan struct{}) {
	const every = 50 * time.Millisecond
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case now := <-ticker.C:
			p.step(now, every.Seconds())
		}
	}
}

func (p *prometheus) step(now time.Time, seconds float64) {
	text, err := os.ReadFile(p.routing)
	canary := false
	if err == nil {
		doc, err := traffic.ParseDocument(text)
		canary = err == nil && doc.CanaryEnabled
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count("champion", "200", championRate*seconds)
	n := 0.0
	if canary {
		n = canaryRate * seconds
	}
	if p.mode == "failing" {
		p.count("canary", "500", n/5)
		n -= n / 5
	}
	p.count("canary", "200", n)
	values := map[string]float64{}
	for k, v := range p.current {
		values[k] = float64(int64(v))
	}
	p.points = append(p.points, point{now, values})
	if len(p.points) > 60 { // three seconds: nobody asks about a time before
		p.points = p.points[1:]
	}
}

// count adds requests that were all answered within 10 ms.
func (p *prometheus) count(version, status string, n float64) {
	p.current["http_requests_total "+version+" "+status] += n
	for _, le := range []string{"0.05", "0.1", "+Inf"} {
		p.current["http_request_duration_seconds_bucket "+version+" "+status+" "+le] += n
	}
}

// ServeHTTP answers POST /api/v1/query.
func (p *prometheus) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at, err := strconv.ParseFloat(r.FormValue("time"), 64)
	query := r.FormValue("query")
	if r.URL.Path != "/api/v1/query" || err != nil || !strings.Contains(query, `model="fraud"`) {
		http.Error(w, "bad query", http.StatusBadRequest)
		return
	}
	type series struct {
		Metric map[string]string `json:"metric"`
		Values [][2]any          `json:"values"`
	}
	byName := map[string]*series{}
	var result []*series
	p.mu.Lock()
	for _, pt := range p.points {
		seconds := float64(pt.at.UnixMilli()) / 1000
		if p.mode == "silent" || seconds > at {
			continue
		}
		for name, v := range pt.values {
			if byName[name] == nil {
				byName[name] = &series{Metric: labels(name)}
				result = append(result, byName[name])
			}
			byName[name].Values = append(byName[name].Values, [2]any{seconds, strconv.FormatFloat(v, 'f', -1, 64)})
		}
	}
	p.mu.Unlock()
	if result == nil {
		result = []*series{}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": map[string]any{"resultType": "matrix", "result": result}})
}

func labels(name string) map[string]string {
	parts := strings.Split(name, " ")
	m := map[string]string{"__name__": parts[0], "model": "fraud", "version": parts[1], "instance": "service:8000", "job": "service"}
	if len(parts) == 3 {
		m["status"] = parts[2]
	} else {
		m["le"] = parts[3]
		m["status"] = parts[2]
	}
	return m
}

func TestPrometheus_FollowsTheRoutingFile(t *testing.T) {
	t.Parallel()
	file := t.TempDir() + "/routing.json"
	p := &prometheus{routing: file, mode: "failing", current: map[string]float64{}}
	begin := time.Unix(1000, 0)
	p.step(begin, 1)
	if err := os.WriteFile(file, []byte(`{"canary_enabled": true, "canary_traffic_pct": 5, "champion_traffic_pct": 95, "canary_model_uri": "models:/fraud/Staging", "production_model_uri": "models:/fraud/Production"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	p.step(begin.Add(time.Second), 1)
	got := fmt.Sprint(p.points[0].values["http_requests_total canary 500"], p.points[1].values["http_requests_total canary 500"], p.points[1].values["http_requests_total champion 200"])
	if got != "0 10 400" {
		t.Errorf("canary errors before and with traffic, champion requests: %s, want 0 10 400", got)
	}
}
