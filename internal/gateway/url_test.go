package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func newURL(t testing.TB, o URLOptions) *URL {
	t.Helper()
	u, err := NewURL(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	})
	return u
}

func TestURLPassesThrough(t *testing.T) {
	t.Parallel()
	type got struct {
		Method, URI, Body, Host string
		Header                  http.Header
	}
	var seen got
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		seen = got{r.Method, r.RequestURI, string(body), r.Host, r.Header}
		w.Header().Set("X-Extra", "1")
		w.Header().Add("Set-Cookie", "a=b")
		w.Header().Add("Set-Cookie", "c=d")
		w.Header().Set("X-Serin-Served-By", "somebody else")
		w.Header().Set("Keep-Alive", "timeout=5")
		w.Header().Set("Connection", "X-Hop")
		w.Header().Set("X-Hop", "1")
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write([]byte("short and stout"))
	}))
	defer server.Close()
	g := newGateway(t, Options{})
	g.Swap(fraud, Route{Table: table(0), Champion: newURL(t, URLOptions{URL: server.URL + "/base/"})})
	url := serve(t, ServerOptions{Gateway: g})
	a := send(t, client(t), http.MethodPut, url+"/v1/a%2Fb/c?x=1&y=%20", "raw \x00 body",
		"Content-Type", "text/csv", "Authorization", "Bearer x", "X-Canary", "always", "Connection", "X-Mine", "X-Mine", "1",
		"X-Request-Id", "req-7", "X-Customer-Id", "c1", "X-Serin-Attempt", "9", "User-Agent", "me", "Accept-Encoding", "gzip")
	want := got{http.MethodPut, "/base/v1/a%2Fb/c?x=1&y=%20", "raw \x00 body", strings.TrimPrefix(server.URL, "http://"), http.Header{
		"Content-Type": {"text/csv"}, "Authorization": {"Bearer x"}, "X-Request-Id": {"req-7"}, "X-Customer-Id": {"c1"},
		"X-Serin-Attempt": {"1"}, "User-Agent": {"me"}, "Accept-Encoding": {"gzip"}, "Content-Length": {"10"},
	}}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("the backend saw (-want +got):\n%s", diff)
	}
	if a.status != http.StatusTeapot || a.body != "short and stout" || a.servedBy != "champion" || a.version != "40" {
		t.Errorf("answer %+v", a)
	}
	if h := a.header; h.Get("X-Extra") != "1" || len(h["Set-Cookie"]) != 2 || h.Get("X-Hop") != "" || h.Get("Content-Type") != "text/plain" || h.Get("X-Request-Id") != "req-7" {
		t.Errorf("answer's header %v", h)
	}
}

// untilClientLeaves reads the body first: before that, net/http does not see that the client has gone.
func untilClientLeaves(r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

func TestURLFailures(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		handler http.HandlerFunc
		want    Reason
	}{
		{"not JSON", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, ReasonBroken},
		{"too big", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`"` + strings.Repeat("x", maxAnswer) + `"`))
		}, ReasonTooBig},
		{"claims too much", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "99999999999") }, ReasonTooBig},
		{"truncated", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte(`{}`))
		}, ReasonBroken},
		{"hangs", func(_ http.ResponseWriter, r *http.Request) { untilClientLeaves(r) }, ReasonTimeout},
		{"hangs in the body", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			_ = http.NewResponseController(w).Flush()
			untilClientLeaves(r)
		}, ReasonTimeout},
	}
	for _, tt := range tests {
		server := httptest.NewServer(tt.handler)
		u := newURL(t, URLOptions{URL: server.URL})
		req := &Request{Method: http.MethodPost, Path: invocations, Body: []byte("{}"), Attempt: 1, Deadline: time.Now().Add(300 * time.Millisecond)}
		if tt.want == ReasonTooBig {
			req.Deadline = time.Now().Add(20 * time.Second)
		}
		err := u.Do(t.Context(), req, &Response{})
		var no *NoAnswer
		if !errors.As(err, &no) || no.Reason != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
		server.CloseClientConnections()
		server.Close()
		if tt.name == "hangs" {
			req.Deadline = time.Now().Add(time.Second)
			if err := u.Do(t.Context(), req, &Response{}); !errors.As(err, &no) || no.Reason != ReasonConnect {
				t.Errorf("closed port: %v", err)
			}
		}
	}
}

func TestNewURLRefuses(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "host:80", "ftp://x", "http://", "http://h/invocations", "http://h/?a=b", "http://user:secret@h", "http://h:bad"} {
		u, err := NewURL(URLOptions{URL: url})
		if err == nil {
			t.Errorf("%q gives %v", url, u.base)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error tells the password: %v", url, err)
		}
	}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	body, status := "", 200
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	defer server.Close()
	u := newURL(t, URLOptions{URL: server.URL, Identity: Identity{Path: "/health", Field: "model.version"}})
	for _, tt := range []struct {
		body   string
		status int
		ok     bool
		is     error
	}{
		{`{"model": {"version": "41"}}`, 200, true, nil},
		{`{"model": {"version": 41}}`, 200, true, nil},
		{`{"model": {"version": 40}}`, 200, false, ErrIdentity},
		{`{"model": {"version": 41}}`, 503, false, nil},
		{`{"model": {}}`, 200, false, nil},
		{`{"model": {"version": null}}`, 200, false, nil},
		{`{"model": 41}`, 200, false, nil},
		{``, 200, false, nil},
		{`{"x": "` + strings.Repeat("y", maxIdentity) + `", "model": {"version": 41}}`, 200, false, nil},
	} {
		body, status = tt.body, tt.status
		err := u.CheckIdentity(t.Context(), "41")
		if (err == nil) != tt.ok || (tt.is != nil && !errors.Is(err, tt.is)) || (tt.is == nil && errors.Is(err, ErrIdentity)) {
			t.Errorf("%.60s with %d: %v", tt.body, tt.status, err)
		}
	}
	if err := newURL(t, URLOptions{URL: server.URL}).CheckIdentity(t.Context(), "41"); !errors.Is(err, ErrNoIdentity) {
		t.Errorf("nothing configured: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := u.CheckIdentity(ctx, "41"); err == nil {
		t.Error("a canceled check: no error")
	}
}
