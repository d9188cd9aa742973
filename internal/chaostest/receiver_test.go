package chaostest

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"serin/internal/notify"
)

// receiver is the webhook that people are told by.
type receiver struct {
	url string

	mu sync.Mutex // guards what follows
	// got counts the messages of each "rollout/event", keys the idempotency keys that they had.
	got  map[string]int
	keys map[string]map[string]bool
	// before is called once, before a message is answered.
	before func(notify.Message)
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{got: map[string]int{}, keys: map[string]map[string]bool{}}
	srv := httptest.NewServer(r)
	t.Cleanup(srv.Close)
	r.url = srv.URL + "/told"
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	var m notify.Message
	if err != nil || json.Unmarshal(body, &m) != nil || m.Rollout == "" || m.Event == "" {
		http.Error(w, "no message", http.StatusBadRequest) // cut off by a kill: it was not told
		return
	}
	name := m.Rollout + "/" + m.Event
	r.mu.Lock()
	r.got[name]++
	if r.keys[name] == nil {
		r.keys[name] = map[string]bool{}
	}
	r.keys[name][req.Header.Get("Idempotency-Key")] = true
	before := r.before
	r.before = nil
	r.mu.Unlock()
	if before != nil {
		before(m)
	}
}

// arm has f called with the next message, before it is answered; nil disarms.
func (r *receiver) arm(f func(notify.Message)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.before = f
}

// messages are how often each "rollout/event" came, and how many different keys it had.
func (r *receiver) messages() (got, keys map[string]int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	keys = map[string]int{}
	for name, set := range r.keys {
		keys[name] = len(set)
	}
	return maps.Clone(r.got), keys
}
