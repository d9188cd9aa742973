package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"serin/internal/api"
	"serin/internal/model"
	"serin/internal/rollout"
)

// proofPatience is how long a command waits for a deploy or a promotion that is held because nothing proves it.
const proofPatience = time.Minute

// deployOptions are the words of `serin deploy-canary`.
type deployOptions struct {
	taskOptions
	traffic float64
	noGate  bool
}

func (r *root) deployCommand() *cobra.Command {
	o := &deployOptions{taskOptions: taskOptions{root: r}}
	cmd := &cobra.Command{
		Use: "deploy-canary --traffic PERCENT", GroupID: groupTasks, Args: wants(),
		Short: "Give the challenger its share of the traffic, and prove it",
		Long: `Check that the pinned challenger answers, write the routing, and wait until every gateway routes by it, or
until canary requests are seen. The rollout is the model's open one; without one it opens one only when
compare-models has promoted exactly these versions before, or with --no-gate --reason.
Exit code: 0 proven, 1 not deployed or not proven.`,
		Example: "  serin deploy-canary --traffic 5 --model-uri models:/fraud/Staging",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.noGate {
				if err := reasoned(cmd, o.reason); err != nil {
					return err
				}
			}
			if err := checkTraffic(cmd, o.traffic); err != nil {
				return err
			}
			return o.steadily(cmd.Context(), func(s *session) error { return o.run(cmd.Context(), s) })
		},
	}
	o.flagsOf(cmd)
	o.uriFlag(cmd)
	cmd.Flags().Float64Var(&o.traffic, "traffic", 0, "percent of the traffic, one of the plan's weights below 100")
	cmd.Flags().BoolVar(&o.noGate, "no-gate", false, "open a rollout without the offline gate: the reason says why")
	cmd.Flags().DurationVar(&o.maxHold, "max-hold", proofPatience, "how long a deploy that is not proven is waited for")
	return cmd
}

// checkTraffic wants a percentage.
func checkTraffic(cmd *cobra.Command, percent float64) error {
	if !cmd.Flags().Changed("traffic") {
		return usage("%s: --traffic is missing: give a weight of the plan in percent, such as --traffic 5", cmd.Name())
	}
	if !(percent > 0 && percent <= 100) {
		return usage("%s --traffic %g: give a percentage above 0", cmd.Name(), percent)
	}
	return nil
}

func (o *deployOptions) run(ctx context.Context, s *session) error {
	if o.traffic == 100 {
		return fmt.Errorf("deploy-canary --traffic 100: all traffic is a promotion: serin promote-to-production does it; nothing was done")
	}
	task := deployID(o.traffic)
	r, name, ok, err := o.row(ctx, s)
	if err != nil {
		return err
	}
	if ok {
		have, err := needTask(r, task)
		if err != nil || have.Verdict == "" && o.unprovable(s) {
			return fmt.Errorf("%w; nothing was done", cmp.Or(err, errNoSource))
		}
	} else {
		if o.unprovable(s) {
			return fmt.Errorf("%w; nothing was done", errNoSource)
		}
		if r, err = o.open(ctx, s, name); err != nil {
			return err
		}
	}
	if err := o.sameVersion(ctx, s, r); err != nil {
		return err
	}
	if err := o.passGate(ctx, s, r); err != nil {
		return err
	}
	answer, err := o.perform(ctx, s, r, task)
	if err != nil {
		return err
	}
	return o.answer(rollout.KindDeploy, answer)
}

// unprovable says that nothing could show whether the canary gets its traffic.
func (o *deployOptions) unprovable(s *session) bool { return s.app != nil && !s.app.HasSource() }

// open starts a rollout without a gate of its own: a person has said why, or the gate has promoted exactly these versions before.
func (o *deployOptions) open(ctx context.Context, s *session, name string) (api.Rollout, error) {
	req := api.StartRequest{Model: name, Reason: o.reason, NoGate: o.reason, Task: deployID(o.traffic)}
	if o.noGate {
		return o.openRow(ctx, s, req)
	}
	if o.uri == "" {
		return api.Rollout{}, fmt.Errorf("%s has no open rollout: run serin compare-models first; nothing was done", name)
	}
	before, err := o.promoted(ctx, s, name)
	if err != nil {
		return api.Rollout{}, err
	}
	req.NoGate = "the gate of rollout " + before + " has promoted these versions"
	return o.openRow(ctx, s, req)
}

// promoted finds the rollout whose gate has promoted what --model-uri names against what is Production now, and which ended before anybody met it. One
// that was rolled back is judged anew.
func (o *deployOptions) promoted(ctx context.Context, s *session, name string) (id string, err error) {
	challenger, err := o.resolve(ctx, s, o.uri)
	if err != nil {
		return "", err
	}
	champion, err := o.resolve(ctx, s, model.Ref{Kind: model.RefStage, Name: name, Stage: model.StageProduction}.String())
	if err != nil {
		return "", err
	}
	list, err := s.client.List(ctx, name, 200)
	if err != nil {
		return "", err
	}
	for _, r := range list {
		passed := r.Gate != nil && r.Gate.Decision == "promote" && len(r.Gate.Report) > 0
		unmet := r.Phase == rollout.Aborted || r.Phase == rollout.Failed
		if passed && unmet && samePin(r.Challenger, challenger) && samePin(r.Champion, champion) {
			return r.ID, nil
		}
	}
	return "", fmt.Errorf("%s version %s has no open rollout and no gate that promoted it against version %s: run serin compare-models first, or give --no-gate --reason WHY; nothing was done",
		name, challenger.Version, champion.Version)
}

func (o *taskOptions) resolve(ctx context.Context, s *session, uri string) (model.Pin, error) {
	ref, err := model.ParseRef(uri)
	if err != nil {
		return model.Pin{}, err
	}
	bench, err := o.bench(s)
	if err != nil {
		return model.Pin{}, err
	}
	return bench.Resolve(ctx, ref)
}

func samePin(a, b model.Pin) bool { return a.Version == b.Version && a.Digest == b.Digest }

// sameVersion holds --model-uri against the pinned challenger. A stage or an alias that has moved since changes nothing and is reported; a number
// that is another one is refused.
func (o *taskOptions) sameVersion(ctx context.Context, s *session, r api.Rollout) error {
	ref, err := o.reference()
	pinned := r.Challenger.Version
	if err != nil || o.uri == "" || pinned == "" {
		return err
	}
	if ref.Name != r.Model {
		return usage("--model-uri %s is not of %s, the model of rollout %s", o.uri, r.Model, r.ID)
	}
	if ref.Kind == model.RefVersion && ref.Version != pinned {
		return fmt.Errorf("--model-uri %s: rollout %s of %s is pinned to version %s: end it with serin abort first; nothing was done", o.uri, r.ID, r.Model, pinned)
	}
	now, err := o.resolve(ctx, s, o.uri)
	switch {
	case err != nil:
		fmt.Fprintf(o.Stderr, "%s cannot be resolved now (%s): rollout %s stays with version %s\n", o.uri, oneLine(err.Error()), r.ID, pinned)
	case now.Version != pinned:
		fmt.Fprintf(o.Stderr, "%s is version %s by now: rollout %s stays with version %s, as it was started\n", o.uri, now.Version, r.ID, pinned)
	}
	return nil
}

// passGate brings a gate that is switched off behind it: it is a task all the same.
func (o *deployOptions) passGate(ctx context.Context, s *session, r api.Rollout) error {
	row, err := storedRow(ctx, s, r.ID)
	if err != nil || !row.Plan.Gate.Off {
		return err
	}
	if _, over := row.Tasks[rollout.TaskCompare]; over {
		return nil
	}
	answer, err := o.perform(ctx, s, r, rollout.TaskCompare)
	if err == nil && answer.Verdict != "skipped" {
		err = fmt.Errorf("rollout %s: %s %s: %s", r.ID, answer.Task, strings.TrimSpace("is not over "+answer.Verdict), answer.Reason)
	}
	return err
}

// storedRow reads a rollout's row.
func storedRow(ctx context.Context, s *session, id string) (rollout.State, error) {
	var row rollout.State
	raw, err := s.client.State(ctx, id)
	if err != nil {
		return row, err
	}
	if err := json.Unmarshal(raw, &row); err != nil {
		return row, fmt.Errorf("the row of rollout %s: %w", id, err)
	}
	return row, nil
}
