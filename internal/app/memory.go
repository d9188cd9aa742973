package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"

	"serin/internal/model"
)

// memory is what a gateway knew when it last served, on the disk: so that it serves after its own restart though the server, the registry and
// the routing file are away. It is asked only when nothing better can be.
type memory struct {
	path string

	mu    sync.Mutex
	known recollection // guarded by mu
}

// recollection is the content of a memory.
type recollection struct {
	// Registry is where models were fetched from, RoutingFiles where each model's routing file was.
	Registry     string            `json:"registry,omitempty"`
	RoutingFiles map[string]string `json:"routing_files,omitempty"`
	// Champions are the versions that last served as champion.
	Champions map[string]model.Pin `json:"champions,omitempty"`
}

// openMemory reads what is remembered; a file that is not there is no memory.
func openMemory(path string) (*memory, error) {
	m := &memory{path: path}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &m.known)
	}
	if err != nil {
		return nil, fmt.Errorf("read what the gateway knew: %w: remove %s to go without", err, path)
	}
	return m, nil
}

// champion is the version of a model that last served as its champion.
func (m *memory) champion(name string) (model.Pin, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	pin, ok := m.known.Champions[name]
	return pin, ok
}

// serves remembers a champion. Remembering the same again writes nothing.
func (m *memory) serves(name string, pin model.Pin) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known.Champions[name] == pin {
		return nil
	}
	next := m.known
	next.Champions = maps.Clone(next.Champions)
	if next.Champions == nil {
		next.Champions = map[string]model.Pin{}
	}
	next.Champions[name] = pin
	return m.keep(next)
}

// places gives where the registry and the routing files were.
func (m *memory) places() (registry string, routingFiles map[string]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known.Registry, maps.Clone(m.known.RoutingFiles)
}

// setPlaces remembers where the registry and the routing files are.
func (m *memory) setPlaces(registry string, routingFiles map[string]string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known.Registry == registry && maps.Equal(m.known.RoutingFiles, routingFiles) {
		return nil
	}
	next := m.known
	next.Registry, next.RoutingFiles = registry, maps.Clone(routingFiles)
	return m.keep(next)
}

// keep puts a recollection on the disk and then in force; mu is held. Several gateways may share a folder: each file is whole.
func (m *memory) keep(next recollection) error {
	b, err := json.MarshalIndent(next, "", "  ")
	if err == nil {
		err = replaceFile(m.path, append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("remember what the gateway serves: %w", err)
	}
	m.known = next
	return nil
}

// replaceFile puts a whole new file in the old one's place in one step, for its owner's eyes.
func replaceFile(path string, content []byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".tmp-*")
	if err != nil {
		return err
	}
	_, err = temp.Write(content)
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return nil
}
