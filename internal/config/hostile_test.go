package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"serin/internal/strictyaml"
)

// said lists the faults of a text without its path.
func said(t *testing.T, text string, env func(string) string, flags Overrides) []string {
	t.Helper()
	path := write(t, text)
	faults, err := Lint(path, env, flags)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range faults {
		out = append(out, strings.TrimPrefix(f.String(), path+":"))
	}
	return out
}

// A password in an address is in no fault, whatever else is wrong with the address.
func TestLint_ShowsNoPassword(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"gateways: ['http://u:geheim@h', 'http://u:geheim@h/']":                         "1:33: gateways[1]: http://hidden@h is there twice: remove one of them",
		"models: {m: {backend: {urls: ['http://u:geheim@h', 'http://u:geheim@h']}}}":    "1:30: models.m.backend.urls: names http://hidden@h twice: champion and canary need a slot each",
		"gateways: ['http://u:geheim@h?x']":                                             `1:12: gateways[0]: "http://hidden@h?x" has a query or a fragment: give the base address only`,
		"gateways: ['ws://u:geheim@h']":                                                 `1:12: gateways[0]: "ws://hidden@h" is no HTTP address: write it like http://host:8080`,
		"gateways: ['http://u:geheim@h:port']":                                          "1:12: gateways[0]: is no URL: write it like http://host:8080",
		"gateways: ['http://u:geheim@h%zz']":                                            "1:12: gateways[0]: is no URL: write it like http://host:8080",
		"notifications: [{name: a, slack: {env: A, url: 'http://geheim'}, on: [held]}]": "1:43: notifications[0].slack.url: unknown key: use one of env, file",
		"notifications: [{name: a, slack: [geheim], on: [held]}]":                       "1:34: notifications[0].slack: is a list: a text belongs here",
		"notifications: [{name: a, webhook: {env: A, env: geheim}, on: [held]}]":        "1:45: notifications[0].webhook.env: is there twice: remove one of them (the first is in line 1)",
	} {
		got := said(t, text, env("A=https://h/geheim"), Overrides{})
		if diff := cmp.Diff([]string{want}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

// Paths are appended to a base address: what would swallow them is refused, and the slash at the end is dropped.
func TestAddresses(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"http://h": "http://h", "https://h:1/": "https://h:1", "http://h/base//": "http://h/base", "http://[::1]:80": "http://[::1]:80", "HTTP://H": "HTTP://H",
		"http://u:p@h/": "http://u:p@h",
	} {
		if got, problem := checkURL(in); got != want || problem != "" {
			t.Errorf("%s: %q, %q; want %q", in, got, problem, want)
		}
	}
	for _, in := range []string{"", "h", "h:80", "//h", "http://", "http:///x", "http:h", "file:///x", "http://h?", "http://h#", "http://h/?a=b", "http://h/#a", "http://h h", "\x7f"} {
		if got, problem := checkURL(in); got != "" || problem == "" {
			t.Errorf("%q is taken for %q", in, got)
		}
	}
}

// Who reaches the API may promote: no way to write an address gets it off loopback.
func TestListenIsLoopbackOnly(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"127.0.0.1:0", "127.255.255.254:65535", "[::1]:8080", "localhost:1", "[::ffff:127.0.0.1]:80"} {
		if got, problem := checkListen(in); got != in || problem != "" {
			t.Errorf("%s: %q, %s", in, got, problem)
		}
	}
	for _, in := range []string{
		"", ":", ":80", "*:80", "0.0.0.0:80", "[::]:80", "10.0.0.1:80", "localhost.evil:80", "LOCALHOST:80", "127.1:80", "0177.0.0.1:80", "2130706433:80", "[::1%lo]:x",
		"127.0.0.1", "127.0.0.1:", "127.0.0.1:-1", "127.0.0.1:080", "127.0.0.1:+80", "127.0.0.1:65536", "127.0.0.1:80:80", "::1:80", " 127.0.0.1:80", "128.0.0.1:80",
	} {
		if got, problem := checkListen(in); got != "" || problem == "" || strings.Contains(problem, "\n") {
			t.Errorf("%q is taken for %q", in, got)
		}
	}
}

// Faults of the file come first, in its order; then those of flags and environment, each with its place.
func TestLint_Order(t *testing.T) {
	t.Parallel()
	got := said(t, "zzz: 1\nserver: {listen: x}\nmodels: {m: {failover: maybe}}\n", env("SERIN_MODEL=a/b", "POSTGRES_DB=x", "SERIN_TOKEN=x"), Overrides{Server: "h", Listen: "1.2.3.4:5"})
	want := []string{
		"1:1: zzz: unknown key: use one of gateway, gateways, models, notifications, server, tokens",
		`2:18: server.listen: "x" is no address: write host:port, such as 127.0.0.1:8080`,
		`3:24: models.m.failover: is the text "maybe": use on or off`,
		`flag --listen: "1.2.3.4:5" is not loopback, and tokens are not in this version: listen on 127.0.0.1:5, behind a proxy that asks who is there`,
		`flag --server: "h" is no HTTP address: write it like http://host:8080`,
		`environment SERIN_MODEL: model name "a/b": a name has no '/', ':' or '\' and is not '.' or '..'`,
		"environment POSTGRES_DB: PostgreSQL is not in this version: unset it to use the embedded store",
		"environment SERIN_TOKEN: tokens are not in this version: unset it, calls on loopback want none",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

// A value that is refused leaves the one before in force, and the source that belongs to it.
func TestLoad_RefusedValuesLeaveTheOthers(t *testing.T) {
	t.Parallel()
	path := write(t, "server: {listen: 127.0.0.1:1001}\ngateway: {listen: 0.0.0.0:1}\n")
	cfg, err := Load(path, env("SERIN_SERVER=nonsense"), Overrides{Listen: "0.0.0.0:2"})
	var refused *strictyaml.Error
	if !errors.As(err, &refused) || len(refused.Faults) != 3 {
		t.Fatalf("error %v", err)
	}
	if cfg.Server.Listen != "127.0.0.1:1001" || cfg.Gateway.Listen != "127.0.0.1:8081" || cfg.ServerURL != "" {
		t.Errorf("in force: %s, %s, %q", cfg.Server.Listen, cfg.Gateway.Listen, cfg.ServerURL)
	}
	sources := map[string]string{}
	for _, s := range cfg.Explain() {
		sources[s.Name] = s.Source
	}
	for name, want := range map[string]string{"server.listen": "file " + path + ":1", "gateway.listen": "default", "server_url": "default"} {
		if sources[name] != want {
			t.Errorf("%s is from %s, want %s", name, sources[name], want)
		}
	}
}

// Every setting says truly where its value came from.
func TestExplain_Sources(t *testing.T) {
	t.Parallel()
	path := write(t, "server: {external_url: http://e}\nmodels:\n  m:\n    failover: off\n")
	cfg, err := Load(path, env("SERIN_PLAN=p", "PROMETHEUS_URL=http://p", "SERIN_DATA=env"), Overrides{Data: "flag", GatewayListen: "127.0.0.1:7"})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, s := range cfg.Explain() {
		got[s.Name] = s.Value + " from " + s.Source
	}
	want := map[string]string{
		"server.listen": "127.0.0.1:8080 from default", "server.external_url": "http://e from file " + path + ":1",
		"gateway.listen": "127.0.0.1:7 from flag --gateway-listen", "gateways": " from default", "data": "flag from flag --data",
		"mlflow": " from default", "prometheus": "http://p from environment PROMETHEUS_URL", "server_url": " from default", "model": " from default",
		"plan": "p from environment SERIN_PLAN", "routing_file": " from default",
		"models.m.plan": " from default", "models.m.routing_file": "config/traffic_routing.json from default", "models.m.backend": "inprocess from default",
		"models.m.identity": " from default", "models.m.failover": "off from file " + path + ":4", "models.m.onControllerLost": "champion from default",
		"models.m.metrics": "serin from default", "models.m.autostart": "never from default",
		"notifications.log": "log on " + strings.Join(Events(), ", ") + " from default",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

// Two configurations do not share what they were read into.
func TestLoad_ConfigurationsAreApart(t *testing.T) {
	t.Parallel()
	one, err := Load(write(t, "gateways: [http://a]\n"), nil, Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	two, err := Load(write(t, "models: {m: {}}\n"), nil, Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	one.Notifications[0].On[0] = "changed"
	if two.Notifications[0].On[0] != "started" || Events()[0] != "started" || len(two.Gateways) != 0 || two.sources["gateways"] != "" {
		t.Errorf("the second has %v, %v", two.Notifications[0].On, two.sources)
	}
}

// A secret is read without the line end of an editor and with nothing else changed; where it is kept may be said, it may not.
func TestSecretForms(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"lf": "s3 cret\n", "crlf": "  s3 cret\r\n\r\n", "largest": strings.Repeat("x", maxSecret-1) + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ target, value, from string }{
		{"{file: lf}", "s3 cret", "file " + filepath.Join(dir, "lf")},
		{"{file: " + filepath.Join(dir, "crlf") + "}", "s3 cret", "file " + filepath.Join(dir, "crlf")},
		{"{file: largest}", strings.Repeat("x", maxSecret-1), "file " + filepath.Join(dir, "largest")},
		{"{env: HOOK}", "s3 cret", "environment HOOK"},
		{"s3 cret", "s3 cret", "literal"},
	} {
		path := filepath.Join(dir, "serin.yaml")
		if err := os.WriteFile(path, []byte("notifications: [{name: a, slack: "+tt.target+", on: [held]}]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := Load(path, env("HOOK= s3 cret \n"), Overrides{})
		if err != nil {
			t.Fatal(err)
		}
		target := cfg.Notifications[0].Target
		if value, err := target.Value(); value != tt.value || err != nil || target.From() != tt.from {
			t.Errorf("%.40s: %.20q from %s, %v", tt.target, value, target.From(), err)
		}
		if shown := fmt.Sprintf("%v %+v %#v %s %q", target, target, target, target, target); strings.Contains(shown, "s3") {
			t.Errorf("%.40s: shown as %s", tt.target, shown)
		}
	}
	if _, err := (Secret{}).Value(); err == nil || err.Error() != "no secret is configured" {
		t.Errorf("no secret: %v", err)
	}
}

// Paths of the file are relative to it, those of flags and environment to the working directory.
func TestLoad_RelativePaths(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "conf", "serin.yaml")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("models: {m: {plan: ../plans/m.yaml, routing_file: r.json}, n: {plan: /abs.yaml, routing_file: ./x/../n.json}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := Load(path, nil, Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	got := []string{cfg.PlanPath("m"), cfg.RoutingPath("m"), cfg.PlanPath("n"), cfg.RoutingPath("n"), cfg.PlanPath("other"), cfg.RoutingPath("other")}
	want := []string{
		filepath.Join(dir, "plans", "m.yaml"), filepath.Join(dir, "conf", "r.json"), "/abs.yaml", filepath.Join(dir, "conf", "n.json"), "", DefaultRoutingFile,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
	over, err := Load(path, nil, Overrides{Plan: "p.yaml", RoutingFile: "r.json"})
	if err != nil || over.PlanPath("m") != "p.yaml" || over.RoutingPath("other") != "r.json" {
		t.Errorf("flags: %s, %s, %v", over.PlanPath("m"), over.RoutingPath("other"), err)
	}
	want2 := "r.json from flag --routing-file is one file for 2 models (m, n): remove it, and name a file for each in " + path
	if err := over.CheckServe(); err == nil || err.Error() != want2 {
		t.Errorf("serve: %v\nwant %s", err, want2)
	}
}
