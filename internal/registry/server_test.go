package registry_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"serin/internal/registry"
	"serin/internal/store"
	"serin/internal/store/sqlite"
)

const (
	models    = "/api/2.0/mlflow/registered-models/"
	versions  = "/api/2.0/mlflow/model-versions/"
	artifacts = "/api/2.0/mlflow-artifacts/artifacts"
)

// call sends one request and gives status and body back. target may have a query.
func call(tb testing.TB, h http.Handler, method, target, body string) (int, string) {
	tb.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(tb.Context(), method, "http://localhost"+target, strings.NewReader(body)))
	return w.Code, strings.TrimSpace(w.Body.String())
}

// must is call for what has to succeed.
func must(tb testing.TB, h http.Handler, method, target, body string) string {
	tb.Helper()
	status, text := call(tb, h, method, target, body)
	if status != http.StatusOK {
		tb.Fatalf("%s %s %s: %d %s", method, target, body, status, text)
	}
	return text
}

func newModel(tb testing.TB, h http.Handler, name string, n int) {
	tb.Helper()
	must(tb, h, "POST", models+"create", fmt.Sprintf(`{"name":%q}`, name))
	for range n {
		must(tb, h, "POST", versions+"create", fmt.Sprintf(`{"name":%q,"source":"s3://b/k"}`, name))
	}
}

func TestNewChecksOptions(t *testing.T) {
	t.Parallel()
	if _, err := registry.New(registry.Options{ArtifactRoot: "/a"}); err == nil || !strings.Contains(err.Error(), "Options.Store") {
		t.Errorf("without a store: %v", err)
	}
	db, err := sqlite.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := registry.New(registry.Options{Store: db, ArtifactRoot: "relative"}); err == nil || !strings.Contains(err.Error(), "absolute folder") {
		t.Errorf("with a relative root: %v", err)
	}
}

func TestPlainEndpoints(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := server(t, func(o *registry.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	if got := must(t, s, "GET", "/health", ""); got != "OK" {
		t.Errorf("health: %q", got)
	}
	if got := must(t, s, "GET", "/version", ""); !strings.HasPrefix(got, "3.") {
		t.Errorf("version: %q", got)
	}
	var info map[string]any
	if err := json.Unmarshal([]byte(must(t, s, "GET", "/api/3.0/mlflow/server-info", "")), &info); err != nil || info["store_type"] != "SqlStore" || info["workspaces_enabled"] != false {
		t.Errorf("server info %v, %v", info, err)
	}
	must(t, s, "POST", "/ajax-api/2.0/mlflow/registered-models/create", `{"name":"ajax"}`)
	must(t, s, "GET", models+"get?name=ajax", "")
	for _, path := range []string{"GET /api/2.0/mlflow/experiments/get-by-name", "POST /api/2.0/mlflow/runs/create", "GET /api/2.0/mlflow/registered-models/create", "DELETE " + artifacts + "/a", "GET /"} {
		method, target, _ := strings.Cut(path, " ")
		status, body := call(t, s, method, target, "")
		if status != http.StatusNotFound || !strings.Contains(body, `"error_code":"ENDPOINT_NOT_FOUND"`) || !strings.Contains(body, "not in this version") {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "path=/api/2.0/mlflow/runs/create") {
		t.Errorf("unknown calls are not logged: %s", log.String())
	}
}

func TestHostAndOrigin(t *testing.T) {
	t.Parallel()
	s := server(t, func(o *registry.Options) { o.AllowedHosts = []string{"mlflow", "other:9000", "*.internal"} })
	request := func(method, host, origin string) int {
		r := httptest.NewRequestWithContext(t.Context(), method, "http://x"+models+"search", strings.NewReader("{}"))
		if method == "POST" {
			r.URL.Path = models + "create"
		}
		r.Host = host
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w.Code
	}
	for host, allowed := range map[string]bool{
		"localhost": true, "localhost:8080": true, "127.0.0.1:1": true, "[::1]:8080": true, "[::1]": true, "10.1.2.3:80": true, "192.168.0.9": true, "172.16.0.1": true,
		"[fd00::1]:80": true, "0.0.0.0:5000": true, "mlflow": true, "mlflow:5000": true, "MLFLOW:1": true, "other:9000": true, "a.internal": true, "a.b.internal:80": true,
		"evil.example": false, "mlflow.evil.example": false, "other:9001": false, ".internal": false, "8.8.8.8": false, "172.32.0.1": false, "": false, "localhost.evil": false,
	} {
		if got := request("GET", host, ""); (got == http.StatusOK) != allowed || (!allowed && got != http.StatusForbidden) {
			t.Errorf("host %q: status %d, allowed %v", host, got, allowed)
		}
	}
	for origin, want := range map[string]int{"": 400, "http://localhost:8080": 400, "http://evil.example": 403, "null": 403} {
		if got := request("POST", "localhost:8080", origin); got != want {
			t.Errorf("POST with origin %q: status %d, want %d", origin, got, want)
		}
	}
	if got := request("GET", "localhost:8080", "http://evil.example"); got != 200 {
		t.Errorf("GET with a foreign origin: %d", got)
	}
}

// A 500 where 400 is meant stalls MLflow's clients in retries, so every bad argument has to be a 4xx with a code.
func TestBadArguments(t *testing.T) {
	t.Parallel()
	s := server(t)
	newModel(t, s, "m", 1)
	newModel(t, s, "other", 0)
	tests := []struct {
		call   string
		body   string
		status int
		want   string
	}{
		{"POST " + models + "create", `{}`, 400, "Missing value for required parameter 'name'"},
		{"POST " + models + "create", ``, 400, "Missing value for required parameter 'name'"},
		{"POST " + models + "create", `{"name":"  "}`, 400, "Missing value"},
		{"POST " + models + "create", `{"name":"a/b"}`, 400, "Names cannot contain '/' or ':'"},
		{"POST " + models + "create", `{"name":".."}`, 400, "parameter 'name'"},
		{"POST " + models + "create", `{"name":{"a":1}}`, 400, "Malformed request"},
		{"POST " + models + "create", `{"name":`, 400, "Malformed request"},
		{"POST " + models + "create", `[1]`, 400, "Malformed request"},
		{"POST " + models + "create", `{"name":"t","tags":[{"value":"v"}]}`, 400, "parameter 'key'"},
		{"POST " + models + "create", `{"name":"m"}`, 400, "RESOURCE_ALREADY_EXISTS"},
		{"GET " + models + "get?name=nope", ``, 404, "Registered Model with name=nope not found"},
		{"POST " + models + "rename", `{"name":"m"}`, 400, "'new_name'"},
		{"POST " + models + "rename", `{"name":"m","new_name":"other"}`, 400, "RESOURCE_ALREADY_EXISTS"},
		{"POST " + models + "rename", `{"name":"nope","new_name":"x"}`, 404, "nope"},
		{"PATCH " + models + "update", `{"name":"nope"}`, 404, "nope"},
		{"DELETE " + models + "delete", `{"name":"nope"}`, 404, "nope"},
		{"DELETE " + models + "delete?name=m", ``, 400, "'name'"}, // parameters of a DELETE are in the body
		{"POST " + models + "set-tag", `{"name":"nope","key":"k","value":"v"}`, 404, "nope"},
		{"POST " + models + "set-tag", `{"name":"m","key":"` + strings.Repeat("k", 251) + `"}`, 400, "maximum length of 250"},
		{"POST " + models + "set-tag", `{"name":"m","key":"k","value":"` + strings.Repeat("v", 100_001) + `"}`, 400, "maximum length of 100000"},
		{"POST " + models + "set-tag", `{"name":"m","key":"k","value":"` + strings.Repeat("v", 1<<20) + `"}`, 413, "REQUEST_LIMIT_EXCEEDED"},
		{"DELETE " + models + "delete-tag", `{"name":"nope","key":"k"}`, 404, "nope"},
		{"POST " + models + "alias", `{"name":"m","alias":"Latest","version":"1"}`, 400, "reserved"},
		{"POST " + models + "alias", `{"name":"m","alias":"v12","version":"1"}`, 400, "reserved"},
		{"POST " + models + "alias", `{"name":"m","alias":"a b","version":"1"}`, 400, "Invalid alias name"},
		{"POST " + models + "alias", `{"name":"m","alias":"` + strings.Repeat("a", 256) + `","version":"1"}`, 400, "maximum length of 255"},
		{"POST " + models + "alias", `{"name":"m","alias":"a"}`, 400, "'version'"},
		{"POST " + models + "alias", `{"name":"m","alias":"a","version":"x"}`, 400, "must be an integer"},
		{"POST " + models + "alias", `{"name":"m","alias":"a","version":"7"}`, 404, "version=7"},
		{"GET " + models + "alias?name=m&alias=zzz", ``, 400, "Registered model alias zzz not found."},
		{"GET " + models + "alias?name=other&alias=latest", ``, 404, "Latest version not found"},
		{"DELETE " + models + "alias", `{"name":"nope","alias":"a"}`, 404, "nope"},
		{"POST " + models + "get-latest-versions", `{"name":"m","stages":["Live"]}`, 400, "Invalid Model Version stage: Live"},
		{"POST " + models + "get-latest-versions", `{"name":"nope"}`, 404, "nope"},
		{"POST " + versions + "create", `{"name":"m"}`, 400, "'source'"},
		{"POST " + versions + "create", `{"name":"nope","source":"s3://b/k"}`, 404, "nope"},
		{"POST " + versions + "create", `{"name":"m","source":"/srv/m"}`, 400, "upload the files"},
		{"POST " + versions + "create", `{"name":"m","source":"file:///srv/m"}`, 400, "upload the files"},
		{"POST " + versions + "create", `{"name":"m","source":"runs:/1/model"}`, 400, "not in this version"},
		{"POST " + versions + "create", `{"name":"m","source":"models:/m-0123"}`, 400, "not in this version"},
		{"POST " + versions + "create", `{"name":"m","source":"models:/nope/1"}`, 404, "name=nope"},
		{"POST " + versions + "create", `{"name":"m","source":"models:/m/Production"}`, 404, "stage 'Production'"},
		{"POST " + versions + "create", `{"name":"m","source":"s3://b/a/../k"}`, 400, "'..'"},
		{"POST " + versions + "create", `{"name":"m","source":"s3://b/%252e%252e/k"}`, 400, "'..'"},
		{"POST " + versions + "create", `{"name":"m","source":"mlflow-artifacts:/"}`, 400, "Give mlflow-artifacts:/"},
		{"POST " + versions + "create", `{"name":"m","source":"mlflow-artifacts://host/p"}`, 400, "Give mlflow-artifacts:/"},
		{"GET " + versions + "get?name=m&version=2", ``, 404, "Model Version (name=m, version=2) not found"},
		{"GET " + versions + "get?name=m&version=99999999999", ``, 400, "must be an integer"},
		{"POST " + versions + "transition-stage", `{"name":"m","version":"1"}`, 400, "'stage'"},
		{"POST " + versions + "transition-stage", `{"name":"m","version":"1","stage":"Live"}`, 400, "Invalid Model Version stage: Live"},
		{"POST " + versions + "transition-stage", `{"name":"m","version":"1","stage":"None","archive_existing_versions":true}`, 400, "not an Active stage"},
		{"POST " + versions + "transition-stage", `{"name":"m","version":"1","stage":"Staging","archive_existing_versions":"maybe"}`, 400, "a boolean"},
		{"POST " + versions + "transition-stage", `{"name":"m","version":"9","stage":"Staging"}`, 404, "version=9"},
		{"PATCH " + versions + "update", `{"name":"m","version":"9"}`, 404, "version=9"},
		{"DELETE " + versions + "delete", `{"name":"m","version":"9"}`, 404, "version=9"},
		{"POST " + versions + "set-tag", `{"name":"m","version":"1"}`, 400, "'key'"},
		{"GET " + versions + "get-download-uri?name=m&version=9", ``, 404, "version=9"},
		{"GET " + models + "search?max_results=0", ``, 400, "max_results"},
		{"GET " + models + "search?max_results=1001", ``, 400, "max_results"},
		{"GET " + models + "search?page_token=zzz", ``, 400, "page token"},
		{"GET " + models + "search?page_token=" + base64.URLEncoding.EncodeToString([]byte(`{"offset":-1}`)), ``, 400, "page token"},
		{"GET " + versions + "search?order_by=nope", ``, 400, "order_by"},
		{"GET " + versions + "search?order_by=name+UP", ``, 400, "ASC or DESC"},
		{"GET " + versions + "search?order_by=name&order_by=name+DESC", ``, 400, "duplicate"},
		{"GET " + versions + "search?filter=current_stage%3D%27Production%27", ``, 400, "Invalid attribute key 'current_stage'"},
		{"GET /model-versions/get-artifact?name=m&version=1&path=MLmodel", ``, 501, "cannot read"},
		{"GET /model-versions/get-artifact?name=m&version=1&path=../x", ``, 400, "Invalid path"},
		{"GET /model-versions/get-artifact?name=m&version=9&path=x", ``, 404, "version=9"},
	}
	for _, tt := range tests {
		method, target, _ := strings.Cut(tt.call, " ")
		status, body := call(t, s, method, target, tt.body)
		var e struct {
			Code    string `json:"error_code"`
			Message string `json:"message"`
		}
		if err := json.Unmarshal([]byte(body), &e); err != nil || e.Code == "" || e.Message == "" {
			t.Errorf("%s %.80s: no error object: %s", tt.call, tt.body, body)
		}
		if status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s %.80s: %d %s; want %d with %q", tt.call, tt.body, status, body, tt.status, tt.want)
		}
	}
}

// Numbers of deleted versions are never given again, and an alias goes with its version.
func TestDeletedVersion(t *testing.T) {
	t.Parallel()
	s := server(t)
	newModel(t, s, "m", 2)
	must(t, s, "POST", models+"alias", `{"name":"m","alias":"a","version":2}`)
	must(t, s, "DELETE", versions+"delete", `{"name":"m","version":"2"}`)
	if got := must(t, s, "POST", versions+"create", `{"name":"m","source":"s3://b/k"}`); !strings.Contains(got, `"version":"3"`) {
		t.Errorf("after deleting version 2: %s", got)
	}
	if got := must(t, s, "GET", models+"get?name=m", ""); strings.Contains(got, "alias") || strings.Contains(got, `"version":"2"`) {
		t.Errorf("the deleted version is still there: %s", got)
	}
	if got := must(t, s, "GET", models+"alias?name=m&alias=LATEST", ""); !strings.Contains(got, `"version":"3"`) {
		t.Errorf("latest: %s", got)
	}
	for _, body := range []string{`{"name":"m","version":"2","stage":"Staging"}`, `{"name":"m","version":"2","key":"k","value":"v"}`} {
		for _, path := range []string{"transition-stage", "set-tag"} {
			if status, text := call(t, s, "POST", versions+path, body); status == 200 {
				t.Errorf("%s of a deleted version: %s", path, text)
			}
		}
	}
}

func TestFourPromotionsAtOnceLeaveOneChampion(t *testing.T) {
	t.Parallel()
	s := server(t)
	for round := range 5 {
		name := fmt.Sprintf("m%d", round)
		newModel(t, s, name, 5)
		must(t, s, "POST", versions+"transition-stage", fmt.Sprintf(`{"name":%q,"version":"1","stage":"Production"}`, name))
		var wait sync.WaitGroup
		for v := 2; v <= 5; v++ {
			wait.Go(func() {
				body := fmt.Sprintf(`{"name":%q,"version":"%d","stage":"Production","archive_existing_versions":true}`, name, v)
				if status, text := call(t, s, "POST", versions+"transition-stage", body); status != 200 {
					t.Errorf("version %d: %d %s", v, status, text)
				}
			})
		}
		wait.Wait()
		all := must(t, s, "GET", versions+"search?filter=name%3D%27"+name+"%27", "")
		if n, archived := strings.Count(all, `"Production"`), strings.Count(all, `"Archived"`); n != 1 || archived != 4 {
			t.Errorf("round %d: %d in Production, %d archived: %s", round, n, archived, all)
		}
	}
}

// Every change leaves an event with its actor, written in the same transaction; a refused change leaves none.
func TestEvents(t *testing.T) {
	t.Parallel()
	db, err := sqlite.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	at := time.Date(2026, 11, 25, 1, 2, 3, 0, time.UTC)
	s := server(t, func(o *registry.Options) {
		o.Store, o.Now, o.Actor = db, func() time.Time { return at }, func(r *http.Request) string { return r.Header.Get("X-User") + "alice" }
	})
	newModel(t, s, "m", 2)
	for _, c := range []string{
		`POST registered-models/set-tag {"name":"m","key":"team","value":"risk"}`, `DELETE registered-models/delete-tag {"name":"m","key":"team"}`,
		`PATCH registered-models/update {"name":"m","description":"d"}`, `PATCH model-versions/update {"name":"m","version":"1","description":"dv"}`,
		`POST model-versions/transition-stage {"name":"m","version":"1","stage":"Production"}`,
		`POST model-versions/transition-stage {"name":"m","version":"2","stage":"production","archive_existing_versions":true}`,
		`POST registered-models/alias {"name":"m","alias":"champion","version":"1"}`, `POST registered-models/alias {"name":"m","alias":"champion","version":"2"}`,
		`DELETE registered-models/alias {"name":"m","alias":"champion"}`, `DELETE registered-models/alias {"name":"m","alias":"champion"}`,
		`POST model-versions/set-tag {"name":"m","version":"2","key":"k","value":"v"}`, `DELETE model-versions/delete-tag {"name":"m","version":"2","key":"k"}`,
		`DELETE model-versions/delete {"name":"m","version":"1"}`, `POST registered-models/rename {"name":"m","new_name":"n"}`, `DELETE registered-models/delete {"name":"n"}`,
	} {
		part := strings.SplitN(c, " ", 3)
		must(t, s, part[0], "/api/2.0/mlflow/"+part[1], part[2])
	}
	call(t, s, "POST", versions+"create", `{"name":"gone","source":"s3://b/k"}`)
	var got []string
	err = db.View(t.Context(), func(tx *store.Tx) error {
		events, err := tx.RegistryEvents(t.Context(), store.RegistryEventFilter{})
		for i, e := range events {
			if e.Seq != int64(i+1) || e.Actor != "alice" || !e.At.Equal(at) {
				t.Errorf("event %+v", e)
			}
			got = append(got, fmt.Sprintf("%s %s/%d %s > %s", e.Kind, e.Name, e.Version, e.Before, e.After))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"model.created m/0  > ", "version.created m/1  > s3://b/k", "version.created m/2  > s3://b/k",
		"model.tag m/0 team= > team=risk", "model.tag_deleted m/0 team=risk > team=", "model.description m/0  > d", "version.description m/1  > dv",
		"version.stage m/1 None > Production", "version.stage m/1 Production > Archived", "version.stage m/2 None > Production",
		"alias.set m/1  > champion=1", "alias.set m/2 champion=1 > champion=2", "alias.deleted m/2 champion=2 > ",
		"version.tag m/2 k= > k=v", "version.tag_deleted m/2 k=v > k=", "version.deleted m/1 Archived > ", "model.renamed n/0 m > n", "model.deleted n/0  > ",
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestUploads(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s := server(t, func(o *registry.Options) { o.ArtifactRoot, o.MaxArtifact = root, 1000 })
	newModel(t, s, "m", 0)
	put := func(path, content string) (int, string) { return call(t, s, "PUT", artifacts+"/"+path, content) }
	for path, content := range map[string]string{"a/b/model.ubj": "bytes", "a/b/MLmodel": "flavors", "a/b/deep/er/x%20y.json": "{}", "a/other.txt": "", "a/b%20c": "decoded"} {
		if status, text := put(path, content); status != 200 {
			t.Errorf("PUT %s: %d %s", path, status, text)
		}
	}
	if got, want := must(t, s, "GET", artifacts+"?path=a/b", ""), `{"files":[{"path":"MLmodel","is_dir":false,"file_size":7},{"path":"deep","is_dir":true},{"path":"model.ubj","is_dir":false,"file_size":5}]}`; got != want {
		t.Errorf("list: %s, want %s", got, want)
	}
	if got := must(t, s, "GET", artifacts, ""); got != `{"files":[{"path":"a","is_dir":true}]}` {
		t.Errorf("list of the root: %s", got)
	}
	for _, folder := range []string{"nope", "a/b/model.ubj", "a/b/mod"} {
		if got := must(t, s, "GET", artifacts+"?path="+folder, ""); got != `{"files":[]}` {
			t.Errorf("list of %s: %s", folder, got)
		}
	}
	// Anything may be replaced until a version points at it or at a folder above it.
	if status, _ := put("a/b/model.ubj", "other"); status != 200 {
		t.Errorf("replacing a free file: %d", status)
	}
	must(t, s, "POST", versions+"create", `{"name":"m","source":"mlflow-artifacts:/a/b"}`)
	for path, want := range map[string]int{"a/b/model.ubj": 409, "a/b/new": 409, "a/b/deep/er/new": 409, "a/free": 200} {
		if status, text := put(path, "changed"); status != want {
			t.Errorf("PUT %s: %d %s, want %d", path, status, text, want)
		}
	}
	if status, text := put("a/b/model.ubj", "other"); status != 200 {
		t.Errorf("the same bytes again, as a retry sends them: %d %s", status, text)
	}
	must(t, s, "DELETE", versions+"delete", `{"name":"m","version":"1"}`)
	if status, _ := put("a/b/model.ubj", "changed"); status != 409 {
		t.Errorf("files of a deleted version: %d, want 409: a rollout may have pinned them", status)
	}
	for path, want := range map[string]int{"a/other.txt/x": 400, "a/b": 409, "a": 400, "%2e%2e/x": 400, "%252e%252e/x": 400, "x%23y": 400, "x%00y": 400, "x%5cy": 400} {
		if status, text := put(path, "x"); status != want {
			t.Errorf("PUT %s: %d %s, want %d", path, status, text, want)
		}
	}
	r := httptest.NewRequestWithContext(t.Context(), "PUT", "http://localhost"+artifacts+"/chunked", io.MultiReader(strings.NewReader(strings.Repeat("x", 1001))))
	r.ContentLength = -1
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if status, _ := put("big", strings.Repeat("x", 1001)); status != 413 || w.Code != 413 {
		t.Errorf("too large: %d with and %d without a length, want 413", status, w.Code)
	}
	if left, err := filepath.Glob(filepath.Join(root, "uploads", "*")); err != nil || len(left) != 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func TestDownloads(t *testing.T) {
	t.Parallel()
	s := server(t)
	newModel(t, s, "m", 0)
	must(t, s, "PUT", artifacts+"/a/model.ubj", "0123456789")
	must(t, s, "POST", versions+"create", `{"name":"m","source":"mlflow-artifacts:/a/"}`)
	must(t, s, "POST", versions+"create", `{"name":"m","source":"models:/m/1"}`)
	get := func(target string, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost"+target, nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w
	}
	whole := get(artifacts + "/a/model.ubj")
	wantHeader := map[string]string{
		"Content-Length": "10", "X-Content-Type-Options": "nosniff", "Content-Type": "application/octet-stream", "Content-Disposition": "attachment; filename=model.ubj",
	}
	for k, want := range wantHeader {
		if got := whole.Header().Get(k); got != want {
			t.Errorf("header %s: %q, want %q", k, got, want)
		}
	}
	if whole.Body.String() != "0123456789" {
		t.Errorf("whole file: %q", whole.Body)
	}
	if part := get(artifacts+"/a/model.ubj", "Range", "bytes=2-4"); part.Code != http.StatusPartialContent || part.Body.String() != "234" {
		t.Errorf("range: %d %q", part.Code, part.Body)
	}
	if same := get(artifacts+"/a/model.ubj", "If-None-Match", whole.Header().Get("ETag")); same.Code != http.StatusNotModified {
		t.Errorf("with the ETag: %d", same.Code)
	}
	for _, version := range []string{"1", "2"} {
		if got := get("/model-versions/get-artifact?name=m&path=model.ubj&version=" + version); got.Body.String() != "0123456789" {
			t.Errorf("by version %s: %d %q", version, got.Code, got.Body)
		}
	}
	for _, target := range []string{artifacts + "/a/none", artifacts + "/a", "/model-versions/get-artifact?name=m&version=1&path=none"} {
		if missing := get(target); missing.Code != http.StatusNotFound || missing.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d", target, missing.Code)
		}
	}
}

// A store that fails is our fault: 500, logged, and its text does not reach the client.
func TestStoreFailure(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := server(t, func(o *registry.Options) {
		o.Store, o.Logger = brokenStore{}, slog.New(slog.NewTextHandler(&log, nil))
	})
	for _, target := range []string{"GET " + models + "get?name=m", "POST " + models + "create", "GET " + artifacts, "GET " + artifacts + "/a", "PUT " + artifacts + "/a"} {
		method, path, _ := strings.Cut(target, " ")
		status, body := call(t, s, method, path, `{"name":"m"}`)
		if status != 500 || !strings.Contains(body, "INTERNAL_ERROR") || strings.Contains(body, "disk on fire") {
			t.Errorf("%s: %d %s", target, status, body)
		}
	}
	if strings.Count(log.String(), "disk on fire") != 5 {
		t.Errorf("log: %s", log.String())
	}
}

type brokenStore struct{}

var errStore = errors.New("disk on fire")

func (brokenStore) View(context.Context, func(*store.Tx) error) error   { return errStore }
func (brokenStore) Update(context.Context, func(*store.Tx) error) error { return errStore }
