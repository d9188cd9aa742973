package gateway

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"serin/internal/traffic"
)

// keptSeries is how many versions a model keeps counters of in each role. The counters of older ones leave /metrics.
const keptSeries = 8

// Route is how one model is served from a Swap to the next.
type Route struct {
	Table traffic.Table
	// Champion and Canary answer. They are ready: whoever calls Swap has loaded them and seen them answer. They belong to the gateway from
	// then on, which closes each when no route names it and its last request has ended. A route without a champion answers 503; one whose
	// table has a canary that is not here sends everything to the champion.
	Champion, Canary Backend
	// Warm are backends that get no request and must not be closed, such as the champion before the present one.
	Warm []Backend
	// Keys and Failover hold for this model; nil and empty mean the gateway's.
	Keys     *Keys
	Failover Failover
}

// slot is one served model: its route, and the counters that outlive routes.
type slot struct {
	name  string
	route atomic.Pointer[route]

	rescues, rescueFailures, keyMissing atomic.Uint64
	forcedChampion, forcedCanary        atomic.Uint64
	// assigned counts requests by role since the weight last changed, for the observed share.
	assignedChampion, assignedCanary atomic.Uint64
	reloadFailed                     atomic.Bool

	mu sync.Mutex // guards what follows
	// series are in the order of their last use. champion and canary are the last known of each role, nil before the first.
	series           []*series
	champion, canary *series
}

// route is a Route in service. It is immutable but for its count of users.
type route struct {
	table            traffic.Table
	champion, canary *holder // nil when the route has none
	holders          []*holder
	championSeries   *series
	canarySeries     *series
	keys             Keys
	failover         Failover
	// users are the requests in flight and, as long as the route is in service, its slot.
	users atomic.Int64
}

// holder is a backend in service, with what must outlive a change of route: its breaker and its requests in flight.
type holder struct {
	backend  Backend
	routes   int // guarded by Gateway.mu
	breaker  breaker
	inFlight atomic.Int64
	health   health
}

// acquire gives the present route; release must follow. It is nil when the model was just removed.
func (s *slot) acquire() *route {
	for {
		r := s.route.Load()
		if r == nil {
			return nil
		}
		for n := r.users.Load(); n > 0; n = r.users.Load() {
			if r.users.CompareAndSwap(n, n+1) {
				return r
			}
		}
	}
}

func (g *Gateway) release(r *route) {
	if r.users.Add(-1) == 0 {
		g.drop(r.holders)
	}
}

// Swap puts a route into service with one atomic change: a request goes by the old route or by the new one. Counters go on where the same
// version in the same role stopped.
func (g *Gateway) Swap(name string, in Route) {
	g.mu.Lock()
	slots := *g.slots.Load()
	s := slots[name]
	if s == nil {
		s = &slot{name: name}
	}
	old := s.route.Load()
	next := g.newRoute(s, in)
	if old == nil || old.table.WeightPct() != next.table.WeightPct() {
		s.assignedChampion.Store(0)
		s.assignedCanary.Store(0)
	}
	s.route.Store(next)
	s.reloadFailed.Store(false)
	if slots[name] == nil { // a new model shows when its route is in place, and before another change copies the map
		slots = maps.Clone(slots)
		slots[name] = s
		g.slots.Store(&slots)
	}
	g.mu.Unlock()
	if old != nil {
		g.release(old)
	}
}

// newRoute prepares a route; g.mu is held.
func (g *Gateway) newRoute(s *slot, in Route) *route {
	r := &route{table: in.Table, keys: g.opts.Keys, failover: g.opts.Failover}
	if in.Keys != nil {
		r.keys = in.Keys.withDefaults()
	}
	if in.Failover != "" {
		r.failover = in.Failover
	}
	if g.opts.OnControllerLost == LostKeep {
		r.table.LeaseUntil = time.Time{}
	}
	if in.Canary == nil {
		r.table.Canary, r.table.Buckets = nil, traffic.Set{}
	}
	r.champion = g.hold(r, in.Champion)
	if r.table.Canary != nil {
		r.canary = g.hold(r, in.Canary)
	} else {
		g.hold(r, in.Canary)
	}
	for _, b := range in.Warm {
		g.hold(r, b)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r.championSeries = s.use(seriesKey{traffic.Champion, r.table.Champion.Pin.Version}, g.opts.Buckets)
	s.champion = r.championSeries
	if r.canary != nil {
		r.canarySeries = s.use(seriesKey{traffic.Canary, r.table.Canary.Pin.Version}, g.opts.Buckets)
		s.canary = r.canarySeries
	}
	r.users.Store(1)
	return r
}

// hold notes that a route needs a backend; g.mu is held.
func (g *Gateway) hold(r *route, b Backend) *holder {
	if b == nil {
		return nil
	}
	h := g.backends[b]
	if h == nil {
		h = &holder{backend: b}
		g.backends[b] = h
	}
	h.routes++
	r.holders = append(r.holders, h)
	return h
}

// drop gives up the backends of a route that nobody uses any more, and closes those that no other route names.
func (g *Gateway) drop(holders []*holder) {
	var unused []Backend
	g.mu.Lock()
	for _, h := range holders {
		if h.routes--; h.routes == 0 {
			delete(g.backends, h.backend)
			unused = append(unused, h.backend)
		}
	}
	g.mu.Unlock()
	for _, b := range unused {
		if err := b.Close(); err != nil {
			g.opts.Logger.Error("close backend", "err", err)
		}
	}
}

// use gives the counters of a version in a role, made when they are new, and forgets those not used for long. s.mu is held.
func (s *slot) use(key seriesKey, bounds []float64) *series {
	var found *series
	s.series = slices.DeleteFunc(s.series, func(x *series) bool {
		if x.key == key {
			found = x
		}
		return x.key == key
	})
	if found == nil {
		found = newSeries(key, bounds)
	}
	s.series = append(s.series, found)
	same := 0
	for i := len(s.series) - 1; i >= 0; i-- {
		if s.series[i].key.role != key.role {
			continue
		}
		if same++; same > keptSeries {
			s.series = slices.Delete(s.series, i, i+1)
		}
	}
	return found
}

// Remove takes a model out of service. Its backends are closed when the requests in flight have ended.
func (g *Gateway) Remove(name string) {
	g.mu.Lock()
	s := (*g.slots.Load())[name]
	if s == nil {
		g.mu.Unlock()
		return
	}
	slots := maps.Clone(*g.slots.Load())
	delete(slots, name)
	g.slots.Store(&slots)
	old := s.route.Swap(nil)
	g.mu.Unlock()
	if old != nil {
		g.release(old)
	}
}
