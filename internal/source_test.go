package internal

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// source is one parsed Go file of the repository.
type source struct {
	path  string // slashes, relative to the root
	dir   string // the package: "internal/store/sqlite"
	test  bool   // a _test.go file
	lines int
	file  *ast.File
	fset  *token.FileSet
}

// at names a place for a message: "internal/store/store.go:17".
func (s source) at(pos token.Pos) string {
	return fmt.Sprintf("%s:%d", s.path, s.fset.Position(pos).Line)
}

// support reports whether the package exists for tests only, by its name:
// storetest, mlflowtest, apptest.
func (s source) support() bool { return isSupport(s.dir) }

func isSupport(dir string) bool { return strings.HasSuffix(path.Base(dir), "test") }

// product reports whether the file is part of what ships.
func (s source) product() bool { return !s.test && !s.support() }

// repository is the folder above this package.
func repository(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatalf("%s is not the repository: %v", root, err)
	}
	return root
}

// walk calls visit with every regular file that is not hidden, in lexical order.
func walk(root string, visit func(rel string) error) error {
	return filepath.WalkDir(root, func(full string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if full != root && strings.HasPrefix(d.Name(), ".") && d.Name() != ".ci" {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		rel, err := filepath.Rel(root, full)
		if err != nil {
			return err
		}
		return visit(filepath.ToSlash(rel))
	})
}

// parse reads all Go files below root, whatever their build tags, but not those under testdata.
func parse(root string) ([]source, error) {
	var sources []source
	fset := token.NewFileSet()
	err := walk(root, func(rel string) error {
		if !strings.HasSuffix(rel, ".go") || strings.Contains(rel, "testdata/") {
			return nil
		}
		raw, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(rel)))
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(fset, rel, raw, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		sources = append(sources, source{
			path: rel, dir: path.Dir(rel), test: strings.HasSuffix(rel, "_test.go"),
			lines: bytes.Count(raw, []byte("\n")), file: file, fset: fset,
		})
		return nil
	})
	return sources, err
}

// parsed is the repository, read once for all tests.
var parsed = sync.OnceValues(func() ([]source, error) { return parse("..") })

// parseRepository is parse for the tests of the repository itself.
func parseRepository(t *testing.T) []source {
	t.Helper()
	sources, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	if len(sources) < 10 {
		t.Fatalf("found %d Go files, want the whole repository", len(sources))
	}
	return sources
}

// plant writes a small tree of files and parses it.
func plant(t *testing.T, files map[string]string) []source {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		full := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sources, err := parse(root)
	if err != nil {
		t.Fatal(err)
	}
	return sources
}
