package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"serin/internal/api"
	"serin/internal/app"
	"serin/internal/compare"
	"serin/internal/config"
	"serin/internal/model"
	"serin/internal/rollout"
)

// compareOptions are the words of `serin compare-models`.
type compareOptions struct {
	taskOptions
	champion, challenger             string
	data, label, mode                string
	championScores, challengerScores string
	threshold                        float64
	firstChampion                    bool
	// alone lists the given flags that only a comparison that stands alone has.
	alone []string
}

// compared is what compare-models prints with -o json for a rollout; Report is null when there was none, as with the gate off.
type compared struct {
	api.TaskAnswer
	Report json.RawMessage `json:"report"`
}

func (r *root) compareCommand() *cobra.Command {
	o := &compareOptions{taskOptions: taskOptions{root: r}}
	cmd := &cobra.Command{
		Use: "compare-models", GroupID: groupTasks, Args: wants(),
		Short: "Judge the challenger against the champion on labeled data",
		Long: `Run the offline gate. Alone, with --champion and --challenger (or a column of scores for either), it compares
two models and opens nothing; limits come from the plan, if there is one. Without them it is the first
task of a rollout: it takes the model's open one, or opens one under the plan, for commands to drive.
Exit code: 0 promote, 1 reject, 5 undecided, anything else: it could not judge.`,
		Example: "  serin compare-models --champion examples/creditcard/champion --challenger examples/creditcard/better --data examples/creditcard/holdout.parquet --label is_fraud --plan examples/creditcard/plan.yaml\n  serin compare-models --model fraud --plan plans/fraud.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, name := range []string{"data", "label", "threshold", "mode", "champion-scores", "challenger-scores"} {
				if cmd.Flags().Changed(name) {
					o.alone = append(o.alone, "--"+name)
				}
			}
			return o.run(cmd.Context())
		},
	}
	o.flagsOf(cmd)
	f := cmd.Flags()
	f.StringVar(&o.champion, "champion", "", "a path, models:/... or a URL")
	f.StringVar(&o.challenger, "challenger", "", "a path, models:/... or a URL")
	f.StringVar(&o.data, "data", "", "CSV or Parquet file with labels (the data folder is SERIN_DATA here)")
	f.StringVar(&o.label, "label", "", "column of the truth, 0 or 1")
	f.Float64Var(&o.threshold, "threshold", 0.5, "score from which a row counts as positive")
	f.StringVar(&o.mode, "mode", "point", "point: the limits are taken as they are")
	f.StringVar(&o.championScores, "champion-scores", "", "column with the champion's scores, for a model that Serin cannot score")
	f.StringVar(&o.challengerScores, "challenger-scores", "", "column with the challenger's scores")
	f.BoolVar(&o.firstChampion, "first-champion", false, "open a rollout although there is no Production version yet; --reason says why")
	return cmd
}

// run judges. Whatever keeps it from judging has a code that is neither promote nor reject.
func (o *compareOptions) run(ctx context.Context) error {
	err := o.judge(ctx)
	var e *exit
	if err == nil || errors.As(err, &e) && e.code != codeError {
		return err
	}
	if e != nil && e.err == nil {
		return err // a reject
	}
	return &exit{codeUsage, err}
}

func (o *compareOptions) judge(ctx context.Context) error {
	champion, challenger := o.champion != "" || o.championScores != "", o.challenger != "" || o.challengerScores != ""
	switch {
	case o.rollout == "" && champion && challenger:
		return o.standAlone(ctx)
	case len(o.alone) > 0:
		return usage("compare-models: %s: in a rollout the plan says it; to compare alone, give --champion and --challenger", strings.Join(o.alone, ", "))
	case o.champion != "":
		return usage("compare-models: --champion without --challenger: give both to compare alone, or neither for a rollout")
	case o.firstChampion && strings.TrimSpace(o.reason) == "":
		return usage("compare-models --first-champion: --reason is missing: say why this version may be the first")
	}
	o.uri = o.challenger
	return o.steadily(ctx, func(s *session) error { return o.inRollout(ctx, s) })
}

// standAlone compares two models without a rollout.
func (o *compareOptions) standAlone(ctx context.Context) error {
	cfg, err := o.load()
	if err != nil {
		return err
	}
	c := app.Comparison{}
	if c.Champion, err = sideRef("--champion", o.champion, o.championScores); err != nil {
		return err
	}
	if c.Challenger, err = sideRef("--challenger", o.challenger, o.challengerScores); err != nil {
		return err
	}
	if c.Gate, err = o.gate(cfg, c.Challenger.Name); err != nil {
		return err
	}
	return o.onBench(ctx, []model.Ref{c.Champion, c.Challenger}, func(b *app.Bench) error {
		report, err := b.Compare(ctx, c)
		if err != nil {
			return fmt.Errorf("could not judge: %w", err)
		}
		if err := o.print(report, report.Text()); err != nil {
			return err
		}
		return ends(taskCode(rollout.KindCompare, api.TaskAnswer{Verdict: string(report.Decision)}))
	})
}

// sideRef reads where a side's scores come from: a model, or a column.
func sideRef(flag, uri, column string) (model.Ref, error) {
	if uri != "" && column != "" {
		return model.Ref{}, usage("compare-models: %s and %s-scores both say where the scores come from: give one", flag, flag)
	}
	if uri == "" {
		return model.Ref{}, nil
	}
	ref, err := model.ParseRef(uri)
	if err != nil {
		return ref, usage("compare-models %s: %w", flag, err)
	}
	return ref, nil
}

// gate is the plan's gate, if there is a plan, with what flags say above it.
func (o *compareOptions) gate(cfg config.Config, name string) (rollout.Gate, error) {
	g := rollout.DefaultPlan("alone").Gate
	if path := cfg.PlanPath(name); path != "" {
		plan, err := app.ReadPlan(path)
		if err != nil {
			return g, err
		}
		g = plan.Gate
	}
	for _, flag := range o.alone {
		switch flag {
		case "--data":
			g.Data = o.data
		case "--label":
			g.Label = o.label
		case "--threshold":
			g.Threshold = o.threshold
		case "--mode":
			g.Mode = o.mode
		}
	}
	g.ChampionScores, g.ChallengerScores = o.championScores, o.challengerScores
	if g.Data == "" || g.Label == "" {
		return g, usage("compare-models: give --data FILE and --label COLUMN, or a --plan that names them")
	}
	if g.Mode != string(compare.Point) {
		return g, usage("compare-models --mode %s: it is not in this version: use point", g.Mode)
	}
	return g, nil
}

// inRollout judges as the first task of a rollout, which it opens when the model has none.
func (o *compareOptions) inRollout(ctx context.Context, s *session) error {
	r, name, ok, err := o.row(ctx, s)
	if err != nil {
		return err
	}
	if !ok {
		if r, err = o.open(ctx, s, name); err != nil {
			return err
		}
	}
	answer, err := o.perform(ctx, s, r, rollout.TaskCompare)
	if err != nil {
		return err
	}
	if r, err = s.client.Get(ctx, r.ID); err != nil {
		return err
	}
	text := fmt.Sprintf("%s of rollout %s: %s: %s\n", answer.Task, r.ID, answer.Verdict, oneLine(answer.Reason))
	out := compared{TaskAnswer: answer}
	if r.Gate != nil && len(r.Gate.Report) > 0 {
		var report compare.Report
		if err := json.Unmarshal(r.Gate.Report, &report); err != nil {
			return fmt.Errorf("the gate's report of rollout %s: %w", r.ID, err)
		}
		out.Report, text = r.Gate.Report, report.Text()+text
	}
	if err := o.print(out, text); err != nil {
		return err
	}
	return ends(taskCode(rollout.KindCompare, answer))
}

// open starts a rollout that commands drive.
func (o *compareOptions) open(ctx context.Context, s *session, name string) (api.Rollout, error) {
	req := api.StartRequest{Model: name, Reason: o.reason}
	if o.firstChampion {
		req.FirstChampion = o.reason
	}
	return o.openRow(ctx, s, req)
}

// openRow starts a rollout for commands to drive, of the version that --model-uri names, and says so.
func (o *taskOptions) openRow(ctx context.Context, s *session, req api.StartRequest) (api.Rollout, error) {
	ref, err := o.reference()
	if err != nil {
		return api.Rollout{}, err
	}
	req.Driver, req.Challenger = rollout.DriverExternal, short(ref)
	if req.Reason == "" {
		req.Reason = "opened by a command"
	}
	if err := addPlan(&req, s.cfg); err != nil {
		return api.Rollout{}, err
	}
	started, err := s.client.Start(ctx, req)
	if err != nil {
		return api.Rollout{}, err
	}
	fmt.Fprintf(o.Stderr, "rollout %s of %s opened\n", started.Rollout, req.Model)
	return s.client.Get(ctx, started.Rollout)
}

// short is how a plan names the version behind a reference: "Staging", "41", "@challenger".
func short(ref model.Ref) string {
	switch ref.Kind {
	case model.RefStage:
		return string(ref.Stage)
	case model.RefVersion:
		return ref.Version
	case model.RefAlias:
		return "@" + ref.Alias
	case model.RefURL, model.RefPath:
		return ""
	}
	return ""
}
