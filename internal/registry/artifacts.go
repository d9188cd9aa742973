package registry

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"serin/internal/model"
	"serin/internal/store"
)

// Artifacts are kept by content: the bytes under ROOT/blobs/ab/abcd..., their paths as rows. A path never becomes a name on the disk, an upload is
// whole before its row says so, and what a version points at cannot change.

// checkPath undoes percent encoding again and again, as the real server does, and refuses what leaves the tree.
func checkPath(p string) (string, error) {
	p, ok := decodeFully(p)
	if !ok || strings.Contains(p, "#") || model.ValidatePath(p) != nil {
		return "", invalid("Invalid path")
	}
	return p, nil
}

type fileOut struct {
	Path  string `json:"path"`
	IsDir bool   `json:"is_dir"`
	Size  *int64 `json:"file_size,omitempty"`
}

// listArtifacts answers the entries of one folder by base name; an unknown folder has none, as in MLflow.
func (s *Server) listArtifacts(w http.ResponseWriter, r *http.Request) {
	folder := strings.Trim(r.URL.Query().Get("path"), "/")
	if folder != "" {
		var err error
		if folder, err = checkPath(folder); err != nil {
			s.fail(w, r, err)
			return
		}
	}
	below, err := s.artifactsBelow(r.Context(), folder)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string][]fileOut{"files": entries(folder, below)})
}

func (s *Server) artifactsBelow(ctx context.Context, folder string) (below []store.Artifact, err error) {
	err = s.opts.Store.View(ctx, func(tx *store.Tx) (err error) {
		below, err = tx.ArtifactsBelow(ctx, folder)
		return err
	})
	return below, err
}

// entries gives the files and folders right below folder, by name. The list is never null: the Python client cannot read that.
func entries(folder string, below []store.Artifact) []fileOut {
	out := []fileOut{}
	for _, a := range below { // by path, so the files of a folder stand together
		rest := a.Path
		if folder != "" {
			rest = a.Path[len(folder)+1:]
		}
		name, _, deeper := strings.Cut(rest, "/")
		switch {
		case !deeper:
			out = append(out, fileOut{Path: name, Size: &a.Size})
		case len(out) == 0 || out[len(out)-1].Path != name:
			out = append(out, fileOut{Path: name, IsDir: true})
		}
	}
	slices.SortFunc(out, func(a, b fileOut) int { return cmp.Compare(a.Path, b.Path) })
	return out
}

// getArtifact serves one file, with length, ranges and its hash as ETag.
func (s *Server) getArtifact(w http.ResponseWriter, r *http.Request, file string) {
	file, err := checkPath(file)
	if err == nil {
		err = s.serveFile(w, r, file)
	}
	if err != nil {
		s.fail(w, r, err)
	}
}

func (s *Server) artifact(ctx context.Context, file string) (a store.Artifact, err error) {
	err = s.opts.Store.View(ctx, func(tx *store.Tx) (err error) {
		a, err = tx.Artifact(ctx, file)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		err = &apiError{status: http.StatusNotFound, code: codeNotFound, message: fmt.Sprintf("No such artifact: '%s'", file)}
	}
	return a, err
}

func (s *Server) serveFile(w http.ResponseWriter, r *http.Request, file string) error {
	a, err := s.artifact(r.Context(), file)
	if err != nil {
		return err
	}
	blob, err := os.Open(s.blobPath(a.SHA256))
	if err != nil {
		return fmt.Errorf("open the bytes of artifact %s: %w", file, err)
	}
	defer blob.Close() //nolint:errcheck // only read
	h := w.Header()
	h.Set("Content-Type", contentType(file))
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": path.Base(file)}))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("ETag", `"`+a.SHA256+`"`)
	http.ServeContent(w, r, "", a.CreatedAt, blob)
	return nil
}

// contentType is text for what MLflow shows as text, whatever the machine's own table of types says.
func contentType(file string) string {
	switch strings.ToLower(path.Ext(file)) {
	case ".txt", ".log", ".yaml", ".yml", ".json", ".py", ".md", ".csv", ".tsv", ".cfg", ".ini", ".toml", ".xml":
		return "text/plain"
	}
	if base := path.Base(file); base == model.MLmodelFile || base == "MLproject" {
		return "text/plain"
	}
	return "application/octet-stream"
}

// getVersionArtifact serves a file of a version by its path inside the version.
func (s *Server) getVersionArtifact(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	file, err := checkPath(q.Get("path"))
	var v store.ModelVersion
	if err == nil {
		v, err = s.readVersion(r.Context(), versionIn{Name: text(q.Get("name")), Version: text(q.Get("version"))})
	}
	if err == nil {
		root, ok := strings.CutPrefix(v.Storage, store.ArtifactScheme)
		if !ok {
			err = &apiError{
				status: http.StatusNotImplemented, code: codeNotHere,
				message: fmt.Sprintf("the files lie at %s, which this version of serin's registry cannot read", v.Storage),
			}
		} else {
			err = s.serveFile(w, r, root+"/"+file)
		}
	}
	if err != nil {
		s.fail(w, r, err)
	}
}

// putArtifact stores an upload: the bytes first, synced under their hash, then the row, which decides whether the path may be written.
func (s *Server) putArtifact(w http.ResponseWriter, r *http.Request, file string) {
	file, err := checkPath(file)
	if err == nil && r.ContentLength > s.opts.MaxArtifact {
		err = s.tooLarge(file)
	}
	if err == nil {
		err = s.storeUpload(r.Context(), file, http.MaxBytesReader(w, r.Body, s.opts.MaxArtifact))
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, struct{}{})
}

func (s *Server) tooLarge(file string) error {
	return &apiError{
		status: http.StatusRequestEntityTooLarge, code: codeTooLarge,
		message: fmt.Sprintf("artifact %s has more than %d bytes", file, s.opts.MaxArtifact),
	}
}

func (s *Server) storeUpload(ctx context.Context, file string, body io.Reader) error {
	a, err := s.storeBlob(body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return s.tooLarge(file)
	case errors.Is(err, errBody):
		return invalid("the upload of %s broke off", file)
	case err != nil:
		return fmt.Errorf("store artifact %s: %w", file, err)
	}
	a.Path = file
	err = s.opts.Store.Update(ctx, func(tx *store.Tx) error { return tx.PutArtifact(ctx, a) })
	switch {
	case errors.Is(err, store.ErrConflict):
		return &apiError{
			status: http.StatusConflict, code: codeConflict,
			message: fmt.Sprintf("%s belongs to a model version, whose files never change; upload to another path and create a new version", file),
		}
	case errors.Is(err, store.ErrExists):
		return invalid("Invalid path: a file and a folder cannot have the same name: %s", file)
	}
	return err
}

// errBody marks an upload that did not come whole.
var errBody = errors.New("body could not be read")

// storeBlob writes bytes under their hash. Bytes that are there already are replaced by the same ones, which mends a damaged disk.
func (s *Server) storeBlob(body io.Reader) (a store.Artifact, err error) {
	temps := filepath.Join(s.opts.ArtifactRoot, "uploads")
	if err := os.MkdirAll(temps, 0o750); err != nil {
		return a, err
	}
	temp, err := os.CreateTemp(temps, "upload-")
	if err != nil {
		return a, err
	}
	defer os.Remove(temp.Name()) //nolint:errcheck // gone after the rename
	hash := sha256.New()
	n, err := copyBody(io.MultiWriter(temp, hash), body)
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return a, err
	}
	a = store.Artifact{Size: n, SHA256: hex.EncodeToString(hash.Sum(nil)), CreatedAt: s.opts.Now()}
	place := s.blobPath(a.SHA256)
	if err := os.MkdirAll(filepath.Dir(place), 0o750); err != nil {
		return a, err
	}
	if err := os.Rename(temp.Name(), place); err != nil {
		return a, err
	}
	return a, syncDir(filepath.Dir(place))
}

// copyBody tells a client that broke off from a disk that failed.
func copyBody(to io.Writer, body io.Reader) (int64, error) {
	n, err := io.Copy(to, body)
	var onDisk *os.PathError
	if err != nil && !errors.As(err, &onDisk) {
		err = errors.Join(errBody, err)
	}
	return n, err
}

func (s *Server) blobPath(sha string) string {
	return filepath.Join(s.opts.ArtifactRoot, "blobs", sha[:2], sha)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
