package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"serin/internal/app"
	"serin/internal/config"
)

// ready is the line that serve and gateway print when they serve.
type ready struct {
	Ready   bool   `json:"ready"`
	API     string `json:"api,omitempty"`
	Gateway string `json:"gateway"`
}

func (r *root) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "serve", GroupID: groupUse, Args: wants(),
		Short: "Run the server: API, registry, gateway, sampling, judging, driving",
		Long: `Run the server on a data folder: the API and, without MLFLOW_TRACKING_URI, an MLflow-compatible
registry on one address, the gateway on another. It samples every served model, drives rollouts, and
rolls back by itself. SIGTERM finishes the requests in flight.`,
		Example: "  serin serve --data serin-data --listen 127.0.0.1:8080 --gateway-listen 127.0.0.1:8081",
		RunE:    func(cmd *cobra.Command, _ []string) error { return r.serve(cmd.Context()) },
	}
	r.listenFlags(cmd)
	return cmd
}

func (r *root) listenFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&r.flags.Listen, "listen", "", "address of the API (127.0.0.1:8080)")
	cmd.Flags().StringVar(&r.flags.GatewayListen, "gateway-listen", "", "address of the gateway (127.0.0.1:8081)")
	cmd.Flags().StringVar(&r.flags.RoutingFile, "routing-file", "", "routing file (SERIN_ROUTING_FILE, config/traffic_routing.json)")
	cmd.Flags().StringVar(&r.flags.Plan, "plan", "", "plan file of the served model (SERIN_PLAN)")
}

func (r *root) serve(ctx context.Context) error {
	cfg, err := r.load()
	if err != nil {
		return err
	}
	a, err := app.Open(ctx, app.Options{Config: cfg, Logger: r.logger(), Version: build()})
	if err != nil {
		return err
	}
	return errors.Join(a.Serve(ctx, r.sayReady), a.Close())
}

// sayReady prints where it serves.
func (r *root) sayReady(at app.Ready) {
	line := ready{Ready: true, API: at.API, Gateway: at.Gateway}
	if r.json() {
		if err := json.NewEncoder(r.Stdout).Encode(line); err != nil {
			r.logger().Error("the ready line was not printed", "err", err)
		}
		return
	}
	if at.API != "" {
		fmt.Fprintf(r.Stderr, "API and registry at %s\n", at.API)
	}
	fmt.Fprintf(r.Stderr, "gateway at %s\n", at.Gateway)
}

func (r *root) gatewayCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "gateway", GroupID: groupUse, Args: wants(),
		Short: "Run a gateway alone, beside others, with the server somewhere else",
		Long: `Run only the data plane. It routes by the routing file, fetches models once and keeps them, and serves on
when server, store and registry are down. N gateways on one routing file route alike.`,
		Example: "  serin gateway --data serin-data --gateway-listen 127.0.0.1:8082",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := r.load()
			if err != nil {
				return err
			}
			return r.runGateway(cmd.Context(), cfg)
		},
	}
	r.listenFlags(cmd)
	cmd.Flags().StringVar(&r.flags.Model, "model", "", "model to serve (SERIN_MODEL; those of serin.yaml, else those of the data folder's server)")
	return cmd
}

func (r *root) runGateway(ctx context.Context, cfg config.Config) error {
	return app.RunGateway(ctx, app.Options{Config: cfg, Logger: r.logger(), Version: build()}, r.sayReady)
}
