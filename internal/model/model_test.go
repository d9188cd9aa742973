package model_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"serin/internal/model"
)

func TestParseRef(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		want model.Ref
	}{
		{"models:/fraud/Production", model.Ref{Kind: model.RefStage, Name: "fraud", Stage: model.StageProduction}},
		{"models:/fraud/staging", model.Ref{Kind: model.RefStage, Name: "fraud", Stage: model.StageStaging}},
		{"models://fraud/3", model.Ref{Kind: model.RefVersion, Name: "fraud", Version: "3"}},
		{"models:/fraud/0041", model.Ref{Kind: model.RefVersion, Name: "fraud", Version: "41"}},
		{"models:/fraud@champion", model.Ref{Kind: model.RefAlias, Name: "fraud", Alias: "champion"}},
		{"models:/frånd öne@a-b_c", model.Ref{Kind: model.RefAlias, Name: "frånd öne", Alias: "a-b_c"}},
		{"http://h:1/invocations", model.Ref{Kind: model.RefURL, Location: "http://h:1/invocations"}},
		{"https://h/", model.Ref{Kind: model.RefURL, Location: "https://h/"}},
		{"./model.ubj", model.Ref{Kind: model.RefPath, Location: "./model.ubj"}},
		{"file:///m/model", model.Ref{Kind: model.RefPath, Location: "/m/model"}},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			t.Parallel()
			got, err := model.ParseRef(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("ParseRef (-want +got):\n%s", diff)
			}
			if registered := strings.HasPrefix(tt.in, "models:"); got.Registered() != registered {
				t.Errorf("Registered() = %v", got.Registered())
			}
		})
	}
}

func TestParseRefRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{"", "empty model reference"},
		{"models:/fraud", "names no stage, version or alias"},
		{"models:/fraud/latest", "unknown stage"},
		{"models:/fraud/0", "unknown stage"},
		{"models:/fraud/99999999999", "unknown stage"},
		{"models:/a/b/Production", "has no '/'"},
		{"models:/@champion", "empty model name"},
		{"models:/fraud@", "alias"},
		{"models:/fraud@a b", "alias"},
		{"models:/../Production", "not '.' or '..'"},
		{"models:/a:b/1", "has no '/', ':'"},
		{"models:/" + strings.Repeat("n", 257) + "/1", "at most 256"},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			t.Parallel()
			got, err := model.ParseRef(tt.in)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ParseRef = %+v, error %v, want one with %q", got, err, tt.want)
			}
		})
	}
}

func TestParseStage(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"None", "STAGING", "production", "aRCHIVED"} {
		got, err := model.ParseStage(in)
		if err != nil || !strings.EqualFold(string(got), in) {
			t.Errorf("ParseStage(%q) = %q, %v", in, got, err)
		}
	}
	if _, err := model.ParseStage("Live"); err == nil || !strings.Contains(err.Error(), "use None, Staging, Production or Archived") {
		t.Errorf("ParseStage(Live): %v", err)
	}
}

func TestDigestIsOfTheFiles(t *testing.T) {
	t.Parallel()
	a := model.File{Path: "MLmodel", Size: 3, SHA256: strings.Repeat("a", 64)}
	b := model.File{Path: "model.ubj", Size: 9, SHA256: strings.Repeat("b", 64)}
	want := model.Digest([]model.File{a, b})
	// Digests are stored in rollouts: the formula must never change. Computed with Python's hashlib.
	if pinned := "sha256:4cfc43815d36f364c7c9bd3014002e0d3aa2c59f8124661c74fa6b0638818482"; want != pinned {
		t.Errorf("Digest = %s, want %s", want, pinned)
	}
	meta := model.File{Path: "registered_model_meta", Size: 1, SHA256: strings.Repeat("c", 64)}
	tests := []struct {
		name  string
		files []model.File
		same  bool
	}{
		{"other order", []model.File{b, a}, true},
		{"with the client's own file", []model.File{a, meta, b}, true},
		{"one missing", []model.File{a}, false},
		{"other size", []model.File{a, {Path: b.Path, Size: 8, SHA256: b.SHA256}}, false},
		{"other bytes", []model.File{a, {Path: b.Path, Size: 9, SHA256: a.SHA256}}, false},
		{"other name", []model.File{a, {Path: "model.json", Size: 9, SHA256: b.SHA256}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := model.Digest(tt.files); (got == want) != tt.same {
				t.Errorf("Digest = %s, of the original %s", got, want)
			}
		})
	}
}

func TestValidatePath(t *testing.T) {
	t.Parallel()
	for _, ok := range []string{"MLmodel", "a/b/c.json", "..a/b", "sp ace/ü.txt"} {
		if err := model.ValidatePath(ok); err != nil {
			t.Errorf("ValidatePath(%q): %v", ok, err)
		}
	}
	for _, bad := range []string{"", ".", "..", "/a", "a//b", "a/", "./a", "a/../b", "a\\b", "a\x00b", "a\nb", "C:/x", "c:x", "\xff", strings.Repeat("a", 1025)} {
		if err := model.ValidatePath(bad); err == nil {
			t.Errorf("ValidatePath(%q) accepted it", bad)
		}
	}
}

func FuzzParseRef(f *testing.F) {
	for _, s := range []string{"models:/fraud/Production", "models:/fraud/3", "models:/fraud@champion", "http://h/invocations", "./m", "models:/", "models:/a@b/c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := model.ParseRef(s)
		if err != nil || !ref.Registered() {
			return
		}
		if err := model.ValidateName(ref.Name); err != nil {
			t.Errorf("accepted the name: %v", err)
		}
		again, err := model.ParseRef(ref.String())
		if err != nil {
			t.Fatalf("ParseRef(%q) of %q: %v", ref.String(), s, err)
		}
		if diff := cmp.Diff(ref, again); diff != "" {
			t.Errorf("not the same after a round trip (-want +got):\n%s", diff)
		}
	})
}
