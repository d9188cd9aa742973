package stories

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/examples/creditcard"
	"serin/internal/config"
	"serin/internal/planfile"
	"serin/internal/rollout"
)

func emptyWorld(t *testing.T) *world {
	t.Helper()
	return &world{Options: Options{Dir: t.TempDir(), Actor: "tester", Teller: NewTeller(&book{}, Text)}}
}

func TestUnpack(t *testing.T) {
	t.Parallel()
	w := emptyWorld(t)
	for range 2 { // a second time finds the folder there
		if err := w.unpack(); err != nil {
			t.Fatal(err)
		}
	}
	files := 0
	err := fs.WalkDir(creditcard.FS, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		want, err := creditcard.FS.ReadFile(path)
		if err != nil {
			return err
		}
		got, err := os.ReadFile(w.path("creditcard", path))
		if err != nil {
			return err
		}
		if string(got) != string(want) {
			t.Errorf("%s differs from what is in the program", path)
		}
		return nil
	})
	if err != nil || files < 8 {
		t.Errorf("%d files, %v", files, err)
	}
	for _, dir := range []string{"champion", "better", "poor"} {
		if _, err := os.Stat(w.path("creditcard", dir, "MLmodel")); err != nil {
			t.Error(err)
		}
	}
}

func TestUnpack_FolderThatIsAFile(t *testing.T) {
	t.Parallel()
	w := emptyWorld(t)
	w.Dir = filepath.Join(w.Dir, "file")
	if err := os.WriteFile(w.Dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.unpack(); err == nil {
		t.Error("a file was taken for a folder")
	}
	if err := w.configure(); err == nil {
		t.Error("a file was taken for a folder")
	}
}

func TestReadTraffic(t *testing.T) {
	t.Parallel()
	w := emptyWorld(t)
	for range 2 { // a second reading replaces the first
		if err := w.readTraffic(); err != nil {
			t.Fatal(err)
		}
	}
	const payments, columns = 2000, 29
	if len(w.rows.values) != payments || len(w.rows.customers) != payments || len(w.rows.columns) != columns {
		t.Fatalf("%d rows of %d customers with %d columns", len(w.rows.values), len(w.rows.customers), len(w.rows.columns))
	}
	if w.rows.columns[0] != "V1" || w.rows.columns[columns-1] != "Amount" {
		t.Errorf("columns %v", w.rows.columns)
	}
	seen := map[string]bool{}
	for i, customer := range w.rows.customers {
		if seen[customer] {
			t.Errorf("customer %s is there twice: the share of requests is not the share of customers", customer)
		}
		seen[customer] = true
		if len(w.rows.values[i]) != columns {
			t.Errorf("row %d has %d values", i, len(w.rows.values[i]))
		}
	}
	for i, want := range []float64{0.039583676, 1.0544025, -0.56347096} {
		if got := w.rows.values[0][i]; got != want {
			t.Errorf("value %d of the first payment is %v, want %v", i, got, want)
		}
	}
}

// The demo's plan is the default plan: what differs is the data, the limits that fit them, and times by the factors that the title states.
func TestPlan_IsTheDefaultPlanCompressed(t *testing.T) {
	t.Parallel()
	for _, name := range []string{cards, service, restart} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if faults := planfile.Lint("plan.yaml", []byte(plan(name))); len(faults) > 0 {
				t.Errorf("faults or warnings: %v", faults)
			}
			got, err := planfile.Parse("plan.yaml", []byte(plan(name)), "/demo/plans")
			if err != nil {
				t.Fatal(err)
			}
			want := rollout.DefaultPlan(name)
			want.Gate.Data, want.Gate.Label = "/demo/creditcard/holdout.parquet", "is_fraud"
			want.Gate.Criteria.Recall = 0.75
			for i := range want.Steps {
				want.Steps[i].Duration /= bakeFactor
			}
			want.Watch.Duration /= bakeFactor
			want.Hold.Max /= bakeFactor
			want.Analysis.Tick /= tickFactor
			want.Notifications = []string{"log"}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the demo's plan is not the default plan compressed (-want +got)\n%s", diff)
			}
		})
	}
}

// The title says what the factors make of the times; they must come out even, and keep enough ticks in a bake.
func TestCompression(t *testing.T) {
	t.Parallel()
	for full, want := range map[time.Duration]time.Duration{30 * time.Minute: 7500 * time.Millisecond, time.Hour: 15 * time.Second, 2 * time.Hour: 30 * time.Second} {
		if got := full / bakeFactor; got != want || got*bakeFactor != full {
			t.Errorf("%s becomes %s, want %s", full, got, want)
		}
	}
	if tick := 15 * time.Second / tickFactor; tick != 500*time.Millisecond || 30*time.Minute/bakeFactor < 10*tick {
		t.Errorf("a tick of %s is too long for the first bake", tick)
	}
}

func TestConfigure_IsAConfigurationThatServes(t *testing.T) {
	t.Parallel()
	w := emptyWorld(t)
	w.slotURLs = [2]string{"http://127.0.0.1:7001", "http://127.0.0.1:7002"}
	if err := w.configure(); err != nil {
		t.Fatal(err)
	}
	none := func(string) string { return "" }
	if faults, err := config.Lint(w.path("serin.yaml"), none, config.Overrides{}); err != nil || len(faults) > 0 {
		t.Errorf("faults or warnings: %v, %v", faults, err)
	}
	cfg, err := config.Load(w.path("serin.yaml"), none, config.Overrides{Data: w.path("data")})
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.CheckServe(); err != nil {
		t.Error(err)
	}
	if "http://"+cfg.Server.Listen != w.api || len(cfg.Gateways) != 1 || cfg.Gateways[0] != w.gateway || w.api == w.gateway {
		t.Errorf("server at %s, gateways %v; the demo expects %s and %s", cfg.Server.Listen, cfg.Gateways, w.api, w.gateway)
	}
	checkModels(t, w, cfg.Models)
}

// checkModels wants one routing file and one readable plan a model, below the demo's folder.
func checkModels(t *testing.T, w *world, models []config.Model) {
	t.Helper()
	files := map[string]string{}
	for _, m := range models {
		if other := files[m.RoutingFile]; other != "" || !strings.HasPrefix(m.RoutingFile, w.Dir) {
			t.Errorf("routing file %s of %s: also of %q, or not in %s", m.RoutingFile, m.Name, other, w.Dir)
		}
		files[m.RoutingFile] = m.Name
		data, err := os.ReadFile(m.Plan)
		if err != nil {
			t.Error(err)
			continue
		}
		if p, err := planfile.Parse(m.Plan, data, filepath.Dir(m.Plan)); err != nil || p.Model != m.Name || p.Gate.Data != w.path("creditcard", "holdout.parquet") {
			t.Errorf("plan of %s is for %q with data %s: %v", m.Name, p.Model, p.Gate.Data, err)
		}
		backend, urls := config.BackendInProcess, []string(nil)
		if m.Name == service {
			backend, urls = config.BackendURLs, w.slotURLs[:]
		}
		if diff := cmp.Diff(urls, m.URLs); m.Backend != backend || diff != "" {
			t.Errorf("backend of %s is %s at %v", m.Name, m.Backend, m.URLs)
		}
	}
	if len(files) != 3 {
		t.Errorf("models %v", files)
	}
}
