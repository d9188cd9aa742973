package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// tree is the command tree of a fresh process.
func tree() *cobra.Command {
	r := &root{Env: Env{Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}, Getenv: func(string) string { return "" }}}
	return r.command()
}

// run executes one command line in this process.
func run(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Main(context.Background(), args, Env{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: func(name string) string { return env[name] },
	})
	return code, out.String(), errs.String()
}

func TestHelp_EveryCommandIsWhole(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, cmd := range tree().Commands() {
		seen++
		if cmd.Short == "" || cmd.Long == "" || cmd.Example == "" || cmd.GroupID == "" {
			t.Errorf("%s: Short %q, Long %q, Example %q, group %q: none may be empty", cmd.Name(), cmd.Short, cmd.Long, cmd.Example, cmd.GroupID)
		}
		if strings.HasSuffix(cmd.Short, ".") || len(cmd.Short) > 75 {
			t.Errorf("%s: Short is a line without a period, at most 75 characters: %q", cmd.Name(), cmd.Short)
		}
		for line := range strings.Lines(cmd.Long) {
			if len(line) > 115 {
				t.Errorf("%s: a line of Long has %d characters: %q", cmd.Name(), len(line), line)
			}
		}
	}
	if seen < 28 {
		t.Errorf("%d commands, want all of them", seen)
	}
}

// notScripted are examples that cannot be run in a script, with where they are run instead.
var notScripted = map[string]string{
	"serin demo":            "a stage of .ci/run: it takes a minute",
	"serin demo --keep yes": "it runs until it is interrupted",
}

var port = regexp.MustCompile(`127\.0\.0\.1:\d+`)

// An example in the help that no script runs may be wrong without anybody noticing.
func TestHelp_EveryExampleRunsInAScript(t *testing.T) {
	t.Parallel()
	ran := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(scripts, "*.txtar"))
	if err != nil || len(files) < 8 {
		t.Fatalf("%d scripts in %s (%v)", len(files), scripts, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if _, command, ok := strings.Cut(line, "serin "); ok && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "std") {
				ran[normal("serin "+command)] = true
			}
		}
	}
	for _, cmd := range tree().Commands() {
		for line := range strings.Lines(cmd.Example) {
			example := strings.TrimSpace(line)
			if why := notScripted[example]; why == "" && !ran[normal(example)] {
				t.Errorf("no script runs this example of %s: %s", cmd.Name(), example)
			}
		}
	}
}

// normal makes an example and a line of a script comparable: quotes, ports and what runs in the background.
func normal(line string) string {
	line = strings.TrimSpace(line)
	if i := strings.LastIndex(line, " &"); i > 0 {
		line = line[:i]
	}
	line = strings.ReplaceAll(line, "$ADDR", "127.0.0.1:0") // a free port of the script
	return port.ReplaceAllString(strings.ReplaceAll(line, `'`, `"`), "127.0.0.1:0")
}

func TestHelp_Golden(t *testing.T) {
	t.Parallel()
	code, out, errs := run(t, nil, "--help")
	if code != 0 || errs != "" {
		t.Fatalf("code %d, stderr %q", code, errs)
	}
	golden(t, "help.txt", out)
}

// Every code that a command documents is one that the contract knows.
func TestHelp_ExitCodes(t *testing.T) {
	t.Parallel()
	known := []string{"0", "1", "2", "3", "4", "5", "75"}
	stated := regexp.MustCompile(`(?:Exit code[^:]*: |, )(\d+) [a-z]`)
	found := 0
	for _, cmd := range tree().Commands() {
		_, codes, _ := strings.Cut(cmd.Long, "Exit code")
		for _, m := range stated.FindAllStringSubmatch("Exit code"+codes, -1) {
			if found++; !slices.Contains(known, m[1]) {
				t.Errorf("%s documents exit code %s", cmd.Name(), m[1])
			}
		}
	}
	if found < 15 {
		t.Errorf("found %d documented exit codes, want those of the tasks and of watches", found)
	}
}

// golden compares with a file in testdata; run with SERIN_UPDATE=1 to write it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if os.Getenv("SERIN_UPDATE") == "1" {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; SERIN_UPDATE=1 writes it):\n%s", file, diff)
	}
}
