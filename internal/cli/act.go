package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"serin/internal/api"
)

// actOptions are the words of promote, pause, resume, abort and retry.
type actOptions struct {
	*root
	action, id, reason string
	override           bool
}

// acted is what an action prints with -o json; Rollout is a new one when an ended rollout was tried again.
type acted struct {
	Rollout string `json:"rollout"`
	Action  string `json:"action"`
}

// action describes one of the five actions.
type action struct {
	name, past, short, long, example string
}

// actions are the words that a person may say to a rollout. resume and promote are told apart on purpose: one takes a pause back, the other goes on.
func actions() []action {
	return []action{
		{
			"promote", "promoted", "Skip the rest of a step, once the evidence allows it",
			"Go on to the next weight as if the bake were over: the judge still needs its evidence.\n--override-analysis goes on without the evidence; that stands in the history.",
			"  serin promote fraud --reason \"quiet night\"",
		},
		{
			"pause", "paused", "Stop going forward; sampling, judging and rollback go on",
			"Keep a rollout from going forward until somebody resumes it. The canary keeps its share, is judged\nand is rolled back as before.",
			"  serin pause fraud --reason \"incident in the data center\"",
		},
		{
			"resume", "resumed", "Take a pause back",
			"Let a paused rollout go forward again. A plan's own pause without a duration is ended by promote.",
			"  serin resume fraud --reason \"incident is over\"",
		},
		{
			"abort", "aborted", "End a rollout now and give the champion everything",
			"End a rollout: quietly when nobody has met the canary yet, with a rollback otherwise.",
			"  serin abort fraud --reason \"wrong model\"",
		},
		{
			"retry", "tried again", "Try a held or ended rollout again",
			"A held rollout gets a new attempt: a new gate, a new bake, or the failed task at once. An ended one is\nstarted again under its plan, as a new rollout with a new gate.",
			"  serin retry fraud --reason \"data are complete now\"",
		},
	}
}

func (r *root) actionCommands() []*cobra.Command {
	var list []*cobra.Command
	for _, a := range actions() {
		list = append(list, r.actionCommand(a))
	}
	return list
}

func (r *root) actionCommand(a action) *cobra.Command {
	o := &actOptions{root: r, action: a.name}
	cmd := &cobra.Command{
		Use: a.name + " ROLLOUT", GroupID: groupAct, Args: wants("ROLLOUT"), Short: a.short, Long: a.long, Example: a.example,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := reasoned(cmd, o.reason); err != nil {
				return err
			}
			o.id = args[0]
			return o.run(cmd.Context(), a.past)
		},
	}
	reasonFlag(cmd, &o.reason)
	if a.name == "promote" {
		cmd.Flags().BoolVar(&o.override, "override-analysis", false, "go on without the evidence")
	}
	return cmd
}

func (o *actOptions) run(ctx context.Context, past string) error {
	return o.with(ctx, func(s *session) error {
		done, err := s.client.Act(ctx, o.id, o.action, api.ActionRequest{Reason: o.reason, Override: o.override})
		if err != nil {
			return err
		}
		if s.app != nil {
			fmt.Fprintf(o.Stderr, "no server runs: rollout %s does it when one does (serin serve --data %s)\n", done.Rollout, s.cfg.Data)
		}
		return o.print(acted{done.Rollout, o.action}, fmt.Sprintf("rollout %s %s\n", done.Rollout, past))
	})
}
