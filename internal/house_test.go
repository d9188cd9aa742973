package internal

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The budgets of the house. A file or function may pass one when it has to (it
// then carries a sentence that says why); nine in ten may not.
const (
	fileLines        = 400
	functionLines    = 50
	interfaceMethods = 3
)

func TestHouse_FileAndFunctionSizes(t *testing.T) {
	t.Parallel()
	var files, functions []size
	for _, s := range parseRepository(t) {
		if s.test {
			continue
		}
		files = append(files, size{s.path, s.lines})
		functions = append(functions, functionSizes(s)...)
	}
	checkBudget(t, "files", files, fileLines)
	checkBudget(t, "functions", functions, functionLines)
}

func checkBudget(t *testing.T, what string, sizes []size, budget int) {
	t.Helper()
	p90, largest := ninety(sizes)
	t.Logf("%d %s, p90 %d lines (budget %d), largest %v", len(sizes), what, p90, budget, largest)
	if p90 > budget {
		t.Errorf("p90 of %s is %d lines, want at most %d; split some of %v", what, p90, budget, largest)
	}
}

// Tests are at least as long as what they test. Suites that other packages' tests run (storetest) and the command line's scripts are tests too.
func TestHouse_TestsAreAsLongAsCode(t *testing.T) {
	t.Parallel()
	var code, tests int
	for _, s := range parseRepository(t) {
		if s.product() {
			code += s.lines
		} else {
			tests += s.lines
		}
	}
	tests += scriptLines(t)
	t.Logf("%d lines of code, %d of tests, ratio %.2f", code, tests, float64(tests)/float64(code))
	if tests < code {
		t.Errorf("%d lines of tests for %d lines of code; the house wants at least as many", tests, code)
	}
}

// scriptLines counts the lines of the command line's test scripts.
func scriptLines(t *testing.T) int {
	t.Helper()
	scripts, err := filepath.Glob(filepath.Join(repository(t), "testdata", "script", "*.txtar"))
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts in testdata/script: %v", err)
	}
	lines := 0
	for _, script := range scripts {
		text, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		lines += bytes.Count(text, []byte("\n"))
	}
	return lines
}

func TestHouse_Rules(t *testing.T) {
	t.Parallel()
	sources := parseRepository(t)
	for _, problem := range houseProblems(sources) {
		t.Error(problem)
	}
}

// Every rule must fire on a file that breaks it.
func TestHouse_RulesSeePlantedViolations(t *testing.T) {
	t.Parallel()
	const doc = "// Package a is for the test.\n"
	tests := []struct {
		name, file, text string
		want             []string
	}{
		{"init", "a/a.go", doc + "package a\n\nfunc init() {}\n", []string{"a/a.go:4: init(): build it in app instead"}},
		{
			"wide interface", "a/a.go", doc + "package a\n\ntype i interface {\n\ta()\n\tb()\n\tc()\n\td()\n}\n",
			[]string{"a/a.go:4: interface i has 4 methods, want at most 3; split it by what its callers need"},
		},
		{
			"wide by embedding", "a/a.go", doc + "package a\n\ntype i interface {\n\tj\n\tc()\n\td()\n}\n\ntype j interface {\n\ta()\n\tb()\n}\n",
			[]string{"a/a.go:4: interface i has 4 methods, want at most 3; split it by what its callers need"},
		},
		{
			"skip", "a/a_test.go", "package a\n\nfunc f(tb T) { tb.Skipf(\"no peer\") }\n",
			[]string{"a/a_test.go:3: Skipf: a test that can skip can hide; fail and say what is missing"},
		},
		{
			"sleep", "a/a_test.go", "package a\n\nfunc f() { time.Sleep(1) }\n",
			[]string{"a/a_test.go:3: time.Sleep: wait for a condition, or in a synctest bubble for <-time.After(d)"},
		},
		{
			"sleep in test support", "a/atest/a.go", doc + "package atest\n\nfunc f() { time.Sleep(1) }\n",
			[]string{"a/atest/a.go:4: time.Sleep: wait for a condition, or in a synctest bubble for <-time.After(d)"},
		},
		{
			"undocumented", "a/a.go", doc + "package a\n\nfunc F() {}\n\ntype T struct{}\n\nfunc (T) M() {}\n\nvar V, w = 1, 2\n\nconst C = 1\n",
			[]string{
				"a/a.go:4: F is exported and has no doc comment",
				"a/a.go:6: T is exported and has no doc comment",
				"a/a.go:8: T.M is exported and has no doc comment",
				"a/a.go:10: V is exported and has no doc comment",
				"a/a.go:12: C is exported and has no doc comment",
			},
		},
		{"no package comment", "a/a.go", "package a\n", []string{"a/a.go:1: package a has no package comment; say what it is for and what it must never do"}},
		{"left open", "a/a.go", doc + "package a\n\n// TO" + "DO: later\n", []string{"a/a.go:4: left open: // TO" + "DO: later"}},
		{"all is well", "a/a.go", doc + "package a\n\n// Kinds of T.\nconst (\n\tA = 1\n\tB = 2 // the other\n)\n\n// T is documented.\ntype T struct{}\n\nfunc (t t) Hidden() {}\n\ntype t interface{ A() }\n", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := houseProblems(plant(t, map[string]string{tt.file: tt.text}))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// Nothing names where packages come from or where somebody's files lie: both
// are the business of the machine that builds.
func TestHouse_NamesNoRegistryAndNoMachine(t *testing.T) {
	t.Parallel()
	root := repository(t)
	checked := 0
	err := walk(root, func(rel string) error {
		raw, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(rel)))
		if err != nil {
			return err
		}
		if bytes.IndexByte(raw, 0) >= 0 {
			return nil // not text
		}
		checked++
		if found := named(raw); found != "" {
			before, _, _ := bytes.Cut(raw, []byte(found))
			t.Errorf("%s:%d names %s", rel, 1+bytes.Count(before, []byte("\n")), found)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if checked < 10 {
		t.Errorf("looked at %d files, want the whole repository", checked)
	}
}

func TestNamed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"https://py" + "pi.org/simple":                    true,
		"GOPROXY=https://proxy.golang" + ".org":           true,
		"cd /wo" + "rk/main":                              true,
		"/ro" + "ot/go/pkg":                               true,
		"file:///ro" + "ot/x":                             true,
		"http://127.0.0.1:8080/workspace, framework/main": false,
		"docs/root/cause":                                 false,
	} {
		if got := named([]byte(text)); (got != "") != want {
			t.Errorf("named in %q: %q, want one: %t", text, got, want)
		}
	}
}

// hosts and folders are written in pieces so that this file does not name what it forbids.
var (
	hosts = []string{
		"proxy.gol" + "ang.org", "sum.gol" + "ang.org", "py" + "pi.org", "pythonho" + "sted.org", "registry.npm" + "js.org",
		"crates" + ".io", "maven.apa" + "che.org", "maven" + ".org", "deb.deb" + "ian.org",
	}
	folders = []string{"/wo" + "rk/main", "/wo" + "rk/shared", "/ro" + "ot/", "/tmp/te" + "am"}
)

// named returns the first host or folder that text must not name, or "". A
// folder counts where a path begins. (Plain searches: fixtures have megabytes.)
func named(text []byte) string {
	for _, host := range hosts {
		if bytes.Contains(text, []byte(host)) {
			return host
		}
	}
	for _, folder := range folders {
		for rest := text; ; {
			i := bytes.Index(rest, []byte(folder))
			if i < 0 {
				break
			}
			if i == 0 || !wordByte(rest[i-1]) {
				return folder
			}
			rest = rest[i+len(folder):]
		}
	}
	return ""
}

func wordByte(b byte) bool {
	return b == '.' || b == '_' || b >= '0' && b <= '9' || b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z'
}

type size struct {
	name  string
	lines int
}

// ninety returns the 90th percentile (nearest rank) and the five largest.
func ninety(sizes []size) (int, []size) {
	slices.SortFunc(sizes, func(a, b size) int { return b.lines - a.lines })
	if len(sizes) == 0 {
		return 0, nil
	}
	return sizes[len(sizes)/10].lines, sizes[:min(5, len(sizes))]
}

func TestNinety(t *testing.T) {
	t.Parallel()
	var sizes []size
	for i := 1; i <= 20; i++ {
		sizes = append(sizes, size{fmt.Sprint(i), i})
	}
	p90, largest := ninety(sizes)
	if p90 != 18 || len(largest) != 5 || largest[0].lines != 20 {
		t.Errorf("p90 %d, largest %v; want 18 and five from 20 down", p90, largest)
	}
	if p90, _ := ninety(nil); p90 != 0 {
		t.Errorf("p90 of nothing is %d, want 0", p90)
	}
}

func functionSizes(s source) []size {
	var sizes []size
	for _, decl := range s.file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok {
			first, last := s.fset.Position(f.Pos()).Line, s.fset.Position(f.End()).Line
			sizes = append(sizes, size{s.at(f.Pos()) + " " + f.Name.Name, last - first + 1})
		}
	}
	return sizes
}

// houseProblems returns what breaks a rule of the house, in the order of the files.
func houseProblems(sources []source) []string {
	var problems []string
	ifaces := interfaces(sources)
	commented := map[string]bool{}
	for _, s := range sources {
		commented[s.dir] = commented[s.dir] || s.file.Doc != nil
	}
	for _, s := range sources {
		if !s.product() {
			problems = append(problems, testProblems(s)...)
			continue
		}
		if !commented[s.dir] {
			commented[s.dir] = true // once
			problems = append(problems, fmt.Sprintf("%s: package %s has no package comment; say what it is for and what it must never do", s.at(s.file.Package), s.file.Name.Name))
		}
		problems = append(problems, openProblems(s)...)
		for _, decl := range s.file.Decls {
			problems = append(problems, declProblems(s, decl, ifaces)...)
		}
	}
	return problems
}

func testProblems(s source) []string {
	var problems []string
	ast.Inspect(s.file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := sel.X.(*ast.Ident)
		if !ok {
			return true
		}
		switch {
		case x.Name == "time" && sel.Sel.Name == "Sleep":
			problems = append(problems, s.at(sel.Pos())+": time.Sleep: wait for a condition, or in a synctest bubble for <-time.After(d)")
		case slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, sel.Sel.Name) && slices.Contains([]string{"t", "b", "f", "tb"}, x.Name):
			problems = append(problems, s.at(sel.Pos())+": "+sel.Sel.Name+": a test that can skip can hide; fail and say what is missing")
		}
		return true
	})
	return problems
}

var leftOpen = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)

func openProblems(s source) []string {
	var problems []string
	for _, group := range s.file.Comments {
		for _, c := range group.List {
			if leftOpen.MatchString(c.Text) {
				problems = append(problems, s.at(c.Pos())+": left open: "+c.Text)
			}
		}
	}
	return problems
}

func declProblems(s source, decl ast.Decl, ifaces map[string]*ast.InterfaceType) []string {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		return funcProblems(s, d)
	case *ast.GenDecl:
		var problems []string
		for _, spec := range d.Specs {
			problems = append(problems, specProblems(s, d, spec, ifaces)...)
		}
		return problems
	}
	return nil
}

func funcProblems(s source, f *ast.FuncDecl) []string {
	if f.Recv == nil && f.Name.Name == "init" {
		return []string{s.at(f.Pos()) + ": init(): build it in app instead"}
	}
	if f.Doc != nil || !f.Name.IsExported() {
		return nil
	}
	name := f.Name.Name
	if f.Recv != nil {
		owner := receiver(f.Recv.List[0].Type)
		if !ast.IsExported(owner) {
			return nil
		}
		name = owner + "." + name
	}
	return []string{undocumented(s, f.Pos(), name)}
}

func undocumented(s source, pos token.Pos, name string) string {
	return fmt.Sprintf("%s: %s is exported and has no doc comment", s.at(pos), name)
}

// receiver is the name of a method's type, without pointer and type parameters.
func receiver(expr ast.Expr) string {
	switch e := expr.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	}
	return ""
}

func specProblems(s source, d *ast.GenDecl, spec ast.Spec, ifaces map[string]*ast.InterfaceType) []string {
	var problems []string
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		if spec.Name.IsExported() && spec.Doc == nil && d.Doc == nil {
			problems = append(problems, undocumented(s, spec.Pos(), spec.Name.Name))
		}
		if iface, ok := spec.Type.(*ast.InterfaceType); ok {
			if n := methods(s.dir, iface, ifaces); n > interfaceMethods {
				problems = append(problems, fmt.Sprintf("%s: interface %s has %d methods, want at most %d; split it by what its callers need",
					s.at(spec.Pos()), spec.Name.Name, n, interfaceMethods))
			}
		}
	case *ast.ValueSpec:
		for _, name := range spec.Names {
			if name.IsExported() && spec.Doc == nil && spec.Comment == nil && d.Doc == nil {
				problems = append(problems, undocumented(s, name.Pos(), name.Name))
			}
		}
	}
	return problems
}

// interfaces indexes the declared interfaces by "dir.Name".
func interfaces(sources []source) map[string]*ast.InterfaceType {
	index := map[string]*ast.InterfaceType{}
	for _, s := range sources {
		ast.Inspect(s.file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok {
				if iface, ok := spec.Type.(*ast.InterfaceType); ok {
					index[s.dir+"."+spec.Name.Name] = iface
				}
			}
			return true
		})
	}
	return index
}

// methods counts an interface's methods; an embedded one of the same package
// counts with its own, one of another package as a single one.
func methods(dir string, iface *ast.InterfaceType, ifaces map[string]*ast.InterfaceType) int {
	n := 0
	for _, field := range iface.Methods.List {
		switch e := field.Type.(type) {
		case *ast.FuncType:
			n += len(field.Names)
		case *ast.Ident:
			if inner := ifaces[dir+"."+e.Name]; inner != nil && inner != iface {
				n += methods(dir, inner, ifaces)
			}
		case *ast.SelectorExpr:
			n++
		}
	}
	return n
}
