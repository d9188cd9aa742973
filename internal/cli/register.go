package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"serin/internal/app"
	"serin/internal/model"
)

// registerOptions are the words of `serin register`.
type registerOptions struct {
	*root
	name, path, stage string
}

// registered is what register prints with -o json.
type registered struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

func (r *root) registerCommand() *cobra.Command {
	o := &registerOptions{root: r}
	cmd := &cobra.Command{
		Use: "register NAME PATH", GroupID: groupModels, Args: wants("NAME", "PATH"),
		Short: "Register a model folder or file as the next version of a model",
		Long: `Upload a model folder, as MLflow's save_model writes it, or a bare model file, and make it the next
version of NAME in the registry: MLFLOW_TRACKING_URI, else that of the server, else the embedded one
of the data folder. --stage moves the new version; the versions that are there already stay.`,
		Example: "  serin register fraud models/champion --stage Production\n  serin register fraud models/better --stage Staging",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.name, o.path = args[0], args[1]
			return o.run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&o.stage, "stage", "", "stage of the new version: Staging, Production or Archived")
	return cmd
}

func (o *registerOptions) run(ctx context.Context) error {
	registration := app.Registration{Name: o.name, Path: o.path}
	if err := model.ValidateName(o.name); err != nil {
		return usage("register: %w", err)
	}
	if o.stage != "" {
		stage, err := model.ParseStage(o.stage)
		if err != nil {
			return usage("register --stage: %w", err)
		}
		registration.Stage = stage
	}
	return o.with(ctx, func(s *session) error {
		bench, err := o.bench(s)
		if err != nil {
			return err
		}
		version, err := bench.Register(ctx, registration)
		if err != nil {
			return err
		}
		text := fmt.Sprintf("%s version %s\n", o.name, version)
		if registration.Stage != "" {
			text = fmt.Sprintf("%s version %s in %s\n", o.name, version, registration.Stage)
		}
		return o.print(registered{o.name, version}, text)
	})
}
