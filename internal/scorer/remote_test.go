package scorer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/model"
)

// modelServer answers /invocations with the first column of each row, as a model of width 1.
func modelServer(t *testing.T, requests *[]string) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.URL.Path != "/invocations" {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		if requests != nil {
			*requests = append(*requests, string(body))
		}
		f, err := DecodePayload(r.Header.Get("Content-Type"), body)
		if err != nil {
			t.Errorf("the payload is not one: %v", err)
		}
		s := Scores{Width: 1}
		for row := range f.N {
			s.Values = append(s.Values, float32(f.Values[row*f.Width()]))
		}
		w.Write(AppendPredictions(nil, s))
	}))
	t.Cleanup(server.Close)
	return server
}

func openURL(t *testing.T, options Options, url string) Scorer {
	t.Helper()
	ref, err := model.ParseRef(url)
	if err != nil {
		t.Fatal(err)
	}
	sc, err := NewOpener(options).Open(context.Background(), ref)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sc.Close() })
	return sc
}

func TestRemoteScores(t *testing.T) {
	t.Parallel()
	var requests []string
	sc := openURL(t, Options{}, modelServer(t, &requests).URL)
	f := Frame{Columns: []string{"p", "q\""}, N: remoteBatch + 2}
	for i := range f.N {
		f.Values = append(f.Values, float64(i)/1024, math.NaN())
	}
	scores, err := sc.Score(context.Background(), f)
	if err != nil {
		t.Fatal(err)
	}
	if len(scores.Values) != f.N || scores.Width != 1 || scores.Values[remoteBatch+1] != float32(remoteBatch+1)/1024 {
		t.Errorf("%d scores of width %d", len(scores.Values), scores.Width)
	}
	want := `{"dataframe_split": {"columns": ["p","q\""], "data": [[0.48828125, null], [0.4892578125, null]]}}`
	if len(requests) != 2 || requests[1] != want {
		t.Errorf("%d requests, the second %s\nwant %s", len(requests), requests[1], want)
	}
	if _, err := sc.Score(context.Background(), Frame{Values: []float64{0.25, 1}, N: 1}); err != nil || requests[2] != `{"inputs": [[0.25, 1]]}` {
		t.Errorf("by position: %v, request %s", err, requests[2])
	}
	if _, err := sc.Score(context.Background(), Frame{Columns: []string{"p"}, Values: []float64{math.Inf(1)}, N: 1}); err == nil || !strings.Contains(err.Error(), `row 1, column "p"`) {
		t.Errorf("an infinite value: %v", err)
	}
	info := sc.Info()
	if info.Kind != Unknown || info.Native || info.Columns != nil {
		t.Errorf("info %+v", info)
	}
	if _, err := Margins(context.Background(), sc, f); err == nil || !strings.Contains(err.Error(), "does not tell margins") {
		t.Errorf("margins of a server: %v", err)
	}
}

func TestRemoteAnswers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, body string
		status     int
		want       string
		retryable  bool
	}{
		{
			"mlflow's error", `{"error_code":"INVALID_PARAMETER_VALUE","message":"Failed to enforce schema\nof data","stack_trace":"..."}`, 400,
			"HTTP 400: INVALID_PARAMETER_VALUE Failed to enforce schema of data", false,
		},
		{"fastapi's error", `{"detail":[{"msg":"field required"}]}`, 422, `HTTP 422: [{"msg":"field required"}]`, false},
		{"text", "upstream\n  is gone", 502, "HTTP 502: upstream is gone", false},
		{"not ready", "", 503, "HTTP 503: no message", true},
		{"timeout of the server", "too slow", 504, "HTTP 504: too slow", false},
		{"long", strings.Repeat("ä", 500), 500, "ä...", false},
		{"not json", "<html>", 200, "the answer has no predictions", false},
		{"wrong number", `{"predictions":[1]}`, 200, "1 predictions for 2 rows", false},
		{"records", `{"predictions":[{"a":1},{"a":2}]}`, 200, "a prediction is an object", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			transport := transportFunc(func(r *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: tt.status, Body: io.NopCloser(strings.NewReader(tt.body)), Request: r}, nil
			})
			synctest.Test(t, func(t *testing.T) {
				sc := openURL(t, Options{HTTP: &http.Client{Transport: transport}}, "http://user:secret@model/invocations")
				_, err := sc.Score(context.Background(), Frame{Values: []float64{1, 2}, N: 2})
				var fault *RemoteError
				if !errors.As(err, &fault) || fault.Retryable != tt.retryable || fault.Status != tt.status {
					t.Fatalf("error %#v, want a RemoteError, retryable %v", err, tt.retryable)
				}
				if !strings.Contains(err.Error(), tt.want) || strings.ContainsAny(err.Error(), "\n") || strings.Contains(err.Error(), "secret") {
					t.Errorf("error %q, want one line with %q and no password", err, tt.want)
				}
			})
		})
	}
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestRemoteRetries(t *testing.T) {
	t.Parallel()
	refused := errors.New("connection refused")
	tests := []struct {
		name     string
		failures int
		attempts int
		wait     time.Duration
		ok       bool
	}{
		{"no failure", 0, 1, 0, true},
		{"one failure", 1, 2, 200 * time.Millisecond, true},
		{"two failures", 2, 3, 600 * time.Millisecond, true},
		{"down", 9, 3, 600 * time.Millisecond, false},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			attempts := 0
			transport := transportFunc(func(r *http.Request) (*http.Response, error) {
				attempts++
				if body, err := io.ReadAll(r.Body); err != nil || len(body) == 0 {
					t.Errorf("attempt %d has no body: %v", attempts, err)
				}
				if attempts <= tt.failures {
					return nil, refused
				}
				return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(`{"predictions":[0.5]}`))}, nil
			})
			var log bytes.Buffer
			sc := openURL(t, Options{HTTP: &http.Client{Transport: transport}, Logger: slog.New(slog.NewJSONHandler(&log, nil))}, "http://model/invocations")
			begin := time.Now()
			_, err := sc.Score(context.Background(), Frame{Values: []float64{1}, N: 1})
			if waited := time.Since(begin); attempts != tt.attempts || waited != tt.wait || (err == nil) != tt.ok {
				t.Errorf("%s: %d attempts in %v, error %v; want %d in %v", tt.name, attempts, waited, err, tt.attempts, tt.wait)
			}
			if err != nil && !errors.Is(err, refused) {
				t.Errorf("%s: error %v hides its cause", tt.name, err)
			}
			if lines := strings.Count(log.String(), "scoring server not reached"); lines != tt.attempts-1 {
				t.Errorf("%s: %d log lines, want %d", tt.name, lines, tt.attempts-1)
			}
		})
	}
}

func TestRemoteTimeoutAndCancel(t *testing.T) {
	t.Parallel()
	hang := transportFunc(func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	})
	synctest.Test(t, func(t *testing.T) {
		sc := openURL(t, Options{HTTP: &http.Client{Transport: hang}, Timeout: 5 * time.Second}, "http://model/invocations")
		begin := time.Now()
		_, err := sc.Score(context.Background(), Frame{Values: []float64{1}, N: 1})
		var fault *RemoteError
		if !errors.As(err, &fault) || !fault.Retryable || !strings.Contains(err.Error(), "no answer within 5s") || time.Since(begin) != 5*time.Second {
			t.Errorf("after %v: error %v, want one timeout of 5 s", time.Since(begin), err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := sc.Score(ctx, Frame{Values: []float64{1}, N: 1}); !errors.Is(err, context.DeadlineExceeded) || errors.As(err, new(*RemoteError)) {
			t.Errorf("the caller's own deadline: %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		refuse := transportFunc(func(*http.Request) (*http.Response, error) { return nil, errors.New("refused") })
		sc := openURL(t, Options{HTTP: &http.Client{Transport: refuse}}, "http://model/invocations")
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if _, err := sc.Score(ctx, Frame{Values: []float64{1}, N: 1}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a deadline within the pause: %v", err)
		}
	})
}

func TestRemoteURLs(t *testing.T) {
	t.Parallel()
	for location, want := range map[string]string{
		"http://h:1":                  "http://h:1/invocations",
		"http://h/":                   "http://h/invocations",
		"https://h/models/x/invoke?a": "https://h/models/x/invoke?a",
	} {
		sc := openURL(t, Options{}, location)
		if got := sc.(*remote).url; got != want {
			t.Errorf("%s is sent to %s, want %s", location, got, want)
		}
	}
	for _, bad := range []string{"http://", "http:///invocations", "http://h:port/x"} {
		ref, err := model.ParseRef(bad)
		if err != nil {
			t.Fatal(err)
		}
		if sc, err := NewOpener(Options{}).Open(context.Background(), ref); err == nil || sc != nil {
			t.Errorf("%q was opened", bad)
		}
	}
}

// FuzzServerAnswer holds that no answer of a server gives anything but whole scores or an error of one line.
func FuzzServerAnswer(f *testing.F) {
	f.Add([]byte(`{"predictions":[0.5,1]}`), 200)
	f.Add([]byte(`{"predictions":[[0.5,1],[NaN,2]]}`), 200)
	f.Add([]byte(`{"error_code":"X","message":"y"}`), 400)
	f.Fuzz(func(t *testing.T, body []byte, status int) {
		if line := serverMessage(body); strings.ContainsAny(line, "\n\r") || len(line) > 400 {
			t.Fatalf("message %q", line)
		}
		scores, err := parsePredictions(body, 2)
		if err == nil && len(scores.Values) != 2*scores.Width {
			t.Fatalf("%d values of width %d", len(scores.Values), scores.Width)
		}
		var document struct{ Predictions []float64 }
		if err == nil && scores.Width == 1 && json.Unmarshal(body, &document) == nil && len(document.Predictions) == 2 {
			want := []float32{float32(document.Predictions[0]), float32(document.Predictions[1])}
			if fmt.Sprint(want) != fmt.Sprint(scores.Values) && !bytes.Contains(body, []byte("null")) {
				t.Fatalf("scores (-want +got):\n%s", cmp.Diff(want, scores.Values))
			}
		}
	})
}
