package app

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"serin/internal/config"
	"serin/internal/model"
	"serin/internal/rollout"
)

const exampleModels = "../../examples/creditcard/"

func pathBench(t *testing.T) *Bench {
	t.Helper()
	b, err := NewBench(BenchOptions{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func pathRef(path string) model.Ref { return model.Ref{Kind: model.RefPath, Location: path} }

func TestBench_ScoresAndMargins(t *testing.T) {
	t.Parallel()
	b := pathBench(t)
	scores, err := b.Score(t.Context(), pathRef(exampleModels+"champion"), exampleModels+"holdout.parquet", OutputPrediction)
	if err != nil {
		t.Fatal(err)
	}
	margins, err := b.Score(t.Context(), pathRef(exampleModels+"champion"), exampleModels+"holdout.parquet", OutputMargin)
	if err != nil {
		t.Fatal(err)
	}
	if len(scores.Values) != 2669 || scores.Width != 1 || scores.Kind != "probability" || len(scores.Notes) == 0 {
		t.Errorf("%d scores, width %d, %s, notes %q; want one probability for each of 2669 rows", len(scores.Values), scores.Width, scores.Kind, scores.Notes)
	}
	if len(margins.Values) != 2669 || margins.Kind != "margin" {
		t.Errorf("%d margins of kind %s", len(margins.Values), margins.Kind)
	}
	// The champion finds 93 frauds and flags 10 more (golden.json, written by XGBoost itself): a probability of a half is a margin of zero.
	flagged, positive := 0, 0
	for i := range scores.Values {
		if scores.Values[i] >= 0.5 {
			flagged++
		}
		if margins.Values[i] >= 0 {
			positive++
		}
	}
	if flagged != 103 || positive != 103 {
		t.Errorf("%d rows flagged by probability and %d by margin, want 103", flagged, positive)
	}
}

func TestBench_ScoreRefuses(t *testing.T) {
	t.Parallel()
	b := pathBench(t)
	dir := t.TempDir()
	few := filepath.Join(dir, "few.csv")
	if err := os.WriteFile(few, []byte("V1,V2\n1,2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		ref        model.Ref
		data, want string
	}{
		"missing column": {pathRef(exampleModels + "champion"), few, "few.csv"},
		"no data":        {pathRef(exampleModels + "champion"), filepath.Join(dir, "none.csv"), "none.csv"},
		"no model":       {pathRef(filepath.Join(dir, "none")), exampleModels + "holdout.parquet", "none"},
		"no registry":    {model.Ref{Kind: model.RefStage, Name: "fraud", Stage: model.StageStaging}, exampleModels + "holdout.parquet", "registry"},
	} {
		if _, err := b.Score(t.Context(), tt.ref, tt.data, OutputPrediction); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one that names %s", name, err, tt.want)
		}
	}
}

func TestBench_Compare(t *testing.T) {
	t.Parallel()
	b := pathBench(t)
	gate := rollout.DefaultPlan("alone").Gate
	gate.Data, gate.Label, gate.Criteria.Recall = exampleModels+"holdout.parquet", "is_fraud", 0.75
	for challenger, want := range map[string]string{"better": "promote", "poor": "reject", "champion": "reject"} {
		report, err := b.Compare(t.Context(), Comparison{Champion: pathRef(exampleModels + "champion"), Challenger: pathRef(exampleModels + challenger), Gate: gate})
		if err != nil || string(report.Decision) != want {
			t.Errorf("%s against the champion: %s (%v), want %s", challenger, report.Decision, err, want)
		}
	}
	gate.Criteria.LatencyP95 = 0
	report, err := b.Compare(t.Context(), Comparison{Champion: pathRef(exampleModels + "champion"), Challenger: pathRef(exampleModels + "better"), Gate: gate})
	if err != nil || report.Challenger.LatencyOff == "" {
		t.Errorf("latency criterion off: %q (%v)", report.Challenger.LatencyOff, err)
	}
	gate.Label = "nothing"
	if _, err := b.Compare(t.Context(), Comparison{Champion: pathRef(exampleModels + "champion"), Challenger: pathRef(exampleModels + "better"), Gate: gate}); err == nil {
		t.Error("a label that is not there was judged")
	}
}

// The embedded registry is the same by the App and by a server's address.
func TestBench_Registry(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load("", nil, config.Overrides{Data: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	a, err := Open(t.Context(), Options{Config: cfg, Logger: slog.New(slog.DiscardHandler), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b := a.Bench()
	if _, err := b.Staged(t.Context(), "fraud", model.StageStaging); err == nil || !strings.Contains(err.Error(), "serin register fraud") {
		t.Errorf("a model that is not there: %v", err)
	}
	version, err := b.Register(t.Context(), Registration{Name: "fraud", Path: exampleModels + "champion", Stage: model.StageStaging})
	if err != nil || version != "1" {
		t.Fatalf("register: version %q, %v", version, err)
	}
	names, err := b.Names(t.Context())
	if diff := cmp.Diff([]string{"fraud"}, names); diff != "" || err != nil {
		t.Errorf("names (-want +got):\n%s (%v)", diff, err)
	}
	staged, err := b.Staged(t.Context(), "fraud", model.StageStaging)
	if diff := cmp.Diff([]string{"1"}, staged); diff != "" || err != nil {
		t.Errorf("staged (-want +got):\n%s (%v)", diff, err)
	}
	pin, err := b.Resolve(t.Context(), model.Ref{Kind: model.RefStage, Name: "fraud", Stage: model.StageStaging})
	if err != nil || pin.Version != "1" || !strings.HasPrefix(pin.Digest, "sha256:") {
		t.Errorf("resolved to %+v (%v)", pin, err)
	}
	if _, err := b.Resolve(context.Background(), model.Ref{Kind: model.RefVersion, Name: "fraud", Version: "9"}); err == nil {
		t.Error("version 9 was found")
	}
}
