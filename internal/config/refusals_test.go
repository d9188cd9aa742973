package config

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"serin/internal/strictyaml"
)

func TestLint_Refuses(t *testing.T) {
	t.Parallel()
	later := ": is not in this version: "
	tests := []struct {
		text string
		want []string
	}{
		{"servers: {}", []string{"1:1: servers: unknown key: did you mean server?"}},
		{"server: {listen: 0.0.0.0:8080}", []string{`1:18: server.listen: "0.0.0.0:8080" is not loopback, and tokens are not in this version: listen on 127.0.0.1:8080, behind a proxy that asks who is there`}},
		{"server: {listen: ':8080'}", []string{`1:18: server.listen: ":8080" is not loopback, and tokens are not in this version: listen on 127.0.0.1:8080, behind a proxy that asks who is there`}},
		{"gateway: {listen: 10.0.0.1:8081}", []string{`1:19: gateway.listen: "10.0.0.1:8081" is not loopback, and tokens are not in this version: listen on 127.0.0.1:8081, behind a proxy that asks who is there`}},
		{"server: {listen: 8080}", []string{"1:18: server.listen: is the number 8080: write it in quotes if the text is meant"}},
		{"server: {listen: localhost}", []string{`1:18: server.listen: "localhost" is no address: write host:port, such as 127.0.0.1:8080`}},
		{"server: {listen: 'localhost:http'}", []string{`1:18: server.listen: "localhost:http" has no port between 0 and 65535: write host:port, such as 127.0.0.1:8080`}},
		{"server: {listen: 'localhost:99999'}", []string{`1:18: server.listen: "localhost:99999" has no port between 0 and 65535: write host:port, such as 127.0.0.1:8080`}},
		{"server: {external_url: serin.example}", []string{`1:24: server.external_url: "serin.example" is no HTTP address: write it like http://host:8080`}},
		{"server: {external_url: 'http://u:geheim@h/?a=1'}", []string{`1:24: server.external_url: "http://hidden@h/?a=1" has a query or a fragment: give the base address only`}},
		{"gateways: [http://a, http://a/, 'http://[::1', 7]", []string{
			"1:22: gateways[1]: http://a is there twice: remove one of them",
			"1:33: gateways[2]: is no URL: write it like http://host:8080",
			"1:48: gateways[3]: is the number 7: write it in quotes if the text is meant",
		}},
		{"tokens: [{name: a}]", []string{"1:9: tokens" + later + "calls on loopback want none; remove it"}},

		{"models: [fraud]", []string{"1:9: models: is a list: a mapping (key: value) belongs here"}},
		{"models: {a/b: {}}", []string{`1:10: models.a/b: model name "a/b": a name has no '/', ':' or '\' and is not '.' or '..'`}},
		{"models:\n  m: {routing_file: r.json}\n  m: {}", []string{"3:3: models.m: is there twice: remove one of them (the first is in line 2)"}},
		{"models:\n  m:", []string{"2:5: models.m: is empty: a mapping (key: value) belongs here"}},
		{"models: {m: {routingFile: r}}", []string{"1:14: models.m.routingFile: unknown key: did you mean routing_file?"}},
		{"models: {m: {backend: forked}}", []string{`1:23: models.m.backend: is the text "forked": use inprocess`}},
		{"models: {m: {backend: {}}}", []string{"1:23: models.m.backend: is empty: write inprocess or {urls: [A, B]}"}},
		{"models: {m: {backend: {exec: mlflow}}}", []string{"1:30: models.m.backend.exec" + later + "run the two model servers yourself, and name them as {urls: [A, B]}"}},
		{"models: {m: {backend: {webhook: http://h}}}", []string{"1:33: models.m.backend.webhook" + later + "run the two model servers yourself, and name them as {urls: [A, B]}"}},
		{"models: {m: {backend: {urls: [http://a]}}}", []string{"1:30: models.m.backend.urls: has 1 addresses: two slots are needed, one for the champion and one for the canary"}},
		{"models: {m: {backend: {urls: [http://a, http://a]}}}", []string{"1:30: models.m.backend.urls: names http://a twice: champion and canary need a slot each"}},
		{"models: {m: {backend: {urls: [http://a, b]}}}", []string{`1:41: models.m.backend.urls[1]: "b" is no HTTP address: write it like http://host:8080`}},
		{"models: {m: {identity: {path: /h, field: v}}}", []string{"1:24: models.m.identity: belongs to backend: {urls: [A, B]}: the gateway knows which version it scores itself; remove it"}},
		{"models: {m: {backend: {urls: [http://a, http://b]}, identity: {path: health}}}", []string{
			"1:63: models.m.identity: field is missing: say which field of the JSON there is the version, such as model_version",
			`1:70: models.m.identity.path: "health" is no path: write it like /health`,
		}},
		{"models: {m: {failover: false}}", []string{"1:24: models.m.failover: is the truth value false: use on or off"}},
		{"models: {m: {onControllerLost: stop}}", []string{`1:32: models.m.onControllerLost: is the text "stop": use champion or keep`}},
		{"models: {m: {metrics: {preset: otel}}}", []string{"1:32: models.m.metrics.preset" + later + "use preset: serin or prometheus, and export metrics of those names"}},
		{"models: {m: {metrics: {preset: statsd}}}", []string{`1:32: models.m.metrics.preset: is the text "statsd": use serin or prometheus`}},
		{"models: {m: {metrics: {requests: my_total}}}", []string{"1:34: models.m.metrics.requests" + later + "use preset: serin or prometheus, and export metrics of those names"}},
		{"models: {m: {autostart: on_staging}}", []string{"1:25: models.m.autostart: is not in this version: use never, and start rollouts by a job or a call"}},
		{"models: {m: {autostart: always}}", []string{`1:25: models.m.autostart: is the text "always": use never`}},
		{"models: {m: {drift: {query: q}}}", []string{"1:21: models.m.drift" + later + "remove it, and hold rollouts while drift is reported by pausing them"}},
		{"models: {a: {}, b: {}}", []string{"1:20: models.b: models a and b share the routing file config/traffic_routing.json: give each a routing_file of its own"}},
		{"models: {a: {routing_file: /r.json}, b: {routing_file: /x/../r.json}}", []string{"1:56: models.b.routing_file: models a and b share the routing file /x/../r.json: give each a routing_file of its own"}},

		{"notifications: {}", []string{"1:16: notifications: is a mapping: a list belongs here"}},
		{"notifications: [log]", []string{`1:17: notifications[0]: is the text "log": a mapping (key: value) belongs here`}},
		{"notifications: [{log: {}, on: [held]}]", []string{"1:17: notifications[0]: name is missing: plans name their channels"}},
		{"notifications: [{name: a, on: [held]}]", []string{"1:17: notifications[0]: has 0 of log, slack and webhook: a channel is one of them"}},
		{"notifications: [{name: a, log: {}}]", []string{"1:17: notifications[0]: on is missing: list the events, such as [rolled_back, held]"}},
		{"notifications: [{name: a, log: {file: x}, on: []}]", []string{
			"1:33: notifications[0].log.file: unknown key: it has no keys, write {}",
			"1:47: notifications[0].on: is empty, so the channel would never hear anything: list events, such as [rolled_back, held]",
		}},
		{"notifications: [{name: a, log: {}, on: [rollback, held, held]}]", []string{
			`1:41: notifications[0].on[0]: "rollback" is no event: use started, paused, held, hold_too_long, succeeded, rolled_back, rollback_unproven, rejected, aborted, undone, failed, watch_failed`,
			"1:57: notifications[0].on[2]: held is there twice: remove one of them",
		}},
		{"notifications: [{name: a, log: {}, on: [held]}, {name: a, log: {}, on: [held]}]", []string{`1:49: notifications[1]: channel "a" is there twice: give each a name of its own`}},
		{"notifications: [{name: a, slack: {env: A, file: B}, on: [held]}]", []string{"1:34: notifications[0].slack: a secret has one place: write {env: NAME} or {file: PATH}"}},
		{"notifications: [{name: a, slack: {}, on: [held]}]", []string{"1:34: notifications[0].slack: a secret has one place: write {env: NAME} or {file: PATH}"}},
		{"notifications: [{name: a, webhook: https://h/secret, on: [held]}]", []string{"1:36: warning: notifications[0].webhook: the secret stands in the file: write {env: NAME} or {file: PATH}"}},
		{"", []string{"1:1: the file is empty"}},
		{"a: b: c", []string{"1:1: not YAML: mapping values are not allowed in this context: check indentation, colons and quotes here"}},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			t.Parallel()
			path := write(t, tt.text)
			faults, err := Lint(path, nil, Overrides{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range faults {
				got = append(got, strings.TrimPrefix(f.String(), path+":"))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
			_, err = Load(path, nil, Overrides{})
			if refused := strictyaml.Refusal(faults) != nil; refused != (err != nil) {
				t.Errorf("lint says %v, Load says %v", faults, err)
			}
		})
	}
}

func TestLoad_RefusesFromOutside(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		env   func(string) string
		flags Overrides
		want  string
	}{
		{"PostgreSQL", env("POSTGRES_HOST=db", "POSTGRES_PASSWORD=geheim"), Overrides{}, "environment POSTGRES_HOST, POSTGRES_PASSWORD: PostgreSQL is not in this version: unset it to use the embedded store"},
		{"token", env("SERIN_TOKEN=geheim"), Overrides{}, "environment SERIN_TOKEN: tokens are not in this version: unset it, calls on loopback want none"},
		{"token file", env("SERIN_TOKEN_FILE=t"), Overrides{}, "environment SERIN_TOKEN_FILE: tokens are not in this version: unset it, calls on loopback want none"},
		{"registry in a file", env("MLFLOW_TRACKING_URI=sqlite:///mlflow.db"), Overrides{}, `environment MLFLOW_TRACKING_URI: "sqlite:///mlflow.db" is no HTTP address: write it like http://host:8080`},
		{"password is not shown", env("PROMETHEUS_URL=ftp://u:geheim@h"), Overrides{}, `environment PROMETHEUS_URL: "ftp://hidden@h" is no HTTP address: write it like http://host:8080`},
		{"unreadable address is not shown", env("SERIN_SERVER=http://u:geheim@h:x"), Overrides{}, "environment SERIN_SERVER: is no URL: write it like http://host:8080"},
		{"model", env("SERIN_MODEL=a/b"), Overrides{}, `environment SERIN_MODEL: model name "a/b": a name has no '/', ':' or '\' and is not '.' or '..'`},
		{"flag off loopback", nil, Overrides{Listen: "0.0.0.0:80"}, `flag --listen: "0.0.0.0:80" is not loopback, and tokens are not in this version: listen on 127.0.0.1:80, behind a proxy that asks who is there`},
		{"one address for both", nil, Overrides{Listen: "127.0.0.1:8081"}, "gateway.listen: 127.0.0.1:8081 is the API's address too: give the gateway another port"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Load(write(t, "models: {m: {}}\n"), tt.env, tt.flags)
			if err == nil || err.Error() != tt.want {
				t.Errorf("error %v\n want %s", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "geheim") {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
	if _, err := Load(write(t, "models: {m: {}}\n"), nil, Overrides{Listen: "127.0.0.1:0", GatewayListen: "127.0.0.1:0"}); err != nil {
		t.Errorf("two free ports are two addresses: %v", err)
	}
}

func TestLoad_TwoModelsOnOneFileBehindALink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "real"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "serin.yaml")
	if err := os.WriteFile(path, []byte("models: {a: {routing_file: real/r.json}, b: {routing_file: link/r.json}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"before the file is there", "after"} {
		if _, err := Load(path, nil, Overrides{}); err == nil || !strings.Contains(err.Error(), "models a and b share the routing file") {
			t.Errorf("%s: error %v", when, err)
		}
		if err := os.WriteFile(filepath.Join(dir, "real", "r.json"), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzLoad(f *testing.F) {
	example, err := os.ReadFile("testdata/serin.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bytes.ReplaceAll(example, []byte("{file: audit.secret}"), []byte("{env: AUDIT}")))
	f.Add([]byte("models: &m {a: *m}\nnotifications: [{name: a, slack: {env: A, url: b}, on: [held]}]\n"))
	secretFile := regexp.MustCompile(`\bfile\b|\\`)
	f.Fuzz(func(t *testing.T, data []byte) {
		if secretFile.Match(data) {
			return // would read a file of this machine by the fuzzer's choice
		}
		path := write(t, string(data))
		cfg, err := Load(path, nil, Overrides{})
		if err == nil && len(cfg.Explain()) < 11 {
			t.Errorf("%d settings", len(cfg.Explain()))
		}
	})
}
