package mlflow_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/mlflow"
	"serin/internal/model"
)

// routes answers by method and path below /api/2.0/mlflow/; what is not there is MLflow's HTML 404.
type routes map[string]func(r *http.Request) (int, string)

func (m routes) RoundTrip(r *http.Request) (*http.Response, error) {
	path := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/api/2.0/mlflow/"), "/api/2.0/")
	if f, ok := m[r.Method+" "+path]; ok {
		status, text := f(r)
		return answer(r, status, text), nil
	}
	if r.Method == http.MethodPut {
		return answer(r, 200, ""), nil
	}
	return answer(r, 404, "<!doctype html><title>404 Not Found</title>"), nil
}

func says(status int, text string) func(*http.Request) (int, string) {
	return func(*http.Request) (int, string) { return status, text }
}

func (m routes) client(t *testing.T) *mlflow.Client {
	t.Helper()
	return target{uri: "http://h", http: m}.newClient(t, func(o *mlflow.Options) { o.Attempts = 1 })
}

// A page boundary that moves while pages are read repeats rows, and a search may answer a neighbor's versions: both are sorted out.
func TestVersionsOverSeveralPages(t *testing.T) {
	t.Parallel()
	var filters []string
	c := routes{
		"GET registered-models/get": says(200, `{"registered_model":{"name":"it's"}}`),
		"GET model-versions/search": func(r *http.Request) (int, string) {
			filters = append(filters, r.URL.Query().Get("filter"))
			switch r.URL.Query().Get("page_token") {
			case "":
				return 200, `{"model_versions":[{"name":"it's","version":"9"},{"name":"it's","version":"10"},{"name":"other","version":"1"}],"next_page_token":"p2"}`
			case "p2":
				return 200, `{"model_versions":[{"name":"it's","version":"10"},{"name":"it's","version":"2","current_stage":""}]}`
			}
			return 400, `{"error_code":"INVALID_PARAMETER_VALUE","message":"token"}`
		},
	}.client(t)
	snap, err := c.Snapshot(t.Context(), "it's")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range snap.Stages[model.StageNone] {
		got = append(got, v.Version)
	}
	if diff := cmp.Diff([]string{"10", "9", "2"}, got); diff != "" {
		t.Errorf("versions by number, not by text (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{`name = "it's"`, `name = "it's"`}, filters); diff != "" {
		t.Errorf("filters (-want +got):\n%s", diff)
	}
}

func TestListsThatDoNotEnd(t *testing.T) {
	t.Parallel()
	c := routes{
		"GET registered-models/get":    says(200, `{"registered_model":{"name":"x"}}`),
		"GET registered-models/search": says(200, `{"registered_models":[{"name":"x"}],"next_page_token":"again"}`),
		"GET model-versions/search":    says(200, `{"model_versions":[{"name":"x","version":"1"}],"next_page_token":"again"}`),
	}.client(t)
	if _, err := c.ListModels(t.Context()); !errors.Is(err, mlflow.ErrNotMLflow) {
		t.Errorf("models: %v", err)
	}
	if _, err := c.Snapshot(t.Context(), "x"); !errors.Is(err, mlflow.ErrNotMLflow) {
		t.Errorf("versions: %v", err)
	}
}

func TestListModelsLeavesPromptsOut(t *testing.T) {
	t.Parallel()
	c := routes{"GET registered-models/search": says(200,
		`{"registered_models":[{"name":"b"},{"name":"p","tags":[{"key":"mlflow.prompt.is_prompt","value":"true"}]},{"name":"a"},{"name":"b"}]}`)}.client(t)
	names, err := c.ListModels(t.Context())
	if diff := cmp.Diff([]string{"a", "b"}, names); diff != "" || err != nil {
		t.Errorf("%v, names (-want +got):\n%s", err, diff)
	}
}

func TestArgumentsAreCheckedBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	c := target{uri: "http://h", http: roundTripFunc(func(r *http.Request) (*http.Response, error) {
		t.Errorf("%s %s was sent", r.Method, r.URL)
		return answer(r, 200, "{}"), nil
	})}.newClient(t)
	ctx := t.Context()
	_, badName := c.Snapshot(ctx, "a/b")
	_, badVersionName := c.Version(ctx, "..", "1")
	_, badVersion := c.Version(ctx, "x", "one")
	_, badRef := c.Resolve(ctx, model.Ref{Kind: model.RefPath, Location: "./m"})
	_, badMove := c.Transition(ctx, mlflow.TransitionParams{Model: "x", Version: "1", To: model.StageArchived, ArchiveOthers: true})
	_, badPin := c.FetchPinned(ctx, "a/b", model.Pin{Version: "1", Digest: "sha256:0"})
	_, badDemote := c.Demote(ctx, mlflow.DemoteParams{Model: "x", Version: "1", Mode: mlflow.ModeBoth, To: model.StageNone, Rollout: "r"})
	for want, err := range map[string]error{
		"has no '/'": badName, "is not '.' or '..'": badVersionName, "give a number from 1 up": badVersion, "is not a model of the registry": badRef,
		"only on the way to Staging or Production": badMove, `model name "a/b"`: badPin, "give an outcome": badDemote,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestTransitionIsReadBack(t *testing.T) {
	t.Parallel()
	c := routes{"POST model-versions/transition-stage": says(200, `{"model_version":{"name":"x","version":"1","current_stage":"None"}}`)}.client(t)
	if _, err := c.Transition(t.Context(), mlflow.TransitionParams{Model: "x", Version: "1", To: model.StageStaging}); !errors.Is(err, mlflow.ErrNotMLflow) {
		t.Errorf("a move that did not happen: %v", err)
	}
}

func TestDownloadURIThatIsEmpty(t *testing.T) {
	t.Parallel()
	c := routes{"GET model-versions/get-download-uri": says(200, `{}`)}.client(t)
	if _, err := c.DownloadURI(t.Context(), "x", "1"); !errors.Is(err, mlflow.ErrBadArtifact) {
		t.Errorf("no address: %v", err)
	}
}

// mlflow3 is a server with logged models; created keeps what model-versions/create was sent.
func mlflow3(created *map[string]any, changes routes) routes {
	m := routes{
		"POST registered-models/create": says(400, `{"error_code":"RESOURCE_ALREADY_EXISTS","message":"exists"}`),
		"GET experiments/get-by-name":   says(200, `{"experiment":{"experiment_id":"4"}}`),
		"POST logged-models":            says(200, `{"model":{"info":{"model_id":"m-1","artifact_uri":"mlflow-artifacts:/4/models/m-1/artifacts"}}}`),
		"PATCH logged-models/m-1":       says(200, `{}`),
		"POST model-versions/create": func(r *http.Request) (int, string) {
			if err := json.NewDecoder(r.Body).Decode(created); err != nil {
				return 400, err.Error()
			}
			return 200, `{"model_version":{"name":"m","version":"5"}}`
		},
		"POST model-versions/transition-stage": says(200, `{"model_version":{"name":"m","version":"5","current_stage":"Staging"}}`),
	}
	for k, f := range changes {
		m[k] = f
	}
	return m
}

func bareFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "model.ubj")
	if err := os.WriteFile(file, []byte("{L"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestRegisterInALoggedModelOfMLflow3(t *testing.T) {
	t.Parallel()
	var created map[string]any
	p := mlflow.RegisterParams{Name: "m", Path: bareFile(t), Stage: model.StageStaging, Description: "d", Tags: map[string]string{"b": "2", "a": "1"}}
	version, err := mlflow3(&created, nil).client(t).Register(t.Context(), p)
	if err != nil || version != "5" {
		t.Fatalf("version %q, %v", version, err)
	}
	want := map[string]any{
		"name": "m", "source": "models:/m-1", "model_id": "m-1", "description": "d",
		"tags": []any{map[string]any{"key": "a", "value": "1"}, map[string]any{"key": "b", "value": "2"}},
	}
	if diff := cmp.Diff(want, created); diff != "" {
		t.Errorf("version (-want +got):\n%s", diff)
	}
}

// Every step of Register may fail; the error says which, and a version that exists is named.
func TestRegisterStepsThatFail(t *testing.T) {
	t.Parallel()
	broken := says(500, `{"error_code":"INTERNAL_ERROR","message":"oops"}`)
	lookups := 0
	for _, tt := range []struct {
		route   string
		f       func(*http.Request) (int, string)
		want    string
		version string
	}{
		{"POST registered-models/create", broken, "create model m", ""},
		{"GET experiments/get-by-name", broken, "find experiment serin", ""},
		{"POST logged-models", broken, "make a logged model", ""},
		{"POST logged-models", says(200, `{"model":{"info":{"model_id":"../x"}}}`), `has the id "../x"`, ""},
		{"PATCH logged-models/m-1", broken, "finish logged model m-1", ""},
		{"POST model-versions/create", broken, "create a version of model m", ""},
		{"POST model-versions/create", says(200, `{"model_version":{"name":"m"}}`), "give a number from 1 up", ""},
		{"POST model-versions/transition-stage", broken, "version 5 of m is registered but has no stage", "5"},
	} {
		var created map[string]any
		p := mlflow.RegisterParams{Name: "m", Path: bareFile(t), Stage: model.StageStaging}
		version, err := mlflow3(&created, routes{tt.route: tt.f}).client(t).Register(t.Context(), p)
		if err == nil || !strings.Contains(err.Error(), tt.want) || version != tt.version {
			t.Errorf("%s fails: version %q, %v; want %q", tt.route, version, err, tt.want)
		}
	}
	// Somebody else makes the experiment between look-up and creation.
	var created map[string]any
	raced := mlflow3(&created, routes{
		"GET experiments/get-by-name": func(*http.Request) (int, string) {
			if lookups++; lookups == 1 {
				return 404, `{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"none"}`
			}
			return 200, `{"experiment":{"experiment_id":4}}`
		},
		"POST experiments/create": says(400, `{"error_code":"RESOURCE_ALREADY_EXISTS","message":"exists"}`),
	})
	if version, err := raced.client(t).Register(t.Context(), mlflow.RegisterParams{Name: "m", Path: bareFile(t)}); err != nil || version != "5" {
		t.Errorf("with a race for the experiment: version %q, %v", version, err)
	}
}

// stubborn undoes what is written through it: another controller that works on the same model.
func stubborn(t *testing.T, next http.RoundTripper, path string, undo func(c *mlflow.Client)) *mlflow.Client {
	t.Helper()
	other := target{uri: "http://localhost", http: next}.newClient(t)
	return target{uri: "http://localhost"}.newClient(t, func(o *mlflow.Options) {
		o.HTTP = roundTripFunc(func(r *http.Request) (*http.Response, error) {
			resp, err := next.RoundTrip(r)
			if strings.HasSuffix(r.URL.Path, path) && r.Method != http.MethodGet {
				undo(other)
			}
			return resp, err
		})
	})
}

func TestPromoteGivesUpOnAnotherWriter(t *testing.T) {
	t.Parallel()
	next := mlflow.InProcess(embedded(t))
	plain := target{uri: "http://localhost", http: next}.newClient(t)
	name := newModel(t, plain, 3)
	champion1(t, plain, name)
	moves := 0
	c := stubborn(t, next, "/transition-stage", func(other *mlflow.Client) {
		moves++
		stage(t, other, name, "3", model.StageProduction)
	})
	if _, err := c.Promote(t.Context(), promote12(name, mlflow.ModeBoth)); !errors.Is(err, mlflow.ErrRegistryChanged) || !strings.Contains(err.Error(), "stop the other writer") {
		t.Errorf("another writer of stages: %v", err)
	}
	if moves != 3 {
		t.Errorf("%d moves, want 3: the repair is bounded", moves)
	}
	if _, err := plain.Promote(t.Context(), promote12(name, mlflow.ModeBoth)); err != nil {
		t.Errorf("repeated when the other writer is gone: %v", err)
	}
	if got := stateOf(t, plain, name); !cmp.Equal(got.Stages["Production"], []string{"2"}) || got.Aliases["champion"] != "2" {
		t.Errorf("state %+v", got)
	}

	name = newModel(t, plain, 3)
	champion1(t, plain, name)
	c = stubborn(t, next, "/registered-models/alias", func(other *mlflow.Client) {
		if err := other.SetAlias(t.Context(), mlflow.AliasParams{Model: name, Alias: "champion", Version: "3"}); err != nil {
			t.Error(err)
		}
	})
	if _, err := c.Promote(t.Context(), promote12(name, mlflow.ModeBoth)); !errors.Is(err, mlflow.ErrRegistryChanged) || !strings.Contains(err.Error(), "alias champion is at version 3") {
		t.Errorf("another writer of aliases: %v", err)
	}
}

func TestDemoteWithoutStages(t *testing.T) {
	t.Parallel()
	next := mlflow.InProcess(embedded(t))
	plain := target{uri: "http://localhost", http: next}.newClient(t)
	name := newModel(t, plain, 2)
	champion1(t, plain, name)
	c := target{uri: "http://localhost"}.newClient(t, func(o *mlflow.Options) {
		o.HTTP = roundTripFunc(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/transition-stage") {
				return answer(r, 501, "gone"), nil
			}
			return next.RoundTrip(r)
		})
	})
	p := mlflow.DemoteParams{Model: name, Version: "2", Mode: mlflow.ModeBoth, To: model.StageNone, Rollout: "r", Outcome: "rolled_back"}
	did, err := c.Demote(t.Context(), p)
	if err != nil || did.Mode != mlflow.ModeAliases {
		t.Errorf("%+v, %v", did, err)
	}
	if got := stateOf(t, plain, name); got.Aliases["challenger"] != "" || got.Tags["2"]["serin.outcome"] != "rolled_back" {
		t.Errorf("state %+v", got)
	}
	p.Version = "9"
	if _, err := c.Demote(t.Context(), p); !errors.Is(err, mlflow.ErrNotFound) {
		t.Errorf("a version that is gone: %v", err)
	}
}

// A person who has moved the challenger elsewhere is not overruled.
func TestDemoteLeavesAPersonsStage(t *testing.T) {
	t.Parallel()
	c := target{uri: "http://localhost", http: mlflow.InProcess(embedded(t))}.newClient(t)
	name := newModel(t, c, 2)
	champion1(t, c, name)
	stage(t, c, name, "2", model.StageNone)
	p := mlflow.DemoteParams{Model: name, Version: "2", Mode: mlflow.ModeStages, To: model.StageArchived, Rollout: "r", Outcome: "rejected"}
	if _, err := c.Demote(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if got := stateOf(t, c, name); !cmp.Equal(got.Stages["None"], []string{"2"}) || got.Aliases["challenger"] != "2" {
		t.Errorf("state %+v; mode stages leaves aliases alone", got)
	}
}

func TestCacheIgnoresWhatIsNotItsOwn(t *testing.T) {
	t.Parallel()
	f := &fakeFiles{uri: "mlflow-artifacts:/m", lists: map[string]string{"m": `{"files":[{"path":"a"}]}`}, files: map[string]string{proxyURL + "m/a": "x"}}
	cache := t.TempDir()
	c := target{uri: "http://h", http: f}.newClient(t, func(o *mlflow.Options) { o.CacheDir = cache })
	got, err := c.Fetch(t.Context(), version1)
	if err != nil {
		t.Fatal(err)
	}
	entry := filepath.Dir(got.Dir)
	manifest := filepath.Join(entry, "manifest.json")
	good, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"not JSON":        "{",
		"another model":   strings.Replace(string(good), `"name": "x"`, `"name": "y"`, 1),
		"another digest":  strings.Replace(string(good), got.Pin.Digest, "sha256:"+strings.Repeat("0", 64), 1),
		"a path outside":  strings.Replace(string(good), `"path": "a"`, `"path": "../manifest.json"`, 1),
		"an empty object": "{}",
	} {
		if err := os.WriteFile(manifest, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		again, err := c.FetchPinned(t.Context(), "x", got.Pin)
		if err != nil || again.Pin != got.Pin {
			t.Errorf("%s: %+v, %v", name, again, err)
		}
		if text, err := os.ReadFile(manifest); err != nil || string(text) != string(good) {
			t.Errorf("%s: the manifest was not mended: %s, %v", name, text, err)
		}
	}
}

func TestCacheRemovesWhatAKilledProcessLeft(t *testing.T) {
	t.Parallel()
	f := &fakeFiles{uri: "mlflow-artifacts:/m", lists: map[string]string{"m": `{"files":[{"path":"a"}]}`}, files: map[string]string{proxyURL + "m/a": "x"}}
	cache := t.TempDir()
	c := target{uri: "http://h", http: f}.newClient(t, func(o *mlflow.Options) { o.CacheDir = cache })
	got, err := c.Fetch(t.Context(), version1)
	if err != nil {
		t.Fatal(err)
	}
	parent := filepath.Dir(filepath.Dir(got.Dir))
	for name, age := range map[string]time.Duration{".tmp-old": 25 * time.Hour, ".tmp-running": time.Hour} {
		dir := filepath.Join(parent, name)
		if err := os.MkdirAll(filepath.Join(dir, "files"), 0o755); err != nil {
			t.Fatal(err)
		}
		when := time.Now().Add(-age)
		if err := os.Chtimes(dir, when, when); err != nil {
			t.Fatal(err)
		}
	}
	f.files[proxyURL+"m/a"] = "changed"
	if _, err := c.FetchPinned(t.Context(), "x", model.Pin{Version: "1", Digest: "sha256:" + strings.Repeat("1", 64)}); !errors.Is(err, mlflow.ErrDigestMismatch) {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(parent, ".tmp-*"))
	if want := []string{filepath.Join(parent, ".tmp-running")}; err != nil || !cmp.Equal(left, want) {
		t.Errorf("left %v, %v; want %v", left, err, want)
	}
}

func ExampleInProcess() {
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"registered_models":[{"name":"fraud"}]}`)
	})
	c, err := mlflow.New(mlflow.Options{TrackingURI: "http://localhost", HTTP: mlflow.InProcess(hello)})
	if err != nil {
		fmt.Println(err)
		return
	}
	names, err := c.ListModels(context.Background())
	fmt.Println(names, err)
	// Output: [fraud] <nil>
}
