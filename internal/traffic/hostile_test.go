package traffic_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/model"
	"serin/internal/traffic"
)

// A rollback must be written whatever keys another writer has put into the document.
func TestKeysOfAnyTextSurvive(t *testing.T) {
	t.Parallel()
	keys := []string{"\x00", "\a\b\v", "\x7f", "\u200b", "\U000e0001", "quo\"te\\", "<&>", "\u2028", "", "ü 😀", "\n", "Serin", "SERIN"}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal([]byte(plain), &fields); err != nil {
		t.Fatal(err)
	}
	for i, key := range keys {
		fields[key] = json.RawMessage(fmt.Sprint(i))
	}
	in, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	d, err := traffic.ParseDocument(in)
	if err != nil {
		t.Fatal(err)
	}
	back, err := traffic.Rollback(d, traffic.RollbackParams{Model: "m", At: at, By: author})
	if err != nil {
		t.Fatal(err)
	}
	out, _, err := back.Marshal(traffic.CompatExtended)
	if err != nil {
		t.Fatalf("a rollback cannot be written: %v", err)
	}
	again, err := traffic.ParseDocument(out)
	if err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	if diff := cmp.Diff(d.Unknown, again.Unknown); diff != "" || len(again.Unknown) != len(keys) {
		t.Errorf("unknown keys (-want +got):\n%s", diff)
	}
}

// The errors name the key and say what to write.
func TestParseDocumentErrors(t *testing.T) {
	t.Parallel()
	with := func(old, next string) string { return strings.Replace(plain, old, next, 1) }
	for _, tt := range []struct{ in, want string }{
		{"", "routing document: ends in the middle: it is empty or being written"},
		{"[]", `routing document: not a JSON object: write {"canary_enabled": ...}`},
		{"nul", "routing document: ends in the middle: it is empty or being written"},
		{plain + "{}", "routing document: something follows the closing brace: remove it"},
		{"{1: 2}", "routing document: not JSON: invalid character '1'"},
		{with("75", "[75}"), "routing document: champion_traffic_pct: not JSON: invalid character '}' after array element"},
		{with("{", `{"x": 1, "x": 1,`), "routing document: key x stands twice: remove one"},
		{with("{", `{"canary_enable\u0064": true,`), "routing document: key canary_enabled stands twice: remove one"},
		{with("25", "null"), "routing document: canary_traffic_pct: is null: give a number of percent"},
		{with(`"models:/m/Staging"`, "7"), "routing document: canary_model_uri: json: cannot unmarshal number into Go value of type string: give a text such as models:/NAME/Staging"},
		{with("25", "26"), "routing document: canary_traffic_pct 26 and champion_traffic_pct 75 sum to 101: make it 100"},
		{with(`"models:/m/Production"`, `""`), "routing document: production_model_uri is empty: give a reference such as models:/NAME/Production"},
		{with("{", `{"serin": [],`), "routing document: serin: json: cannot unmarshal array into Go value of type traffic.Control: give an object that Serin wrote"},
		{with("{", `{"serin": {"canary": {"buckets": [[3]]}},`), "a range has two numbers, its first and its last bucket: give an object that Serin wrote"},
	} {
		if _, err := traffic.ParseDocument([]byte(tt.in)); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.60q: %v\nwant %s", tt.in, err, tt.want)
		}
	}
}

// The steps refuse with the words a person can act on, and the document before stays what it was.
func TestStepErrors(t *testing.T) {
	t.Parallel()
	five := deploy(t, traffic.Document{}, 5)
	before, _, err := five.Marshal(traffic.CompatExtended)
	if err != nil {
		t.Fatal(err)
	}
	good := traffic.DeployParams{Model: fraud, WeightPct: 5, URIs: traffic.URIStage, Champion: champion, Canary: canary, Salt: "s", By: author}
	with := func(change func(*traffic.DeployParams)) error {
		p := good
		change(&p)
		_, err := traffic.Deploy(five, p)
		return err
	}
	promote := func(p traffic.PromoteParams) error { _, err := traffic.Promote(five, p); return err }
	rollback := func(prev traffic.Document, p traffic.RollbackParams) error {
		_, err := traffic.Rollback(prev, p)
		return err
	}
	renew := func(by traffic.Author) error { _, err := traffic.RenewLease(five, at, by); return err }
	for _, tt := range []struct {
		err  error
		want string
	}{
		{with(func(p *traffic.DeployParams) { p.WeightPct = 99.996 }), "canary weight 99.996 %: give 0.01 to 99.99; all traffic is a promotion"},
		{with(func(p *traffic.DeployParams) { p.WeightPct = math.NaN() }), "canary weight NaN %: give 0.01 to 99.99; all traffic is a promotion"},
		{with(func(p *traffic.DeployParams) { p.WeightPct = math.Inf(1) }), "canary weight +Inf %: give 0.01 to 99.99; all traffic is a promotion"},
		{with(func(p *traffic.DeployParams) { p.Salt = "" }), "canary without a salt: give the rollout's, or the same customers would be chosen every time"},
		{with(func(p *traffic.DeployParams) { p.Buckets = traffic.Percent(6) }), "canary weight 5 % with 600 of 10000 buckets: give 500"},
		{with(func(p *traffic.DeployParams) { p.URIs = "tag" }), `routing.uris "tag": use stage or version`},
		{with(func(p *traffic.DeployParams) { p.URIs, p.Champion.Version = traffic.URIVersion, "x" }), `routing document with routing.uris: version, Production: version "x": give a number from 1 up`},
		{with(func(p *traffic.DeployParams) { p.URIs, p.Canary.Version = traffic.URIVersion, "" }), `routing document with routing.uris: version, Staging: version "": give a number from 1 up`},
		{promote(traffic.PromoteParams{Model: "a/b", URIs: traffic.URIStage, By: author}), `routing document: model name "a/b": a name has no '/', ':' or '\' and is not '.' or '..'`},
		{promote(traffic.PromoteParams{Model: fraud, URIs: traffic.URIStage}), "routing document without a writer: say who writes it"},
		{rollback(five, traffic.RollbackParams{Model: fraud, By: author}), "rollback without a time: give the time it happened"},
		{rollback(five, traffic.RollbackParams{Model: fraud, At: at}), "routing document without a writer: say who writes it"},
		{rollback(traffic.Document{}, traffic.RollbackParams{Model: "", URIs: traffic.URIStage, At: at, By: author}), "routing document: empty model name: give the name the model is registered under"},
		{renew(traffic.Author{}), "routing document without a writer: say who writes it"},
	} {
		if tt.err == nil || tt.err.Error() != tt.want {
			t.Errorf("%v\nwant %s", tt.err, tt.want)
		}
	}
	after, _, err := five.Marshal(traffic.CompatExtended)
	if diff := cmp.Diff(string(before), string(after)); diff != "" || err != nil {
		t.Errorf("the document before changed (-before +after, %v):\n%s", err, diff)
	}
}

// Random sequences of steps and of other writers' changes: what must hold after every one of them.
func TestRandomStepsKeepTheInvariants(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 3))
		d, side := traffic.Document{}, []byte(nil)
		for step := range 30 {
			before := d
			next, err := randomStep(rng, d)
			if err != nil {
				if before.WeightPct() > 0 && before.Control != nil {
					t.Fatalf("seed %d step %d: %v", seed, step, err)
				}
				continue // there was no lease to renew
			}
			d = next
			if d.Generation() != before.Generation()+1 || d.CanaryPct+d.ChampionPct != 100 || d.Validate() != nil {
				t.Fatalf("seed %d step %d: generation %d after %d, %v + %v, %v", seed, step, d.Generation(), before.Generation(), d.CanaryPct, d.ChampionPct, d.Validate())
			}
			if table := d.Table(fraud); (table.Canary == nil) != (d.WeightPct() == 0) || math.Abs(table.WeightPct()-d.WeightPct()) > 1e-9 {
				t.Fatalf("seed %d step %d: table %v %%, document %v %%", seed, step, table.WeightPct(), d.WeightPct())
			}
			strict, newSide, err := d.Marshal(traffic.CompatStrict)
			if err != nil {
				t.Fatal(err)
			}
			if side, err = traffic.MergeSidecar(newSide, side); err != nil {
				t.Fatal(err)
			}
			bare, err := traffic.ParseDocument(strict)
			if err != nil {
				t.Fatal(err)
			}
			joined, highest, err := bare.WithSidecar(side)
			if err != nil || highest != d.Generation() {
				t.Fatalf("seed %d step %d: highest %d of %d, %v", seed, step, highest, d.Generation(), err)
			}
			if diff := cmp.Diff(d, joined, cmp.AllowUnexported(traffic.Set{})); diff != "" {
				t.Fatalf("seed %d step %d: through the strict form (-want +got):\n%s", seed, step, diff)
			}
		}
	}
}

func randomStep(rng *rand.Rand, d traffic.Document) (traffic.Document, error) {
	pin := model.Pin{Version: fmt.Sprint(1 + rng.IntN(50))}
	uris := []traffic.URIs{traffic.URIStage, traffic.URIVersion}[rng.IntN(2)]
	switch rng.IntN(4) {
	case 0:
		return traffic.Rollback(d, traffic.RollbackParams{Model: fraud, Champion: pin, URIs: uris, At: at.Add(time.Duration(rng.IntN(1e9))), By: author})
	case 1:
		return traffic.Promote(d, traffic.PromoteParams{Model: fraud, URIs: uris, Champion: pin, By: author})
	case 2:
		return traffic.RenewLease(d, at.Add(time.Duration(rng.IntN(1e9))*time.Microsecond), author)
	default:
		return traffic.Deploy(d, traffic.DeployParams{
			Model: fraud, WeightPct: float64(1+rng.IntN(9999)) / 100, URIs: uris, Champion: champion, Canary: pin, Salt: "s", By: author,
			LeaseUntil: at.Add(time.Duration(rng.IntN(100)) * time.Minute),
		})
	}
}
