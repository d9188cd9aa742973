package mlflow_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"serin/internal/mlflow"
	"serin/internal/model"
	"serin/internal/registry"
	"serin/internal/store/sqlite"
)

// target is a registry that the suite runs against: the embedded one in process and over HTTP, and a real MLflow in the integration test.
type target struct {
	uri  string
	http http.RoundTripper // nil: the client's own
}

// embedded opens a registry server on a store of its own.
func embedded(tb testing.TB) *registry.Server {
	tb.Helper()
	db, err := sqlite.Open(tb.Context(), tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	s, err := registry.New(registry.Options{Store: db, ArtifactRoot: tb.TempDir()})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestConformanceInProcess(t *testing.T) {
	t.Parallel()
	conformance(t, target{uri: "http://localhost", http: mlflow.InProcess(embedded(t))})
}

func TestCrashAnywhere(t *testing.T) {
	t.Parallel()
	suiteCrash(t, target{uri: "http://localhost", http: mlflow.InProcess(embedded(t))})
}

func TestConformanceOverHTTP(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(embedded(t))
	t.Cleanup(server.Close)
	conformance(t, target{uri: server.URL})
}

// conformance is everything that Serin asks of a registry. It must pass unchanged against all of them.
func conformance(t *testing.T, tg target) {
	t.Helper()
	t.Run("models and versions", func(t *testing.T) { t.Parallel(); suiteVersions(t, tg) })
	t.Run("resolve", func(t *testing.T) { t.Parallel(); suiteResolve(t, tg) })
	t.Run("aliases and tags", func(t *testing.T) { t.Parallel(); suiteAliases(t, tg) })
	t.Run("errors", func(t *testing.T) { t.Parallel(); suiteErrors(t, tg) })
	t.Run("register and fetch", func(t *testing.T) { t.Parallel(); suiteFetch(t, tg) })
	t.Run("promote", func(t *testing.T) { t.Parallel(); suitePromote(t, tg) })
}

// newClient makes a client of the target; change may alter its options.
func (tg target) newClient(tb testing.TB, change ...func(*mlflow.Options)) *mlflow.Client {
	tb.Helper()
	o := mlflow.Options{TrackingURI: tg.uri, HTTP: tg.http, CacheDir: tb.TempDir()}
	for _, f := range change {
		f(&o)
	}
	c, err := mlflow.New(o)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

var names atomic.Int64

// newModel creates a model with n versions in stage None; their files lie nowhere.
func newModel(tb testing.TB, c *mlflow.Client, n int) string {
	tb.Helper()
	name := fmt.Sprintf("suite %d of %d", names.Add(1), os.Getpid())
	if err := c.CreateModel(tb.Context(), name); err != nil {
		tb.Fatal(err)
	}
	for i := range n {
		v, err := c.CreateVersion(tb.Context(), mlflow.CreateVersionParams{Name: name, Source: "s3://bucket/model"})
		if err != nil {
			tb.Fatal(err)
		}
		if want := fmt.Sprint(i + 1); v.Version != want {
			tb.Fatalf("version %s, want %s", v.Version, want)
		}
	}
	return name
}

func stage(tb testing.TB, c *mlflow.Client, name string, version string, to model.Stage) {
	tb.Helper()
	if _, err := c.Transition(tb.Context(), mlflow.TransitionParams{Model: name, Version: version, To: to}); err != nil {
		tb.Fatal(err)
	}
}

// state is a snapshot without what differs from run to run.
type state struct {
	Stages  map[string][]string
	Aliases map[string]string
	Tags    map[string]map[string]string
}

func stateOf(tb testing.TB, c *mlflow.Client, name string) state {
	tb.Helper()
	snap, err := c.Snapshot(tb.Context(), name)
	if err != nil {
		tb.Fatal(err)
	}
	s := state{Stages: map[string][]string{}, Aliases: snap.Aliases, Tags: map[string]map[string]string{}}
	for st, versions := range snap.Stages {
		for _, v := range versions {
			s.Stages[string(st)] = append(s.Stages[string(st)], v.Version)
			if len(v.Tags) > 0 {
				s.Tags[v.Version] = v.Tags
			}
		}
	}
	return s
}

func suiteVersions(t *testing.T, tg target) {
	t.Helper()
	c := tg.newClient(t)
	name := newModel(t, c, 3)
	if err := c.CreateModel(t.Context(), name); err != nil {
		t.Errorf("creating a model again: %v", err)
	}
	stage(t, c, name, "1", model.StageProduction)
	stage(t, c, name, "2", model.StageProduction)
	if got, want := stateOf(t, c, name).Stages, map[string][]string{"Production": {"2", "1"}, "None": {"3"}}; !cmp.Equal(got, want) {
		t.Errorf("two in Production, newest first: %v", cmp.Diff(want, got))
	}
	v, err := c.Transition(t.Context(), mlflow.TransitionParams{Model: name, Version: "3", To: model.StageProduction, ArchiveOthers: true})
	if err != nil || v.Stage != model.StageProduction || v.Version != "3" {
		t.Errorf("transition: %+v, %v", v, err)
	}
	if got, want := stateOf(t, c, name).Stages, map[string][]string{"Production": {"3"}, "Archived": {"2", "1"}}; !cmp.Equal(got, want) {
		t.Errorf("after archiving: %v", cmp.Diff(want, got))
	}
	v, err = c.Version(t.Context(), name, "002")
	if err != nil || v.Name != name || v.Version != "2" || v.Source != "s3://bucket/model" || v.Status != "READY" || v.Created.IsZero() {
		t.Errorf("version 2: %+v, %v", v, err)
	}
	uri, err := c.DownloadURI(t.Context(), name, "2")
	if err != nil || uri != "s3://bucket/model" {
		t.Errorf("download address %q, %v", uri, err)
	}
	models, err := c.ListModels(t.Context())
	if err != nil || !slices.Contains(models, name) {
		t.Errorf("list %v has no %q, %v", models, name, err)
	}
}

func suiteResolve(t *testing.T, tg target) {
	t.Helper()
	c := tg.newClient(t)
	name := newModel(t, c, 3)
	stage(t, c, name, "1", model.StageProduction)
	stage(t, c, name, "2", model.StageProduction)
	if err := c.SetAlias(t.Context(), mlflow.AliasParams{Model: name, Alias: "champion", Version: "1"}); err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{
		"models:/" + name + "/Production": "2", // the highest number, not the latest move
		"models:/" + name + "/none":       "3",
		"models:/" + name + "/1":          "1",
		"models:/" + name + "@champion":   "1",
	} {
		parsed, err := model.ParseRef(ref)
		if err != nil {
			t.Fatal(err)
		}
		v, err := c.Resolve(t.Context(), parsed)
		if err != nil || v.Version != want || v.Name != name {
			t.Errorf("Resolve(%s) = %s %s, %v; want version %s", ref, v.Name, v.Version, err, want)
		}
	}
	for _, ref := range []string{"/Staging", "/77", "@challenger"} {
		parsed, err := model.ParseRef("models:/" + name + ref)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := c.Resolve(t.Context(), parsed); !errors.Is(err, mlflow.ErrNotFound) {
			t.Errorf("Resolve(%s) = %+v, %v; want ErrNotFound", ref, v, err)
		}
	}
}

func suiteAliases(t *testing.T, tg target) {
	t.Helper()
	c := tg.newClient(t)
	name := newModel(t, c, 2)
	ctx := t.Context()
	steps := []error{
		c.SetAlias(ctx, mlflow.AliasParams{Model: name, Alias: "a", Version: "1"}),
		c.SetAlias(ctx, mlflow.AliasParams{Model: name, Alias: "a", Version: "2"}),
		c.SetAlias(ctx, mlflow.AliasParams{Model: name, Alias: "b-1", Version: "2"}),
		c.SetAlias(ctx, mlflow.AliasParams{Model: name, Alias: "gone", Version: "1"}),
		c.DeleteAlias(ctx, mlflow.AliasParams{Model: name, Alias: "gone"}),
		c.DeleteAlias(ctx, mlflow.AliasParams{Model: name, Alias: "gone"}),
		c.SetVersionTag(ctx, mlflow.VersionTag{Model: name, Version: "2", Key: "serin.reason", Value: "p95 > 100 ms, \"5 %\""}),
		c.SetVersionTag(ctx, mlflow.VersionTag{Model: name, Version: "2", Key: "old", Value: "1"}),
		c.DeleteVersionTag(ctx, mlflow.VersionTag{Model: name, Version: "2", Key: "old"}),
		c.DeleteVersionTag(ctx, mlflow.VersionTag{Model: name, Version: "2", Key: "old"}),
	}
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
	want := state{
		Stages: map[string][]string{"None": {"2", "1"}}, Aliases: map[string]string{"a": "2", "b-1": "2"},
		Tags: map[string]map[string]string{"2": {"serin.reason": "p95 > 100 ms, \"5 %\""}},
	}
	if diff := cmp.Diff(want, stateOf(t, c, name)); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	snap, err := c.Snapshot(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := snap.Version("2"); !ok || !slices.Equal(v.Aliases, []string{"a", "b-1"}) {
		t.Errorf("version 2 of the snapshot has aliases %v", v.Aliases)
	}
}

func suiteErrors(t *testing.T, tg target) {
	t.Helper()
	c := tg.newClient(t)
	name := newModel(t, c, 1)
	ctx := t.Context()
	_, noModel := c.Snapshot(ctx, name+" nope")
	_, noVersion := c.Version(ctx, name, "99")
	_, noMove := c.Transition(ctx, mlflow.TransitionParams{Model: name, Version: "99", To: model.StageStaging})
	_, noParent := c.CreateVersion(ctx, mlflow.CreateVersionParams{Name: name + " nope", Source: "s3://b/k"})
	_, local := c.CreateVersion(ctx, mlflow.CreateVersionParams{Name: name, Source: "/etc"})
	_, dots := c.CreateVersion(ctx, mlflow.CreateVersionParams{Name: name, Source: "s3://b/../k"})
	_, logged := c.CreateVersion(ctx, mlflow.CreateVersionParams{Name: name, Source: "models:/m-00000000000000000000000000000000"})
	_, badStage := c.Transition(ctx, mlflow.TransitionParams{Model: name, Version: "1", To: "Live"})
	for _, tt := range []struct {
		what string
		err  error
		want error
	}{
		{"unknown model", noModel, mlflow.ErrNotFound},
		{"unknown version", noVersion, mlflow.ErrNotFound},
		{"move of an unknown version", noMove, mlflow.ErrNotFound},
		{"version of an unknown model", noParent, mlflow.ErrNotFound},
		{"a local source", local, mlflow.ErrInvalid},
		{"a source that climbs", dots, mlflow.ErrInvalid},
		{"an unknown logged model", logged, mlflow.ErrInvalid},
		{"an unknown stage", badStage, mlflow.ErrInvalid},
		{"alias on an unknown version", c.SetAlias(ctx, mlflow.AliasParams{Model: name, Alias: "x", Version: "99"}), mlflow.ErrNotFound},
		{"a bad alias", c.SetAlias(ctx, mlflow.AliasParams{Model: name, Alias: "a b", Version: "1"}), mlflow.ErrInvalid},
		{"a reserved alias", c.SetAlias(ctx, mlflow.AliasParams{Model: name, Alias: "latest", Version: "1"}), mlflow.ErrInvalid},
		{"an alias like a version", c.SetAlias(ctx, mlflow.AliasParams{Model: name, Alias: "v1", Version: "1"}), mlflow.ErrInvalid},
		{"tag on an unknown version", c.SetVersionTag(ctx, mlflow.VersionTag{Model: name, Version: "99", Key: "k", Value: "v"}), mlflow.ErrNotFound},
	} {
		if !errors.Is(tt.err, tt.want) {
			t.Errorf("%s: %v; want %v", tt.what, tt.err, tt.want)
		}
		var apiErr *mlflow.APIError
		if errors.As(tt.err, &apiErr) && (apiErr.Code == "" || apiErr.Message == "" || strings.Contains(tt.err.Error(), "\n")) {
			t.Errorf("%s: %q has no code or message, or is not one line", tt.what, tt.err)
		}
	}
}

// writeFiles makes a folder of files and gives it back with the digest that it must keep on its way.
func writeFiles(tb testing.TB, files map[string]string) (dir, digest string) {
	tb.Helper()
	dir = tb.TempDir()
	var list []model.File
	for name, content := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			tb.Fatal(err)
		}
		list = append(list, model.File{Path: name, Size: int64(len(content)), SHA256: sha(content)})
	}
	return dir, model.Digest(list)
}

const mlmodelText = "flavors:\n  xgboost:\n    data: model.ubj\n    model_class: xgboost.core.Booster\n    model_format: ubj\n    xgb_version: 3.2.0\n" +
	"saved_input_example_info:\n  artifact_path: examples/input_example.json\n"

func modelFiles() map[string]string {
	return map[string]string{
		"MLmodel": mlmodelText, "model.ubj": "{L\x00\xff" + strings.Repeat("tree", 50_000), "requirements.txt": "", "examples/input_example.json": "{}",
		"examples/deep/er/sp ace +%ü.txt": "odd names travel too",
	}
}

func suiteFetch(t *testing.T, tg target) {
	t.Helper()
	counter := &breaker{next: tg.http}
	c := tg.newClient(t, func(o *mlflow.Options) { o.HTTP = counter })
	name := newModel(t, c, 0)
	dir, digest := writeFiles(t, modelFiles())
	version, err := c.Register(t.Context(), mlflow.RegisterParams{Name: name, Path: dir, Stage: model.StageStaging, Description: "from the suite", Tags: map[string]string{"k": "v"}})
	if err != nil || version != "1" {
		t.Fatalf("register: version %q, %v", version, err)
	}
	ref := model.Ref{Kind: model.RefStage, Name: name, Stage: model.StageStaging}
	got, err := c.Fetch(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	want := model.Pin{Version: "1", Digest: digest}
	if got.Pin != want || got.Name != name || got.Partial {
		t.Errorf("fetched %+v, want pin %+v", got, want)
	}
	for file, content := range modelFiles() {
		if text, err := os.ReadFile(filepath.Join(got.Dir, filepath.FromSlash(file))); err != nil || string(text) != content {
			t.Errorf("file %s: %d bytes, %v", file, len(text), err)
		}
	}
	before := counter.calls.Load()
	again, err := c.Fetch(t.Context(), ref)
	if err != nil || again.Dir != got.Dir || counter.calls.Load() != before+2 {
		t.Errorf("second fetch: %d calls, %+v, %v; want resolve and address only", counter.calls.Load()-before, again, err)
	}
	counter.failFrom(1)
	pinned, err := c.FetchPinned(t.Context(), name, want)
	if err != nil || pinned.Dir != got.Dir {
		t.Errorf("pinned, with the registry down: %+v, %v", pinned, err)
	}
	if _, err := c.Fetch(t.Context(), ref); !errors.Is(err, mlflow.ErrUnavailable) {
		t.Errorf("a stage with the registry down: %v", err)
	}
	counter.failFrom(0)
	suiteFetchMore(t, suiteFetchState{target: tg, client: c, name: name, pin: want})
}

type suiteFetchState struct {
	target target
	client *mlflow.Client
	name   string
	pin    model.Pin
}

func suiteFetchMore(t *testing.T, s suiteFetchState) {
	t.Helper()
	wrong := model.Pin{Version: "1", Digest: "sha256:" + strings.Repeat("0", 64)}
	if got, err := s.client.FetchPinned(t.Context(), s.name, wrong); !errors.Is(err, mlflow.ErrDigestMismatch) {
		t.Errorf("another digest than pinned: %+v, %v", got, err)
	}
	if _, err := s.client.FetchPinned(t.Context(), s.name, s.pin); err != nil {
		t.Errorf("the right digest after the wrong one: %v", err)
	}
	bare := filepath.Join(t.TempDir(), "model.json")
	if err := os.WriteFile(bare, []byte(`{"learner":{}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	version, err := s.client.Register(t.Context(), mlflow.RegisterParams{Name: s.name, Path: bare})
	if err != nil || version != "2" {
		t.Fatalf("register a bare file: version %q, %v", version, err)
	}
	got, err := s.target.newClient(t).Fetch(t.Context(), model.Ref{Kind: model.RefVersion, Name: s.name, Version: "2"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]model.File{{Path: "model.json", Size: 14, SHA256: sha(`{"learner":{}}`)}}, got.Files); diff != "" {
		t.Errorf("bare file (-want +got):\n%s", diff)
	}
}
