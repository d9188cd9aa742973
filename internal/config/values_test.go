package config

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Random models, in words that are all allowed: each comes out as it was written, in its order.
func TestLoad_RandomModels(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(4, 20))
	for range 100 {
		var text strings.Builder
		var want []Model
		text.WriteString("models:\n")
		for i := range 1 + rng.IntN(5) {
			m := Model{
				Name: fmt.Sprintf("m%d ü", rng.IntN(1000)*10+i), RoutingFile: "/r" + strconv.Itoa(i), Backend: BackendInProcess, Failover: FailoverOn,
				OnControllerLost: LostChampion, Metrics: PresetSerin, Autostart: "never",
			}
			fmt.Fprintf(&text, "  %s:\n    routing_file: %s\n", m.Name, m.RoutingFile)
			if rng.IntN(2) == 0 {
				m.Failover = FailoverOff
				text.WriteString("    failover: off\n")
			}
			if rng.IntN(2) == 0 {
				m.OnControllerLost = LostKeep
				text.WriteString("    onControllerLost: keep\n")
			}
			if rng.IntN(2) == 0 {
				m.Metrics = PresetPrometheus
				text.WriteString("    metrics: {preset: prometheus}\n")
			}
			if rng.IntN(2) == 0 {
				m.Plan = "/plans/" + strconv.Itoa(rng.IntN(9))
				fmt.Fprintf(&text, "    plan: %s\n", m.Plan)
			}
			if rng.IntN(2) == 0 {
				m.Backend, m.URLs = BackendURLs, []string{"http://a" + strconv.Itoa(i), "http://b"}
				fmt.Fprintf(&text, "    backend: {urls: [%s/, %s]}\n", m.URLs[0], m.URLs[1])
				if rng.IntN(2) == 0 {
					m.Identity = Identity{Path: "/v", Field: "a.b"}
					text.WriteString("    identity: {path: /v, field: a.b}\n")
				}
			}
			want = append(want, m)
		}
		cfg, err := Load(write(t, text.String()), nil, Overrides{})
		if err != nil {
			t.Fatalf("%v in\n%s", err, text.String())
		}
		if diff := cmp.Diff(want, cfg.Models); diff != "" {
			t.Fatalf("models of (-want +got):\n%s\n%s", text.String(), diff)
		}
		for _, m := range want {
			if found, ok := cfg.Find(m.Name); !ok || found.Name != m.Name || cfg.RoutingPath(m.Name) != m.RoutingFile || cfg.PlanPath(m.Name) != m.Plan {
				t.Fatalf("%s is found as %+v, %v", m.Name, found, ok)
			}
		}
		if err := cfg.CheckServe(); err != nil {
			t.Fatal(err)
		}
	}
}

// Each event may be listened to, alone and all together; a channel hears of them in its own order.
func TestLoad_EachEvent(t *testing.T) {
	t.Parallel()
	for _, event := range Events() {
		cfg, err := Load(write(t, "notifications: [{name: a, log: {}, on: ["+event+"]}]\n"), nil, Overrides{})
		if err != nil || len(cfg.Notifications) != 1 || len(cfg.Notifications[0].On) != 1 || cfg.Notifications[0].On[0] != event {
			t.Errorf("%s: %+v, %v", event, cfg.Notifications, err)
		}
	}
	all := Events()
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	cfg, err := Load(write(t, "notifications: [{name: a, log: {}, on: ["+strings.Join(all, ", ")+"]}]\n"), nil, Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all, cfg.Notifications[0].On); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// An empty list of channels is silence by choice, and no list at all is the default channel.
func TestLoad_NoNotifications(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"notifications: []\n": 0, "gateways: []\n": 1} {
		cfg, err := Load(write(t, text), nil, Overrides{})
		if err != nil || len(cfg.Notifications) != want {
			t.Errorf("%q: %+v, %v; want %d channels", text, cfg.Notifications, err, want)
		}
	}
}

// Two names of one file are one file, in every way that people write them.
func TestCanonical(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"real", "other"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "real", "there.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{"link": "real", "other/file.json": "../real/there.json", "dangling": "nowhere"} {
		if err := os.Symlink(to, filepath.Join(dir, from)); err != nil {
			t.Fatal(err)
		}
	}
	for in, want := range map[string]string{
		"real/there.json": "real/there.json", "real/../real/./there.json": "real/there.json", "link/there.json": "real/there.json",
		"other/file.json": "real/there.json", "link/new.json": "real/new.json", "nowhere/new.json": "nowhere/new.json", "dangling/new.json": "dangling/new.json",
	} {
		if got := canonical(dir + "/" + in); got != filepath.Join(dir, want) {
			t.Errorf("%s is %s, want %s", in, got, want)
		}
	}
}

// What a command may still do with a configuration that is refused: find its model's files.
func TestLoad_UnreadableFileGivesDefaultsAndFlags(t *testing.T) {
	t.Parallel()
	cfg, err := Load(filepath.Join(t.TempDir(), "none.yaml"), env("SERIN_DATA=env-data"), Overrides{RoutingFile: "r.json"})
	if err == nil || !strings.HasPrefix(err.Error(), "configuration: open ") {
		t.Errorf("error %v", err)
	}
	if cfg.RoutingPath("m") != "r.json" || cfg.Data != "env-data" || cfg.Server.Listen != "127.0.0.1:8080" || cfg.File != "" {
		t.Errorf("in force: %+v", cfg)
	}
}

// The address for links is the one that people open, and never ends in a slash.
func TestBaseURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"server: {listen: '[::1]:9'}\n":                                 "http://[::1]:9",
		"server: {external_url: https://serin.example/base/}\n":         "https://serin.example/base",
		"server: {listen: 'localhost:9', external_url: 'http://h:1'}\n": "http://h:1",
	} {
		cfg, err := Load(write(t, text), nil, Overrides{})
		if err != nil || cfg.BaseURL() != want {
			t.Errorf("%q: %s, %v; want %s", text, cfg.BaseURL(), err, want)
		}
	}
}

// Every path through Explain hides a password, wherever an address may stand.
func TestExplain_HidesPasswordsEverywhere(t *testing.T) {
	t.Parallel()
	path := write(t, "server: {external_url: 'http://u:geheim@e'}\ngateways: ['http://u:geheim@g', 'http://plain']\n"+
		"models: {m: {backend: {urls: ['http://u:geheim@a', 'http://b']}}}\n")
	vars := env("MLFLOW_TRACKING_URI=http://u:geheim@m", "PROMETHEUS_URL=http://u:geheim@p", "SERIN_SERVER=http://geheim@s")
	cfg, err := Load(path, vars, Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	secret := map[string]bool{}
	for _, s := range cfg.Explain() {
		if strings.Contains(s.Value, "geheim") {
			t.Errorf("%s shows %s", s.Name, s.Value)
		}
		secret[s.Name] = s.Secret
	}
	for _, name := range []string{"server.external_url", "gateways", "mlflow", "prometheus", "server_url", "models.m.backend"} {
		if !secret[name] {
			t.Errorf("%s is not marked as hidden in part", name)
		}
	}
	if secret["data"] || secret["plan"] {
		t.Error("what holds no secret is marked as one")
	}
}

// One model has one plan and one routing file, from wherever; with several, a file for all is refused by the name of where it came from.
func TestCheckServe_NamesTheSource(t *testing.T) {
	t.Parallel()
	path := write(t, "models: {a: {routing_file: a.json}, b: {routing_file: b.json}}\n")
	for _, tt := range []struct {
		vars  func(string) string
		flags Overrides
		want  string
	}{
		{nil, Overrides{}, ""},
		{nil, Overrides{Plan: "p"}, "p from flag --plan"},
		{env("SERIN_PLAN=e"), Overrides{}, "e from environment SERIN_PLAN"},
		{env("SERIN_PLAN=e"), Overrides{Plan: "p"}, "p from flag --plan"},
		{env("SERIN_ROUTING_FILE=e"), Overrides{Plan: "p"}, "e from environment SERIN_ROUTING_FILE"},
		{env("SERIN_MODEL=a", "SERIN_DATA=d"), Overrides{Server: "http://h"}, ""},
	} {
		cfg, err := Load(path, tt.vars, tt.flags)
		if err != nil {
			t.Fatal(err)
		}
		err = cfg.CheckServe()
		if want := tt.want + " is one file for 2 models (a, b): remove it, and name a file for each in " + path; tt.want == "" && err != nil ||
			tt.want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%+v: %v\nwant %s", tt.flags, err, want)
		}
	}
}
