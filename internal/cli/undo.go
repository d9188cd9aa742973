package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"serin/internal/api"
)

// undoOptions are the words of `serin undo`.
type undoOptions struct {
	*root
	model, to, reason string
}

func (r *root) undoCommand() *cobra.Command {
	o := &undoOptions{root: r}
	cmd := &cobra.Command{
		Use: "undo MODEL", GroupID: groupAct, Args: wants("MODEL"),
		Short: "Go back to the version before, after a promotion",
		Long: `Go back to the version that was Production before the last promotion, or to --to: traffic first, by pinned
version, then the registry. The version that is left is blocked until serin unblock.`,
		Example: "  serin undo fraud --reason \"complaints from the branch offices\"\n  serin undo fraud --to 41 --reason \"the last good one\"",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := reasoned(cmd, o.reason); err != nil {
				return err
			}
			o.model = args[0]
			return o.run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&o.to, "to", "", "version to go back to (the one before)")
	reasonFlag(cmd, &o.reason)
	return cmd
}

func (o *undoOptions) run(ctx context.Context) error {
	return o.with(ctx, func(s *session) error {
		started, err := s.client.Undo(ctx, o.model, api.UndoRequest{To: o.to, Reason: o.reason})
		if err != nil {
			return err
		}
		if s.app != nil {
			if err := o.carryOut(ctx, s, started.Rollout); err != nil {
				return err
			}
		}
		return o.print(started, fmt.Sprintf("undo %s of %s\n", started.Rollout, o.model))
	})
}

// carryOut performs the undo here, since no server does.
func (o *undoOptions) carryOut(ctx context.Context, s *session, id string) error {
	answer, err := s.client.Perform(ctx, id, "undo_deployment", api.TaskRequest{Reason: o.reason, MaxHold: "30s"})
	if err != nil {
		return err
	}
	if answer.Held || answer.Verdict == "" {
		return fmt.Errorf("undo %s is not proven: %s: start serin serve --data %s, it goes on", id, answer.Reason, s.cfg.Data)
	}
	return nil
}

// unblockOptions are the words of `serin unblock`.
type unblockOptions struct {
	*root
	model, version, reason string
}

// unblocked is what unblock prints with -o json; Version is empty when the only blocked one was meant.
type unblocked struct {
	Model   string `json:"model"`
	Version string `json:"version,omitempty"`
}

func (r *root) unblockCommand() *cobra.Command {
	o := &unblockOptions{root: r}
	cmd := &cobra.Command{
		Use: "unblock MODEL", GroupID: groupAct, Args: wants("MODEL"),
		Short:   "Let a version be rolled out again that an undo had blocked",
		Long:    "Take the block off a version. Without --version it is the only blocked one.",
		Example: "  serin unblock fraud --version 42 --reason \"it was the network\"",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := reasoned(cmd, o.reason); err != nil {
				return err
			}
			o.model = args[0]
			return o.run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&o.version, "version", "", "version to unblock (the only blocked one)")
	reasonFlag(cmd, &o.reason)
	return cmd
}

func (o *unblockOptions) run(ctx context.Context) error {
	return o.with(ctx, func(s *session) error {
		if err := s.client.Unblock(ctx, o.model, api.UnblockRequest{Version: o.version, Reason: o.reason}); err != nil {
			return err
		}
		text := fmt.Sprintf("version %s of %s may be rolled out again\n", o.version, o.model)
		if o.version == "" {
			text = fmt.Sprintf("the blocked version of %s may be rolled out again\n", o.model)
		}
		return o.print(unblocked{o.model, o.version}, text)
	})
}
