package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// maxAnswer bounds an answer: it is read whole before a byte of it goes to the client, so that a canary can fail late and unseen.
	maxAnswer = 4 << 20
	// idleTime is below the 5 s after which common model servers close an idle connection.
	idleTime    = 4 * time.Second
	connectTime = time.Second
)

// Check says what is asked of the answers of a model server.
type Check string

// CheckJSON (the default) wants JSON from POST /invocations, CheckNone takes everything.
const (
	CheckJSON Check = "json"
	CheckNone Check = "none"
)

// URLOptions configure a URL backend.
type URLOptions struct {
	// URL is the base of the model server, such as http://host:8001, without /invocations.
	URL string
	// Client's transport is used when given; its timeouts and redirects are not.
	Client   *http.Client
	Identity Identity
	// HealthPath is asked by GET /health of the gateway; /ping when empty.
	HealthPath string
	Answers    Check
	// Repeat says whether a request may be sent again on a fresh connection when a kept one turns out to be dead before the first byte
	// of the answer. FailoverOff is for services whose requests have effects.
	Repeat Failover
}

// URL is a Backend that passes requests to a model server.
type URL struct {
	base      *url.URL
	transport http.RoundTripper
	own       *http.Transport // nil when the transport is the caller's
	opts      URLOptions
}

// NewURL checks the options. It does not connect.
func NewURL(o URLOptions) (*URL, error) {
	base, err := url.Parse(o.URL)
	if err != nil {
		return nil, errors.New("backend url cannot be read, and is not shown because it may hold a password: give the base of the model server, such as http://host:8001")
	}
	if (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" || base.RawQuery != "" || base.ForceQuery || base.Fragment != "" || base.User != nil {
		return nil, fmt.Errorf("backend url %q: give the base of the model server, such as http://host:8001", base.Redacted())
	}
	if strings.HasSuffix(base.Path, invocations) {
		return nil, fmt.Errorf("backend url %q: leave out %s", o.URL, invocations)
	}
	base.Path, base.RawPath = strings.TrimRight(base.Path, "/"), strings.TrimRight(base.RawPath, "/")
	def(&o.HealthPath, "/ping")
	def(&o.Answers, CheckJSON)
	def(&o.Repeat, FailoverOn)
	u := &URL{base: base, opts: o}
	if o.Client != nil && o.Client.Transport != nil {
		u.transport = o.Client.Transport
		return u, nil
	}
	u.own = &http.Transport{
		DialContext:            (&net.Dialer{Timeout: connectTime}).DialContext,
		MaxIdleConnsPerHost:    256,
		IdleConnTimeout:        idleTime,
		TLSHandshakeTimeout:    connectTime,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
	}
	u.transport = u.own
	return u, nil
}

// Close gives up idle connections. A transport of the caller's is left alone.
func (u *URL) Close() error {
	if u.own != nil {
		u.own.CloseIdleConnections()
	}
	return nil
}

// Do passes the request on and reads the whole answer.
func (u *URL) Do(ctx context.Context, req *Request, resp *Response) error {
	ctx, cancel := context.WithDeadline(ctx, req.Deadline)
	defer cancel()
	out, err := u.request(ctx, req)
	if err != nil {
		resp.fail(http.StatusBadRequest, err.Error())
		return nil
	}
	in, err := u.transport.RoundTrip(out)
	if err != nil {
		return noAnswer(ctx, err)
	}
	defer in.Body.Close()
	if resp.Body, err = readAnswer(in, resp.Body[:0]); err != nil {
		return noAnswer(ctx, err)
	}
	resp.Status = in.StatusCode
	resp.ContentType = in.Header.Get("Content-Type")
	u.copyHeader(in, resp)
	if u.opts.Answers == CheckJSON && in.StatusCode == http.StatusOK && req.Path == invocations && req.Method == http.MethodPost &&
		in.Header.Get("Content-Encoding") == "" && !json.Valid(resp.Body) {
		return &NoAnswer{ReasonBroken, errors.New("the answer of " + invocations + " is not JSON")}
	}
	return nil
}

// request makes the request for the model server. Everything is copied: the transport may still read it when RoundTrip has returned.
func (u *URL) request(ctx context.Context, req *Request) (*http.Request, error) {
	path, err := url.PathUnescape(req.Path)
	if err != nil {
		return nil, errors.New("the path of the request is not well escaped")
	}
	target := *u.base
	target.RawPath = target.EscapedPath() + req.Path
	target.Path += path
	target.RawQuery = req.Query
	header := make(http.Header, len(req.Header)+4)
	listed := connectionLists(req.Header)
	for _, h := range req.Header {
		name := http.CanonicalHeaderKey(string(h.Name))
		if !hopByHop(name) && !listed[name] && !strings.HasPrefix(name, "X-Serin-") && name != overrideHeader {
			header[name] = append(header[name], string(h.Value))
		}
	}
	if req.ContentType != "" {
		header.Set("Content-Type", strings.Clone(req.ContentType))
	}
	if len(req.ID) > 0 {
		header.Set("X-Request-Id", string(req.ID))
	}
	header.Set("X-Serin-Attempt", strconv.Itoa(req.Attempt))
	if _, ok := header["User-Agent"]; !ok {
		header["User-Agent"] = nil // none came, so none goes
	}
	if u.opts.Repeat == FailoverOn && header["Idempotency-Key"] == nil {
		header["X-Idempotency-Key"] = append([]string(nil), header["X-Idempotency-Key"]...) // present and empty: the transport may repeat a POST on a dead kept connection
	}
	out := (&http.Request{Method: req.Method, URL: &target, Host: u.base.Host, Header: header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}).WithContext(ctx)
	if len(req.Body) > 0 {
		body := bytes.Clone(req.Body)
		out.ContentLength = int64(len(body))
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		out.Body = io.NopCloser(bytes.NewReader(body))
	}
	return out, nil
}

// errTooBig is the cause of an answer that is above the limit.
var errTooBig = fmt.Errorf("the answer has more than %d bytes, and passing on larger ones is not in this version", maxAnswer)

// readAnswer reads the body into buf, which grows with what really comes.
func readAnswer(in *http.Response, buf []byte) ([]byte, error) {
	if in.ContentLength > maxAnswer {
		return buf, errTooBig
	}
	if cap(buf) == 0 {
		buf = make([]byte, 0, 1024)
	}
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := in.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if len(buf) > maxAnswer {
			return buf, errTooBig
		}
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}

// noAnswer says why the model server gave none.
func noAnswer(ctx context.Context, err error) error {
	var op *net.OpError
	switch {
	case errors.Is(err, errTooBig):
		return &NoAnswer{ReasonTooBig, err}
	case ctx.Err() != nil:
		return &NoAnswer{ReasonTimeout, err}
	case errors.As(err, &op) && op.Op == "dial":
		return &NoAnswer{ReasonConnect, err}
	default:
		return &NoAnswer{ReasonBroken, err}
	}
}

// copyHeader takes over the answer's header lines but for those of the connection and our own.
func (u *URL) copyHeader(in *http.Response, resp *Response) {
	listed := map[string]bool{}
	for _, value := range in.Header["Connection"] {
		addListed(listed, value)
	}
	for name, values := range in.Header {
		if hopByHop(name) || listed[name] || strings.HasPrefix(name, "X-Serin-") || name == "Content-Type" || name == "Content-Length" {
			continue
		}
		for _, value := range values {
			resp.Header = append(resp.Header, Header{[]byte(name), []byte(value)})
		}
	}
}

// hopByHop says whether a header line, by its canonical name, is about one connection only.
func hopByHop(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding",
		"Upgrade", "Expect", "Content-Length", "Host":
		return true
	}
	return false
}

// connectionLists are the canonical names that the Connection lines of a request declare to be about this connection.
func connectionLists(header []Header) map[string]bool {
	var listed map[string]bool
	for _, h := range header {
		if equalFold(h.Name, "Connection") {
			if listed == nil {
				listed = map[string]bool{}
			}
			addListed(listed, string(h.Value))
		}
	}
	return listed
}

func addListed(listed map[string]bool, value string) {
	for name := range strings.SplitSeq(value, ",") {
		listed[http.CanonicalHeaderKey(strings.TrimSpace(name))] = true
	}
}
