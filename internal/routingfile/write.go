package routingfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// writeAtomic puts data in place of the file at path so that a reader sees the old content or the new one, whatever happens in between.
// check is asked when the new content is on the disk, right before it takes the old one's place.
func (f *File) writeAtomic(path string, data []byte, check func() error) (err error) {
	target, mode, err := resolve(path)
	if err != nil {
		return err
	}
	dir := filepath.Dir(target)
	removeLeftovers(target)
	temp, err := os.CreateTemp(dir, tempPattern(target))
	if err != nil {
		return fmt.Errorf("write the routing file: %w: the folder must be writable and have space", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, removeIfThere(temp.Name()))
		}
	}()
	if err := fill(temp, data, mode); err != nil {
		return fmt.Errorf("write the routing file: %w: the old one stays in force; make space and try again", err)
	}
	f.beforeRename()
	if err := check(); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), target); err != nil {
		return fmt.Errorf("put the routing file in place: %w: mount its folder rather than the file alone", err)
	}
	return syncDir(dir)
}

// resolve gives the file behind a symbolic link, and the mode that the new file gets.
func resolve(path string) (target string, mode fs.FileMode, err error) {
	target, err = filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path, 0o644, nil
	}
	if err != nil {
		return "", 0, fmt.Errorf("find the routing file: %w", err)
	}
	info, err := os.Stat(target)
	if err != nil {
		return "", 0, fmt.Errorf("find the routing file: %w", err)
	}
	return target, info.Mode().Perm(), nil
}

// fill writes the temporary file, brings it to the disk and closes it.
func fill(temp *os.File, data []byte, mode fs.FileMode) error {
	_, err := temp.Write(data)
	if err == nil {
		err = temp.Chmod(mode)
	}
	if err == nil {
		err = temp.Sync()
	}
	return errors.Join(err, temp.Close())
}

// syncDir makes a rename durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("make the routing file durable: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("make the routing file durable: %w", err)
	}
	return nil
}

func tempPattern(target string) string { return "." + filepath.Base(target) + ".tmp-*" }

// removeLeftovers takes away what a writer that was killed has left. We hold the lock, so none of them is in use; one that cannot be
// removed does no harm.
func removeLeftovers(target string) {
	left, err := filepath.Glob(filepath.Join(escapeGlob(filepath.Dir(target)), escapeGlob("."+filepath.Base(target))+".tmp-*"))
	if err != nil {
		return
	}
	for _, name := range left {
		_ = os.Remove(name)
	}
}

// escapeGlob makes a path mean itself in a pattern.
func escapeGlob(path string) string {
	var out []byte
	for i := range len(path) {
		switch path[i] {
		case '*', '?', '[', '\\':
			out = append(out, '\\')
		}
		out = append(out, path[i])
	}
	return string(out)
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
