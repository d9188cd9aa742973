package routingfile

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"serin/internal/traffic"
)

// watched collects what a Watch reports.
type watched struct {
	mu     sync.Mutex
	docs   []traffic.Document
	states []error
}

func (w *watched) changed(d traffic.Document) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.docs = append(w.docs, d)
}

func (w *watched) state(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.states = append(w.states, err)
}

// last gives the weight reported last, -1 before the first, and how many documents were reported.
func (w *watched) last() (float64, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.docs) == 0 {
		return -1, 0
	}
	return w.docs[len(w.docs)-1].WeightPct(), len(w.docs)
}

// watch starts a Watch that looks every millisecond and ends with the test.
func watch(t *testing.T, path string) (*File, *watched) {
	t.Helper()
	w := &watched{}
	f, err := New(Options{Path: path, OnState: w.state})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Watch(ctx, time.Millisecond, w.changed) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return f, w
}

// until waits for a condition that the watcher brings about.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline.C:
			t.Fatalf("waited 20 s for: %s", what)
		case <-tick.C:
		}
	}
}

func TestWatchMissingThenWrittenThenBroken(t *testing.T) {
	t.Parallel()
	writer := newFile(t, "")
	f, w := watch(t, writer.path)
	until(t, "the missing file to be reported", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.states) == 1 && errors.Is(w.states[0], fs.ErrNotExist)
	})
	set(t, writer, 5)
	until(t, "5 %", func() bool { pct, _ := w.last(); return pct == 5 })
	write(t, writer.path, `{"canary_enabled"`)
	until(t, "the broken file to be reported", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return errors.Is(w.states[len(w.states)-1], ErrBroken)
	})
	if err := os.Remove(writer.path); err != nil {
		t.Fatal(err)
	}
	rejected := f.Stats().Rejected
	until(t, "looks at the deleted file", func() bool { return f.Stats().Rejected > rejected+3 })
	if pct, n := w.last(); pct != 5 || n != 1 {
		t.Errorf("a broken and a deleted file moved the weight to %v (%d changes)", pct, n)
	}
	set(t, writer, 0)
	until(t, "0 %", func() bool { pct, _ := w.last(); return pct == 0 })
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.states[len(w.states)-1] != nil {
		t.Errorf("the last state is %v", w.states[len(w.states)-1])
	}
}

// shapes are documents of very different length, so that one written over another in place leaves all kinds of mixtures.
func shapes(t *testing.T) [3]string {
	t.Helper()
	f := newFile(t, "")
	var out [3]string
	for i, pct := range []float64{5, 25, 0} {
		set(t, f, pct)
		out[i] = read(t, f.path)
	}
	out[2] = strings.Replace(foreign, "team-a", strings.Repeat("a", 2000), 1)
	return out
}

// The six ways in which others write the file. Each leaves the document in place when it returns.
func writeInHalves(t *testing.T, path, content string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	half := len(content) / 2
	_, err = file.WriteString(content[:half])
	if err == nil {
		_, err = file.WriteString(content[half:])
	}
	if err == nil {
		err = file.Truncate(int64(len(content)))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func writeByRename(t *testing.T, path, content string) {
	t.Helper()
	write(t, path+".new", content)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func writeAfterDelete(t *testing.T, path, content string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write(t, path, content)
}

func writeBySwappedLink(t *testing.T, path, content string) {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Dir(path), "v") //nolint:usetesting // the link and its target must be on one file system
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "data"), content)
	if err := os.Symlink(filepath.Join(filepath.Base(dir), "data"), path+".link"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".link", path); err != nil {
		t.Fatal(err)
	}
}

func writeCorruptFirst(t *testing.T, path, content string) {
	t.Helper()
	for _, bad := range []string{"", "null", "[]", content[:len(content)-2], content + "}", strings.Replace(content, "100", "99", 1) + " x", "\x00\x00"} {
		write(t, path, bad)
	}
	write(t, path, content)
}

// A reader that looks all the time while 1,800 documents are written in six ways must never meet a document that nobody wrote.
func TestNoWrongDocumentIsEverActive(t *testing.T) {
	t.Parallel()
	docs := shapes(t)
	legal := map[string]bool{}
	for _, d := range docs {
		doc, err := traffic.ParseDocument([]byte(d))
		if err != nil {
			t.Fatal(err)
		}
		legal[key(doc)] = true
	}
	path := filepath.Join(t.TempDir(), "traffic_routing.json")
	write(t, path, docs[0])
	f, w := watch(t, path)
	ways := []func(*testing.T, string, string){
		writeInHalves, write, writeByRename, writeAfterDelete, writeBySwappedLink, writeCorruptFirst,
	}
	const writes = 1800
	for i := range writes {
		ways[i%len(ways)](t, path, docs[(i/len(ways)+i)%3])
	}
	writeByRename(t, path, docs[1])
	until(t, "the last document", func() bool { pct, _ := w.last(); return pct == 25 })
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range w.docs {
		if !legal[key(d)] {
			t.Fatalf("active, and never written: %+v", d)
		}
	}
	t.Logf("%d writes: %+v", writes, f.Stats())
}

func key(d traffic.Document) string {
	data, _, err := d.Marshal(traffic.CompatExtended)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// A reader that opens the file by its name must find it whole at every moment, as the old readers do.
func TestTheFileIsAlwaysThere(t *testing.T) {
	t.Parallel()
	for _, c := range bothCompats {
		f := newFile(t, c)
		set(t, f, 5)
		stop, done := make(chan struct{}), make(chan int)
		go func() {
			looks := 0
			for {
				select {
				case <-stop:
					done <- looks
					return
				default:
				}
				d, err := f.Read(t.Context())
				if err != nil || d.Control == nil {
					t.Errorf("%s: %+v, %v", c, d, err)
				}
				looks++
			}
		}()
		for i := range 200 {
			set(t, f, float64(i%3)*5)
		}
		close(stop)
		if looks := <-done; looks < 100 {
			t.Errorf("%s: only %d looks", c, looks)
		}
	}
}
