package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"serin/internal/api"
)

// logsOptions are the words of `serin logs`.
type logsOptions struct {
	*root
	id, task string
	follow   bool
}

func (r *root) logsCommand() *cobra.Command {
	o := &logsOptions{root: r}
	cmd := &cobra.Command{
		Use: "logs ROLLOUT", GroupID: groupLook, Args: wants("ROLLOUT"),
		Short: "Print what the tasks of a rollout did, line by line",
		Long: `Print the log of a rollout, of one task with --task; -f goes on until the rollout has ended. With -o json
each line is one JSON object.`,
		Example: "  serin logs fraud\n  serin logs fraud --task monitor_5_percent -f",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.id = args[0]
			return o.run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&o.task, "task", "", "only this task, such as compare_models")
	cmd.Flags().BoolVarP(&o.follow, "follow", "f", false, "go on until the rollout has ended")
	return cmd
}

func (o *logsOptions) run(ctx context.Context) error {
	return o.with(ctx, func(s *session) error {
		r, err := s.client.Get(ctx, o.id)
		if err != nil {
			return err
		}
		if o.task != "" && !hasTask(r, o.task) {
			return fmt.Errorf("rollout %s has no task %q: serin graph %s lists them", r.ID, o.task, r.ID)
		}
		if o.follow && s.app != nil && !r.Phase.Ended() {
			return fmt.Errorf("follow rollout %s: no server runs, so nothing will be added: start one with serin serve --data %s", r.ID, s.cfg.Data)
		}
		t := &tail{client: s.client, id: r.ID, task: o.task, write: o.line}
		if !o.follow {
			return t.more(ctx)
		}
		return o.tail(ctx, t)
	})
}

// tail prints until the rollout has ended, and then what came until then.
func (o *logsOptions) tail(ctx context.Context, t *tail) error {
	ticker := time.NewTicker(redrawEvery)
	defer ticker.Stop()
	for {
		r, err := t.client.Get(ctx, t.id)
		if err != nil {
			return err
		}
		if err := t.more(ctx); err != nil || r.Phase.Ended() && r.Task == "" {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

func (o *logsOptions) line(l api.LogLine) error {
	if o.json() {
		return json.NewEncoder(o.Stdout).Encode(l)
	}
	_, err := fmt.Fprintf(o.Stdout, "%s %-24s %s\n", l.At.UTC().Format(time.RFC3339), l.Task, l.Line)
	return err
}

// tail gives the lines of a rollout's log that it has not given yet.
type tail struct {
	client   *api.Client
	id, task string
	after    int64
	write    func(api.LogLine) error
}

// more gives what has come since the last call.
func (t *tail) more(ctx context.Context) error {
	for {
		lines, err := t.client.Logs(ctx, t.id, t.task, t.after)
		if err != nil || len(lines) == 0 {
			return err
		}
		for _, l := range lines {
			t.after = l.Seq
			if err := t.write(l); err != nil {
				return errors.Join(errors.New("the log was not written whole"), err)
			}
		}
	}
}

func hasTask(r api.Rollout, id string) bool {
	_, ok := findTask(r, id)
	return ok
}

func findTask(r api.Rollout, id string) (api.Task, bool) {
	for _, t := range r.Tasks {
		if t.ID == id {
			return t, true
		}
	}
	return api.Task{}, false
}
