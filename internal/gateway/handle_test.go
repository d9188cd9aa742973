package gateway

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"serin/internal/analysis"
	"serin/internal/traffic"
)

func TestWhatIsCounted(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name             string
		champion, canary *fake
		failover         Failover
		role             traffic.Role
		status           int
		servedBy         traffic.Role
		champ, can       string // counts of either role
		rescues          uint64
		unrescued        uint64
	}{
		{"champion", answering(200), answering(200), "", traffic.Champion, 200, traffic.Champion, "200:1", "", 0, 0},
		{"canary", answering(200), answering(200), "", traffic.Canary, 200, traffic.Canary, "", "200:1", 0, 0},
		{"canary 500", answering(200), answering(500), "", traffic.Canary, 200, traffic.Champion, "", "500:1", 1, 0},
		{"canary silent", answering(200), silent(ReasonBroken), "", traffic.Canary, 200, traffic.Champion, "", "502:1", 1, 0},
		{"canary late", answering(200), silent(ReasonTimeout), "", traffic.Canary, 200, traffic.Champion, "", "504:1", 1, 0},
		{"canary busy", answering(200), answering(429), "", traffic.Canary, 200, traffic.Champion, "", "429:1", 1, 0},
		{"canary says bad payload", answering(200), answering(400), "", traffic.Canary, 400, traffic.Canary, "", "400:1", 0, 0},
		{"canary has no such path", answering(200), answering(404), "", traffic.Canary, 404, traffic.Canary, "", "404:1", 0, 0},
		{"both fail", answering(503), answering(500), "", traffic.Canary, 503, traffic.Champion, "", "500:1", 1, 1},
		{"both silent", silent(ReasonTimeout), silent(ReasonConnect), "", traffic.Canary, 504, traffic.Champion, "", "502:1", 1, 1},
		{"failover off", answering(200), answering(500), FailoverOff, traffic.Canary, 500, traffic.Canary, "", "500:1", 0, 0},
		{"failover off, silent", answering(200), silent(ReasonBroken), FailoverOff, traffic.Canary, 502, traffic.Canary, "", "502:1", 0, 0},
		{"champion fails", answering(500), answering(200), "", traffic.Champion, 500, traffic.Champion, "500:1", "", 0, 0},
		{"champion silent", silent(ReasonConnect), answering(200), "", traffic.Champion, 502, traffic.Champion, "502:1", "", 0, 0},
		{"no end to the answer", answering(200), answering(101), "", traffic.Canary, 200, traffic.Champion, "", "502:1", 1, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, Options{})
			g.Swap(fraud, Route{Table: table(25), Champion: tt.champion, Canary: tt.canary, Failover: tt.failover})
			resp := score(g, keyOf(tt.role, 25, 0))
			if resp.Status != tt.status || resp.ServedBy != tt.servedBy {
				t.Errorf("status %d by %s, want %d by %s: %s", resp.Status, resp.ServedBy, tt.status, tt.servedBy, resp.Body)
			}
			if want := map[traffic.Role]string{traffic.Champion: "40", traffic.Canary: "41"}[tt.servedBy]; resp.Version != want {
				t.Errorf("version %s, want %s", resp.Version, want)
			}
			if champ, can := statuses(t, g, analysis.RoleChampion), statuses(t, g, analysis.RoleCanary); champ != tt.champ || can != tt.can {
				t.Errorf("counted champion %q canary %q, want %q and %q", champ, can, tt.champ, tt.can)
			}
			s := g.find(fraud)
			if s.rescues.Load() != tt.rescues || s.rescueFailures.Load() != tt.unrescued {
				t.Errorf("rescues %d, failed %d; want %d, %d", s.rescues.Load(), s.rescueFailures.Load(), tt.rescues, tt.unrescued)
			}
		})
	}
}

func TestAttemptNumberAndDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen []int
		var left []time.Duration
		note := func(req *Request) {
			seen, left = append(seen, req.Attempt), append(left, time.Until(req.Deadline))
		}
		hang := &fake{do: func(ctx context.Context, req *Request, _ *Response) error {
			note(req)
			ctx, cancel := context.WithDeadline(ctx, req.Deadline)
			defer cancel()
			<-ctx.Done()
			return &NoAnswer{ReasonTimeout, ctx.Err()}
		}}
		champion := &fake{do: func(_ context.Context, req *Request, resp *Response) error {
			note(req)
			resp.Status = 200
			return nil
		}}
		g := newGateway(t, Options{Limits: Limits{Canary: 400 * time.Millisecond, Champion: 2 * time.Second, Request: time.Second}})
		g.Swap(fraud, Route{Table: table(25), Champion: champion, Canary: hang})
		begin := time.Now()
		if resp := score(g, keyOf(traffic.Canary, 25, 0)); resp.Status != 200 {
			t.Errorf("status %d", resp.Status)
		}
		if took := time.Since(begin); took != 400*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if seen[0] != 1 || seen[1] != 2 || left[0] != 400*time.Millisecond || left[1] != 600*time.Millisecond {
			t.Errorf("attempts %v with %v left", seen, left)
		}
		l := line(t, g, analysis.RoleCanary)
		if l.Latency.LE["0.25"] != 0 || l.Latency.LE["0.5"] != 1 || l.Latency.Sum != 0.4 {
			t.Errorf("the canary's attempt is timed as %v", l.Latency)
		}
	})
}

func TestBreakerDivertsAndIsCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		canary := answering(500)
		g := newGateway(t, Options{})
		g.Swap(fraud, Route{Table: table(25), Champion: answering(200), Canary: canary})
		for i := range 20 {
			if resp := score(g, keyOf(traffic.Canary, 25, i)); resp.Status != 200 || resp.ServedBy != traffic.Champion {
				t.Fatalf("request %d: %d by %s", i, resp.Status, resp.ServedBy)
			}
		}
		if n := canary.calls.Load(); n != 5 {
			t.Errorf("%d requests reached the canary, want 5", n)
		}
		if got := statuses(t, g, analysis.RoleCanary); got != "500:5 503:15" {
			t.Errorf("counted %q", got)
		}
		if n := line(t, g, analysis.RoleCanary).Latency.LE["+Inf"]; n != 5 {
			t.Errorf("%v durations, want those of the 5 attempts", n)
		}
		<-time.After(2 * time.Second) // virtual: one probe, which fails
		score(g, keyOf(traffic.Canary, 25, 0))
		score(g, keyOf(traffic.Canary, 25, 0))
		if n := canary.calls.Load(); n != 6 {
			t.Errorf("%d requests after the pause, want one probe", n-5)
		}
		canary.do = answering(200).do
		<-time.After(2 * time.Second)
		for i := range 3 {
			if resp := score(g, keyOf(traffic.Canary, 25, i)); resp.ServedBy != traffic.Canary {
				t.Errorf("request %d after the canary recovered: by %s", i, resp.ServedBy)
			}
		}
		// Another weight for the same canary is no new start for its breaker.
		canary.do = answering(500).do
		for i := range 4 {
			score(g, keyOf(traffic.Canary, 25, i))
		}
		g.Swap(fraud, Route{Table: table(50), Champion: answering(200), Canary: canary})
		before := canary.calls.Load()
		for i := range 3 {
			score(g, keyOf(traffic.Canary, 25, i))
		}
		if n := canary.calls.Load() - before; n != 1 {
			t.Errorf("%d requests after a change of weight, want the fifth failure only", n)
		}
	})
}

func TestPoisonIsNotTheCanarysFault(t *testing.T) {
	t.Parallel()
	g := newGateway(t, Options{})
	canary := answering(500)
	g.Swap(fraud, Route{Table: table(25), Champion: answering(500), Canary: canary})
	for i := range 12 {
		score(g, keyOf(traffic.Canary, 25, i))
	}
	if n := canary.calls.Load(); n != 12 {
		t.Errorf("the breaker opened after %d requests that failed on both", n)
	}
	if got := statuses(t, g, analysis.RoleCanary); got != "500:12" {
		t.Errorf("counted %q", got)
	}
}

func TestBulkhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		let := make(chan struct{})
		canary := &fake{do: func(_ context.Context, _ *Request, resp *Response) error {
			<-let
			resp.Status = 200
			return nil
		}}
		g := newGateway(t, Options{Limits: Limits{CanaryInFlight: 3}})
		g.Swap(fraud, Route{Table: table(25), Champion: answering(200), Canary: canary})
		done := make(chan *Response, 10)
		for i := range 10 {
			go func() { done <- score(g, keyOf(traffic.Canary, 25, i)) }()
		}
		synctest.Wait()
		if canary.calls.Load() != 3 || len(done) != 7 {
			t.Errorf("%d wait for the canary, %d were answered", canary.calls.Load(), len(done))
		}
		close(let)
		for range 10 {
			if resp := <-done; resp.Status != 200 {
				t.Errorf("status %d", resp.Status)
			}
		}
		if got := statuses(t, g, analysis.RoleCanary); got != "200:3 503:7" {
			t.Errorf("counted %q", got)
		}
		if resp := score(g, keyOf(traffic.Canary, 25, 0)); resp.ServedBy != traffic.Canary {
			t.Errorf("afterwards served by %s", resp.ServedBy)
		}
	})
}

func TestKeysAndPolicies(t *testing.T) {
	t.Parallel()
	const pct = 25
	inBody := func(key string) []byte { return []byte(`{"customer": "` + key + `", "inputs": [[1]]}`) }
	canaryKey, championKey := keyOf(traffic.Canary, pct, 0), keyOf(traffic.Champion, pct, 0)
	tests := []struct {
		name    string
		keys    Keys
		header  []Header
		body    []byte
		want    traffic.Role // empty: either
		missing uint64
	}{
		{"header", Keys{}, []Header{{[]byte("X-CUSTOMER-id"), []byte(canaryKey)}}, nil, traffic.Canary, 0},
		{"other header", Keys{Header: "X-User"}, []Header{{[]byte("X-User"), []byte(canaryKey)}}, nil, traffic.Canary, 0},
		{"field", Keys{Field: "customer"}, nil, inBody(canaryKey), traffic.Canary, 0},
		{"header before field", Keys{Field: "customer"}, []Header{{[]byte("X-Customer-Id"), []byte(championKey)}}, inBody(canaryKey), traffic.Champion, 0},
		{"empty header, then field", Keys{Field: "customer"}, []Header{{[]byte("X-Customer-Id"), nil}}, inBody(canaryKey), traffic.Canary, 0},
		{"none", Keys{}, nil, inBody(canaryKey), traffic.Champion, 1},
		{"none, random", Keys{Missing: MissingRandom}, nil, nil, "", 1},
		{"random for all", Keys{By: ByRandom}, []Header{{[]byte("X-Customer-Id"), []byte(championKey)}}, nil, "", 0},
	}
	for _, tt := range tests {
		g := newGateway(t, Options{})
		g.Swap(fraud, Route{Table: table(pct), Champion: answering(200), Canary: answering(200), Keys: &tt.keys})
		const n = 400
		canary := 0
		for range n {
			req := &Request{Method: http.MethodPost, Path: invocations, Header: tt.header, Body: tt.body}
			resp := &Response{}
			g.Handle(t.Context(), req, resp)
			if resp.ServedBy == traffic.Canary {
				canary++
			}
		}
		want := map[traffic.Role][2]int{traffic.Canary: {n, n}, traffic.Champion: {0, 0}, "": {n / 10, n / 2}}[tt.want]
		if canary < want[0] || canary > want[1] {
			t.Errorf("%s: %d of %d to the canary", tt.name, canary, n)
		}
		if got := g.find(fraud).keyMissing.Load(); got != tt.missing*n {
			t.Errorf("%s: %d keys missing, want %d", tt.name, got, tt.missing*n)
		}
	}
}

func TestOverride(t *testing.T) {
	t.Parallel()
	always, never := Header{[]byte("X-Canary"), []byte("always")}, Header{[]byte("x-canary"), []byte("Never")}
	canaryKey, championKey := keyOf(traffic.Canary, 25, 0), keyOf(traffic.Champion, 25, 0)

	off := newGateway(t, Options{})
	off.Swap(fraud, Route{Table: table(25), Champion: answering(200), Canary: answering(200)})
	if resp := score(off, championKey, always); resp.ServedBy != traffic.Champion {
		t.Errorf("switched off: served by %s", resp.ServedBy)
	}

	on := newGateway(t, Options{Override: OverrideOn})
	on.Swap(fraud, Route{Table: table(25), Champion: answering(200), Canary: answering(500)})
	if resp := score(on, championKey, always); resp.ServedBy != traffic.Canary || resp.Status != 500 {
		t.Errorf("always: %d by %s", resp.Status, resp.ServedBy)
	}
	if resp := score(on, canaryKey, never); resp.ServedBy != traffic.Champion || resp.Status != 200 {
		t.Errorf("never: %d by %s", resp.Status, resp.ServedBy)
	}
	s := on.find(fraud)
	if s.forcedCanary.Load() != 1 || s.forcedChampion.Load() != 1 || s.rescues.Load() != 0 {
		t.Errorf("forced %d and %d, rescues %d", s.forcedCanary.Load(), s.forcedChampion.Load(), s.rescues.Load())
	}
	if got := statuses(t, on, analysis.RoleCanary) + statuses(t, on, analysis.RoleChampion); got != "" {
		t.Errorf("forced requests are counted as %q", got)
	}
}

func TestLeaseExpiry(t *testing.T) {
	t.Parallel()
	for lost, after := range map[Lost]traffic.Role{LostChampion: traffic.Champion, LostKeep: traffic.Canary} {
		synctest.Test(t, func(t *testing.T) {
			g := newGateway(t, Options{OnControllerLost: lost})
			tab := table(25)
			tab.LeaseUntil = time.Now().Add(2 * time.Minute)
			g.Swap(fraud, Route{Table: tab, Champion: answering(200), Canary: answering(200)})
			key := keyOf(traffic.Canary, 25, 0)
			<-time.After(2*time.Minute + traffic.LeaseGrace)
			if resp := score(g, key); resp.ServedBy != traffic.Canary {
				t.Errorf("%s: within the grace served by %s", lost, resp.ServedBy)
			}
			<-time.After(time.Second)
			if resp := score(g, key); resp.ServedBy != after {
				t.Errorf("%s: after the grace served by %s", lost, resp.ServedBy)
			}
			lines, err := g.Scrape(t.Context(), fraud, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if want := map[Lost]float64{LostChampion: 0, LostKeep: 25}[lost]; lines[0].WeightPct != want {
				t.Errorf("%s: weight %v, want %v", lost, lines[0].WeightPct, want)
			}
			tab.LeaseUntil = time.Now().Add(time.Minute)
			g.Swap(fraud, Route{Table: tab, Champion: answering(200), Canary: answering(200)})
			if resp := score(g, key); resp.ServedBy != traffic.Canary {
				t.Errorf("%s: after a new lease served by %s", lost, resp.ServedBy)
			}
		})
	}
}

func TestNobodyToAnswer(t *testing.T) {
	t.Parallel()
	g := newGateway(t, Options{})
	if resp := score(g, "x"); resp.Status != 404 || resp.ServedBy != "" {
		t.Errorf("no model: %d %s", resp.Status, resp.Body)
	}
	g.Swap(fraud, Route{Table: table(0)})
	if resp := score(g, "x"); resp.Status != 503 || !strings.Contains(string(resp.Body), "has no champion") || resp.ServedBy != "" {
		t.Errorf("no champion: %d %s", resp.Status, resp.Body)
	}
	g.Swap(fraud, Route{Table: table(25), Champion: answering(200)})
	if resp := score(g, keyOf(traffic.Canary, 25, 0)); resp.Status != 200 || resp.ServedBy != traffic.Champion {
		t.Errorf("a table whose canary is not loaded: %d by %s", resp.Status, resp.ServedBy)
	}
	g.Swap("second", Route{Table: table(0), Champion: answering(200)})
	if resp := score(g, "x"); resp.Status != 404 {
		t.Errorf("two models and no name: %d", resp.Status)
	}
	if resp := score(g, "x"); !strings.Contains(string(resp.Body), "/models/NAME/invocations") {
		t.Errorf("two models and no name: %s", resp.Body)
	}
	g.Remove("second")
	if resp := score(g, "x"); resp.Status != 200 {
		t.Errorf("one model again: %d", resp.Status)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{
		{Failover: "maybe"},
		{Override: "x"},
		{OnControllerLost: "x"},
		{Keys: Keys{By: "x"}},
		{Keys: Keys{Missing: "x"}},
		{Buckets: []float64{1, 1}},
		{Buckets: []float64{0}},
		{Limits: Limits{Canary: -1}},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}
