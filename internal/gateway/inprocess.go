package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// InProcessScorer scores a payload of /invocations in this process.
type InProcessScorer interface {
	// ScorePayload decodes body and appends the answer, {"predictions": [...]}, to out. It keeps neither. An error with a method
	// Status() int of 400 to 499 is the payload's fault and its text is for the client, with an error_code from Code() string when it has
	// that too; any other error is the version's failure. It is never retried here.
	ScorePayload(ctx context.Context, contentType string, body []byte, out []byte) ([]byte, error)
}

// InProcess is a Backend that scores in this process.
type InProcess struct {
	scorer InProcessScorer
	close  func() error
}

// NewInProcess makes a Backend of a scorer. close is called when the backend is; it may be nil.
func NewInProcess(sc InProcessScorer, close func() error) *InProcess {
	if close == nil {
		close = func() error { return nil }
	}
	return &InProcess{scorer: sc, close: close}
}

// Close frees the scorer.
func (b *InProcess) Close() error { return b.close() }

// Do answers POST /invocations. A payload that cannot be scored is an answer with 400, a scorer that fails one with 500.
func (b *InProcess) Do(ctx context.Context, req *Request, resp *Response) error {
	switch {
	case req.Path != invocations:
		resp.fail(http.StatusNotFound, "a model in the gateway's own process answers POST /invocations only")
		return nil
	case req.Method != http.MethodPost:
		resp.fail(http.StatusMethodNotAllowed, "use POST")
		resp.Header = append(resp.Header, Header{[]byte("Allow"), []byte(http.MethodPost)})
		return nil
	case !time.Now().Before(req.Deadline):
		return &NoAnswer{ReasonTimeout, errors.New("no time was left")}
	}
	body, err := b.score(ctx, req, resp.Body[:0])
	if err == nil {
		resp.Status, resp.ContentType, resp.Body = http.StatusOK, jsonType, body
		return nil
	}
	var bad interface {
		error
		Status() int
	}
	switch {
	case errors.As(err, &bad) && bad.Status() >= 400 && bad.Status() < 500:
		code := errorCode(bad.Status())
		var coded interface{ Code() string }
		if errors.As(err, &coded) {
			code = coded.Code()
		}
		resp.failCode(bad.Status(), code, bad.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return &NoAnswer{ReasonTimeout, err}
	default:
		// The text may speak of files and versions; it is for the log.
		return &NoAnswer{ReasonStatus, fmt.Errorf("score: %w", err)}
	}
	return nil
}

// score keeps a scorer that panics from ending the process: a canary's fault must stay the canary's.
func (b *InProcess) score(ctx context.Context, req *Request, out []byte) (body []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the scorer panicked: %v", p)
		}
	}()
	return b.scorer.ScorePayload(ctx, req.ContentType, req.Body, out)
}

const (
	invocations = "/invocations"
	jsonType    = "application/json"
)

// appendJSONString quotes text for JSON.
func appendJSONString(dst []byte, text string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, r := range strings.ToValidUTF8(text, "\uFFFD") {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			dst = append(dst, string(r)...)
		}
	}
	return append(dst, '"')
}
