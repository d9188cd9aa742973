package mlflow_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"serin/internal/mlflow"
	"serin/internal/model"
)

func TestRegisterRefusesWhatIsNoModel(t *testing.T) {
	t.Parallel()
	sent := 0
	c := target{uri: "http://h", http: roundTripFunc(func(r *http.Request) (*http.Response, error) {
		sent++
		return answer(r, 500, "no"), nil
	})}.newClient(t)
	dir := t.TempDir()
	write := func(name, content string) string {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	write("plain/model.ubj", "{L")
	write("broken/MLmodel", "flavors: [")
	write("climbs/MLmodel", "flavors: {xgboost: {data: ../x}}")
	for path, want := range map[string]string{
		filepath.Join(dir, "none"):   "give a model folder or a model file",
		filepath.Join(dir, "plain"):  "has no MLmodel file",
		filepath.Join(dir, "broken"): "not valid YAML",
		filepath.Join(dir, "climbs"): "must stay inside",
		write("empty.ubj", ""):       "it is empty",
		os.DevNull:                   "not a regular file",
	} {
		if _, err := c.Register(t.Context(), mlflow.RegisterParams{Name: "m", Path: path}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("register %s: %v; want %q", path, err, want)
		}
	}
	if _, err := c.Register(t.Context(), mlflow.RegisterParams{Name: "a/b", Path: write("good.ubj", "{L")}); err == nil || !strings.Contains(err.Error(), "has no '/'") {
		t.Errorf("a bad name: %v", err)
	}
	if sent > 0 {
		t.Errorf("%d calls were sent", sent)
	}
}

// oldMLflow is MLflow 2: experiments and runs, no logged models. It keeps what it is sent.
type oldMLflow struct {
	artifactURI string
	putStatus   int
	calls       []string
	created     map[string]any
	status      string
}

func (m *oldMLflow) RoundTrip(r *http.Request) (*http.Response, error) {
	var in map[string]any
	if r.Body != nil && r.Header.Get("Content-Type") == "application/json" {
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			return nil, err
		}
	}
	path := strings.TrimPrefix(r.URL.Path, "/api/2.0/")
	m.calls = append(m.calls, r.Method+" "+path)
	switch path {
	case "mlflow/experiments/get-by-name":
		return answer(r, 404, `{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"Could not find experiment"}`), nil
	case "mlflow/experiments/create":
		return answer(r, 200, `{"experiment_id":"7"}`), nil
	case "mlflow/logged-models":
		return answer(r, 404, "<!doctype html><title>404 Not Found</title>"), nil
	case "mlflow/runs/create":
		return answer(r, 200, `{"run":{"info":{"run_id":"r1","artifact_uri":"`+m.artifactURI+`"}}}`), nil
	case "mlflow/runs/update":
		m.status, _ = in["status"].(string)
	case "mlflow/model-versions/create":
		m.created = in
		return answer(r, 200, `{"model_version":{"name":"m","version":"3"}}`), nil
	case "mlflow/model-versions/transition-stage":
		return answer(r, 200, `{"model_version":{"name":"m","version":"3","current_stage":"Staging"}}`), nil
	}
	if r.Method == http.MethodPut && m.putStatus != 0 {
		return answer(r, m.putStatus, `{"error_code":"PERMISSION_DENIED","message":"read only"}`), nil
	}
	return answer(r, 200, "{}"), nil
}

func TestRegisterInARunOfMLflow2(t *testing.T) {
	t.Parallel()
	dir, _ := writeFiles(t, map[string]string{"MLmodel": mlmodelText, "model.ubj": "{L", "empty": ""})
	old := &oldMLflow{artifactURI: "mlflow-artifacts:/7/r1/artifacts"}
	version, err := target{uri: "http://h", http: old}.newClient(t).Register(t.Context(), mlflow.RegisterParams{Name: "m", Path: dir, Stage: model.StageStaging})
	if err != nil || version != "3" || old.status != "FINISHED" {
		t.Errorf("version %q, run %s, %v", version, old.status, err)
	}
	want := []string{
		"POST mlflow/registered-models/create", "GET mlflow/experiments/get-by-name", "POST mlflow/experiments/create", "POST mlflow/logged-models", "POST mlflow/runs/create",
		"PUT mlflow-artifacts/artifacts/7/r1/artifacts/model/MLmodel", "PUT mlflow-artifacts/artifacts/7/r1/artifacts/model/empty",
		"PUT mlflow-artifacts/artifacts/7/r1/artifacts/model/model.ubj", "POST mlflow/runs/update", "POST mlflow/model-versions/create", "POST mlflow/model-versions/transition-stage",
	}
	if diff := cmp.Diff(want, old.calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"name": "m", "source": "mlflow-artifacts:/7/r1/artifacts/model", "run_id": "r1"}, old.created); diff != "" {
		t.Errorf("version (-want +got):\n%s", diff)
	}
}

func TestRegisterFailures(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "model.ubj")
	if err := os.WriteFile(file, []byte("{L"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		old  *oldMLflow
		want error
	}{
		{"the store is written by clients", &oldMLflow{artifactURI: "s3://bucket/7/r1/artifacts"}, mlflow.ErrUnsupported},
		{"the proxy refuses", &oldMLflow{artifactURI: "mlflow-artifacts:/7/r1/artifacts", putStatus: 403}, mlflow.ErrForbidden},
	} {
		_, err := target{uri: "http://h", http: tt.old}.newClient(t).Register(t.Context(), mlflow.RegisterParams{Name: "m", Path: file})
		if !errors.Is(err, tt.want) || tt.old.status != "FAILED" || tt.old.created != nil {
			t.Errorf("%s: %v, run %s, version %v", tt.name, err, tt.old.status, tt.old.created)
		}
	}
}

func TestUploadRefusals(t *testing.T) {
	t.Parallel()
	c := target{uri: "http://h", http: &oldMLflow{}}.newClient(t, func(o *mlflow.Options) { o.MaxFiles = 2 })
	dir := t.TempDir()
	if err := os.Symlink(os.DevNull, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	many, _ := writeFiles(t, map[string]string{"a": "1", "b": "2", "c": "3"})
	for _, tt := range []struct{ uri, path, want string }{
		{"mlflow-artifacts:/m", dir, "not a regular file"},
		{"mlflow-artifacts:/m", many, "more than 2 files"},
		{"mlflow-artifacts:/m", t.TempDir(), "has no files"},
		{"mlflow-artifacts:/m", filepath.Join(dir, "none"), "no such file"},
		{"mlflow-artifacts:/../m", many, "must stay inside"},
		{"mlflow-artifacts://elsewhere/m", many, "not in this version"},
		{"file:///m", many, "not in this version"},
	} {
		if err := c.UploadDir(t.Context(), mlflow.UploadParams{URI: tt.uri, Path: tt.path}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("upload %s to %s: %v; want %q", tt.path, tt.uri, err, tt.want)
		}
	}
}

// What a version points at is fixed in the embedded registry, and the client says so.
func TestUploadOverAVersionIsAConflict(t *testing.T) {
	t.Parallel()
	c := target{uri: "http://localhost", http: mlflow.InProcess(embedded(t))}.newClient(t)
	file := filepath.Join(t.TempDir(), "model.ubj")
	for i, content := range []string{"{L first", "{L second"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		err := c.UploadFile(t.Context(), mlflow.UploadParams{URI: "mlflow-artifacts:/fixed", Path: file})
		if i == 1 {
			if !errors.Is(err, mlflow.ErrConflict) || !strings.Contains(err.Error(), "create a new version") {
				t.Errorf("second upload: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		name := newModel(t, c, 0)
		if _, err := c.CreateVersion(t.Context(), mlflow.CreateVersionParams{Name: name, Source: "mlflow-artifacts:/fixed"}); err != nil {
			t.Fatal(err)
		}
	}
}
