package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"serin/internal/model"
	"serin/internal/planfile"
	"serin/internal/rollout"
)

// initOptions are the words of `serin init`.
type initOptions struct {
	*root
	model, holdout, label string
	force                 bool
}

// initialized is what init prints with -o json: the files that it wrote.
type initialized struct {
	Files []string `json:"files"`
}

func (r *root) initCommand() *cobra.Command {
	o := &initOptions{root: r}
	cmd := &cobra.Command{
		Use: "init MODEL", GroupID: groupConfig, Args: wants("MODEL"),
		Short: "Write a commented serin.yaml and a plan for a registered model",
		Long: `Read the registry and write serin.yaml and plans/MODEL.yaml, every key with its default and what it means.
--holdout and --label say which labeled data the offline gate judges on; without them the plan names
holdout.parquet and label, for you to change. Files that are there already stay, unless --force.`,
		Example: "  serin init fraud --holdout data/holdout.parquet --label is_fraud",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.model = args[0]
			return o.run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&o.holdout, "holdout", "", "CSV or Parquet file with labeled rows")
	cmd.Flags().StringVar(&o.label, "label", "", "its 0/1 column")
	cmd.Flags().BoolVar(&o.force, "force", false, "overwrite the files")
	return cmd
}

func (o *initOptions) run(ctx context.Context) error {
	file := cmp.Or(o.config, "serin.yaml")
	plan := filepath.Join(filepath.Dir(file), "plans", o.model+".yaml")
	if err := model.ValidateName(o.model); err != nil {
		return usage("init: %w", err)
	}
	if !o.force {
		for _, path := range []string{file, plan} {
			if _, err := os.Stat(path); err == nil {
				return fmt.Errorf("%s is there already: edit it, or overwrite it with --force; nothing was written", path)
			}
		}
	}
	if o.force {
		o.config = "" // it is about to be replaced, so its faults do not matter
	}
	versions, err := o.versions(ctx)
	if err != nil {
		return err
	}
	text, err := o.plan(plan, versions)
	if err != nil {
		return err
	}
	if err := o.write(plan, text); err != nil {
		return err
	}
	if err := o.write(file, serinYAML(o.model)); err != nil {
		return err
	}
	return o.print(initialized{[]string{file, plan}}, fmt.Sprintf("%s\n%s\n", file, plan))
}

// versions says in words which versions the registry has in the two stages.
func (o *initOptions) versions(ctx context.Context) (line string, err error) {
	err = o.with(ctx, func(s *session) error {
		bench, err := o.bench(s)
		if err != nil {
			return err
		}
		var parts []string
		for _, stage := range []model.Stage{model.StageProduction, model.StageStaging} {
			versions, err := bench.Staged(ctx, o.model, stage)
			if err != nil {
				return err
			}
			part := fmt.Sprintf("no version is in %s", stage)
			if len(versions) > 0 {
				part = fmt.Sprintf("version %s is in %s", versions[0], stage)
			}
			parts = append(parts, part)
		}
		line = strings.Join(parts, ", ")
		return nil
	})
	return line, err
}

// plan is the default plan with what is known; paths in it are beside the plan.
func (o *initOptions) plan(path, versions string) ([]byte, error) {
	p := rollout.DefaultPlan(o.model)
	p.Gate.Off, p.Gate.Reason = false, ""
	p.Gate.Data, p.Gate.Label = "holdout.parquet", cmp.Or(o.label, "label")
	p.Notifications = []string{"log"}
	head := "Made by `serin init` from the registry: " + versions + "."
	if o.holdout == "" || o.label == "" {
		head += "\nBefore the first start, say on which labeled data the gate judges: offlineGate.data and offlineGate.label."
	}
	if o.holdout != "" {
		data, err := beside(filepath.Dir(path), o.holdout)
		if err != nil {
			return nil, err
		}
		p.Gate.Data = data
	}
	text := planfile.Marshal(p, head)
	if _, err := planfile.Parse(path, text, ""); err != nil {
		return nil, fmt.Errorf("the plan for %s: %w", o.model, err)
	}
	return text, nil
}

// beside gives a path as it is seen from a folder.
func beside(dir, path string) (string, error) {
	if filepath.IsAbs(path) {
		return path, nil
	}
	from, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	to, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(from, to)
	return filepath.ToSlash(rel), err
}

// write makes a file anew; one that came meanwhile stays unless --force.
func (o *initOptions) write(path string, text []byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if o.force {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(path, flags, 0o644)
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// serinYAML is a configuration for one model: what is set is what most people change, all else stands as a comment with its default.
func serinYAML(name string) []byte {
	var b bytes.Buffer
	quoted := strconv.Quote(name)
	plan := strconv.Quote("plans/" + name + ".yaml")
	fmt.Fprintf(&b, `# Made by `+"`serin init`"+`. Relative paths are relative to this file; serin config shows what is in force, serin lint finds faults.

# server: {listen: 127.0.0.1:8080, external_url: ""}     # the API; external_url is for links in messages
# gateway: {listen: 127.0.0.1:8081}                      # where predictions are asked for
# gateways: []                                           # base URLs of further gateways, which must acknowledge a deploy

models:
  %s:
    plan: %s
    routing_file: config/traffic_routing.json            # one a model
    # backend: inprocess                                 # or {urls: [A, B]}: two model servers of yours, roles move between them
    # identity: {path: /health, field: model_version}    # with urls: where a model server tells its version
    # failover: on                                       # the champion answers when the canary fails; off: for side effects
    # onControllerLost: champion                         # or keep: what gateways serve when the server is silent for 5 minutes
    # metrics: {preset: serin}                           # or prometheus

notifications:
  - {name: log, log: {}, on: [started, paused, succeeded, rolled_back, rejected, held, aborted, undone]}
  # - {name: oncall, slack: {env: SLACK_WEBHOOK_URL}, on: [rolled_back, held, rollback_unproven, hold_too_long]}
`, quoted, plan)
	return b.Bytes()
}
