package cli

import (
	"fmt"
	"runtime"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func (r *root) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "config", GroupID: groupConfig, Args: wants(),
		Short: "Show every setting in force and where it came from",
		Long: `Bring flags, environment, serin.yaml and defaults together, in this order of precedence, and print the value and
the source of each setting. Secrets are hidden.`,
		Example: "  serin config\n  serin config --config serin.yaml -o json",
		RunE:    func(*cobra.Command, []string) error { return r.showConfig() },
	}
	r.listenFlags(cmd)
	r.modelFlag(cmd)
	return cmd
}

func (r *root) showConfig() error {
	cfg, err := r.load()
	if err != nil {
		return err
	}
	settings := cfg.Explain()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SETTING\tVALUE\tSOURCE")
	for _, s := range settings {
		fmt.Fprintf(w, "%s\t%s\t%s\n", s.Name, dash(s.Value), s.Source)
	}
	_ = w.Flush() // a strings.Builder takes everything
	return r.print(settings, b.String())
}

// built is what version prints with -o json.
type built struct {
	Version string `json:"version"`
	Go      string `json:"go"`
}

func (r *root) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", GroupID: groupConfig, Args: wants(),
		Short:   "Print the version",
		Long:    "Print the version of this program, or the commit that it was built from, and the Go that built it.",
		Example: "  serin version",
		RunE: func(*cobra.Command, []string) error {
			if err := r.format(); err != nil {
				return err
			}
			return r.print(built{build(), runtime.Version()}, fmt.Sprintf("serin %s (%s)\n", build(), runtime.Version()))
		},
	}
}
