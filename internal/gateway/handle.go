package gateway

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"serin/internal/traffic"
)

// Handle answers a request: it decides for a side, asks its backend, and lets the champion answer when that was the canary and it failed.
// The response is always complete; what went wrong is in its status. A request counts for the version it was assigned to.
func (g *Gateway) Handle(ctx context.Context, req *Request, resp *Response) {
	start := time.Now()
	resp.Reset()
	s := g.find(req.Model)
	if s == nil {
		resp.fail(http.StatusNotFound, g.unknown(req.Model))
		return
	}
	r := s.acquire()
	if r == nil {
		resp.fail(http.StatusNotFound, "this model was just taken out of service")
		return
	}
	defer g.release(r)
	if r.champion == nil {
		resp.fail(http.StatusServiceUnavailable, "model "+s.name+" has no champion that can answer: move a version to Production, or look at the log of the gateway")
		return
	}
	w := work{g: g, s: s, r: r, req: req, resp: resp, start: start, deadline: start.Add(g.opts.Limits.Request)}
	role, forced := w.decide()
	switch {
	case forced:
		w.forced(ctx, role)
	case role == traffic.Canary:
		s.assignedCanary.Add(1)
		w.canary(ctx)
	default:
		s.assignedChampion.Add(1)
		res := w.attempt(ctx, traffic.Champion, 1)
		r.championSeries.record(res.status, res.why, res.took)
	}
}

// find gives the slot of a model; without a name that of the only one.
func (g *Gateway) find(name string) *slot {
	slots := *g.slots.Load()
	if name == "" && len(slots) == 1 {
		for _, s := range slots {
			return s
		}
	}
	return slots[name]
}

func (g *Gateway) unknown(name string) string {
	if name == "" {
		return "several models or none are served here: use /models/NAME/invocations"
	}
	return "no model of this name is served here: " + name
}

// work is one request on its way.
type work struct {
	g        *Gateway
	s        *slot
	r        *route
	req      *Request
	resp     *Response
	start    time.Time
	deadline time.Time
}

// result is what came of one attempt.
type result struct {
	status int
	why    Reason // empty when the version did its work
	took   time.Duration
}

// decide gives the side of the request, and whether it was forced by its header.
func (w *work) decide() (role traffic.Role, forced bool) {
	if w.g.opts.Override == OverrideOn {
		switch h := w.req.header(overrideHeader); {
		case equalFold(h, "always") && w.r.canary != nil:
			return traffic.Canary, true
		case equalFold(h, "never"):
			return traffic.Champion, true
		}
	}
	bucket, ok := w.bucket()
	if !ok {
		return traffic.Champion, false
	}
	return w.r.table.Assign(bucket, w.start), false
}

// overrideHeader chooses the version where that is allowed.
const overrideHeader = "X-Canary"

// bucket gives the request's bucket; false sends it to the champion.
func (w *work) bucket() (int, bool) {
	keys := &w.r.keys
	if keys.By == ByRandom {
		return rand.IntN(traffic.Buckets), true
	}
	key := w.req.header(keys.Header)
	if len(key) == 0 && keys.Field != "" {
		key, _ = bodyKey(w.req.Body, keys.Field)
	}
	if len(key) > 0 {
		return traffic.BucketBytes(w.r.table.Salt, key), true
	}
	w.s.keyMissing.Add(1)
	return rand.IntN(traffic.Buckets), keys.Missing == MissingRandom
}

// forced sends a request where its header says. It is counted apart, touches no breaker and is not rescued: whoever forces a version
// wants to see that version's answer.
func (w *work) forced(ctx context.Context, role traffic.Role) {
	if role == traffic.Canary {
		w.s.forcedCanary.Add(1)
	} else {
		w.s.forcedChampion.Add(1)
	}
	w.attempt(ctx, role, 1)
}

// canary handles a request that was assigned to the canary.
func (w *work) canary(ctx context.Context) {
	h, limits := w.r.canary, &w.g.opts.Limits
	t, why := h.admit(w.start, limits.CanaryInFlight)
	if why != "" {
		w.r.canarySeries.record(http.StatusServiceUnavailable, why, -1)
		w.rescue(ctx, 1)
		return
	}
	res := w.attempt(ctx, traffic.Canary, 1)
	h.inFlight.Add(-1)
	w.r.canarySeries.record(res.status, res.why, res.took)
	verdict := succeeded
	if res.why != "" {
		verdict = failed
	}
	// A canary that is asked too much (429) has not failed, but its customer need not know.
	if (verdict == failed || res.status == http.StatusTooManyRequests) && w.r.failover == FailoverOn {
		if rescued := w.rescue(ctx, 2); rescued.why != "" && verdict == failed {
			verdict = unproven
		}
	}
	h.breaker.report(t, verdict, time.Now(), limits.BreakerFailures, limits.BreakerPause)
}

// rescue lets the champion answer in the canary's place. It has a counter of its own: it is not the champion's own traffic.
func (w *work) rescue(ctx context.Context, attempt int) result {
	w.s.rescues.Add(1)
	res := w.attempt(ctx, traffic.Champion, attempt)
	if res.why != "" {
		w.s.rescueFailures.Add(1)
	}
	return res
}

// admit says whether a request may go to the canary; else why not. The caller takes inFlight down again.
func (h *holder) admit(now time.Time, limit int) (ticket, Reason) {
	waiting := h.inFlight.Add(1)
	if _, local := h.backend.(*InProcess); !local && waiting > int64(limit) {
		h.inFlight.Add(-1)
		return ticket{}, ReasonFull
	}
	t, ok := h.breaker.admit(now)
	if !ok {
		h.inFlight.Add(-1)
		return ticket{}, ReasonOpen
	}
	return t, ""
}

// attempt asks the backend of a role and leaves a complete response, whatever happens.
func (w *work) attempt(ctx context.Context, role traffic.Role, number int) result {
	h, side, timeout := w.r.champion, &w.r.table.Champion, w.g.opts.Limits.Champion
	if role == traffic.Canary {
		h, side, timeout = w.r.canary, w.r.table.Canary, w.g.opts.Limits.Canary
	}
	start := w.start
	if number > 1 {
		start = time.Now()
	}
	w.req.Attempt = number
	w.req.Deadline = start.Add(timeout)
	if w.req.Deadline.After(w.deadline) {
		w.req.Deadline = w.deadline
	}
	w.resp.Reset()
	w.resp.ServedBy, w.resp.Version = role, side.Pin.Version
	err := h.backend.Do(ctx, w.req, w.resp)
	w.resp.ServedBy, w.resp.Version = role, side.Pin.Version
	if err == nil && (w.resp.Status < 200 || w.resp.Status >= maxStatus) {
		err = &NoAnswer{ReasonBroken, errors.New("a status that ends no request")}
	}
	res := result{status: w.resp.Status}
	switch {
	case err != nil:
		res.why = reasonOf(err)
		res.status = w.explain(ctx, res.why, err)
	case w.resp.Status >= http.StatusInternalServerError:
		res.why = ReasonStatus
	}
	res.took = time.Since(start)
	return res
}

// explain turns an attempt without an answer into one that a client can be given. The cause goes to the log, not to the client.
func (w *work) explain(ctx context.Context, why Reason, err error) int {
	w.g.opts.Logger.DebugContext(ctx, "backend gave no answer", "model", w.s.name, "version", string(w.resp.ServedBy),
		"revision", w.resp.Version, "request_id", string(w.req.ID), "err", err)
	switch why {
	case ReasonTimeout:
		w.resp.fail(http.StatusGatewayTimeout, "the model did not answer in time: try again")
	case ReasonStatus:
		w.resp.fail(http.StatusInternalServerError, "the model failed on this request")
	case ReasonConnect, ReasonBroken, ReasonTooBig, ReasonOpen, ReasonFull:
		w.resp.fail(http.StatusBadGateway, "the model gave no usable answer: try again")
	}
	return w.resp.Status
}
