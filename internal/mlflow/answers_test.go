package mlflow_test

import (
	"io"
	"net/http"
	"strings"
)

// answer is a response as a server would give it to r.
func answer(r *http.Request, status int, body string) *http.Response {
	h := http.Header{"Content-Type": {"application/json"}}
	switch {
	case strings.HasPrefix(body, "<"):
		h.Set("Content-Type", "text/html; charset=utf-8")
	case !strings.HasPrefix(body, "{"):
		h.Set("Content-Type", "text/plain")
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r}
}

// roundTripFunc is a RoundTripper of a function.
type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
