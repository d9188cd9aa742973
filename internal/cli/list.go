package cli

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"serin/internal/api"
)

// listOptions are the words of `serin list`.
type listOptions struct {
	*root
	limit int
}

func (r *root) listCommand() *cobra.Command {
	o := &listOptions{root: r}
	cmd := &cobra.Command{
		Use: "list", GroupID: groupLook, Args: wants(),
		Short:   "List rollouts, the newest first",
		Long:    "List the newest rollouts, open and ended, of one model with --model.",
		Example: "  serin list\n  serin list --model fraud -o json",
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	r.modelFlag(cmd)
	cmd.Flags().IntVar(&o.limit, "limit", 20, "at most so many")
	return cmd
}

func (o *listOptions) run(ctx context.Context) error {
	if o.limit < 1 {
		return usage("list --limit %d: give 1 or more", o.limit)
	}
	return o.with(ctx, func(s *session) error {
		list, err := s.client.List(ctx, s.cfg.Model, o.limit)
		if err != nil {
			return err
		}
		return o.print(list, renderList(list, time.Now()))
	})
}

// renderList is the table of rollouts as it stands at now.
func renderList(list []api.Rollout, now time.Time) string {
	if len(list) == 0 {
		return "no rollouts yet: serin start MODEL --reason WHY\n"
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ROLLOUT\tMODEL\tSTATUS\tSTEP\tWEIGHT\tVERSIONS\tAGE\tREASON")
	for _, r := range list {
		fmt.Fprintf(w, "%s\t%s\t%s %s\t%d/%d\t%g %%\t%s > %s\t%s\t%s\n", r.ID, r.Model, phaseIcon(r.Phase), r.Phase, r.Step, r.Steps, r.WeightPct,
			dash(r.Champion.Version), dash(r.Challenger.Version), age(now.Sub(r.StartedAt)), oneLine(r.Reason))
	}
	_ = w.Flush() // a strings.Builder takes everything
	return b.String()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// age is a length of time in one or two units, as people say it.
func age(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return trimUnits(int(d.Minutes()), "m", int(d.Seconds())%60, "s")
	case d < 24*time.Hour:
		return trimUnits(int(d.Hours()), "h", int(d.Minutes())%60, "m")
	}
	return trimUnits(int(d.Hours())/24, "d", int(d.Hours())%24, "h")
}

func trimUnits(big int, bigUnit string, small int, smallUnit string) string {
	if small == 0 {
		return fmt.Sprintf("%d%s", big, bigUnit)
	}
	return fmt.Sprintf("%d%s%d%s", big, bigUnit, small, smallUnit)
}
