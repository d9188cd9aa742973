package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"serin/internal/traffic"
)

// Header is one header line as it came or goes, name and value without the colon.
type Header struct{ Name, Value []byte }

// Request is one request, free of any HTTP library. It and all it points to are valid until Handle or Do returns: who needs a part of it
// for longer copies it.
type Request struct {
	// Model is the served model that is asked for; empty means the only one.
	Model string
	// Method is upper case. Path is as it stands in the request, escaped, without the part that names the model. Query is without "?".
	Method, Path, Query string
	ContentType         string
	// Header are all header lines but Content-Type, Content-Length and Host, in the order they came.
	Header []Header
	Body   []byte
	// ID is the X-Request-Id, given by the client or made by the front.
	ID []byte
	// Attempt is 1 for the first backend that is asked and 2 for a rescue. Handle sets it and Deadline, by which Do must return.
	Attempt  int
	Deadline time.Time
}

// header gives the value of the first line of that name, in any case.
func (r *Request) header(name string) []byte {
	for _, h := range r.Header {
		if equalFold(h.Name, name) {
			return h.Value
		}
	}
	return nil
}

// equalFold compares ASCII letters in any case, without allocating.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range b {
		if lower(b[i]) != lower(s[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// Response is the answer to a Request. Body is a buffer that is used again.
type Response struct {
	Status      int
	ContentType string
	// Header are further lines. A backend's X-Serin lines never stand here.
	Header []Header
	Body   []byte
	// ServedBy and Version tell which version answered, or failed to; empty when none was asked.
	ServedBy traffic.Role
	Version  string
}

// Reset empties the response and keeps its buffers.
func (r *Response) Reset() {
	*r = Response{Header: r.Header[:0], Body: r.Body[:0]}
}

// fail makes the response a JSON error in MLflow's form.
func (r *Response) fail(status int, message string) {
	r.failCode(status, errorCode(status), message)
}

// failCode is fail with an error_code of its own.
func (r *Response) failCode(status int, code, message string) {
	r.Status, r.ContentType, r.Header = status, "application/json", r.Header[:0]
	r.Body = append(r.Body[:0], `{"error_code":`...)
	r.Body = appendJSONString(r.Body, code)
	r.Body = append(r.Body, `,"message":`...)
	r.Body = appendJSONString(r.Body, message)
	r.Body = append(r.Body, '}', '\n')
}

func errorCode(status int) string {
	switch status {
	case http.StatusBadRequest, http.StatusUnsupportedMediaType:
		return "BAD_REQUEST"
	case http.StatusNotFound:
		return "RESOURCE_DOES_NOT_EXIST"
	case http.StatusMethodNotAllowed:
		return "METHOD_NOT_ALLOWED"
	case http.StatusRequestTimeout:
		return "REQUEST_TIMEOUT"
	case http.StatusRequestEntityTooLarge:
		return "REQUEST_TOO_LARGE"
	case http.StatusRequestHeaderFieldsTooLarge:
		return "REQUEST_HEADER_TOO_LARGE"
	case http.StatusBadGateway:
		return "BAD_GATEWAY"
	case http.StatusServiceUnavailable:
		return "TEMPORARILY_UNAVAILABLE"
	case http.StatusGatewayTimeout:
		return "DEADLINE_EXCEEDED"
	case http.StatusInternalServerError:
		return "INTERNAL_ERROR"
	default:
		return "HTTP_" + strconv.Itoa(status)
	}
}

// Backend is one version that answers requests, in this process or behind a URL. It is safe for concurrent use, and comparable: a pointer.
type Backend interface {
	// Do answers req into resp, which is empty, by req.Deadline. An error means that there is no answer that could be given to a client;
	// it is best a *NoAnswer. The gateway never repeats it on the same backend, but may ask the champion in a canary's place. An answer
	// with a bad status is no error.
	Do(ctx context.Context, req *Request, resp *Response) error
	// Close frees what the backend holds. It is called once, when no request uses it and no route names it.
	Close() error
}

// Reason says why a backend gave no usable answer.
type Reason string

// The reasons, which are label values of serin_gateway_upstream_errors_total.
const (
	ReasonConnect Reason = "connect" // no connection
	ReasonTimeout Reason = "timeout" // nothing by the deadline
	ReasonBroken  Reason = "broken"  // reset, truncated, not HTTP, or not JSON where JSON is due
	ReasonTooBig  Reason = "too_big" // an answer above the limit
	ReasonStatus  Reason = "status"  // an answer with a status of 500 or more
	ReasonOpen    Reason = "open"    // not asked: the breaker is open
	ReasonFull    Reason = "full"    // not asked: too many requests are waiting for the canary
)

var reasons = [...]Reason{ReasonConnect, ReasonTimeout, ReasonBroken, ReasonTooBig, ReasonStatus, ReasonOpen, ReasonFull}

// NoAnswer is the error of a Backend that gave no usable answer.
type NoAnswer struct {
	Reason Reason
	Err    error
}

// Error says what happened.
func (e *NoAnswer) Error() string { return fmt.Sprintf("no answer (%s): %v", e.Reason, e.Err) }

// Unwrap gives the cause.
func (e *NoAnswer) Unwrap() error { return e.Err }

// reasonOf classifies the error of a backend.
func reasonOf(err error) Reason {
	var no *NoAnswer
	switch {
	case errors.As(err, &no):
		return no.Reason
	case errors.Is(err, context.DeadlineExceeded):
		return ReasonTimeout
	default:
		return ReasonBroken
	}
}
