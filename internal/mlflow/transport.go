package mlflow

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	maxAnswer     = 64 << 20 // bytes of JSON that are read: 10 000 versions have about 10 MB
	maxErrorBody  = 8 << 10
	maxRetryAfter = time.Minute
	firstWait     = 250 * time.Millisecond
	longestWait   = 8 * time.Second
)

// repeat says how safe it is to send a call again. Source: mlflow.md 9.1.
type repeat int

const (
	// repeatSafe: reads and writes that set a value. Tried again after a 500 and after a connection that broke.
	repeatSafe repeat = iota
	// repeatUnsent: a creation. Tried again only where the server surely did nothing: 429, 503, or no connection.
	repeatUnsent
)

// call is one exchange of the API: method, path below the base, what goes out, what comes in.
type call struct {
	method string
	path   string     // such as /api/2.0/mlflow/registered-models/get
	query  url.Values // GET only
	in     any        // JSON body of POST, PATCH and DELETE: MLflow refuses DELETE with a query
	out    any        // nil: the answer is not read
	repeat repeat
}

const api = "/api/2.0/mlflow/"

// do sends a call until it is answered for good, the attempts are used up or ctx ends.
func (c *Client) do(ctx context.Context, cl call) error {
	var body []byte
	if cl.in != nil {
		var err error
		if body, err = json.Marshal(cl.in); err != nil {
			return fmt.Errorf("encode %s: %w", cl.path, err)
		}
	}
	return c.retry(ctx, cl.repeat, cl.method+" "+cl.path, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, c.opts.CallTimeout)
		defer cancel()
		req, err := c.request(ctx, request{method: cl.method, url: c.endpoint(cl.path, cl.query), body: bytes.NewReader(body)})
		if err != nil {
			return err
		}
		if cl.in != nil {
			req.Header.Set("Content-Type", "application/json")
		}
		return c.exchange(req, cl)
	})
}

func (c *Client) exchange(req *http.Request, cl call) error {
	resp, err := c.send(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // the body was read or is not wanted
	if cl.out == nil {
		_, _ = io.CopyN(io.Discard, resp.Body, maxErrorBody) // so that the connection is used again; its bytes do not matter
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return c.connectionError(req, err)
	}
	if len(text) > maxAnswer {
		return fmt.Errorf("%s %s: %w: more than %d bytes of JSON", cl.method, cl.path, ErrNotMLflow, maxAnswer)
	}
	if len(bytes.TrimSpace(text)) == 0 {
		text = []byte("{}") // 3.18 answers some calls with nothing, and its own client reads that as {}
	}
	if err := json.Unmarshal(text, cl.out); err != nil {
		return fmt.Errorf("%s %s: %w: HTTP 200 with %s: is MLFLOW_TRACKING_URI an MLflow server and not a login page or its web pages?",
			cl.method, cl.path, ErrNotMLflow, describeBody(resp, text))
	}
	return nil
}

func describeBody(resp *http.Response, text []byte) string {
	return oneLine(fmt.Sprintf("%q content: %s", resp.Header.Get("Content-Type"), plainText(resp, text[:min(len(text), 200)])))
}

type request struct {
	method string
	url    *url.URL
	body   io.Reader
}

// request builds a request with the client's credentials; they go only to the registry's own host.
func (c *Client) request(ctx context.Context, r request) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, r.url.String(), r.body)
	if err != nil {
		return nil, fmt.Errorf("build request for %s: %w", r.url.Redacted(), err)
	}
	req.Header.Set("User-Agent", "serin")
	req.Header.Set("Accept", "application/json, */*;q=0.5")
	if c.sameHost(r.url) {
		switch {
		case c.opts.Username != "":
			req.SetBasicAuth(c.opts.Username, c.opts.Password)
		case c.opts.Token != "":
			req.Header.Set("Authorization", "Bearer "+c.opts.Token)
		}
	}
	return req, nil
}

func (c *Client) sameHost(u *url.URL) bool { return u.Scheme == c.base.Scheme && u.Host == c.base.Host }

// endpoint joins a decoded path to the base.
func (c *Client) endpoint(path string, query url.Values) *url.URL {
	u := *c.base
	u.Path, u.RawQuery = c.base.Path+path, query.Encode()
	return &u
}

// send does one round trip. The answer is 200 or 206; everything else is an *APIError and its body is closed.
func (c *Client) send(req *http.Request) (*http.Response, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.connectionError(req, err)
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent {
		return resp, nil
	}
	defer resp.Body.Close() //nolint:errcheck // an error's body is only read
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	apiErr := newAPIError(req.Method+" "+req.URL.Path, resp, body)
	return nil, &attemptError{err: apiErr, status: resp.StatusCode, code: apiErr.Code, after: retryAfter(resp.Header.Get("Retry-After"))}
}

// connectionError is for a request without a complete answer. The URL is left out of the cause: it may hold a query.
func (c *Client) connectionError(req *http.Request, err error) error {
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		err = urlErr.Err
	}
	wrapped := fmt.Errorf("%s %s at %s: %w: %w; check MLFLOW_TRACKING_URI and that the server runs", req.Method, req.URL.Path, c.URL(), ErrUnavailable, err)
	var op *net.OpError
	return &attemptError{err: wrapped, unsent: errors.As(err, &op) && op.Op == "dial"}
}

// attemptError carries what retry needs to know about a failed try; callers never see it.
type attemptError struct {
	err    error
	status int // 0: no answer
	code   string
	unsent bool // the request surely did not reach the server
	after  time.Duration
}

func (e *attemptError) Error() string { return e.err.Error() }

// retryable follows mlflow.md 9.1: "later" answers and broken connections always, 500 only where repeating is harmless.
func (e *attemptError) retryable(r repeat) bool {
	if errors.Is(e.err, ErrEndpointGone) {
		return false // 503 "disabled" and 501 stay as they are
	}
	if r == repeatUnsent {
		return e.unsent || e.status == http.StatusTooManyRequests || e.status == http.StatusServiceUnavailable
	}
	return e.status == 0 || e.status == http.StatusInternalServerError || retryableStatus(e.status)
}

func retryableStatus(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// retry runs try with growing, jittered waits. It gives up at once when ctx would end before the next try.
func (c *Client) retry(ctx context.Context, r repeat, what string, try func(context.Context) error) error {
	wait := firstWait
	for attempt := 1; ; attempt++ {
		err := try(ctx)
		var failed *attemptError
		if err == nil || !errors.As(err, &failed) {
			return err
		}
		if ctx.Err() != nil || attempt >= c.opts.Attempts || !failed.retryable(r) {
			return failed.err
		}
		pause := max(failed.after, wait/2+rand.N(wait/2+1))
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= pause {
			return failed.err
		}
		c.log.WarnContext(ctx, "registry call will be repeated", "call", what, "attempt", attempt, "wait", pause, "err", failed.err)
		if !sleep(ctx, pause) {
			return failed.err
		}
		wait = min(2*wait, longestWait)
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// retryAfter reads the header in both of its forms, at most a minute.
func retryAfter(s string) time.Duration {
	s = strings.TrimSpace(s)
	if n, err := strconv.Atoi(s); err == nil && n > 0 {
		return min(time.Duration(min(n, 3600))*time.Second, maxRetryAfter)
	}
	if at, err := http.ParseTime(s); err == nil {
		return min(max(time.Until(at), 0), maxRetryAfter)
	}
	return 0
}

// decodeError reads MLflow's error object into e and says whether it was one.
func decodeError(body []byte, e *APIError) bool {
	var w struct {
		Code    string `json:"error_code"`
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &w) != nil || w.Code == "" {
		return false
	}
	e.Code, e.Message = w.Code, oneLine(w.Message)
	return true
}
