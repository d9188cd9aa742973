package cli

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"serin/internal/config"
	"serin/internal/planfile"
	"serin/internal/strictyaml"
)

func (r *root) lintCommand() *cobra.Command {
	return &cobra.Command{
		Use: "lint FILE...", GroupID: groupConfig,
		Short: "Find every fault in plans and in serin.yaml",
		Long: `Read plan files and serin.yaml files and print every fault and warning as FILE:LINE:COLUMN: what is wrong and
what to write instead. With -o json it is a list. Exit code: 0 without faults (warnings are none), 1 with.`,
		Example: "  serin lint serin.yaml plans/fraud.yaml",
		RunE:    func(_ *cobra.Command, args []string) error { return r.lint(args) },
	}
}

func (r *root) lint(files []string) error {
	if len(files) == 0 {
		return usage("lint: FILE is missing: serin lint serin.yaml plans/*.yaml")
	}
	if err := r.format(); err != nil {
		return err
	}
	faults := []strictyaml.Fault{}
	for _, file := range files {
		found, err := lintFile(file)
		if err != nil {
			return err
		}
		faults = append(faults, found...)
	}
	var text strings.Builder
	count := 0
	for _, f := range faults {
		fmt.Fprintln(&text, f.String())
		if !f.Warning {
			count++
		}
	}
	if err := r.print(faults, text.String()); err != nil {
		return err
	}
	if count > 0 {
		return fmt.Errorf("lint: %d faults in %s: each line above says what to write instead", count, strings.Join(files, ", "))
	}
	return nil
}

// planKey is a key that stands at the top of plans and never of serin.yaml.
var planKey = regexp.MustCompile(`(?m)^["']?(apiVersion|kind|metadata|spec)["']?\s*:`)

// lintFile tells a plan from a configuration by its keys.
func lintFile(file string) ([]strictyaml.Fault, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("lint: %w", err)
	}
	if planKey.Match(text) {
		return planfile.Lint(file, text), nil
	}
	return config.Lint(file, nil, config.Overrides{})
}
