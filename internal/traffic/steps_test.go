package traffic_test

import (
	"encoding/json"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/model"
	"serin/internal/traffic"
)

var update = flag.Bool("update", false, "write the golden files of this package")

const fraud = "fraud_detection_xgboost"

var (
	at       = time.Date(2025, 1, 20, 10, 30, 0, 0, time.UTC)
	author   = traffic.Author{Writer: "serin serve", Rollout: "r-7", Task: "deploy_canary_5_percent", Attempt: 1}
	champion = model.Pin{Version: "40", Digest: "sha256:aa"}
	canary   = model.Pin{Version: "41", Digest: "sha256:bb"}
)

func deploy(t *testing.T, prev traffic.Document, pct float64) traffic.Document {
	t.Helper()
	d, err := traffic.Deploy(prev, traffic.DeployParams{
		Model: fraud, WeightPct: pct, URIs: traffic.URIStage, Champion: champion, Canary: canary,
		Salt: "s4lt", LeaseUntil: at.Add(2 * time.Minute), By: author,
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// steps are the four documents of a rollout, each made from the one before.
func steps(t *testing.T) map[string]traffic.Document {
	t.Helper()
	five := deploy(t, traffic.Document{}, 5)
	quarter := deploy(t, five, 25)
	back, err := traffic.Rollback(quarter, traffic.RollbackParams{Model: fraud, At: at, By: author})
	if err != nil {
		t.Fatal(err)
	}
	promoted, err := traffic.Promote(quarter, traffic.PromoteParams{Model: fraud, URIs: traffic.URIStage, Champion: canary, By: author})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]traffic.Document{"deploy5": five, "deploy25": quarter, "rollback": back, "promotion": promoted}
}

func TestGoldenDocuments(t *testing.T) {
	for name, doc := range steps(t) {
		t.Run(name, func(t *testing.T) {
			extended, none, err := doc.Marshal(traffic.CompatExtended)
			if err != nil || none != nil {
				t.Fatalf("sidecar %q, error %v", none, err)
			}
			strict, side, err := doc.Marshal(traffic.CompatStrict)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".json", extended)
			golden(t, name+".strict.json", strict)
			golden(t, name+".sidecar.json", side)

			again, err := traffic.ParseDocument(extended)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(doc, again, cmp.AllowUnexported(traffic.Set{})); diff != "" {
				t.Errorf("read back (-want +got):\n%s", diff)
			}
			bare, err := traffic.ParseDocument(strict)
			if err != nil {
				t.Fatal(err)
			}
			joined, highest, err := bare.WithSidecar(side)
			if err != nil || highest != doc.Generation() {
				t.Fatalf("highest generation %d, error %v", highest, err)
			}
			if diff := cmp.Diff(doc, joined, cmp.AllowUnexported(traffic.Set{})); diff != "" {
				t.Errorf("read back with its sidecar (-want +got):\n%s", diff)
			}
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// oldReader knows the five keys and nothing else, and draws a random number for each request, as the readers that exist do.
type oldReader struct {
	CanaryEnabled      bool    `json:"canary_enabled"`
	CanaryTrafficPct   float64 `json:"canary_traffic_pct"`
	CanaryModelURI     string  `json:"canary_model_uri"`
	ChampionTrafficPct float64 `json:"champion_traffic_pct"`
	ProductionModelURI string  `json:"production_model_uri"`
}

func (o oldReader) route(draw float64) string {
	if o.CanaryEnabled && draw*100 < o.CanaryTrafficPct {
		return o.CanaryModelURI
	}
	return o.ProductionModelURI
}

func TestOldReaderRoutesEveryGolden(t *testing.T) {
	const staging, production = "models:/" + fraud + "/Staging", "models:/" + fraud + "/Production"
	for name, share := range map[string]float64{"deploy5": 0.05, "deploy25": 0.25, "rollback": 0, "promotion": 0} {
		for _, file := range []string{name + ".json", name + ".strict.json"} {
			data, err := os.ReadFile(filepath.Join("testdata", file))
			if err != nil {
				t.Fatal(err)
			}
			var reader oldReader
			if err := json.Unmarshal(data, &reader); err != nil {
				t.Fatal(err)
			}
			if reader.CanaryTrafficPct != share*100 || reader.ChampionTrafficPct != 100-share*100 {
				t.Errorf("%s: %v / %v, want %v", file, reader.CanaryTrafficPct, reader.ChampionTrafficPct, share*100)
			}
			seen := map[string]int{}
			rng := rand.New(rand.NewPCG(1, 2))
			const n = 20000
			for range n {
				seen[reader.route(rng.Float64())]++
			}
			if seen[staging]+seen[production] != n {
				t.Errorf("%s: requests went to %v", file, seen)
			}
			checkShare(t, file, share, seen[staging], n)
		}
	}
}

func TestRollbackNeedsNothingAndDeployForgetsIt(t *testing.T) {
	t.Parallel()
	back, err := traffic.Rollback(traffic.Document{}, traffic.RollbackParams{
		Model: fraud, URIs: traffic.URIStage, At: at.In(time.FixedZone("x", 7200)), By: traffic.Author{Writer: "a person"},
	})
	if err != nil {
		t.Fatal(err)
	}
	data, _, err := back.Marshal(traffic.CompatExtended)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"rollback_timestamp": "2025-01-20T10:30:00"`, `"production_model_uri": "models:/fraud_detection_xgboost/Production"`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("no %s in\n%s", want, data)
		}
	}
	if next := deploy(t, back, 5); !next.RollbackAt.IsZero() || next.Generation() != 2 {
		t.Errorf("after a deploy: rollback at %v, generation %d", next.RollbackAt, next.Generation())
	}
}

func TestVersionURIs(t *testing.T) {
	t.Parallel()
	d, err := traffic.Deploy(traffic.Document{}, traffic.DeployParams{
		Model: fraud, WeightPct: 0.05, URIs: traffic.URIVersion, Champion: champion, Canary: canary, Salt: "s", By: author,
	})
	if err != nil {
		t.Fatal(err)
	}
	if d.CanaryURI != "models:/"+fraud+"/41" || d.ProductionURI != "models:/"+fraud+"/40" || d.CanaryPct+d.ChampionPct != 100 {
		t.Errorf("%+v", d)
	}
	back, err := traffic.Promote(d, traffic.PromoteParams{Model: fraud, URIs: traffic.URIVersion, Champion: model.Pin{Version: "39"}, By: author})
	if err != nil {
		t.Fatal(err)
	}
	table := back.Table(fraud)
	if back.ProductionURI != "models:/"+fraud+"/39" || table.Champion.Pin.Version != "39" || table.Canary != nil {
		t.Errorf("%+v", table)
	}
}

func TestRenewLease(t *testing.T) {
	t.Parallel()
	five := deploy(t, traffic.Document{}, 5)
	later, err := traffic.RenewLease(five, at.Add(time.Hour), author)
	if err != nil {
		t.Fatal(err)
	}
	if !later.Control.LeaseUntil.Equal(at.Add(time.Hour)) || later.Generation() != 2 || five.Generation() != 1 {
		t.Errorf("renewed %+v, before %+v", later.Control, five.Control)
	}
	if _, err := traffic.RenewLease(traffic.Document{}, at, author); err == nil {
		t.Error("renewed the lease of nothing")
	}
}

func TestStepsRefuse(t *testing.T) {
	t.Parallel()
	good := traffic.DeployParams{Model: fraud, WeightPct: 5, URIs: traffic.URIStage, Champion: champion, Canary: canary, Salt: "s", By: author}
	for name, change := range map[string]func(*traffic.DeployParams){
		"all traffic":      func(p *traffic.DeployParams) { p.WeightPct = 100 },
		"below a bucket":   func(p *traffic.DeployParams) { p.WeightPct = 0.001 },
		"negative":         func(p *traffic.DeployParams) { p.WeightPct = -5 },
		"no salt":          func(p *traffic.DeployParams) { p.Salt = "" },
		"no writer":        func(p *traffic.DeployParams) { p.By.Writer = "" },
		"bad name":         func(p *traffic.DeployParams) { p.Model = "a/b" },
		"unknown form":     func(p *traffic.DeployParams) { p.URIs = "tag" },
		"version unknown":  func(p *traffic.DeployParams) { p.URIs = traffic.URIVersion; p.Canary.Version = "" },
		"buckets disagree": func(p *traffic.DeployParams) { p.Buckets = traffic.Percent(6) },
	} {
		p := good
		change(&p)
		if _, err := traffic.Deploy(traffic.Document{}, p); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := traffic.Rollback(traffic.Document{}, traffic.RollbackParams{Model: fraud, URIs: traffic.URIStage, By: author}); err == nil {
		t.Error("a rollback without a time: no error")
	}
}
