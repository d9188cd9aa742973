package mlflow

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"serin/internal/model"
)

// CreateModel registers a name. A name that is there already is success: the call may be repeated.
func (c *Client) CreateModel(ctx context.Context, name string) error {
	if err := model.ValidateName(name); err != nil {
		return err
	}
	err := c.do(ctx, call{method: http.MethodPost, path: api + "registered-models/create", in: map[string]any{"name": name}})
	if err != nil && !errors.Is(err, ErrAlreadyExists) {
		return fmt.Errorf("create model %s: %w", name, err)
	}
	return nil
}

// CreateVersionParams are the arguments of CreateVersion. Name and Source are required.
type CreateVersionParams struct {
	Name string
	// Source is the address of the files. MLflow 3 accepts mlflow-artifacts:/ only together with the run or logged model that holds it.
	Source string
	// RunID and ModelID name the run or the logged model (m-...) that the files belong to.
	RunID, ModelID string
	Description    string
	Tags           map[string]string
}

// CreateVersion makes the next version of a model. It is not idempotent: after an error that wraps ErrUnavailable the version may exist.
func (c *Client) CreateVersion(ctx context.Context, p CreateVersionParams) (Version, error) {
	in := map[string]any{"name": p.Name, "source": p.Source}
	for key, value := range map[string]string{"run_id": p.RunID, "model_id": p.ModelID, "description": p.Description} {
		if value != "" {
			in[key] = value
		}
	}
	if len(p.Tags) > 0 {
		in["tags"] = tagList(p.Tags)
	}
	v, err := c.versionCall(ctx, call{method: http.MethodPost, path: api + "model-versions/create", in: in, repeat: repeatUnsent})
	if err != nil {
		return Version{}, fmt.Errorf("create a version of model %s: %w", p.Name, err)
	}
	return v, nil
}

// TransitionParams are the arguments of Transition.
type TransitionParams struct {
	Model, Version string
	To             model.Stage
	// ArchiveOthers moves every other version of the stage to Archived. Only for Staging and Production: MLflow answers 500 otherwise.
	ArchiveOthers bool
}

// Transition moves a version to a stage and returns it as it then is. It may be repeated.
func (c *Client) Transition(ctx context.Context, p TransitionParams) (Version, error) {
	if p.ArchiveOthers && p.To != model.StageStaging && p.To != model.StageProduction {
		return Version{}, fmt.Errorf("move model %s version %s to %s: others can be archived only on the way to Staging or Production", p.Model, p.Version, p.To)
	}
	in := map[string]any{"name": p.Model, "version": p.Version, "stage": string(p.To), "archive_existing_versions": p.ArchiveOthers}
	v, err := c.versionCall(ctx, call{method: http.MethodPost, path: api + "model-versions/transition-stage", in: in})
	if err != nil {
		return Version{}, fmt.Errorf("move model %s version %s to %s: %w", p.Model, p.Version, p.To, err)
	}
	if v.Stage != p.To {
		return Version{}, fmt.Errorf("move model %s version %s to %s: %w: the registry says it is in %s", p.Model, p.Version, p.To, ErrNotMLflow, v.Stage)
	}
	return v, nil
}

// AliasParams name an alias of a model and, for SetAlias, its version.
type AliasParams struct{ Model, Alias, Version string }

// SetAlias points an alias at a version, wherever it pointed before. It may be repeated.
func (c *Client) SetAlias(ctx context.Context, p AliasParams) error {
	in := map[string]any{"name": p.Model, "alias": p.Alias, "version": p.Version}
	if err := c.do(ctx, call{method: http.MethodPost, path: api + "registered-models/alias", in: in}); err != nil {
		return fmt.Errorf("set alias %s of model %s to version %s: %w", p.Alias, p.Model, p.Version, err)
	}
	return nil
}

// DeleteAlias removes an alias; one that is not there is success.
func (c *Client) DeleteAlias(ctx context.Context, p AliasParams) error {
	in := map[string]any{"name": p.Model, "alias": p.Alias}
	if err := c.do(ctx, call{method: http.MethodDelete, path: api + "registered-models/alias", in: in}); err != nil {
		return fmt.Errorf("delete alias %s of model %s: %w", p.Alias, p.Model, err)
	}
	return nil
}

// VersionTag is a tag of a version; DeleteVersionTag does not look at Value.
type VersionTag struct{ Model, Version, Key, Value string }

// SetVersionTag sets a tag of a version. It may be repeated.
func (c *Client) SetVersionTag(ctx context.Context, t VersionTag) error {
	in := map[string]any{"name": t.Model, "version": t.Version, "key": t.Key, "value": t.Value}
	if err := c.do(ctx, call{method: http.MethodPost, path: api + "model-versions/set-tag", in: in}); err != nil {
		return fmt.Errorf("set tag %s of model %s version %s: %w", t.Key, t.Model, t.Version, err)
	}
	return nil
}

// DeleteVersionTag removes a tag of a version; one that is not there is success.
func (c *Client) DeleteVersionTag(ctx context.Context, t VersionTag) error {
	in := map[string]any{"name": t.Model, "version": t.Version, "key": t.Key}
	if err := c.do(ctx, call{method: http.MethodDelete, path: api + "model-versions/delete-tag", in: in}); err != nil {
		return fmt.Errorf("delete tag %s of model %s version %s: %w", t.Key, t.Model, t.Version, err)
	}
	return nil
}
