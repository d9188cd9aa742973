package mlflow

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"serin/internal/model"
)

// downloader copies one version into a folder, within the client's limits.
type downloader struct {
	client *Client
	from   located
	to     *os.Root // an empty folder
	files  []model.File
	bytes  int64
}

// run fetches everything and returns the files, sorted as found, and whether the source could list all of them.
func (d *downloader) run(ctx context.Context) error {
	if !d.from.listable {
		return d.named(ctx)
	}
	type folder struct {
		path  string
		depth int
	}
	queue := []folder{{}}
	seen := map[string]bool{}
	for len(queue) > 0 {
		dir := queue[0]
		queue = queue[1:]
		if dir.depth > 32 {
			return fmt.Errorf("%w: folder %q is more than 32 deep", ErrBadArtifact, dir.path)
		}
		entries, err := d.from.list(ctx, dir.path)
		if err != nil {
			return fmt.Errorf("list its files: %w", err)
		}
		for _, e := range entries {
			name, err := d.checkName(dir.path, e)
			if err != nil {
				return err
			}
			if seen[name] {
				return fmt.Errorf("%w: %q is listed twice: which of them is meant?", ErrBadArtifact, name)
			}
			seen[name] = true
			if e.dir {
				queue = append(queue, folder{path: name, depth: dir.depth + 1})
				if len(queue) > d.client.opts.MaxFiles {
					return fmt.Errorf("%w: more than %d folders", ErrTooLarge, d.client.opts.MaxFiles)
				}
				continue
			}
			if err := d.file(ctx, wanted{path: name, size: e.size}); err != nil {
				return err
			}
		}
	}
	if len(d.files) == 0 {
		return fmt.Errorf("%w: there are no files; the upload failed, or the address is of a single file: upload a folder and register that", ErrBadArtifact)
	}
	return nil
}

// checkName refuses what a listing must not hold: a listing is by base name, and its names become paths on this machine.
func (d *downloader) checkName(dir string, e entry) (string, error) {
	name := path.Join(dir, e.name)
	if err := model.ValidatePath(e.name); err != nil {
		return "", fmt.Errorf("%w: listed in %q: %w", ErrBadArtifact, dir, err)
	}
	if path.Base(e.name) != e.name {
		return "", fmt.Errorf("%w: %q listed in %q is not a base name", ErrBadArtifact, e.name, dir)
	}
	if err := model.ValidatePath(name); err != nil {
		return "", fmt.Errorf("%w: %w", ErrBadArtifact, err)
	}
	return name, nil
}

// named fetches the files that MLmodel names: all that can be found where nothing can be listed.
func (d *downloader) named(ctx context.Context) error {
	if err := d.file(ctx, wanted{path: model.MLmodelFile, size: -1}); err != nil {
		return fmt.Errorf("read it through the server: %w", err)
	}
	text, err := d.to.ReadFile(model.MLmodelFile)
	if err != nil {
		return err
	}
	m, err := model.ParseMLmodel(text)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBadArtifact, err)
	}
	if m.XGBoost == nil {
		return fmt.Errorf("%w: flavors %v in a store that can only be read file by file: serve the artifacts through the server (--serve-artifacts), "+
			"or give an http://host/invocations address", ErrUnsupported, m.Flavors)
	}
	if err := d.file(ctx, wanted{path: m.XGBoost.Data, size: -1}); err != nil {
		return err
	}
	for _, example := range []string{m.InputExample, m.ServingInputExample} {
		if example == "" || example == m.XGBoost.Data {
			continue
		}
		if err := d.file(ctx, wanted{path: example, size: -1}); err != nil {
			return err
		}
	}
	return nil
}

type wanted struct {
	path string
	size int64 // -1: not told
}

// file fetches one file. A connection that breaks in the middle is tried again from the start: MLflow before 3.12 serves no ranges.
func (d *downloader) file(ctx context.Context, w wanted) error {
	if len(d.files) >= d.client.opts.MaxFiles {
		return fmt.Errorf("%w: more than %d files", ErrTooLarge, d.client.opts.MaxFiles)
	}
	left := d.client.opts.MaxBytes - d.bytes
	if w.size > left {
		return d.tooLarge(w.path)
	}
	var got model.File
	err := d.client.retry(ctx, repeatSafe, "GET "+w.path, func(ctx context.Context) (err error) {
		got, err = d.copy(ctx, w, left)
		return err
	})
	if err != nil {
		return fmt.Errorf("fetch file %s: %w", w.path, err)
	}
	d.files = append(d.files, got)
	d.bytes += got.Size
	return nil
}

func (d *downloader) tooLarge(file string) error {
	return fmt.Errorf("%w: with %s it has more than %d bytes", ErrTooLarge, file, d.client.opts.MaxBytes)
}

func (d *downloader) copy(ctx context.Context, w wanted, left int64) (model.File, error) {
	body, length, err := d.from.open(ctx, w.path)
	if err != nil {
		return model.File{}, err
	}
	defer body.Close() //nolint:errcheck // only read
	if length > left {
		return model.File{}, d.tooLarge(w.path)
	}
	name := filepath.FromSlash(w.path)
	if err := d.to.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return model.File{}, err
	}
	out, err := d.to.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return model.File{}, err
	}
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, hash), io.LimitReader(body, left+1))
	if err != nil {
		_ = out.Close()
		return model.File{}, d.copyError(ctx, err)
	}
	if err := errors.Join(out.Sync(), out.Close()); err != nil {
		return model.File{}, err
	}
	switch {
	case n > left:
		return model.File{}, d.tooLarge(w.path)
	case w.size >= 0 && n != w.size:
		return model.File{}, fmt.Errorf("%w: %s has %d bytes, listed with %d: is it being uploaded right now?", ErrBadArtifact, w.path, n, w.size)
	}
	return model.File{Path: w.path, Size: n, SHA256: hex.EncodeToString(hash.Sum(nil))}, nil
}

// copyError tells a disk that failed from a connection that broke.
func (d *downloader) copyError(ctx context.Context, err error) error {
	var onDisk *os.PathError
	if errors.As(err, &onDisk) || ctx.Err() != nil {
		return err
	}
	return &attemptError{err: fmt.Errorf("%w: connection to %s broke: %w", ErrUnavailable, d.client.URL(), err)}
}
