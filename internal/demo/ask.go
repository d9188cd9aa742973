package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// maxAnswer bounds what is read of an answer to one row.
const maxAnswer = 1 << 20

func quoteJSON(s string) string {
	b, _ := json.Marshal(s) // a string has a JSON form, whatever is in it
	return string(b)
}

// answer is what came of one request.
type answer struct {
	status       int
	role         string
	version      string
	took         time.Duration
	failure      string // why the customer has no prediction; "" when he has one
	transport    bool   // no whole answer came
	failedOver   bool
	resent       bool
	unpredictive bool // 200 without a prediction
}

// ask sends one row as its customer and counts what came back. It is not canceled when the traffic ends.
func (p *Player) ask(ctx context.Context, i int) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.params.Timeout)
	defer cancel()
	p.count(func(t *tally) { t.sent++ })
	a := p.exchange(ctx, p.body(p.params.Rows[i]), p.params.Customers[i])
	p.count(func(t *tally) { t.add(p.params.Customers[i], a) })
	p.release(p.params.Customers[i])
}

// exchange goes through the gateways until one takes the request. Latency is what the customer waits in all.
func (p *Player) exchange(ctx context.Context, body, customer string) answer {
	began := time.Now()
	var a answer
	failedOver, resent := false, false
	r := attempt{client: p.client, body: body, customer: customer}
	for target := 0; target < len(p.targets); {
		var err error
		r.target = p.targets[target]
		a, err = p.send(ctx, r)
		switch {
		case err == nil:
			target = len(p.targets)
		case errors.Is(err, syscall.ECONNREFUSED):
			target++
			failedOver = failedOver || target < len(p.targets)
		case p.params.Resend == ResendBroken && !resent && ctx.Err() == nil:
			// To the same gateway first: if it is gone, it refuses. On a new connection: the kept ones of a server that died are dead too.
			resent, r.client = true, p.fresh
		default:
			target = len(p.targets)
		}
	}
	a.took, a.failedOver, a.resent = time.Since(began), failedOver, resent
	return a
}

// attempt is one request as it goes out.
type attempt struct {
	client                 *http.Client
	target, body, customer string
}

// send is one attempt. The error is a transport's; every answer with a status is none.
func (p *Player) send(ctx context.Context, r attempt) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.target, strings.NewReader(r.body))
	if err != nil {
		return answer{transport: true, failure: err.Error()}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(p.params.KeyHeader, r.customer)
	resp, err := r.client.Do(req)
	if err != nil {
		return answer{transport: true, failure: err.Error()}, err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end below, or broken
	a := answer{status: resp.StatusCode, role: resp.Header.Get("X-Serin-Served-By"), version: resp.Header.Get("X-Serin-Model-Version")}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return answer{transport: true, failure: "answer cut off: " + err.Error()}, err
	}
	switch {
	case a.status >= 300:
		a.failure = fmt.Sprintf("status %d: %.200s", a.status, data)
	case !hasPrediction(data):
		a.failure, a.unpredictive = fmt.Sprintf("no prediction in %.200q", data), true
	}
	return a, nil
}

func hasPrediction(data []byte) bool {
	var got struct {
		Predictions []json.RawMessage `json:"predictions"`
	}
	return json.Unmarshal(data, &got) == nil && len(got.Predictions) == 1
}
