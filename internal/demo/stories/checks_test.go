package stories

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/analysis"
	"serin/internal/api"
	"serin/internal/model"
	"serin/internal/rollout"
	"serin/internal/traffic"
)

// salt is that of the rollouts here.
const salt = "01SALT"

func byBucket(weight float64) func(string) side {
	set := traffic.Percent(weight)
	return func(customer string) side {
		if set.Has(traffic.Bucket(salt, customer)) {
			return onCanary
		}
		return onChampion
	}
}

// oneOrTwo is a rollout of version 2 over version 1.
func oneOrTwo(phase rollout.Phase) api.Rollout {
	return api.Rollout{ID: "r1", Phase: phase, Champion: model.Pin{Version: "1"}, Challenger: model.Pin{Version: "2"}}
}

// wantFaults holds the faults of a story against the beginnings of those that are wanted.
func wantFaults(t *testing.T, got []string, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("faults %q, want %q", got, want)
		return
	}
	for i := range got {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("fault %q, want %q", got[i], want[i])
		}
	}
}

func TestCounters(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	g.page = fmt.Sprintf(`# TYPE http_requests_total counter
http_requests_total{model=%[1]q,version="canary",revision="2",status="200"} 7
http_requests_total{model=%[1]q,version="canary",revision="2",status="500"} 2
http_requests_total{model=%[1]q,version="champion",revision="1",status="200"} 40
http_requests_total{model=%[1]q,version="champion",revision="2",status="200"} 0
http_requests_total{model="another",version="champion",revision="1",status="200"} 999
# TYPE serin_gateway_rescues_total counter
serin_gateway_rescues_total{model=%[1]q} 2
serin_gateway_rescues_total{model="another"} 50
# TYPE other_total counter
other_total{model=%[1]q} 3
`, cards)
	tl, _ := newTelling(t, g, nil)
	got, err := tl.counters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int64{"canary 2": 9, "champion 1": 40}, got.requests); diff != "" || got.rescues != 2 {
		t.Errorf("%d rescues, requests (-want +got)\n%s", got.rescues, diff)
	}
	g.change(func() { g.broken = true })
	if _, err := tl.counters(t.Context()); !errors.Is(err, errCounts) {
		t.Errorf("error %v", err)
	}
	tl.gateway = "no URL"
	if _, err := tl.counters(t.Context()); !errors.Is(err, errCounts) {
		t.Errorf("error %v", err)
	}
}

func TestStored(t *testing.T) {
	t.Parallel()
	sample := func(role analysis.Role, revision, instance string, requests map[string]analysis.Number) analysis.Sample {
		return analysis.Sample{Role: role, Revision: revision, Instance: instance, Requests: requests}
	}
	a := newAPI(t)
	a.samples = func() []analysis.Scrape {
		return []analysis.Scrape{
			{Samples: []analysis.Sample{sample("champion", "1", "gw", map[string]analysis.Number{"200": 10}), sample("canary", "2", "gw", map[string]analysis.Number{"200": 1})}},
			{Samples: []analysis.Sample{sample("champion", "1", "gw", map[string]analysis.Number{"200": 20, "503": 2}), sample("champion", "1", embedded, map[string]analysis.Number{"200": 900})}},
			{Err: "the gateway did not answer", Samples: []analysis.Sample{sample("champion", "1", "gw", nil), sample("champion", "9", "gw", map[string]analysis.Number{"200": 0})}},
		}
	}
	tl, _ := newTelling(t, nil, a)
	got, err := tl.stored(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int64{"champion 1": 22, "canary 2": 1}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	tl.client, _ = api.NewClient(api.ClientOptions{URL: "http://127.0.0.1:1"})
	if _, err := tl.stored(t.Context()); !errors.Is(err, errCounts) || !errors.Is(err, api.ErrUnreachable) {
		t.Errorf("error %v", err)
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name          string
		before, after counters
		want          map[string]int64
	}{
		{"first story", counters{}, counters{requests: map[string]int64{"canary 2": 10, "champion 1": 90}}, map[string]int64{"2": 10, "1": 90}},
		{"promoted meanwhile", counters{}, counters{requests: map[string]int64{"canary 2": 10, "champion 2": 5, "champion 1": 90}}, map[string]int64{"2": 15, "1": 90}},
		{
			"a story before",
			counters{requests: map[string]int64{"canary 2": 10, "champion 1": 90, "champion 7": 3}},
			counters{requests: map[string]int64{"canary 2": 14, "champion 1": 190, "champion 7": 3}},
			map[string]int64{"2": 4, "1": 100},
		},
		{"rescues", counters{}, counters{requests: map[string]int64{"canary 2": 10, "champion 1": 90}, rescues: 3}, map[string]int64{"2": 7, "1": 93}},
		{
			"rescues before",
			counters{requests: map[string]int64{"canary 2": 10}, rescues: 3},
			counters{requests: map[string]int64{"canary 2": 15}, rescues: 4},
			map[string]int64{"2": 4, "1": 1},
		},
		{"nothing", counters{}, counters{}, map[string]int64{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tl := &telling{before: tt.before}
			if diff := cmp.Diff(tt.want, tl.answers(tt.after, oneOrTwo(rollout.Succeeded))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// Customers, gateway and samples are real here, but for the lie that is planted in one of them.
func TestReconcile(t *testing.T) {
	t.Parallel()
	failsOften := func(customer string) side {
		if s := byBucket(25)(customer); s.role == "champion" || strings.HasSuffix(customer, "7") {
			return s
		}
		return rescued
	}
	tests := []struct {
		name  string
		sides func(string) side
		lie   func(*telling, *fakeGateway, *fakeAPI)
		want  []string
	}{
		{"all agree", byBucket(25), nil, nil},
		{"all agree, with rescues", failsOften, nil, nil},
		{
			"a sample is missing", byBucket(25),
			func(_ *telling, g *fakeGateway, a *fakeAPI) {
				a.samples = func() []analysis.Scrape { return g.samples()[:1] }
			},
			[]string{"the gateway counted ", "the gateway counted "},
		},
		{
			"samples of a version that never was", byBucket(25),
			func(_ *telling, g *fakeGateway, a *fakeAPI) {
				a.samples = func() []analysis.Scrape {
					ghost := analysis.Sample{Role: "canary", Revision: "9", Instance: "gw", Requests: map[string]analysis.Number{"200": 4}}
					return append(g.samples(), analysis.Scrape{Samples: []analysis.Sample{ghost}})
				}
			},
			[]string{"the gateway counted 0 requests of canary 9, the samples hold 4"},
		},
		{
			"a rescue that is not counted", failsOften,
			func(_ *telling, g *fakeGateway, _ *fakeAPI) { g.change(func() { g.rescues-- }) },
			[]string{"customers got ", "customers got "},
		},
		{
			"a request that no customer sent", byBucket(25),
			func(_ *telling, g *fakeGateway, _ *fakeAPI) { g.change(func() { g.counted["champion 1"]++ }) },
			[]string{"customers got "},
		},
		{
			"a version that no counter knows", byBucket(25),
			func(_ *telling, g *fakeGateway, _ *fakeAPI) { g.change(func() { delete(g.counted, "canary 2") }) },
			[]string{"customers got ", "the canary got 0 requests"},
		},
		{
			"a rejected challenger that met customers", byBucket(25),
			func(tl *telling, _ *fakeGateway, _ *fakeAPI) { tl.story.wanted = rollout.Rejected },
			[]string{"the canary got "},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g, a := newGateway(t, tt.sides), newAPI(t)
			a.samples = g.samples
			tl, told := newTelling(t, g, a)
			playing(t, tl, 300)()
			if tt.lie != nil {
				tt.lie(tl, g, a)
			}
			if err := tl.reconcile(t.Context(), oneOrTwo(rollout.Succeeded)); err != nil {
				t.Fatal(err)
			}
			wantFaults(t, tl.out.Faults, tt.want...)
			if agree := strings.Contains(told.String(), "counts agree"); agree != (tt.want == nil) {
				t.Errorf("told\n%s", told)
			}
			if g.change(func() {}); tl.out.CanaryRequests != g.counted["canary 2"] {
				t.Errorf("%d canary requests, the gateway had %d", tl.out.CanaryRequests, g.counted["canary 2"])
			}
		})
	}
}

// A sampler is a tick or two behind: that is no fault.
func TestReconcile_WaitsForTheSamples(t *testing.T) {
	t.Parallel()
	g, a := newGateway(t, byBucket(25)), newAPI(t)
	asked := 0
	a.samples = func() []analysis.Scrape {
		if asked++; asked < 3 {
			return g.samples()[:1]
		}
		return g.samples()
	}
	tl, _ := newTelling(t, g, a)
	tl.samplesWithin = 0 // the demo's own patience
	playing(t, tl, 100)()
	if err := tl.reconcile(t.Context(), oneOrTwo(rollout.Succeeded)); err != nil || asked != 3 {
		t.Errorf("asked %d times, %v", asked, err)
	}
	wantFaults(t, tl.out.Faults)
}

func TestReconcile_SourcesThatAreGone(t *testing.T) {
	t.Parallel()
	g, a := newGateway(t, byBucket(25)), newAPI(t)
	a.samples = func() []analysis.Scrape { return nil }
	tl, _ := newTelling(t, g, a)
	playing(t, tl, 10)()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tl.reconcile(ctx, oneOrTwo(rollout.Succeeded)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	g.change(func() { g.broken = true })
	if err := tl.reconcile(t.Context(), oneOrTwo(rollout.Succeeded)); !errors.Is(err, errCounts) {
		t.Errorf("error %v", err)
	}
}

// half is a rollout in the middle of the bake at 25 %.
func half() api.Rollout {
	r := oneOrTwo(rollout.Progressing)
	r.WeightPct, r.BakeFor, r.Task = 25, "15s", "monitor_25_percent"
	r.Judgement = &analysis.Judgement{Covered: 8 * time.Second}
	return r
}

func TestCheckShare_PlantedCustomers(t *testing.T) {
	t.Parallel()
	right := byBucket(25)
	tests := []struct {
		name  string
		sides func(string) side
		want  []string
	}{
		{"all are where their bucket is", right, nil},
		{"one is on the canary whose bucket is not", func(c string) side {
			if c == "customer-0001" && right(c).role == "champion" || right(c).role == "canary" {
				return onCanary
			}
			return onChampion
		}, []string{"1 customers are on the canary whose bucket is the champion's, such as customer-0001"}},
		{"the wrong ones, as many as right", func(c string) side {
			if byBucket(50)(c).role == "canary" && right(c).role == "champion" {
				return onCanary
			}
			return onChampion
		}, []string{""}},
		{"all are on the canary", func(string) side { return onCanary }, []string{""}},
		{"nobody is on the canary", func(string) side { return onChampion }, []string{"0 customers are on the canary, "}},
		{"all of the canary's were rescued", func(c string) side {
			if right(c).role == "canary" {
				return rescued
			}
			return onChampion
		}, []string{"0 customers are on the canary, "}},
	}
	if right("customer-0001").role != "champion" {
		t.Fatal("customer-0001 is of no use here: take another")
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			a.state.Salt = salt
			tl, told := newTelling(t, newGateway(t, tt.sides), a)
			playing(t, tl, 400)()
			if err := tl.checkShare(t.Context(), half()); err != nil {
				t.Fatal(err)
			}
			wantFaults(t, tl.out.Faults, tt.want...)
			if !strings.Contains(told.String(), " are on the canary, ") {
				t.Errorf("told\n%s", told)
			}
		})
	}
}

// A share is looked at once a weight, in the middle of its bake, while the canary has traffic.
func TestCheckShare_When(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*telling, *api.Rollout)
		want   bool
	}{
		{"in the middle", func(*telling, *api.Rollout) {}, true},
		{"too early", func(_ *telling, r *api.Rollout) { r.Judgement.Covered = 7 * time.Second }, false},
		{"not judged yet", func(_ *telling, r *api.Rollout) { r.Judgement = nil }, false},
		{"without a canary", func(_ *telling, r *api.Rollout) { r.WeightPct = 0 }, false},
		{"a second time", func(tl *telling, _ *api.Rollout) { tl.shares[25] = true }, false},
		{"another weight", func(tl *telling, _ *api.Rollout) { tl.shares[5] = true }, true},
		{"after the bake", func(_ *telling, r *api.Rollout) { r.Judgement.BakeDone = true }, false},
		{"after the end", func(_ *telling, r *api.Rollout) { r.Phase = rollout.RolledBack }, false},
		{"the promotion has no bake", func(_ *telling, r *api.Rollout) { r.BakeFor = "0s" }, false},
		{"no stage", func(_ *telling, r *api.Rollout) { r.BakeFor = "" }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			a.state.Salt = salt
			tl, told := newTelling(t, newGateway(t, byBucket(25)), a)
			playing(t, tl, 1)()
			r := half()
			tt.change(tl, &r)
			if err := tl.checkShare(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(told.String(), "99.9 % band"); got != tt.want {
				t.Errorf("told %v: %s", got, told)
			}
		})
	}
}

func TestCheckShare_Refusals(t *testing.T) {
	t.Parallel()
	tl, _ := newTelling(t, nil, nil)
	r := half()
	r.BakeFor = "soon"
	if err := tl.checkShare(t.Context(), r); err == nil || !strings.HasPrefix(err.Error(), "rollout r1 has weight 25 without a bake: ") {
		t.Errorf("error %v", err)
	}
	tl.client, _ = api.NewClient(api.ClientOptions{URL: "http://127.0.0.1:1"})
	if err := tl.checkShare(t.Context(), half()); !errors.Is(err, api.ErrUnreachable) {
		t.Errorf("error %v", err)
	}
}

func TestCheckBack(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		phase rollout.Phase
		sides func(string) side
		want  []string
	}{
		{"nobody meets the canary", rollout.RolledBack, byBucket(0), nil},
		{"some still do", rollout.RolledBack, byBucket(25), []string{"after the rollback "}},
		{"of a promotion nobody asks", rollout.Succeeded, byBucket(25), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tl, _ := newTelling(t, newGateway(t, tt.sides), nil)
			playing(t, tl, 50)
			if err := tl.checkBack(t.Context(), oneOrTwo(tt.phase)); err != nil {
				t.Fatal(err)
			}
			wantFaults(t, tl.out.Faults, tt.want...)
		})
	}
	t.Run("nobody comes", func(t *testing.T) {
		t.Parallel()
		tl, _ := newTelling(t, newGateway(t, byBucket(0)), nil)
		playing(t, tl, 50)()
		if err := tl.checkBack(t.Context(), oneOrTwo(rollout.RolledBack)); err != nil {
			t.Fatal(err)
		}
		wantFaults(t, tl.out.Faults, "after the rollback 0 of 0 answers came from the canary")
	})
}

func TestCheckCustomers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		status   int
		failures bool
		want     []string
	}{
		{0, false, nil},
		{503, true, []string{"customers saw "}},
		{422, false, []string{"customers saw 0 failures and "}},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.status), func(t *testing.T) {
			t.Parallel()
			tl, _ := newTelling(t, newGateway(t, func(string) side { return side{role: "champion", status: tt.status} }), nil)
			playing(t, tl, 20)()
			tl.checkCustomers()
			wantFaults(t, tl.out.Faults, tt.want...)
			if tt.failures != (tl.out.Failures > 0) {
				t.Errorf("%d failures", tl.out.Failures)
			}
		})
	}
}

func TestPerVersion(t *testing.T) {
	t.Parallel()
	if got := perVersion(map[string]int64{"2": 5, "1": 9}); got != "9 answers of version 1 and 5 answers of version 2" {
		t.Errorf("%q", got)
	}
	if got := unionOf(map[string]int64{"b": 1, "a": 2}, map[string]int64{"c": 1, "a": 9}); strings.Join(got, "") != "abc" {
		t.Errorf("%q", got)
	}
}
