// Package faulty is a small model server whose faults can be switched on, for the stories of the demo. It must never fault by chance: which
// requests fail follows from their count alone.
package faulty

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"sync"
	"time"
)

// maxBody bounds a request.
const maxBody = 1 << 20

// Score answers a payload of /invocations: the bytes of {"predictions": [...]}. An error with a method Status() int is answered with it (a bad
// payload is a 400), any other with 500.
type Score func(ctx context.Context, contentType string, body []byte) ([]byte, error)

// Faults say what goes wrong. The zero value is a healthy server.
type Faults struct {
	// FailShare of the requests, 0 to 1, evenly spread, are answered with FailStatus (500 when 0) without scoring.
	FailShare  float64
	FailStatus int
	// DelayShare of the requests are answered after Delay.
	DelayShare float64
	Delay      time.Duration
}

// Options describe a model server. Version and Score must be given.
type Options struct {
	// Version is what /health says in model_version.
	Version string
	Score   Score
	Faults  Faults
}

// ModelServer is an http.Handler for POST /invocations, GET /health and GET /ping. It is safe for concurrent use.
type ModelServer struct {
	version string
	score   Score
	mux     *http.ServeMux

	mu     sync.Mutex // guards what follows
	faults Faults
	// since counts the requests under the present faults.
	since  int64
	counts Counts
}

// Counts are what the server did.
type Counts struct {
	Requests int64 `json:"requests"`
	Failed   int64 `json:"failed"`
	Delayed  int64 `json:"delayed"`
}

// NewModelServer makes a server; nothing listens yet.
func NewModelServer(o Options) (*ModelServer, error) {
	if o.Version == "" || o.Score == nil {
		return nil, errors.New("model server: a version and a scoring function are needed")
	}
	m := &ModelServer{version: o.Version, score: o.Score, mux: http.NewServeMux()}
	if err := m.SetFaults(o.Faults); err != nil {
		return nil, err
	}
	m.mux.HandleFunc("POST /invocations", m.invocations)
	m.mux.HandleFunc("GET /health", m.health)
	m.mux.HandleFunc("GET /ping", m.health)
	return m, nil
}

// SetFaults changes what goes wrong from the next request on; the counting for the shares begins anew.
func (m *ModelServer) SetFaults(f Faults) error {
	for _, share := range []float64{f.FailShare, f.DelayShare} {
		if math.IsNaN(share) || share < 0 || share > 1 {
			return fmt.Errorf("model server: a share of %v faulty requests: use 0 to 1", share)
		}
	}
	if f.FailStatus == 0 {
		f.FailStatus = http.StatusInternalServerError
	}
	if f.FailStatus < 400 || f.FailStatus > 599 || f.Delay < 0 {
		return fmt.Errorf("model server: status %d, delay %s: use a status from 400 to 599 and no negative delay", f.FailStatus, f.Delay)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults, m.since = f, 0
	return nil
}

// Counts gives what the server has done since it was made.
func (m *ModelServer) Counts() Counts {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.counts
}

// ServeHTTP answers one request.
func (m *ModelServer) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.mux.ServeHTTP(w, r) }

// Serve answers on the listener until ctx ends, and then lets requests in flight finish for up to 5 s.
func (m *ModelServer) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{Handler: m, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		stopped <- srv.Shutdown(grace)
	})
	err := srv.Serve(ln)
	if !stop() { // ctx has ended: Shutdown runs or has run
		err = <-stopped
	}
	if err != nil {
		return fmt.Errorf("model server of version %s: %w", m.version, err)
	}
	return nil
}

// next draws the faults of a request from its number: a share s is spread evenly, k requests have floor(k*s) faults.
func (m *ModelServer) next() (fail bool, f Faults, delay bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.since++
	f = m.faults
	fail, delay = falls(m.since, f.FailShare), f.Delay > 0 && falls(m.since, f.DelayShare)
	m.counts.Requests++
	if fail {
		m.counts.Failed++
	}
	if delay {
		m.counts.Delayed++
	}
	return fail, f, delay
}

// falls says whether the k-th request has the fault. The small addend makes 20 * 0.05 one.
func falls(k int64, share float64) bool {
	const noise = 1e-9
	return math.Floor(float64(k)*share+noise) > math.Floor(float64(k-1)*share+noise)
}

func (m *ModelServer) invocations(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		refuse(w, http.StatusRequestEntityTooLarge, fmt.Errorf("body of more than %d bytes, or cut off", maxBody))
		return
	}
	fail, faults, delay := m.next()
	if delay && !wait(r.Context(), faults.Delay) {
		return // nobody waits for the answer
	}
	if fail {
		refuse(w, faults.FailStatus, errors.New("this version fails on purpose"))
		return
	}
	answer, err := m.score(r.Context(), r.Header.Get("Content-Type"), body)
	if err != nil {
		status := http.StatusInternalServerError
		if known, ok := errors.AsType[statusError](err); ok {
			status = known.Status()
		}
		refuse(w, status, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(answer) // a client that has gone needs none
}

// statusError is an error that knows how it is answered.
type statusError interface {
	error
	Status() int
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (m *ModelServer) health(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"model_version": m.version})
}

// refuse answers as MLflow's model server does.
func refuse(w http.ResponseWriter, status int, err error) {
	code := "INTERNAL_ERROR"
	if status < 500 {
		code = "BAD_REQUEST"
	}
	writeJSON(w, status, map[string]string{"error_code": code, "message": err.Error()})
}

func writeJSON(w http.ResponseWriter, status int, value map[string]string) {
	data, _ := json.Marshal(value) // strings have a JSON form
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(data)
}
