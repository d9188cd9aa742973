package registry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	gocmp "github.com/google/go-cmp/cmp"

	"serin/internal/registry"
	"serin/internal/store"
)

// TestProtectionHoldsForEverySpelling: however a version's source is written, the files that it leads a client to can no longer change.
func TestProtectionHoldsForEverySpelling(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ put, source string }{
		{"a/b", "mlflow-artifacts:/a/b"},
		{"a/b", "mlflow-artifacts:/a/b///"},
		{"a/b", "MLFLOW-ARTIFACTS:/a/b"},
		{"a%20b", "mlflow-artifacts:/a%20b"},
		{"a%20b", "mlflow-artifacts:/a b"},
		{"a%2520b", "mlflow-artifacts:/a%2520b"},
		{"a%252520b", "mlflow-artifacts:/a%20b"},
		{"a/b", "mlflow-artifacts:/%61/b"},
		{"a/b", "mlflow-artifacts:/a/b?run=7"},
		{"%C3%BC", "mlflow-artifacts:/ü"},
	} {
		s := server(t)
		newModel(t, s, "m", 0)
		must(t, s, "PUT", artifacts+"/"+tt.put+"/model.ubj", "pinned")
		body, err := json.Marshal(map[string]string{"name": "m", "source": tt.source})
		if err != nil {
			t.Fatal(err)
		}
		must(t, s, "POST", versions+"create", string(body))
		if status, text := call(t, s, "PUT", artifacts+"/"+tt.put+"/model.ubj", "other"); status != http.StatusConflict {
			t.Errorf("%s: its files were replaced through %s: %d %s", tt.source, tt.put, status, text)
		}
		if got := must(t, s, "GET", "/model-versions/get-artifact?name=m&version=1&path=model.ubj", ""); got != "pinned" {
			t.Errorf("%s: get-artifact gives %q", tt.source, got)
		}
		var uri map[string]string
		if err := json.Unmarshal([]byte(must(t, s, "GET", versions+"get-download-uri?name=m&version=1", "")), &uri); err != nil {
			t.Fatal(err)
		}
		place := strings.ReplaceAll(strings.TrimPrefix(uri["artifact_uri"], "mlflow-artifacts:/"), " ", "%20")
		if got := must(t, s, "GET", artifacts+"/"+place+"/model.ubj", ""); got != "pinned" {
			t.Errorf("%s: its own address %s gives %q", tt.source, uri["artifact_uri"], got)
		}
	}
}

// TestSourcesThatAreRefused: no source may name a folder of this machine, leave the tree or hide what it means.
func TestSourcesThatAreRefused(t *testing.T) {
	t.Parallel()
	s := server(t)
	newModel(t, s, "m", 1)
	for _, source := range []string{
		"/etc", "etc/passwd", "file:///etc/passwd", "FILE:/etc", `\\host\share`, `C:\models`, "mlflow-artifacts://other-host/a", "mlflow-artifacts:/", "mlflow-artifacts:",
		"mlflow-artifacts:/../x", "mlflow-artifacts:/a/%2e%2e/b", "mlflow-artifacts:/a/%252e%252e/b", `mlflow-artifacts:/a\..\b`, "mlflow-artifacts:/a/./b", "mlflow-artifacts:/a//b",
		"s3://bucket/../x", "s3://bucket/a/%2E%2E/b", "models:/m", "models:/m/9", "models:/nope/1", "models:/m/Production", "models:/m@none", "models:/m-0123456789abcdef0123456789abcdef",
		"runs:/r/model", "%zz", "http://[::1", "mlflow-artifacts:/a\x00b", "mlflow-artifacts:/%00",
	} {
		body, err := json.Marshal(map[string]string{"name": "m", "source": source})
		if err != nil {
			t.Fatal(err)
		}
		if status, text := call(t, s, "POST", versions+"create", string(body)); status < 400 || status >= 500 || !strings.Contains(text, `"error_code"`) {
			t.Errorf("%q: %d %s", source, status, text)
		}
	}
	if got := must(t, s, "GET", versions+"search", ""); strings.Count(got, `"version"`) != 1 {
		t.Errorf("a refused source left a version: %s", got)
	}
}

// TestDeepEscapesAreRefused: percent signs that escape percent signs half a million levels deep are refused, not undone one by one, which would keep
// a core busy for minutes. TestDecodeFully holds the bound itself; a limit on time would only measure the machine.
func TestDeepEscapesAreRefused(t *testing.T) {
	t.Parallel()
	s := server(t)
	newModel(t, s, "m", 0)
	deep := "%" + strings.Repeat("25", 400_000) + "2e"
	if status, _ := call(t, s, "POST", versions+"create", fmt.Sprintf(`{"name":"m","source":"mlflow-artifacts:/a/%s"}`, deep)); status != http.StatusBadRequest {
		t.Errorf("as a source: %d", status)
	}
	for _, method := range []string{"PUT", "GET"} {
		r := httptest.NewRequestWithContext(t.Context(), method, "http://localhost/", strings.NewReader("x"))
		r.URL.Path = artifacts + "/" + deep
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", method, w.Code)
		}
	}
}

func TestArtifactsAreListedByName(t *testing.T) {
	t.Parallel()
	s := server(t)
	for _, path := range []string{"d/a/x", "d/a/y", "d/a-b/x", "d/a.txt", "d/B", "d/a0/deep/er", "d/ä", "dd/x"} {
		must(t, s, "PUT", artifacts+"/"+path, "x")
	}
	var got struct {
		Files []struct {
			Path  string
			IsDir bool `json:"is_dir"`
		}
	}
	if err := json.Unmarshal([]byte(must(t, s, "GET", artifacts+"?path=d", "")), &got); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range got.Files {
		names = append(names, fmt.Sprintf("%s %v", f.Path, f.IsDir))
	}
	want := []string{"B false", "a true", "a-b true", "a.txt false", "a0 true", "ä false"}
	if diff := gocmp.Diff(want, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestLimitsCountCharacters: MLflow's limits are characters, not bytes, and Python's client escapes what is not ASCII.
func TestLimitsCountCharacters(t *testing.T) {
	t.Parallel()
	s := server(t)
	newModel(t, s, "m", 1)
	for _, tt := range []struct {
		key, value string
		status     int
	}{
		{strings.Repeat("ü", 250), "v", 200},
		{strings.Repeat("ü", 251), "v", 400},
		{"k", strings.Repeat("ü", 100_000), 200},
		{"k", strings.Repeat("ü", 100_001), 400},
	} {
		for _, target := range []string{models + "set-tag", versions + "set-tag"} {
			body, err := json.Marshal(map[string]string{"name": "m", "version": "1", "key": tt.key, "value": tt.value})
			if err != nil {
				t.Fatal(err)
			}
			if status, text := call(t, s, "POST", target, string(body)); status != tt.status {
				t.Errorf("%s with %d and %d characters: %d %.80s, want %d", target, len([]rune(tt.key)), len([]rune(tt.value)), status, text, tt.status)
			}
		}
	}
}

// TestAnUploadThatBreaksOff leaves nothing: no row, no bytes, no temporary file, and an answer that is not retried for minutes.
func TestAnUploadThatBreaksOff(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s := server(t, func(o *registry.Options) { o.ArtifactRoot = root })
	r := httptest.NewRequestWithContext(t.Context(), "PUT", "http://localhost"+artifacts+"/a/x", io.MultiReader(strings.NewReader("half"), iotest.ErrReader(errors.New("connection reset"))))
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "broke off") {
		t.Errorf("answered %d %s", w.Code, w.Body)
	}
	if status, _ := call(t, s, "GET", artifacts+"/a/x", ""); status != http.StatusNotFound {
		t.Errorf("the file is there: %d", status)
	}
	for _, pattern := range []string{"uploads/*", "blobs/*/*"} {
		if left, err := filepath.Glob(filepath.Join(root, pattern)); err != nil || len(left) > 0 {
			t.Errorf("left over: %v, %v", left, err)
		}
	}
}

// TestADiskThatFails answers 500 without the server's paths, logs them, and changes nothing of what was there.
func TestADiskThatFails(t *testing.T) {
	t.Parallel()
	for _, blocked := range []string{"uploads", "blobs"} {
		var log bytes.Buffer
		root := t.TempDir()
		s := server(t, func(o *registry.Options) { o.ArtifactRoot, o.Logger = root, slog.New(slog.NewTextHandler(&log, nil)) })
		if err := os.WriteFile(filepath.Join(root, blocked), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		status, body := call(t, s, "PUT", artifacts+"/a/x", "bytes")
		if status != http.StatusInternalServerError || strings.Contains(body, root) || !strings.Contains(log.String(), blocked) {
			t.Errorf("%s is a file: %d %s, log %s", blocked, status, body, log.String())
		}
		if status, _ := call(t, s, "GET", artifacts+"/a/x", ""); status != http.StatusNotFound {
			t.Errorf("%s is a file: the row says that the upload is there: %d", blocked, status)
		}
		if err := os.Remove(filepath.Join(root, blocked)); err != nil {
			t.Fatal(err)
		}
		must(t, s, "PUT", artifacts+"/a/x", "bytes")
	}
}

// TestNeverNull reads everything that can be read, from an empty registry and from a full one: the Python client crashes on a list that is null.
func TestNeverNull(t *testing.T) {
	t.Parallel()
	s := server(t)
	read := func(when string) {
		t.Helper()
		for _, target := range []string{
			models + "search", versions + "search", artifacts, artifacts + "?path=none", models + "get?name=m", models + "get-latest-versions?name=m",
			versions + "get?name=m&version=1", versions + "get-download-uri?name=m&version=1", models + "alias?name=m&alias=a", "/api/3.0/mlflow/server-info",
			models + "search?filter=name%3D'none'", versions + "search?max_results=1&page_token=eyJvZmZzZXQiOjk5OTl9",
		} {
			if status, body := call(t, s, "GET", target, ""); strings.Contains(body, "null") || !json.Valid([]byte(body)) || status >= 500 {
				t.Errorf("%s, %s: %d %s", when, target, status, body)
			}
		}
	}
	read("empty")
	newModel(t, s, "m", 0)
	read("a model without versions")
	must(t, s, "POST", versions+"create", `{"name":"m","source":"s3://b/k","tags":null,"description":null,"run_id":null}`)
	must(t, s, "POST", models+"alias", `{"name":"m","alias":"a","version":1}`)
	read("a version")
	must(t, s, "DELETE", versions+"delete", `{"name":"m","version":"1"}`)
	read("a deleted version")
}

// TestLooseTypes: clients send numbers, booleans and nulls where the protocol has strings. A list or an object is none.
func TestLooseTypes(t *testing.T) {
	t.Parallel()
	s := server(t)
	newModel(t, s, "7", 2)
	for _, tt := range []struct {
		body   string
		status int
	}{
		{`{"name":7,"version":1,"stage":"Staging"}`, 200},
		{`{"name":"7","version":"1","stage":"Production","archive_existing_versions":true}`, 200},
		{`{"name":"7","version":"2","stage":"Production","archive_existing_versions":"true"}`, 200},
		{`{"name":"7","version":"2","stage":"Production","archive_existing_versions":null}`, 200},
		{`{"name":"7","version":"2","stage":"Production","archive_existing_versions":"yes"}`, 400},
		{`{"name":"7","version":"2","stage":"Production","archive_existing_versions":1}`, 400},
		{`{"name":"7","version":1.5,"stage":"Staging"}`, 400},
		{`{"name":"7","version":1e0,"stage":"Staging"}`, 400},
		{`{"name":"7","version":99999999999999999999,"stage":"Staging"}`, 400},
		{`{"name":"7","version":[1],"stage":"Staging"}`, 400},
		{`{"name":"7","version":{"n":1},"stage":"Staging"}`, 400},
		{`{"name":"7","version":null,"stage":"Staging"}`, 400},
		{`{"name":"7","version":-1,"stage":"Staging"}`, 404},
		{`{"name":"7","version":0,"stage":"Staging"}`, 404},
		{`null`, 400},
		{`"name"`, 400},
		{`{"name":"7","version":"1","stage":"Staging"} trailing`, 400},
		{strings.Repeat(`{"a":`, 20_000), 400},
	} {
		if status, text := call(t, s, "POST", versions+"transition-stage", tt.body); status != tt.status {
			t.Errorf("%.90s: %d %s, want %d", tt.body, status, text, tt.status)
		}
	}
}

// TestAChangeAndItsEventCommitTogether fails the transaction of every change after its function ran: nothing of the change may be seen, no event either.
func TestAChangeAndItsEventCommitTogether(t *testing.T) {
	t.Parallel()
	flaky := &failingStore{}
	s := server(t, func(o *registry.Options) {
		flaky.Store = o.Store
		o.Store = flaky
	})
	newModel(t, s, "m", 2)
	must(t, s, "POST", models+"alias", `{"name":"m","alias":"champion","version":"1"}`)
	show := func() string {
		return must(t, s, "GET", models+"get?name=m", "") + must(t, s, "GET", versions+"search", "") + must(t, s, "GET", models+"search", "") + fmt.Sprint(len(events(t, flaky)))
	}
	before := show()
	flaky.fail = true
	for _, c := range []string{
		`POST registered-models/create {"name":"new"}`, `POST registered-models/rename {"name":"m","new_name":"n"}`, `PATCH registered-models/update {"name":"m","description":"d"}`,
		`POST registered-models/set-tag {"name":"m","key":"k","value":"v"}`, `POST registered-models/alias {"name":"m","alias":"champion","version":"2"}`,
		`DELETE registered-models/alias {"name":"m","alias":"champion"}`, `POST model-versions/create {"name":"m","source":"s3://b/k"}`,
		`PATCH model-versions/update {"name":"m","version":"1","description":"d"}`, `POST model-versions/transition-stage {"name":"m","version":"1","stage":"Production","archive_existing_versions":true}`,
		`POST model-versions/set-tag {"name":"m","version":"1","key":"k","value":"v"}`, `DELETE model-versions/delete {"name":"m","version":"1"}`, `DELETE registered-models/delete {"name":"m"}`,
	} {
		part := strings.SplitN(c, " ", 3)
		if status, _ := call(t, s, part[0], "/api/2.0/mlflow/"+part[1], part[2]); status != http.StatusInternalServerError {
			t.Errorf("%s: %d although the commit failed", c, status)
		}
		if diff := gocmp.Diff(before, show()); diff != "" {
			t.Fatalf("%s was seen although its commit failed (-before +after):\n%s", c, diff)
		}
	}
}

// failingStore undoes every update after its function has run, as a commit that fails does.
type failingStore struct {
	registry.Store
	fail bool
}

func (f *failingStore) Update(ctx context.Context, fn func(*store.Tx) error) error {
	return f.Store.Update(ctx, func(tx *store.Tx) error {
		if err := fn(tx); err != nil || !f.fail {
			return err
		}
		return errStore
	})
}

func events(t *testing.T, s registry.Store) (all []store.RegistryEvent) {
	t.Helper()
	if err := s.View(t.Context(), func(tx *store.Tx) (err error) {
		all, err = tx.RegistryEvents(t.Context(), store.RegistryEventFilter{})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestReadersSeeWholeTransitions reads while the champion moves between two versions: no reader may ever see two champions or none.
func TestReadersSeeWholeTransitions(t *testing.T) {
	t.Parallel()
	s := server(t)
	newModel(t, s, "m", 2)
	promote := func(v int) {
		must(t, s, "POST", versions+"transition-stage", fmt.Sprintf(`{"name":"m","version":"%d","stage":"Production","archive_existing_versions":true}`, v))
	}
	promote(1)
	stop := make(chan struct{})
	var wait sync.WaitGroup
	for range 2 {
		wait.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got := must(t, s, "GET", versions+"search", ""); strings.Count(got, `"Production"`) != 1 {
					t.Errorf("a reader saw %s", got)
					return
				}
			}
		})
	}
	for i := range 40 {
		promote(1 + i%2)
	}
	close(stop)
	wait.Wait()
}

// TestDownloadsByHead: clients ask for the length before they read.
func TestDownloadsByHead(t *testing.T) {
	t.Parallel()
	s := server(t)
	newModel(t, s, "m", 0)
	must(t, s, "PUT", artifacts+"/a/model.ubj", "0123456789")
	must(t, s, "POST", versions+"create", `{"name":"m","source":"mlflow-artifacts:/a"}`)
	for target, want := range map[string]int{
		artifacts + "/a/model.ubj": 200, "/model-versions/get-artifact?name=m&version=1&path=model.ubj": 200,
		artifacts + "/a/none": 404, "/model-versions/get-artifact?name=m&version=1&path=": 400, "/model-versions/get-artifact?name=m&path=x": 400,
	} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodHead, "http://localhost"+target, nil))
		if w.Code != want || want == 200 && w.Header().Get("Content-Length") != "10" {
			t.Errorf("HEAD %s: %d, length %s; want %d", target, w.Code, w.Header().Get("Content-Length"), want)
		}
	}
}
