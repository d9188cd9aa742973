// Package registry serves MLflow's model registry API on Serin's own store, so that a newcomer needs no MLflow server and the client has one code path.
// It never tracks experiments, never loads a model, and never changes files that a version points at.
package registry

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"serin/internal/store"
)

// Store is where models, versions, tags, aliases and the records of artifacts are kept. An error of fn comes back wrapped or as it is, and then
// nothing was written; Update runs one fn at a time, which is what makes a transition atomic.
type Store interface {
	View(ctx context.Context, fn func(*store.Tx) error) error
	Update(ctx context.Context, fn func(*store.Tx) error) error
}

// Options configures a Server. Store and ArtifactRoot are required.
type Options struct {
	Store Store
	// ArtifactRoot is a folder for the bytes of uploaded files. It belongs to the server.
	ArtifactRoot string
	// AllowedHosts are further names under which the server may be called: "mlflow", "mlflow:5000", "*.internal" or "*".
	// Loopback and private addresses always may, as in MLflow.
	AllowedHosts []string
	// MaxArtifact bounds one uploaded file in bytes; 0 means 8 GiB.
	MaxArtifact int64
	// Actor names who sends a request, for the events; nil means "anonymous". Authentication is the caller's, in front of this handler.
	Actor func(*http.Request) string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Logger is told of unknown calls and of errors that are ours; nil means silence.
	Logger *slog.Logger
}

// Server is an http.Handler for /api/2.0/mlflow, /api/2.0/mlflow-artifacts, their /ajax-api twins, /health, /version and /model-versions/get-artifact.
type Server struct {
	opts   Options
	log    *slog.Logger
	routes map[string]http.HandlerFunc // "METHOD /path"
	origin *http.CrossOriginProtection
}

const (
	mlflowAPI    = "/api/2.0/mlflow/"
	artifactsAPI = "/api/2.0/mlflow-artifacts/artifacts"
	// version is MLflow's release whose API is served, with a local part so that nobody takes it for that release.
	version = "3.18.0+serin"
)

// New checks the options and returns a server. The caller closes the store.
func New(o Options) (*Server, error) {
	if o.Store == nil {
		return nil, fmt.Errorf("registry server without a store: set Options.Store")
	}
	if !filepath.IsAbs(o.ArtifactRoot) {
		return nil, fmt.Errorf("artifact root %q: give an absolute folder", o.ArtifactRoot)
	}
	if o.MaxArtifact <= 0 {
		o.MaxArtifact = 8 << 30
	}
	if o.Actor == nil {
		o.Actor = func(*http.Request) string { return "anonymous" }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{opts: o, log: o.Logger, origin: http.NewCrossOriginProtection()}
	s.routes = s.table()
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if rest, ok := strings.CutPrefix(path, "/ajax-api/"); ok {
		path = "/api/" + rest
	}
	switch path {
	case "/health":
		writeText(w, http.StatusOK, "OK")
		return
	case "/version":
		writeText(w, http.StatusOK, version)
		return
	}
	if !s.hostAllowed(r.Host) {
		writeText(w, http.StatusForbidden, "Invalid Host header - possible DNS rebinding attack detected")
		return
	}
	if err := s.origin.Check(r); err != nil {
		writeText(w, http.StatusForbidden, "Cross-origin request blocked")
		return
	}
	if handler, ok := s.routes[r.Method+" "+path]; ok {
		handler(w, r)
		return
	}
	if file, ok := strings.CutPrefix(path, artifactsAPI+"/"); ok && s.artifactMethod(w, r, file) {
		return
	}
	s.log.WarnContext(r.Context(), "registry call is not in this version", "method", r.Method, "path", path, "user_agent", r.UserAgent())
	writeError(w, &apiError{
		status: http.StatusNotFound, code: codeNoEndpoint,
		message: fmt.Sprintf("%s %s is not in this version of serin's registry; set MLFLOW_TRACKING_URI to an MLflow server for it", r.Method, path),
	})
}

func (s *Server) artifactMethod(w http.ResponseWriter, r *http.Request, file string) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		s.getArtifact(w, r, file)
	case http.MethodPut:
		s.putArtifact(w, r, file)
	default:
		return false
	}
	return true
}

// table lists every call that is served. Source: mlflow.md 2.4.
func (s *Server) table() map[string]http.HandlerFunc {
	t := map[string]http.HandlerFunc{
		"GET /api/3.0/mlflow/server-info":   s.serverInfo,
		"GET " + artifactsAPI:               s.listArtifacts,
		"GET /model-versions/get-artifact":  s.getVersionArtifact,
		"HEAD /model-versions/get-artifact": s.getVersionArtifact,
	}
	for route, handler := range map[string]http.HandlerFunc{
		"POST registered-models/create":              handle(s, s.createModel),
		"GET registered-models/get":                  handle(s, s.getModel),
		"GET registered-models/search":               handle(s, s.searchModels),
		"POST registered-models/rename":              handle(s, s.renameModel),
		"PATCH registered-models/update":             handle(s, s.updateModel),
		"DELETE registered-models/delete":            handle(s, s.deleteModel),
		"POST registered-models/get-latest-versions": handle(s, s.latestVersions),
		"GET registered-models/get-latest-versions":  handle(s, s.latestVersions),
		"POST registered-models/set-tag":             handle(s, s.setModelTag),
		"DELETE registered-models/delete-tag":        handle(s, s.deleteModelTag),
		"POST registered-models/alias":               handle(s, s.setAlias),
		"GET registered-models/alias":                handle(s, s.getByAlias),
		"DELETE registered-models/alias":             handle(s, s.deleteAlias),
		"POST model-versions/create":                 handle(s, s.createVersion),
		"GET model-versions/get":                     handle(s, s.getVersion),
		"GET model-versions/search":                  handle(s, s.searchVersions),
		"PATCH model-versions/update":                handle(s, s.updateVersion),
		"DELETE model-versions/delete":               handle(s, s.deleteVersion),
		"POST model-versions/transition-stage":       handle(s, s.transition),
		"GET model-versions/get-download-uri":        handle(s, s.downloadURI),
		"POST model-versions/set-tag":                handle(s, s.setVersionTag),
		"DELETE model-versions/delete-tag":           handle(s, s.deleteVersionTag),
	} {
		method, path, _ := strings.Cut(route, " ")
		t[method+" "+mlflowAPI+path] = handler
	}
	return t
}

func (s *Server) serverInfo(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{
		"store_type": "SqlStore", "workspaces_enabled": false, "artifact_serving_enabled": true,
		"multipart_uploads_enabled": false, "multipart_downloads_enabled": false, "artifacts_presigned_only": false,
	})
}

// hostAllowed is MLflow's guard against DNS rebinding: a browser that was lured to a foreign name which resolves to us sends that name.
func (s *Server) hostAllowed(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if host == "localhost" {
		return true
	}
	if addr, err := netip.ParseAddr(host); err == nil && (addr.IsLoopback() || addr.IsPrivate() || addr.IsUnspecified()) {
		return true
	}
	for _, allowed := range s.opts.AllowedHosts {
		suffix, wild := strings.CutPrefix(allowed, "*")
		switch {
		case allowed == "*", strings.EqualFold(allowed, host), strings.EqualFold(allowed, hostport):
			return true
		case wild && suffix != "" && len(host) > len(suffix) && strings.EqualFold(host[len(host)-len(suffix):], suffix):
			return true
		}
	}
	return false
}
