package mlflow

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"serin/internal/model"
)

// registerExperiment is the experiment that holds what Register uploads to a real MLflow.
const registerExperiment = "serin"

// RegisterParams are the arguments of Register. Name and Path are required.
type RegisterParams struct {
	Name string
	// Path is a model folder with an MLmodel file, or a bare model file, which is stored as it is.
	Path string
	// Stage is where the new version goes; empty or None leaves it without a stage. Versions that are there already stay.
	Stage       model.Stage
	Description string
	Tags        map[string]string
}

// Register uploads a model, makes it the next version of Name, which it creates when it is new, and moves it to the stage. It returns the version.
// It works the same against a real MLflow and the embedded registry. It is not idempotent: a second call makes a second version.
func (c *Client) Register(ctx context.Context, p RegisterParams) (version string, err error) {
	isDir, err := checkModelPath(p.Path)
	if err != nil {
		return "", err
	}
	if err := c.CreateModel(ctx, p.Name); err != nil {
		return "", err
	}
	s, err := c.openSlot(ctx, p.Name)
	if err != nil {
		return "", fmt.Errorf("register %s: %w", p.Name, err)
	}
	upload := c.UploadFile
	if isDir {
		upload = c.UploadDir
	}
	if err := upload(ctx, UploadParams{URI: s.uri, Path: p.Path}); err != nil {
		return "", errors.Join(fmt.Errorf("register %s: %w", p.Name, err), s.close(ctx, failed))
	}
	if err := s.close(ctx, complete); err != nil {
		return "", fmt.Errorf("register %s: %w", p.Name, err)
	}
	v, err := c.CreateVersion(ctx, CreateVersionParams{
		Name: p.Name, Source: s.source, RunID: s.runID, ModelID: s.modelID, Description: p.Description, Tags: p.Tags,
	})
	if err != nil {
		return "", err
	}
	if p.Stage == "" || p.Stage == model.StageNone {
		return v.Version, nil
	}
	if _, err := c.Transition(ctx, TransitionParams{Model: p.Name, Version: v.Version, To: p.Stage}); err != nil {
		return v.Version, fmt.Errorf("version %s of %s is registered but has no stage: %w", v.Version, p.Name, err)
	}
	return v.Version, nil
}

// checkModelPath says whether path is a model folder; it reads MLmodel so that a broken one is refused before anything is uploaded.
func checkModelPath(path string) (isDir bool, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return false, fmt.Errorf("register a model: %w; give a model folder or a model file", err)
	}
	if !info.IsDir() {
		if !info.Mode().IsRegular() || info.Size() == 0 {
			return false, fmt.Errorf("register %s: it is empty or not a regular file; give a model folder or a model file", path)
		}
		return false, nil
	}
	text, err := os.ReadFile(filepath.Join(path, model.MLmodelFile))
	if errors.Is(err, os.ErrNotExist) {
		return false, fmt.Errorf("register %s: the folder has no MLmodel file; give the folder that MLflow's save_model wrote, or the model file itself", path)
	}
	if err != nil {
		return false, fmt.Errorf("register %s: %w", path, err)
	}
	if _, err := model.ParseMLmodel(text); err != nil {
		return false, fmt.Errorf("register %s: %w", path, err)
	}
	return true, nil
}

// outcome of an upload.
type outcome int

const (
	complete outcome = iota
	failed
)

// slot is a place for the files of one new version.
type slot struct {
	uri            string // where to upload
	source         string // what model-versions/create is told
	runID, modelID string
	close          func(context.Context, outcome) error
}

// openSlot makes a place for files. MLflow 3 wants a logged model, MLflow 2 a run: it accepts a version's source only inside one of them.
// The embedded registry has neither in this version, and takes a folder of its proxy.
func (c *Client) openSlot(ctx context.Context, name string) (slot, error) {
	experiment, err := c.experiment(ctx)
	if errors.Is(err, ErrEndpointGone) {
		return proxySlot(name)
	}
	if err != nil {
		return slot{}, err
	}
	s, err := c.loggedModelSlot(ctx, experiment)
	if errors.Is(err, ErrEndpointGone) {
		return c.runSlot(ctx, experiment)
	}
	return s, err
}

func proxySlot(name string) (slot, error) {
	random := make([]byte, 12)
	if _, err := rand.Read(random); err != nil {
		return slot{}, err
	}
	safe := strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || (r >= '0' && r <= '9') || (r >= 'A' && r <= 'Z') || (r >= 'a' && r <= 'z') {
			return r
		}
		return '_'
	}, name)
	uri := "mlflow-artifacts:/models/" + safe + "/" + hex.EncodeToString(random)
	return slot{uri: uri, source: uri, close: func(context.Context, outcome) error { return nil }}, nil
}

func (c *Client) experiment(ctx context.Context) (string, error) {
	var found struct {
		Experiment struct {
			ID flexible `json:"experiment_id"`
		} `json:"experiment"`
	}
	get := call{method: http.MethodGet, path: api + "experiments/get-by-name", query: url.Values{"experiment_name": {registerExperiment}}, out: &found}
	err := c.do(ctx, get)
	if err == nil {
		return string(found.Experiment.ID), nil
	}
	if !errors.Is(err, ErrNotFound) {
		return "", fmt.Errorf("find experiment %s: %w", registerExperiment, err)
	}
	var made struct {
		ID flexible `json:"experiment_id"`
	}
	create := call{method: http.MethodPost, path: api + "experiments/create", in: map[string]any{"name": registerExperiment}, out: &made, repeat: repeatUnsent}
	if err = c.do(ctx, create); err == nil {
		return string(made.ID), nil
	}
	if errors.Is(err, ErrAlreadyExists) { // somebody else was faster
		if err = c.do(ctx, get); err == nil {
			return string(found.Experiment.ID), nil
		}
	}
	return "", fmt.Errorf("create experiment %s: %w", registerExperiment, err)
}

func (c *Client) loggedModelSlot(ctx context.Context, experiment string) (slot, error) {
	var out struct {
		Model wireLoggedModel `json:"model"`
	}
	in := map[string]any{"experiment_id": experiment, "name": "model"}
	if err := c.do(ctx, call{method: http.MethodPost, path: api + "logged-models", in: in, out: &out, repeat: repeatUnsent}); err != nil {
		return slot{}, fmt.Errorf("make a logged model: %w", err)
	}
	id := out.Model.Info.ModelID
	if !strings.HasPrefix(id, "m-") {
		return slot{}, fmt.Errorf("make a logged model: %w: it has the id %q", ErrNotMLflow, id)
	}
	end := func(ctx context.Context, o outcome) error {
		status := "LOGGED_MODEL_READY"
		if o == failed {
			status = "LOGGED_MODEL_UPLOAD_FAILED"
		}
		in := map[string]any{"model_id": id, "status": status}
		if err := c.do(ctx, call{method: http.MethodPatch, path: api + "logged-models/" + id, in: in}); err != nil {
			return fmt.Errorf("finish logged model %s: %w", id, err)
		}
		return nil
	}
	return slot{uri: out.Model.Info.ArtifactURI, source: "models:/" + id, modelID: id, close: end}, nil
}

func (c *Client) runSlot(ctx context.Context, experiment string) (slot, error) {
	var out struct {
		Run struct {
			Info struct {
				ID          string `json:"run_id"`
				ArtifactURI string `json:"artifact_uri"`
			} `json:"info"`
		} `json:"run"`
	}
	in := map[string]any{"experiment_id": experiment, "run_name": "serin register", "start_time": time.Now().UnixMilli()}
	if err := c.do(ctx, call{method: http.MethodPost, path: api + "runs/create", in: in, out: &out, repeat: repeatUnsent}); err != nil {
		return slot{}, fmt.Errorf("make a run: %w", err)
	}
	id := out.Run.Info.ID
	end := func(ctx context.Context, o outcome) error {
		status := "FINISHED"
		if o == failed {
			status = "FAILED"
		}
		in := map[string]any{"run_id": id, "status": status, "end_time": time.Now().UnixMilli()}
		if err := c.do(ctx, call{method: http.MethodPost, path: api + "runs/update", in: in}); err != nil {
			return fmt.Errorf("finish run %s: %w", id, err)
		}
		return nil
	}
	uri := strings.TrimRight(out.Run.Info.ArtifactURI, "/") + "/model"
	return slot{uri: uri, source: uri, runID: id, close: end}, nil
}
