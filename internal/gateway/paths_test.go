package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"serin/internal/analysis"
)

// seenPath answers with the path that reached the backend.
func seenPath() *fake {
	return &fake{do: func(_ context.Context, req *Request, resp *Response) error {
		resp.Status, resp.ContentType = 200, "text/plain"
		resp.Body = append(resp.Body, req.Model+" "+req.Method+" "+req.Path+"?"+req.Query...)
		return nil
	}}
}

func TestPathsOfModels(t *testing.T) {
	t.Parallel()
	one, two := newGateway(t, Options{}), newGateway(t, Options{})
	one.Swap("m", Route{Table: table(0), Champion: seenPath()})
	two.Swap("m", Route{Table: table(0), Champion: seenPath()})
	two.Swap("a/b ü", Route{Table: table(0), Champion: seenPath()})
	urlOne, urlTwo, c := serve(t, ServerOptions{Gateway: one}), serve(t, ServerOptions{Gateway: two}), client(t)
	for _, tt := range []struct{ url, path, want string }{
		{urlOne, "/models/m/invocations", "m POST /invocations?"},
		{urlOne, "/models/m/v1/x%2Fy?q=1&q=2", "m POST /v1/x%2Fy?q=1&q=2"},
		{urlOne, "/models/m/", "m POST /?"},
		{urlOne, "/models/m", " POST /models/m?"},                          // no path behind the name
		{urlOne, "/models/other/x", " POST /models/other/x?"},              // may be a path of the only model's server
		{urlOne, "/models/m/models/m/x", "m POST /models/m/x?"},            // only the first is taken off
		{urlOne, "/a//b/../c", " POST /a//b/../c?"},                        // as it came
		{urlOne, "/ping?x", " POST /ping?x"},                               // only GET and HEAD are the gateway's
		{urlTwo, "/models/a%2Fb%20%C3%BC/x", "a/b ü POST /x?"},             // a name is unescaped
		{urlTwo, "/models/%6D/invocations", "m POST /invocations?"},        //
		{urlTwo, "/models/M/x", "no model of this name is served here: M"}, // names have a case
		{urlTwo, "/models/%zz/x", "several models or none are served here"},
	} {
		a := raw(t, tt.url, "POST", tt.path)
		if _, body, ok := strings.Cut(a, "\r\n\r\n"); !ok || !strings.Contains(body, tt.want) {
			t.Errorf("%s: %q, want %q", tt.path, a, tt.want)
		}
	}
	if a := send(t, c, "HEAD", urlOne+"/ping", ""); a.status != 200 || a.body != "" {
		t.Errorf("HEAD /ping: %d %q", a.status, a.body)
	}
}

// raw sends a request line as it is, which no client library would.
func raw(t *testing.T, url, method, path string) string {
	t.Helper()
	return rawSend(t, strings.TrimPrefix(url, "http://"), method+" "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

// The client's id is passed on and given back; without one there is a new one for each request.
func TestRequestIDs(t *testing.T) {
	t.Parallel()
	g := newGateway(t, Options{})
	g.Swap(fraud, Route{Table: table(0), Champion: &fake{do: func(_ context.Context, req *Request, resp *Response) error {
		resp.Status = 200
		resp.Body = append(resp.Body, req.ID...)
		return nil
	}}})
	url, c := serve(t, ServerOptions{Gateway: g}), client(t)
	if a := send(t, c, "POST", url+"/x", "", "X-Request-Id", "mine-7"); a.body != "mine-7" || a.header.Get("X-Request-Id") != "mine-7" {
		t.Errorf("given: backend saw %q, client %q", a.body, a.header.Get("X-Request-Id"))
	}
	seen := map[string]bool{}
	for range 50 {
		a := send(t, c, "POST", url+"/x", "")
		if len(a.body) != 32 || strings.Trim(a.body, "0123456789abcdef") != "" || a.body != a.header.Get("X-Request-Id") || seen[a.body] {
			t.Fatalf("made: backend saw %q, client %q", a.body, a.header.Get("X-Request-Id"))
		}
		seen[a.body] = true
	}
}

// A fault of the gateway's own ends one request, with an answer and a line in the log, and nothing of it shows.
func TestAPanicEndsOneRequest(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	g := newGateway(t, Options{Logger: slog.New(slog.NewJSONHandler(&log, nil))})
	g.Swap(fraud, Route{Table: table(0), Champion: &fake{do: func(_ context.Context, req *Request, resp *Response) error {
		if string(req.Body) == "panic" {
			panic("secret of the house")
		}
		resp.Status = 200
		return nil
	}}})
	url, c := serve(t, ServerOptions{Gateway: g}), client(t)
	for range 3 {
		a := send(t, c, "POST", url+"/invocations", "panic")
		if a.status != 500 || a.body != `{"error_code":"INTERNAL_ERROR","message":"the gateway failed on this request: see its log"}`+"\n" {
			t.Errorf("%d %s", a.status, a.body)
		}
		if a := send(t, c, "POST", url+"/invocations", "x"); a.status != 200 {
			t.Errorf("the next request: %d", a.status)
		}
	}
	if n := strings.Count(log.String(), "secret of the house"); n != 3 || !strings.Contains(log.String(), "gateway panicked") {
		t.Errorf("log: %s", log.String())
	}
	if n := g.find(fraud).route.Load().users.Load(); n != 1 {
		t.Errorf("%d users of the route are left", n)
	}
}

// lockedBuffer takes log lines from several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A dead kept connection costs a retry only where requests may be sent twice.
func TestRepeatOnADeadConnection(t *testing.T) {
	t.Parallel()
	for repeat, want := range map[Failover]int{FailoverOn: 0, FailoverOff: 1} {
		server := newFaulty(t, faultIdleClose)
		u := newURL(t, URLOptions{URL: server.url(), Repeat: repeat})
		failures := 0
		for range 9 { // the server leaves after each third answer
			req := &Request{Method: http.MethodPost, Path: invocations, Body: []byte("{}"), Deadline: time.Now().Add(10 * time.Second)}
			if err := u.Do(t.Context(), req, &Response{}); err != nil {
				failures++
			}
		}
		if want == 0 && failures != 0 {
			t.Errorf("repeat %s: %d failures", repeat, failures)
		}
		if n := server.requests.Load(); n > 9 {
			t.Errorf("repeat %s: %d requests were answered, 9 were sent", repeat, n)
		}
	}
}

// What the caller hands over is the caller's again when Do returns, though the transport may still read the body.
func TestTheRequestIsCopied(t *testing.T) {
	t.Parallel()
	bodies := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		bodies <- string(data) + r.Header.Get("X-Mine") + r.Header.Get("Content-Type")
		_, _ = w.Write([]byte(`{}`))
	}))
	defer server.Close()
	u := newURL(t, URLOptions{URL: server.URL})
	value, body := []byte("value"), []byte(strings.Repeat("x", 1000))
	req := &Request{
		Method: http.MethodPost, Path: invocations, ContentType: "text/csv", Body: body, Header: []Header{{[]byte("x-mine"), value}},
		Deadline: time.Now().Add(10 * time.Second),
	}
	out, err := u.request(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	clear(body)
	clear(value)
	resp, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := <-bodies; got != strings.Repeat("x", 1000)+"value"+"text/csv" {
		t.Errorf("the server saw %.40q...", got)
	}
}

// JSON is asked for where JSON is due, and nowhere else.
func TestWhichAnswersMustBeJSON(t *testing.T) {
	t.Parallel()
	encoding, status := "", 200
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if encoding != "" {
			w.Header().Set("Content-Encoding", encoding)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte("not JSON"))
	}))
	defer server.Close()
	for _, tt := range []struct {
		name, method, path, encoding string
		status                       int
		check                        Check
		ok                           bool
	}{
		{"scoring", http.MethodPost, invocations, "", 200, "", false},
		{"no check", http.MethodPost, invocations, "", 200, CheckNone, true},
		{"packed", http.MethodPost, invocations, "gzip", 200, "", true},
		{"another path", http.MethodPost, "/x", "", 200, "", true},
		{"another method", http.MethodGet, invocations, "", 200, "", true},
		{"an error page", http.MethodPost, invocations, "", 500, "", true},
	} {
		encoding, status = tt.encoding, tt.status
		u := newURL(t, URLOptions{URL: server.URL, Answers: tt.check})
		resp := &Response{}
		err := u.Do(t.Context(), &Request{Method: tt.method, Path: tt.path, Deadline: time.Now().Add(10 * time.Second)}, resp)
		var no *NoAnswer
		if tt.ok && (err != nil || string(resp.Body) != "not JSON" || resp.Status != tt.status) {
			t.Errorf("%s: %d %s, %v", tt.name, resp.Status, resp.Body, err)
		}
		if !tt.ok && (!errors.As(err, &no) || no.Reason != ReasonBroken) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// A path that cannot be unescaped is the client's fault and never reaches the model server.
func TestBadlyEscapedPath(t *testing.T) {
	t.Parallel()
	server := newFaulty(t, faultNone)
	u := newURL(t, URLOptions{URL: server.url()})
	resp := &Response{}
	if err := u.Do(t.Context(), &Request{Method: http.MethodGet, Path: "/%zz", Deadline: time.Now().Add(time.Minute)}, resp); err != nil {
		t.Fatal(err)
	}
	if resp.Status != 400 || !strings.Contains(string(resp.Body), "the path of the request is not well escaped") || server.requests.Load() != 0 {
		t.Errorf("%d %s after %d requests", resp.Status, resp.Body, server.requests.Load())
	}
}

func TestNewURLErrorsTellNoSecret(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"http://u:geheim@h:bad":    "backend url cannot be read, and is not shown because it may hold a password: give the base of the model server, such as http://host:8001",
		"http://u:geheim@h":        `backend url "http://u:xxxxx@h": give the base of the model server, such as http://host:8001`,
		"http://h?":                `backend url "http://h?": give the base of the model server, such as http://host:8001`,
		"http://h/#part":           `backend url "http://h/#part": give the base of the model server, such as http://host:8001`,
		"https://h/v1/invocations": `backend url "https://h/v1/invocations": leave out /invocations`,
	} {
		if _, err := NewURL(URLOptions{URL: in}); err == nil || err.Error() != want {
			t.Errorf("%s: %v\nwant %s", in, err, want)
		}
	}
}

// What is closed is the gateway's own transport, never the caller's.
func TestCallersTransportStaysOpen(t *testing.T) {
	t.Parallel()
	server := newFaulty(t, faultNone)
	c := client(t)
	u := newURL(t, URLOptions{URL: server.url(), Client: c})
	for range 2 {
		if err := u.Do(t.Context(), &Request{Method: http.MethodPost, Path: invocations, Deadline: time.Now().Add(10 * time.Second)}, &Response{}); err != nil {
			t.Fatal(err)
		}
		if err := u.Close(); err != nil {
			t.Fatal(err)
		}
	}
	server.mu.Lock()
	defer server.mu.Unlock()
	if n := len(server.conns); n != 1 {
		t.Errorf("%d connections: Close cut one that is not its own", n)
	}
}

// Serve ends with an error when its listener does, and says where it listened.
func TestServeWithoutAListener(t *testing.T) {
	t.Parallel()
	g := newGateway(t, Options{})
	s, err := NewServer(ServerOptions{Gateway: g})
	if err != nil {
		t.Fatal(err)
	}
	server := newFaulty(t, faultNone)
	server.stop()
	if err := s.Serve(t.Context(), server.ln); err == nil || !strings.Contains(err.Error(), "gateway on "+server.ln.Addr().String()+": ") {
		t.Errorf("error %v", err)
	}
}

// Metrics come in the format that is asked for.
func TestMetricsFormats(t *testing.T) {
	t.Parallel()
	g := newGateway(t, Options{})
	g.Swap(fraud, Route{Table: table(25), Champion: answering(200), Canary: answering(200)})
	score(g, "x")
	url, c := serve(t, ServerOptions{Gateway: g}), client(t)
	for accept, want := range map[string]string{
		"":           "text/plain",
		"text/plain": "text/plain",
		"application/openmetrics-text; version=1.0.0":                                                         "text/plain", // which every Prometheus reads
		"application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; q=0.9": "application/vnd.google.protobuf",
	} {
		a := send(t, c, "GET", url+"/metrics", "", "Accept", accept)
		if a.status != 200 || !strings.HasPrefix(a.header.Get("Content-Type"), want) || !strings.Contains(a.body, "serin_gateway_rescues_total") {
			t.Errorf("%q: %d %s", accept, a.status, a.header.Get("Content-Type"))
		}
	}
	if n, _ := total(line(t, g, analysis.RoleChampion)); n > 1 {
		t.Errorf("scrapes count as requests: %v", n)
	}
}
