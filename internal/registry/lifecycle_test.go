package registry_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"serin/internal/registry"
)

// answerIn reads the object under key of an answer, without its times.
func answerIn(tb testing.TB, text, key string) map[string]any {
	tb.Helper()
	var all map[string]map[string]any
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		tb.Fatalf("%v in %s", err, text)
	}
	for _, k := range []string{"creation_timestamp", "last_updated_timestamp"} {
		if _, ok := all[key][k].(float64); !ok {
			tb.Errorf("%s is not a number in %s", k, text)
		}
		delete(all[key], k)
	}
	return all[key]
}

func TestSources(t *testing.T) {
	t.Parallel()
	s := server(t)
	newModel(t, s, "src", 0)
	must(t, s, "POST", versions+"create", `{"name":"src","source":"mlflow-artifacts:/a/b/","run_id":"r1"}`)
	must(t, s, "POST", versions+"transition-stage", `{"name":"src","version":"1","stage":"Production"}`)
	must(t, s, "POST", models+"alias", `{"name":"src","alias":"champion","version":"1"}`)
	for i, tt := range []struct{ source, stored, storage, run string }{
		{"mlflow-artifacts:/x/y", "mlflow-artifacts:/x/y", "mlflow-artifacts:/x/y", ""},
		{"mlflow-artifacts:/x/y/", "mlflow-artifacts:/x/y/", "mlflow-artifacts:/x/y", ""},
		{"s3://bucket/key", "s3://bucket/key", "s3://bucket/key", ""},
		{"gs://bucket/a..b/key", "gs://bucket/a..b/key", "gs://bucket/a..b/key", ""},
		{"models:/src/1", "models:/src/1", "mlflow-artifacts:/a/b", "r1"},
		{"models:/src/Production", "models:/src/1", "mlflow-artifacts:/a/b", "r1"},
		{"models:/src@champion", "models:/src/1", "mlflow-artifacts:/a/b", "r1"},
	} {
		name := fmt.Sprintf("dst%d", i)
		newModel(t, s, name, 0)
		got := answerIn(t, must(t, s, "POST", versions+"create", fmt.Sprintf(`{"name":%q,"source":%q}`, name, tt.source)), "model_version")
		want := map[string]any{"name": name, "version": "1", "current_stage": "None", "description": "", "source": tt.stored, "run_id": tt.run, "status": "READY", "run_link": ""}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.source, diff)
		}
		if got, want := must(t, s, "GET", versions+"get-download-uri?name="+name+"&version=1", ""), fmt.Sprintf(`{"artifact_uri":%q}`, tt.storage); got != want {
			t.Errorf("%s: files at %s, want %s", tt.source, got, want)
		}
	}
}

// TestModelLifecycle walks one model through every call and looks at the whole answer each time.
func TestModelLifecycle(t *testing.T) {
	t.Parallel()
	s := server(t)
	step := func(method, path, body string, want map[string]any) {
		t.Helper()
		key := "registered_model"
		if strings.HasPrefix(path, "model-versions/") {
			key = "model_version"
		}
		got := answerIn(t, must(t, s, method, "/api/2.0/mlflow/"+path, body), key)
		delete(got, "latest_versions")
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("%s %s %s (-want +got):\n%s", method, path, body, diff)
		}
	}
	object := func(kv ...any) map[string]any {
		m := map[string]any{}
		for i := 0; i < len(kv); i += 2 {
			m[fmt.Sprint(kv[i])] = kv[i+1]
		}
		return m
	}
	team := []any{map[string]any{"key": "team", "value": "risk & co <1>"}}
	step("POST", "registered-models/create", `{"name":"m","description":"d","tags":[{"key":"team","value":"x"},{"key":"team","value":"risk & co <1>"}],"unknown":1}`,
		object("name", "m", "description", "d", "tags", team))
	version := object("name", "m", "version", "1", "current_stage", "None", "description", "first", "source", "s3://b/k", "run_id", "r", "run_link", "http://run", "status", "READY", "tags", team)
	step("POST", "model-versions/create", `{"name":"m","source":"s3://b/k","run_id":"r","run_link":"http://run","description":"first","tags":[{"key":"team","value":"risk & co <1>"}],"model_id":""}`, version)
	step("GET", "model-versions/get?name=m&version=01", "", version)
	version["current_stage"] = "Staging"
	step("POST", "model-versions/transition-stage", `{"name":"m","version":1,"stage":"STAGING","archive_existing_versions":"true"}`, version)
	must(t, s, "POST", models+"alias", `{"name":"m","alias":"challenger","version":"1"}`)
	version["aliases"] = []any{"challenger"}
	if got := answerIn(t, must(t, s, "GET", models+"alias?name=m&alias=challenger", ""), "model_version"); !gocmp.Equal(version, got) {
		t.Errorf("by alias: %v", got)
	}
	version["description"] = ""
	step("PATCH", "model-versions/update", `{"name":"m","version":"1"}`, version)
	must(t, s, "DELETE", versions+"delete-tag", `{"name":"m","version":"1","key":"team"}`)
	must(t, s, "DELETE", versions+"delete-tag", `{"name":"m","version":"1","key":"team"}`)
	delete(version, "tags")
	step("GET", "model-versions/get?name=m&version=1", "", version)
	aliases := []any{map[string]any{"alias": "challenger", "version": "1"}}
	step("GET", "registered-models/get?name=m", "", object("name", "m", "description", "d", "tags", team, "aliases", aliases))
	step("PATCH", "registered-models/update", `{"name":"m"}`, object("name", "m", "tags", team, "aliases", aliases))
	step("POST", "registered-models/rename", `{"name":"m","new_name":"n"}`, object("name", "n", "tags", team, "aliases", aliases))
	version["name"] = "n"
	step("GET", "model-versions/get?name=n&version=1", "", version)
	must(t, s, "DELETE", models+"delete", `{"name":"n"}`)
	if got := must(t, s, "GET", models+"search", ""); got != "{}" {
		t.Errorf("after the end: %s", got)
	}
	if got := must(t, s, "GET", versions+"search", ""); got != "{}" {
		t.Errorf("after the end: %s", got)
	}
}

func TestLatestVersionsByStage(t *testing.T) {
	t.Parallel()
	s := server(t)
	newModel(t, s, "m", 5)
	for version, stage := range map[string]string{"1": "Production", "2": "Production", "3": "Archived"} {
		must(t, s, "POST", versions+"transition-stage", fmt.Sprintf(`{"name":"m","version":%q,"stage":%q}`, version, stage))
	}
	numbers := func(text string) (all []string) {
		var list struct {
			Versions []struct{ Version string } `json:"model_versions"`
		}
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			t.Fatal(err)
		}
		for _, v := range list.Versions {
			all = append(all, v.Version)
		}
		return all
	}
	for _, tt := range []struct {
		call string
		body string
		want []string
	}{
		{"POST " + models + "get-latest-versions", `{"name":"m"}`, []string{"2", "3", "5"}},
		{"POST " + models + "get-latest-versions", `{"name":"m","stages":["production","ARCHIVED"]}`, []string{"2", "3"}},
		{"POST " + models + "get-latest-versions", `{"name":"m","stages":["Staging"]}`, nil},
		{"GET " + models + "get-latest-versions?name=m&stages=Archived&stages=None", ``, []string{"3", "5"}},
	} {
		method, target, _ := strings.Cut(tt.call, " ")
		if diff := gocmp.Diff(tt.want, numbers(must(t, s, method, target, tt.body))); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", tt.call, tt.body, diff)
		}
	}
}

// Uploads and a version that is made of them at the same moment: either the upload was first, or it is refused; never does a version change.
func TestUploadRacesVersion(t *testing.T) {
	t.Parallel()
	s := server(t)
	newModel(t, s, "m", 0)
	for round := range 10 {
		path := fmt.Sprintf("r%d/model.ubj", round)
		must(t, s, "PUT", artifacts+"/"+path, "first")
		var wait sync.WaitGroup
		var status int
		wait.Go(func() { status, _ = call(t, s, "PUT", artifacts+"/"+path, "second") })
		wait.Go(func() {
			must(t, s, "POST", versions+"create", fmt.Sprintf(`{"name":"m","source":"mlflow-artifacts:/r%d"}`, round))
		})
		wait.Wait()
		want := map[int]string{200: "second", 409: "first"}[status]
		if got := must(t, s, "GET", artifacts+"/"+path, ""); got != want {
			t.Errorf("round %d: upload answered %d, the file is %q", round, status, got)
		}
	}
}

// The same bytes are kept once, whatever their paths, and no path becomes a name on the disk.
func TestBytesAreKeptOnce(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s := server(t, func(o *registry.Options) { o.ArtifactRoot = root })
	for _, path := range []string{"a/x", "b/y", "c/CON", "d/%E2%80%AE"} {
		must(t, s, "PUT", artifacts+"/"+path, "same bytes")
	}
	must(t, s, "PUT", artifacts+"/a/other", "other bytes")
	var files []string
	err := filepath.WalkDir(root, func(name string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, filepath.Base(name))
		}
		return err
	})
	if err != nil || len(files) != 2 || len(files[0]) != 64 || len(files[1]) != 64 {
		t.Errorf("files on the disk: %v, %v", files, err)
	}
}

// Bytes that were lost on the disk are an error of ours, and an upload again mends what was lost or damaged.
func TestLostBytes(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s := server(t, func(o *registry.Options) { o.ArtifactRoot = root })
	must(t, s, "PUT", artifacts+"/a/x", "bytes")
	if err := os.RemoveAll(filepath.Join(root, "blobs")); err != nil {
		t.Fatal(err)
	}
	if status, body := call(t, s, "GET", artifacts+"/a/x", ""); status != 500 || strings.Contains(body, root) {
		t.Errorf("lost bytes: %d %s", status, body)
	}
	must(t, s, "PUT", artifacts+"/a/x", "bytes")
	blobs, err := filepath.Glob(filepath.Join(root, "blobs", "*", "*"))
	if err != nil || len(blobs) != 1 {
		t.Fatalf("blobs %v, %v", blobs, err)
	}
	if err := os.WriteFile(blobs[0], []byte("BYTES"), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, s, "PUT", artifacts+"/a/x", "bytes")
	if got := must(t, s, "GET", artifacts+"/a/x", ""); got != "bytes" {
		t.Errorf("after the upload again: %q", got)
	}
}
