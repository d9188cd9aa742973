package routingfile

import (
	"bytes"
	"context"
	"time"

	"serin/internal/traffic"
)

// DefaultPoll is how often Watch looks at the file.
const DefaultPoll = 250 * time.Millisecond

// Stats count what Watch has met since the File was made.
type Stats struct {
	// Changes are documents given to the caller, Rejected are looks at a file that was missing, broken or being written.
	Changes, Rejected int64
}

// Stats gives the counts so far.
func (f *File) Stats() Stats { return Stats{Changes: f.changes.Load(), Rejected: f.rejected.Load()} }

// Watch gives changed the document at the start and whenever it changes, until ctx ends; it returns nil then. A file that is missing or
// cannot be used changes nothing: the caller keeps its last good document, and Options.OnState is told. every is DefaultPoll when zero.
//
// It reads the file at every look and compares the content. Notifications miss renames and swapped links, and a time stamp misses a
// second write within its grain; a kilobyte four times a second costs nothing.
func (f *File) Watch(ctx context.Context, every time.Duration, changed func(traffic.Document)) error {
	if every <= 0 {
		every = DefaultPoll
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	w := watcher{file: f, changed: changed}
	for {
		w.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// watcher is the memory of one Watch, owned by its goroutine.
type watcher struct {
	file    *File
	changed func(traffic.Document)
	last    snapshot
	trouble string // the error reported last; empty when the file is good
}

func (w *watcher) look(ctx context.Context) {
	s, err := w.file.load(ctx)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		w.file.rejected.Add(1)
		if text := err.Error(); text != w.trouble {
			w.trouble = text
			w.file.onState(err)
		}
		return
	}
	if w.trouble != "" {
		w.trouble = ""
		w.file.onState(nil)
	}
	if w.last.main != nil && bytes.Equal(s.main, w.last.main) && s.doc.Generation() == w.last.doc.Generation() {
		return
	}
	w.last = s
	w.file.changes.Add(1)
	w.changed(s.doc)
}
