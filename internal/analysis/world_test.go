package analysis

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"testing"
	"time"
)

var t0 = time.Date(2025, 1, 20, 10, 0, 0, 0, time.UTC)

// stage5 is two minutes at 5 %: eight ticks of 15 s.
var stage5 = Stage{Name: "monitor_5_percent", WeightPct: 5, Bake: 2 * time.Minute}

var bucketBounds = []float64{0.05, 0.1, 0.25, math.Inf(1)}

// traffic is what one process did between two ticks.
type traffic struct{ n, errors, slow, verySlow int }

// process is a running counter set: what a gateway exposes for one role.
type process struct {
	role     Role
	instance string
	status   map[string]Number
	le       []float64 // cumulative, as bucketBounds
}

func newProcess(role Role, instance string) *process {
	return &process{role: role, instance: instance, status: map[string]Number{}, le: make([]float64, len(bucketBounds))}
}

// serve counts: fast requests take below 50 ms, slow ones 0.1 to 0.25 s, very slow ones more.
func (p *process) serve(tr traffic) {
	if ok := tr.n - tr.errors; ok > 0 {
		p.status["200"] += Number(ok)
	}
	if tr.errors > 0 {
		p.status["503"] += Number(tr.errors)
	}
	fast := float64(tr.n - tr.slow - tr.verySlow)
	p.le[0] += fast
	p.le[1] += fast
	p.le[2] += fast + float64(tr.slow)
	p.le[3] += float64(tr.n)
}

func (p *process) restart() { *p = *newProcess(p.role, p.instance) }

func (p *process) sample(at time.Time, weight float64) Sample {
	s := Sample{At: at, Role: p.role, Instance: p.instance, WeightPct: weight, Requests: map[string]Number{}, Latency: &Histogram{LE: map[string]Number{}}}
	for k, v := range p.status {
		s.Requests[k] = v
	}
	for i, b := range bucketBounds {
		s.Latency.LE[boundKey(b)] = Number(p.le[i])
	}
	return s
}

func boundKey(b float64) string {
	if math.IsInf(b, 1) {
		return "+Inf"
	}
	return strconv.FormatFloat(b, 'g', -1, 64)
}

// world drives Judge tick by tick over one champion and one canary process, the state passing through JSON each time as in the store.
type world struct {
	t        *testing.T
	cfg      Config
	stage    Stage
	at       time.Time
	weight   float64
	canary   *process
	champion *process
	state    State
	scrapes  []Scrape
}

func newWorld(t *testing.T) *world {
	return &world{
		t: t, cfg: DefaultConfig(), stage: stage5, at: t0, weight: stage5.WeightPct,
		canary: newProcess(RoleCanary, "gw-1"), champion: newProcess(RoleChampion, "gw-1"),
	}
}

// healthy is the champion's usual traffic.
var healthy = traffic{n: 190}

func (w *world) serve(canary, champion traffic) {
	w.canary.serve(canary)
	w.champion.serve(champion)
}

func (w *world) scrape() Scrape {
	return Scrape{At: w.at, Samples: []Sample{w.canary.sample(w.at, w.weight), w.champion.sample(w.at, w.weight)}}
}

// judge takes a scrape and moves to the next tick.
func (w *world) judge(sc Scrape) Judgement {
	w.t.Helper()
	w.scrapes = append(w.scrapes, sc)
	st, j, err := Judge(w.cfg, w.stage, w.state, throughJSON(w.t, sc))
	if err != nil {
		w.t.Fatalf("judge scrape of %s: %v", sc.At, err)
	}
	w.state = throughJSON(w.t, st)
	w.at = w.at.Add(w.cfg.Tick)
	return throughJSON(w.t, j)
}

// tick serves and judges.
func (w *world) tick(canary, champion traffic) Judgement {
	w.t.Helper()
	w.serve(canary, champion)
	return w.judge(w.scrape())
}

func (w *world) ticks(n int, canary, champion traffic) (last Judgement) {
	w.t.Helper()
	for range n {
		last = w.tick(canary, champion)
	}
	return last
}

func throughJSON[T any](t *testing.T, v T) T {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("marshal %T: %v", v, err)
	}
	var back T
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatalf("unmarshal %T: %v", v, err)
	}
	return back
}

// want is the part of a judgement that a test is about.
type want struct {
	Decision Decision
	Verdict  Verdict
	Code     Code
}

func got(j Judgement) want { return want{j.Decision, j.Verdict, j.Code} }

func expect(t *testing.T, j Judgement, w want) {
	t.Helper()
	if got(j) != w {
		t.Fatalf("at %s: got %+v, want %+v (%s)", j.At.Format(time.TimeOnly), got(j), w, j.Reason)
	}
}

func evidence(t *testing.T, j Judgement, check string) Evidence {
	t.Helper()
	i := slices.IndexFunc(j.Checks, func(e Evidence) bool { return e.Check == check })
	if i < 0 {
		t.Fatalf("no evidence of %s in %+v", check, j.Checks)
	}
	return j.Checks[i]
}
