package model_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"serin/internal/model"
)

// MLflow splits at '/' first, so a name may hold an '@' there.
func TestParseRefOfNamesWithAt(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]model.Ref{
		"models:/a@b/7":       {Kind: model.RefVersion, Name: "a@b", Version: "7"},
		"models:/a@b/Staging": {Kind: model.RefStage, Name: "a@b", Stage: model.StageStaging},
		"models:/a@b@c":       {Kind: model.RefAlias, Name: "a@b", Alias: "c"},
	} {
		got, err := model.ParseRef(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" || got.String() != in {
			t.Errorf("%s is written back as %s (-want +got):\n%s", in, got, diff)
		}
	}
	if _, err := model.ParseRef("models:/a@b/c"); err == nil || !strings.Contains(err.Error(), `unknown stage "c"`) {
		t.Errorf("models:/a@b/c: %v", err)
	}
}

// Every valid name survives in each form of a reference, whatever it is made of.
func TestRefsOfRandomNamesReadBack(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 5))
	alphabet := []rune("ab.@ -_#?%ü😀~\"'")
	for range 2000 {
		runes := make([]rune, 1+rng.IntN(12))
		for i := range runes {
			runes[i] = alphabet[rng.IntN(len(alphabet))]
		}
		name := string(runes)
		if model.ValidateName(name) != nil {
			continue
		}
		for _, ref := range []model.Ref{
			{Kind: model.RefStage, Name: name, Stage: model.StageArchived},
			{Kind: model.RefVersion, Name: name, Version: strconv.Itoa(1 + rng.IntN(1<<30))},
			{Kind: model.RefAlias, Name: name, Alias: "champion"},
		} {
			got, err := model.ParseRef(ref.String())
			if err != nil || got != ref {
				t.Fatalf("%+v is written %q and read as %+v, %v", ref, ref, got, err)
			}
		}
	}
}

func TestParseVersionBounds(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"1": "1", "007": "7", "2147483647": "2147483647"} {
		if got, err := model.ParseVersion(in); got != want || err != nil {
			t.Errorf("%s: %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "0", "000", "-1", "+1", "1.0", "1e3", " 1", "0x1", "1_0", "2147483648", "١"} {
		got, err := model.ParseVersion(in)
		if want := fmt.Sprintf("version %q: give a number from 1 up", in); err == nil || err.Error() != want || got != "" {
			t.Errorf("%q: %q, %v; want %s", in, got, err, want)
		}
	}
}

func TestValidateNameBounds(t *testing.T) {
	t.Parallel()
	for _, ok := range []string{"...", ".a", "a..b", strings.Repeat("n", 256), strings.Repeat("ü", 128)} {
		if err := model.ValidateName(ok); err != nil {
			t.Errorf("%.20q: %v", ok, err)
		}
	}
	for in, want := range map[string]string{
		"":                       "empty model name: give the name the model is registered under",
		"..":                     `model name "..": a name has no '/', ':' or '\' and is not '.' or '..'`,
		`a\b`:                    `model name "a\\b": a name has no '/', ':' or '\' and is not '.' or '..'`,
		"a\x00":                  `model name "a\x00": a name has no '/', ':' or '\' and is not '.' or '..'`,
		strings.Repeat("ü", 129): "model name of 258 bytes: at most 256",
	} {
		if err := model.ValidateName(in); err == nil || err.Error() != want {
			t.Errorf("%.20q: %v, want %s", in, err, want)
		}
	}
}

// A reference without a kind has no text, and is none of the registry's.
func TestZeroRef(t *testing.T) {
	t.Parallel()
	if s := (model.Ref{}).String(); s != "" || (model.Ref{}).Registered() {
		t.Errorf("text %q, registered %v", s, model.Ref{}.Registered())
	}
}

// The formula again, in other words, on random sets of files in random order.
func TestDigestAgainstItsDefinition(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(7, 1))
	for range 200 {
		byPath := map[string]model.File{}
		for range rng.IntN(8) {
			p := "d" + strconv.Itoa(rng.IntN(3)) + "/f" + strconv.Itoa(rng.IntN(30))
			byPath[p] = model.File{Path: p, Size: rng.Int64N(1 << 40), SHA256: strings.Repeat(strconv.Itoa(rng.IntN(10)), 64)}
		}
		var files []model.File
		for _, f := range byPath { // in an order of the map's
			files = append(files, f)
		}
		before := append([]model.File(nil), files...)
		got := model.Digest(files)
		if diff := cmp.Diff(before, files); diff != "" {
			t.Fatalf("the caller's list was changed (-before +after):\n%s", diff)
		}
		text := ""
		for len(byPath) > 0 {
			least := ""
			for p := range byPath {
				if least == "" || p < least {
					least = p
				}
			}
			text += fmt.Sprint(least, "\x00", byPath[least].Size, "\x00", byPath[least].SHA256, "\n")
			delete(byPath, least)
		}
		sum := sha256.Sum256([]byte(text))
		if want := "sha256:" + hex.EncodeToString(sum[:]); got != want {
			t.Fatalf("%v: %s, want %s", before, got, want)
		}
	}
}

// Names are kept as the signature writes them.
func TestColumnNamesAsWritten(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`1000000`: "1000000", `12345678901234567890`: "12345678901234567890", `-1`: "-1", `1.50`: "1.50", `"1e6"`: "1e6", `null`: "", `""`: "",
		`"a\u00e9\n"`: "aé\n", `["a","b"]`: `["a","b"]`, `true`: "true",
	} {
		text := fmt.Sprintf("flavors: {f: {}}\nsignature:\n  inputs: '[{\"name\": %s, \"type\": \"double\"}]'\n", in)
		got, err := model.ParseMLmodel([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got.Inputs[0].Name != want {
			t.Errorf("%s: name %q, want %q", in, got.Inputs[0].Name, want)
		}
	}
}

func TestParseMLmodelIsNoAliasBomb(t *testing.T) {
	t.Parallel()
	var bomb strings.Builder
	bomb.WriteString("flavors:\n  l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&bomb, "  l%d: &l%d [%s*l%d]\n", i, i, strings.Repeat(fmt.Sprintf("*l%d, ", i-1), 9), i-1)
	}
	bomb.WriteString("  xgboost: {data: *l11}\n")
	if _, err := model.ParseMLmodel([]byte(bomb.String())); err == nil || !strings.Contains(err.Error(), "flavors.xgboost") {
		t.Errorf("error %.200v, want one about flavors.xgboost", err)
	}
}

// model_uuid comes before model_id, and either will do.
func TestParseMLmodelIdentity(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"model_uuid: u\nmodel_id: i\n": "u", "model_id: i\n": "i", "model_uuid: u\n": "u", "": "",
	} {
		got, err := model.ParseMLmodel([]byte("flavors: {f: {}}\n" + in))
		if err != nil || got.ModelUUID != want {
			t.Errorf("%q: %q, %v; want %q", in, got.ModelUUID, err, want)
		}
	}
}
