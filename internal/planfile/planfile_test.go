package planfile

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/rollout"
	"serin/internal/strictyaml"
)

const head = "apiVersion: serin/v1\nkind: ModelRollout\nmetadata: {name: fraud}\nspec:\n"

// lines gives the faults as LINE:COLUMN: MESSAGE.
func lines(faults []Fault) []string {
	var out []string
	for _, f := range faults {
		out = append(out, strings.TrimPrefix(f.String(), f.File+":"))
	}
	return out
}

func TestParse_Defaults(t *testing.T) {
	t.Parallel()
	want := rollout.DefaultPlan("fraud")
	want.Gate.Data, want.Gate.Label = filepath.Join("plans", "h.csv"), "y"
	for name, text := range map[string]string{
		"block": head + "  offlineGate:\n    data: h.csv\n    label: y\n",
		"short": "metadata: {name: fraud}\nspec: {offlineGate: {data: h.csv, label: y}}",
		"json":  `{"metadata": {"name": "fraud"}, "spec": {"offlineGate": {"data": "h.csv", "label": "y"}}}`,
		"crlf":  strings.ReplaceAll(head+"  offlineGate: {data: h.csv, label: y}\n", "\n", "\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Parse("p.yaml", []byte(text), "plans")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

// The whole plan of the contract, with the two modes that this version has.
func TestParse_EveryKey(t *testing.T) {
	t.Parallel()
	text := head + `  champion: production
  challenger: 42
  offlineGate:
    data: /data/holdout.parquet
    label: is_fraud
    championScores: a
    challengerScores: b
    threshold: 0.4
    mode: point
    criteria: {recall: 0.9, fpr: 0.01, latencyP95: off, f1Ratio: 1.05}
  strategy:
    canary:
      steps:
        - setWeight: 0.5
        - pause: {duration: 30m}
        - pause: {}
        - setWeight: 100
      watch: {duration: 0s, onFail: notify}
  analysis: {mode: threshold, tick: 5s, window: 4, minRequests: 20, consecutive: 3, errors: {slo: 0.01}, latency: {enabled: false, slo: 250ms, quantile: 0.9}}
  hold: {max: 1h30m, then: keep}
  routing: {key: X-User, field: user_id, by: key, missing: random, uris: version, compat: strict}
  promotion: {mode: stages}
  notifications: [log]
`
	want := rollout.DefaultPlan("fraud")
	want.Champion, want.Challenger = "Production", "42"
	want.Gate = rollout.Gate{
		Data: "/data/holdout.parquet", Label: "is_fraud", ChampionScores: "a", ChallengerScores: "b", Threshold: 0.4, Mode: "point",
		Criteria: rollout.Criteria{Recall: 0.9, FPR: 0.01, F1Ratio: 1.05},
	}
	want.Steps = []rollout.Step{
		{Kind: rollout.StepSetWeight, Weight: 0.5},
		{Kind: rollout.StepPause, Duration: 30 * time.Minute},
		{Kind: rollout.StepPause},
		{Kind: rollout.StepSetWeight, Weight: 100},
	}
	want.Watch = rollout.Watch{OnFail: rollout.WatchNotify}
	want.Analysis.Tick, want.Analysis.Window, want.Analysis.MinRequests, want.Analysis.Consecutive = 5*time.Second, 4, 20, 3
	want.Analysis.Errors.SLO = 0.01
	want.Analysis.Latency.Enabled, want.Analysis.Latency.SLO, want.Analysis.Latency.Quantile = false, 250*time.Millisecond, 0.9
	want.Hold = rollout.HoldPolicy{Max: 90 * time.Minute, Then: rollout.HoldKeep}
	want.Routing = rollout.Routing{Key: "X-User", Field: "user_id", By: "key", Missing: "random", URIs: "version", Compat: "strict"}
	want.Promotion, want.Notifications = rollout.PromoteStages, []string{"log"}
	got, err := Parse("p.yaml", []byte(text), "plans")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
}

func TestParse_TheExampleOfTheRepository(t *testing.T) {
	t.Parallel()
	name := filepath.Join("..", "..", "examples", "creditcard", "plan.yaml")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := Parse(name, data, filepath.Dir(name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(plan.Gate.Data); err != nil {
		t.Errorf("data is not beside the plan: %v", err)
	}
}

// Each spec stands at line 5 and after; offlineGate is added below it where it has none.
func TestLint_RefusesInTheSpec(t *testing.T) {
	t.Parallel()
	for _, tt := range specFaults {
		t.Run(tt.spec, func(t *testing.T) {
			t.Parallel()
			text := head + "  " + strings.ReplaceAll(tt.spec, "\n", "\n  ") + "\n"
			if !strings.Contains(tt.spec, "offlineGate") {
				text += "  offlineGate: {data: h.csv, label: y}\n"
			}
			if diff := cmp.Diff(tt.want, lines(Lint("p.yaml", []byte(text)))); diff != "" {
				t.Errorf("faults (-want +got):\n%s\n%s", diff, text)
			}
		})
	}
}

func TestLint_RefusesTheFile(t *testing.T) {
	t.Parallel()
	gate := "spec: {offlineGate: {data: h.csv, label: y}}\n"
	tests := []struct {
		name, text string
		want       []string
	}{
		{"nothing", "", []string{"1:1: the file is empty"}},
		{"comment only", "# a plan\n", []string{"1:1: the file is empty"}},
		{"a list", "- 1\n", []string{"1:1: is a list: a mapping (key: value) belongs here"}},
		{"no metadata", "\n" + gate, []string{"2:1: metadata is missing: write metadata: {name: NAME}, the name that the model is registered under"}},
		{"no name", "metadata: {}\n" + gate, []string{"1:11: metadata: name is missing: give the name that the model is registered under"}},
		{"name is a number", "metadata: {name: 7}\n" + gate, []string{"1:18: metadata.name: is the number 7: write it in quotes if the text is meant"}},
		{"name is a path", "metadata: {name: a/b}\n" + gate, []string{`1:18: metadata.name: model name "a/b": a name has no '/', ':' or '\' and is not '.' or '..'`}},
		{"no gate", "metadata: {name: m}\n", []string{"1:1: offlineGate is missing: name labeled data, or write offlineGate: {off: true, reason: WHY}"}},
		{"empty spec", "metadata: {name: m}\nspec: {}\n", []string{"2:7: spec: offlineGate is missing: name labeled data, or write offlineGate: {off: true, reason: WHY}"}},
		{"spec without value", "metadata: {name: m}\nspec:\n", []string{"2:6: spec: has no value: give one, or remove the key to have the default"}},
		{"other version", "apiVersion: serin/v2\nmetadata: {name: m}\n" + gate, []string{`1:13: apiVersion: is "serin/v2", which this version does not know: use serin/v1`}},
		{"other kind", "kind: Rollout\nmetadata: {name: m}\n" + gate, []string{`1:7: kind: is "Rollout", which this version does not know: use ModelRollout`}},
		{"unknown top key", "meta: 1\nmetadata: {name: m}\n" + gate, []string{"1:1: meta: unknown key: use one of apiVersion, kind, metadata, spec"}},
		{"two documents", "metadata: {name: m}\n" + gate + "---\nmore: 1\n", []string{"3:1: a second document (---): put it into a file of its own"}},
		{"bad UTF-8", "metadata: {name: \xff}\n", []string{"1:18: not UTF-8 text: save the file as UTF-8"}},
		{"control character", "metadata:\n  name: a\x01\n", []string{"2:10: control character U+0001: remove it"}},
		{"tab", "metadata:\n\tname: m\n", []string{"2:1: a tab: YAML is indented with spaces"}},
		{"no YAML", "metadata: {name: m}\nspec:\n  a: b: c\n", []string{"3:3: not YAML: mapping values are not allowed in this context: check indentation, colons and quotes here"}},
		{"alias of nothing", "metadata: *m\n", []string{"1:1: not YAML: unknown anchor 'm' referenced: check indentation, colons and quotes here"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := lines(Lint("p.yaml", []byte(tt.text)))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
			if _, err := Parse("p.yaml", []byte(tt.text), ""); err == nil {
				t.Error("parsed a file with faults")
			}
		})
	}
}

func TestParse_NamesEveryFaultInOneError(t *testing.T) {
	t.Parallel()
	text := head + "  hold: {max: 30}\n  promotion: {mode: none}\n  offlineGate: {data: h.csv, label: y}\n"
	_, err := Parse("plans/fraud.yaml", []byte(text), "")
	var refusal *strictyaml.Error
	if !errors.As(err, &refusal) || len(refusal.Faults) != 2 {
		t.Fatalf("error %v: want a refusal with two faults", err)
	}
	want := `plans/fraud.yaml:5:15: hold.max: "30" has no unit: write 30s, 30m or 1h (and 1 more: serin lint plans/fraud.yaml lists them)`
	if err.Error() != want {
		t.Errorf("error %q\n want %q", err, want)
	}
}

func TestParse_AliasesAreRead(t *testing.T) {
	t.Parallel()
	text := head + `  strategy:
    canary:
      steps:
        - setWeight: 5
        - &bake
          pause: {duration: 10m}
        - setWeight: 25
        - *bake
        - setWeight: 100
  offlineGate: {data: h.csv, label: y}
`
	plan, err := Parse("p.yaml", []byte(text), "")
	if err != nil {
		t.Fatal(err)
	}
	if got := plan.Steps[3].Duration; got != 10*time.Minute {
		t.Errorf("the repeated pause has %s, want 10m", got)
	}
}

func TestLint_AliasBombEndsSoon(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("x0: &x0 [a, a, a, a, a, a, a, a, a]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&b, "x%d: &x%d [%s*x%d]\n", i, i, strings.Repeat(fmt.Sprintf("*x%d, ", i-1), 8), i-1)
	}
	for name, text := range map[string]string{
		"billion laughs":       b.String() + "metadata: {name: m}\nspec: {notifications: *x11}\n",
		"contains itself":      "metadata: {name: m}\nspec: &s\n  notifications: &n [*n, *n]\n  offlineGate: *s\n",
		"list of lists, deep":  "metadata: {name: m}\nspec: {notifications: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}\n",
		"one plan of aliases":  "metadata: &m {name: m}\nspec: *m\n",
		"an enormous document": strings.Repeat("# a comment\n", 100_000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := Parse("p.yaml", []byte(text), ""); err == nil {
				t.Error("parsed, want a refusal")
			}
		})
	}
}

// The order of steps is checked here, for every step with its place, and in rollout for plans from elsewhere: both must agree.
func TestSteps_AgreeWithPlanValidate(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 4))
	weights := []float64{5, 25, 50, 100}
	good := 0
	for range 1000 {
		plan := rollout.DefaultPlan("m")
		plan.Gate.Data, plan.Gate.Label, plan.Steps = "h.csv", "y", nil
		for range 1 + rng.IntN(5) {
			step := rollout.Step{Kind: rollout.StepPause, Duration: time.Minute}
			if rng.IntN(2) == 0 {
				step = rollout.Step{Kind: rollout.StepSetWeight, Weight: weights[rng.IntN(len(weights))]}
			}
			plan.Steps = append(plan.Steps, step)
		}
		text := head + "  offlineGate: {data: h.csv, label: y}\n  strategy: {canary: {steps: ["
		for _, step := range plan.Steps {
			if step.Kind == rollout.StepPause {
				text += "{pause: {duration: 1m}}, "
				continue
			}
			text += fmt.Sprintf("{setWeight: %g}, ", step.Weight)
		}
		text += "]}}\n"
		faults := Lint("p.yaml", []byte(text))
		err := plan.Validate()
		if (len(faults) == 0) != (err == nil) {
			t.Fatalf("lint says %v, Validate says %v\n%s", faults, err, text)
		}
		if err == nil {
			good++
		}
	}
	if good < 10 {
		t.Errorf("only %d of 1000 random plans are good: the comparison proves little", good)
	}
}

// lineCount counts a file's lines as YAML does.
func lineCount(data []byte) int {
	breaks := strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n")
	return 1 + strings.Count(breaks.Replace(string(data)), "\n")
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(head + "  offlineGate: {data: h.csv, label: y}\n"))
	f.Add(Marshal(examplePlan(), "head"))
	f.Add([]byte("\rA\r"))
	f.Add([]byte("---"))
	f.Add([]byte("a: &a [*a]\nspec: *a\nmetadata: {<<: *a, name: ! x}\n? [k]\n: v\n"))
	for _, tt := range specFaults {
		f.Add([]byte(head + "  " + strings.ReplaceAll(tt.spec, "\n", "\n  ") + "\n"))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		plan, err := Parse("p.yaml", data, "")
		faults := Lint("p.yaml", data)
		for _, fault := range faults {
			if fault.Line < 1 || fault.Column < 1 || fault.Line > lineCount(data) || strings.ContainsAny(fault.Message, "\n\r") {
				t.Errorf("fault without a place in the file or on several lines: %+v", fault)
			}
		}
		if (err != nil) != (strictyaml.Refusal(faults) != nil) {
			t.Fatalf("Parse says %v, Lint says %v", err, faults)
		}
		if err != nil {
			return
		}
		if err := plan.Validate(); err != nil {
			t.Fatalf("parsed a plan that is not valid: %v", err)
		}
		again, err := Parse("p.yaml", Marshal(plan, ""), "")
		if err != nil {
			t.Fatalf("the plan cannot be written: %v\n%s", err, Marshal(plan, ""))
		}
		if diff := cmp.Diff(plan, again); diff != "" {
			t.Fatalf("plan changed (-want +got):\n%s", diff)
		}
	})
}
