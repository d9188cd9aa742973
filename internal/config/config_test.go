package config

import (
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "rewrite golden files")

// env makes an environment of NAME=VALUE.
func env(pairs ...string) func(string) string {
	return func(name string) string {
		for _, p := range pairs {
			if value, ok := strings.CutPrefix(p, name+"="); ok {
				return value
			}
		}
		return ""
	}
}

// write puts a serin.yaml into a folder of its own.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "serin.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

var exampleEnv = env("SLACK_WEBHOOK_URL=https://hooks.example/services/env-secret", "MLFLOW_TRACKING_URI=http://mlflow:5000",
	"PROMETHEUS_URL=http://reader:pw-of-prometheus@prometheus:9090", "SERIN_DATA=/var/lib/serin", "SERIN_MODEL=churn")

func TestLoad_EveryKey(t *testing.T) {
	t.Parallel()
	got, err := Load("testdata/serin.yaml", exampleEnv, Overrides{Data: "/flag/data"})
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		File:     "testdata/serin.yaml",
		Server:   Server{Listen: "127.0.0.1:9080", ExternalURL: "https://serin.example"},
		Gateway:  Gateway{Listen: "[::1]:9081"},
		Gateways: []string{"http://gw-1:8081", "http://ops:pw-of-gw@gw-2:8081"},
		Models: []Model{
			{
				Name: "fraud_detection_xgboost", Plan: "testdata/plans/fraud.yaml", RoutingFile: "testdata/config/traffic_routing.json",
				Backend: BackendInProcess, Failover: FailoverOn, OnControllerLost: LostChampion, Metrics: PresetSerin, Autostart: "never",
			},
			{
				Name: "churn", RoutingFile: "/etc/serin/churn.json", Backend: BackendURLs, URLs: []string{"http://a:5001", "http://b:5002"},
				Identity: Identity{Path: "/health", Field: "model_version"}, Failover: FailoverOff, OnControllerLost: LostKeep,
				Metrics: PresetPrometheus, Autostart: "never",
			},
		},
		Notifications: []Channel{
			{Name: "oncall", Kind: ChannelSlack, On: []string{"rolled_back", "held", "rollback_unproven", "hold_too_long"}},
			{Name: "audit", Kind: ChannelWebhook, On: []string{"succeeded", "undone"}},
			{Name: "log", Kind: ChannelLog, On: []string{"started", "paused", "succeeded", "rolled_back", "rejected", "held", "aborted", "undone"}},
		},
		Data: "/flag/data", MLflowURI: "http://mlflow:5000", PrometheusURL: "http://reader:pw-of-prometheus@prometheus:9090", Model: "churn",
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Config{}), cmpopts.IgnoreTypes(Secret{})); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	for i, secret := range []string{"https://hooks.example/services/env-secret", "https://audit.example/hook/file-secret"} {
		if value, err := got.Notifications[i].Target.Value(); value != secret || err != nil {
			t.Errorf("target of %s is %q, %v, want %q", got.Notifications[i].Name, value, err, secret)
		}
	}
}

func TestLoad_NothingGivesTheDefaults(t *testing.T) {
	t.Chdir(t.TempDir())
	got, err := Load("", nil, Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Server: Server{Listen: "127.0.0.1:8080"}, Gateway: Gateway{Listen: "127.0.0.1:8081"}, Data: "serin-data",
		Notifications: []Channel{{Name: "log", Kind: ChannelLog, On: Events()}},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Config{}), cmpopts.IgnoreTypes(Secret{})); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	if got.BaseURL() != "http://127.0.0.1:8080" || got.RoutingPath("any") != "config/traffic_routing.json" || got.PlanPath("any") != "" {
		t.Errorf("derived: %s, %s, %q", got.BaseURL(), got.RoutingPath("any"), got.PlanPath("any"))
	}
	if err := got.CheckServe(); err != nil {
		t.Errorf("the defaults cannot be served: %v", err)
	}
}

func TestLoad_FileInTheWorkingDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("serin.yaml", []byte("models: {m: {plan: p.yaml}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Load("", nil, Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	if got.File != "serin.yaml" || got.PlanPath("m") != "p.yaml" || got.RoutingPath("m") != "config/traffic_routing.json" {
		t.Errorf("read %q: plan %q, routing %q", got.File, got.PlanPath("m"), got.RoutingPath("m"))
	}
}

func TestLoad_NamedFileMustBeThere(t *testing.T) {
	t.Parallel()
	_, err := Load(filepath.Join(t.TempDir(), "other.yaml"), nil, Overrides{})
	if err == nil || !strings.Contains(err.Error(), "other.yaml") {
		t.Errorf("error %v, want one that names the file", err)
	}
}

// Flag, environment, file, default: each takes the place of the next.
func TestLoad_Precedence(t *testing.T) {
	t.Parallel()
	path := write(t, "server: {listen: 127.0.0.1:1001}\nmodels: {m: {plan: file.yaml, routing_file: file.json}}\n")
	dir := filepath.Dir(path)
	vars := env("SERIN_DATA=env-data", "SERIN_SERVER=http://env:1", "SERIN_MODEL=env-model", "SERIN_PLAN=env.yaml", "SERIN_ROUTING_FILE=env.json")
	flags := Overrides{
		Data: "flag-data", Server: "http://flag:1", Model: "flag-model", Plan: "flag.yaml", RoutingFile: "flag.json",
		Listen: "localhost:0", GatewayListen: "127.9.9.9:2",
	}
	tests := []struct {
		name  string
		env   func(string) string
		flags Overrides
		want  []string
	}{
		{"file and default", nil, Overrides{}, []string{"serin-data", "", "", filepath.Join(dir, "file.yaml"), filepath.Join(dir, "file.json"), "127.0.0.1:1001", "127.0.0.1:8081"}},
		{"environment", vars, Overrides{}, []string{"env-data", "http://env:1", "env-model", "env.yaml", "env.json", "127.0.0.1:1001", "127.0.0.1:8081"}},
		{"flag", vars, flags, []string{"flag-data", "http://flag:1", "flag-model", "flag.yaml", "flag.json", "localhost:0", "127.9.9.9:2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := Load(path, tt.env, tt.flags)
			if err != nil {
				t.Fatal(err)
			}
			got := []string{c.Data, c.ServerURL, c.Model, c.PlanPath("m"), c.RoutingPath("m"), c.Server.Listen, c.Gateway.Listen}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("values (-want +got):\n%s", diff)
			}
		})
	}
}

func TestExplain_Golden(t *testing.T) {
	t.Parallel()
	cfg, err := Load("testdata/serin.yaml", exampleEnv, Overrides{Data: "/flag/data"})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, s := range cfg.Explain() {
		secret := ""
		if s.Secret {
			secret = "  secret"
		}
		fmt.Fprintf(&b, "%s = %q  from %s%s\n", s.Name, s.Value, s.Source, secret)
	}
	golden := filepath.Join("testdata", "explain.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

// Whatever prints a configuration, no secret is in it.
func TestSecrets_AreNeverPrinted(t *testing.T) {
	t.Parallel()
	path := write(t, "notifications: [{name: a, slack: https://hooks.example/literal-secret, on: [held]}]\n")
	literal, err := Load(path, nil, Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	example, err := Load("testdata/serin.yaml", exampleEnv, Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	for _, cfg := range []Config{literal, example} {
		asJSON, err := json.Marshal(cfg.Notifications)
		if err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		slog.New(slog.NewTextHandler(&log, nil)).Info("c", "target", cfg.Notifications[0].Target, "channel", cfg.Notifications[0])
		explained, err := json.Marshal(cfg.Explain())
		if err != nil {
			t.Fatal(err)
		}
		for how, text := range map[string]string{
			"%v": fmt.Sprintf("%v", cfg.Notifications), "%+v": fmt.Sprintf("%+v", cfg.Notifications), "%#v": fmt.Sprintf("%#v", cfg.Notifications),
			"json": string(asJSON), "slog": log.String(), "explain": string(explained),
		} {
			for _, secret := range []string{"env-secret", "file-secret", "literal-secret", "hooks.example"} {
				if strings.Contains(text, secret) {
					t.Errorf("%s shows %q: %s", how, secret, text)
				}
			}
		}
		for _, secret := range []string{"pw-of-gw", "pw-of-prometheus"} {
			if strings.Contains(string(explained), secret) {
				t.Errorf("explain shows %q: %s", secret, explained)
			}
		}
	}
}

func TestSecret_ThatIsMissingFailsWhereItIsNeeded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"empty": "\n", "large": strings.Repeat("x", maxSecret+1)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct{ target, want string }{
		{"{env: NOT_SET}", "environment variable NOT_SET is not set"},
		{"{file: nowhere}", "nowhere: no such file"},
		{"{file: empty}", "is empty: put the secret into it"},
		{"{file: large}", "more than 65536 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.target, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(dir, strings.Trim(tt.target, "{}")+".yaml")
			if err := os.WriteFile(path, []byte("notifications: [{name: a, webhook: "+tt.target+", on: [held]}]\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, err := Load(path, nil, Overrides{})
			if err != nil {
				t.Fatalf("a command that sends nothing cannot run: %v", err)
			}
			if value, err := cfg.Notifications[0].Target.Value(); value != "" || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("value %q, error %v, want %q", value, err, tt.want)
			}
			faults, err := Lint(path, nil, Overrides{})
			if err != nil || len(faults) != 1 || !faults[0].Warning || !strings.Contains(faults[0].Message, tt.want) {
				t.Errorf("lint says %v, %v", faults, err)
			}
		})
	}
}

func TestCheckServe(t *testing.T) {
	t.Parallel()
	two := "models: {a: {routing_file: a.json}, b: {routing_file: b.json}}\n"
	tests := []struct {
		name, text string
		env        func(string) string
		want       string
	}{
		{"two models", two, nil, ""},
		{"one routing file for two", two, env("SERIN_ROUTING_FILE=r.json"), "r.json from environment SERIN_ROUTING_FILE is one file for 2 models (a, b)"},
		{"one plan for two", two, env("SERIN_PLAN=p.yaml"), "p.yaml from environment SERIN_PLAN is one file for 2 models (a, b)"},
		{"one for one", "models: {a: {}}\n", env("SERIN_ROUTING_FILE=r.json"), ""},
		{"real MLflow without models", "gateways: []\n", env("MLFLOW_TRACKING_URI=http://m:5000"), "list them under models:"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg, err := Load(write(t, tt.text), tt.env, Overrides{})
			if err != nil {
				t.Fatal(err)
			}
			err = cfg.CheckServe()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// A rollback must find the routing file though the configuration has a fault elsewhere.
func TestLoad_GivesWhatCouldBeReadWithTheError(t *testing.T) {
	t.Parallel()
	cfg, err := Load(write(t, "models: {m: {routing_file: /r.json}}\nnonsense: 1\n"), env("POSTGRES_HOST=db"), Overrides{})
	if err == nil {
		t.Fatal("no error")
	}
	if got := cfg.RoutingPath("m"); got != "/r.json" {
		t.Errorf("routing file %q, want /r.json", got)
	}
}

func TestEvents_AreEach(t *testing.T) {
	t.Parallel()
	events := Events()
	slices.Sort(events)
	if len(slices.Compact(events)) != 12 {
		t.Errorf("events %v: want 12, each once", events)
	}
}
