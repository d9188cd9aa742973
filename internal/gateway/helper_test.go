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
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"serin/internal/analysis"
	"serin/internal/model"
	"serin/internal/traffic"
)

func TestMain(m *testing.M) {
	// fasthttp keeps one goroutine for the Date header as long as the process lives, and one of a server that has ended for its last 10 s.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

const fraud = "fraud"

var t0 = time.Date(2025, 1, 20, 10, 0, 0, 0, time.UTC)

// fake is a Backend that a test controls.
type fake struct {
	do     func(ctx context.Context, req *Request, resp *Response) error
	calls  atomic.Int64
	closed atomic.Int64
}

func (f *fake) Do(ctx context.Context, req *Request, resp *Response) error {
	f.calls.Add(1)
	return f.do(ctx, req, resp)
}

func (f *fake) Close() error {
	f.closed.Add(1)
	return nil
}

func answering(status int) *fake {
	return &fake{do: func(_ context.Context, _ *Request, resp *Response) error {
		resp.Status, resp.ContentType = status, jsonType
		resp.Body = append(resp.Body, `{"predictions": [0.5]}`...)
		return nil
	}}
}

func silent(why Reason) *fake {
	return &fake{do: func(context.Context, *Request, *Response) error { return &NoAnswer{why, errors.New("test")} }}
}

// table sends a share to canary 41, the rest to champion 40.
func table(pct float64) traffic.Table {
	t := traffic.Table{Model: fraud, Generation: 7, Salt: "s4lt", Champion: traffic.Side{Pin: model.Pin{Version: "40"}}}
	if pct > 0 {
		t.Canary, t.Buckets = &traffic.Side{Pin: model.Pin{Version: "41"}}, traffic.Percent(pct)
	}
	return t
}

func newGateway(t testing.TB, o Options) *Gateway {
	t.Helper()
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// score sends a scoring request for a customer through the core.
func score(g *Gateway, key string, header ...Header) *Response {
	req := &Request{Method: http.MethodPost, Path: invocations, ContentType: jsonType, Body: []byte(`{"inputs": [[1]]}`), Header: header}
	if key != "" {
		req.Header = append(req.Header, Header{[]byte("x-customer-id"), []byte(key)})
	}
	resp := &Response{}
	g.Handle(context.Background(), req, resp)
	return resp
}

// keyOf gives a customer of the side, by the same formula.
func keyOf(role traffic.Role, pct float64, n int) string {
	for i := 0; ; i++ {
		key := "c" + strconv.Itoa(i)
		if traffic.Percent(pct).Has(traffic.Bucket("s4lt", key)) == (role == traffic.Canary) {
			if n == 0 {
				return key
			}
			n--
		}
	}
}

// line is the sample of a role.
func line(t testing.TB, g *Gateway, role analysis.Role) analysis.Sample {
	t.Helper()
	lines, err := g.Scrape(t.Context(), fraud, t0)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		if l.Role == role {
			return l
		}
	}
	return analysis.Sample{}
}

// statuses are the counts of a role that are not zero, such as "200:3 503:1".
func statuses(t testing.TB, g *Gateway, role analysis.Role) string {
	t.Helper()
	l := line(t, g, role)
	var out []string
	for _, code := range []string{"200", "400", "404", "429", "500", "502", "503", "504"} {
		if n := l.Requests[code]; n > 0 {
			out = append(out, fmt.Sprintf("%s:%v", code, n))
		}
	}
	return strings.Join(out, " ")
}

func total(l analysis.Sample) (all, failures float64) {
	for code, n := range l.Requests {
		all += float64(n)
		if code >= "500" {
			failures += float64(n)
		}
	}
	return all, failures
}

// serve runs a front until the test ends, and gives its URL.
func serve(t testing.TB, o ServerOptions) string {
	t.Helper()
	url, stop := start(t, o)
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return url
}

// start runs a front; stop drains it and gives what Serve returns.
func start(t testing.TB, o ServerOptions) (url string, stop func() error) {
	t.Helper()
	def(&o.DrainNotice, -1)
	s, err := NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	return "http://" + ln.Addr().String(), sync.OnceValue(func() error {
		cancel()
		return <-done
	})
}

// client is an HTTP client whose connections end with the test.
func client(t testing.TB) *http.Client {
	t.Helper()
	tr := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

// answer is what a client sees.
type answer struct {
	status            int
	body              string
	servedBy, version string
	header            http.Header
}

func send(t testing.TB, c *http.Client, method, url, body string, header ...string) answer {
	t.Helper()
	a, err := trySend(t.Context(), c, method, url, body, header...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func trySend(ctx context.Context, c *http.Client, method, url, body string, header ...string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", jsonType)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return answer{
		status: resp.StatusCode, body: string(data), header: resp.Header,
		servedBy: resp.Header.Get("X-Serin-Served-By"), version: resp.Header.Get("X-Serin-Model-Version"),
	}, err
}
