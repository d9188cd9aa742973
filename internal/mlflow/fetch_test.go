package mlflow_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"serin/internal/mlflow"
	"serin/internal/model"
)

// fakeFiles is a registry that only knows version 1 of model x, with the address and the artifact calls that a test gives it.
type fakeFiles struct {
	uri   string
	lists map[string]string // path of the proxy -> listing
	files map[string]string // URL path -> content
	extra roundTripFunc     // asked first; may answer nil
}

func (f *fakeFiles) RoundTrip(r *http.Request) (*http.Response, error) {
	if f.extra != nil {
		if resp, err := f.extra(r); resp != nil || err != nil {
			return resp, err
		}
	}
	switch r.URL.Path {
	case "/api/2.0/mlflow/model-versions/get":
		return answer(r, 200, `{"model_version":{"name":"x","version":"1","current_stage":"None"}}`), nil
	case "/api/2.0/mlflow/model-versions/get-download-uri":
		return answer(r, 200, fmt.Sprintf(`{"artifact_uri":%q}`, f.uri)), nil
	case "/api/2.0/mlflow-artifacts/artifacts":
		if list, ok := f.lists[r.URL.Query().Get("path")]; ok {
			return answer(r, 200, list), nil
		}
		return answer(r, 200, "{}"), nil
	case "/model-versions/get-artifact":
		if content, ok := f.files["get-artifact:"+r.URL.Query().Get("path")]; ok {
			return answer(r, 200, content), nil
		}
	}
	if content, ok := f.files[r.URL.Path]; ok {
		return answer(r, 200, content), nil
	}
	return answer(r, 404, `{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"No such artifact"}`), nil
}

var version1 = model.Ref{Kind: model.RefVersion, Name: "x", Version: "1"}

const proxyURL = "/api/2.0/mlflow-artifacts/artifacts/"

func (f *fakeFiles) fetch(t *testing.T, change ...func(*mlflow.Options)) (mlflow.Fetched, error) {
	t.Helper()
	return target{uri: "http://h", http: f}.newClient(t, change...).Fetch(t.Context(), version1)
}

func TestHostileListingsAreRefused(t *testing.T) {
	t.Parallel()
	for name, list := range map[string]string{
		"parent":            `{"files":[{"path":"../evil","is_dir":false,"file_size":1}]}`,
		"parent folder":     `{"files":[{"path":"..","is_dir":true}]}`,
		"itself":            `{"files":[{"path":".","is_dir":true}]}`,
		"absolute":          `{"files":[{"path":"/etc/passwd","is_dir":false,"file_size":1}]}`,
		"backslash":         `{"files":[{"path":"a\\b","is_dir":false,"file_size":1}]}`,
		"NUL":               `{"files":[{"path":"a\u0000b","is_dir":false,"file_size":1}]}`,
		"newline":           `{"files":[{"path":"a\nb","is_dir":false,"file_size":1}]}`,
		"drive":             `{"files":[{"path":"C:evil","is_dir":false,"file_size":1}]}`,
		"empty":             `{"files":[{"path":"","is_dir":false,"file_size":1}]}`,
		"no base name":      `{"files":[{"path":"a/b","is_dir":false,"file_size":1}]}`,
		"no files":          `{"files":[]}`,
		"nothing":           `{}`,
		"a folder for ever": `{"files":[{"path":"again","is_dir":true}]}`,
	} {
		f := &fakeFiles{uri: "mlflow-artifacts:/m", lists: map[string]string{"m": list}}
		if name == "a folder for ever" {
			f.extra = func(r *http.Request) (*http.Response, error) {
				if r.URL.Path == "/api/2.0/mlflow-artifacts/artifacts" {
					return answer(r, 200, list), nil
				}
				return nil, nil
			}
		}
		cache := t.TempDir()
		if got, err := f.fetch(t, func(o *mlflow.Options) { o.CacheDir = cache }); !errors.Is(err, mlflow.ErrBadArtifact) {
			t.Errorf("%s: %+v, %v; want ErrBadArtifact", name, got, err)
		}
		if left, err := filepath.Glob(filepath.Join(cache, "v1", "*", "*")); err != nil || len(left) != 0 {
			t.Errorf("%s left %v, %v", name, left, err)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	endless := roundTripFunc(func(r *http.Request) (*http.Response, error) {
		if !strings.HasPrefix(r.URL.Path, proxyURL) {
			return nil, nil
		}
		resp := answer(r, 200, "")
		resp.Body, resp.ContentLength = io.NopCloser(endlessReader{}), -1
		return resp, nil
	})
	lying := roundTripFunc(func(r *http.Request) (*http.Response, error) {
		if !strings.HasPrefix(r.URL.Path, proxyURL) {
			return nil, nil
		}
		resp := answer(r, 200, "tiny")
		resp.ContentLength = 1 << 60
		return resp, nil
	})
	one := map[string]string{"m": `{"files":[{"path":"a","is_dir":false}]}`}
	for name, tt := range map[string]struct {
		files *fakeFiles
		want  error
	}{
		"listed size":    {&fakeFiles{lists: map[string]string{"m": `{"files":[{"path":"a","is_dir":false,"file_size":9000000000000000000}]}`}}, mlflow.ErrTooLarge},
		"sent length":    {&fakeFiles{lists: one, extra: lying}, mlflow.ErrTooLarge},
		"endless body":   {&fakeFiles{lists: one, extra: endless}, mlflow.ErrTooLarge},
		"too many files": {&fakeFiles{lists: map[string]string{"m": `{"files":[{"path":"a"},{"path":"b"},{"path":"c"},{"path":"d"}]}`}, files: map[string]string{proxyURL + "m/a": "1", proxyURL + "m/b": "1", proxyURL + "m/c": "1", proxyURL + "m/d": "1"}}, mlflow.ErrTooLarge},
		"other size":     {&fakeFiles{lists: map[string]string{"m": `{"files":[{"path":"a","file_size":3}]}`}, files: map[string]string{proxyURL + "m/a": "1234"}}, mlflow.ErrBadArtifact},
		"listed, gone":   {&fakeFiles{lists: one}, mlflow.ErrNotFound},
	} {
		tt.files.uri = "mlflow-artifacts:/m"
		if _, err := tt.files.fetch(t, func(o *mlflow.Options) { o.MaxBytes, o.MaxFiles = 1<<20, 3 }); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v; want %v", name, err, tt.want)
		}
	}
}

type endlessReader struct{}

func (endlessReader) Read(p []byte) (int, error) { return len(p), nil }

func TestBrokenDownloadIsRepeated(t *testing.T) {
	t.Parallel()
	var tries int
	f := &fakeFiles{uri: "mlflow-artifacts:/m", lists: map[string]string{"m": `{"files":[{"path":"a","file_size":8}]}`}}
	f.extra = func(r *http.Request) (*http.Response, error) {
		if r.URL.Path != proxyURL+"m/a" {
			return nil, nil
		}
		tries++
		resp := answer(r, 200, "complete")
		if tries < 3 {
			resp.Body = io.NopCloser(io.MultiReader(strings.NewReader("compl"), brokenReader{}))
		}
		return resp, nil
	}
	got, err := f.fetch(t)
	if err != nil || tries != 3 || got.Files[0].SHA256 != sha("complete") {
		t.Errorf("%+v after %d tries, %v", got, tries, err)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestWhereFilesAreReadFrom(t *testing.T) {
	t.Parallel()
	allowed := t.TempDir()
	if err := os.MkdirAll(filepath.Join(allowed, "m"), 0o755); err != nil {
		t.Fatal(err)
	}
	outside := t.TempDir()
	for _, dir := range []string{filepath.Join(allowed, "m"), outside} {
		if err := os.WriteFile(filepath.Join(dir, "MLmodel"), []byte(mlmodelText), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "model.ubj"), []byte("local"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	throughServer := map[string]string{"get-artifact:MLmodel": mlmodelText, "get-artifact:model.ubj": "through the server", "get-artifact:examples/input_example.json": "{}"}
	lists := map[string]string{"p/m": `{"files":[{"path":"MLmodel"},{"path":"model.ubj"}]}`}
	proxied := map[string]string{proxyURL + "p/m/MLmodel": mlmodelText, proxyURL + "p/m/model.ubj": "proxied"}
	for _, tt := range []struct{ uri, want string }{
		{"mlflow-artifacts:/p/m", "proxied"},
		{"mlflow-artifacts:/p/m/", "proxied"},
		{"mlflow-artifacts://h/p/m", "proxied"},
		{"http://h/api/2.0/mlflow-artifacts/artifacts/p/m", "proxied"},
		{"mlflow-artifacts://other:5000/p/m", "through the server"},
		{"https://h/api/2.0/mlflow-artifacts/artifacts/p/m", "through the server"},
		{"http://169.254.169.254/latest/meta-data", "through the server"},
		{"s3://bucket/key", "through the server"},
		{"abfss://c@acct.dfs.core.windows.net/m", "through the server"},
		{filepath.Join(allowed, "m"), "local"},
		{"file://" + filepath.Join(allowed, "m"), "local"},
		{"file://" + filepath.Join(allowed, "not there"), "through the server"},
		{outside, "through the server"},
		{filepath.Join(allowed, "..", filepath.Base(outside)), "through the server"},
		{"file://elsewhere" + filepath.Join(allowed, "m"), "through the server"},
		{"dbfs:/m", "Databricks"},
		{"mlflow-artifacts:/../m", "must stay inside"},
		{"mlflow-artifacts:/a/%2e%2e/m", "must stay inside"},
		{"mlflow-artifacts:/", "empty path"},
		{"models:/x/1", "gives models:/x/1"},
		{"://", "is not a URL"},
	} {
		f := &fakeFiles{uri: tt.uri, lists: lists, files: map[string]string{}}
		for _, m := range []map[string]string{throughServer, proxied} {
			for k, v := range m {
				f.files[k] = v
			}
		}
		f.extra = func(r *http.Request) (*http.Response, error) {
			if r.URL.Host != "h" || r.URL.Scheme != "http" {
				t.Errorf("%s: the client called %s", tt.uri, r.URL)
			}
			return nil, nil
		}
		got, err := f.fetch(t, func(o *mlflow.Options) { o.AllowedRoots = []string{allowed} })
		if err != nil {
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v; want %q", tt.uri, err, tt.want)
			}
			continue
		}
		if text, err := os.ReadFile(filepath.Join(got.Dir, "model.ubj")); err != nil || string(text) != tt.want {
			t.Errorf("%s: read %q, %v; want %q", tt.uri, text, err, tt.want)
		}
		if partial := tt.want == "through the server"; got.Partial != partial {
			t.Errorf("%s: Partial is %v", tt.uri, got.Partial)
		}
	}
}

func TestLinksDoNotLeaveAnAllowedRoot(t *testing.T) {
	t.Parallel()
	root, secret := t.TempDir(), filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(root, "model.ubj")); err != nil {
		t.Fatal(err)
	}
	f := &fakeFiles{uri: root}
	if got, err := f.fetch(t, func(o *mlflow.Options) { o.AllowedRoots = []string{root} }); err == nil {
		t.Errorf("fetched %+v through a link", got.Files)
	}
}

func TestOtherFlavorsNeedAListing(t *testing.T) {
	t.Parallel()
	f := &fakeFiles{uri: "s3://b/k", files: map[string]string{"get-artifact:MLmodel": "flavors: {sklearn: {pickled_model: model.pkl}}"}}
	if _, err := f.fetch(t); !errors.Is(err, mlflow.ErrUnsupported) || !strings.Contains(err.Error(), "/invocations") {
		t.Errorf("a pickle in a store that cannot be listed: %v", err)
	}
}

func TestRunAndLoggedModelAddresses(t *testing.T) {
	t.Parallel()
	const logged = `{"info":{"model_id":"m-1","artifact_uri":"mlflow-artifacts:/1/models/m-1/artifacts","source_run_id":"r1"}}`
	list := `{"files":[{"path":"MLmodel","file_size":` + fmt.Sprint(len(mlmodelText)) + `}]}`
	extra := func(searchStatus int) roundTripFunc {
		return func(r *http.Request) (*http.Response, error) {
			switch r.URL.Path {
			case "/api/2.0/mlflow/runs/get":
				return answer(r, 200, `{"run":{"info":{"experiment_id":"1","artifact_uri":"mlflow-artifacts:/1/r1/artifacts"}}}`), nil
			case "/api/2.0/mlflow/logged-models/search":
				return answer(r, searchStatus, `{"models":[{"info":{"model_id":"m-0","source_run_id":"r0"}},`+logged+`]}`), nil
			case "/api/2.0/mlflow/logged-models/m-1":
				return answer(r, 200, `{"model":`+logged+`}`), nil
			}
			return nil, nil
		}
	}
	inRun := map[string]string{proxyURL + "1/r1/artifacts/model/MLmodel": mlmodelText}
	inModel := map[string]string{proxyURL + "1/models/m-1/artifacts/MLmodel": mlmodelText}
	for _, tt := range []struct {
		name string
		f    fakeFiles
		ok   bool
	}{
		{"in the run", fakeFiles{uri: "runs:/r1/model", lists: map[string]string{"1/r1/artifacts/model": list}, files: inRun, extra: extra(500)}, true},
		{"in the logged model of the run", fakeFiles{uri: "runs:/r1/model", lists: map[string]string{"1/models/m-1/artifacts": list}, files: inModel, extra: extra(200)}, true},
		{"nowhere, and no logged models", fakeFiles{uri: "runs:/r1/model", extra: extra(404)}, false},
		{"by id", fakeFiles{uri: "models:/m-1", lists: map[string]string{"1/models/m-1/artifacts": list}, files: inModel, extra: extra(200)}, true},
	} {
		got, err := tt.f.fetch(t)
		if (err == nil) != tt.ok || (tt.ok && len(got.Files) != 1) {
			t.Errorf("%s: %+v, %v", tt.name, got.Files, err)
		}
	}
}

func TestCacheSurvivesDamageAndRaces(t *testing.T) {
	t.Parallel()
	content := "first"
	f := &fakeFiles{uri: "mlflow-artifacts:/m", lists: map[string]string{"m": `{"files":[{"path":"a"}]}`}, files: map[string]string{proxyURL + "m/a": content}}
	tg := target{uri: "http://h", http: f}
	cache := t.TempDir()
	c := tg.newClient(t, func(o *mlflow.Options) { o.CacheDir = cache })
	first, err := c.Fetch(t.Context(), version1)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(first.Dir, "a"), []byte("evil!"), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := c.FetchPinned(t.Context(), "x", first.Pin)
	if err != nil || again.Dir != first.Dir {
		t.Fatalf("after damage: %+v, %v", again, err)
	}
	if text, err := os.ReadFile(filepath.Join(again.Dir, "a")); err != nil || string(text) != content {
		t.Errorf("after damage: %q, %v", text, err)
	}
	// Changed in place: the old files stay for whoever serves them.
	f.files[proxyURL+"m/a"] = "second"
	fresh := tg.newClient(t)
	second, err := fresh.Fetch(t.Context(), version1)
	if err != nil || second.Pin == first.Pin {
		t.Fatalf("changed in place: %+v, %v", second, err)
	}
	if _, err := c.FetchPinned(t.Context(), "x", second.Pin); err != nil {
		t.Fatal(err)
	}
	if kept, err := c.FetchPinned(t.Context(), "x", first.Pin); err != nil || kept.Dir != first.Dir {
		t.Errorf("the first content is gone: %+v, %v", kept, err)
	}
	var wait sync.WaitGroup
	shared := t.TempDir()
	for range 8 {
		wait.Go(func() {
			c := tg.newClient(t, func(o *mlflow.Options) { o.CacheDir = shared })
			if got, err := c.Fetch(t.Context(), version1); err != nil || got.Pin != second.Pin {
				t.Errorf("side by side: %+v, %v", got, err)
			}
		})
	}
	wait.Wait()
	if left, err := filepath.Glob(filepath.Join(shared, "v1", "*", "*")); err != nil || len(left) != 1 {
		t.Errorf("the shared cache holds %v, %v", left, err)
	}
}

func TestFetchNeedsACacheFolder(t *testing.T) {
	t.Parallel()
	f := &fakeFiles{uri: "mlflow-artifacts:/m", lists: map[string]string{"m": `{"files":[{"path":"a"}]}`}, files: map[string]string{proxyURL + "m/a": "x"}}
	if _, err := f.fetch(t, func(o *mlflow.Options) { o.CacheDir = "" }); err == nil || !strings.Contains(err.Error(), "Options.CacheDir") {
		t.Errorf("without a cache folder: %v", err)
	}
	c := target{uri: "http://h", http: f}.newClient(t)
	if _, err := c.FetchPinned(t.Context(), "x", model.Pin{Version: "1"}); err == nil {
		t.Error("a pin without a digest was fetched")
	}
}
