package cli

import (
	"strings"

	"github.com/spf13/cobra"
)

// wants checks the arguments of a command and asks for what is missing by its name. One in brackets may be left out.
func wants(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > len(names) {
			return usage("%s: %q is one argument too many: %s --help shows how it is called", cmd.Name(), args[len(names)], cmd.CommandPath())
		}
		for _, name := range names[min(len(args), len(names)):] {
			if !strings.HasPrefix(name, "[") {
				return usage("%s: %s is missing: %s --help shows how it is called", cmd.Name(), name, cmd.CommandPath())
			}
		}
		return nil
	}
}

// first is the first argument, "" when there is none.
func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// reasonFlag adds --reason.
func reasonFlag(cmd *cobra.Command, reason *string) {
	cmd.Flags().StringVar(reason, "reason", "", "why; it stands in the history with your name")
}

// reasoned wants a reason.
func reasoned(cmd *cobra.Command, reason string) error {
	if strings.TrimSpace(reason) == "" {
		return usage("%s: --reason is missing: say why, it stands in the history with your name", cmd.Name())
	}
	return nil
}

// modelFlags adds the flags that say which model and plan a command is about.
func (r *root) modelFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&r.flags.Model, "model", "", "registered model (SERIN_MODEL)")
}

func (r *root) planFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&r.flags.Plan, "plan", "", "plan file (SERIN_PLAN, else the one of serin.yaml)")
}
