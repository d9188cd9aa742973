package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"serin/internal/api"
	"serin/internal/config"
	"serin/internal/rollout"
)

// startOptions are the words of `serin start`.
type startOptions struct {
	*root
	reason                string
	firstChampion, noGate bool
}

func (r *root) startCommand() *cobra.Command {
	o := &startOptions{root: r}
	cmd := &cobra.Command{
		Use: "start MODEL", GroupID: groupUse, Args: wants("[MODEL]"),
		Short: "Start a rollout of a model's challenger",
		Long: `Start a rollout: the offline gate, then each weight of the plan with its bake, then the promotion. The
plan is --plan, else SERIN_PLAN, else the one of serin.yaml, else the server's. The versions behind
Production and Staging are fixed at the start. A running server drives the rollout; it prints its id.`,
		Example: "  serin start fraud --reason \"weekly retraining\"\n  serin start fraud --plan plans/fraud.yaml --reason \"a try\"",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := reasoned(cmd, o.reason); err != nil {
				return err
			}
			if len(args) > 0 {
				o.flags.Model = args[0]
			}
			return o.run(cmd.Context())
		},
	}
	r.planFlag(cmd)
	reasonFlag(cmd, &o.reason)
	cmd.Flags().BoolVar(&o.firstChampion, "first-champion", false, "there is no Production version yet: the reason says why this one may be the first")
	cmd.Flags().BoolVar(&o.noGate, "no-gate", false, "start without the offline gate: the reason says why")
	return cmd
}

func (o *startOptions) run(ctx context.Context) error {
	return o.with(ctx, func(s *session) error {
		req := api.StartRequest{Model: s.cfg.Model, Driver: rollout.DriverLocal, Reason: o.reason}
		if o.firstChampion {
			req.FirstChampion = o.reason
		}
		if o.noGate {
			req.NoGate = o.reason
		}
		if err := addPlan(&req, s.cfg); err != nil {
			return err
		}
		if req.Model == "" && req.PlanYAML == "" {
			return usage("start: MODEL is missing: serin start MODEL --reason WHY, or --plan FILE")
		}
		started, err := s.client.Start(ctx, req)
		if err != nil {
			return err
		}
		if s.app != nil {
			fmt.Fprintf(o.Stderr, "no server runs: rollout %s waits for one, start it with serin serve --data %s\n", started.Rollout, s.cfg.Data)
		}
		return o.print(started, started.Rollout+"\n")
	})
}

// addPlan puts the plan file of --plan, SERIN_PLAN or serin.yaml into the request; without one the server's own stands.
func addPlan(req *api.StartRequest, cfg config.Config) error {
	path := cfg.PlanPath(req.Model)
	if path == "" {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("plan: %w: give --plan the plan file", err)
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("plan %s: %w", path, err)
	}
	req.PlanYAML, req.PlanName, req.PlanDir = string(text), path, dir
	return nil
}
