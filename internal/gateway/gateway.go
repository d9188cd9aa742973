// Package gateway is the data plane: it sends each request to champion or canary by the routing table, lets the champion answer when
// the canary fails, and counts by the version a request was assigned to. It must never read the store, load a model or move a weight.
package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Lost says what a gateway does with the canary when the lease of its table is over for traffic.LeaseGrace.
type Lost string

// LostChampion sends everything to the champion, LostKeep goes on by the table.
const (
	LostChampion Lost = "champion"
	LostKeep     Lost = "keep"
)

// Missing says where a request without a key goes.
type Missing string

// MissingChampion sends it to the champion, MissingRandom to a bucket drawn for it.
const (
	MissingChampion Missing = "champion"
	MissingRandom   Missing = "random"
)

// By says what a request is assigned by.
type By string

// ByKey is sticky: a customer stays on his side. ByRandom draws for each request, for services whose traffic is a few large customers.
const (
	ByKey    By = "key"
	ByRandom By = "random"
)

// Failover says whether the champion answers when the canary fails.
type Failover string

// FailoverOff is for services whose requests have effects and must not be sent twice.
const (
	FailoverOn  Failover = "on"
	FailoverOff Failover = "off"
)

// Override says whether the header X-Canary (always, never) chooses the version.
type Override string

// OverrideOff ignores the header. It never reaches a backend.
const (
	OverrideOff Override = "off"
	OverrideOn  Override = "on"
)

// Keys says how a request finds its bucket.
type Keys struct {
	// Header is the name of the header with the customer's key; X-Customer-Id when empty. Field is the JSON field that is looked for when
	// the header is not there; empty means none.
	Header, Field string
	By            By
	Missing       Missing
}

// Limits bound what a request may take. Zero values get the defaults.
type Limits struct {
	// Champion (2 s), Canary (500 ms) bound one attempt, Request (3 s) both together.
	Champion, Canary, Request time.Duration
	// CanaryInFlight (64) bounds the requests that wait for a canary behind a URL, so that a hanging one slows no more than these.
	CanaryInFlight int
	// BreakerFailures (5) in a row open the breaker of a canary for BreakerPause (2 s).
	BreakerFailures int
	BreakerPause    time.Duration
}

// Options configure a Gateway. Only what has no default must be given.
type Options struct {
	Logger *slog.Logger
	// Registry gets the gateway's metrics and is what /metrics shows; a new one when nil.
	Registry *prometheus.Registry
	// Instance names this gateway in samples; "gateway" when empty.
	Instance string
	Limits   Limits
	// Keys and Failover hold for routes that say nothing else.
	Keys             Keys
	Failover         Failover
	Override         Override
	OnControllerLost Lost
	// Buckets are the bounds of the histogram of durations in seconds, ascending. The default has a bound at each latency that a plan
	// is likely to have as its limit.
	Buckets []float64
}

// defaultBuckets are dense around 100 ms, the default limit.
var defaultBuckets = [...]float64{.005, .01, .025, .05, .075, .09, .1, .11, .125, .15, .2, .25, .5, 1, 2.5, 5, 10}

// Gateway routes the requests of all served models. It is safe for concurrent use. It has no goroutine of its own.
type Gateway struct {
	opts  Options
	slots atomic.Pointer[map[string]*slot]

	mu       sync.Mutex // guards changes of slots, and what follows
	backends map[Backend]*holder
}

// New checks the options and registers the metrics. The gateway serves nothing until Swap.
func New(o Options) (*Gateway, error) {
	o = withDefaults(o)
	if err := check(o); err != nil {
		return nil, err
	}
	g := &Gateway{opts: o, backends: map[Backend]*holder{}}
	g.slots.Store(&map[string]*slot{})
	if err := o.Registry.Register(newCollector(g)); err != nil {
		return nil, fmt.Errorf("register the gateway's metrics: %w", err)
	}
	return g, nil
}

func withDefaults(o Options) Options {
	def(&o.Instance, "gateway")
	def(&o.Limits.Champion, 2*time.Second)
	def(&o.Limits.Canary, 500*time.Millisecond)
	def(&o.Limits.Request, 3*time.Second)
	def(&o.Limits.CanaryInFlight, 64)
	def(&o.Limits.BreakerFailures, 5)
	def(&o.Limits.BreakerPause, 2*time.Second)
	def(&o.Failover, FailoverOn)
	def(&o.Override, OverrideOff)
	def(&o.OnControllerLost, LostChampion)
	o.Keys = o.Keys.withDefaults()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	if o.Buckets == nil {
		o.Buckets = defaultBuckets[:]
	}
	o.Buckets = slices.Clone(o.Buckets)
	return o
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func (k Keys) withDefaults() Keys {
	def(&k.Header, "X-Customer-Id")
	def(&k.By, ByKey)
	def(&k.Missing, MissingChampion)
	return k
}

func (k Keys) check() error {
	if k.By != ByKey && k.By != ByRandom {
		return fmt.Errorf("routing.by %q: use key or random", k.By)
	}
	if k.Missing != MissingChampion && k.Missing != MissingRandom {
		return fmt.Errorf("routing.missing %q: use champion or random", k.Missing)
	}
	return nil
}

func check(o Options) error {
	l := o.Limits
	if l.Champion < 0 || l.Canary < 0 || l.Request < 0 || l.CanaryInFlight < 0 || l.BreakerFailures < 0 || l.BreakerPause < 0 {
		return errors.New("gateway limits: none of them may be negative")
	}
	if o.Failover != FailoverOn && o.Failover != FailoverOff {
		return fmt.Errorf("failover %q: use on or off", o.Failover)
	}
	if o.Override != OverrideOn && o.Override != OverrideOff {
		return fmt.Errorf("gateway override %q: use on or off", o.Override)
	}
	if o.OnControllerLost != LostChampion && o.OnControllerLost != LostKeep {
		return fmt.Errorf("onControllerLost %q: use champion or keep", o.OnControllerLost)
	}
	last := 0.0
	for _, b := range o.Buckets {
		if math.IsNaN(b) || math.IsInf(b, 0) || b <= last {
			return fmt.Errorf("gateway buckets %v: give seconds above 0, ascending", o.Buckets)
		}
		last = b
	}
	return o.Keys.check()
}

// Models gives the names of the served models, sorted.
func (g *Gateway) Models() []string { return slices.Sorted(maps.Keys(*g.slots.Load())) }

// Reloaded tells the gauge serin_gateway_last_reload_successful of a model whether its routing file or its versions could be read. It
// changes no traffic: the table that was good stays. It does nothing for a model that is not served.
func (g *Gateway) Reloaded(name string, err error) {
	if s := (*g.slots.Load())[name]; s != nil {
		s.reloadFailed.Store(err != nil)
	}
}

// Close takes all models out of service and closes their backends when the requests in flight have ended.
func (g *Gateway) Close() error {
	for _, name := range g.Models() {
		g.Remove(name)
	}
	return nil
}
