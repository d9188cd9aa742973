package mlflow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"serin/internal/model"
)

const artifactAPI = "/api/2.0/mlflow-artifacts/artifacts"

// A source is one place where files of a version are read from. Paths are relative to the version's root.
type source interface {
	// list gives the entries of a folder by base name; "" is the root. errNoListing: this place cannot list.
	list(ctx context.Context, dir string) ([]entry, error)
	// open starts reading a file; size is -1 when it is not told. The error may be retried when it is an *attemptError.
	open(ctx context.Context, file string) (body io.ReadCloser, size int64, err error)
}

// entry is one line of a listing. size is -1 when the server did not tell it.
type entry struct {
	name string
	dir  bool
	size int64
}

var errNoListing = errors.New("cannot list files there")

// located is a source and whether it can be listed.
type located struct {
	source
	listable bool
}

// versionAt names a version and the address of its files.
type versionAt struct{ name, version, uri string }

// locate picks the way to a version's files by the scheme of their address. Everything that serin cannot or may not read itself is read through
// the server, which has the credentials: no cloud library is needed. Source: mlflow.md 5.
func (c *Client) locate(ctx context.Context, v versionAt) (located, error) {
	u, err := url.Parse(v.uri)
	if err != nil {
		return located{}, fmt.Errorf("%w: the address %q of its files is not a URL", ErrBadArtifact, v.uri)
	}
	through := located{source: &throughServer{client: c, at: v}}
	switch u.Scheme {
	case "runs":
		return c.locateRun(ctx, v, u)
	case "models":
		return c.locateLoggedModel(ctx, v, u)
	case "dbfs", "databricks":
		return located{}, fmt.Errorf("%w: files at %s lie in Databricks", ErrUnsupported, u.Redacted())
	}
	if root, ok, err := c.proxyRoot(u); err != nil {
		return located{}, err
	} else if ok {
		return located{source: &proxy{client: c, root: root}, listable: true}, nil
	}
	if dir, ok := c.allowedDir(u); ok {
		return located{source: dir, listable: true}, nil
	}
	return through, nil
}

// proxyRoot is the path below the artifact proxy of this registry, when the address is one of it.
func (c *Client) proxyRoot(u *url.URL) (string, bool, error) {
	var root string
	switch u.Scheme {
	case "mlflow-artifacts":
		if u.Host != "" && u.Host != c.base.Host {
			return "", false, nil // another server: ours knows how to reach it
		}
		root = u.Path
	case "http", "https":
		rest, ok := strings.CutPrefix(u.Path, c.base.Path+artifactAPI+"/")
		if !ok || !c.sameHost(u) {
			return "", false, nil // credentials never go to a host that a version's author names
		}
		root = rest
	default:
		return "", false, nil
	}
	root = strings.Trim(root, "/")
	if err := model.ValidatePath(root); err != nil {
		return "", false, fmt.Errorf("%w: address %s: %w", ErrBadArtifact, u.Redacted(), err)
	}
	return root, true, nil
}

// allowedDir opens nothing: it says whether the address is a folder that exists under a root that the operator allowed.
func (c *Client) allowedDir(u *url.URL) (source, bool) {
	if (u.Scheme != "" && u.Scheme != "file") || (u.Host != "" && u.Host != "localhost") || !filepath.IsAbs(u.Path) {
		return nil, false
	}
	dir := filepath.Clean(filepath.FromSlash(u.Path))
	for _, root := range c.opts.AllowedRoots {
		rel, err := filepath.Rel(root, dir)
		if err != nil || !filepath.IsLocal(rel) {
			continue
		}
		if info, err := os.Stat(dir); err == nil && info.IsDir() { //nolint:gosec // below a root that the operator allowed; read through os.Root
			return &folder{root: root, rel: rel}, true
		}
	}
	return nil, false
}

// locateRun resolves runs:/RUN/path. MLflow 3 keeps models out of the run's folder: then the logged model of that name and run is meant.
func (c *Client) locateRun(ctx context.Context, v versionAt, u *url.URL) (located, error) {
	run, rest, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	var out struct {
		Run struct {
			Info struct {
				ExperimentID string `json:"experiment_id"`
				ArtifactURI  string `json:"artifact_uri"`
			} `json:"info"`
		} `json:"run"`
	}
	if err := c.do(ctx, call{method: http.MethodGet, path: api + "runs/get", query: url.Values{"run_id": {run}}, out: &out}); err != nil {
		return located{}, fmt.Errorf("find run %s: %w", run, err)
	}
	if strings.HasPrefix(out.Run.Info.ArtifactURI, "runs:") {
		return located{}, fmt.Errorf("%w: run %s names itself as the place of its files", ErrBadArtifact, run)
	}
	in := versionAt{name: v.name, version: v.version, uri: strings.TrimRight(out.Run.Info.ArtifactURI, "/") + "/" + rest}
	found, err := c.locate(ctx, in)
	if err != nil || !found.listable {
		return found, err
	}
	entries, err := found.list(ctx, "")
	if err != nil && !errors.Is(err, ErrNotFound) {
		return located{}, err
	}
	for _, e := range entries {
		if e.name == model.MLmodelFile {
			return found, nil
		}
	}
	return c.searchLoggedModel(ctx, v, loggedModelOf{experiment: out.Run.Info.ExperimentID, run: run, name: rest, instead: found})
}

type loggedModelOf struct {
	experiment, run, name string
	instead               located // when there is no such logged model
}

type wireLoggedModel struct {
	Info struct {
		ModelID     string `json:"model_id"`
		ArtifactURI string `json:"artifact_uri"`
		SourceRunID string `json:"source_run_id"`
	} `json:"info"`
}

func (c *Client) searchLoggedModel(ctx context.Context, v versionAt, of loggedModelOf) (located, error) {
	var out struct {
		Models []wireLoggedModel `json:"models"`
	}
	filter, err := nameFilter(of.name)
	if err != nil {
		return located{}, err
	}
	in := map[string]any{"experiment_ids": []string{of.experiment}, "filter": filter}
	err = c.do(ctx, call{method: http.MethodPost, path: api + "logged-models/search", in: in, out: &out})
	if errors.Is(err, ErrEndpointGone) {
		return of.instead, nil // MLflow 2 has no logged models
	}
	if err != nil {
		return located{}, fmt.Errorf("find the logged model %s of run %s: %w", of.name, of.run, err)
	}
	for _, m := range out.Models {
		if m.Info.SourceRunID == of.run {
			return c.locateResolved(ctx, v, m)
		}
	}
	return of.instead, nil
}

// locateLoggedModel resolves models:/m-ID.
func (c *Client) locateLoggedModel(ctx context.Context, v versionAt, u *url.URL) (located, error) {
	id := strings.Trim(u.Path, "/")
	if !strings.HasPrefix(id, "m-") || strings.ContainsAny(id, "/@") {
		return located{}, fmt.Errorf("%w: the registry gives %s as the place of the files", ErrBadArtifact, u.Redacted())
	}
	var out struct {
		Model wireLoggedModel `json:"model"`
	}
	if err := c.do(ctx, call{method: http.MethodGet, path: api + "logged-models/" + id, out: &out}); err != nil {
		return located{}, fmt.Errorf("find logged model %s: %w", id, err)
	}
	return c.locateResolved(ctx, v, out.Model)
}

func (c *Client) locateResolved(ctx context.Context, v versionAt, m wireLoggedModel) (located, error) {
	u, err := url.Parse(m.Info.ArtifactURI)
	if err != nil || u.Scheme == "models" || u.Scheme == "runs" {
		return located{}, fmt.Errorf("%w: logged model %s gives %q as the place of its files", ErrBadArtifact, m.Info.ModelID, m.Info.ArtifactURI)
	}
	return c.locate(ctx, versionAt{name: v.name, version: v.version, uri: m.Info.ArtifactURI})
}

// proxy reads from the registry's artifact proxy.
type proxy struct {
	client *Client
	root   string // path below the proxy, not empty
}

func (p *proxy) list(ctx context.Context, dir string) ([]entry, error) {
	var out struct {
		Files []struct {
			Path  string `json:"path"`
			IsDir bool   `json:"is_dir"`
			Size  *int64 `json:"file_size"`
		} `json:"files"`
	}
	query := url.Values{"path": {path.Join(p.root, dir)}}
	if err := p.client.do(ctx, call{method: http.MethodGet, path: artifactAPI, query: query, out: &out}); err != nil {
		return nil, err
	}
	entries := make([]entry, 0, len(out.Files))
	for _, f := range out.Files {
		e := entry{name: f.Path, dir: f.IsDir, size: -1}
		if f.Size != nil {
			e.size = *f.Size
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func (p *proxy) open(ctx context.Context, file string) (io.ReadCloser, int64, error) {
	return p.client.openURL(ctx, p.client.endpoint(artifactAPI+"/"+path.Join(p.root, file), nil))
}

func (c *Client) openURL(ctx context.Context, u *url.URL) (io.ReadCloser, int64, error) {
	req, err := c.request(ctx, request{method: http.MethodGet, url: u})
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Accept-Encoding", "identity") // the bytes are hashed and their length is compared
	resp, err := c.send(req)
	if err != nil {
		return nil, 0, err
	}
	return resp.Body, resp.ContentLength, nil
}

// throughServer reads single files by the server's get-artifact, whatever the store is. It cannot list.
type throughServer struct {
	client *Client
	at     versionAt
}

func (t *throughServer) list(context.Context, string) ([]entry, error) { return nil, errNoListing }

func (t *throughServer) open(ctx context.Context, file string) (io.ReadCloser, int64, error) {
	query := url.Values{"name": {t.at.name}, "version": {t.at.version}, "path": {file}}
	return t.client.openURL(ctx, t.client.endpoint("/model-versions/get-artifact", query))
}

// folder reads from an allowed folder of this machine. os.Root keeps links inside it.
type folder struct{ root, rel string }

func (f *folder) list(_ context.Context, dir string) ([]entry, error) {
	root, err := os.OpenRoot(f.root)
	if err != nil {
		return nil, err
	}
	defer root.Close() //nolint:errcheck // only read
	infos, err := fs.ReadDir(root.FS(), path.Join(filepath.ToSlash(f.rel), dir))
	if err != nil {
		return nil, err
	}
	entries := make([]entry, 0, len(infos))
	for _, i := range infos {
		info, err := root.Stat(filepath.Join(f.rel, filepath.FromSlash(dir), i.Name())) // follows links, as MLflow does
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry{name: i.Name(), dir: info.IsDir(), size: info.Size()})
	}
	return entries, nil
}

func (f *folder) open(_ context.Context, file string) (io.ReadCloser, int64, error) {
	root, err := os.OpenRoot(f.root)
	if err != nil {
		return nil, 0, err
	}
	defer root.Close() //nolint:errcheck // an opened file outlives its root
	// Without waiting: opening a pipe that nobody writes to would not return, whatever ctx says.
	opened, err := root.OpenFile(filepath.Join(f.rel, filepath.FromSlash(file)), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := opened.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, 0, errors.Join(fmt.Errorf("%w: %s is not a regular file", ErrBadArtifact, file), err, opened.Close())
	}
	return opened, info.Size(), nil
}
