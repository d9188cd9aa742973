package internal

import (
	"fmt"
	"go/ast"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	modulePath = "serin"
	anything   = "*" // in a rule: every package of the module
)

// core is what decides. It does no I/O, has no clock, starts no goroutine and
// imports core only.
var core = []string{
	"internal/model", "internal/stats", "internal/traffic",
	"internal/forest", "internal/forest/xgboost",
	"internal/analysis", "internal/compare", "internal/rollout", "internal/planfile", "internal/strictyaml",
}

// mayImport says for every package which packages of this module its shipped
// files may import. A package that is not here fails the test, so that the
// question where it belongs is asked when it is made.
//
// Test-support packages (their name ends in "test") may import anything, and only
// tests import them. Tests of core packages keep to core; other tests are free.
var mayImport = func() map[string][]string {
	rules := map[string][]string{
		// Machinery.
		"internal/engine":  with("internal/model", "internal/traffic", "internal/analysis", "internal/rollout", "internal/store"),
		"internal/task":    core,
		"internal/sampler": with("internal/store", core...),
		"internal/scorer":  core,
		"internal/gateway": with("internal/scorer", core...),
		// Adapters: core only, and never each other, the engine or a task.
		"internal/store":        core,
		"internal/store/sqlite": with("internal/store", core...),
		"internal/mlflow":       core,
		"internal/promapi":      core,
		"internal/routingfile":  core,
		"internal/dataset":      core,
		"internal/notify":       core,
		// Surfaces.
		"internal/registry": {"internal/store", "internal/model"},
		"internal/api":      append(with("internal/engine", core...), "internal/store"),
		"internal/cli":      append(with("internal/app", core...), "internal/config", "internal/api", "internal/demo/stories"),
		// The demo's customers and model servers see the product from outside, over HTTP.
		"internal/demo":        {},
		"internal/demo/faulty": {},
		// The stories act through the API and the gateways, and register models as a user's script would.
		"internal/demo/stories": append(with("internal/api", core...), "internal/demo", "internal/demo/faulty", "internal/mlflow", "internal/sampler", "internal/scorer", "examples/creditcard"),
		// Assembly.
		"internal/config": core,
		"internal/app":    {anything},
		// Outside internal.
		"cmd/serin":           {"internal/cli"},
		"examples/creditcard": {},
		"internal":            {},
	}
	for _, pkg := range core {
		rules[pkg] = core
	}
	return rules
}()

// onlyApp lists what nobody else imports, whatever their own rule says.
var onlyApp = map[string][]string{
	"internal/config": {"internal/app", "internal/cli"},
	"internal/app":    {"internal/cli"},
	"internal/cli":    {"cmd/serin"},
}

// thirdParty says where a dependency may appear, by its path's prefix. One that
// is not here has no home yet; testOnly ones never ship.
var thirdParty = map[string][]string{
	"github.com/spf13/cobra":              {"internal/cli"},
	"github.com/spf13/pflag":              {"internal/cli"},
	"golang.org/x/term":                   {"internal/cli"},
	"github.com/valyala/fasthttp":         {"internal/gateway"},
	"modernc.org/sqlite":                  {"internal/store/sqlite"},
	"github.com/parquet-go/parquet-go":    {"internal/dataset"},
	"github.com/klauspost/compress":       {"internal/dataset"},
	"go.yaml.in/yaml/v3":                  {"internal/strictyaml", "internal/model", "internal/planfile", "internal/config", "internal/cli"},
	"github.com/cespare/xxhash/v2":        {"internal/traffic"},
	"github.com/prometheus/client_golang": {"internal/app", "internal/api", "internal/engine", "internal/gateway", "internal/notify", "internal/promapi", "internal/registry", "internal/sampler"},
	"github.com/prometheus/client_model":  {"internal/gateway", "internal/sampler"},
	"github.com/prometheus/common":        {"internal/gateway", "internal/promapi", "internal/sampler"},
	"golang.org/x/sys":                    {"internal/routingfile", "internal/store/sqlite"},
	"github.com/google/go-cmp":            {},
	"github.com/rogpeppe/go-internal":     {},
	"go.uber.org/goleak":                  {},
}

// impure are packages of the standard library that the core must not use.
var impure = map[string]string{
	"os": "does I/O", "os/exec": "does I/O", "os/signal": "does I/O", "net": "does I/O", "net/http": "does I/O",
	"database/sql": "does I/O", "log": "logs", "log/slog": "logs", "context": "waits",
	"math/rand": "has hidden state", "crypto/rand": "has hidden state",
}

// clock are the functions of package time that read or wait for a clock.
var clock = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}

func with(first string, rest ...string) []string {
	return append([]string{first}, rest...)
}

func TestLayering(t *testing.T) {
	t.Parallel()
	for _, problem := range layering(parseRepository(t)) {
		t.Error(problem)
	}
}

// Every rule must fire on a tree that breaks it, or it keeps nothing.
func TestLayering_SeesPlantedViolations(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		file string
		text string
		want []string
	}{
		{
			"core imports an adapter", "internal/analysis/a.go", imports("serin/internal/store"),
			[]string{"internal/analysis/a.go:3: internal/analysis must not import internal/store"},
		},
		{
			"core test imports the engine", "internal/stats/a_test.go", imports("serin/internal/engine"),
			[]string{"internal/stats/a_test.go:3: tests of internal/stats must not import internal/engine"},
		},
		{
			"adapter imports an adapter", "internal/notify/a.go", imports("serin/internal/mlflow"),
			[]string{"internal/notify/a.go:3: internal/notify must not import internal/mlflow"},
		},
		{
			"task imports the engine", "internal/task/a.go", imports("serin/internal/engine"),
			[]string{"internal/task/a.go:3: internal/task must not import internal/engine"},
		},
		{
			"gateway imports the store", "internal/gateway/a.go", imports("serin/internal/store"),
			[]string{"internal/gateway/a.go:3: internal/gateway must not import internal/store"},
		},
		{
			"somebody imports config", "internal/api/a.go", imports("serin/internal/config"),
			[]string{"internal/api/a.go:3: internal/api must not import internal/config"},
		},
		{
			"app imports the command line", "internal/app/a.go", imports("serin/internal/cli"),
			[]string{"internal/app/a.go:3: internal/app must not import internal/cli"},
		},
		{
			"product imports test support", "internal/app/a.go", imports("serin/internal/store/storetest"),
			[]string{"internal/app/a.go:3: internal/app must not import internal/store/storetest: it is for tests"},
		},
		{
			"package without a rule", "internal/util/a.go", imports(),
			[]string{"internal/util/a.go:1: no rule for internal/util; decide its layer and add it to mayImport"},
		},
		{
			"cobra outside cli", "internal/app/a.go", imports("github.com/spf13/cobra"),
			[]string{"internal/app/a.go:3: internal/app must not import github.com/spf13/cobra"},
		},
		{
			"test dependency ships", "internal/app/a.go", imports("github.com/google/go-cmp/cmp"),
			[]string{"internal/app/a.go:3: internal/app must not import github.com/google/go-cmp/cmp"},
		},
		{
			"unknown dependency", "internal/app/a.go", imports("example.org/x/y"),
			[]string{"internal/app/a.go:3: no rule for dependency example.org/x/y; add it to thirdParty with its one home"},
		},
		{
			"core does I/O", "internal/model/a.go", imports("os"),
			[]string{"internal/model/a.go:3: internal/model is core and must not import os: it does I/O"},
		},
		{
			"core reads the clock", "internal/rollout/a.go", "package a\n\nimport \"time\"\n\nfunc f() time.Time { return time.Now() }\n",
			[]string{"internal/rollout/a.go:5: internal/rollout is core and must not call time.Now; take the time as an argument"},
		},
		{
			"core starts a goroutine", "internal/forest/a.go", "package a\n\nfunc f() { go f() }\n",
			[]string{"internal/forest/a.go:3: internal/forest is core and must not start a goroutine"},
		},
		{"allowed: core, time as a value", "internal/compare/a.go", "package a\n\nimport (\n\t\"time\"\n\n\t_ \"serin/internal/stats\"\n)\n\nvar d = time.Second\n", nil},
		{"allowed: a test opens a real store", "internal/engine/a_test.go", imports("serin/internal/store/sqlite", "serin/internal/store/storetest", "github.com/google/go-cmp/cmp"), nil},
		{"allowed: test support imports what it wants", "internal/app/apptest/a.go", imports("serin/internal/app", "serin/internal/store/sqlite"), nil},
		{"allowed: app imports everything", "internal/app/a.go", imports("serin/internal/config", "serin/internal/mlflow", "serin/internal/task"), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := layering(plant(t, map[string]string{tt.file: tt.text}))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// imports is a file that imports the given paths from line 3 on.
func imports(paths ...string) string {
	text := "package a\n\n"
	for _, p := range paths {
		text += fmt.Sprintf("import _ %q\n", p)
	}
	return text
}

// Rules for packages that can never be imported, or that name nothing, hide typing errors.
func TestLayering_RulesNameKnownPackages(t *testing.T) {
	t.Parallel()
	for pkg, allowed := range mayImport {
		for _, other := range allowed {
			if _, known := mayImport[other]; !known && other != anything {
				t.Errorf("the rule of %s allows %s, which has no rule itself", pkg, other)
			}
		}
	}
	for _, homes := range slices.Collect(maps.Values(thirdParty)) {
		for _, home := range homes {
			if _, known := mayImport[home]; !known {
				t.Errorf("a dependency has its home in %s, which has no rule", home)
			}
		}
	}
}

// layering returns what breaks the rules, in the order of the files.
func layering(sources []source) []string {
	var problems []string
	unknown := map[string]bool{}
	for _, s := range sources {
		if _, known := mayImport[s.dir]; !known && !s.support() && !unknown[s.dir] {
			unknown[s.dir] = true
			problems = append(problems, fmt.Sprintf("%s: no rule for %s; decide its layer and add it to mayImport", s.at(s.file.Package), s.dir))
		}
		for _, spec := range s.file.Imports {
			if problem := checkImport(s, spec); problem != "" {
				problems = append(problems, s.at(spec.Pos())+": "+problem)
			}
		}
		if s.product() && slices.Contains(core, s.dir) {
			problems = append(problems, impurities(s)...)
		}
	}
	return problems
}

func checkImport(s source, spec *ast.ImportSpec) string {
	imported, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		return fmt.Sprintf("import path %s: %v", spec.Path.Value, err)
	}
	if other, ours := strings.CutPrefix(imported, modulePath+"/"); ours {
		return checkOurs(s, other)
	}
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		if why, bad := impure[imported]; bad && s.product() && slices.Contains(core, s.dir) {
			return fmt.Sprintf("%s is core and must not import %s: it %s", s.dir, imported, why)
		}
		return ""
	}
	return checkDependency(s, imported)
}

func checkOurs(s source, other string) string {
	isCore := slices.Contains(core, s.dir)
	switch {
	case s.product() && isSupport(other):
		return fmt.Sprintf("%s must not import %s: it is for tests", s.dir, other)
	case s.test && isCore && !slices.Contains(core, other) && !isSupport(other):
		return fmt.Sprintf("tests of %s must not import %s", s.dir, other)
	case s.product() && !allowed(s.dir, other):
		return fmt.Sprintf("%s must not import %s", s.dir, other)
	}
	return ""
}

func allowed(dir, other string) bool {
	rule, known := mayImport[dir]
	if !known {
		return true // already reported, once
	}
	if only, reserved := onlyApp[other]; reserved && !slices.Contains(only, dir) {
		return false
	}
	return slices.Contains(rule, other) || slices.Contains(rule, anything)
}

func checkDependency(s source, imported string) string {
	for prefix, homes := range thirdParty {
		if imported != prefix && !strings.HasPrefix(imported, prefix+"/") {
			continue
		}
		if s.product() && !slices.Contains(homes, s.dir) {
			return fmt.Sprintf("%s must not import %s", s.dir, imported)
		}
		return ""
	}
	return fmt.Sprintf("no rule for dependency %s; add it to thirdParty with its one home", imported)
}

// impurities finds calls of the clock and goroutines in a file of the core.
func impurities(s source) []string {
	var problems []string
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			problems = append(problems, fmt.Sprintf("%s: %s is core and must not start a goroutine", s.at(n.Pos()), s.dir))
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clock, n.Sel.Name) {
				problems = append(problems, fmt.Sprintf("%s: %s is core and must not call time.%s; take the time as an argument", s.at(n.Pos()), s.dir, n.Sel.Name))
			}
		}
		return true
	})
	return problems
}
