// Package promapi takes samples over the Prometheus HTTP API: raw counters in one instant query. It never asks for rate() or increase(), which
// invent fractions of requests, and never keeps counts of its own.
package promapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"serin/internal/analysis"
)

// maxBody bounds an answer: two scrapes of 1,000 processes with 30 series each are some 10 MiB.
const maxBody = 32 << 20

// Options configure a Client. URL is required.
type Options struct {
	// URL is the server's address with any path prefix, such as http://prometheus:9090.
	URL string
	// HTTP sends the requests and may add credentials. Default: a client of its own without redirects. Timeouts come from the context.
	HTTP *http.Client
	// Names say what to read. Default: preset serin.
	Names analysis.Names
	// ScrapeInterval is Prometheus's own. A value older than two of them is absent. Default 15 s.
	ScrapeInterval time.Duration
}

// Client is a source of samples. It is safe for concurrent use.
type Client struct {
	endpoint *url.URL
	http     *http.Client
	names    analysis.Names
	interval time.Duration

	mu sync.Mutex
	// last is the tick that was answered before, by model: counters that fell since then were reset in between.
	last map[string]time.Time
}

// New checks the options. It does not call the server.
func New(opts Options) (*Client, error) {
	u, err := url.Parse(opts.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("prometheus: its address must be an http or https URL, such as http://prometheus:9090")
	}
	if opts.Names.Requests == "" {
		if opts.Names, err = analysis.Preset("serin"); err != nil {
			return nil, err
		}
	}
	if err := opts.Names.Validate(); err != nil {
		return nil, fmt.Errorf("prometheus: %w", err)
	}
	if opts.ScrapeInterval == 0 {
		opts.ScrapeInterval = 15 * time.Second
	}
	if opts.ScrapeInterval < time.Millisecond {
		return nil, fmt.Errorf("prometheus: scrape interval %s is below a millisecond: set the interval of its configuration", opts.ScrapeInterval)
	}
	if opts.HTTP == nil {
		opts.HTTP = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	return &Client{
		endpoint: u.JoinPath("api/v1/query"), http: opts.HTTP, names: opts.Names, interval: opts.ScrapeInterval, last: map[string]time.Time{},
	}, nil
}

// Scrape gives every process's counters at the tick at: of each series the last raw sample at or before it, at most two scrape intervals old.
//
// The query asks for all raw samples in that time, so a counter that fell between the tick before and this one is seen even when it has grown past
// its old value again. Such a line is marked Restarted: the judge then counts its value from zero. What the process counted between the tick before
// and its end is lost, as with any scrape. The first tick after the client was made knows no tick before; there a reset shows only as a lower value.
func (c *Client) Scrape(ctx context.Context, model string, at time.Time) ([]analysis.Sample, error) {
	asked := at.Truncate(time.Millisecond) // Prometheus knows no finer time
	body, err := c.query(ctx, c.expression(model), asked)
	if err != nil {
		return nil, fmt.Errorf("prometheus %s: %w", c.endpoint.Host, err)
	}
	raw, err := parse(body)
	if err != nil {
		return nil, fmt.Errorf("prometheus %s: %w", c.endpoint.Host, err)
	}
	samples, err := analysis.Collect(at, model, c.names, c.pick(raw, asked, c.previous(model, asked)))
	if err != nil {
		return nil, fmt.Errorf("prometheus %s: %w", c.endpoint.Host, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if asked.After(c.last[model]) {
		c.last[model] = asked
	}
	return samples, nil
}

// expression is the range selector. The range is a millisecond longer than two intervals: 2.x includes its left edge, 3.x does not, and pick cuts.
func (c *Client) expression(model string) string {
	names := c.names.Metrics()
	for i, n := range names {
		names[i] = regexp.QuoteMeta(n)
	}
	selector := "__name__=~" + quote(strings.Join(names, "|"))
	if c.names.ModelLabel != "" {
		selector += "," + c.names.ModelLabel + "=" + quote(model)
	}
	for _, label := range sortedKeys(c.names.Match) {
		selector += "," + label + "=" + quote(c.names.Match[label])
	}
	return fmt.Sprintf("{%s}[%dms]", selector, (2*c.interval).Milliseconds()+1)
}

// quote writes a PromQL string. Go's escapes are PromQL's.
func quote(s string) string { return strconv.Quote(s) }

func (c *Client) query(ctx context.Context, expression string, at time.Time) ([]byte, error) {
	form := url.Values{"query": {expression}, "time": {timestamp(at)}}
	if deadline, ok := ctx.Deadline(); ok {
		if left := time.Until(deadline); left > time.Millisecond {
			form.Set("timeout", strconv.FormatInt(left.Milliseconds(), 10)+"ms")
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("query samples: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the answer: %w", err)
	case len(body) > maxBody:
		return nil, fmt.Errorf("the answer is larger than %d MiB: make the selector narrower", maxBody>>20)
	case resp.StatusCode != http.StatusOK:
		return nil, refusal(resp.Status, body)
	}
	return body, nil
}

// timestamp writes seconds with milliseconds.
func timestamp(at time.Time) string {
	return strconv.FormatFloat(float64(at.UnixMilli())/1000, 'f', 3, 64)
}

// previous is the tick answered before at, or the zero time.
func (c *Client) previous(model string, at time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last := c.last[model]; last.Before(at) {
		return last
	}
	return time.Time{}
}

// pick takes each series' value at the tick. Whether it was reset is looked for from the value at the tick before on.
func (c *Client) pick(raw []rawSeries, at, previous time.Time) []analysis.Series {
	var out []analysis.Series
	oldest := at.Add(-2 * c.interval)
	for _, r := range raw {
		value, before, fell := math.NaN(), math.NaN(), false
		found := false
		for _, p := range r.points {
			if p.at.Before(oldest) || p.at.After(at) {
				continue
			}
			if !previous.IsZero() && p.at.After(previous) && p.value < before {
				fell = true
			}
			value, found = p.value, true
			if !math.IsNaN(p.value) {
				before = p.value
			}
		}
		if found {
			out = append(out, analysis.Series{Name: r.name, Labels: r.labels, Value: value, Restarted: fell})
		}
	}
	return out
}
