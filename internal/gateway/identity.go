package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Identity says where a model server tells which version it has loaded: a path, and the field of the JSON object there (a.b for a field
// in a field).
type Identity struct{ Path, Field string }

// Errors of CheckIdentity that a caller branches on.
var (
	// ErrIdentity says that the server has loaded another version than the one wanted.
	ErrIdentity = errors.New("the model server has another version")
	// ErrNoIdentity says that the backend does not tell its version, so that it stays unverified.
	ErrNoIdentity = errors.New("the model server does not tell its version: configure identity {path, field}")
)

// maxIdentity bounds what is read of an identity or health answer.
const maxIdentity = 64 << 10

// CheckIdentity asks the model server which version it has loaded. ErrIdentity: another one. ErrNoIdentity: none is configured. Every
// other error may pass; try again.
func (u *URL) CheckIdentity(ctx context.Context, want string) error {
	if u.opts.Identity.Path == "" || u.opts.Identity.Field == "" {
		return ErrNoIdentity
	}
	data, err := u.get(ctx, u.opts.Identity.Path)
	if err != nil {
		return fmt.Errorf("identity of %s: %w", u.base, err)
	}
	got, err := fieldText(data, u.opts.Identity.Field)
	if err != nil {
		return fmt.Errorf("identity of %s%s: %w", u.base, u.opts.Identity.Path, err)
	}
	if got != want {
		return fmt.Errorf("%w: %s says %s, want %s", ErrIdentity, u.base, got, want)
	}
	return nil
}

// Check says whether the model server answers its health path with 200.
func (u *URL) Check(ctx context.Context) error {
	if _, err := u.get(ctx, u.opts.HealthPath); err != nil {
		return fmt.Errorf("health of %s: %w", u.base, err)
	}
	return nil
}

// get reads a small answer with status 200.
func (u *URL) get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.base.String()+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := u.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers with status %d", path, resp.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxIdentity+1))
	if err == nil && len(data) > maxIdentity {
		err = fmt.Errorf("%s answers with more than %d bytes", path, maxIdentity)
	}
	return data, err
}

// fieldText gives a text or number of a JSON object as text.
func fieldText(data []byte, field string) (string, error) {
	raw := json.RawMessage(data)
	for name := range strings.SplitSeq(field, ".") {
		var object map[string]json.RawMessage
		if err := json.Unmarshal(raw, &object); err != nil {
			return "", fmt.Errorf("no JSON object to find %s in: %w", field, err)
		}
		var ok bool
		if raw, ok = object[name]; !ok {
			return "", fmt.Errorf("no field %s in the answer: configure identity.field", field)
		}
	}
	var v any
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return "", fmt.Errorf("field %s: %w", field, err)
	}
	switch v := v.(type) {
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	default:
		return "", fmt.Errorf("field %s is neither text nor number", field)
	}
}

// healthAge is how long an answer about a backend's health holds: load balancers ask often.
const healthAge = time.Second

// health remembers the last answer. The lock is held while the backend is asked, so that many askers make one question.
type health struct {
	mu  sync.Mutex
	at  time.Time
	err error
}

func (h *holder) check(ctx context.Context) error {
	c, ok := h.backend.(interface {
		Check(ctx context.Context) error
	})
	if !ok {
		return nil // it scores in this process, or has no way to ask
	}
	h.health.mu.Lock()
	defer h.health.mu.Unlock()
	if !h.health.at.IsZero() && time.Since(h.health.at) < healthAge {
		return h.health.err
	}
	h.health.err, h.health.at = c.Check(ctx), time.Now()
	return h.health.err
}

// Health says of each served model whether its champion answers; a nil error means that it does.
func (g *Gateway) Health(ctx context.Context) map[string]error {
	out := map[string]error{}
	for name, s := range *g.slots.Load() {
		r := s.acquire()
		if r == nil {
			continue
		}
		if r.champion == nil {
			out[name] = errors.New("no champion that can answer")
		} else {
			out[name] = r.champion.check(ctx)
		}
		g.release(r)
	}
	return out
}
