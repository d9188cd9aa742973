package app

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/config"
	"serin/internal/model"
	"serin/internal/rollout"
	"serin/internal/routingfile"
	"serin/internal/traffic"
)

// routing is a router on one model's file.
func routing(t *testing.T, peers ...string) (*router, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "routing.json")
	cfg := config.Config{Models: []config.Model{defaultModel(fraud, path)}}
	p, err := newPeers(peers)
	if err != nil {
		t.Fatal(err)
	}
	return &router{models: newCatalog(cfg), peers: p}, path
}

func deployTo(weight float64) func(traffic.Document) (traffic.Document, error) {
	return func(prev traffic.Document) (traffic.Document, error) {
		return traffic.Deploy(prev, traffic.DeployParams{
			Model: fraud, WeightPct: weight, URIs: traffic.URIStage, Champion: model.Pin{Version: "1"}, Canary: model.Pin{Version: "2"}, Salt: "s",
			LeaseUntil: time.Now().Add(time.Minute), By: traffic.Author{Writer: "test"},
		})
	}
}

func rollBack(prev traffic.Document) (traffic.Document, error) {
	return traffic.Rollback(prev, traffic.RollbackParams{Model: fraud, Champion: model.Pin{Version: "1"}, URIs: traffic.URIStage, At: time.Now(), By: traffic.Author{Writer: "test"}})
}

// A broken file is replaced by what gives the champion everything, and kept beside it; nothing gives a canary traffic by a file that nobody could read.
func TestRouter_BrokenFile(t *testing.T) {
	t.Parallel()
	r, path := routing(t)
	if err := os.WriteFile(path, []byte("{half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Apply(t.Context(), fraud, deployTo(20)); !errors.Is(err, routingfile.ErrBroken) {
		t.Errorf("a deploy on a broken file: %v", err)
	}
	same := func(prev traffic.Document) (traffic.Document, error) { return prev, nil }
	if _, err := r.Apply(t.Context(), fraud, same); !errors.Is(err, routingfile.ErrBroken) {
		t.Errorf("a change that changes nothing: %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "{half" {
		t.Errorf("the file is %q, %v", text, err)
	}
	doc, err := r.Apply(t.Context(), fraud, rollBack)
	if err != nil || doc.CanaryEnabled || doc.Control.Champion.Version != "1" {
		t.Fatalf("a rollback on a broken file: %+v, %v", doc, err)
	}
	if text, err := os.ReadFile(path + ".broken"); err != nil || string(text) != "{half" {
		t.Errorf("kept %q, %v", text, err)
	}
}

func TestRouter_ErrorsOfTheChangeComeBack(t *testing.T) {
	t.Parallel()
	r, path := routing(t)
	wanted := errors.New("not like this")
	if _, err := r.Apply(t.Context(), fraud, func(prev traffic.Document) (traffic.Document, error) { return prev, wanted }); !errors.Is(err, wanted) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("a file was written: %v", err)
	}
	if doc, err := r.Current(t.Context(), fraud); err != nil || doc.ProductionURI != "" {
		t.Errorf("without a file %+v, %v", doc, err)
	}
}

// One gateway that hangs or is away is a view with an error, and costs the others nothing.
func TestRouter_Observe(t *testing.T) {
	t.Parallel()
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("# TYPE serin_routing_generation gauge\nserin_routing_generation{model=\"" + fraud + "\"} 7\n"))
	})
	good, hung := newSwitch(t, page), newSwitch(t, page)
	hung.hang()
	gone := httptest.NewServer(page)
	gone.Close()
	r, _ := routing(t, hung.url, good.url, gone.URL)
	r.local = func(name string) (int64, bool) { return 9, name == fraud }
	began := time.Now()
	seen, err := r.Observe(t.Context(), fraud)
	if took := time.Since(began); err != nil || took > 2*askFor {
		t.Fatalf("asked for %s: %v", took, err)
	}
	if len(seen.Gateways) != 4 {
		t.Fatalf("seen %+v", seen)
	}
	if own := seen.Gateways[0]; own.Generation != 9 || own.Err != "" {
		t.Errorf("own %+v", own)
	}
	if g := seen.Gateways[2]; g.Name != good.url || g.Generation != 7 || g.Err != "" {
		t.Errorf("good %+v", g)
	}
	for _, i := range []int{1, 3} {
		if g := seen.Gateways[i]; g.Err == "" || g.Generation != 0 || strings.Contains(g.Err, "\n") {
			t.Errorf("away %+v", g)
		}
	}
	if seen, err = r.Observe(t.Context(), "another"); err != nil || !strings.Contains(seen.Gateways[0].Err, "does not serve another yet") {
		t.Errorf("another model: %+v, %v", seen, err)
	}
}

func TestOthers_LeavesOutTheOwnGateway(t *testing.T) {
	t.Parallel()
	urls := []string{"http://127.0.0.1:8081", "http://localhost:8081/", "http://127.0.0.1:8082", "http://gw-1:8081", "http://10.0.0.7:8081"}
	tests := []struct {
		at   string
		want []string
	}{
		{"127.0.0.1:8081", urls[2:]},
		{"127.0.0.1:9000", urls},
		{"0.0.0.0:8081", urls[2:]},
		{"10.0.0.7:8081", []string{urls[0], urls[1], urls[2], urls[3]}},
	}
	for _, tt := range tests {
		t.Run(tt.at, func(t *testing.T) {
			t.Parallel()
			addr, err := net.ResolveTCPAddr("tcp", tt.at)
			if err != nil {
				t.Fatal(err)
			}
			peers, err := newPeers(urls)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range others(peers, addr) {
				got = append(got, p.url)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("peers (-want +got):\n%s", diff)
			}
		})
	}
	if _, err := newPeers([]string{"gw-1:8081"}); err == nil || !strings.Contains(err.Error(), "gateways: gw-1:8081") {
		t.Errorf("not a URL: %v", err)
	}
}

// A mistyped name leaves nothing behind, and the second model on one file is refused by the first's name.
func TestCatalog_ClaimsRoutingFiles(t *testing.T) {
	t.Parallel()
	c := newCatalog(config.Config{RoutingFile: filepath.Join(t.TempDir(), "routing.json")})
	if _, err := c.get("mistyped"); err != nil {
		t.Fatal(err)
	}
	if got := c.names(); len(got) != 0 {
		t.Errorf("known %v", got)
	}
	first, err := c.claim(fraud)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := c.claim(fraud); err != nil || again != first {
		t.Errorf("claimed again: %v", err)
	}
	if _, err := c.claim("second"); err == nil || !strings.Contains(err.Error(), fraud+" and second") {
		t.Errorf("the second model on the file: %v", err)
	}
	if diff := cmp.Diff([]string{fraud}, c.names()); diff != "" {
		t.Errorf("names:\n%s", diff)
	}
}

// The plan of a rollout is in force while it lasts; the configured one is what the next start takes, and it says how the file is written.
func TestCatalog_PlanInForce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := &site{t: t, dir: dir}
	s.write("plan.yaml", plan{}.text(fraud))
	configured := defaultModel(fraud, filepath.Join(dir, "routing.json"))
	configured.Plan = filepath.Join(dir, "plan.yaml")
	c := newCatalog(config.Config{Models: []config.Model{configured}})
	before, err := c.claim(fraud)
	if err != nil {
		t.Fatal(err)
	}
	other := rollout.DefaultPlan(fraud)
	other.Routing.Compat, other.Analysis.Tick = "strict", time.Hour
	if err := c.adopt(other); err != nil {
		t.Fatal(err)
	}
	after, err := c.get(fraud)
	if err != nil {
		t.Fatal(err)
	}
	if c.planOf(fraud).Analysis.Tick != time.Hour || after.plan.Analysis.Tick != 150*time.Millisecond || before.inForce.Analysis.Tick != 150*time.Millisecond || !after.claimed {
		t.Errorf("in force %v, configured %v, the copy taken before %v", c.planOf(fraud).Analysis.Tick, after.plan.Analysis.Tick, before.inForce.Analysis.Tick)
	}
	r := &router{models: c}
	if _, err := r.Apply(t.Context(), fraud, rollBack); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(s.path("routing.json")); err != nil || strings.Contains(string(text), `"serin"`) {
		t.Errorf("compat strict, but %s, %v", text, err)
	}
	if err := c.adopt(rollout.DefaultPlan("unknown")); err != nil || c.planOf("unknown").Model != "" {
		t.Errorf("an unknown model was adopted: %v", err)
	}
	free := newCatalog(config.Config{RoutingFile: filepath.Join(dir, "free.json")})
	if _, err := free.claim(fraud); err != nil {
		t.Fatal(err)
	}
	if err := free.adopt(other); err != nil {
		t.Fatal(err)
	}
	if m, err := free.get(fraud); err != nil || m.plan.Analysis.Tick != time.Hour {
		t.Errorf("without a configured plan the next start takes the last one: %v, %v", m.plan.Analysis.Tick, err)
	}
}

func TestMemory(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "folder", "known.json")
	m, err := openMemory(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := m.champion(fraud); ok {
		t.Error("a new memory knows a champion")
	}
	pin := model.Pin{Version: "7", Digest: "sha256:ab", Slot: 2}
	if err := errors.Join(m.serves(fraud, pin), m.setPlaces("http://registry", map[string]string{fraud: "/routing.json"})); err != nil {
		t.Fatal(err)
	}
	was, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.serves(fraud, pin), m.setPlaces("http://registry", map[string]string{fraud: "/routing.json"})); err != nil {
		t.Fatal(err)
	}
	if is, err := os.Stat(path); err != nil || !os.SameFile(was, is) {
		t.Errorf("the same again was written again: %v", err)
	}
	again, err := openMemory(path)
	if err != nil {
		t.Fatal(err)
	}
	got, ok := again.champion(fraud)
	registry, files := again.places()
	if !ok || got != pin || registry != "http://registry" || files[fraud] != "/routing.json" {
		t.Errorf("remembered %+v, %s, %v", got, registry, files)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openMemory(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a broken memory: %v", err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestChampionRef(t *testing.T) {
	t.Parallel()
	tests := []struct {
		champion string
		mode     rollout.PromotionMode
		want     string
	}{
		{"Production", rollout.PromoteBoth, "models:/m/Production"},
		{"@blue", rollout.PromoteBoth, "models:/m@blue"},
		{"@blue", rollout.PromoteAliases, "models:/m@blue"},
		{"Production", rollout.PromoteAliases, "models:/m@champion"},
		{"41", rollout.PromoteStages, ""},
		{"", rollout.PromoteStages, ""},
	}
	for _, tt := range tests {
		got := ""
		if ref, ok := championRef(rollout.Plan{Model: "m", Champion: tt.champion, Promotion: tt.mode}); ok {
			got = ref.String()
		}
		if got != tt.want {
			t.Errorf("champion %q, promotion %s: follows %q, want %q", tt.champion, tt.mode, got, tt.want)
		}
	}
}

func TestSettled(t *testing.T) {
	t.Parallel()
	ours := func(uri string) traffic.Document {
		return traffic.Document{ProductionURI: uri, ChampionPct: 100, Control: &traffic.Control{Champion: model.Pin{Version: "1"}}}
	}
	canary := ours("models:/m/Production")
	canary.CanaryEnabled, canary.CanaryPct, canary.ChampionPct, canary.CanaryURI = true, 5, 95, "models:/m/Staging"
	foreign := ours("models:/m/Production")
	foreign.Control = nil
	for name, tt := range map[string]struct {
		doc  traffic.Document
		want bool
	}{
		"ours by stage":                 {ours("models:/m/Production"), true},
		"ours by version, as an undo":   {ours("models:/m/1"), true},
		"another version by a stranger": {ours("models:/m/2"), false},
		"a canary":                      {canary, false},
		"not ours at all":               {foreign, false},
		"no document":                   {traffic.Document{}, false},
	} {
		if got := settled(tt.doc, "m"); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}
