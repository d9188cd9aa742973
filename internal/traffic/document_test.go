package traffic_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/traffic"
)

const plain = `{
  "canary_enabled": true, "canary_traffic_pct": 25, "canary_model_uri": "models:/m/Staging",
  "champion_traffic_pct": 75, "production_model_uri": "models:/m/Production"
}`

func TestParseDocument(t *testing.T) {
	t.Parallel()
	with := func(old, next string) string { return strings.Replace(plain, old, next, 1) }
	tests := []struct {
		name, in string
		want     string // part of the error; empty: no error
		pct      float64
	}{
		{"plain", plain, "", 25},
		{"disabled keeps its percentages", with("true", "false"), "", 0},
		{"fractions", strings.NewReplacer(`: 25`, `: 0.05`, `: 75`, `: 99.95`).Replace(plain), "", 0.05},
		{"sum", with("25", "24"), "sum to 99", 0},
		{"above 100", strings.NewReplacer(`: 25`, `: 125`, `: 75`, `: -25`).Replace(plain), "give 0 to 100", 0},
		{"text for a number", with("25", `"25"`), "canary_traffic_pct: ", 0},
		{"text for a bool", with("true", `"true"`), "canary_enabled: ", 0},
		{"null", with("true", `null`), "canary_enabled: is null", 0},
		{"no production", with(`"models:/m/Production"`, `""`), "production_model_uri is empty", 0},
		{"no canary", with(`"canary_model_uri": "models:/m/Staging",`, ``), "canary_model_uri is empty or missing", 0},
		{"no canary while disabled", strings.NewReplacer(`"canary_model_uri": "models:/m/Staging",`, ``, "true", "false").Replace(plain), "", 0},
		{"missing key", with(`"canary_traffic_pct": 25,`, ``), "canary_traffic_pct is missing", 0},
		{"key twice", with(`{`, `{"canary_enabled": false,`), "canary_enabled stands twice", 0},
		{"other case is another key", with(`"canary_enabled"`, `"Canary_Enabled"`), "canary_enabled is missing", 0},
		{"empty", "", "ends in the middle", 0},
		{"prefix", plain[:40], "ends in the middle", 0},
		{"rest", plain + "x", "", -1},
		{"array", "[]", "not a JSON object", 0},
		{"control null", with(`{`, `{"serin": null,`), "", 25},
		{"control broken", with(`{`, `{"serin": {"generation": "x"},`), "serin: ", 0},
		{"buckets overlap", with(`{`, `{"serin": {"canary": {"buckets": [[0,9],[9,12]]}},`), "serin: ", 0},
		{"generation", with(`{`, `{"serin": {"generation": -1},`), "counts from 1", 0},
		{"huge number", with("25", "1e999"), "canary_traffic_pct: ", 0},
	}
	for _, tt := range tests {
		d, err := traffic.ParseDocument([]byte(tt.in))
		switch {
		case tt.pct < 0:
			if err == nil {
				t.Errorf("%s: no error", tt.name)
			}
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want == "" && d.WeightPct() != tt.pct:
			t.Errorf("%s: weight %v, want %v", tt.name, d.WeightPct(), tt.pct)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestNoPrefixIsADocument(t *testing.T) {
	t.Parallel()
	for i := range len(plain) {
		if _, err := traffic.ParseDocument([]byte(plain[:i])); err == nil {
			t.Fatalf("the first %d bytes are taken for a document", i)
		}
	}
}

func TestUnknownKeysSurvive(t *testing.T) {
	t.Parallel()
	in := strings.Replace(plain, "{", `{"owner": {"team": "a<b", "n": 1.50}, "note": "x",`, 1)
	d, err := traffic.ParseDocument([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	next, err := traffic.Rollback(d, traffic.RollbackParams{Model: "m", At: at, By: author})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []traffic.Compat{traffic.CompatExtended, traffic.CompatStrict} {
		data, _, err := next.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var keys map[string]json.RawMessage
		if err := json.Unmarshal(data, &keys); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(keys["owner"]), `"a<b"`) || !strings.Contains(string(keys["owner"]), "1.50") || string(keys["note"]) != `"x"` {
			t.Errorf("%s: %s", c, data)
		}
	}
	if next.Unknown["note"] = json.RawMessage("1"); string(d.Unknown["note"]) != `"x"` {
		t.Error("the next document shares the map of the one before")
	}
}

func TestRollbackTimestampOfOthers(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]time.Time{
		`"2025-01-20T10:30:00"`:        at,
		`"2025-01-20T10:30:00.123456"`: at.Add(123456 * time.Microsecond),
		`"2025-01-20T12:30:00+02:00"`:  at,
		`1737369000`:                   {},
		`"yesterday"`:                  {},
	} {
		d, err := traffic.ParseDocument([]byte(strings.Replace(plain, "{", `{"rollback_timestamp": `+in+`,`, 1)))
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if !d.RollbackAt.Equal(want) {
			t.Errorf("%s: %v", in, d.RollbackAt)
		}
		data, _, err := d.Marshal(traffic.CompatExtended)
		if err != nil || !strings.Contains(string(data), "rollback_timestamp") {
			t.Errorf("%s: lost in %s (%v)", in, data, err)
		}
		if next := deploy(t, d, 5); !next.RollbackAt.IsZero() || len(next.Unknown) != 0 {
			t.Errorf("%s: a deploy keeps it: %+v", in, next)
		}
	}
}

func TestMarshalRefuses(t *testing.T) {
	t.Parallel()
	good := steps(t)["deploy5"]
	for name, change := range map[string]func(*traffic.Document){
		"sum":         func(d *traffic.Document) { d.CanaryPct = 6 },
		"not a count": func(d *traffic.Document) { d.CanaryPct = math.NaN() },
		"nowhere":     func(d *traffic.Document) { d.ProductionURI = "" },
	} {
		d := good
		change(&d)
		if _, _, err := d.Marshal(traffic.CompatExtended); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, _, err := good.Marshal("loose"); err == nil {
		t.Error("unknown compat: no error")
	}
}

func TestSidecarSpeaksOfOneDocument(t *testing.T) {
	t.Parallel()
	all := steps(t)
	five, side5, err := all["deploy5"].Marshal(traffic.CompatStrict)
	if err != nil {
		t.Fatal(err)
	}
	quarter, side25, err := all["deploy25"].Marshal(traffic.CompatStrict)
	if err != nil {
		t.Fatal(err)
	}
	both, err := traffic.MergeSidecar(side25, side5)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		doc  []byte
		want int64
	}{{five, 1}, {quarter, 2}, {[]byte(plain), 0}} {
		bare, err := traffic.ParseDocument(tt.doc)
		if err != nil {
			t.Fatal(err)
		}
		d, highest, err := bare.WithSidecar(both)
		if err != nil || d.Generation() != tt.want || highest != 2 {
			t.Errorf("generation %d, highest %d, error %v; want %d, 2", d.Generation(), highest, err, tt.want)
		}
	}
	three, err := traffic.MergeSidecar(side25, both)
	if err != nil || string(three) != string(both) {
		t.Errorf("merged twice: %s (%v)", three, err)
	}
	if healed, err := traffic.MergeSidecar(side25, []byte("{")); err != nil || string(healed) != string(side25) {
		t.Errorf("merged with a broken one: %s (%v)", healed, err)
	}
	if _, _, err := all["deploy5"].WithSidecar([]byte("{")); err == nil {
		t.Error("read a broken sidecar")
	}
}

func FuzzParseDocument(f *testing.F) {
	f.Add([]byte(plain))
	f.Add([]byte(strings.Replace(plain, "{", `{"serin": {"generation": 3, "canary": {"version":"4","buckets": [[0,499]]}}, "x": [1],`, 1)))
	f.Add([]byte(`{"rollback_timestamp": 1`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := traffic.ParseDocument(data)
		if err != nil {
			return
		}
		out, _, err := d.Marshal(traffic.CompatExtended)
		if err != nil {
			t.Fatalf("read but not written: %v", err)
		}
		again, err := traffic.ParseDocument(out)
		if err != nil {
			t.Fatalf("written but not read: %v\n%s", err, out)
		}
		if again.WeightPct() != d.WeightPct() || again.Generation() != d.Generation() || again.CanaryURI != d.CanaryURI {
			t.Fatalf("changed: %s", cmp.Diff(d, again, cmp.AllowUnexported(traffic.Set{})))
		}
		if share := d.Table("m").WeightPct(); math.Abs(share-d.WeightPct()) > 0.0051 {
			t.Fatalf("table %v %%, document %v %%", share, d.WeightPct())
		}
	})
}
