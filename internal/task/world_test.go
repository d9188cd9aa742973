package task

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"serin/internal/analysis"
	"serin/internal/compare"
	"serin/internal/model"
	"serin/internal/rollout"
	"serin/internal/routingfile"
	"serin/internal/traffic"
)

// world is everything outside the tasks, scripted: a registry, gateways, samples and people, around a real routing file. It drives one row through the
// pure state machine, as the engine does.
type world struct {
	t *testing.T
	journal
	*Runner
	state  rollout.State
	events []rollout.Event
	// log has the lines of every attempt, results has every result.
	log     []string
	results []rollout.Result
	path    string
	file    *routingfile.File

	stages  map[string]string // of the registry, by version
	marks   map[string]string // outcome by version
	moves   int               // how often the registry changed
	blocked map[string]string
	report  compare.Report
	told    map[string]int
	// slots is how many slots the backend has, two with `urls`.
	slots int
	// gateways gives what each gateway says; one that follows the file when nil.
	gateways func(generation int64) []GatewayView
	identity error
	samples  *scripted
	// fail answers the calls of that name with an error.
	fail map[string]error
	// signal sends a person's word right before the checkpoint of that number within an attempt.
	signal map[int]rollout.Signal
}

// errCut is a call that a test cuts.
var errCut = errors.New("cut")

// journal counts the calls to the outside and cuts one of them: before its effect or after it. A crash cuts every later one too.
type journal struct {
	calls        []string
	cutAt        int
	after, crash bool
	dead, cut    bool
}

func (j *journal) do(name string, effect func() error) error {
	j.calls = append(j.calls, name)
	here := len(j.calls) == j.cutAt
	if j.dead || here && !j.after {
		j.dead, j.cut = j.crash, true
		return fmt.Errorf("%s: %w", name, errCut)
	}
	err := effect()
	if here {
		j.dead, j.cut = j.crash, true
		return errors.Join(err, fmt.Errorf("%s: %w", name, errCut))
	}
	return err
}

// short is a plan whose bakes are two ticks long.
func short() rollout.Plan {
	p := rollout.DefaultPlan("fraud")
	p.Gate.Data, p.Gate.Label = "/data/holdout.csv", "is_fraud"
	p.Steps = []rollout.Step{
		{Kind: rollout.StepSetWeight, Weight: 5},
		{Kind: rollout.StepPause, Duration: 30 * time.Second},
		{Kind: rollout.StepSetWeight, Weight: 25},
		{Kind: rollout.StepPause, Duration: 30 * time.Second},
		{Kind: rollout.StepSetWeight, Weight: 100},
	}
	p.Watch.Duration = 0
	p.Analysis.Window, p.Analysis.Consecutive = 2, 1
	return p
}

// newWorld starts a rollout of version 42 over version 41; change may alter how.
func newWorld(t *testing.T, change func(*rollout.StartParams)) *world {
	t.Helper()
	p := rollout.StartParams{ID: "r1", Plan: short(), Driver: rollout.DriverLocal, Actor: "ann", Reason: "weekly", Salt: "s1", NextSalt: "s2"}
	if change != nil {
		change(&p)
	}
	state, events, err := rollout.Start(p, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, state: state, events: events, path: filepath.Join(t.TempDir(), "traffic_routing.json"),
		stages: map[string]string{"41": "Production", "42": "Staging"}, marks: map[string]string{}, blocked: map[string]string{}, told: map[string]int{},
		report: compare.Report{
			Decision: compare.Promote, Reasons: []string{"f1 0.92 >= 0.90 x 1.01"}, Mode: "point", Threshold: 0.5, Changes: &compare.Changes{NewlyFound: 3, Discordant: 3},
			Champion: &compare.SideReport{Ref: "models:/fraud/41", F1: 0.9}, Challenger: compare.SideReport{Ref: "models:/fraud/42", F1: 0.92},
		}, fail: map[string]error{}, signal: map[int]rollout.Signal{},
	}
	if w.file, err = routingfile.New(routingfile.Options{Path: w.path}); err != nil {
		t.Fatal(err)
	}
	w.samples = &scripted{w: w, last: time.Now(), counts: map[string]*counter{}}
	w.Runner, err = New(Deps{
		Resolver: resolver{w}, Registry: registry{w}, Router: router{w}, Gate: gate{w}, Checker: checker{w}, Samples: w.samples,
		Blocks: blocks{w}, Notifier: people{w}, Writer: "serin test:1",
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// call is one call to the outside, which a test may cut or answer with an error.
func (w *world) call(name string, effect func() error) error {
	return w.do(name, func() error {
		if err := w.fail[name]; err != nil {
			return err
		}
		return effect()
	})
}

// task is the attempt that would be opened now.
func (w *world) task(id string) rollout.Task {
	w.t.Helper()
	node, ok := rollout.Find(rollout.Graph(w.state.Plan, w.state.Kind), id)
	if !ok {
		w.t.Fatalf("no task %s", id)
	}
	return rollout.Task{Rollout: w.state.ID, ID: id, Kind: node.Kind, Attempt: 1, State: w.state, Node: node}
}

func (w *world) apply(t rollout.Task, r rollout.Result) {
	w.t.Helper()
	s, events, err := rollout.Apply(w.state, t, r, time.Now())
	if errors.Is(err, rollout.ErrStale) {
		return
	}
	if err != nil {
		w.t.Fatalf("apply %s: %v", t.ID, err)
	}
	w.state, w.events = s, append(w.events, events...)
}

func (w *world) send(sig rollout.Signal) {
	w.t.Helper()
	sig.Actor, sig.Reason = "ann", "because"
	s, events, err := rollout.Send(w.state, sig, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	w.state, w.events = s, append(w.events, events...)
}

// run runs one task on the row as it stands and applies what comes of it. A crash applies nothing.
func (w *world) run(id string) rollout.Result {
	w.t.Helper()
	t, n := w.task(id), 0
	r, err := w.Run(w.t.Context(), t, func(r rollout.Result) (signals rollout.Signals, err error) {
		err = w.call("checkpoint", func() error {
			if n++; w.signal[n].Name != "" {
				w.send(w.signal[n])
				delete(w.signal, n)
			}
			w.log = append(w.log, r.Log...)
			w.apply(t, r)
			signals = w.state.Directive(t)
			return nil
		})
		return signals, err
	})
	w.log = append(w.log, r.Log...)
	if w.dead {
		w.dead, w.cutAt = false, 0
		return r
	}
	if err != nil {
		r = rollout.Result{Status: rollout.StatusRetry, Reason: err.Error(), Log: r.Log}
	}
	w.results = append(w.results, r)
	w.apply(t, r)
	return r
}

// drive runs what is next, waiting where the row says so, until stop or the end.
func (w *world) drive(stop func(rollout.State) bool) *world {
	w.t.Helper()
	limit := time.Now().Add(24 * time.Hour)
	for !stop(w.state) {
		switch a := rollout.Next(w.state, time.Now()); {
		case time.Now().After(limit):
			w.t.Fatalf("still %s at %s after a day: %s", w.state.Phase, w.state.Task, w.state.Reason)
		case a.Do != nil:
			w.run(a.Do.ID)
			<-time.After(10 * time.Millisecond)
		case a.Wait.After(time.Now()):
			<-time.After(time.Until(a.Wait))
		case a.Done:
			return w
		default:
			w.t.Fatalf("stuck %s at %s: %s", w.state.Phase, w.state.Task, w.state.Reason)
		}
	}
	return w
}

func (w *world) to(task string) *world {
	w.t.Helper()
	w.drive(func(s rollout.State) bool { return s.Task == task })
	if w.state.Task != task {
		w.t.Fatalf("ended as %s without coming to %s: %s", w.state.Phase, task, w.state.Reason)
	}
	return w
}

func (w *world) finish() *world {
	w.t.Helper()
	return w.drive(func(rollout.State) bool { return false })
}

// doc is the routing document as it stands.
func (w *world) doc() traffic.Document {
	d, err := w.file.Read(w.t.Context())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.t.Fatal(err)
	}
	return d
}

// edit changes the text of the routing file as another writer does, without Serin's help.
func (w *world) edit(pairs ...string) {
	w.t.Helper()
	text, err := os.ReadFile(w.path)
	if err != nil {
		w.t.Fatal(err)
	}
	changed := strings.NewReplacer(pairs...).Replace(string(text))
	if changed == string(text) {
		w.t.Fatalf("nothing of %q is in %s", pairs, text)
	}
	if err := os.WriteFile(w.path, []byte(changed), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// disable takes the canary away as a tool that knows five keys does.
func (w *world) disable() {
	w.t.Helper()
	w.edit(`"canary_enabled": true`, `"canary_enabled": false`)
}

// order gives the calls of the names asked for, in their order.
func (w *world) order(names ...string) (list []string) {
	for _, c := range w.calls {
		if slices.Contains(names, c) {
			list = append(list, c)
		}
	}
	return list
}

func (w *world) said(text string) bool { return strings.Contains(strings.Join(w.log, "\n"), text) }

func (w *world) happened(event string) bool {
	return slices.ContainsFunc(w.events, func(e rollout.Event) bool { return e.Name == event })
}

type resolver struct{ *world }

func (w resolver) Resolve(_ context.Context, name, ref string) (pin model.Pin, err error) {
	err = w.call("resolve", func() error {
		for _, version := range slices.Sorted(maps.Keys(w.stages)) {
			if w.stages[version] == ref || version == ref {
				pin = model.Pin{Version: version, Digest: "sha256:" + strings.Repeat(version, 32), Slot: w.slots}
				return nil
			}
		}
		return fmt.Errorf("%s has no version in %s: %w", name, ref, ErrNoVersion)
	})
	return pin, err
}

type registry struct{ *world }

// Promote looks before it writes, as the real one does.
func (w registry) Promote(_ context.Context, m Move) (writes []string, err error) {
	err = w.call("promote", func() error {
		switch {
		case w.stages[m.To] == "Production":
			return nil
		case m.From != "" && w.stages[m.From] != "Production":
			return fmt.Errorf("version %s is not Production any more: %w", m.From, ErrRegistryChanged)
		}
		writes = w.shift(m.From, m.To)
		return nil
	})
	return writes, err
}

func (w registry) Restore(_ context.Context, m Move) (writes []string, err error) {
	err = w.call("restore", func() error {
		if w.stages[m.To] != "Production" {
			writes = w.shift(m.From, m.To)
		}
		w.marks[m.From] = m.Outcome
		return nil
	})
	return writes, err
}

func (w registry) shift(from, to string) []string {
	if from != "" {
		w.stages[from] = "Archived"
	}
	w.stages[to] = "Production"
	w.moves++
	return []string{"version " + to + " is Production"}
}

func (w registry) Mark(_ context.Context, m Move) (writes []string, err error) {
	err = w.call("mark", func() error {
		w.marks[m.To] = m.Outcome
		writes = []string{"version " + m.To + ": " + m.Outcome}
		return nil
	})
	return writes, err
}

type router struct{ *world }

// Apply sets a broken file aside, as the app does.
func (w router) Apply(ctx context.Context, _ string, change func(traffic.Document) (traffic.Document, error)) (doc traffic.Document, err error) {
	err = w.call("route", func() (err error) {
		if doc, err = w.file.Update(ctx, change); errors.Is(err, routingfile.ErrBroken) {
			doc, err = w.file.Repair(ctx, change)
		}
		return err
	})
	return doc, err
}

func (w router) Current(ctx context.Context, _ string) (doc traffic.Document, err error) {
	err = w.call("current", func() (err error) {
		if doc, err = w.file.Read(ctx); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return doc, err
}

func (w router) Observe(context.Context, string) (o Observation, err error) {
	err = w.call("observe", func() error {
		if generation := w.doc().Generation(); w.gateways != nil {
			o.Gateways = w.gateways(generation)
		} else {
			o.Gateways = []GatewayView{{Name: "gw-1", Generation: generation}}
		}
		return nil
	})
	return o, err
}

// nobody is a world without a gateway to ask.
func nobody(int64) []GatewayView { return nil }

type gate struct{ *world }

func (w gate) Compare(context.Context, rollout.State) (compare.Report, error) {
	return w.report, w.call("compare", func() error { return nil })
}

type checker struct{ *world }

func (w checker) Check(_ context.Context, s rollout.State) ([]string, error) {
	return []string{"version " + s.Pins.Challenger.Version + " is loaded: 30 columns, probability"}, w.call("check", func() error { return nil })
}

func (w checker) Identity(context.Context, rollout.State) error { return w.identity }

type blocks struct{ *world }

func (w blocks) Blocked(_ context.Context, _, version string) (string, bool, error) {
	reason, blocked := w.blocked[version]
	return reason, blocked, w.call("blocked", func() error { return nil })
}

type people struct{ *world }

// Notify tells each event once, however often it is asked.
func (w people) Notify(_ context.Context, s rollout.State, event string) ([]string, error) {
	return []string{event + " told on log"}, w.call("notify", func() error {
		if w.told[event+" "+s.ID] == 0 {
			w.told[event+" "+s.ID]++
		}
		return nil
	})
}

// counter is a running counter set of one role and revision.
type counter struct{ ok, bad, slow float64 }

// scripted gives the samples that the traffic of a test leads to, 2,400 requests a tick, divided by the weight in the routing file.
type scripted struct {
	w      *world
	all    []analysis.Scrape
	last   time.Time
	doc    traffic.Document
	counts map[string]*counter
	// canary gives the canary's shares of errors and of slow answers; none when nil.
	canary   func(at time.Time) (bad, slow float64)
	champion func(at time.Time) (bad, slow float64)
	mute     func(at time.Time) bool
	fault    func(at time.Time) string
}

func (s *scripted) Scrapes(_ context.Context, _ string, after, until time.Time) (list []analysis.Scrape, err error) {
	err = s.w.call("scrapes", func() error {
		s.grow(until)
		for _, sc := range s.all {
			if sc.At.After(after) && !sc.At.After(until) {
				list = append(list, sc)
			}
		}
		return nil
	})
	return list, err
}

// grow makes the ticks up to a time.
func (s *scripted) grow(until time.Time) {
	tick := s.w.state.Plan.Analysis.Tick
	for at := s.last.Truncate(tick).Add(tick); !at.After(until); at = at.Add(tick) {
		s.last = at
		if s.mute != nil && s.mute(at) {
			continue
		}
		sc := analysis.Scrape{At: at.UTC()}
		if s.fault != nil {
			sc.Err = s.fault(at)
		}
		if doc, err := s.w.file.Read(s.w.t.Context()); err == nil {
			s.doc = doc // gateways keep the last good one
		}
		doc := s.doc
		pins := s.w.state.Pins
		champion := pins.Champion.Version
		if doc.Control != nil {
			champion = doc.Control.Champion.Version
		}
		weight := doc.WeightPct()
		s.count(analysis.RoleChampion, champion, 2400*(1-weight/100), s.champion, at)
		sc.Samples = append(sc.Samples, s.line(at, analysis.RoleChampion, champion, weight))
		if weight > 0 {
			s.count(analysis.RoleCanary, pins.Challenger.Version, 24*weight, s.canary, at)
			sc.Samples = append(sc.Samples, s.line(at, analysis.RoleCanary, pins.Challenger.Version, weight))
		}
		s.all = append(s.all, sc)
	}
}

func (s *scripted) count(role analysis.Role, revision string, n float64, shares func(time.Time) (float64, float64), at time.Time) {
	key := string(role) + revision
	if s.counts[key] == nil {
		s.counts[key] = &counter{}
	}
	bad, slow := 0.0, 0.0
	if shares != nil {
		bad, slow = shares(at)
	}
	c := s.counts[key]
	c.ok, c.bad, c.slow = c.ok+n*(1-bad), c.bad+n*bad, c.slow+n*slow
}

func (s *scripted) line(at time.Time, role analysis.Role, revision string, weight float64) analysis.Sample {
	c := s.counts[string(role)+revision]
	n := c.ok + c.bad
	return analysis.Sample{
		At: at.UTC(), Role: role, Instance: "gw-1", Revision: revision, WeightPct: weight,
		Requests: map[string]analysis.Number{"200": analysis.Number(c.ok), "503": analysis.Number(c.bad)},
		Latency: &analysis.Histogram{LE: map[string]analysis.Number{
			"0.05": analysis.Number((n - c.slow) / 2), "0.1": analysis.Number(n - c.slow), "0.25": analysis.Number(n), "+Inf": analysis.Number(n),
		}},
	}
}

// from is a share of errors from a time on.
func from(start time.Time, bad float64) func(time.Time) (float64, float64) {
	return func(at time.Time) (float64, float64) {
		if at.Before(start) {
			return 0, 0
		}
		return bad, 0
	}
}
