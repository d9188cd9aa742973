package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// whole has every key of this version, one a line.
const whole = `server:
  listen: 127.0.0.1:1001
  external_url: https://serin.example
gateway:
  listen: 127.0.0.1:1002
gateways: [http://gw-1:8081]
models:
  fraud:
    plan: fraud.yaml
    routing_file: fraud.json
    backend:
      urls: [http://a, http://b]
    identity:
      path: /health
      field: model_version
    failover: off
    onControllerLost: keep
    metrics:
      preset: prometheus
    autostart: never
notifications:
  - name: ops
    slack:
      env: HOOK
    on: [held]
`

func explained(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := Load(path, env("HOOK=https://h/1", "OTHER=https://h/2"), Overrides{})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	target, err := cfg.Notifications[0].Target.Value()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, s := range cfg.Explain() {
		fmt.Fprintf(&b, "%s=%s\n", s.Name, s.Value)
	}
	return b.String() + target
}

// No key is read and then ignored, and each shows in what is explained.
func TestLoad_EveryValueMatters(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "serin.yaml")
	before := explained(t, path, whole)
	for _, c := range []struct{ line, instead string }{
		{"  listen: 127.0.0.1:1001", "  listen: 127.0.0.1:1003"},
		{"https://serin.example", "https://other.example"},
		{"  listen: 127.0.0.1:1002", "  listen: 127.0.0.1:1003"},
		{"gateways: [http://gw-1:8081]", "gateways: []"},
		{"  fraud:\n", "  churn:\n"},
		{"    plan: fraud.yaml", "    plan: other.yaml"},
		{"    routing_file: fraud.json", "    routing_file: other.json"},
		{"[http://a, http://b]", "[http://a, http://c]"},
		{"      path: /health", "      path: /version"},
		{"      field: model_version", "      field: version"},
		{"    failover: off", "    failover: on"},
		{"    onControllerLost: keep", "    onControllerLost: champion"},
		{"      preset: prometheus", "      preset: serin"},
		{"  - name: ops", "  - name: oncall"},
		{"    slack:\n", "    webhook:\n"},
		{"      env: HOOK", "      env: OTHER"},
		{"    on: [held]", "    on: [held, failed]"},
	} {
		if strings.Count(whole, c.line) != 1 {
			t.Fatalf("%q is there %d times", c.line, strings.Count(whole, c.line))
		}
		if after := explained(t, path, strings.Replace(whole, c.line, c.instead, 1)); cmp.Equal(before, after) {
			t.Errorf("%q instead of %q changes nothing", c.instead, c.line)
		}
	}
}

// No key can be misspelled, given twice or left without a value in silence: each is a fault in its own line.
func TestLint_EveryKeyIsGuarded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "serin.yaml")
	lines := strings.Split(strings.TrimSuffix(whole, "\n"), "\n")
	for i, line := range lines {
		indent := len(line) - len(strings.TrimLeft(line, " -"))
		key, value, _ := strings.Cut(line[indent:], ":")
		broken := map[string]string{}
		if key != "fraud" { // any name is a model's
			broken["misspelled"] = line[:indent] + key + "x:" + value
		}
		if value != "" {
			broken["without value"] = line[:indent] + key + ":"
			broken["of another type"] = line[:indent] + key + ": {zzz: [1]}"
		}
		if value != "" && !strings.Contains(line, "- ") {
			broken["twice"] = line + "\n" + line
		}
		for how, instead := range broken {
			text := strings.Join(append(append(append([]string{}, lines[:i]...), instead), lines[i+1:]...), "\n")
			want := i + 1
			if how == "twice" {
				want++
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			faults, err := Lint(path, nil, Overrides{})
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, f := range faults {
				found = found || f.Line == want && !f.Warning
			}
			if !found {
				t.Errorf("%s %s: no fault in line %d of\n%s\nonly %v", key, how, want, text, faults)
			}
		}
	}
}

func TestLoad_UnreadableFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := Load(dir, nil, Overrides{}); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a folder as the file: error %v", err)
	}
	large := write(t, strings.Repeat("# comment\n", 200_000))
	if _, err := Load(large, nil, Overrides{}); err == nil || !strings.Contains(err.Error(), "at most 1048576 are read") {
		t.Errorf("an enormous file: error %v", err)
	}
}
