package mlflow

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"

	"serin/internal/model"
)

// UploadParams say what is uploaded where.
type UploadParams struct {
	// URI is a folder of the registry's artifact proxy, such as mlflow-artifacts:/1/models/m-.../artifacts.
	URI string
	// Path is a folder or a file of this machine.
	Path string
}

// UploadFile puts one file into the folder URI under its base name. It may be repeated.
func (c *Client) UploadFile(ctx context.Context, p UploadParams) error {
	root, err := c.uploadRoot(p.URI)
	if err != nil {
		return err
	}
	return c.put(ctx, putParams{to: path.Join(root, filepath.Base(p.Path)), file: p.Path})
}

// UploadDir puts all files below the folder Path into the folder URI. Links and special files are refused. It may be repeated.
func (c *Client) UploadDir(ctx context.Context, p UploadParams) error {
	root, err := c.uploadRoot(p.URI)
	if err != nil {
		return err
	}
	files, err := c.listLocal(p.Path)
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := c.put(ctx, putParams{to: path.Join(root, file), file: filepath.Join(p.Path, filepath.FromSlash(file))}); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) uploadRoot(uri string) (string, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return "", fmt.Errorf("upload address %q is not a URL", uri)
	}
	root, ok, err := c.proxyRoot(u)
	if err != nil {
		return "", err
	}
	if !ok {
		return "", fmt.Errorf("%w: upload to %s: serin writes through the registry's artifact proxy only; start MLflow with --serve-artifacts, "+
			"or log the model with MLflow's Python client", ErrUnsupported, u.Redacted())
	}
	return root, nil
}

// listLocal gives the regular files below dir as slash paths in lexical order.
func (c *Client) listLocal(dir string) ([]string, error) {
	var files []string
	var total int64
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is not a regular file: a model folder has files and folders only", name)
		}
		if err := model.ValidatePath(filepath.ToSlash(rel)); err != nil {
			return err
		}
		files, total = append(files, filepath.ToSlash(rel)), total+info.Size()
		if len(files) > c.opts.MaxFiles || total > c.opts.MaxBytes {
			return fmt.Errorf("%w: folder %s has more than %d files or %d bytes; is it a model?", ErrTooLarge, dir, c.opts.MaxFiles, c.opts.MaxBytes)
		}
		return nil
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("folder %s has no files: give a model folder", dir)
	}
	return files, err
}

type putParams struct {
	to   string // below the proxy
	file string // on this machine
}

func (c *Client) put(ctx context.Context, p putParams) error {
	if err := model.ValidatePath(p.to); err != nil {
		return fmt.Errorf("upload %s: %w", p.file, err)
	}
	u := c.endpoint(artifactAPI+"/"+p.to, nil)
	err := c.retry(ctx, repeatSafe, "PUT "+p.to, func(ctx context.Context) error {
		f, err := os.Open(p.file)
		if err != nil {
			return err
		}
		info, err := f.Stat()
		if err != nil {
			return errors.Join(err, f.Close())
		}
		req, err := c.request(ctx, request{method: http.MethodPut, url: u, body: f}) // the transport closes f
		if err != nil {
			return errors.Join(err, f.Close())
		}
		req.ContentLength = info.Size()
		if info.Size() == 0 {
			req.Body = http.NoBody // a length of 0 with a body means "unknown"
			if err := f.Close(); err != nil {
				return err
			}
		}
		req.Header.Set("Content-Type", "application/octet-stream")
		resp, err := c.send(req)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	})
	if err != nil {
		return fmt.Errorf("upload %s: %w", p.file, err)
	}
	return nil
}
