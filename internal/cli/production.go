package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"serin/internal/api"
	"serin/internal/rollout"
)

// promoteOptions are the words of `serin promote-to-production`.
type promoteOptions struct{ taskOptions }

func (r *root) promoteCommand() *cobra.Command {
	o := &promoteOptions{taskOptions{root: r}}
	cmd := &cobra.Command{
		Use: "promote-to-production", GroupID: groupTasks, Args: wants(),
		Short: "Make the canary the champion: registry first, then all traffic",
		Long: `Archive the old Production version, move the challenger to Production, send it all traffic and prove that.
It is the last task of a rollout: every bake must have been healthy.
Exit code: 0 promoted, 1 not.`,
		Example: "  serin promote-to-production --model-uri models:/fraud/Staging",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.steadily(cmd.Context(), func(s *session) error { return o.run(cmd.Context(), s) })
		},
	}
	o.flagsOf(cmd)
	o.uriFlag(cmd)
	cmd.Flags().DurationVar(&o.maxHold, "max-hold", proofPatience, "how long a promotion that is held is waited for")
	return cmd
}

func (o *promoteOptions) run(ctx context.Context, s *session) error {
	task := deployID(100)
	r, name, ok, err := o.row(ctx, s)
	if err != nil {
		return err
	}
	if !ok {
		return o.again(ctx, s, name)
	}
	if err := o.sameVersion(ctx, s, r); err != nil {
		return err
	}
	answer, err := o.perform(ctx, s, r, task)
	if err != nil {
		return err
	}
	return o.answer(rollout.KindPromote, answer)
}

// again answers a call for what has been done: the model's last rollout was driven by commands and has succeeded.
func (o *promoteOptions) again(ctx context.Context, s *session, name string) error {
	list, err := s.client.List(ctx, name, 1)
	if err != nil {
		return err
	}
	if len(list) == 0 || list[0].Driver != rollout.DriverExternal || list[0].Phase != rollout.Succeeded {
		return fmt.Errorf("%s has no open rollout to promote: serin compare-models opens one; nothing was done", name)
	}
	last := list[0]
	if t, ok := findTask(last, deployID(100)); ok {
		return o.answer(rollout.KindPromote, api.TaskAnswer{Rollout: last.ID, Task: t.ID, Phase: last.Phase, Verdict: t.Verdict, Reason: t.Reason})
	}
	return fmt.Errorf("rollout %s of %s promoted nothing; nothing was done", last.ID, name)
}
