package task

import (
	"context"
	"fmt"

	"serin/internal/rollout"
)

// notify tells people how it ended, on the channels of the plan.
func notify(ctx context.Context, u *run) (rollout.Result, error) {
	event := map[string]string{
		rollout.TaskNotifySuccess: rollout.NotifySucceeded, rollout.TaskNotifyRollback: rollout.NotifyRolledBack,
		rollout.TaskNotifyRejected: rollout.NotifyRejected, rollout.TaskNotifyUndone: rollout.NotifyUndone,
	}[u.task.ID]
	lines, err := u.Notifier.Notify(ctx, u.state, event)
	for _, line := range lines {
		u.say("%s", line)
	}
	if err != nil {
		return u.failed(fmt.Errorf("tell people %q: %w", event, err)), nil
	}
	return u.done("told: %s", event), nil
}
