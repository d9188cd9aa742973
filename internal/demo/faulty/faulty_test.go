package faulty

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// badPayload is refused as a real scorer refuses one.
type badPayload struct{}

func (badPayload) Error() string { return "no rows in the payload" }
func (badPayload) Status() int   { return http.StatusBadRequest }

// echo scores by returning what it was given.
func echo(_ context.Context, contentType string, body []byte) ([]byte, error) {
	switch string(body) {
	case "bad":
		return nil, badPayload{}
	case "broken":
		return nil, errors.New("tree without leaves")
	}
	return []byte(`{"predictions": ["` + contentType + " " + string(body) + `"]}`), nil
}

func newServer(t *testing.T, f Faults) *ModelServer {
	t.Helper()
	m, err := NewModelServer(Options{Version: "42", Score: echo, Faults: f})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func ask(m http.Handler, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "text/csv")
	w := httptest.NewRecorder()
	m.ServeHTTP(w, r)
	return w
}

func TestModelServer_Answers(t *testing.T) {
	t.Parallel()
	m := newServer(t, Faults{})
	tests := []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/invocations", "1,2", 200, `{"predictions": ["text/csv 1,2"]}`},
		{"POST", "/invocations", "bad", 400, `{"error_code":"BAD_REQUEST","message":"no rows in the payload"}`},
		{"POST", "/invocations", "broken", 500, `{"error_code":"INTERNAL_ERROR","message":"tree without leaves"}`},
		{"POST", "/invocations", strings.Repeat("x", maxBody+1), 413, `{"error_code":"BAD_REQUEST","message":"body of more than 1048576 bytes, or cut off"}`},
		{"GET", "/health", "", 200, `{"model_version":"42"}`},
		{"GET", "/ping", "", 200, `{"model_version":"42"}`},
		{"GET", "/invocations", "", 405, "Method Not Allowed\n"},
		{"GET", "/other", "", 404, "404 page not found\n"},
	}
	for _, tt := range tests {
		w := ask(m, tt.method, tt.path, tt.body)
		if w.Code != tt.status || w.Body.String() != tt.want {
			t.Errorf("%s %s %.20q: %d %q, want %d %q", tt.method, tt.path, tt.body, w.Code, w.Body.String(), tt.status, tt.want)
		}
	}
}

// A share is kept exactly, evenly spread, and the same each time.
func TestModelServer_FailsAnExactShare(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		share          float64
		requests, want int
	}{{0, 100, 0}, {1, 100, 100}, {0.05, 20, 1}, {0.05, 1000, 50}, {1.0 / 3, 300, 100}, {0.067, 1000, 67}, {0.9, 10, 9}} {
		m := newServer(t, Faults{FailShare: tt.share, FailStatus: http.StatusServiceUnavailable})
		failed, run, longest := 0, 0, 0
		for range tt.requests {
			run++
			switch w := ask(m, "POST", "/invocations", "1"); w.Code {
			case http.StatusServiceUnavailable:
				failed++
				longest, run = max(longest, run), 0
			case http.StatusOK:
			default:
				t.Fatalf("status %d", w.Code)
			}
		}
		if failed != tt.want {
			t.Errorf("%d of %d requests failed with a share of %v, want %d", failed, tt.requests, tt.share, tt.want)
		}
		if tt.share > 0 && float64(longest) > 1/tt.share+1 {
			t.Errorf("a share of %v left %d requests without a failure", tt.share, longest)
		}
		if c := m.Counts(); c.Failed != int64(failed) || c.Requests != int64(tt.requests) {
			t.Errorf("counts %+v, want %d of %d", c, failed, tt.requests)
		}
	}
}

func TestModelServer_FaultsCanBeginLateAndEnd(t *testing.T) {
	t.Parallel()
	m := newServer(t, Faults{})
	statuses := func(n int) (failed int) {
		for range n {
			if ask(m, "POST", "/invocations", "1").Code == http.StatusInternalServerError {
				failed++
			}
		}
		return failed
	}
	if got := statuses(55); got != 0 {
		t.Errorf("%d failures of a healthy server", got)
	}
	if err := m.SetFaults(Faults{FailShare: 0.1}); err != nil {
		t.Fatal(err)
	}
	if got := statuses(50); got != 5 {
		t.Errorf("%d of 50 failed, want 5", got)
	}
	if w := ask(m, "GET", "/health", ""); w.Code != 200 {
		t.Errorf("health is %d: the fault is in the answers only", w.Code)
	}
	if err := m.SetFaults(Faults{}); err != nil {
		t.Fatal(err)
	}
	if got := statuses(50); got != 0 {
		t.Errorf("%d failures after the faults were taken away", got)
	}
}

func TestModelServer_DelaysAShare(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newServer(t, Faults{DelayShare: 0.25, Delay: 150 * time.Millisecond})
		began, slow := time.Now(), 0
		for range 8 {
			before := time.Now()
			if w := ask(m, "POST", "/invocations", "1"); w.Code != http.StatusOK {
				t.Errorf("status %d", w.Code)
			}
			if time.Since(before) == 150*time.Millisecond {
				slow++
			}
		}
		if slow != 2 || time.Since(began) != 300*time.Millisecond || m.Counts().Delayed != 2 {
			t.Errorf("%d slow answers in %s, counts %+v", slow, time.Since(began), m.Counts())
		}
	})
}

func TestModelServer_ADelayEndsWithItsRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newServer(t, Faults{DelayShare: 1, Delay: time.Hour})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		m.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/invocations", strings.NewReader("1")).WithContext(ctx))
		if took := time.Since(began); took != time.Second {
			t.Errorf("held on for %s", took)
		}
	})
}

func TestModelServer_ServesAndDrains(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	entered := make(chan struct{})
	leave := make(chan struct{})
	m, err := NewModelServer(Options{Version: "7", Score: func(context.Context, string, []byte) ([]byte, error) {
		close(entered)
		<-leave
		return []byte(`{"predictions": [1]}`), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- m.Serve(ctx, ln) }()
	answered := make(chan string, 1)
	go func() {
		resp, err := http.Post("http://"+ln.Addr().String()+"/invocations", "text/csv", strings.NewReader("1"))
		if err != nil {
			answered <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			answered <- err.Error()
			return
		}
		answered <- string(body)
	}()
	<-entered
	cancel()
	close(leave)
	if got := <-answered; got != `{"predictions": [1]}` {
		t.Errorf("the request in flight got %q", got)
	}
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
}

func TestModelServer_ServeNamesTheVersionInItsError(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if err := newServer(t, Faults{}).Serve(t.Context(), ln); err == nil || !strings.Contains(err.Error(), "version 42") {
		t.Errorf("error %v", err)
	}
}

func TestNewModelServer_Refuses(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"no version":     {Score: echo},
		"no score":       {Version: "1"},
		"share too high": {Version: "1", Score: echo, Faults: Faults{FailShare: 1.1}},
		"share is NaN":   {Version: "1", Score: echo, Faults: Faults{DelayShare: math.NaN()}},
		"status":         {Version: "1", Score: echo, Faults: Faults{FailStatus: 200}},
		"delay":          {Version: "1", Score: echo, Faults: Faults{Delay: -1}},
	} {
		if _, err := NewModelServer(o); err == nil || !strings.HasPrefix(err.Error(), "model server: ") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestHealth_IsTheIdentityOfTheConfiguration(t *testing.T) {
	t.Parallel()
	var got map[string]string
	if err := json.Unmarshal(ask(newServer(t, Faults{}), "GET", "/health", "").Body.Bytes(), &got); err != nil || got["model_version"] != "42" {
		t.Errorf("identity %v, %v", got, err)
	}
}
