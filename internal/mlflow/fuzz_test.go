package mlflow_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"serin/internal/mlflow"
	"serin/internal/model"
)

// FuzzAnswers gives the client anything as an answer: an error is one line and never a panic, a success makes sense.
func FuzzAnswers(f *testing.F) {
	f.Add(200, `{"registered_model":{"name":"x","aliases":[{"alias":"a","version":"1"}]},"model_versions":[{"name":"x","version":"1","current_stage":"Production","tags":[{"key":"k","value":"v"}]}]}`)
	f.Add(404, `{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"gone"}`)
	f.Add(200, `{"registered_model":{"name":"x","aliases":[{"alias":"a","version":1}]},"model_versions":[{"name":"x","version":2,"creation_timestamp":"17"}],"next_page_token":""}`)
	f.Add(302, "<html>")
	f.Add(503, "Endpoint: / disabled")
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 200 || status > 599 {
			status = 200 + (status&0x7fffffff)%400
		}
		pages := 0
		c := target{uri: "http://h", http: roundTripFunc(func(r *http.Request) (*http.Response, error) {
			if pages++; pages > 3 {
				return answer(r, 404, `{"error_code":"NOT_FOUND","message":"enough"}`), nil
			}
			return answer(r, status, body), nil
		})}.newClient(t, func(o *mlflow.Options) { o.Attempts = 1 })
		snap, err := c.Snapshot(t.Context(), "x")
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("error of several lines: %q", err)
			}
			return
		}
		for stage, versions := range snap.Stages {
			for _, v := range versions {
				if n, err := model.ParseVersion(v.Version); err != nil || n != v.Version || v.Stage != stage || v.Name != "x" {
					t.Errorf("version %+v in stage %s", v, stage)
				}
			}
		}
	})
}

// FuzzListing gives the client anything as a listing and an address: whatever it fetches stays inside its cache.
func FuzzListing(f *testing.F) {
	f.Add("mlflow-artifacts:/m", `{"files":[{"path":"a","file_size":7},{"path":"d","is_dir":true}]}`)
	f.Add("mlflow-artifacts:/m", `{"files":[{"path":"../a"}]}`)
	f.Add("s3://b/k", `{}`)
	f.Add("/etc", `{"files":[{"path":"a/../../b"}]}`)
	f.Fuzz(func(t *testing.T, uri, list string) {
		outer := t.TempDir()
		lists := 0
		files := &fakeFiles{uri: uri, extra: func(r *http.Request) (*http.Response, error) {
			if r.URL.Host != "h" {
				t.Errorf("the client called %s", r.URL)
			}
			switch {
			case r.URL.Path == "/api/2.0/mlflow-artifacts/artifacts":
				if lists++; lists > 5 {
					return answer(r, 200, "{}"), nil
				}
				return answer(r, 200, list), nil
			case strings.HasPrefix(r.URL.Path, proxyURL):
				return answer(r, 200, "content"), nil
			}
			return nil, nil
		}}
		got, err := target{uri: "http://h", http: files}.newClient(t, func(o *mlflow.Options) {
			o.CacheDir, o.Attempts, o.MaxFiles, o.AllowedRoots = filepath.Join(outer, "cache"), 1, 50, []string{filepath.Join(outer, "models")}
		}).Fetch(t.Context(), version1)
		entries, readErr := os.ReadDir(outer)
		if readErr != nil || len(entries) > 1 || (len(entries) == 1 && entries[0].Name() != "cache") {
			t.Errorf("files beside the cache: %v, %v", entries, readErr)
		}
		if err != nil {
			if errors.Is(err, mlflow.ErrUnavailable) {
				t.Errorf("a bad answer looks like an outage: %v", err)
			}
			return
		}
		if model.Digest(got.Files) != got.Pin.Digest || len(got.Files) == 0 {
			t.Errorf("fetched %+v", got)
		}
	})
}
