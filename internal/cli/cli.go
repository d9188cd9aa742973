// Package cli is the command line: one file a command. Data goes to stdout, talk to stderr, and how it went is the exit code. It builds
// everything through package app and decides nothing.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"serin/internal/config"
)

// The exit codes of spec section 6. The task commands have their own meanings for 1 and 5, which fit these.
const (
	codeOK      = 0
	codeError   = 1
	codeUsage   = 2
	codeEnded   = 3
	codeTimeout = 4
	codeHeld    = 5
	codeNotYet  = 75
)

// Env is all that a command sees of its process.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
}

// exit carries an exit code, and an error when there is something to say.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exit) Unwrap() error { return e.err }

// usage is an error of the caller's words: exit code 2.
func usage(format string, args ...any) error {
	return &exit{codeUsage, fmt.Errorf(format, args...)}
}

// ends is an exit code without anything to say.
func ends(code int) error {
	if code == codeOK {
		return nil
	}
	return &exit{code: code}
}

// root is what all commands share: the environment and the global flags.
type root struct {
	Env
	flags  config.Overrides
	config string
	output string
}

// Main runs one command and gives its exit code. An error is one line on stderr.
func Main(ctx context.Context, args []string, env Env) int {
	r := &root{Env: env}
	cmd := r.command() //nolint:contextcheck // the commands take theirs from cobra
	cmd.SetArgs(args)
	cmd.SetIn(env.Stdin)
	cmd.SetOut(env.Stdout)
	cmd.SetErr(env.Stderr)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return codeOK
	}
	var e *exit
	if !errors.As(err, &e) {
		e = &exit{codeError, err}
	}
	if e.err != nil {
		fmt.Fprintln(env.Stderr, "serin: "+oneLine(err.Error()))
	}
	return e.code
}

// oneLine keeps an error one line, whatever it was made of.
func oneLine(s string) string {
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' })
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	return strings.Join(lines, "; ")
}

// The groups of `serin --help`.
const (
	groupUse    = "use"
	groupLook   = "look"
	groupAct    = "act"
	groupTasks  = "tasks"
	groupModels = "models"
	groupConfig = "config"
)

func (r *root) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serin",
		Short: "Ship machine-learning models safely",
		Long: `Serin compares a challenger with the champion offline, gives it 5 % of live traffic for
30 minutes, 25 % for an hour, then all, judging errors and latency as it goes, and promotes
it in the model registry or takes it back within seconds.

Begin with:  serin demo                  see it all on real card payments, in two minutes
             serin serve                 run the server with its gateway and registry
             serin init MODEL            write a configuration and a plan for your model`,
		SilenceUsage: true, SilenceErrors: true, DisableSuggestions: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		Args:              unknownCommand,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%w: %s --help lists the flags", err, cmd.CommandPath())
	})
	cmd.AddGroup(
		&cobra.Group{ID: groupUse, Title: "Use it:"}, &cobra.Group{ID: groupLook, Title: "Look:"}, &cobra.Group{ID: groupAct, Title: "Act on a rollout:"},
		&cobra.Group{ID: groupTasks, Title: "Single tasks, for schedulers and for hands:"}, &cobra.Group{ID: groupModels, Title: "Models:"},
		&cobra.Group{ID: groupConfig, Title: "Configuration:"},
	)
	cmd.SetHelpCommandGroupID(groupConfig)
	f := cmd.PersistentFlags()
	f.StringVar(&r.config, "config", "", "configuration file (serin.yaml in the working directory)")
	f.StringVar(&r.flags.Data, "data", "", "data folder (SERIN_DATA, serin-data)")
	f.StringVar(&r.flags.Server, "server", "", "server to talk to (SERIN_SERVER, the one of the data folder)")
	f.StringVarP(&r.output, "output", "o", "text", "output: text or json")
	cmd.AddCommand(r.commands()...)
	return cmd
}

// unknownCommand names the commands that are near to a word that is none.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return usage("there is no command %q: did you mean %s?", args[0], strings.Join(near, " or "))
	}
	return usage("there is no command %q: serin --help lists them", args[0])
}

// load brings flags, environment and file together.
func (r *root) load() (config.Config, error) {
	if err := r.format(); err != nil {
		return config.Config{}, err
	}
	cfg, err := config.Load(r.config, r.Getenv, r.flags)
	if err != nil {
		return cfg, &exit{codeUsage, err}
	}
	return cfg, nil
}

// format checks -o.
func (r *root) format() error {
	if r.output != "text" && r.output != "json" {
		return usage("-o %s: use text or json", r.output)
	}
	return nil
}

func (r *root) json() bool { return r.output == "json" }

// print writes v as one line of JSON, or text.
func (r *root) print(v any, text string) error {
	if r.json() {
		return json.NewEncoder(r.Stdout).Encode(v)
	}
	_, err := io.WriteString(r.Stdout, text)
	return err
}

func (r *root) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(r.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// build is the module's version, or the commit that was built.
func build() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel " + s.Value[:12]
		}
	}
	return "devel"
}
