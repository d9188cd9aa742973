package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"serin/internal/model"
	"serin/internal/routingfile"
	"serin/internal/traffic"
)

// Emergency takes a canary away by the routing file alone: no store, no registry, no server. The file is all it knows.
type Emergency struct {
	file *routingfile.File
	doc  traffic.Document
	// broken is set when the file is there and is no routing document; missing when there is none.
	broken, missing bool
}

// OpenEmergency reads the routing file at path. A missing or broken file is no error: see Missing.
func OpenEmergency(ctx context.Context, path string) (*Emergency, error) {
	full, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	compat := traffic.CompatExtended
	ext := filepath.Ext(full)
	if _, err := os.Stat(strings.TrimSuffix(full, ext) + ".serin" + ext); err == nil {
		compat = traffic.CompatStrict // our key stands in its own file already: this one is read by somebody whom it would choke
	}
	e := &Emergency{}
	if e.file, err = routingfile.New(routingfile.Options{Path: full, Compat: compat}); err != nil {
		return nil, err
	}
	e.doc, err = e.file.Read(ctx)
	e.missing, e.broken = errors.Is(err, fs.ErrNotExist), errors.Is(err, routingfile.ErrBroken)
	if e.missing || e.broken {
		return e, nil
	}
	return e, err
}

// Path is the routing file.
func (e *Emergency) Path() string { return e.file.Path() }

// Missing says that there is no file.
func (e *Emergency) Missing() bool { return e.missing }

// Canary says whether the canary has traffic, as far as the file tells; a broken file may hide one.
func (e *Emergency) Canary() bool { return e.broken || e.doc.CanaryEnabled }

// Promoted says that the last writer was a promotion: the version that has everything is the new champion, and taking it back is an undo's work.
func (e *Emergency) Promoted() bool {
	return !e.Canary() && e.doc.RollbackAt.IsZero() && e.doc.Control != nil && strings.HasSuffix(e.doc.Control.Task, "_100_percent")
}

// Model is the registered model that the file routes, "" when it does not tell.
func (e *Emergency) Model() string {
	for _, uri := range []string{e.doc.ProductionURI, e.doc.CanaryURI} {
		if ref, err := model.ParseRef(uri); err == nil && ref.Registered() {
			return ref.Name
		}
	}
	return ""
}

// Disable gives the champion everything. The file is durable when it returns; the line says what was done.
func (e *Emergency) Disable(ctx context.Context, name, writer string) (line string, err error) {
	if !e.missing && !e.Canary() {
		return fmt.Sprintf("%s has no canary: the champion has 100 %% (generation %d)", e.file.Path(), e.doc.Generation()), nil
	}
	return DisableCanary(ctx, e.file, name, writer)
}
