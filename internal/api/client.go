package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"serin/internal/analysis"
)

// ErrUnreachable is wrapped by the errors of a Client whose server does not answer.
var ErrUnreachable = errors.New("no serin server answers")

// Client calls the API. Without a server its transport is a handler in the same process, so that there is one way to do everything.
type Client struct {
	base  string
	http  *http.Client
	actor string
}

// ClientOptions say where the API is and who calls it.
type ClientOptions struct {
	// URL is the server's, such as http://127.0.0.1:8080.
	URL   string
	HTTP  *http.Client
	Actor string
}

// NewClient makes a client; it contacts nobody.
func NewClient(o ClientOptions) (*Client, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("server %q: give a URL such as http://127.0.0.1:8080", o.URL)
	}
	if o.HTTP == nil {
		o.HTTP = &http.Client{}
	}
	return &Client{base: strings.TrimSuffix(o.URL, "/"), http: o.HTTP, actor: o.Actor}, nil
}

// StatusError is an answer that is not 2xx.
type StatusError struct {
	Status int
	Body   Error
}

// Error is the server's message, which is written for people.
func (e *StatusError) Error() string { return e.Body.Message }

// Is lets callers test for ErrNotFound, ErrConflict and ErrInvalid. An answer that is not Serin's is none of them: a page that is not found says nothing of a rollout.
func (e *StatusError) Is(target error) bool {
	if e.Body.Code == "" {
		return false
	}
	switch target {
	case ErrNotFound:
		return e.Status == http.StatusNotFound || e.Status == http.StatusGone
	case ErrConflict:
		return e.Status == http.StatusConflict
	case ErrInvalid:
		return e.Status == http.StatusBadRequest
	}
	return false
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error { //nolint:revive // argument-limit: what one HTTP exchange has
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(actorHeader, c.actor)
	resp, err := c.http.Do(req)
	if err != nil {
		return c.lost(ctx, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return c.lost(ctx, err)
	}
	if len(data) > maxAnswer {
		return fmt.Errorf("the answer of %s has more than %d bytes: ask for less", c.base, maxAnswer)
	}
	return c.decode(resp, data, out)
}

// maxAnswer is the largest answer that a client reads.
const maxAnswer = 64 << 20

// lost is the error of a call whose answer did not come: the caller gave up, or nobody answers.
func (c *Client) lost(ctx context.Context, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%s has not answered in time: %w", c.base, ctx.Err())
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return fmt.Errorf("%w at %s: %w", ErrUnreachable, c.base, err)
}

func (c *Client) decode(resp *http.Response, data []byte, out any) error {
	if resp.StatusCode/100 != 2 {
		e := &StatusError{Status: resp.StatusCode}
		if json.Unmarshal(data, &e.Body) != nil || e.Body.Message == "" {
			e.Body.Message = fmt.Sprintf("%s answered %s, which is not Serin's API: check --server", c.base, resp.Status)
		}
		return e
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("the answer of %s is not Serin's: %w", c.base, err)
	}
	return nil
}

// Health asks the server how it is.
func (c *Client) Health(ctx context.Context) (h Health, err error) {
	return h, c.call(ctx, http.MethodGet, "/api/v1/health", nil, &h)
}

// Models lists the models.
func (c *Client) Models(ctx context.Context) (m []Model, err error) {
	return m, c.call(ctx, http.MethodGet, "/api/v1/models", nil, &m)
}

// Start starts a rollout and gives its id.
func (c *Client) Start(ctx context.Context, r StartRequest) (s Started, err error) {
	return s, c.call(ctx, http.MethodPost, "/api/v1/rollouts", r, &s)
}

// List gives the newest rollouts, of one model when name is not empty.
func (c *Client) List(ctx context.Context, name string, limit int) (list []Rollout, err error) {
	q := url.Values{"model": {name}, "limit": {strconv.Itoa(limit)}}
	return list, c.call(ctx, http.MethodGet, "/api/v1/rollouts?"+q.Encode(), nil, &list)
}

// Get gives a rollout by its id, or a model's open or newest one by the model's name.
func (c *Client) Get(ctx context.Context, id string) (r Rollout, err error) {
	return r, c.call(ctx, http.MethodGet, rolloutPath(id, ""), nil, &r)
}

// State gives the stored row as it is.
func (c *Client) State(ctx context.Context, id string) (row json.RawMessage, err error) {
	return row, c.call(ctx, http.MethodGet, rolloutPath(id, "/state"), nil, &row)
}

// Logs gives the lines after a sequence number, of one task when task is not empty.
func (c *Client) Logs(ctx context.Context, id, task string, after int64) (lines []LogLine, err error) {
	q := url.Values{"task": {task}, "after": {strconv.FormatInt(after, 10)}}
	return lines, c.call(ctx, http.MethodGet, rolloutPath(id, "/logs?"+q.Encode()), nil, &lines)
}

// History gives a rollout's history.
func (c *Client) History(ctx context.Context, id string) (list []HistoryEntry, err error) {
	return list, c.call(ctx, http.MethodGet, rolloutPath(id, "/history"), nil, &list)
}

// Samples gives what is stored of a model's counters, a scrape for each tick.
func (c *Client) Samples(ctx context.Context, name string) (list []analysis.Scrape, err error) {
	return list, c.call(ctx, http.MethodGet, modelPath(name, "/samples"), nil, &list)
}

// Graph gives the tasks of a rollout's plan.
func (c *Client) Graph(ctx context.Context, id string) (nodes json.RawMessage, err error) {
	return nodes, c.call(ctx, http.MethodGet, rolloutPath(id, "/graph"), nil, &nodes)
}

// Act pauses, resumes, promotes, aborts or retries; it gives the id of the rollout that it concerns now.
func (c *Client) Act(ctx context.Context, id, action string, r ActionRequest) (s Started, err error) {
	return s, c.call(ctx, http.MethodPost, rolloutPath(id, "/actions/"+url.PathEscape(action)), r, &s)
}

// Perform asks for one task of a rollout that commands drive.
func (c *Client) Perform(ctx context.Context, id, task string, r TaskRequest) (a TaskAnswer, err error) {
	return a, c.call(ctx, http.MethodPost, rolloutPath(id, "/tasks/"+url.PathEscape(task)), r, &a)
}

// Undo goes back to an older champion.
func (c *Client) Undo(ctx context.Context, name string, r UndoRequest) (s Started, err error) {
	return s, c.call(ctx, http.MethodPost, modelPath(name, "/undo"), r, &s)
}

// Rollback gives a model's champion all traffic.
func (c *Client) Rollback(ctx context.Context, name string, r RollbackRequest) (a RollbackAnswer, err error) {
	return a, c.call(ctx, http.MethodPost, modelPath(name, "/rollback"), r, &a)
}

// Unblock lets a blocked version be rolled out again.
func (c *Client) Unblock(ctx context.Context, name string, r UnblockRequest) error {
	return c.call(ctx, http.MethodPost, modelPath(name, "/unblock"), r, nil)
}

func rolloutPath(id, rest string) string { return "/api/v1/rollouts/" + url.PathEscape(id) + rest }
func modelPath(name, rest string) string { return "/api/v1/models/" + url.PathEscape(name) + rest }
