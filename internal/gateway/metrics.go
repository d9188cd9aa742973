package gateway

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"serin/internal/traffic"
)

// collector shows the gateway's own counters to Prometheus. There is one set of numbers: samples and /metrics cannot differ.
type collector struct {
	g                                                            *Gateway
	requests, duration, failures                                 *prometheus.Desc
	generation, weight, observed, breaker, reload                *prometheus.Desc
	rescues, rescueFailures, forced, keyMissing, canaryInFlights *prometheus.Desc
}

func newCollector(g *Gateway) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, append([]string{"model"}, labels...), nil)
	}
	return &collector{
		g:        g,
		requests: desc("http_requests_total", "First attempts, by the version that the request was assigned to.", "version", "revision", "status"),
		duration: desc("http_request_duration_seconds", "Duration of first attempts, by the version that the request was assigned to.", "version", "revision"),
		failures: desc("serin_gateway_upstream_errors_total", "First attempts without a usable answer, by reason.", "version", "revision", "reason"),

		generation: desc("serin_routing_generation", "Generation of the routing table in force."),
		weight:     desc("serin_routing_weight_pct", "Share of the canary in percent that is in force; 0 when the lease is over."),
		observed:   desc("serin_gateway_observed_weight_pct", "Share of requests assigned to the canary in percent since the weight last changed; NaN without requests."),
		breaker:    desc("serin_gateway_breaker_state", "Breaker of the canary: 0 closed, 1 open, 2 ready for a probe."),
		reload:     desc("serin_gateway_last_reload_successful", "1 when routing file and versions could be read the last time."),

		rescues:         desc("serin_gateway_rescues_total", "Requests of the canary that the champion was asked to answer."),
		rescueFailures:  desc("serin_gateway_rescue_failures_total", "Rescues in which the champion failed too."),
		forced:          desc("serin_gateway_forced_total", "Requests sent to a version by X-Canary; they are in no other count.", "version"),
		keyMissing:      desc("serin_key_missing_total", "Requests without a key to be sticky by."),
		canaryInFlights: desc("serin_gateway_inflight_requests", "Requests waiting for the canary.", "version"),
	}
}

// Describe lists the metrics.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.requests, c.duration, c.failures, c.generation, c.weight, c.observed, c.breaker, c.reload,
		c.rescues, c.rescueFailures, c.forced, c.keyMissing, c.canaryInFlights,
	} {
		ch <- d
	}
}

// Collect gives the present numbers.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	for _, s := range *c.g.slots.Load() {
		c.model(ch, s)
	}
}

// emit is for one number; a number that cannot be shown shows as an error of the scrape.
func emit(ch chan<- prometheus.Metric, d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) { //nolint:revive // argument-limit: the order is that of the library's own constructor
	m, err := prometheus.NewConstMetric(d, kind, v, labels...)
	if err != nil {
		m = prometheus.NewInvalidMetric(d, err)
	}
	ch <- m
}

func (c *collector) model(ch chan<- prometheus.Metric, s *slot) {
	s.mu.Lock()
	all := append([]*series(nil), s.series...)
	s.mu.Unlock()
	for _, x := range all {
		c.series(ch, s.name, x.snapshot())
	}
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	emit(ch, c.rescues, counter, float64(s.rescues.Load()), s.name)
	emit(ch, c.rescueFailures, counter, float64(s.rescueFailures.Load()), s.name)
	emit(ch, c.forced, counter, float64(s.forcedChampion.Load()), s.name, string(traffic.Champion))
	emit(ch, c.forced, counter, float64(s.forcedCanary.Load()), s.name, string(traffic.Canary))
	emit(ch, c.keyMissing, counter, float64(s.keyMissing.Load()), s.name)
	emit(ch, c.observed, gauge, s.observed(), s.name)
	good := 1.0
	if s.reloadFailed.Load() {
		good = 0
	}
	emit(ch, c.reload, gauge, good, s.name)
	r := s.acquire()
	if r == nil {
		return
	}
	defer c.g.release(r)
	now := time.Now()
	emit(ch, c.generation, gauge, float64(r.table.Generation), s.name)
	emit(ch, c.weight, gauge, r.weight(now), s.name)
	if r.canary != nil {
		emit(ch, c.breaker, gauge, float64(r.canary.breaker.state(now)), s.name)
		emit(ch, c.canaryInFlights, gauge, float64(r.canary.inFlight.Load()), s.name, string(traffic.Canary))
	}
}

func (c *collector) series(ch chan<- prometheus.Metric, name string, n counts) {
	role, revision := string(n.key.role), n.key.revision
	for _, x := range n.statuses {
		emit(ch, c.requests, prometheus.CounterValue, float64(x.n), name, role, revision, x.status)
	}
	for i, reason := range reasons {
		emit(ch, c.failures, prometheus.CounterValue, float64(n.reasons[i]), name, role, revision, string(reason))
	}
	buckets := make(map[float64]uint64, len(n.bounds))
	for i, bound := range n.bounds {
		buckets[bound] = n.cumulative[i]
	}
	m, err := prometheus.NewConstHistogram(c.duration, n.total, n.sum, buckets, name, role, revision)
	if err != nil {
		m = prometheus.NewInvalidMetric(c.duration, err)
	}
	ch <- m
}

// observed is the share of requests assigned to the canary, in percent, since the weight last changed.
func (s *slot) observed() float64 {
	canary, champion := s.assignedCanary.Load(), s.assignedChampion.Load()
	if canary+champion == 0 {
		return math.NaN()
	}
	return 100 * float64(canary) / float64(canary+champion)
}
