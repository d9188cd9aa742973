package mlflow

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"serin/internal/model"
)

// cache keeps fetched versions as DIR/v1/<hash of registry, name, version>/<hash of address>-<digest>/{manifest.json, files/...}.
// A folder appears by one rename and never changes, so files that were changed in place in the registry never replace the ones that are being
// served; several processes may share DIR.
type cache struct{ dir string }

const (
	manifestFile = "manifest.json"
	filesDir     = "files"
	tempPrefix   = ".tmp-"
)

// manifest says what a cached version is; the digest is that of Files.
type manifest struct {
	Registry    string       `json:"registry"`
	Name        string       `json:"name"`
	Version     string       `json:"version"`
	ArtifactURI string       `json:"artifact_uri"`
	Digest      string       `json:"digest"`
	Partial     bool         `json:"partial,omitempty"`
	Files       []model.File `json:"files"`
}

// key names a version in one registry.
type key struct{ registry, name, version string }

func hashed(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:16])
}

func (c cache) versionDir(k key) string {
	return filepath.Join(c.dir, "v1", hashed(k.registry, k.name, k.version))
}

func (c cache) entryDir(k key, uri, digest string) string {
	return filepath.Join(c.versionDir(k), hashed(uri)+"-"+strings.TrimPrefix(digest, "sha256:"))
}

// byURI finds a version by the address of its files. Two different contents that lay there at different times are no answer: the registry must be asked.
func (c cache) byURI(k key, uri string) (Fetched, bool) {
	return c.only(k, func(f Fetched) bool { return f.ArtifactURI == uri })
}

// byDigest finds a version by what its files are, wherever they lay.
func (c cache) byDigest(k key, digest string) (Fetched, bool) {
	return c.only(k, func(f Fetched) bool { return f.Pin.Digest == digest })
}

// only gives the undamaged entries' one content that match accepts; false for none and for several contents.
func (c cache) only(k key, match func(Fetched) bool) (found Fetched, ok bool) {
	entries, err := os.ReadDir(c.versionDir(k))
	if err != nil {
		return Fetched{}, false
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			continue
		}
		f, good := c.open(filepath.Join(c.versionDir(k), e.Name()), k)
		if !good || !match(f) {
			continue
		}
		if ok && found.Pin != f.Pin {
			return Fetched{}, false
		}
		found, ok = f, true
	}
	return found, ok
}

// open reads a cached version and hashes its files again: a disk that lies must not reach customers.
func (c cache) open(dir string, k key) (Fetched, bool) {
	text, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if err != nil {
		return Fetched{}, false
	}
	var m manifest
	if json.Unmarshal(text, &m) != nil || m.Registry != k.registry || m.Name != k.name || m.Version != k.version || model.Digest(m.Files) != m.Digest {
		return Fetched{}, false
	}
	files := filepath.Join(dir, filesDir)
	if verifyFiles(files, m.Files) != nil {
		return Fetched{}, false
	}
	return Fetched{
		Dir: files, Name: m.Name, Pin: model.Pin{Version: m.Version, Digest: m.Digest}, ArtifactURI: m.ArtifactURI, Files: m.Files, Partial: m.Partial,
	}, true
}

func verifyFiles(dir string, files []model.File) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // only read
	for _, want := range files {
		if err := model.ValidatePath(want.Path); err != nil {
			return err
		}
		if err := verifyFile(root, want); err != nil {
			return err
		}
	}
	return nil
}

func verifyFile(root *os.Root, want model.File) error {
	f, err := root.Open(filepath.FromSlash(want.Path))
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	hash := sha256.New()
	n, err := io.Copy(hash, f)
	if err != nil {
		return err
	}
	if n != want.Size || hex.EncodeToString(hash.Sum(nil)) != want.SHA256 {
		return fmt.Errorf("file %s of the cache is not what was fetched", want.Path)
	}
	return nil
}

// begin makes an empty folder beside the place where the version will stand, on the same file system.
func (c cache) begin(k key) (temp string, err error) {
	if c.dir == "" {
		return "", fmt.Errorf("no cache folder is set: set Options.CacheDir")
	}
	if err := os.MkdirAll(c.versionDir(k), 0o755); err != nil {
		return "", fmt.Errorf("make cache folder: %w", err)
	}
	c.removeStale(k)
	temp, err = os.MkdirTemp(c.versionDir(k), tempPrefix)
	if err != nil {
		return "", fmt.Errorf("make cache folder: %w", err)
	}
	if err := os.Mkdir(filepath.Join(temp, filesDir), 0o755); err != nil {
		return "", errors.Join(fmt.Errorf("make cache folder: %w", err), os.RemoveAll(temp))
	}
	return temp, nil
}

// removeStale deletes what a killed process left a day ago or earlier.
func (c cache) removeStale(k key) {
	entries, err := os.ReadDir(c.versionDir(k))
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && strings.HasPrefix(e.Name(), tempPrefix) && time.Since(info.ModTime()) > 24*time.Hour {
			_ = os.RemoveAll(filepath.Join(c.versionDir(k), e.Name())) // it is tried again next time
		}
	}
}

// commit writes the manifest and renames temp to its place. A damaged entry that stood there is replaced.
func (c cache) commit(temp string, m manifest) (Fetched, error) {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return Fetched{}, err
	}
	if err := writeSynced(filepath.Join(temp, manifestFile), text); err != nil {
		return Fetched{}, fmt.Errorf("write the cache's manifest: %w", err)
	}
	k := key{registry: m.Registry, name: m.Name, version: m.Version}
	place := c.entryDir(k, m.ArtifactURI, m.Digest)
	for range 3 { // another process may put the same version there between our steps
		if err = os.Rename(temp, place); err == nil {
			break
		}
		if have, ok := c.open(place, k); ok && have.Pin.Digest == m.Digest {
			return have, os.RemoveAll(temp)
		}
		damaged := temp + "-old"
		if moveErr := os.Rename(place, damaged); moveErr == nil {
			_ = os.RemoveAll(damaged) // a left-over is harmless: its name begins with the temp prefix, and a later fetch removes it
		}
	}
	if err != nil {
		return Fetched{}, fmt.Errorf("put the version into the cache: %w", err)
	}
	have, ok := c.open(place, k)
	if !ok {
		return Fetched{}, fmt.Errorf("read the version back from the cache at %s: it is not what was written; check the disk", place)
	}
	return have, syncDir(c.versionDir(k))
}

func writeSynced(file string, text []byte) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
