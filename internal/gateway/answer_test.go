package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"serin/internal/analysis"
)

// Whatever a message holds, the error is JSON and says it.
func TestErrorsAreJSON(t *testing.T) {
	t.Parallel()
	for _, message := range []string{"", `a "b" \c`, "\x00\x01\x1f\n\r\t", "ü 😀 \u2028", "</script>", "bad \xff byte"} {
		resp := Response{Header: []Header{{[]byte("X-Old"), []byte("1")}}, Body: []byte("old")}
		resp.failCode(http.StatusTeapot, message, message)
		var got struct {
			Code    string `json:"error_code"`
			Message string `json:"message"`
		}
		if err := json.Unmarshal(resp.Body, &got); err != nil {
			t.Errorf("%q: %v in %s", message, err, resp.Body)
			continue
		}
		want := strings.ToValidUTF8(message, "\uFFFD")
		if got.Message != want || got.Code != want || len(resp.Header) != 0 || resp.ContentType != "application/json" {
			t.Errorf("%q: %+v, header %v", message, got, resp.Header)
		}
	}
}

func TestErrorCodes(t *testing.T) {
	t.Parallel()
	want := map[int]string{
		400: "BAD_REQUEST", 404: "RESOURCE_DOES_NOT_EXIST", 405: "METHOD_NOT_ALLOWED", 408: "REQUEST_TIMEOUT", 413: "REQUEST_TOO_LARGE",
		415: "BAD_REQUEST", 418: "HTTP_418", 431: "REQUEST_HEADER_TOO_LARGE", 500: "INTERNAL_ERROR", 502: "BAD_GATEWAY",
		503: "TEMPORARILY_UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
	}
	got := map[int]string{}
	for status := range want {
		got[status] = errorCode(status)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("codes (-want +got):\n%s", diff)
	}
}

// statusError is an error with a status, and Go's errors may wrap it.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("says %d", int(e)) }
func (e statusError) Status() int   { return int(e) }

// Only a status of 400 to 499 is the client's fault and for the client; everything else is the version's failure and is for the log.
func TestScorerErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		err    error
		status int
		body   string
		reason Reason
	}{
		{"payload", statusError(400), 400, `{"error_code":"BAD_REQUEST","message":"says 400"}`, ""},
		{"payload, wrapped", fmt.Errorf("row 3: %w", statusError(422)), 422, `{"error_code":"HTTP_422","message":"says 422"}`, ""},
		{"status 399", statusError(399), 0, "", ReasonStatus},
		{"status 500", statusError(500), 0, "", ReasonStatus},
		{"deadline", fmt.Errorf("row 9: %w", context.DeadlineExceeded), 0, "", ReasonTimeout},
		{"canceled", context.Canceled, 0, "", ReasonStatus},
		{"other", errors.New("/models/secret"), 0, "", ReasonStatus},
	} {
		b := NewInProcess(scorerFunc(func(context.Context, string, []byte, []byte) ([]byte, error) { return nil, tt.err }), nil)
		resp := &Response{}
		err := b.Do(t.Context(), &Request{Method: http.MethodPost, Path: invocations, Deadline: time.Now().Add(time.Minute)}, resp)
		var no *NoAnswer
		switch {
		case tt.reason == "" && (err != nil || resp.Status != tt.status || strings.TrimSpace(string(resp.Body)) != tt.body):
			t.Errorf("%s: %d %s, %v", tt.name, resp.Status, resp.Body, err)
		case tt.reason != "" && (!errors.As(err, &no) || no.Reason != tt.reason || !errors.Is(err, tt.err)):
			t.Errorf("%s: %v, want %s", tt.name, err, tt.reason)
		}
	}
}

// A request whose time is over is not scored at all.
func TestInProcessKeepsTheDeadline(t *testing.T) {
	t.Parallel()
	called := false
	b := NewInProcess(scorerFunc(func(_ context.Context, _ string, _, out []byte) ([]byte, error) {
		called = true
		return out, nil
	}), nil)
	err := b.Do(t.Context(), &Request{Method: http.MethodPost, Path: invocations, Deadline: time.Now().Add(-1)}, &Response{})
	var no *NoAnswer
	if !errors.As(err, &no) || no.Reason != ReasonTimeout || err.Error() != "no answer (timeout): no time was left" || called {
		t.Errorf("error %v, scored: %v", err, called)
	}
	if err := b.Close(); err != nil {
		t.Errorf("close of a scorer that needs none: %v", err)
	}
}

func TestReasonOf(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want Reason
	}{
		{fmt.Errorf("outer: %w", &NoAnswer{ReasonTooBig, errors.New("x")}), ReasonTooBig},
		{&NoAnswer{ReasonConnect, context.DeadlineExceeded}, ReasonConnect}, // the backend knows better
		{fmt.Errorf("outer: %w", context.DeadlineExceeded), ReasonTimeout},
		{context.Canceled, ReasonBroken},
		{errors.New("x"), ReasonBroken},
	} {
		if got := reasonOf(tt.err); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.err, got, tt.want)
		}
	}
}

// A duration at a bound belongs to it; a request that was never sent has no duration.
func TestSeriesBuckets(t *testing.T) {
	t.Parallel()
	s := newSeries(seriesKey{"canary", "41"}, []float64{0.1, 0.25, 1})
	for _, took := range []time.Duration{0, 100 * time.Millisecond, 100*time.Millisecond + 1, 250 * time.Millisecond, time.Second, time.Second + 1, time.Hour} {
		s.record(200, "", took)
	}
	s.record(503, ReasonOpen, -1)
	s.record(599, ReasonStatus, 0)
	s.record(204, "", 0)
	got := sample(s.snapshot(), analysis.Sample{})
	wantLE := map[string]analysis.Number{"0.1": 4, "0.25": 6, "1": 7, "+Inf": 9}
	if diff := cmp.Diff(wantLE, got.Latency.LE); diff != "" {
		t.Errorf("buckets (-want +got):\n%s", diff)
	}
	wantRequests := map[string]analysis.Number{"200": 7, "204": 1, "400": 0, "429": 0, "500": 0, "502": 0, "503": 1, "504": 0, "599": 1}
	if diff := cmp.Diff(wantRequests, got.Requests); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if got.Role != analysis.RoleCanary || got.Revision != "41" {
		t.Errorf("line of %s %s", got.Role, got.Revision)
	}
	for i, want := range map[Reason]uint64{ReasonOpen: 1, ReasonStatus: 1, ReasonConnect: 0} {
		for k, r := range reasons {
			if r == i && s.reasons[k] != want {
				t.Errorf("%s: %d, want %d", r, s.reasons[k], want)
			}
		}
	}
}

// One registry is for one gateway: two would show their numbers as one.
func TestTwoGatewaysDoNotShareARegistry(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	newGateway(t, Options{Registry: registry})
	if _, err := New(Options{Registry: registry}); err == nil || !strings.Contains(err.Error(), "register the gateway's metrics: ") {
		t.Errorf("error %v", err)
	}
}

// The caller's list of bounds is its own: changing it later changes nothing.
func TestOptionsAreCopied(t *testing.T) {
	t.Parallel()
	bounds := []float64{0.1, 1}
	g := newGateway(t, Options{Buckets: bounds})
	bounds[0] = 99
	g.Swap(fraud, Route{Table: table(0), Champion: answering(200)})
	if _, ok := line(t, g, analysis.RoleChampion).Latency.LE["0.1"]; !ok {
		t.Errorf("bounds %v", line(t, g, analysis.RoleChampion).Latency.LE)
	}
}

// Identity is asked afresh each time and names what it found, never more.
func TestIdentityErrors(t *testing.T) {
	t.Parallel()
	answer := `{"v": 41}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answer)) }))
	defer server.Close()
	u := newURL(t, URLOptions{URL: server.URL, Identity: Identity{Path: "/id", Field: "v"}})
	for _, tt := range []struct{ answer, want string }{
		{`{"v": 41}`, ""},
		{`{"v": "42"}`, "the model server has another version: " + server.URL + " says 42, want 41"},
		{`{"v": 41.0}`, "the model server has another version: " + server.URL + " says 41.0, want 41"},
		{`{"v": [41]}`, "identity of " + server.URL + "/id: field v is neither text nor number"},
		{`{"w": 41}`, "identity of " + server.URL + "/id: no field v in the answer: configure identity.field"},
		{`[41]`, "identity of " + server.URL + "/id: no JSON object to find v in: json: cannot unmarshal array into Go value of type map[string]json.RawMessage"},
	} {
		answer = tt.answer
		err := u.CheckIdentity(t.Context(), "41")
		if got := fmt.Sprint(err); tt.want == "" && err != nil || tt.want != "" && got != tt.want {
			t.Errorf("%s: %v\nwant %s", tt.answer, err, tt.want)
		}
	}
	server.Close()
	if err := u.CheckIdentity(t.Context(), "41"); err == nil || errors.Is(err, ErrIdentity) || errors.Is(err, ErrNoIdentity) {
		t.Errorf("a server that is gone: %v, want an error that may pass", err)
	}
}

// Many askers at once make one question to the model server, and an old answer is asked again.
func TestHealthIsAskedOnce(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.URL.Path != "/base/ready" || r.Method != http.MethodGet {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer server.Close()
	g := newGateway(t, Options{})
	g.Swap(fraud, Route{Table: table(0), Champion: newURL(t, URLOptions{URL: server.URL + "/base", HealthPath: "/ready"})})
	results := make(chan error)
	for range 20 {
		go func() { results <- g.Health(t.Context())[fraud] }()
	}
	for range 20 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if n := asked.Load(); n > 3 {
		t.Errorf("asked %d times in a moment", n)
	}
	h := g.find(fraud).route.Load().champion
	before := asked.Load()
	h.health.mu.Lock()
	h.health.at = h.health.at.Add(-healthAge)
	h.health.mu.Unlock()
	if err := g.Health(t.Context())[fraud]; err != nil || asked.Load() != before+1 {
		t.Errorf("an answer of a second ago: %v, asked %d times more", err, asked.Load()-before)
	}
}
