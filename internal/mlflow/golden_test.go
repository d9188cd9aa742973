package mlflow_test

import (
	"bufio"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"serin/internal/mlflow"
	"serin/internal/model"
)

// recording answers with what a real MLflow server had answered last, at a moment of a recorded session, to the same method, path and chosen
// parameters. The recordings are those of the embedded registry's test.
type recording struct {
	answers map[string]recorded
}

type recorded struct {
	N        int    `json:"n"`
	Method   string `json:"method"`
	Path     string `json:"path"`
	Query    string `json:"query"`
	Request  *body  `json:"request"`
	Status   int    `json:"status"`
	Response *body  `json:"response"`
}

type body struct {
	JSON   json.RawMessage `json:"json"`
	Text   string          `json:"text"`
	Base64 string          `json:"base64"`
}

func (b *body) text(t *testing.T) string {
	t.Helper()
	switch {
	case b == nil:
		return ""
	case b.Base64 != "":
		content, err := base64.StdEncoding.DecodeString(b.Base64)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	case b.JSON != nil:
		return string(b.JSON)
	}
	return b.Text
}

// recordingAt reads a file up to exchange n.
func recordingAt(t *testing.T, file string, n int) *recording {
	t.Helper()
	f, err := os.Open("../registry/testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	r := &recording{answers: map[string]recorded{}}
	lines := bufio.NewScanner(zipped)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var x recorded
		if err := json.Unmarshal(lines.Bytes(), &x); err != nil {
			t.Fatal(err)
		}
		if x.N > n {
			continue
		}
		query, err := url.ParseQuery(x.Query)
		if err != nil {
			t.Fatal(err)
		}
		var in map[string]any
		if x.Request != nil && x.Request.JSON != nil {
			if err := json.Unmarshal(x.Request.JSON, &in); err != nil {
				t.Fatal(err)
			}
		}
		r.answers[recordingKey(x.Method, x.Path, query, in)] = x
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return r
}

// recordingKey leaves out what clients choose freely: filters, page sizes and orders.
func recordingKey(method, path string, query url.Values, in map[string]any) string {
	chosen := map[string]any{}
	for _, k := range []string{"name", "version", "alias", "path", "stages", "stage"} {
		if v := query.Get(k); v != "" {
			chosen[k] = v
		}
		if v, ok := in[k]; ok {
			chosen[k] = v
		}
	}
	text, err := json.Marshal(chosen)
	if err != nil {
		return err.Error()
	}
	return method + " " + path + " " + string(text)
}

func (r *recording) client(t *testing.T) *mlflow.Client {
	t.Helper()
	return target{uri: "http://mlflow.example", http: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		var in map[string]any
		if req.Body != nil && req.Header.Get("Content-Type") == "application/json" {
			if err := json.NewDecoder(req.Body).Decode(&in); err != nil {
				t.Error(err)
			}
		}
		key := recordingKey(req.Method, req.URL.Path, req.URL.Query(), in)
		x, ok := r.answers[key]
		if !ok {
			t.Errorf("the recording has no %s", key)
		}
		return answer(req, x.Status, x.Response.text(t)), nil
	})}.newClient(t)
}

func TestRecordedSnapshot(t *testing.T) {
	t.Parallel()
	c := recordingAt(t, "golden-3.18.jsonl.gz", 91).client(t)
	snap, err := c.Snapshot(t.Context(), "fraud_detection_xgboost")
	if err != nil {
		t.Fatal(err)
	}
	got := map[model.Stage][]string{}
	for stage, versions := range snap.Stages {
		for _, v := range versions {
			got[stage] = append(got[stage], v.Version)
		}
	}
	want := map[model.Stage][]string{model.StageProduction: {"1"}, model.StageStaging: {"2"}, model.StageNone: {"4", "3"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stages (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"champion": "1", "challenger": "2"}, snap.Aliases); diff != "" {
		t.Errorf("aliases (-want +got):\n%s", diff)
	}
	v, ok := snap.Version("2")
	if !ok || v.Description != "challenger" || v.Tags["rollout"] != "canary" || len(v.Aliases) != 1 || v.Aliases[0] != "challenger" || v.RunID != "{{run:2}}" ||
		v.Created.UnixMilli() != 1795560961696 || v.Updated.UnixMilli() != 1795560963446 {
		t.Errorf("version 2: %+v", v)
	}
	if snap.Tags["team"] != "risk" {
		t.Errorf("tags of the model: %v", snap.Tags)
	}
	names, err := c.ListModels(t.Context())
	if err != nil || len(names) != 1 || names[0] != "fraud_detection_xgboost" {
		t.Errorf("models %v, %v", names, err)
	}
}

func TestRecordedResolveAndFetch(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		file    string
		n       int
		ref     string
		version string
		files   int
	}{
		{"golden-3.18.jsonl.gz", 205, "models:/fraud_detection_xgboost/Staging", "2", 7},
		{"golden-3.18.jsonl.gz", 205, "models:/fraud_detection_xgboost/Production", "1", 7},
		{"golden-3.18.jsonl.gz", 205, "models:/fraud_detection_xgboost@champion", "1", 7},
		{"golden-2.22.jsonl.gz", 80, "models:/m2x/Staging", "1", 7},
	} {
		ref, err := model.ParseRef(tt.ref)
		if err != nil {
			t.Fatal(err)
		}
		got, err := recordingAt(t, tt.file, tt.n).client(t).Fetch(t.Context(), ref)
		if err != nil || got.Pin.Version != tt.version || len(got.Files) != tt.files || got.Partial {
			t.Errorf("%s of %s: version %s, %d files, %v", tt.ref, tt.file, got.Pin.Version, len(got.Files), err)
		}
	}
}

func TestRecordedErrors(t *testing.T) {
	t.Parallel()
	c := recordingAt(t, "golden-3.18.jsonl.gz", 209).client(t)
	if _, err := c.Version(t.Context(), "fraud_detection_xgboost", "99"); !errors.Is(err, mlflow.ErrNotFound) {
		t.Errorf("version 99: %v", err)
	}
	alias := model.Ref{Kind: model.RefAlias, Name: "fraud_detection_xgboost", Alias: "zzz"}
	if _, err := c.Resolve(t.Context(), alias); !errors.Is(err, mlflow.ErrNotFound) {
		t.Errorf("alias zzz, which MLflow answers with 400: %v", err)
	}
	archived := model.Ref{Kind: model.RefStage, Name: "fraud_detection_xgboost", Stage: model.StageArchived}
	if _, err := c.Resolve(t.Context(), archived); !errors.Is(err, mlflow.ErrNotFound) {
		t.Errorf("an empty stage: %v", err)
	}
	if err := c.CreateModel(t.Context(), "fraud_detection_xgboost"); err != nil {
		t.Errorf("creating a model that exists: %v", err)
	}
}
