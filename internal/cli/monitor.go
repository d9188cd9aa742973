package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"serin/internal/api"
	"serin/internal/rollout"
)

// monitorOptions are the words of `serin monitor-canary`.
type monitorOptions struct {
	taskOptions
	traffic  float64
	duration time.Duration
}

func (r *root) monitorCommand() *cobra.Command {
	o := &monitorOptions{taskOptions: taskOptions{root: r}}
	cmd := &cobra.Command{
		Use: "monitor-canary --traffic PERCENT", GroupID: groupTasks, Args: wants(),
		Short: "Judge the canary until its bake is over",
		Long: `Judge errors and latency of the canary for the bake of the plan, which --duration repeats; an unhealthy canary
is rolled back. A rollout that is held is waited for --max-hold at most. With --once everything that has
come since the last call is judged. Without a server this process samples: it needs PROMETHEUS_URL, or
gateways: in serin.yaml.
Exit code: 0 healthy, 1 rolled back or must be, 5 held, 75 not yet (with --once), 2 nothing to sample from.`,
		Example: "  serin monitor-canary --traffic 5 --duration 30m\n  serin monitor-canary --traffic 5 --once",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkTraffic(cmd, o.traffic); err != nil {
				return err
			}
			if o.duration < 0 || o.maxHold < 0 {
				return usage("monitor-canary: --duration and --max-hold are times above 0, such as 30m")
			}
			return o.steadily(cmd.Context(), func(s *session) error { return o.run(cmd.Context(), s) })
		},
	}
	o.flagsOf(cmd)
	cmd.Flags().Float64Var(&o.traffic, "traffic", 0, "percent of the traffic, one of the plan's weights below 100")
	cmd.Flags().DurationVar(&o.duration, "duration", 0, "the bake; it must be the plan's (default: the plan's)")
	cmd.Flags().DurationVar(&o.maxHold, "max-hold", 0, "how long a held rollout is waited for (the duration)")
	cmd.Flags().BoolVar(&o.once, "once", false, "judge what has come and say 75 when the bake is not over")
	return cmd
}

func (o *monitorOptions) run(ctx context.Context, s *session) error {
	r, err := o.needRow(ctx, s)
	if err != nil {
		return err
	}
	task, err := needTask(r, monitorID(o.traffic))
	if err != nil {
		return fmt.Errorf("%w; nothing was done", err)
	}
	if err := o.checkBake(ctx, s, r); err != nil {
		return err
	}
	if s.app != nil && task.Verdict == "" && !s.app.HasSource() {
		return usage("monitor-canary: %w", errNoSource)
	}
	answer, err := o.perform(ctx, s, r, task.ID)
	if err != nil {
		return err
	}
	if o.once && answer.Held && answer.Verdict == "" {
		if answer.Held, err = o.heldTooLong(ctx, s, r.ID); err != nil {
			return err
		}
	}
	return o.answer(rollout.KindMonitor, answer)
}

// checkBake refuses a duration that is not the plan's, and lets a hold last as long as the bake unless --max-hold says else.
func (o *monitorOptions) checkBake(ctx context.Context, s *session, r api.Rollout) error {
	row, err := storedRow(ctx, s, r.ID)
	if err != nil {
		return err
	}
	stage, ok := stageOf(row, o.traffic)
	if ok && o.duration != 0 && o.duration != stage.Bake {
		return fmt.Errorf("--duration %s: the plan of rollout %s bakes %s at %g %%: leave --duration out, or start with another plan; nothing was done", o.duration, r.ID, stage.Bake, o.traffic)
	}
	if o.maxHold == 0 {
		o.maxHold = max(stage.Bake, time.Second)
	}
	return nil
}

// heldTooLong says whether a hold has lasted --max-hold over calls of --once; until then it is "not yet".
func (o *monitorOptions) heldTooLong(ctx context.Context, s *session, id string) (bool, error) {
	r, err := s.client.Get(ctx, id)
	return err == nil && r.Hold != nil && time.Since(r.Hold.Since) >= o.maxHold, err
}
