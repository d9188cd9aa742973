// Package routingfile reads, watches and writes traffic_routing.json: one lock, rising generations, and never a moment without the file.
// It must never decide what stands in the document, nor overwrite another writer's change that its caller has not seen.
package routingfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"time"

	"serin/internal/traffic"
)

// maxSize bounds the document and its sidecar. A document of ours has about 1 KiB; what others add has its limit.
const maxSize = 1 << 20

// Errors that a caller branches on.
var (
	// ErrGeneration says that the file is no longer what the update was made from. Read again, decide again; a rollback tries again.
	ErrGeneration = errors.New("the routing file has changed meanwhile")
	// ErrBroken says that the file is there and is no routing document. Readers keep their last good table; Repair replaces it.
	ErrBroken = errors.New("the routing file is broken")
	// ErrLocked says that another writer held the lock for longer than LockWait.
	ErrLocked = errors.New("the routing file is locked")
)

// Options configure a File.
type Options struct {
	// Path of traffic_routing.json. It may be a symbolic link: the file that it points to is replaced, the link stays.
	Path string
	// Compat says where Serin's own key is written; reading finds it in either place. The default is traffic.CompatExtended.
	Compat traffic.Compat
	// LockWait bounds how long Update waits for another writer; 5 s when zero.
	LockWait time.Duration
	// OnState is called by Watch, from its goroutine, when the file becomes unreadable or fails for another reason, and with nil when it is good again.
	OnState func(error)
}

// File is one traffic_routing.json. It is safe for use by several goroutines.
type File struct {
	path, sidecar string
	compat        traffic.Compat
	lockWait      time.Duration
	onState       func(error)
	rejected      atomic.Int64
	changes       atomic.Int64
	// beforeRename is called when the temporary file is complete. Only tests set it.
	beforeRename func()
}

// New checks the options. It does not touch the file.
func New(o Options) (*File, error) {
	if o.Path == "" {
		return nil, errors.New("routing file without a path: give --routing-file")
	}
	if o.Compat == "" {
		o.Compat = traffic.CompatExtended
	}
	if o.Compat != traffic.CompatExtended && o.Compat != traffic.CompatStrict {
		return nil, fmt.Errorf("routing.compat %q: use extended or strict", o.Compat)
	}
	if o.LockWait <= 0 {
		o.LockWait = 5 * time.Second
	}
	if o.OnState == nil {
		o.OnState = func(error) {}
	}
	ext := filepath.Ext(o.Path)
	return &File{
		path: o.Path, sidecar: strings.TrimSuffix(o.Path, ext) + ".serin" + ext,
		compat: o.Compat, lockWait: o.LockWait, onState: o.OnState, beforeRename: func() {},
	}, nil
}

// Path is where the file is.
func (f *File) Path() string { return f.path }

// snapshot is the file's content at one moment.
type snapshot struct {
	main, side []byte
	doc        traffic.Document
	// highest is the largest generation that the sidecar knows of; the document's own may be lower when another writer changed it.
	highest int64
}

// Read gives the document that stands in the file now. The error is fs.ErrNotExist when there is none, and ErrBroken when it cannot be used.
func (f *File) Read(ctx context.Context) (traffic.Document, error) {
	s, err := f.load(ctx)
	return s.doc, err
}

// load reads document and sidecar as one. The sidecar is written first and speaks of the old document too, so that they only fail to
// match when both were replaced between our two reads: then the document is read again.
func (f *File) load(ctx context.Context) (snapshot, error) {
	var s snapshot
	for range 3 {
		if err := ctx.Err(); err != nil {
			return snapshot{}, fmt.Errorf("read %s: %w", f.path, err)
		}
		var err error
		if s.main, err = readLimited(f.path); err != nil {
			return snapshot{}, fmt.Errorf("read the routing file: %w", err)
		}
		if s.doc, err = traffic.ParseDocument(s.main); err != nil {
			return snapshot{main: s.main}, fmt.Errorf("%w: %s: %w", ErrBroken, f.path, err)
		}
		if s.doc.Control != nil {
			return s, nil
		}
		s.side, err = readLimited(f.sidecar)
		if errors.Is(err, fs.ErrNotExist) {
			return s, nil
		}
		if err != nil {
			return snapshot{}, fmt.Errorf("read the routing sidecar: %w", err)
		}
		if s.doc, s.highest, err = s.doc.WithSidecar(s.side); err != nil {
			return snapshot{main: s.main}, fmt.Errorf("%w: %s: %w", ErrBroken, f.sidecar, err)
		}
		again, err := readLimited(f.path)
		if s.doc.Control != nil || (err == nil && bytes.Equal(again, s.main)) {
			return s, nil
		}
	}
	return s, nil
}

func readLimited(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxSize {
		return nil, fmt.Errorf("%w: %s has more than %d bytes: is it the right file?", ErrBroken, path, maxSize)
	}
	return data, nil
}

// Update replaces the document by what fn makes of the present one, which is the zero Document when there is no file yet. The result must
// be signed and one generation later, as the steps of package traffic make it; what fn returns unchanged is not written. The document
// returned is the one that stands in the file.
//
// ErrGeneration: nothing was written, read and decide again. ErrBroken: the file is no document, see Repair. Every other error leaves the old file in place.
func (f *File) Update(ctx context.Context, fn func(traffic.Document) (traffic.Document, error)) (traffic.Document, error) {
	return f.update(ctx, func(err error) error { return err }, fn)
}

// Repair is Update for a file that may be broken: what cannot be read is kept beside it as <file>.broken, and fn gets the zero Document.
// It is for a rollback, which must not fail because somebody else broke the file.
func (f *File) Repair(ctx context.Context, fn func(traffic.Document) (traffic.Document, error)) (traffic.Document, error) {
	return f.update(ctx, f.setAside, fn)
}

func (f *File) update(ctx context.Context, broken func(error) error, fn func(traffic.Document) (traffic.Document, error)) (traffic.Document, error) {
	if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
		return traffic.Document{}, fmt.Errorf("make the folder of the routing file: %w", err)
	}
	l, err := f.lock(ctx)
	if err != nil {
		return traffic.Document{}, err
	}
	defer l.release()
	now, err := f.load(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, ErrBroken):
		if err := broken(err); err != nil {
			return traffic.Document{}, err
		}
	case err != nil:
		return traffic.Document{}, err
	}
	next, err := fn(now.doc)
	if err != nil {
		return traffic.Document{}, err
	}
	if reflect.DeepEqual(next, now.doc) {
		return next, nil
	}
	if next.Generation() != now.doc.Generation()+1 {
		return traffic.Document{}, fmt.Errorf("%w: %s has generation %d and the update has %d: read it again", ErrGeneration, f.path, now.doc.Generation(), next.Generation())
	}
	return f.replace(l, now, next)
}

// setAside keeps what a repair is about to replace.
func (f *File) setAside(error) error {
	data, err := readLimited(f.path)
	if err != nil { // too large to be ours, or it cannot be read: then it cannot be kept either
		return fmt.Errorf("keep the broken routing file: %w: move it away and try again", err)
	}
	if err := os.WriteFile(f.path+".broken", data, 0o644); err != nil {
		return fmt.Errorf("keep the broken routing file: %w", err)
	}
	return nil
}

// replace writes next over now, under the lock. Another writer that drops our key makes generations start again at 0; the mark in the
// lock file and the sidecar keep them rising, because a gateway's acknowledgement names a generation.
func (f *File) replace(l *lock, now snapshot, next traffic.Document) (traffic.Document, error) {
	control := *next.Control
	control.Generation = max(control.Generation, now.highest+1, l.mark+1)
	next.Control = &control
	main, side, err := next.Marshal(f.compat)
	if err != nil {
		return traffic.Document{}, err
	}
	if err := l.setMark(control.Generation); err != nil {
		return traffic.Document{}, err
	}
	if side != nil {
		if err := f.replaceSidecar(side); err != nil {
			return traffic.Document{}, err
		}
	}
	unchanged := func() error {
		data, err := readLimited(f.path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrBroken) {
			return fmt.Errorf("read the routing file: %w", err)
		}
		if !bytes.Equal(data, now.main) {
			return fmt.Errorf("%w: another writer was at %s without taking %s.lock: read it again", ErrGeneration, f.path, f.path)
		}
		return nil
	}
	if err := f.writeAtomic(f.path, main, unchanged); err != nil {
		return traffic.Document{}, err
	}
	return next, nil
}

func (f *File) replaceSidecar(side []byte) error {
	old, err := readLimited(f.sidecar)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrBroken) {
		return fmt.Errorf("read the routing sidecar: %w", err)
	}
	merged, err := traffic.MergeSidecar(side, old)
	if err != nil {
		return err
	}
	return f.writeAtomic(f.sidecar, merged, func() error { return nil })
}
