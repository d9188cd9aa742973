package rollout

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/analysis"
)

var update = flag.Bool("update", false, "rewrite golden files")

func weight(w float64) Step       { return Step{Kind: StepSetWeight, Weight: w} }
func bake(d time.Duration) Step   { return Step{Kind: StepPause, Duration: d} }
func steps(list ...Step) []Step   { return list }
func withSteps(s ...Step) *[]Step { return &s }

func TestPlan_Validate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		steps  *[]Step
		change func(*Plan)
		says   string // empty: valid
	}{
		{name: "default"},
		{name: "fraction", steps: withSteps(weight(0.5), bake(time.Hour), weight(100))},
		{name: "straight to all", steps: withSteps(weight(100))},
		{name: "two pauses", steps: withSteps(weight(5), bake(time.Hour), bake(0), weight(100))},
		{name: "gate off", change: func(p *Plan) { p.Gate = Gate{Off: true, Reason: "no labels yet"} }},
		{name: "no watch", change: func(p *Plan) { p.Watch = Watch{} }},
		{name: "hold kept", change: func(p *Plan) { p.Hold.Then = HoldKeep }},

		{name: "no model", change: func(p *Plan) { p.Model = "" }, says: "metadata.name"},
		{name: "no data", change: func(p *Plan) { p.Gate.Data = "" }, says: "data and label"},
		{name: "no label", change: func(p *Plan) { p.Gate.Label = "" }, says: "data and label"},
		{name: "hold of nothing", change: func(p *Plan) { p.Hold.Max = 0 }, says: "hold.max"},
		{name: "hold backwards", change: func(p *Plan) { p.Hold.Max = -time.Hour }, says: "hold.max"},
		{name: "hold then nothing", change: func(p *Plan) { p.Hold.Then = "" }, says: `hold.then "": know rollback and keep`},
		{name: "hold then promote", change: func(p *Plan) { p.Hold.Then = "promote" }, says: `hold.then "promote"`},
		{name: "watch backwards", change: func(p *Plan) { p.Watch.Duration = -1 }, says: "watch.duration"},
		{name: "watch then nothing", change: func(p *Plan) { p.Watch.OnFail = "rollback" }, says: `watch.onFail "rollback": know undo and notify`},
		{name: "promotion of nothing", change: func(p *Plan) { p.Promotion = "tags" }, says: `promotion "tags": know stages, aliases and both`},

		{name: "no steps", steps: withSteps(), says: "the last step must be setWeight: 100"},
		{name: "pause first", steps: withSteps(bake(time.Hour), weight(100)), says: "steps[0] is a pause"},
		{name: "no end", steps: withSteps(weight(5), bake(time.Hour)), says: "the last step must be setWeight: 100"},
		{name: "shrinks", steps: withSteps(weight(25), bake(time.Hour), weight(5), bake(time.Hour), weight(100)), says: "steps[2]: weight 5 does not grow (the step before has 25)"},
		{name: "same twice", steps: withSteps(weight(5), bake(time.Hour), weight(5), bake(time.Hour), weight(100)), says: "steps[2]: weight 5 does not grow"},
		{name: "no bake", steps: withSteps(weight(5), weight(100)), says: "steps[1]: weight 100 follows weight 5 without a pause"},
		{name: "zero", steps: withSteps(weight(0), bake(time.Hour), weight(100)), says: "steps[0]: weight 0 does not grow"},
		{name: "negative", steps: withSteps(weight(-5), bake(time.Hour), weight(100)), says: "steps[0]: weight -5 does not grow"},
		{name: "too much", steps: withSteps(weight(100.5)), says: "steps[0]: weight 100.5: at most 100"},
		{name: "pause after all", steps: withSteps(weight(100), bake(time.Hour)), says: "steps[1] pauses after setWeight 100"},
		{name: "all twice", steps: withSteps(weight(100), weight(100)), says: "steps[1]: weight 100 does not grow"},
		{name: "no number", steps: withSteps(weight(math.NaN()), bake(time.Hour), weight(100)), says: "steps[0]: weight NaN is no number"},
		{name: "without end", steps: withSteps(weight(math.Inf(1))), says: "steps[0]: weight +Inf"},
		{name: "pause backwards", steps: withSteps(weight(5), bake(-time.Minute), weight(100)), says: "steps[1] pauses for -1m0s"},
		{name: "unknown kind", steps: withSteps(Step{Kind: "mirror", Weight: 100}), says: `steps[0] is a "mirror": know setWeight and pause`},
		{name: "no kind", steps: withSteps(Step{Weight: 100}), says: `steps[0] is a ""`},
	} {
		p := testPlan()
		if tt.steps != nil {
			p.Steps = *tt.steps
		}
		if tt.change != nil {
			tt.change(&p)
		}
		err := p.Validate()
		switch {
		case tt.says == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "\n")):
			t.Errorf("%s: %v, want %q", tt.name, err, tt.says)
		}
		if _, _, startErr := Start(StartParams{ID: "r", Plan: p, Salt: "a", NextSalt: "b", Actor: "ann", Reason: "x"}, epoch); (startErr == nil) != (err == nil) {
			t.Errorf("%s: Validate says %v, Start says %v", tt.name, err, startErr)
		}
	}
}

func TestPlan_Stages(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		steps []Step
		want  []Stage
	}{
		{
			steps(weight(5), bake(30*time.Minute), weight(25), bake(time.Hour), weight(100)),
			[]Stage{{Weight: 5, Bake: 30 * time.Minute}, {Weight: 25, Bake: time.Hour, Step: 2}, {Weight: 100, Step: 4}},
		},
		{
			steps(weight(5), bake(10*time.Minute), bake(0), bake(20*time.Minute), weight(100)),
			[]Stage{{Weight: 5, Bake: 30 * time.Minute, Manual: true}, {Weight: 100, Step: 4}},
		},
		{steps(weight(50), bake(0), weight(100)), []Stage{{Weight: 50, Manual: true}, {Weight: 100, Step: 2}}},
		{steps(weight(100)), []Stage{{Weight: 100}}},
	} {
		if diff := cmp.Diff(tt.want, Plan{Steps: tt.steps}.Stages()); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", tt.steps, diff)
		}
	}
}

func TestStage_Name(t *testing.T) {
	t.Parallel()
	for weight, want := range map[float64]string{5: "5", 0.5: "0.5", 12.25: "12.25", 100: "100", 0.01: "0.01", 1e-7: "0.0000001", 33.333333333333336: "33.333333333333336"} {
		if got := (Stage{Weight: weight}).Name(); got != want {
			t.Errorf("%g: %s, want %s", weight, got, want)
		}
	}
}

// TestGraph_Golden holds the public task ids, their order and their branches: they are in people's DAGs, dashboards and scripts.
func TestGraph_Golden(t *testing.T) {
	t.Parallel()
	for name, nodes := range map[string][]Node{"graph.json": Graph(DefaultPlan("fraud"), KindOfRollout), "graph-undo.json": Graph(DefaultPlan("fraud"), KindOfUndo)} {
		got, err := json.MarshalIndent(nodes, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(append(got, '\n'))); diff != "" {
			t.Errorf("%s (-want +got), -update after looking:\n%s", name, diff)
		}
	}
}

// TestGraph_HoldsTogether checks every shape of plan: ids are unique, edges lead to tasks, and every task is reached from the start or by an end.
func TestGraph_HoldsTogether(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]Plan{
		"default":  DefaultPlan("m"),
		"one step": {Steps: steps(weight(100))},
		"fraction": {Steps: steps(weight(0.5), bake(time.Hour), weight(5), bake(time.Hour), weight(50.5), bake(time.Hour), weight(100)), Watch: Watch{Duration: time.Minute}},
	} {
		nodes, seen, reached := Graph(p, KindOfRollout), map[string]bool{}, map[string]bool{TaskAdmit: true, TaskSettle: true, TaskRollback: true}
		for _, n := range nodes {
			if seen[n.ID] {
				t.Errorf("%s: %s twice", name, n.ID)
			}
			seen[n.ID] = true
			for _, e := range n.Next {
				reached[e.To] = true
			}
		}
		if diff := cmp.Diff(seen, reached); diff != "" {
			t.Errorf("%s: tasks and reached tasks differ:\n%s", name, diff)
		}
		if last := nodes[len(nodes)-1]; last.ID != TaskSettle {
			t.Errorf("%s: ends with %s", name, last.ID)
		}
	}
}

// TestGraph_WalkedIsTheGraph: the state machine goes where the graph says, or Airflow's DAG and the page show what does not happen.
func TestGraph_WalkedIsTheGraph(t *testing.T) {
	t.Parallel()
	for _, start := range []*world{newWorld(t, nil), newWorld(t, func(p *StartParams) { p.Plan.Steps = steps(weight(1), bake(time.Minute), weight(100)) }), newUndo(t)} {
		graph := Graph(start.s.Plan, start.s.Kind)
		start.finish()
		for i := 1; i < len(start.order); i++ {
			from, _ := Find(graph, start.order[i-1])
			ok := false
			for _, e := range from.Next {
				ok = ok || e.To == start.order[i]
			}
			if !ok {
				t.Errorf("%s was followed by %s, which the graph does not know", from.ID, start.order[i])
			}
		}
	}
}

func FuzzPlanJSON(f *testing.F) {
	whole, err := json.Marshal(testPlan())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte(`{"model":"m","offlineGate":{"off":true},"steps":[{"kind":"setWeight","weight":100}],"hold":{"max":1,"then":"keep"},"promotion":"both"}`))
	f.Add([]byte(`{"model":"m","offlineGate":{"off":true},"steps":[{"kind":"pause"},{"weight":100}],"hold":{"max":1,"then":"keep"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var p Plan
		if json.NewDecoder(bytes.NewReader(data)).Decode(&p) != nil || p.Validate() != nil {
			return
		}
		stages := p.Stages()
		if len(stages) == 0 || !stages[len(stages)-1].Final() {
			t.Fatalf("a valid plan without a promotion: %+v", stages)
		}
		s, _, err := Start(StartParams{ID: "r", Plan: p, Driver: DriverLocal, Salt: "a", NextSalt: "b", Actor: "ann", Reason: "x"}, epoch)
		if err != nil {
			t.Fatal(err)
		}
		if s = walk(t, s); !s.Phase.Ended() {
			t.Fatalf("%s at %s: %s", s.Phase, s.Task, s.Reason)
		}
	})
}

// walk takes a row to its end with nothing but good results: one healthy tick a bake, and a person's promote where the plan wants one.
func walk(t *testing.T, s State) State {
	t.Helper()
	graph := Graph(s.Plan, s.Kind)
	for range 2 * len(graph) {
		a := Next(s, epoch)
		if a.Do == nil {
			return s
		}
		task := Task{Rollout: s.ID, ID: a.Do.ID, Kind: a.Do.Kind}
		results := []Result{good(*a.Do, s)}
		if a.Do.Kind == KindMonitor {
			if s.stage().Manual {
				s = must(t)(Send(s, Signal{Name: SignalPromote, Actor: "ann", Reason: "x"}, epoch))
			}
			healthy := analysis.Judgement{At: epoch, Decision: analysis.DecisionPromote, Reason: "fine"}
			results = append([]Result{{Status: StatusRunning, Judge: &Judged{State: analysis.State(`{}`), Judgement: healthy}}}, results...)
		}
		for _, r := range results {
			s = must(t)(Apply(s, task, r, epoch))
		}
	}
	return s
}

func must(t *testing.T) func(State, []Event, error) State {
	return func(s State, _ []Event, err error) State {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}
