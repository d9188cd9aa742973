package api

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"

	"serin/internal/rollout"
	"serin/internal/store"
)

// maxBody is the largest request body that is read.
const maxBody = 1 << 20

// Operator carries out what needs more than the row: a registry, a plan file, a routing file. It is built by the app.
// Errors wrap ErrInvalid, ErrConflict or ErrNotFound where the caller can do something about it.
type Operator interface {
	Start(ctx context.Context, actor string, r StartRequest) (rollout.State, error)
	Undo(ctx context.Context, actor, name string, r UndoRequest) (rollout.State, error)
	Perform(ctx context.Context, actor, id, task string, r TaskRequest) (TaskAnswer, error)
}

// Safety carries out what must work on bad days.
type Safety interface {
	Rollback(ctx context.Context, actor, name string, r RollbackRequest) (RollbackAnswer, error)
	Unblock(ctx context.Context, actor, name string, r UnblockRequest) error
}

// Models knows the models that are served or configured.
type Models interface {
	Models(ctx context.Context) ([]Model, error)
	// Routing gives the model's routing document as it stands in its file, and its generation.
	Routing(ctx context.Context, name string) (document []byte, generation int64, err error)
}

// Signaller hands a person's word to a rollout.
type Signaller interface {
	Signal(ctx context.Context, id string, sig rollout.Signal) error
}

// The errors that the API tells apart. Errors of other kinds are answered with 500.
var (
	ErrInvalid  = errors.New("not valid")
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("conflict")
)

// Options are what a handler works on.
type Options struct {
	Store    *store.DB
	Engine   Signaller
	Operator Operator
	Safety   Safety
	Models   Models
	Version  string
	Logger   *slog.Logger
}

// Server answers the API.
type Server struct {
	Options
	mux *http.ServeMux
}

// New checks the options and makes the routes.
func New(o Options) (*Server, error) {
	if o.Store == nil || o.Engine == nil || o.Operator == nil || o.Safety == nil || o.Models == nil || o.Logger == nil {
		return nil, errors.New("the API needs a store, an engine, an operator, safety, models and a logger")
	}
	s := &Server{Options: o, mux: http.NewServeMux()}
	for pattern, handle := range map[string]func(*http.Request) (any, error){
		"GET /api/v1/health":                          s.health,
		"GET /api/v1/models":                          s.models,
		"POST /api/v1/models/{model}/undo":            s.undo,
		"POST /api/v1/models/{model}/rollback":        s.rollback,
		"POST /api/v1/models/{model}/unblock":         s.unblock,
		"GET /api/v1/models/{model}/samples":          s.samples,
		"GET /api/v1/models/{model}/history":          s.modelHistory,
		"POST /api/v1/rollouts":                       s.start,
		"GET /api/v1/rollouts":                        s.list,
		"GET /api/v1/rollouts/{id}":                   s.get,
		"GET /api/v1/rollouts/{id}/state":             s.state,
		"GET /api/v1/rollouts/{id}/logs":              s.logs,
		"GET /api/v1/rollouts/{id}/history":           s.history,
		"GET /api/v1/rollouts/{id}/graph":             s.graph,
		"POST /api/v1/rollouts/{id}/actions/{action}": s.action,
		"POST /api/v1/rollouts/{id}/tasks/{task}":     s.perform,
	} {
		s.mux.HandleFunc(pattern, s.answer(handle))
	}
	s.mux.HandleFunc("GET /api/v1/models/{model}/routing", s.routing)
	s.mux.HandleFunc("GET /api/v1/rollouts/{id}/wait", s.wait)
	s.mux.HandleFunc("/", s.unknown)
	return s, nil
}

// ServeHTTP answers one request. There are no tokens yet, so only loopback names are answered and no page of another origin may call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch origin := r.Header.Get("Origin"); {
	case !loopback(r.Host):
		s.fail(w, http.StatusForbidden, "forbidden", fmt.Sprintf("host %q is not a loopback name: until there are tokens the API answers on loopback only", r.Host))
		return
	case origin != "" && !sameOrigin(r):
		s.fail(w, http.StatusForbidden, "forbidden", fmt.Sprintf("a page of %q may not call this API: open the page that this server serves", origin))
		return
	case len(r.Header.Get(actorHeader)) > maxActor:
		s.fail(w, http.StatusBadRequest, "invalid", fmt.Sprintf("header %s has more than %d bytes: give a name", actorHeader, maxActor))
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	s.mux.ServeHTTP(w, r)
}

func loopback(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.Trim(name, "[]")
	if strings.EqualFold(name, "localhost") || name == "" {
		return true
	}
	ip := net.ParseIP(name)
	return ip != nil && ip.IsLoopback()
}

func sameOrigin(r *http.Request) bool {
	_, host, ok := strings.Cut(r.Header.Get("Origin"), "://")
	return ok && host == r.Host
}

// unknown answers what no route takes: a path that there is none of, or one that another method is for.
func (s *Server) unknown(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := s.mux.Handler(other); pattern != "/" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		s.fail(w, http.StatusMethodNotAllowed, "method_not_allowed", fmt.Sprintf("%s %s: use %s", r.Method, r.URL.Path, strings.Join(allowed, " or ")))
		return
	}
	s.fail(w, http.StatusNotFound, "no_such_endpoint", fmt.Sprintf("%s %s: no such endpoint", r.Method, r.URL.Path))
}

// answer turns a handler's value or error into the reply.
func (s *Server) answer(handle func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := handle(r)
		if err != nil {
			s.failed(w, r, err)
			return
		}
		s.reply(w, http.StatusOK, v)
	}
}

func (s *Server) reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.Logger.Warn("an answer was not sent whole", "err", err)
	}
}

func (s *Server) fail(w http.ResponseWriter, status int, code, message string) {
	s.reply(w, status, Error{Code: code, Message: strings.Join(strings.Fields(message), " ")}) // an error is one line
}

// failed is the one mapping from errors to status codes.
func (s *Server) failed(w http.ResponseWriter, r *http.Request, err error) {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, store.ErrNotFound):
		s.fail(w, http.StatusNotFound, "not_found", err.Error())
	case errors.Is(err, rollout.ErrIllegal), errors.Is(err, ErrConflict):
		s.fail(w, http.StatusConflict, "conflict", err.Error())
	case errors.As(err, &tooLarge):
		s.fail(w, http.StatusRequestEntityTooLarge, "too_large", fmt.Sprintf("the request body is larger than %d bytes", maxBody))
	case errors.Is(err, ErrInvalid):
		s.fail(w, http.StatusBadRequest, "invalid", err.Error())
	case errors.Is(err, context.Canceled):
		s.fail(w, http.StatusServiceUnavailable, "stopping", "the server is stopping: try again")
	default:
		s.Logger.Error("an API call was not carried out", "method", r.Method, "path", r.URL.Path, "err", err)
		s.fail(w, http.StatusInternalServerError, "internal", err.Error())
	}
}

// actorHeader carries who calls; maxActor bounds what the history keeps of it.
const (
	actorHeader = "X-Serin-Actor"
	maxActor    = 200
)

// actor is who calls. Without tokens it is what the command says, which loopback callers are trusted to say truly.
func actor(r *http.Request) string {
	if a := strings.TrimSpace(r.Header.Get(actorHeader)); a != "" {
		return a
	}
	return "api"
}

// decode reads the one JSON object in a request's body. A key that the request does not have is refused: it was meant to do something.
func decode(r *http.Request, v any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(v)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, io.EOF):
		err = errors.New("it is empty: send a JSON object")
	case err == nil:
		var rest json.RawMessage
		if err = d.Decode(&rest); errors.Is(err, io.EOF) {
			return nil
		}
		if !errors.As(err, &tooLarge) {
			err = errors.New("something follows the JSON object: send one")
		}
	}
	if errors.As(err, &tooLarge) {
		return err
	}
	return fmt.Errorf("request body: %w: %w", ErrInvalid, err)
}

func (s *Server) health(*http.Request) (any, error) {
	return Health{Status: "ok", Version: s.Version, PID: os.Getpid()}, nil
}

func (s *Server) models(r *http.Request) (any, error) {
	models, err := s.Models.Models(r.Context())
	if models == nil {
		models = []Model{}
	}
	return models, err
}

// routing serves the routing document for readers on other hosts. The ETag is its generation and a digest of what stands in it: another writer
// changes the document and leaves the generation.
func (s *Server) routing(w http.ResponseWriter, r *http.Request) {
	document, generation, err := s.Models.Routing(r.Context(), r.PathValue("model"))
	if err != nil {
		s.failed(w, r, err)
		return
	}
	digest := sha256.Sum256(document)
	tag := fmt.Sprintf(`"%d-%x"`, generation, digest[:8])
	w.Header().Set("ETag", tag)
	w.Header().Set("Cache-Control", "no-cache")
	if knows(r.Header.Get("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if _, err := w.Write(document); err != nil { //nolint:gosec // G705: JSON of ours, sent as JSON
		s.Logger.Warn("an answer was not sent whole", "err", err)
	}
}

// knows says whether one of the tags in an If-None-Match header is the tag.
func knows(header, tag string) bool {
	for _, one := range strings.Split(header, ",") {
		if strings.TrimPrefix(strings.TrimSpace(one), "W/") == tag {
			return true
		}
	}
	return false
}
