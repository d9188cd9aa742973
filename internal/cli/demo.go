package cli

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"serin/internal/demo/stories"
)

func (r *root) demoCommand() *cobra.Command {
	var keep string
	cmd := &cobra.Command{
		Use: "demo", GroupID: groupUse, Args: wants(),
		Short: "See it all on real card payments, in two minutes",
		Long: `Start a server, a gateway and two model servers in a temporary folder, play customers' traffic from real
card payments, and tell five stories as they happen: a better challenger is promoted; one that fails on
7 % of requests and one that is slow are rolled back; one with poor recall is rejected; the server is
killed with -9 in the middle of a bake and goes on where it was. Times are compressed by a stated factor.
Exit code 0 only if every story ended as it must.`,
		Example: "  serin demo\n  serin demo --keep yes",
	}
	cmd.Flags().StringVar(&keep, "keep", "no", "yes: leave everything running at the end, until Ctrl-C")
	cmd.Flags().Lookup("keep").NoOptDefVal = "yes"
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if keep != "yes" && keep != "no" {
			return usage("--keep %s: use yes or no", keep)
		}
		return r.demo(cmd, keep == "yes")
	}
	return cmd
}

func (r *root) demo(cmd *cobra.Command, keep bool) error { //nolint:revive // flag-parameter: the one option of the command
	dir, err := os.MkdirTemp("", "serin-demo-")
	if err != nil {
		return err
	}
	// A terminal that closes, or a reader that has seen enough, ends the demo as Ctrl-C does: no server may be left behind.
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	format := stories.Text
	if r.json() {
		format = stories.JSON
	}
	var until chan struct{}
	if keep {
		until = make(chan struct{})
	}
	summary, err := stories.Run(ctx, stories.Options{Dir: dir, Actor: actor(), Teller: stories.NewTeller(r.Stdout, format)}, until)
	switch {
	case errors.Is(err, stories.ErrInterrupted):
		return errors.Join(fmt.Errorf("demo: %w", err), os.RemoveAll(dir))
	case err != nil:
		return fmt.Errorf("demo: %w; its files are kept in %s", err, dir)
	case !summary.OK:
		return fmt.Errorf("demo: a story did not end as it must, see the table; its files are kept in %s", dir)
	}
	return os.RemoveAll(dir)
}
