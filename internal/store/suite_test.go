package store

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestSuiteUsesEveryMethod holds storetest to being what a second kind of database has to pass: a method of Tx that it never calls is not in the contract.
func TestSuiteUsesEveryMethod(t *testing.T) {
	t.Parallel()
	methods := map[string]bool{}
	for _, decl := range declarations(t, ".") {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Recv == nil || !fn.Name.IsExported() {
			continue
		}
		if star, ok := fn.Recv.List[0].Type.(*ast.StarExpr); ok && star.X.(*ast.Ident).Name == "Tx" {
			methods[fn.Name.Name] = false
		}
	}
	if len(methods) < 40 {
		t.Fatalf("found %d methods of Tx: the test does not see them", len(methods))
	}
	for _, decl := range declarations(t, "storetest") {
		ast.Inspect(decl, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if sel, ok := call.Fun.(*ast.SelectorExpr); ok {
					if _, ok := methods[sel.Sel.Name]; ok {
						methods[sel.Sel.Name] = true
					}
				}
			}
			return true
		})
	}
	for name, used := range methods {
		if !used {
			t.Errorf("storetest never calls Tx.%s", name)
		}
	}
}

// declarations parses the files of a folder that are no tests.
func declarations(t *testing.T, dir string) (all []ast.Decl) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, parsed.Decls...)
	}
	return all
}

// TestMigrationFiles holds the names: numbers from 1 without a gap or a double, and nothing in a dialect's folder that no common file brings along.
func TestMigrationFiles(t *testing.T) {
	t.Parallel()
	known, err := knownMigrations()
	if err != nil {
		t.Fatal(err)
	}
	common := map[string]bool{}
	for i, m := range known {
		if m.number != i+1 {
			t.Errorf("%s is the migration at place %d", m.file, i+1)
		}
		if !regexp.MustCompile(`^\d{4}_[a-z_]+\.sql$`).MatchString(path.Base(m.file)) {
			t.Errorf("%s: want 0001_some_words.sql", m.file)
		}
		common[path.Base(m.file)] = true
	}
	own, err := migrations.ReadDir("migrations/sqlite")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range own {
		if !common[f.Name()] {
			t.Errorf("migrations/sqlite/%s would never run: migrations/%s is missing", f.Name(), f.Name())
		}
	}
}

// TestMigrationTexts: a dialect gets the common file and its own addition; one without additions gets the common file alone.
func TestMigrationTexts(t *testing.T) {
	t.Parallel()
	for dialect, want := range map[string]int{"sqlite": 2, "postgres": 1} {
		texts, err := (&DB{dialect: dialect}).texts("migrations/0001_rollouts.sql")
		if err != nil || len(texts) != want {
			t.Errorf("%s: %d texts, want %d (%v)", dialect, len(texts), want, err)
		}
	}
	if _, err := (&DB{dialect: "sqlite"}).texts("migrations/9999_none.sql"); !os.IsNotExist(err) {
		t.Errorf("a migration that is not there: %v", err)
	}
}

// TestSchemaIsPlain keeps to what SQLite and PostgreSQL both understand in the common files: their types, and no dialect's own words.
func TestSchemaIsPlain(t *testing.T) {
	t.Parallel()
	known, err := knownMigrations()
	if err != nil {
		t.Fatal(err)
	}
	forbidden := regexp.MustCompile(`(?i)\b(AUTOINCREMENT|WITHOUT ROWID|STRICT|SERIAL|JSONB|INTEGER|REAL|BLOB|TIMESTAMP|BOOLEAN|TRIGGER|PRAGMA|OR REPLACE|OR IGNORE)\b`)
	for _, m := range known {
		text, err := migrations.ReadFile(m.file)
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(string(text), "\n") {
			code, _, _ := strings.Cut(line, "--")
			if word := forbidden.FindString(code); word != "" {
				t.Errorf("%s:%d: %s belongs into a dialect's own file", m.file, n+1, word)
			}
		}
	}
}
