package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"serin/internal/api"
	"serin/internal/rollout"
)

func (r *root) stateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "state ROLLOUT", GroupID: groupLook, Args: wants("ROLLOUT"),
		Short: "Print the stored row of a rollout as JSON",
		Long: `Print the row that the state machine works on: the plan with every constant, the pinned versions with
their digests, what each task came to, the judge's state. -o json puts it on one line.`,
		Example: "  serin state fraud",
		RunE:    func(cmd *cobra.Command, args []string) error { return r.state(cmd.Context(), args[0]) },
	}
}

func (r *root) state(ctx context.Context, id string) error {
	return r.with(ctx, func(s *session) error {
		row, err := s.client.State(ctx, id)
		if err != nil {
			return err
		}
		var text bytes.Buffer
		if err := json.Indent(&text, row, "", "  "); err != nil {
			return err
		}
		return r.print(row, text.String()+"\n")
	})
}

func (r *root) historyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "history ROLLOUT", GroupID: groupLook, Args: wants("ROLLOUT"),
		Short:   "Print who did what to a rollout, and why",
		Long:    "Print the append-only history of a rollout: every transition and every word of a person, with actor and reason.",
		Example: "  serin history fraud",
		RunE:    func(cmd *cobra.Command, args []string) error { return r.history(cmd.Context(), args[0]) },
	}
}

func (r *root) history(ctx context.Context, id string) error {
	return r.with(ctx, func(s *session) error {
		list, err := s.client.History(ctx, id)
		if err != nil {
			return err
		}
		return r.print(list, renderHistory(list))
	})
}

func renderHistory(list []api.HistoryEntry) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, e := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", clock(e.At), e.Actor, e.Event, oneLine(e.Reason))
	}
	_ = w.Flush() // a strings.Builder takes everything
	return b.String()
}

func (r *root) graphCommand() *cobra.Command {
	return &cobra.Command{
		Use: "graph ROLLOUT", GroupID: groupLook, Args: wants("ROLLOUT"),
		Short: "Print the tasks of a rollout's plan and what follows on what",
		Long: `Print the graph of tasks that the plan of a rollout comes to, in the order of the success path, then the
other branches. The ids are those of run-task and of --task.`,
		Example: "  serin graph fraud",
		RunE:    func(cmd *cobra.Command, args []string) error { return r.graph(cmd.Context(), args[0]) },
	}
}

func (r *root) graph(ctx context.Context, id string) error {
	return r.with(ctx, func(s *session) error {
		raw, err := s.client.Graph(ctx, id)
		if err != nil {
			return err
		}
		var nodes []rollout.Node
		if err := json.Unmarshal(raw, &nodes); err != nil {
			return fmt.Errorf("the graph of rollout %s: %w", id, err)
		}
		return r.print(raw, renderGraph(nodes))
	})
}

func renderGraph(nodes []rollout.Node) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TASK\tKIND\tTHEN")
	for _, n := range nodes {
		var next []string
		for _, e := range n.Next {
			if e.On == "" {
				next = append(next, e.To)
			} else {
				next = append(next, e.On+": "+e.To)
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", n.ID, n.Kind, strings.Join(next, ", "))
	}
	_ = w.Flush() // a strings.Builder takes everything
	return b.String()
}
