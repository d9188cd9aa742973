package registry

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"serin/internal/model"
	"serin/internal/store"
)

// MLflow's error codes that this server sends. The status belongs to the code. Source: mlflow/exceptions.py.
const (
	codeInvalid    = "INVALID_PARAMETER_VALUE"
	codeExists     = "RESOURCE_ALREADY_EXISTS"
	codeNotFound   = "RESOURCE_DOES_NOT_EXIST"
	codeNoEndpoint = "ENDPOINT_NOT_FOUND"
	codeConflict   = "RESOURCE_CONFLICT"
	codeTooLarge   = "REQUEST_LIMIT_EXCEEDED"
	codeNotHere    = "NOT_IMPLEMENTED"
	codeInternal   = "INTERNAL_ERROR"
)

// apiError is an answer that is not success.
type apiError struct {
	status        int
	code, message string
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

func invalid(format string, args ...any) error {
	return &apiError{status: http.StatusBadRequest, code: codeInvalid, message: fmt.Sprintf(format, args...)}
}

func missing(param string) error {
	return invalid("Missing value for required parameter '%s'. See the API docs for more information about request parameters.", param)
}

func noModel(name string) error {
	return &apiError{status: http.StatusNotFound, code: codeNotFound, message: fmt.Sprintf("Registered Model with name=%s not found", name)}
}

func noVersion(name string, version int64) error {
	return &apiError{status: http.StatusNotFound, code: codeNotFound, message: fmt.Sprintf("Model Version (name=%s, version=%d) not found", name, version)}
}

func modelExists(name string) error {
	return &apiError{status: http.StatusBadRequest, code: codeExists, message: fmt.Sprintf("Registered Model (name=%s) already exists.", name)}
}

const maxJSON = 1 << 20

// handle makes a handler of a function from an actor and a request message to a response message.
func handle[T any](s *Server, fn func(ctx context.Context, actor string, in T) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in T
		err := decode(w, r, &in)
		var out any
		if err == nil {
			out, err = fn(r.Context(), s.opts.Actor(r), in)
		}
		if err != nil {
			s.fail(w, r, err)
			return
		}
		writeJSON(w, http.StatusOK, out)
	}
}

// fail answers an error. What is not an apiError is ours: it is logged, and its text stays here.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var answer *apiError
	if !errors.As(err, &answer) {
		if r.Context().Err() == nil {
			s.log.ErrorContext(r.Context(), "registry call failed", "method", r.Method, "path", r.URL.Path, "err", err)
		}
		answer = &apiError{status: http.StatusInternalServerError, code: codeInternal, message: "internal error; the server's log says more"}
	}
	writeError(w, answer)
}

// decode reads the message of a request: the query of a GET, else the JSON body. DELETE has a body too: MLflow refuses its parameters in the query.
func decode(w http.ResponseWriter, r *http.Request, into any) error {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		text, err := queryJSON(r.URL.Query())
		if err != nil {
			return err
		}
		return unmarshal(text, into)
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxJSON))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return &apiError{status: http.StatusRequestEntityTooLarge, code: codeTooLarge, message: fmt.Sprintf("the body has more than %d bytes", maxJSON)}
	}
	if err != nil {
		return invalid("the body could not be read")
	}
	if len(bytes.TrimSpace(text)) == 0 {
		text = []byte("{}")
	}
	return unmarshal(text, into)
}

func unmarshal(text []byte, into any) error {
	if err := json.Unmarshal(text, into); err != nil {
		return invalid("Malformed request: %s", err)
	}
	return nil
}

// queryJSON makes a message of a query: a repeated field repeats its key.
func queryJSON(q url.Values) ([]byte, error) {
	message := make(map[string]any, len(q))
	for key, values := range q {
		if key == "stages" || key == "order_by" {
			message[key] = values
			continue
		}
		message[key] = values[len(values)-1]
	}
	return json.Marshal(message)
}

// text is a JSON string; clients also send numbers and booleans where the protocol wants a string.
type text string

// UnmarshalJSON takes a string, a number or a boolean; null is the empty text.
func (t *text) UnmarshalJSON(b []byte) error {
	var v any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return err
	}
	switch v := v.(type) {
	case nil:
		*t = ""
	case string:
		*t = text(v)
	case json.Number:
		*t = text(v)
	case bool:
		*t = text(strconv.FormatBool(v))
	default:
		return fmt.Errorf("want a string, have %.40s", b)
	}
	return nil
}

// flag is a JSON boolean, or "true" and "false" from a query.
func (t text) flag(param string) (bool, error) {
	switch t {
	case "true":
		return true, nil
	case "", "false":
		return false, nil
	}
	return false, invalid("Invalid value %q for parameter '%s': a boolean is true or false.", string(t), param)
}

func (t text) version() (int64, error) {
	if t == "" {
		return 0, missing("version")
	}
	n, err := strconv.ParseInt(string(t), 10, 32)
	if err != nil {
		return 0, invalid("Invalid value '%s' for parameter 'version' supplied: must be an integer.", t)
	}
	return n, nil
}

// tag is one entry of a list of tags.
type tag struct {
	Key   text `json:"key"`
	Value text `json:"value"`
}

// The objects as the real server prints them: empty lists are left out, run_id and run_link may be empty but are there. Source: mlflow.md 2.3.

type tagOut struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

type aliasOut struct {
	Alias   string `json:"alias"`
	Version string `json:"version"`
}

type versionOut struct {
	Name          string   `json:"name"`
	Version       string   `json:"version"`
	Created       int64    `json:"creation_timestamp"`
	Updated       int64    `json:"last_updated_timestamp"`
	Stage         string   `json:"current_stage"`
	Description   string   `json:"description"`
	Source        string   `json:"source"`
	RunID         string   `json:"run_id"`
	Status        string   `json:"status"`
	StatusMessage string   `json:"status_message,omitempty"`
	Tags          []tagOut `json:"tags,omitempty"`
	RunLink       string   `json:"run_link"`
	Aliases       []string `json:"aliases,omitempty"`
}

type modelOut struct {
	Name           string       `json:"name"`
	Created        int64        `json:"creation_timestamp"`
	Updated        int64        `json:"last_updated_timestamp"`
	Description    string       `json:"description,omitempty"`
	LatestVersions []versionOut `json:"latest_versions,omitempty"`
	Tags           []tagOut     `json:"tags,omitempty"`
	Aliases        []aliasOut   `json:"aliases,omitempty"`
}

func outVersion(v store.ModelVersion) versionOut {
	return versionOut{
		Name: v.Name, Version: strconv.FormatInt(v.Version, 10), Created: v.CreatedAt.UnixMilli(), Updated: v.UpdatedAt.UnixMilli(),
		Stage: string(v.Stage), Description: v.Description, Source: v.Source, RunID: v.RunID, Status: v.Status, StatusMessage: v.StatusMessage,
		Tags: outTags(v.Tags), RunLink: v.RunLink, Aliases: v.Aliases,
	}
}

// outModel prints a model; versions are all its versions, newest first.
func outModel(m store.RegisteredModel, versions []store.ModelVersion) modelOut {
	out := modelOut{Name: m.Name, Created: m.CreatedAt.UnixMilli(), Updated: m.UpdatedAt.UnixMilli(), Description: m.Description, Tags: outTags(m.Tags)}
	for _, v := range latest(versions) {
		v.Aliases = nil // the model has them
		out.LatestVersions = append(out.LatestVersions, outVersion(v))
	}
	for alias, number := range m.Aliases {
		out.Aliases = append(out.Aliases, aliasOut{Alias: alias, Version: strconv.FormatInt(number, 10)})
	}
	slices.SortFunc(out.Aliases, func(a, b aliasOut) int { return cmp.Compare(a.Alias, b.Alias) })
	return out
}

// latest keeps the newest version of each stage, in the order of version numbers. versions are newest first.
func latest(versions []store.ModelVersion) []store.ModelVersion {
	seen := map[model.Stage]bool{}
	var out []store.ModelVersion
	for _, v := range versions {
		if !seen[v.Stage] {
			seen[v.Stage] = true
			out = append(out, v)
		}
	}
	slices.Reverse(out)
	return out
}

func outTags(tags map[string]string) []tagOut {
	out := make([]tagOut, 0, len(tags))
	for k, v := range tags {
		out = append(out, tagOut{Key: k, Value: v})
	}
	slices.SortFunc(out, func(a, b tagOut) int { return cmp.Compare(a.Key, b.Key) })
	return out
}

func writeText(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) // a client that went away needs no answer
}

func writeError(w http.ResponseWriter, e *apiError) {
	writeJSON(w, e.status, map[string]string{"error_code": e.code, "message": e.message})
}

// writeJSON encodes first, so that an answer is whole or a 500.
func writeJSON(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		status = http.StatusInternalServerError
		b.Reset()
		b.WriteString(`{"error_code":"INTERNAL_ERROR","message":"the answer cannot be encoded"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}
