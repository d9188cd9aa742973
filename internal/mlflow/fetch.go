package mlflow

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"serin/internal/model"
)

// Fetched is a version whose files lie on this machine.
type Fetched struct {
	// Dir holds the files, as in the registry. It belongs to the cache: read only.
	Dir string
	// Name is the registered model; Pin its version and the digest of the files in Dir.
	Name string
	Pin  model.Pin
	// ArtifactURI is where the files came from.
	ArtifactURI string
	// Files are the files in Dir.
	Files []model.File
	// Partial is true when the store could not be listed: then Dir has MLmodel, the model file and the examples, and the digest is of those.
	Partial bool
}

// Fetch resolves a reference of the registry and brings the version's files here, from the cache when they are there.
// It needs the registry, which alone knows what a stage or an alias means now.
func (c *Client) Fetch(ctx context.Context, ref model.Ref) (Fetched, error) {
	v, err := c.Resolve(ctx, ref)
	if err != nil {
		return Fetched{}, err
	}
	uri, err := c.DownloadURI(ctx, v.Name, v.Version)
	if err != nil {
		return Fetched{}, err
	}
	at := versionAt{name: v.Name, version: v.Version, uri: uri}
	if have, ok := c.cache.byURI(c.key(at), uri); ok {
		return have, nil
	}
	return c.fetch(ctx, at)
}

// FetchPinned brings exactly the pinned files here. With the digest in the cache the registry is not asked at all.
// Other files than the pinned ones are an ErrDigestMismatch: the version was changed in place, and must not be served.
func (c *Client) FetchPinned(ctx context.Context, name string, pin model.Pin) (Fetched, error) {
	if err := model.ValidateName(name); err != nil {
		return Fetched{}, err
	}
	if pin.Digest == "" {
		return Fetched{}, fmt.Errorf("model %s version %s has no digest to check: pin it first", name, pin.Version)
	}
	if have, ok := c.cache.byDigest(c.key(versionAt{name: name, version: pin.Version}), pin.Digest); ok {
		return have, nil
	}
	uri, err := c.DownloadURI(ctx, name, pin.Version)
	if err != nil {
		return Fetched{}, err
	}
	at := versionAt{name: name, version: pin.Version, uri: uri}
	got, err := c.fetch(ctx, at)
	if err != nil {
		return Fetched{}, err
	}
	if got.Pin.Digest != pin.Digest {
		return Fetched{}, fmt.Errorf("model %s version %s: %w: %s in the registry, %s at the start; register the new files as a new version",
			name, pin.Version, ErrDigestMismatch, got.Pin.Digest, pin.Digest)
	}
	return got, nil
}

func (c *Client) key(at versionAt) key {
	return key{registry: c.URL(), name: at.name, version: at.version}
}

// fetch brings a version into the cache: into a folder of its own first, hashed, then in place by one rename.
func (c *Client) fetch(ctx context.Context, at versionAt) (f Fetched, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("fetch model %s version %s: %w", at.name, at.version, err)
		}
	}()
	from, err := c.locate(ctx, at)
	if err != nil {
		return Fetched{}, err
	}
	temp, err := c.cache.begin(c.key(at))
	if err != nil {
		return Fetched{}, err
	}
	defer os.RemoveAll(temp) //nolint:errcheck // gone after the rename; otherwise a left-over with the temp prefix
	root, err := os.OpenRoot(filepath.Join(temp, filesDir))
	if err != nil {
		return Fetched{}, err
	}
	defer root.Close() //nolint:errcheck // every file was synced and closed
	d := &downloader{client: c, from: from, to: root}
	if err := d.run(ctx); err != nil {
		return Fetched{}, err
	}
	return c.cache.commit(temp, manifest{
		Registry: c.URL(), Name: at.name, Version: at.version, ArtifactURI: at.uri,
		Digest: model.Digest(d.files), Partial: !from.listable, Files: d.files,
	})
}
