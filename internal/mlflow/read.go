package mlflow

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"serin/internal/model"
)

const (
	pageSize = "1000"
	maxPages = 1000 // one million versions: a server that never ends its list is broken
)

// Snapshot is a registered model at one instant, as far as MLflow can give one: it takes two calls.
type Snapshot struct {
	Name, Description string
	Tags              map[string]string
	// Aliases gives the version of every alias. An alias may point at a deleted version: MLflow leaves those behind.
	Aliases map[string]string
	// Stages gives the versions in each stage, newest number first. The first one is what models:/NAME/STAGE resolves to;
	// more than one in Production is common, since MLflow does not archive by default.
	Stages map[model.Stage][]Version
}

// Champion is the version that models:/NAME/Production resolves to, or false when there is none.
func (s Snapshot) Champion() (Version, bool) {
	production := s.Stages[model.StageProduction]
	if len(production) == 0 {
		return Version{}, false
	}
	return production[0], true
}

// Version finds a version by number.
func (s Snapshot) Version(number string) (Version, bool) {
	for _, versions := range s.Stages {
		for _, v := range versions {
			if v.Version == number {
				return v, true
			}
		}
	}
	return Version{}, false
}

// Snapshot reads a model with all its versions, aliases and tags.
func (c *Client) Snapshot(ctx context.Context, name string) (Snapshot, error) {
	m, err := c.getModel(ctx, name)
	if err != nil {
		return Snapshot{}, fmt.Errorf("read model %s: %w", name, err)
	}
	versions, err := c.versions(ctx, name)
	if err != nil {
		return Snapshot{}, fmt.Errorf("list versions of model %s: %w", name, err)
	}
	s := Snapshot{
		Name: m.Name, Description: m.Description, Tags: tagMap(m.Tags),
		Aliases: make(map[string]string, len(m.Aliases)), Stages: map[model.Stage][]Version{},
	}
	byVersion := map[string][]string{}
	for _, a := range m.Aliases {
		s.Aliases[a.Alias] = string(a.Version)
		byVersion[string(a.Version)] = append(byVersion[string(a.Version)], a.Alias)
	}
	newestFirst(versions)
	for _, v := range versions {
		v.Aliases = byVersion[v.Version]
		slices.Sort(v.Aliases)
		s.Stages[v.Stage] = append(s.Stages[v.Stage], v)
	}
	return s, nil
}

func (c *Client) getModel(ctx context.Context, name string) (wireModel, error) {
	if err := model.ValidateName(name); err != nil {
		return wireModel{}, err
	}
	var out struct {
		Model wireModel `json:"registered_model"`
	}
	err := c.do(ctx, call{method: http.MethodGet, path: api + "registered-models/get", query: url.Values{"name": {name}}, out: &out})
	if err == nil && out.Model.Name == "" {
		err = fmt.Errorf("%w: the answer has no registered_model", ErrNotMLflow)
	}
	return out.Model, err
}

// versions lists all versions of a model, page by page. registered-models/get alone would hide all but the newest of each stage.
func (c *Client) versions(ctx context.Context, name string) ([]Version, error) {
	filter, err := nameFilter(name)
	if err != nil {
		return nil, err
	}
	query := url.Values{"filter": {filter}, "max_results": {pageSize}, "order_by": {"version_number DESC"}}
	var versions []Version
	for range maxPages {
		var out struct {
			Versions []wireVersion `json:"model_versions"`
			Next     string        `json:"next_page_token"`
		}
		if err := c.do(ctx, call{method: http.MethodGet, path: api + "model-versions/search", query: query, out: &out}); err != nil {
			return nil, err
		}
		for _, w := range out.Versions {
			v, err := w.version()
			if err != nil {
				return nil, err
			}
			if v.Name == name && !slices.ContainsFunc(versions, func(have Version) bool { return have.Version == v.Version }) {
				versions = append(versions, v) // a page boundary that moved meanwhile repeats rows
			}
		}
		if out.Next == "" {
			return versions, nil
		}
		query.Set("page_token", out.Next)
	}
	return nil, fmt.Errorf("%w: the list of versions does not end", ErrNotMLflow)
}

// nameFilter quotes a name for a search. MLflow's filter has no escape, so a name with both quotes cannot be searched.
func nameFilter(name string) (string, error) {
	switch {
	case !strings.Contains(name, "'"):
		return "name = '" + name + "'", nil
	case !strings.Contains(name, `"`):
		return `name = "` + name + `"`, nil
	}
	return "", fmt.Errorf("model name %q has both kinds of quotes, which MLflow cannot search for: rename the model", name)
}

// Version reads one version.
func (c *Client) Version(ctx context.Context, name, version string) (Version, error) {
	if err := model.ValidateName(name); err != nil {
		return Version{}, err
	}
	number, err := model.ParseVersion(version)
	if err != nil {
		return Version{}, fmt.Errorf("model %s: %w", name, err)
	}
	query := url.Values{"name": {name}, "version": {number}}
	v, err := c.versionCall(ctx, call{method: http.MethodGet, path: api + "model-versions/get", query: query})
	if err != nil {
		return Version{}, fmt.Errorf("read model %s version %s: %w", name, number, err)
	}
	return v, nil
}

// versionCall does a call that answers {"model_version": {...}}.
func (c *Client) versionCall(ctx context.Context, cl call) (Version, error) {
	var out struct {
		Version wireVersion `json:"model_version"`
	}
	cl.out = &out
	if err := c.do(ctx, cl); err != nil {
		return Version{}, err
	}
	return out.Version.version()
}

// Resolve says which version a stage, version or alias reference names now. A stage with several versions resolves to the highest number, as in MLflow.
func (c *Client) Resolve(ctx context.Context, ref model.Ref) (Version, error) {
	switch ref.Kind {
	case model.RefVersion:
		return c.Version(ctx, ref.Name, ref.Version)
	case model.RefAlias:
		return c.byAlias(ctx, ref)
	case model.RefStage:
		return c.byStage(ctx, ref)
	case model.RefURL, model.RefPath:
	}
	return Version{}, fmt.Errorf("%s is not a model of the registry: give models:/NAME/STAGE, models:/NAME/VERSION or models:/NAME@ALIAS", ref)
}

func (c *Client) byAlias(ctx context.Context, ref model.Ref) (Version, error) {
	query := url.Values{"name": {ref.Name}, "alias": {ref.Alias}}
	v, err := c.versionCall(ctx, call{method: http.MethodGet, path: api + "registered-models/alias", query: query})
	var apiErr *APIError
	if errors.As(err, &apiErr) && errors.Is(err, ErrInvalid) && strings.HasSuffix(apiErr.Message, "not found.") {
		// MLflow answers 400 INVALID_PARAMETER_VALUE "Registered model alias X not found."
		return Version{}, fmt.Errorf("resolve %s: %w: the model has no alias %q; set it, or name a version", ref, ErrNotFound, ref.Alias)
	}
	if err != nil {
		return Version{}, fmt.Errorf("resolve %s: %w", ref, err)
	}
	return v, nil
}

func (c *Client) byStage(ctx context.Context, ref model.Ref) (Version, error) {
	var out struct {
		Versions []wireVersion `json:"model_versions"`
	}
	in := map[string]any{"name": ref.Name, "stages": []string{string(ref.Stage)}}
	if err := c.do(ctx, call{method: http.MethodPost, path: api + "registered-models/get-latest-versions", in: in, out: &out}); err != nil {
		return Version{}, fmt.Errorf("resolve %s: %w", ref, err)
	}
	var versions []Version
	for _, w := range out.Versions {
		v, err := w.version()
		if err != nil {
			return Version{}, fmt.Errorf("resolve %s: %w", ref, err)
		}
		if v.Stage == ref.Stage {
			versions = append(versions, v)
		}
	}
	if len(versions) == 0 {
		return Version{}, fmt.Errorf("resolve %s: %w: the model has no version in %s; move one there, or name a version", ref, ErrNotFound, ref.Stage)
	}
	newestFirst(versions)
	return versions[0], nil
}

// DownloadURI is where the files of a version lie; the registry resolves models:/ and runs:/ sources.
func (c *Client) DownloadURI(ctx context.Context, name, version string) (string, error) {
	var out struct {
		URI string `json:"artifact_uri"`
	}
	query := url.Values{"name": {name}, "version": {version}}
	if err := c.do(ctx, call{method: http.MethodGet, path: api + "model-versions/get-download-uri", query: query, out: &out}); err != nil {
		return "", fmt.Errorf("find the files of model %s version %s: %w", name, version, err)
	}
	if out.URI == "" {
		return "", fmt.Errorf("find the files of model %s version %s: %w: the registry names no address", name, version, ErrBadArtifact)
	}
	return out.URI, nil
}

// ListModels gives the names of all registered models, sorted. Prompts, which MLflow keeps among them, are left out.
func (c *Client) ListModels(ctx context.Context) ([]string, error) {
	query := url.Values{"max_results": {pageSize}}
	var names []string
	for range maxPages {
		var out struct {
			Models []wireModel `json:"registered_models"`
			Next   string      `json:"next_page_token"`
		}
		if err := c.do(ctx, call{method: http.MethodGet, path: api + "registered-models/search", query: query, out: &out}); err != nil {
			return nil, fmt.Errorf("list models: %w", err)
		}
		for _, m := range out.Models {
			if tagMap(m.Tags)["mlflow.prompt.is_prompt"] != "true" {
				names = append(names, m.Name)
			}
		}
		if out.Next == "" {
			slices.Sort(names)
			return slices.Compact(names), nil
		}
		query.Set("page_token", out.Next)
	}
	return nil, fmt.Errorf("list models: %w: the list does not end", ErrNotMLflow)
}
