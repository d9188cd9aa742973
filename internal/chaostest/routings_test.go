package chaostest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"serin/internal/traffic"
)

// look is how often files and the registry are looked at for a moment to kill in.
const look = time.Millisecond

// routings follows the routing files as a service that reads them would: each must be whole at any moment, and its generation never goes back.
type routings struct {
	mu   sync.Mutex // guards what follows
	last map[string]traffic.Document
	// all are the documents of each model in the order in which they were seen.
	all    map[string][]traffic.Document
	faults []string
	// wrote is called once, when a generation has risen.
	wrote func(name string, doc traffic.Document)
}

func newRoutings() *routings {
	return &routings{last: map[string]traffic.Document{}, all: map[string][]traffic.Document{}}
}

// follow reads the routing files until the test ends.
func (w *world) follow() *routings {
	w.t.Helper()
	r := newRoutings()
	stop, stopped := make(chan struct{}), make(chan struct{})
	w.t.Cleanup(func() { close(stop); <-stopped })
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(look)
		defer ticker.Stop()
		seen := map[string]os.FileInfo{}
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
			for _, name := range w.models {
				r.once(w.routing(name), name, seen)
			}
		}
	}()
	return r
}

// once reads a file that is not the one of the last look: writers rename, so a new document is a new file.
func (r *routings) once(path, name string, seen map[string]os.FileInfo) {
	info, err := os.Stat(path)
	if err == nil && seen[name] != nil && os.SameFile(info, seen[name]) && info.ModTime().Equal(seen[name].ModTime()) {
		return
	}
	if errors.Is(err, fs.ErrNotExist) && seen[name] == nil {
		return
	}
	data, readErr := os.ReadFile(path)
	doc, parseErr := traffic.ParseDocument(data)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := errors.Join(err, readErr, parseErr); err != nil {
		r.faults = append(r.faults, fmt.Sprintf("%s: %v", name, err))
		return
	}
	seen[name] = info
	before := r.last[name]
	r.last[name], r.all[name] = doc, append(r.all[name], doc)
	switch {
	case doc.Generation() < before.Generation():
		r.faults = append(r.faults, fmt.Sprintf("%s: generation went back from %d to %d", name, before.Generation(), doc.Generation()))
	case doc.Generation() > before.Generation() && r.wrote != nil:
		wrote := r.wrote
		r.wrote = nil
		wrote(name, doc)
	}
}

// now is the document of the last look.
func (r *routings) now(name string) traffic.Document {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last[name]
}

// disabledAt is the first generation that took a canary away, 0 when none did.
func (r *routings) disabledAt(name string) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	had := false
	for _, doc := range r.all[name] {
		if had && !doc.CanaryEnabled {
			return doc.Generation()
		}
		had = had || doc.CanaryEnabled
	}
	return 0
}

// enabledAfter is the first document after a generation that has a canary, nil when there is none.
func (r *routings) enabledAfter(name string, generation int64) *traffic.Document {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, doc := range r.all[name] {
		if doc.Generation() > generation && doc.CanaryEnabled {
			return &doc
		}
	}
	return nil
}

// arm has f called at the next write; nil disarms.
func (r *routings) arm(f func(name string, doc traffic.Document)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrote = f
}

// check wants that no look ever saw a broken file or an older generation.
func (r *routings) check(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, fault := range slices.Compact(slices.Clone(r.faults)) {
		t.Error(fault)
	}
}

func TestRoutings_SeesWhatMustNotBe(t *testing.T) {
	t.Parallel()
	doc := func(generation int) string {
		return fmt.Sprintf(`{"canary_enabled":false,"canary_traffic_pct":0,"canary_model_uri":"","champion_traffic_pct":100,
"production_model_uri":"models:/m/Production","serin":{"generation":%d,"writer":"w","salt":"s","champion":{"version":"1"}}}`, generation)
	}
	tests := []struct {
		name  string
		files []string
		want  int
	}{
		{"generations rise", []string{doc(1), doc(2), doc(5)}, 0},
		{"the same again", []string{doc(2), doc(2)}, 0},
		{"one goes back", []string{doc(3), doc(2)}, 1},
		{"half a file", []string{doc(3), doc(4)[:40]}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := t.TempDir() + "/m.json"
			r, seen, calls := newRoutings(), map[string]os.FileInfo{}, 0
			for _, text := range tt.files {
				r.arm(func(string, traffic.Document) { calls++ })
				if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path)); err != nil {
					t.Fatal(err)
				}
				r.once(path, "m", seen)
			}
			if len(r.faults) != tt.want {
				t.Errorf("faults %q, want %d", r.faults, tt.want)
			}
			if calls == 0 {
				t.Error("a write was not told")
			}
		})
	}
}
