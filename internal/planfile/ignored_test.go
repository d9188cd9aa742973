package planfile

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"serin/internal/rollout"
)

// whole has every key of this version, each with a value that is not the default. Each change of one line below must change the plan.
const whole = `apiVersion: serin/v1
kind: ModelRollout
metadata:
  name: fraud
spec:
  champion: "@champion"
  challenger: 42
  offlineGate:
    off: true
    reason: labels are late
    data: h.csv
    label: y
    championScores: a
    challengerScores: b
    threshold: 0.4
    mode: point
    criteria:
      recall: 0.9
      fpr: 0.01
      latencyP95: 80ms
      f1Ratio: 1.05
  strategy:
    canary:
      steps:
        - setWeight: 1
        - pause:
            duration: 10m
        - setWeight: 100
      watch:
        duration: 5m
        onFail: notify
  analysis:
    mode: threshold
    tick: 5s
    window: 4
    minRequests: 20
    consecutive: 3
    errors:
      enabled: true
      slo: 0.01
    latency:
      enabled: true
      slo: 250ms
      quantile: 0.9
  hold:
    max: 30m
    then: keep
  routing:
    key: X-User
    field: user
    by: random
    missing: random
    uris: version
    compat: strict
  promotion:
    mode: aliases
  notifications: [ops]
`

// changes replaces a line of whole by another; the plan must follow.
var changes = []struct{ line, instead string }{
	{"  name: fraud", "  name: churn"},
	{`  champion: "@champion"`, "  champion: 41"},
	{"  challenger: 42", "  challenger: 43"},
	{"    off: true\n    reason: labels are late", "    off: false"},
	{"    reason: labels are late", "    reason: other"},
	{"    data: h.csv", "    data: other.csv"},
	{"    label: y", "    label: z"},
	{"    championScores: a", "    championScores: c"},
	{"    challengerScores: b", "    challengerScores: c"},
	{"    threshold: 0.4", "    threshold: 0.6"},
	{"      recall: 0.9", "      recall: 0.8"},
	{"      fpr: 0.01", "      fpr: 0.03"},
	{"      latencyP95: 80ms", "      latencyP95: off"},
	{"      f1Ratio: 1.05", "      f1Ratio: 1.1"},
	{"        - setWeight: 1\n", "        - setWeight: 2\n"},
	{"            duration: 10m", "            duration: 20m"},
	{"        duration: 5m", "        duration: 0s"},
	{"        onFail: notify", "        onFail: undo"},
	{"    tick: 5s", "    tick: 6s"},
	{"    window: 4", "    window: 5"},
	{"    minRequests: 20", "    minRequests: 21"},
	{"    consecutive: 3", "    consecutive: 1"},
	{"      enabled: true\n      slo: 0.01", "      enabled: false\n      slo: 0.01"},
	{"      slo: 0.01", "      slo: 0.02"},
	{"      enabled: true\n      slo: 250ms", "      enabled: false\n      slo: 250ms"},
	{"      slo: 250ms", "      slo: 1s"},
	{"      quantile: 0.9", "      quantile: 0.99"},
	{"    max: 30m", "    max: 1h"},
	{"    then: keep", "    then: rollback"},
	{"    key: X-User", "    key: X-Other"},
	{"    field: user", `    field: ""`},
	{"    by: random", "    by: key"},
	{"    missing: random", "    missing: champion"},
	{"    uris: version", "    uris: stage"},
	{"    compat: strict", "    compat: extended"},
	{"  promotion:\n    mode: aliases", "  promotion:\n    mode: both"},
	{"  notifications: [ops]", "  notifications: []"},
}

func mustParse(t *testing.T, text string) rollout.Plan {
	t.Helper()
	plan, err := Parse("p.yaml", []byte(text), "")
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return plan
}

// No key is read and then ignored.
func TestParse_EveryValueMatters(t *testing.T) {
	t.Parallel()
	plan := mustParse(t, whole)
	for _, c := range changes {
		t.Run(c.instead, func(t *testing.T) {
			t.Parallel()
			if strings.Count(whole, c.line) != 1 {
				t.Fatalf("%q is there %d times", c.line, strings.Count(whole, c.line))
			}
			changed := mustParse(t, strings.Replace(whole, c.line, c.instead, 1))
			if cmp.Equal(plan, changed) {
				t.Errorf("%q instead of %q changes nothing", c.instead, c.line)
			}
			roundTrip(t, changed)
		})
	}
}

// No key can be misspelled, given twice or left without a value in silence: each is a fault in its own line.
func TestLint_EveryKeyIsGuarded(t *testing.T) {
	t.Parallel()
	lines := strings.Split(strings.TrimSuffix(whole, "\n"), "\n")
	for i, line := range lines {
		indent := len(line) - len(strings.TrimLeft(line, " -"))
		key, value, ok := strings.Cut(line[indent:], ":")
		if !ok {
			t.Fatalf("line %q has no key", line)
		}
		broken := map[string]string{"misspelled": line[:indent] + key + "x:" + value}
		if value != "" {
			broken["without value"] = line[:indent] + key + ":"
			broken["of another type"] = line[:indent] + key + ": {zzz: [1]}"
		}
		if value != "" && !strings.Contains(line, "- ") {
			broken["twice"] = line + "\n" + line
		}
		for how, instead := range broken {
			t.Run(key+" "+how, func(t *testing.T) {
				t.Parallel()
				text := strings.Join(append(append(append([]string{}, lines[:i]...), instead), lines[i+1:]...), "\n")
				want := i + 1
				if how == "twice" {
					want++
				}
				faults := Lint("p.yaml", []byte(text))
				for _, f := range faults {
					if f.Line == want && !f.Warning {
						return
					}
				}
				t.Errorf("no fault in line %d of\n%s\nonly %v", want, text, faults)
			})
		}
	}
}
