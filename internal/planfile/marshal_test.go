package planfile

import (
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/rollout"
)

var update = flag.Bool("update", false, "rewrite golden files")

func examplePlan() rollout.Plan {
	p := rollout.DefaultPlan("fraud_detection_xgboost")
	p.Gate.Data, p.Gate.Label = "holdout.parquet", "is_fraud"
	return p
}

func TestMarshal_Golden(t *testing.T) {
	t.Parallel()
	got := Marshal(examplePlan(), "Made by `serin init` from the registry:\nversion 41 is in Production, version 42 in Staging.")
	golden := filepath.Join("testdata", "init.yaml")
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("written plan (-want +got):\n%s", diff)
	}
	if faults := Lint("init.yaml", got); len(faults) > 0 {
		t.Errorf("the written plan has faults: %v", faults)
	}
}

func TestMarshal_ParsesBackToTheSamePlan(t *testing.T) {
	t.Parallel()
	off := rollout.DefaultPlan("m")
	off.Gate.Off, off.Gate.Reason = true, "labels come in a week: \"later\" # really"
	scores := examplePlan()
	scores.Gate.ChampionScores, scores.Gate.ChallengerScores, scores.Gate.Criteria.LatencyP95 = "score a", "yes", 0
	manual := examplePlan()
	manual.Champion, manual.Challenger = "41", "@next-one"
	manual.Steps = []rollout.Step{{Kind: rollout.StepSetWeight, Weight: 0.01}, {Kind: rollout.StepPause}, {Kind: rollout.StepSetWeight, Weight: 100}}
	manual.Notifications = []string{}
	odd := examplePlan()
	odd.Model, odd.Gate.Label, odd.Gate.Data = "Betrug 50 % \u2028 \u0085\t\"x\" 'y'", "null", "/data/a b/über.csv"
	odd.Routing.Field = "card.id"
	for name, p := range map[string]rollout.Plan{"default": examplePlan(), "off": off, "scores": scores, "manual": manual, "odd": odd} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			roundTrip(t, p)
		})
	}
}

func TestMarshal_RoundTripsRandomPlans(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		roundTrip(t, randomPlan(rng))
	}
}

func roundTrip(t *testing.T, p rollout.Plan) {
	t.Helper()
	written := Marshal(p, "")
	got, err := Parse("p.yaml", written, "")
	if err != nil {
		t.Fatalf("%v\n%s", err, written)
	}
	if diff := cmp.Diff(p, got); diff != "" {
		t.Fatalf("plan changed (-want +got):\n%s\n%s", diff, written)
	}
}

func randomPlan(rng *rand.Rand) rollout.Plan {
	words := []string{"fraud", "true", "0x1F", "1e3", "a: b", "#x", "-", "é", "~", "no", "2024-01-01", "[a]", "*x", "&y", "!z", "a\nb", " lead", "trail "}
	word := func() string { return words[rng.IntN(len(words))] + words[rng.IntN(len(words))] }
	length := func() time.Duration { return time.Duration(1+rng.Int64N(1e6)) * time.Millisecond }
	p := rollout.DefaultPlan("m" + word())
	p.Model = strings.NewReplacer(":", "", "/", "").Replace(p.Model)
	p.Gate.Data, p.Gate.Label, p.Gate.Threshold = word(), word(), rng.Float64()
	p.Gate.Criteria = rollout.Criteria{Recall: rng.Float64(), FPR: rng.Float64(), F1Ratio: 0.5 + rng.Float64(), LatencyP95: length()}
	p.Watch = rollout.Watch{Duration: length(), OnFail: rollout.WatchNotify}
	p.Hold = rollout.HoldPolicy{Max: length(), Then: rollout.HoldKeep}
	p.Analysis.Tick, p.Analysis.Window, p.Analysis.MinRequests = 10*time.Millisecond+length(), 2+rng.IntN(100), 1+rng.IntN(1000)
	p.Analysis.Errors.SLO, p.Analysis.Latency.SLO = 0.001+rng.Float64()/2, length()
	p.Analysis.Errors.Enabled = rng.IntN(2) == 0
	p.Promotion, p.Champion = rollout.PromoteAliases, "@champion"
	p.Steps = nil
	for w := 1 + rng.IntN(2000); w < 10000; w += 1 + rng.IntN(4000) {
		p.Steps = append(p.Steps, rollout.Step{Kind: rollout.StepSetWeight, Weight: float64(w) / 100}, rollout.Step{Kind: rollout.StepPause, Duration: length()})
	}
	p.Steps = append(p.Steps, rollout.Step{Kind: rollout.StepSetWeight, Weight: 100})
	return p
}
