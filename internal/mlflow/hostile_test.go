package mlflow_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"serin/internal/mlflow"
	"serin/internal/model"
)

// TestServersWordsCannotSteerATerminal: messages are printed where people read them, so control characters of the server's stay out.
func TestServersWordsCannotSteerATerminal(t *testing.T) {
	t.Parallel()
	for _, a := range []scriptedAnswer{
		{400, `{"error_code":"INVALID_PARAMETER_VALUE","message":"\u001b[2Jall \u001b]0;is\u0007 well\u009b1m\u0085\u0000"}`, nil},
		{400, "plain \x1b[31mtext\x7f", nil},
		{200, "not JSON \x1b[31m", nil},
		{403, `{"error_code":"PERMISSION_DENIED","message":"` + strings.Repeat("ü", 2000) + `"}`, nil},
	} {
		c, _ := newScripted(t, a)
		_, err := c.Snapshot(t.Context(), "x")
		if err == nil || strings.ContainsFunc(err.Error(), unicode.IsControl) || len(err.Error()) > 700 {
			t.Errorf("%.60q became %q", a.body, err)
		}
	}
}

// TestAddressesHideWhoCalls: a token may stand where the user's name does.
func TestAddressesHideWhoCalls(t *testing.T) {
	t.Parallel()
	for _, uri := range []string{"ftp://s3cret@h/", "ftp://u:s3cret@h/", "postgresql://u:s3cret@db/mlflow", "databricks://s3cret@w", "http://s3cret@/", "http://u:s3cret@h/?x=1", "http://h/?token=s3cret", "http://s3cret@h?"} {
		if _, err := mlflow.New(mlflow.Options{TrackingURI: uri}); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("New(%q): %v", uri, err)
		}
	}
	c, err := mlflow.New(mlflow.Options{TrackingURI: "https://u:s3cret@h:5000/prefix/"})
	if err != nil || c.URL() != "https://h:5000/prefix" {
		t.Errorf("address %q, %v", c.URL(), err)
	}
	for _, uri := range []string{"http://h?", "http://h/#", "http://h?#"} {
		if c, err := mlflow.New(mlflow.Options{TrackingURI: uri}); err == nil && c.URL() != "http://h" {
			t.Errorf("New(%q) calls %q: the cache of one server has two names", uri, c.URL())
		}
	}
}

// TestListingThatNamesOneThingTwice: which of the two is the model cannot be known, so neither is.
func TestListingThatNamesOneThingTwice(t *testing.T) {
	t.Parallel()
	for name, list := range map[string]string{
		"a file twice":             `{"files":[{"path":"a","file_size":1},{"path":"a","file_size":1}]}`,
		"a file that is a folder":  `{"files":[{"path":"a","file_size":1},{"path":"a","is_dir":true}]}`,
		"a folder that is a file":  `{"files":[{"path":"a","is_dir":true},{"path":"a","file_size":1}]}`,
		"a folder twice":           `{"files":[{"path":"a","is_dir":true},{"path":"a","is_dir":true}]}`,
		"a file with another size": `{"files":[{"path":"a","file_size":7}]}`,
	} {
		f := &fakeFiles{
			uri: "mlflow-artifacts:/m", lists: map[string]string{"m": list, "m/a": `{"files":[{"path":"b","file_size":1}]}`},
			files: map[string]string{proxyURL + "m/a": "x", proxyURL + "m/a/b": "y"},
		}
		if got, err := f.fetch(t); !errors.Is(err, mlflow.ErrBadArtifact) {
			t.Errorf("%s: %+v, %v; want ErrBadArtifact", name, got.Files, err)
		}
	}
}

// TestAddressesThatLeadInCircles: a registry that sends its reader round and round is refused, not followed.
func TestAddressesThatLeadInCircles(t *testing.T) {
	t.Parallel()
	run := func(uri string) string {
		return fmt.Sprintf(`{"run":{"info":{"experiment_id":"1","artifact_uri":%q}}}`, uri)
	}
	logged := func(uri string) string {
		return fmt.Sprintf(`{"model":{"info":{"model_id":"m-1","artifact_uri":%q,"source_run_id":"r1"}}}`, uri)
	}
	for _, tt := range []struct {
		uri, run, model string
		want            error
	}{
		{"runs:/r1/model", run("runs:/r1"), "", mlflow.ErrBadArtifact},
		{"runs:/r1/model", run("models:/m-1"), logged("runs:/r1/model"), mlflow.ErrBadArtifact},
		{"runs:/r1/model", run("://"), "", mlflow.ErrBadArtifact},
		{"runs:/r1/model", `{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"no run"}`, "", mlflow.ErrNotFound},
		{"models:/m-1", "", logged("models:/m-1"), mlflow.ErrBadArtifact},
		{"models:/m-1", "", logged("runs:/r1/model"), mlflow.ErrBadArtifact},
		{"models:/m-1", "", logged("://"), mlflow.ErrBadArtifact},
		{"models:/m-1", "", logged("dbfs:/x"), mlflow.ErrUnsupported},
		{"models:/m-1", "", `{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"no model"}`, mlflow.ErrNotFound},
		{"models:/m-1/x", "", logged("mlflow-artifacts:/m"), mlflow.ErrBadArtifact},
		{"models:/m-1@a", "", logged("mlflow-artifacts:/m"), mlflow.ErrBadArtifact},
		{"models:/other/Production", "", "", mlflow.ErrBadArtifact},
	} {
		calls := 0
		f := &fakeFiles{uri: tt.uri}
		f.extra = func(r *http.Request) (*http.Response, error) {
			if calls++; calls > 20 {
				t.Fatalf("%s: more than 20 calls", tt.uri)
			}
			text := map[string]string{"/api/2.0/mlflow/runs/get": tt.run, "/api/2.0/mlflow/logged-models/m-1": tt.model}[r.URL.Path]
			switch {
			case text == "":
				return nil, nil
			case strings.Contains(text, "error_code"):
				return answer(r, 404, text), nil
			}
			return answer(r, 200, text), nil
		}
		if got, err := f.fetch(t); !errors.Is(err, tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s by %s%s: %+v, %v; want %v", tt.uri, tt.run, tt.model, got, err, tt.want)
		}
	}
}

// TestLoggedModelsOfOtherRunsAreNotTaken: the search answers by name, and the run decides.
func TestLoggedModelsOfOtherRunsAreNotTaken(t *testing.T) {
	t.Parallel()
	list := fmt.Sprintf(`{"files":[{"path":"MLmodel","file_size":%d}]}`, len(mlmodelText))
	for search, want := range map[string]error{
		`{"models":[{"info":{"model_id":"m-9","artifact_uri":"mlflow-artifacts:/9","source_run_id":"r9"}}]}`: mlflow.ErrBadArtifact,
		`{}`: mlflow.ErrBadArtifact,
		`{"models":[{"info":{"model_id":"m-1","artifact_uri":"models:/m-1","source_run_id":"r1"}}]}`: mlflow.ErrBadArtifact,
		`{"error_code":"PERMISSION_DENIED","message":"no"}`:                                          mlflow.ErrForbidden,
	} {
		f := &fakeFiles{uri: "runs:/r1/it's", lists: map[string]string{"9": list}, files: map[string]string{proxyURL + "9/MLmodel": mlmodelText}}
		f.extra = func(r *http.Request) (*http.Response, error) {
			switch r.URL.Path {
			case "/api/2.0/mlflow/runs/get":
				return answer(r, 200, `{"run":{"info":{"experiment_id":"1","artifact_uri":"mlflow-artifacts:/1/r1/artifacts"}}}`), nil
			case "/api/2.0/mlflow/logged-models/search":
				status := 200
				if errors.Is(want, mlflow.ErrForbidden) {
					status = 403
				}
				return answer(r, status, search), nil
			}
			return nil, nil
		}
		if got, err := f.fetch(t); !errors.Is(err, want) {
			t.Errorf("%s: %+v, %v; want %v", search, got.Files, err, want)
		}
	}
}

// TestCredentialsStayAtHome gives a version an address at another host, in every form that looks like a proxy's: only our own host is called, and it alone sees them.
func TestCredentialsStayAtHome(t *testing.T) {
	t.Parallel()
	for _, uri := range []string{
		"http://evil/api/2.0/mlflow-artifacts/artifacts/m", "http://h@evil/api/2.0/mlflow-artifacts/artifacts/m", "http://h:81/api/2.0/mlflow-artifacts/artifacts/m",
		"http://H/api/2.0/mlflow-artifacts/artifacts/m", "mlflow-artifacts://evil/m", "//evil/m", "http://h.evil/api/2.0/mlflow-artifacts/artifacts/m",
	} {
		f := &fakeFiles{uri: uri, files: map[string]string{"get-artifact:MLmodel": mlmodelText, "get-artifact:model.ubj": "x", "get-artifact:examples/input_example.json": "{}"}}
		f.extra = func(r *http.Request) (*http.Response, error) {
			if r.URL.Host != "h" || r.Header.Get("Authorization") == "" {
				t.Errorf("%s: called %s with %q", uri, r.URL, r.Header.Get("Authorization"))
			}
			return nil, nil
		}
		if _, err := f.fetch(t, func(o *mlflow.Options) { o.Token = "s3cret" }); err != nil {
			t.Errorf("%s: %v", uri, err)
		}
	}
}

// TestFolderWithWhatIsNoFile: an allowed folder may hold pipes, sockets and devices, which never end or never begin.
func TestFolderWithWhatIsNoFile(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(root, "model.ubj"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := &fakeFiles{uri: root}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		c := target{uri: "http://h", http: f}.newClient(t, func(o *mlflow.Options) { o.AllowedRoots = []string{root} })
		_, err := c.Fetch(ctx, version1)
		done <- err
	}()
	err := <-done
	cancel()
	if !errors.Is(err, mlflow.ErrBadArtifact) || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a pipe: %v", err)
	}
}

// TestPinnedFilesOutliveTheRegistry: what is in the cache by its digest needs nobody, and what was changed in place is never taken for it.
func TestPinnedFilesOutliveTheRegistry(t *testing.T) {
	t.Parallel()
	size := len("first")
	list := fmt.Sprintf(`{"files":[{"path":"model.ubj","file_size":%d}]}`, size)
	f := &fakeFiles{uri: "mlflow-artifacts:/m", lists: map[string]string{"m": list}, files: map[string]string{proxyURL + "m/model.ubj": "first"}}
	down := false
	f.extra = func(r *http.Request) (*http.Response, error) {
		if down {
			t.Errorf("the registry was asked: %s", r.URL)
		}
		return nil, nil
	}
	cache := t.TempDir()
	open := func(dir string) *mlflow.Client {
		return target{uri: "http://h", http: f}.newClient(t, func(o *mlflow.Options) { o.CacheDir = dir })
	}
	first, err := open(cache).Fetch(t.Context(), version1)
	if err != nil {
		t.Fatal(err)
	}
	f.files[proxyURL+"m/model.ubj"] = "other"
	if _, err := open(t.TempDir()).FetchPinned(t.Context(), "x", first.Pin); !errors.Is(err, mlflow.ErrDigestMismatch) || !strings.Contains(err.Error(), "new version") {
		t.Errorf("changed in place: %v", err)
	}
	down = true
	again, err := open(cache).FetchPinned(t.Context(), "x", first.Pin)
	if diff := cmp.Diff(first, again); diff != "" || err != nil {
		t.Errorf("without the registry: %v (-first +again):\n%s", err, diff)
	}
	for name, pin := range map[string]model.Pin{"no digest": {Version: "1"}, "nothing": {}} {
		if _, err := open(cache).FetchPinned(t.Context(), "x", pin); err == nil || !strings.Contains(err.Error(), "no digest") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := open(cache).FetchPinned(t.Context(), "../x", first.Pin); err == nil {
		t.Error("a name that leaves the cache was taken")
	}
}

// TestCanceledDownloadLeavesNothing stops in the middle of a file: the caller's reason comes back, and the cache holds nothing half.
func TestCanceledDownloadLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cache := t.TempDir()
	f := &fakeFiles{uri: "mlflow-artifacts:/m", lists: map[string]string{"m": `{"files":[{"path":"model.ubj"}]}`}}
	f.extra = func(r *http.Request) (*http.Response, error) {
		if r.URL.Path != proxyURL+"m/model.ubj" {
			return nil, nil
		}
		resp := answer(r, 200, "")
		resp.ContentLength = -1
		resp.Body = io.NopCloser(io.MultiReader(strings.NewReader("half"), readerFunc(func([]byte) (int, error) {
			cancel()
			return 0, ctx.Err()
		})))
		return resp, nil
	}
	c := target{uri: "http://h", http: f}.newClient(t, func(o *mlflow.Options) { o.CacheDir = cache })
	if _, err := c.Fetch(ctx, version1); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(cache, "v1", "*", "*")); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestCacheThatCannotBeWritten names the folder and fetches nothing into nowhere.
func TestCacheThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f := &fakeFiles{uri: "mlflow-artifacts:/m", lists: map[string]string{"m": `{"files":[{"path":"a"}]}`}, files: map[string]string{proxyURL + "m/a": "x"}}
	if _, err := f.fetch(t, func(o *mlflow.Options) { o.CacheDir = file }); err == nil || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "\n") {
		t.Errorf("a cache below a file: %v", err)
	}
}

// TestNamesThatCannotBeSearched: MLflow's filter has no escape, so a name with both kinds of quotes would search for something else.
func TestNamesThatCannotBeSearched(t *testing.T) {
	t.Parallel()
	var filters []string
	c := routes{
		"GET registered-models/get": says(200, `{"registered_model":{"name":"x"}}`),
		"GET model-versions/search": func(r *http.Request) (int, string) {
			filters = append(filters, r.URL.Query().Get("filter"))
			return 200, "{}"
		},
	}.client(t)
	for name, want := range map[string]string{"plain": `name = 'plain'`, `it's`: `name = "it's"`, `a "b"`: `name = 'a "b"'`, "a' OR name != '": `name = "a' OR name != '"`} {
		filters = nil
		if _, err := c.Snapshot(t.Context(), name); err != nil || len(filters) != 1 || filters[0] != want {
			t.Errorf("%s: filters %q, %v; want %s", name, filters, err, want)
		}
	}
	filters = nil
	if _, err := c.Snapshot(t.Context(), `both ' and "`); err == nil || !strings.Contains(err.Error(), "both kinds of quotes") || len(filters) > 0 {
		t.Errorf("both quotes: %v after %q", err, filters)
	}
}

// TestWritesThatAreRefused holds what the statuses of writes mean when no MLflow error comes with them: a proxy in between answered.
func TestWritesThatAreRefused(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]error{
		400: mlflow.ErrInvalid, 401: mlflow.ErrUnauthorized, 403: mlflow.ErrForbidden, 404: mlflow.ErrEndpointGone, 405: mlflow.ErrEndpointGone, 409: mlflow.ErrConflict,
		413: mlflow.ErrTooLarge, 418: mlflow.ErrNotMLflow, 301: mlflow.ErrUnauthorized, 308: mlflow.ErrUnauthorized, 501: mlflow.ErrEndpointGone,
	} {
		c, s := newScripted(t, scriptedAnswer{status, "a proxy's words", http.Header{"Location": {"http://evil/"}}})
		for what, err := range map[string]error{
			"tag":   c.SetVersionTag(t.Context(), mlflow.VersionTag{Model: "m", Version: "1", Key: "k", Value: "v"}),
			"alias": c.SetAlias(t.Context(), mlflow.AliasParams{Model: "m", Alias: "a", Version: "1"}),
		} {
			var api *mlflow.APIError
			if !errors.Is(err, want) || !errors.As(err, &api) || api.HTTP != status || api.Code != "" {
				t.Errorf("%s, %d: %v; want %v", what, status, err, want)
			}
		}
		if len(s.calls) != 2 {
			t.Errorf("%d: %d calls for two writes: such an answer is not repeated", status, len(s.calls))
		}
	}
}
