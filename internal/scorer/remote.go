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
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const (
	// remoteBatch is the number of rows of one request.
	remoteBatch = 500
	// remoteAttempts is how often a request is sent while the server cannot be reached or says that it is not ready. Scoring changes nothing, so
	// sending it again is safe.
	remoteAttempts = 3
	// firstPause is the wait before the second attempt; it doubles.
	firstPause = 200 * time.Millisecond
	// maxAnswer bounds the body of an answer, in bytes.
	maxAnswer = 16 << 20
)

// remote scores over HTTP by MLflow's /invocations.
type remote struct {
	info    Info
	url     string
	shown   string
	client  *http.Client
	timeout time.Duration
	logger  *slog.Logger
}

func newRemote(o *Opener, location string) (*remote, error) {
	u, err := url.Parse(location)
	if err != nil {
		var detail *url.Error
		if errors.As(err, &detail) {
			err = detail.Err // the rest of it repeats the URL, which may hold a password
		}
		return nil, fmt.Errorf("the model URL cannot be read: %w: write http://HOST/invocations", err)
	}
	if u.Host == "" {
		return nil, fmt.Errorf("model URL %q has no host: write http://HOST/invocations", u.Redacted())
	}
	r := &remote{client: o.options.HTTP, timeout: o.options.Timeout, logger: o.options.Logger}
	r.info = Info{Ref: u.Redacted(), Kind: Unknown, Notes: []string{"scored over HTTP: what the server answers is not known before it answers"}}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/invocations"
		r.info.Notes = append(r.info.Notes, "the URL names no path: /invocations")
	}
	r.url, r.shown = u.String(), u.Redacted()
	return r, nil
}

func (r *remote) Info() Info { return r.info }

func (r *remote) Close() error { return nil }

// Score implements Scorer: dataframe_split where the columns have names, inputs where they do not, remoteBatch rows a request.
func (r *remote) Score(ctx context.Context, f Frame) (Scores, error) {
	if err := f.check(); err != nil {
		return Scores{}, err
	}
	if len(f.faults) > 0 {
		x := f.faults[0]
		return Scores{}, inputErrorf("row %d, %s: %s is not a number", x.row+1, f.columnName(x.col), x.what)
	}
	var all Scores
	for from := 0; from < f.N; from += remoteBatch {
		part := f.slice(from, min(from+remoteBatch, f.N))
		body, err := appendSplit(nil, &part, from)
		if err != nil {
			return Scores{}, err
		}
		answer, err := r.send(ctx, body, part.N)
		if err != nil {
			return Scores{}, err
		}
		if from > 0 && answer.Width != all.Width {
			return Scores{}, &RemoteError{URL: r.shown, Message: fmt.Sprintf("%d numbers a row, then %d", all.Width, answer.Width)}
		}
		all.Width, all.Values = answer.Width, append(all.Values, answer.Values...)
	}
	return all, nil
}

// appendSplit writes a frame as a payload. first is the number of its first row, for errors.
func appendSplit(dst []byte, f *Frame, first int) ([]byte, error) {
	closing := "]}"
	if f.Columns != nil {
		names, err := json.Marshal(f.Columns)
		if err != nil {
			return nil, fmt.Errorf("write the column names: %w", err)
		}
		dst = append(append(append(dst, `{"dataframe_split": {"columns": `...), names...), `, "data": [`...)
		closing = "]}}"
	} else {
		dst = append(dst, `{"inputs": [`...)
	}
	width := f.Width()
	for i, x := range f.Values {
		switch {
		case i == 0:
			dst = append(dst, '[')
		case i%width == 0:
			dst = append(dst, "], ["...)
		default:
			dst = append(dst, ", "...)
		}
		switch {
		case math.IsInf(x, 0):
			return nil, inputErrorf("row %d, %s: %v cannot be scored", first+i/width+1, f.columnName(i%width), x)
		case x != x:
			dst = append(dst, "null"...)
		default:
			dst = strconv.AppendFloat(dst, x, 'g', -1, 64)
		}
	}
	if len(f.Values) > 0 {
		dst = append(dst, ']')
	}
	return append(dst, closing...), nil
}

// send posts one payload, again while the server is not there.
func (r *remote) send(ctx context.Context, body []byte, rows int) (Scores, error) {
	for attempt := 1; ; attempt++ {
		scores, err := r.post(ctx, body, rows)
		var fault *RemoteError
		if err == nil || attempt == remoteAttempts || !errors.As(err, &fault) || !fault.Retryable || errors.Is(err, context.DeadlineExceeded) {
			return scores, err
		}
		pause := firstPause << (attempt - 1)
		r.logger.WarnContext(ctx, "scoring server not reached", "url", r.shown, "attempt", attempt, "retry_in", pause, "err", err)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return Scores{}, ctx.Err()
		case <-timer.C:
		}
	}
}

func (r *remote) post(ctx context.Context, body []byte, rows int) (Scores, error) {
	attempt, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(attempt, http.MethodPost, r.url, bytes.NewReader(body))
	if err != nil {
		return Scores{}, fmt.Errorf("score at %s: %w", r.shown, err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := r.client.Do(request)
	if err != nil {
		return Scores{}, r.unreached(ctx, attempt, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return Scores{}, r.unreached(ctx, attempt, err)
	}
	switch {
	case len(answer) > maxAnswer:
		return Scores{}, &RemoteError{URL: r.shown, Status: response.StatusCode, Message: fmt.Sprintf("an answer of more than %d bytes", maxAnswer)}
	case response.StatusCode != http.StatusOK:
		return Scores{}, &RemoteError{
			URL: r.shown, Status: response.StatusCode, Message: serverMessage(answer),
			Retryable: response.StatusCode == http.StatusServiceUnavailable,
		}
	}
	scores, err := parsePredictions(answer, rows)
	if err != nil {
		return Scores{}, &RemoteError{URL: r.shown, Status: response.StatusCode, Message: err.Error()}
	}
	return scores, nil
}

// unreached tells the caller's own end from a server that is too slow or not there.
func (r *remote) unreached(ctx, attempt context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("score at %s: %w", r.shown, ctx.Err())
	case attempt.Err() != nil:
		return &RemoteError{URL: r.shown, Retryable: true, Message: fmt.Sprintf("no answer within %s", r.timeout), Err: context.DeadlineExceeded}
	}
	var detail *url.Error
	if errors.As(err, &detail) {
		err = detail.Err // the rest of it repeats the URL
	}
	return &RemoteError{URL: r.shown, Retryable: true, Message: err.Error(), Err: err}
}

// serverMessage makes one line of an error body: MLflow's {"error_code", "message"}, FastAPI's {"detail"}, or text.
func serverMessage(body []byte) string {
	var form struct {
		Code    string          `json:"error_code"`
		Message string          `json:"message"`
		Detail  json.RawMessage `json:"detail"`
	}
	text := string(body)
	if json.Unmarshal(body, &form) == nil {
		switch {
		case form.Code != "" || form.Message != "":
			text = strings.TrimSpace(form.Code + " " + form.Message)
		case len(form.Detail) > 0:
			text = string(form.Detail)
		}
	}
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1 // such as the escapes that move a terminal's cursor
		}
		return r
	}, strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " "))
	const most = 300
	switch {
	case text == "":
		return "no message"
	case len(text) > most:
		return strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}
