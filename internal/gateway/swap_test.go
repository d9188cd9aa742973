package gateway

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"serin/internal/analysis"
	"serin/internal/model"
	"serin/internal/traffic"
)

func TestBackendsCloseAfterTheirLastRequest(t *testing.T) {
	t.Parallel()
	g := newGateway(t, Options{})
	entered, let := make(chan struct{}), make(chan struct{})
	champion, second := answering(200), answering(200)
	canary := &fake{do: func(_ context.Context, _ *Request, resp *Response) error {
		close(entered)
		<-let
		resp.Status = 200
		return nil
	}}
	g.Swap(fraud, Route{Table: table(25), Champion: champion, Canary: canary})
	done := make(chan *Response)
	go func() { done <- score(g, keyOf(traffic.Canary, 25, 0)) }()
	<-entered
	g.Swap(fraud, Route{Table: table(0), Champion: champion})
	g.Swap(fraud, Route{Table: table(0), Champion: second, Warm: []Backend{champion}})
	if canary.closed.Load() != 0 {
		t.Error("the canary was closed under its request")
	}
	close(let)
	if resp := <-done; resp.Status != 200 || resp.ServedBy != traffic.Canary {
		t.Errorf("the request in flight: %d by %s", resp.Status, resp.ServedBy)
	}
	if canary.closed.Load() != 1 || champion.closed.Load() != 0 {
		t.Errorf("closed canary %d, warm champion %d times", canary.closed.Load(), champion.closed.Load())
	}
	g.Remove(fraud)
	if champion.closed.Load() != 1 || second.closed.Load() != 1 {
		t.Errorf("closed after removal: %d and %d times", champion.closed.Load(), second.closed.Load())
	}
	if len(g.backends) != 0 {
		t.Errorf("%d backends are still held", len(g.backends))
	}
}

// Promotion makes the canary's slot champion; both stay open, and each has the counters of its role.
func TestRolesMoveBetweenSlots(t *testing.T) {
	t.Parallel()
	g := newGateway(t, Options{})
	a, b := answering(200), answering(200)
	g.Swap(fraud, Route{Table: table(25), Champion: a, Canary: b})
	score(g, keyOf(traffic.Canary, 25, 0))
	promoted := table(0)
	promoted.Champion = traffic.Side{Pin: model.Pin{Version: "41"}}
	g.Swap(fraud, Route{Table: promoted, Champion: b, Warm: []Backend{a}})
	if resp := score(g, "any"); resp.ServedBy != traffic.Champion || resp.Version != "41" {
		t.Errorf("served by %s %s", resp.ServedBy, resp.Version)
	}
	if l := line(t, g, analysis.RoleChampion); l.Revision != "41" || l.Requests["200"] != 1 {
		t.Errorf("champion's line %+v", l)
	}
	if l := line(t, g, analysis.RoleCanary); l.Revision != "41" || l.Requests["200"] != 1 || l.WeightPct != 0 {
		t.Errorf("canary's line %+v", l)
	}
	if a.closed.Load()+b.closed.Load() != 0 {
		t.Error("a slot was closed")
	}
}

func TestSwapUnderLoad(t *testing.T) {
	t.Parallel()
	g := newGateway(t, Options{})
	champion := answering(200)
	route := func(i int) Route {
		tab := table([]float64{5, 25, 0}[i%3])
		tab.Generation = int64(i)
		return Route{Table: tab, Champion: champion, Canary: answering(200)}
	}
	g.Swap(fraud, route(0))
	var sent, bad atomic.Int64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				sent.Add(1)
				if resp := score(g, strconv.Itoa(w*1_000_000+i)); resp.Status != 200 {
					bad.Add(1)
				}
			}
		})
	}
	for i := range 2000 {
		g.Swap(fraud, route(i))
		for sent.Load() < int64(i) { // the load keeps up with the swaps
		}
	}
	close(stop)
	wg.Wait()
	champ, _ := total(line(t, g, analysis.RoleChampion))
	can, _ := total(line(t, g, analysis.RoleCanary))
	if bad.Load() != 0 || int64(champ+can) != sent.Load() {
		t.Errorf("%d sent, %d bad, counted %v + %v", sent.Load(), bad.Load(), champ, can)
	}
	t.Logf("%d requests over 2,000 swaps", sent.Load())
}

func TestNobodyFlipsAtOneWeight(t *testing.T) {
	t.Parallel()
	g := newGateway(t, Options{})
	champion, canary := answering(200), answering(200)
	side := map[string]traffic.Role{}
	for round, pct := range []float64{5, 5, 5, 25, 25, 50} {
		tab := table(pct)
		tab.Generation = int64(round)
		g.Swap(fraud, Route{Table: tab, Champion: champion, Canary: canary})
		for i := range 2000 {
			key := strconv.Itoa(i)
			got := score(g, key).ServedBy
			if was := side[key]; was == traffic.Canary && got != was {
				t.Fatalf("customer %s left the canary at %v %%", key, pct)
			} else if round < 3 && was != "" && got != was {
				t.Fatalf("customer %s flipped at %v %%", key, pct)
			}
			side[key] = got
		}
	}
}

func TestOldCountersLeave(t *testing.T) {
	t.Parallel()
	g := newGateway(t, Options{})
	champion := answering(200)
	for v := range 30 {
		tab := table(25)
		tab.Canary = &traffic.Side{Pin: model.Pin{Version: strconv.Itoa(v)}}
		g.Swap(fraud, Route{Table: tab, Champion: champion, Canary: answering(200)})
		score(g, keyOf(traffic.Champion, 25, 0))
	}
	s := g.find(fraud)
	if len(s.series) != keptSeries+1 {
		t.Errorf("%d series", len(s.series))
	}
	if got := statuses(t, g, analysis.RoleChampion); got != "200:30" {
		t.Errorf("the champion, in use all the time, counts %q", got)
	}
}
