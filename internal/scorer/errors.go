package scorer

import (
	"fmt"
	"net/http"
)

// MLflow's error codes, as its scoring server answers them.
const (
	codeBadRequest = "BAD_REQUEST"
	codeInvalid    = "INVALID_PARAMETER_VALUE"
)

// InputError is a fault of the rows or the payload: who sent them must change them, and the model is not to blame.
type InputError struct {
	status        int
	code, message string
}

// Error is one line.
func (e *InputError) Error() string { return e.message }

// Status is the HTTP status to answer with: 400, or 415 for a content type that is not read.
func (e *InputError) Status() int { return e.status }

// Code is MLflow's error_code for the answer.
func (e *InputError) Code() string { return e.code }

// inputErrorf is a fault of the rows against what the model wants.
func inputErrorf(format string, args ...any) error {
	return &InputError{status: http.StatusBadRequest, code: codeInvalid, message: fmt.Sprintf(format, args...)}
}

// payloadErrorf is a payload that is not of a form MLflow knows.
func payloadErrorf(format string, args ...any) error {
	return &InputError{status: http.StatusBadRequest, code: codeBadRequest, message: fmt.Sprintf(format, args...)}
}

// RemoteError is a fault of a scoring server.
type RemoteError struct {
	// URL is where the rows were sent, without credentials.
	URL string
	// Status is the HTTP status, 0 when no answer came.
	Status int
	// Retryable says that the same request may succeed later: the server could not be reached, was not ready, or was too slow.
	Retryable bool
	// Message is one line of what the server said or what went wrong.
	Message string
	// Err is the error behind it; nil for an answer.
	Err error
}

// Error is one line with the URL and the HTTP status.
func (e *RemoteError) Error() string {
	if e.Status != 0 {
		return fmt.Sprintf("score at %s: HTTP %d: %s", e.URL, e.Status, e.Message)
	}
	return fmt.Sprintf("score at %s: %s", e.URL, e.Message)
}

// Unwrap gives the error behind it.
func (e *RemoteError) Unwrap() error { return e.Err }
