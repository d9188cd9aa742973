package gateway

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"serin/internal/analysis"
	"serin/internal/model"
	"serin/internal/traffic"
)

// Models that come into service at the same moment must not take each other out of the map.
func TestNewModelsAtOnceAreAllServed(t *testing.T) {
	t.Parallel()
	const n = 16
	for round := range 50 {
		g := newGateway(t, Options{})
		var want []string
		var wg sync.WaitGroup
		begin := make(chan struct{})
		for i := range n {
			name := "m" + strconv.Itoa(100+i)
			want = append(want, name)
			wg.Go(func() {
				<-begin
				g.Swap(name, Route{Table: table(0), Champion: answering(200)})
			})
		}
		close(begin)
		wg.Wait()
		if diff := cmp.Diff(want, g.Models()); diff != "" {
			t.Fatalf("round %d: served (-want +got):\n%s", round, diff)
		}
	}
}

// Whoever wins, each backend that ever was in a route is closed exactly once.
func TestSwapAndRemoveAtOnceCloseEachBackendOnce(t *testing.T) {
	t.Parallel()
	g, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var all []*fake
	next := func() *fake {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, answering(200))
		return all[len(all)-1]
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 300 {
				switch (w + i) % 4 {
				case 0:
					g.Remove(fraud)
				case 1:
					score(g, strconv.Itoa(i))
				default:
					g.Swap(fraud, Route{Table: table(25), Champion: next(), Canary: next(), Warm: []Backend{next()}})
				}
			}
		})
	}
	wg.Wait()
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	for i, f := range all {
		if n := f.closed.Load(); n != 1 {
			t.Fatalf("backend %d of %d was closed %d times", i, len(all), n)
		}
	}
	if len(g.backends) != 0 || len(g.Models()) != 0 {
		t.Errorf("after Close: %d backends, models %v", len(g.backends), g.Models())
	}
}

// A backend that serves two models is closed when the second lets it go.
func TestABackendOfTwoModels(t *testing.T) {
	t.Parallel()
	g := newGateway(t, Options{})
	shared := answering(200)
	g.Swap("a", Route{Table: table(0), Champion: shared})
	g.Swap("b", Route{Table: table(0), Champion: answering(200), Warm: []Backend{shared}})
	g.Remove("a")
	g.Remove("a") // twice is once
	if n := shared.closed.Load(); n != 0 {
		t.Fatalf("closed %d times while model b keeps it warm", n)
	}
	g.Swap("b", Route{Table: table(0), Champion: answering(200)})
	if n := shared.closed.Load(); n != 1 {
		t.Errorf("closed %d times", n)
	}
}

// broken cannot be closed.
type broken struct{ *fake }

func (b broken) Close() error {
	b.closed.Add(1)
	return errors.New("device busy")
}

func TestABackendThatCannotBeClosedHoldsUpNobody(t *testing.T) {
	t.Parallel()
	g := newGateway(t, Options{})
	first, second := &broken{answering(200)}, answering(200)
	g.Swap(fraud, Route{Table: table(0), Champion: first, Warm: []Backend{second}})
	g.Swap(fraud, Route{Table: table(0), Champion: answering(200)})
	if first.closed.Load() != 1 || second.closed.Load() != 1 {
		t.Errorf("closed %d and %d times", first.closed.Load(), second.closed.Load())
	}
	if resp := score(g, "x"); resp.Status != 200 {
		t.Errorf("afterwards: %d", resp.Status)
	}
}

// Metrics and samples are read while requests are counted and routes change; each reading is whole and never goes back.
func TestScrapesUnderLoadNeverGoBack(t *testing.T) {
	t.Parallel()
	g := newGateway(t, Options{})
	champion, canary := answering(200), answering(500)
	g.Swap(fraud, Route{Table: table(25), Champion: champion, Canary: canary})
	var wg sync.WaitGroup
	var stop atomic.Bool
	for w := range 2 {
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				score(g, strconv.Itoa(w*1_000_000+i))
				if i%50 == 0 {
					g.Swap(fraud, Route{Table: table([]float64{5, 25}[i/50%2]), Champion: champion, Canary: canary})
				}
			}
		})
	}
	last := map[analysis.Role]float64{}
	for range 100 {
		for _, role := range []analysis.Role{analysis.RoleChampion, analysis.RoleCanary} {
			l := line(t, g, role)
			all, _ := total(l)
			if all < last[role] {
				t.Fatalf("%s: %v requests after %v", role, all, last[role])
			}
			last[role] = all
			if timed := float64(l.Latency.LE["+Inf"]); timed > all || role == analysis.RoleChampion && timed != all {
				t.Fatalf("%s: %v durations of %v requests", role, timed, all)
			}
		}
		if _, err := g.opts.Registry.Gather(); err != nil {
			t.Fatal(err)
		}
	}
	stop.Store(true)
	wg.Wait()
}

// Each role keeps the counters of its last versions; the other role's are not touched by its changes.
func TestKeptSeriesAreOfEachRole(t *testing.T) {
	t.Parallel()
	s := &slot{}
	bounds := []float64{1}
	first := s.use(seriesKey{traffic.Champion, "1"}, bounds)
	for v := range 3 * keptSeries {
		s.use(seriesKey{traffic.Canary, strconv.Itoa(v)}, bounds)
	}
	if got := s.use(seriesKey{traffic.Champion, "1"}, bounds); got != first {
		t.Error("the champion's counters began anew")
	}
	var kept []string
	for _, x := range s.series {
		if x.key.role == traffic.Canary {
			kept = append(kept, x.key.revision)
		}
	}
	var want []string
	for v := range keptSeries {
		want = append(want, strconv.Itoa(2*keptSeries+v))
	}
	if !slices.Equal(kept, want) {
		t.Errorf("kept %v, want %v", kept, want)
	}
	// The oldest that is used again is the newest, and the next oldest leaves in its place.
	s.use(seriesKey{traffic.Canary, want[0]}, bounds)
	s.use(seriesKey{traffic.Canary, "new"}, bounds)
	if slices.ContainsFunc(s.series, func(x *series) bool { return x.key.revision == want[1] }) {
		t.Errorf("%s is still there", want[1])
	}
	if !slices.ContainsFunc(s.series, func(x *series) bool { return x.key.revision == want[0] }) {
		t.Errorf("%s, used last, is gone", want[0])
	}
}

// The observed share starts again with another weight, and goes on when only the generation or the version changes.
func TestObservedShareIsOfThePresentWeight(t *testing.T) {
	t.Parallel()
	g := newGateway(t, Options{})
	champion, canary := answering(200), answering(200)
	swap := func(pct float64, version string, generation int64) {
		tab := table(pct)
		tab.Generation = generation
		tab.Canary.Pin = model.Pin{Version: version}
		g.Swap(fraud, Route{Table: tab, Champion: champion, Canary: canary})
	}
	swap(25, "41", 1)
	s := g.find(fraud)
	if got := s.observed(); got == got {
		t.Errorf("without requests: %v, want NaN", got)
	}
	for i := range 3 {
		score(g, keyOf(traffic.Champion, 25, i))
	}
	score(g, keyOf(traffic.Canary, 25, 0))
	swap(25, "42", 2)
	if got := s.observed(); got != 25 {
		t.Errorf("the same weight: %v, want 25", got)
	}
	swap(50, "42", 3)
	if got := s.observed(); got == got {
		t.Errorf("another weight: %v, want NaN", got)
	}
}

// A request that comes while its model is taken out of service is answered, and never by a closed backend.
func TestRequestsAroundARemoval(t *testing.T) {
	t.Parallel()
	g := newGateway(t, Options{})
	var late atomic.Int64
	for range 60 {
		var closed atomic.Bool
		sc := scorerFunc(func(_ context.Context, _ string, _, out []byte) ([]byte, error) {
			if closed.Load() {
				late.Add(1)
			}
			return append(out, "{}"...), nil
		})
		g.Swap(fraud, Route{Table: table(0), Champion: NewInProcess(sc, func() error { closed.Store(true); return nil })})
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				if resp := score(g, strconv.Itoa(i)); resp.Status != 200 && resp.Status != 404 {
					t.Errorf("status %d: %s", resp.Status, resp.Body)
				}
			})
		}
		g.Remove(fraud)
		wg.Wait()
		if !closed.Load() {
			t.Fatal("the backend is still open")
		}
	}
	if n := late.Load(); n != 0 {
		t.Errorf("%d requests reached a closed backend", n)
	}
}

// scorerFunc is an InProcessScorer.
type scorerFunc func(ctx context.Context, contentType string, body, out []byte) ([]byte, error)

func (f scorerFunc) ScorePayload(ctx context.Context, contentType string, body, out []byte) ([]byte, error) {
	return f(ctx, contentType, body, out)
}
