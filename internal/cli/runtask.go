package cli

import (
	"context"

	"github.com/spf13/cobra"

	"serin/internal/rollout"
)

// runTaskOptions are the words of `serin run-task`.
type runTaskOptions struct {
	taskOptions
	task string
}

func (r *root) runTaskCommand() *cobra.Command {
	o := &runTaskOptions{taskOptions: taskOptions{root: r}}
	cmd := &cobra.Command{
		Use: "run-task TASK_ID", GroupID: groupTasks, Args: wants("TASK_ID"),
		Short: "Run any task of a rollout that commands drive",
		Long: `Bring one task about, by its id in the graph of the rollout (serin graph ROLLOUT), and exit as the task's own
command does: compare_models 0 promote, 1 reject, 5 undecided; monitor_* 0 healthy, 1 not, 5 held;
decide_* 0 forward, 1 back, 5 not decided; every other task 0 done, 1 not. One that has passed exits
as it did then.`,
		Example: "  serin run-task decide_25_percent --rollout fraud",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.task = args[0]
			return o.steadily(cmd.Context(), func(s *session) error { return o.run(cmd.Context(), s) })
		},
	}
	o.flagsOf(cmd)
	cmd.Flags().DurationVar(&o.maxHold, "max-hold", proofPatience, "how long a held rollout is waited for")
	cmd.Flags().BoolVar(&o.once, "once", false, "judge what has come and say 75 when the task is not over")
	return cmd
}

func (o *runTaskOptions) run(ctx context.Context, s *session) error {
	r, err := o.needRow(ctx, s)
	if err != nil {
		return err
	}
	task, err := needTask(r, o.task)
	if err != nil {
		return err
	}
	if s.app != nil && task.Verdict == "" && !s.app.HasSource() && (task.Kind == rollout.KindMonitor || task.Kind == rollout.KindWatch) {
		return usage("run-task %s: %w", o.task, errNoSource)
	}
	answer, err := o.perform(ctx, s, r, task.ID)
	if err != nil {
		return err
	}
	return o.answer(task.Kind, answer)
}
