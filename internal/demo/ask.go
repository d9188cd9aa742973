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
	for target := 0; target < len(p.targets); {
		var err error
		a, err = p.send(ctx, p.targets[target], body, customer)
		switch {
		case err == nil:
			target = len(p.targets)
		case errors.Is(err, syscall.ECONNREFUSED):
			target++
			failedOver = failedOver || target < len(p.targets)
		case p.params.Resend == ResendBroken && !resent && ctx.Err() == nil:
			resent = true                   // to the same gateway first: if it is gone, it refuses
			p.client.CloseIdleConnections() // the others of a server that died are dead too
		default:
			target = len(p.targets)
		}
	}
	a.took, a.failedOver, a.resent = time.Since(began), failedOver, resent
	return a
}

// send is one attempt. The error is a transport's; every answer with a status is none.
func (p *Player) send(ctx context.Context, target, body, customer string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(body))
	if err != nil {
		return answer{transport: true, failure: err.Error()}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(p.params.KeyHeader, customer)
	resp, err := p.client.Do(req)
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
