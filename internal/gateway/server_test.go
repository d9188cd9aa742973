package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	prommodel "github.com/prometheus/common/model"

	"serin/internal/analysis"
)

// badPayload is the error of a payload that cannot be scored.
type badPayload struct{ text string }

func (e badPayload) Error() string { return e.text }
func (badPayload) Status() int     { return http.StatusBadRequest }
func (badPayload) Code() string    { return "INVALID_PARAMETER_VALUE" }

// echoScorer answers with the size of its payload, and fails on demand.
type echoScorer struct{}

func (echoScorer) ScorePayload(_ context.Context, _ string, body, out []byte) ([]byte, error) {
	switch string(body) {
	case "bad":
		return nil, badPayload{`column "x" is missing`}
	case "fail":
		return nil, errors.New("tree 7 of /models/secret is broken")
	case "panic":
		panic("index out of range")
	}
	return append(strconv.AppendInt(append(out, `{"predictions": [`...), int64(len(body)), 10), "]}"...), nil
}

func TestInProcess(t *testing.T) {
	t.Parallel()
	g := newGateway(t, Options{})
	closed := 0
	g.Swap(fraud, Route{Table: table(0), Champion: NewInProcess(echoScorer{}, func() error { closed++; return nil })})
	url, c := serve(t, ServerOptions{Gateway: g}), client(t)
	for _, tt := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/invocations", "1234", 200, `{"predictions": [4]}`},
		{"POST", "/models/fraud/invocations", "12", 200, `{"predictions": [2]}`},
		{"POST", "/invocations", "bad", 400, `{"error_code":"INVALID_PARAMETER_VALUE","message":"column \"x\" is missing"}`},
		{"POST", "/invocations", "fail", 500, "the model failed"},
		{"POST", "/invocations", "panic", 500, "the model failed"},
		{"GET", "/invocations", "", 405, "use POST"},
		{"POST", "/other", "", 404, "POST /invocations only"},
		{"POST", "/models/other/invocations", "", 404, "POST /invocations only"},
		{"GET", "/ping", "", 200, "\n"},
		{"GET", "/health", "", 200, `{"models":{"fraud":"ok"},"status":"ok"}`},
	} {
		a := send(t, c, tt.method, url+tt.path, tt.body)
		if a.status != tt.status || !strings.Contains(a.body, tt.want) || strings.Contains(a.body, "secret") {
			t.Errorf("%s %s %q: %d %s", tt.method, tt.path, tt.body, a.status, a.body)
		}
		if own := tt.path == "/ping" || tt.path == "/health"; !own && (a.servedBy != "champion" || a.version != "40") {
			t.Errorf("%s %s %q: served by %q %q", tt.method, tt.path, tt.body, a.servedBy, a.version)
		}
		if len(a.header.Get("X-Request-Id")) != 32 {
			t.Errorf("%s %s: request id %q", tt.method, tt.path, a.header.Get("X-Request-Id"))
		}
	}
	if got := statuses(t, g, analysis.RoleChampion); got != "200:2 400:1 404:2 500:2" {
		t.Errorf("counted %q", got)
	}
	g.Remove(fraud)
	if closed != 1 {
		t.Errorf("closed %d times", closed)
	}
}

func TestSeveralModels(t *testing.T) {
	t.Parallel()
	g := newGateway(t, Options{})
	g.Swap("a", Route{Table: table(0), Champion: answering(200)})
	g.Swap("b c", Route{Table: table(0), Champion: answering(429)})
	url, c := serve(t, ServerOptions{Gateway: g}), client(t)
	for path, want := range map[string]int{
		"/models/a/invocations": 200, "/models/b%20c/invocations": 429, "/models/d/invocations": 404, "/invocations": 404, "/x": 404,
	} {
		if a := send(t, c, "POST", url+path, "{}"); a.status != want {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
}

func TestServerLimits(t *testing.T) {
	t.Parallel()
	g := newGateway(t, Options{})
	g.Swap(fraud, Route{Table: table(0), Champion: NewInProcess(echoScorer{}, nil)})
	url, c := serve(t, ServerOptions{Gateway: g}), client(t)
	// Only what must be too slow meets a short time: the others would too on a busy machine.
	hurried := serve(t, ServerOptions{Gateway: g, HeaderTime: 100 * time.Millisecond, BodyTime: 100 * time.Millisecond})
	if a := send(t, c, "POST", url+"/invocations", strings.Repeat("x", 1<<20)); a.status != 200 {
		t.Errorf("1 MiB: %d", a.status)
	}
	if a := send(t, c, "POST", url+"/invocations", "1", "X-Big", strings.Repeat("x", 15<<10)); a.status != 200 {
		t.Errorf("15 KiB header: %d", a.status)
	}
	for name, tt := range map[string]struct {
		raw  string
		want string
	}{
		"body":        {"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\n", "413 "},
		"chunked":     {"POST /invocations HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n100001\r\n" + strings.Repeat("x", 0x100001), "413 "},
		"header":      {"POST /invocations HTTP/1.1\r\nHost: x\r\nX-Big: " + strings.Repeat("x", 16<<10) + "\r\n\r\n", "431 "},
		"not HTTP":    {"hello\r\n\r\n", "400 "},
		"two lengths": {"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", "400 "},
		"slow header": {"POST /invocations HTTP/1.1\r\nHo", "408 "},
		"slow body":   {"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nxx", "408 "},
	} {
		at := url
		if strings.HasPrefix(name, "slow") {
			at = hurried
		}
		got := rawSend(t, strings.TrimPrefix(at, "http://"), tt.raw)
		if !strings.HasPrefix(got, "HTTP/1.1 "+tt.want) || !strings.Contains(got, `{"error_code":"`) || !strings.Contains(got, "Connection: close") {
			t.Errorf("%s: %.200q", name, got)
		}
	}
	if champ, _ := total(line(t, g, analysis.RoleChampion)); champ != 2 {
		t.Errorf("%v requests counted, want the two good ones", champ)
	}
}

// rawSend writes bytes to a server and gives what comes back until it closes.
func rawSend(t *testing.T, addr, raw string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() { _, _ = io.WriteString(conn, raw) }()
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	data, _ := io.ReadAll(conn) // a reset after the answer is the server's right
	return string(data)
}

func TestHealth(t *testing.T) {
	t.Parallel()
	g := newGateway(t, Options{})
	url, c := serve(t, ServerOptions{Gateway: g}), client(t)
	if a := send(t, c, "GET", url+"/health", ""); a.status != 503 || !strings.Contains(a.body, "no model is served") {
		t.Errorf("no model: %d %s", a.status, a.body)
	}
	g.Swap(fraud, Route{Table: table(0)})
	if a := send(t, c, "GET", url+"/health", ""); a.status != 503 || !strings.Contains(a.body, "not ready") {
		t.Errorf("no champion: %d %s", a.status, a.body)
	}
	up, down := newFaulty(t, faultNone), newFaulty(t, faultStatus)
	g.Swap(fraud, Route{Table: table(0), Champion: newURL(t, URLOptions{URL: down.url()})})
	for range 5 {
		if a := send(t, c, "GET", url+"/health", ""); a.status != 503 {
			t.Errorf("failing champion: %d %s", a.status, a.body)
		}
	}
	if n := down.requests.Load(); n > 2 {
		t.Errorf("asked the model server %d times in a moment", n)
	}
	g.Swap(fraud, Route{Table: table(25), Champion: newURL(t, URLOptions{URL: up.url()}), Canary: newURL(t, URLOptions{URL: down.url()})})
	if a := send(t, c, "GET", url+"/health", ""); a.status != 200 {
		t.Errorf("failing canary: %d %s", a.status, a.body)
	}
}

func TestDrainFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	entered, let := make(chan struct{}), make(chan struct{})
	g := newGateway(t, Options{})
	g.Swap(fraud, Route{Table: table(0), Champion: &fake{do: func(_ context.Context, _ *Request, resp *Response) error {
		close(entered)
		<-let
		resp.Status = 200
		return nil
	}}})
	url, stop := start(t, ServerOptions{Gateway: g, DrainNotice: 300 * time.Millisecond})
	c := client(t)
	got := make(chan answer, 1)
	go func() {
		a, err := trySend(context.Background(), c, "POST", url+"/invocations", "{}")
		if err != nil {
			t.Error(err)
		}
		got <- a
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	for {
		a := send(t, c, "GET", url+"/health", "")
		if a.status == 503 && strings.Contains(a.body, "draining") {
			if a.header.Get("Connection") != "close" && a.header["Connection"] != nil {
				t.Errorf("header %v", a.header)
			}
			break
		}
	}
	close(let)
	if a := <-got; a.status != 200 {
		t.Errorf("the request in flight: %d", a.status)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if _, err := trySend(t.Context(), c, "GET", url+"/ping", ""); err == nil {
		t.Error("the listener is still open")
	}
}

func TestDrainHasADeadline(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{})
	g := newGateway(t, Options{})
	g.Swap(fraud, Route{Table: table(0), Champion: &fake{do: func(ctx context.Context, _ *Request, _ *Response) error {
		close(entered)
		<-ctx.Done()
		return ctx.Err()
	}}})
	url, stop := start(t, ServerOptions{Gateway: g, DrainTime: 100 * time.Millisecond})
	c := client(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = trySend(context.Background(), c, "POST", url+"/invocations", "{}")
	}()
	<-entered
	if err := stop(); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 requests") {
		t.Errorf("drain with a request that does not end: %v", err)
	}
	<-done
}

// A gateway that is restarted under load: with the notice no client sees an error, as a load balancer takes it out in between.
func TestDrainUnderLoad(t *testing.T) {
	t.Parallel()
	g := newGateway(t, Options{})
	g.Swap(fraud, Route{Table: table(25), Champion: answering(200), Canary: answering(200)})
	url, stop := start(t, ServerOptions{Gateway: g, DrainNotice: 500 * time.Millisecond})
	c := client(t)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				a, err := trySend(t.Context(), c, "POST", url+"/invocations", "{}", "X-Customer-Id", fmt.Sprint(w, i))
				if err != nil || a.status != 200 {
					t.Errorf("%d %v", a.status, err)
					return
				}
				if h, err := trySend(t.Context(), c, "GET", url+"/health", ""); err != nil || h.status == 503 {
					return // the load balancer sends no more
				}
			}
		})
	}
	for {
		if champ, _ := total(line(t, g, analysis.RoleChampion)); champ > 500 {
			break
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

// What /metrics shows and what Scrape gives are the same numbers, and there are no others.
func TestMetricsEqualSamples(t *testing.T) {
	t.Parallel()
	g := newGateway(t, Options{Instance: "gw-1"})
	g.Swap(fraud, Route{Table: table(25), Champion: answering(200), Canary: answering(500)})
	url, c := serve(t, ServerOptions{Gateway: g}), client(t)
	for i := range 200 {
		send(t, c, "POST", url+"/invocations", "{}", "X-Customer-Id", strconv.Itoa(i))
	}
	g.Reloaded(fraud, errors.New("broken file"))
	a := send(t, c, "GET", url+"/metrics", "")
	parser := expfmt.NewTextParser(prommodel.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(a.body))
	if err != nil {
		t.Fatalf("%v in\n%s", err, a.body)
	}
	for role, want := range map[string]analysis.Sample{"champion": line(t, g, analysis.RoleChampion), "canary": line(t, g, analysis.RoleCanary)} {
		seen := map[string]float64{}
		for _, m := range families["http_requests_total"].Metric {
			if label(m, "version") == role {
				seen[label(m, "status")] = m.Counter.GetValue()
				if label(m, "model") != fraud || label(m, "revision") != want.Revision {
					t.Errorf("labels %v", m.Label)
				}
			}
		}
		if len(seen) != len(want.Requests) || len(seen) < len(knownStatuses) {
			t.Errorf("%s: statuses %v in metrics, %v in samples", role, seen, want.Requests)
		}
		for status, n := range want.Requests {
			if seen[status] != float64(n) {
				t.Errorf("%s %s: %v in metrics, %v in samples", role, status, seen[status], n)
			}
		}
		checkHistogram(t, families["http_request_duration_seconds"], role, want)
	}
	for name, want := range map[string]float64{
		"serin_routing_generation": 7, "serin_routing_weight_pct": 25, "serin_gateway_breaker_state": 1, "serin_gateway_last_reload_successful": 0,
	} {
		if got := families[name].GetMetric(); len(got) != 1 || got[0].Gauge.GetValue() != want || label(got[0], "model") != fraud {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	can, _ := total(line(t, g, analysis.RoleCanary))
	if got := families["serin_gateway_rescues_total"].GetMetric()[0].Counter.GetValue(); got != can || got == 0 {
		t.Errorf("%v rescues of %v canary requests", got, can)
	}
	if got := families["serin_gateway_observed_weight_pct"].GetMetric()[0].Gauge.GetValue(); got != can/2 {
		t.Errorf("observed weight %v, want %v", got, can/2)
	}
}

func checkHistogram(t *testing.T, f *dto.MetricFamily, role string, want analysis.Sample) {
	t.Helper()
	for _, m := range f.GetMetric() {
		if label(m, "version") != role {
			continue
		}
		if m.Histogram.GetSampleSum() != float64(want.Latency.Sum) || len(m.Histogram.Bucket) != len(want.Latency.LE) {
			t.Errorf("%s: histogram %v, sample %v", role, m.Histogram, want.Latency)
		}
		for _, b := range m.Histogram.Bucket {
			le := strconv.FormatFloat(b.GetUpperBound(), 'g', -1, 64)
			if n, ok := want.Latency.LE[le]; !ok || float64(n) != float64(b.GetCumulativeCount()) {
				t.Errorf("%s le=%s: %v in metrics, %v in samples", role, le, b.GetCumulativeCount(), n)
			}
		}
		return
	}
	t.Errorf("no histogram of %s", role)
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.Label {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

func TestScrapeKnowsRoles(t *testing.T) {
	t.Parallel()
	g := newGateway(t, Options{})
	if _, err := g.Scrape(t.Context(), fraud, t0); err == nil {
		t.Error("a model that is not served: no error")
	}
	champion := answering(200)
	g.Swap(fraud, Route{Table: table(0), Champion: champion})
	for i, want := range []int{1, 2, 2} {
		lines, err := g.Scrape(t.Context(), fraud, t0)
		if err != nil || len(lines) != want || lines[0].Instance != "gateway" || !lines[0].At.Equal(t0) {
			t.Errorf("scrape %d: %d lines, want %d (%v)", i, len(lines), want, err)
		}
		g.Swap(fraud, Route{Table: table(float64(25 * (1 - i))), Champion: champion, Canary: answering(200)})
	}
}

func TestNewServerRefuses(t *testing.T) {
	t.Parallel()
	if _, err := NewServer(ServerOptions{}); err == nil {
		t.Error("no gateway: no error")
	}
}
