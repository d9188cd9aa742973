package store

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// ArtifactScheme is the scheme of storage addresses that lie in the registry's own artifact folder; a slash path follows it.
const ArtifactScheme = "mlflow-artifacts:/"

// Artifact is one file that was uploaded to the embedded registry.
type Artifact struct {
	// Path is the file's slash path below the artifact root.
	Path string
	// Size is in bytes; SHA256 in hex.
	Size      int64
	SHA256    string
	CreatedAt time.Time
}

// PutArtifact records an upload. Recording the same content again changes nothing; other content replaces the first.
// ErrConflict when a version, even a deleted one, points at the file or at a folder above it: what a rollout may have pinned never changes.
// ErrExists when the path would make a file out of a folder or a folder out of a file.
func (tx *Tx) PutArtifact(ctx context.Context, a Artifact) error {
	same, err := tx.number(ctx, `SELECT count(*) FROM artifacts WHERE path = $1 AND sha256 = $2`, a.Path, a.SHA256)
	if err != nil || same > 0 {
		return err
	}
	if err := tx.artifactFree(ctx, a.Path); err != nil {
		return fmt.Errorf("artifact %s: %w", a.Path, err)
	}
	_, err = tx.exec(ctx, `INSERT INTO artifacts (path, size, sha256, created_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (path) DO UPDATE SET size = excluded.size, sha256 = excluded.sha256, created_at = excluded.created_at`,
		a.Path, a.Size, a.SHA256, nanos(a.CreatedAt))
	if err != nil {
		return fmt.Errorf("artifact %s: %w", a.Path, err)
	}
	return nil
}

// artifactFree says whether a path may be written.
func (tx *Tx) artifactFree(ctx context.Context, path string) error {
	for at := path; at != ""; at = at[:max(strings.LastIndexByte(at, '/'), 0)] {
		used, err := tx.number(ctx, `SELECT count(*) FROM model_versions WHERE storage = $1`, ArtifactScheme+at)
		if err != nil {
			return err
		}
		if used > 0 {
			return fmt.Errorf("it belongs to a model version: %w", ErrConflict)
		}
		files, err := tx.number(ctx, `SELECT count(*) FROM artifacts WHERE path = $1`, at)
		if err != nil {
			return err
		}
		if at != path && files > 0 {
			return fmt.Errorf("%s is a file: %w", at, ErrExists)
		}
	}
	below, err := tx.ArtifactsBelow(ctx, path)
	if err == nil && len(below) > 0 {
		err = fmt.Errorf("it is a folder: %w", ErrExists)
	}
	return err
}

// Artifact reads the record of an upload; ErrNotFound when there is none.
func (tx *Tx) Artifact(ctx context.Context, path string) (a Artifact, err error) {
	var created int64
	err = tx.q.QueryRowContext(ctx, `SELECT path, size, sha256, created_at FROM artifacts WHERE path = $1`, path).Scan(&a.Path, &a.Size, &a.SHA256, &created)
	a.CreatedAt = timeOf(created)
	if err != nil {
		return a, fmt.Errorf("artifact %s: %w", path, orNotFound(err))
	}
	return a, nil
}

// ArtifactsBelow lists the uploads below a folder by path; all of them for the empty one.
func (tx *Tx) ArtifactsBelow(ctx context.Context, folder string) ([]Artifact, error) {
	prefix := ""
	if folder != "" {
		prefix = folder + "/"
	}
	all, err := collect(ctx, tx, func(row scanner) (a Artifact, err error) {
		var created int64
		err = row.Scan(&a.Path, &a.Size, &a.SHA256, &created)
		a.CreatedAt = timeOf(created)
		return a, err
	}, `SELECT path, size, sha256, created_at FROM artifacts WHERE substr(path, 1, length($1)) = $1 ORDER BY path`, prefix)
	if err != nil {
		return nil, fmt.Errorf("list artifacts of %s: %w", folder, err)
	}
	return all, nil
}

// RegistryEvent is one change of the embedded registry.
type RegistryEvent struct {
	Seq   int64
	At    time.Time
	Actor string
	// Kind is what changed, such as version.stage; Before and After are its values in words, empty where there is none.
	Kind string
	Name string
	// Version is 0 for a change of the model itself.
	Version       int64
	Before, After string
}

// AppendRegistryEvent adds an event; its Seq is given by the store.
func (tx *Tx) AppendRegistryEvent(ctx context.Context, e RegistryEvent) error {
	_, err := tx.exec(ctx, `INSERT INTO registry_events (seq, at, actor, kind, name, version, before_value, after_value)
		SELECT coalesce(max(seq), 0) + 1, $1, $2, $3, $4, $5, $6, $7 FROM registry_events`,
		nanos(e.At), e.Actor, e.Kind, e.Name, e.Version, e.Before, e.After)
	if err != nil {
		return fmt.Errorf("append registry event %s of %s: %w", e.Kind, e.Name, err)
	}
	return nil
}

// RegistryEventFilter chooses events in order: those after Seq After, of one model or for an empty Name of all. A Limit of 0 is 1,000.
type RegistryEventFilter struct {
	Name  string
	After int64
	Limit int
}

// RegistryEvents lists events, oldest first. Reading on after the last Seq takes the place of polling the registry.
func (tx *Tx) RegistryEvents(ctx context.Context, f RegistryEventFilter) ([]RegistryEvent, error) {
	if f.Limit == 0 {
		f.Limit = 1000
	}
	all, err := collect(ctx, tx, func(row scanner) (e RegistryEvent, err error) {
		var at int64
		err = row.Scan(&e.Seq, &at, &e.Actor, &e.Kind, &e.Name, &e.Version, &e.Before, &e.After)
		e.At = timeOf(at)
		return e, err
	}, `SELECT seq, at, actor, kind, name, version, before_value, after_value FROM registry_events
		WHERE ($1 = '' OR name = $1) AND seq > $2 ORDER BY seq LIMIT $3`, f.Name, f.After, f.Limit)
	if err != nil {
		return nil, fmt.Errorf("read registry events: %w", err)
	}
	return all, nil
}
