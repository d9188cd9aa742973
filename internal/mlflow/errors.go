package mlflow

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"
)

// The errors that a caller branches on. Every error of this package that comes from the server wraps at most one of them.
var (
	// ErrNotFound: the model, version, alias, file, or a version in the stage asked for does not exist. Not retryable.
	ErrNotFound = errors.New("not found in the registry")
	// ErrAlreadyExists: a model of that name exists. Not retryable; usually fine.
	ErrAlreadyExists = errors.New("already exists in the registry")
	// ErrInvalid: the server refused the arguments. Not retryable.
	ErrInvalid = errors.New("refused by the registry as invalid")
	// ErrUnauthorized: credentials are missing or wrong, or a login page answered. Not retryable.
	ErrUnauthorized = errors.New("not authenticated at the registry")
	// ErrForbidden: the user may not do that. Not retryable.
	ErrForbidden = errors.New("not permitted by the registry")
	// ErrHostRejected: MLflow's host check refused the name under which it was called. Not retryable.
	ErrHostRejected = errors.New("registry refuses the host name")
	// ErrConflict: the server is in a state that forbids the write, such as files that a version already points at. Not retryable.
	ErrConflict = errors.New("conflict in the registry")
	// ErrUnavailable: no answer, or one that says "later". Retryable, and was retried.
	ErrUnavailable = errors.New("registry unavailable")
	// ErrEndpointGone: the server does not have the endpoint: another version, or a feature that is switched off.
	ErrEndpointGone = errors.New("registry has no such endpoint")
	// ErrNotMLflow: something answered that does not speak MLflow's API.
	ErrNotMLflow = errors.New("answer is not MLflow's")
	// ErrUnsupported: a scheme or a store that this version cannot use.
	ErrUnsupported = errors.New("not in this version")
	// ErrDigestMismatch: the files of a version are not those that were pinned. Never retryable: the version was changed in place.
	ErrDigestMismatch = errors.New("model files are not the pinned ones")
	// ErrTooLarge: a version has more bytes or files than the limits allow.
	ErrTooLarge = errors.New("model version is too large")
	// ErrBadArtifact: a file's name or content breaks the rules: a path trick, a wrong size, no files at all.
	ErrBadArtifact = errors.New("model files are unusable")
	// ErrRegistryChanged: a promotion found another champion than the one it was decided against. A person has to look.
	ErrRegistryChanged = errors.New("registry changed under the rollout")
)

// APIError is an answer that is not success. errors.Is compares it with the sentinels above.
type APIError struct {
	// HTTP is the status; Code is MLflow's error_code, empty when the body was not MLflow's JSON.
	HTTP int
	Code string
	// Message is the server's text, one line, cut at 300 bytes.
	Message string
	// Endpoint is method and path, without query.
	Endpoint string
	// Advice says what to do next; empty where the message says enough.
	Advice string
	kind   error
}

// Error gives one line: endpoint, status, the server's words and the advice.
func (e *APIError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: HTTP %d", e.Endpoint, e.HTTP)
	if e.Code != "" {
		b.WriteString(" " + e.Code)
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if e.Advice != "" {
		b.WriteString("; " + e.Advice)
	}
	return b.String()
}

// Unwrap gives the sentinel that the answer amounts to.
func (e *APIError) Unwrap() error { return e.kind }

// newAPIError reads an answer that is not 200. body is at most the first kilobytes of it. Facts: mlflow/exceptions.py, mlflow/server/security.
func newAPIError(endpoint string, resp *http.Response, body []byte) *APIError {
	e := &APIError{HTTP: resp.StatusCode, Endpoint: endpoint}
	if isJSON := decodeError(body, e); !isJSON {
		e.Message = oneLine(plainText(resp, body))
	}
	v := classify(e, resp)
	e.kind, e.Advice = v.kind, v.advice
	return e
}

// meaning is what an answer amounts to, and what to do about it; advice is empty where the message says enough.
type meaning struct {
	kind   error
	advice string
}

// classify maps an answer to its meaning: MLflow's code first, then the texts that its middlewares send, then the status.
func classify(e *APIError, resp *http.Response) meaning {
	if kind, ok := kindOfCode[e.Code]; ok {
		return meaning{kind: kind}
	}
	if e.Code != "" {
		return meaningOfStatus(e.HTTP)
	}
	switch {
	case e.HTTP == http.StatusForbidden && strings.Contains(e.Message, "Invalid Host header"):
		return meaning{ErrHostRejected, fmt.Sprintf("start MLflow with --allowed-hosts or MLFLOW_SERVER_ALLOWED_HOSTS that has %q, or call it by localhost or its private address",
			requestHost(resp))}
	case e.HTTP == http.StatusForbidden && strings.Contains(e.Message, "Cross-origin"):
		return meaning{ErrForbidden, "a proxy adds an Origin header: remove it, or start MLflow with --cors-allowed-origins"}
	case e.HTTP == http.StatusServiceUnavailable && strings.Contains(e.Message, "disabled"):
		return meaning{ErrEndpointGone, "the server runs with --no-serve-artifacts or --artifacts-only: start it with --serve-artifacts and its backend store"}
	}
	return meaningOfStatus(e.HTTP)
}

var kindOfCode = map[string]error{
	"RESOURCE_DOES_NOT_EXIST": ErrNotFound, "NOT_FOUND": ErrNotFound,
	"ENDPOINT_NOT_FOUND": ErrEndpointGone, "NOT_IMPLEMENTED": ErrEndpointGone, "FEATURE_DISABLED": ErrEndpointGone,
	"RESOURCE_ALREADY_EXISTS": ErrAlreadyExists, "ALREADY_EXISTS": ErrAlreadyExists,
	"INVALID_PARAMETER_VALUE": ErrInvalid, "BAD_REQUEST": ErrInvalid,
	"CUSTOMER_UNAUTHORIZED": ErrUnauthorized, "UNAUTHENTICATED": ErrUnauthorized,
	"PERMISSION_DENIED": ErrForbidden, "RESOURCE_CONFLICT": ErrConflict, "ABORTED": ErrConflict,
	"TEMPORARILY_UNAVAILABLE": ErrUnavailable, "DEADLINE_EXCEEDED": ErrUnavailable,
	"REQUEST_LIMIT_EXCEEDED": ErrUnavailable, "RESOURCE_EXHAUSTED": ErrUnavailable,
}

func meaningOfStatus(status int) meaning {
	switch {
	case status >= 300 && status < 400:
		return meaning{ErrUnauthorized, "a redirect usually is a login page or http to https: give MLFLOW_TRACKING_URI the final address and " +
			"MLFLOW_TRACKING_TOKEN or _USERNAME and _PASSWORD"}
	case status == http.StatusUnauthorized:
		return meaning{ErrUnauthorized, "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"}
	case status == http.StatusForbidden:
		return meaning{ErrForbidden, "the registry's user needs EDIT on the model"}
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed, status == http.StatusNotImplemented:
		return meaning{ErrEndpointGone, "is MLFLOW_TRACKING_URI an MLflow server, with its path prefix?"}
	case status == http.StatusConflict:
		return meaning{kind: ErrConflict}
	case status == http.StatusRequestEntityTooLarge:
		return meaning{kind: ErrTooLarge}
	case status == http.StatusBadRequest:
		return meaning{kind: ErrInvalid}
	case retryableStatus(status), status >= 500:
		return meaning{kind: ErrUnavailable}
	}
	return meaning{kind: ErrNotMLflow}
}

func requestHost(resp *http.Response) string {
	if resp.Request == nil || resp.Request.URL == nil {
		return "its host name"
	}
	return resp.Request.URL.Host
}

// plainText is the body's text, or for HTML only the fact that it was HTML: a page has no place in one line.
func plainText(resp *http.Response, body []byte) string {
	if strings.Contains(resp.Header.Get("Content-Type"), "html") || strings.HasPrefix(strings.TrimSpace(string(body)), "<") {
		if resp.StatusCode == http.StatusUnauthorized && resp.Header.Get("WWW-Authenticate") != "" {
			return "asks for " + resp.Header.Get("WWW-Authenticate")
		}
		return "an HTML page answered"
	}
	return string(body)
}

// oneLine is a server's text as it may be printed: one line, not long, and without the control characters that steer a terminal.
func oneLine(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "..."
	}
	return s
}
