package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"serin/internal/api"
	"serin/internal/app"
	"serin/internal/config"
)

// hurry is how long a rollback waits for a server to say that it is there: traffic is back by then.
const hurry = 500 * time.Millisecond

// rollbackOptions are the words of `serin rollback-deployment`.
type rollbackOptions struct {
	*root
	reason string
	// uri is --model-uri, which only says which model.
	uri string
}

// rolledBack is what rollback-deployment prints with -o json. Done is what is certain, Owed what is settled later and by whom.
type rolledBack struct {
	Model       string   `json:"model"`
	RoutingFile string   `json:"routing_file"`
	Rollout     string   `json:"rollout,omitempty"`
	Phase       string   `json:"phase,omitempty"`
	Done        []string `json:"done"`
	Owed        []string `json:"owed"`
}

func (r *root) rollbackCommand() *cobra.Command {
	o := &rollbackOptions{root: r}
	cmd := &cobra.Command{
		Use: "rollback-deployment", GroupID: groupTasks, Args: wants(),
		Short: "Give the champion everything, now, whatever else is down",
		Long: `Take the canary away: first in the routing file, which needs no server, store or registry; then whatever can be
reached is told, and the rest is owed and settled by the server later. It works with a dead or hung server,
and in a container that has nothing but the folder of the routing file. Again: nothing more, exit code 0.
After a promotion there is no canary: it changes nothing, exits 1, and serin undo is what you want.
Exit code: 0 the routing file is durable, 1 not.`,
		Example: "  serin rollback-deployment\n  serin rollback-deployment --model fraud --reason \"errors in the branch offices\"",
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	r.modelFlag(cmd)
	cmd.Flags().StringVar(&r.flags.RoutingFile, "routing-file", "", "routing file (SERIN_ROUTING_FILE; else the server's, serin.yaml's, config/traffic_routing.json)")
	cmd.Flags().StringVar(&o.uri, "model-uri", "", "the model, such as models:/NAME/Staging")
	reasonFlag(cmd, &o.reason)
	return cmd
}

// run goes by what it can read: a broken configuration or server.json is said, and is no reason not to roll back.
func (o *rollbackOptions) run(ctx context.Context) error {
	cfg, err := o.load()
	if err != nil && cfg.Data == "" {
		return err
	}
	if err != nil {
		fmt.Fprintf(o.Stderr, "the configuration has a fault, going on without it: %s\n", oneLine(err.Error()))
	}
	file, err := app.ReadServerFile(cfg.Data)
	if err != nil {
		fmt.Fprintf(o.Stderr, "going on without it: %s\n", oneLine(err.Error()))
	}
	if err := o.nameModel(&cfg); err != nil {
		return err
	}
	t, err := o.target(ctx, cfg, file)
	if err == nil && t.name == "" || errors.Is(err, errWhich) {
		name, unknown := o.askModel(ctx, cfg)
		if unknown != nil {
			return cmp.Or(err, unknown)
		}
		cfg.Model = name
		t, err = o.target(ctx, cfg, file)
	}
	if err != nil {
		return err
	}
	return o.rollback(ctx, cfg, t)
}

// errWhich says that the routing files alone do not tell which model is meant.
var errWhich = errors.New("which model? give --model or SERIN_MODEL")

// askModel asks the server or the store which model has the only open rollout, or is the only one, when no file tells.
func (o *rollbackOptions) askModel(ctx context.Context, cfg config.Config) (name string, err error) {
	s := &session{cfg: cfg}
	var silence error
	if s.client, s.url, silence = o.server(ctx, cfg, hurry); s.client == nil {
		var why string
		if s, why = o.store(ctx, cfg, cfg.RoutingFile, silence); s == nil {
			return "", &exit{codeUsage, fmt.Errorf("%w (no routing file tells; %s)", errWhich, why)}
		}
		defer func() { err = errors.Join(err, s.close()) }()
	}
	t := taskOptions{root: o.root}
	return t.which(ctx, s)
}

// nameModel takes the model from --model-uri when nothing else names it.
func (o *rollbackOptions) nameModel(cfg *config.Config) error {
	t := taskOptions{root: o.root, uri: o.uri}
	ref, err := t.reference()
	if err != nil {
		return err
	}
	if cfg.Model != "" && ref.Name != "" && ref.Name != cfg.Model {
		return usage("--model-uri %s is not of the model %s: leave one of them out", o.uri, cfg.Model)
	}
	cfg.Model = cmp.Or(cfg.Model, ref.Name)
	return nil
}

// target is the routing file that is to lose its canary, and the model that it routes.
type target struct {
	*app.Emergency
	name string
	// named is set when somebody said that the file is there: a flag, the environment, the server, serin.yaml.
	named bool
}

// candidates are the routing files that may be meant, by model; "" is the model that only the file itself can tell.
func candidates(cfg config.Config, file app.ServerFile) map[string]target {
	paths := map[string]target{}
	for _, m := range cfg.Models {
		paths[m.Name] = target{named: true}
	}
	for name := range file.RoutingFiles {
		paths[name] = target{named: true}
	}
	if cfg.Model != "" {
		paths = map[string]target{cfg.Model: {}}
	}
	if len(paths) == 0 {
		paths[""] = target{}
	}
	return paths
}

// routingPath is where a model's routing file is, and whether somebody said so.
func routingPath(cfg config.Config, file app.ServerFile, name string) (path string, named bool) {
	if cfg.RoutingFile != "" {
		return cfg.RoutingFile, true
	}
	if path := file.RoutingFiles[name]; path != "" {
		return path, true
	}
	_, named = cfg.Find(name)
	return cfg.RoutingPath(name), named
}

// target finds the one file that is meant: the model's, else the only one that has a canary, else the only one.
func (o *rollbackOptions) target(ctx context.Context, cfg config.Config, file app.ServerFile) (target, error) {
	var all, canaries []target
	for _, name := range slices.Sorted(maps.Keys(candidates(cfg, file))) {
		path, named := routingPath(cfg, file, name)
		e, err := app.OpenEmergency(ctx, path)
		if err != nil {
			return target{}, fmt.Errorf("routing file %s: %w: give --routing-file", path, err)
		}
		t := target{Emergency: e, name: cmp.Or(name, e.Model()), named: named}
		all = append(all, t)
		if e.Canary() {
			canaries = append(canaries, t)
		}
	}
	switch {
	case len(canaries) == 1:
		return canaries[0], nil
	case len(all) == 1:
		return all[0], nil
	}
	var names []string
	for _, t := range all {
		names = append(names, t.name)
	}
	return target{}, usage("%w: %s", errWhich, strings.Join(names, ", "))
}

// rollback does the file first, then tells whoever can be reached.
func (o *rollbackOptions) rollback(ctx context.Context, cfg config.Config, t target) error {
	out := rolledBack{Model: t.name, RoutingFile: t.Path(), Done: []string{}, Owed: []string{}}
	had, lost := t.Canary(), t.Missing() && !t.named
	if !lost {
		line, err := t.Disable(ctx, t.name, "serin rollback-deployment by "+actor())
		if err != nil {
			return fmt.Errorf("%w: give --routing-file, or stop the canary's process", err)
		}
		out.Done = append(out.Done, line)
	}
	told, err := o.tell(ctx, cfg, t, &out)
	switch {
	case err == nil && !told && lost:
		return fmt.Errorf("there is no routing file %s, and no server or store to ask where it is: give --routing-file, or run it in the folder of the service; nothing was done", t.Path())
	case err == nil && !told && t.Promoted():
		err = fmt.Errorf("%s has no canary, its last rollout was promoted: nothing was changed: to go back to the version before, run serin undo %s --reason WHY", t.name, t.name)
	case errors.Is(err, api.ErrConflict) && had:
		err = nil // the row has ended, and left a canary behind that is gone now
	}
	if err != nil {
		return err
	}
	return o.print(out, renderRollback(out))
}

// tell brings the rollout to know: by the server, or in its store when there is no server. What cannot be reached is owed. told is false when nobody was.
func (o *rollbackOptions) tell(ctx context.Context, cfg config.Config, t target, out *rolledBack) (told bool, err error) {
	req := api.RollbackRequest{Reason: o.reason}
	client, _, silence := o.server(ctx, cfg, hurry)
	if client == nil {
		s, why := o.store(ctx, cfg, t.Path(), silence)
		if s == nil {
			out.Owed = append(out.Owed, why)
			return false, nil
		}
		defer func() { err = errors.Join(err, s.close()) }()
		client = s.client
		if req.Wait = "1s"; s.app.HasSource() {
			stop, err := s.app.StartSampling(ctx, t.name)
			if err != nil {
				return false, err
			}
			defer stop()
			req.Wait = ""
		}
	}
	limited, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	answer, err := client.Rollback(limited, t.name, req)
	var refused *api.StatusError
	switch {
	case errors.Is(err, api.ErrConflict):
		return true, err
	case errors.As(err, &refused), errors.Is(err, api.ErrUnreachable), errors.Is(err, context.DeadlineExceeded):
		out.Owed = append(out.Owed, "the rollout does not know yet: "+oneLine(err.Error()))
		return false, nil
	case err != nil:
		return false, err
	}
	out.Rollout, out.Phase = answer.Rollout, string(answer.Phase)
	for _, line := range answer.Done {
		if len(out.Done) > 0 && strings.HasPrefix(line, t.Path()) {
			continue // the file is as we have left it
		}
		out.Done = append(out.Done, line)
	}
	out.Owed = append(out.Owed, answer.Owed...)
	return true, nil
}

// store opens the store of the data folder when it has one and nobody holds it, with the routing file at path; else it says what is owed and why.
func (o *rollbackOptions) store(ctx context.Context, cfg config.Config, path string, silence error) (s *session, owed string) {
	if !hasStore(cfg.Data) {
		if silence != nil {
			return nil, fmt.Sprintf("the rollout does not know yet, the server finds the file changed when it is back (%s)", oneLine(silence.Error()))
		}
		return nil, fmt.Sprintf("the rollout does not know yet: there is no store in %s, a server that watches this file will find it changed", cfg.Data)
	}
	cfg.RoutingFile = path
	s, err := o.inProcess(ctx, cfg)
	if err != nil {
		return nil, fmt.Sprintf("the rollout does not know yet, the server finds the file changed when it is back (%s)", oneLine(errors.Join(silence, err).Error()))
	}
	return s, ""
}

func renderRollback(r rolledBack) string {
	var b strings.Builder
	for _, line := range r.Done {
		fmt.Fprintf(&b, "done: %s\n", oneLine(line))
	}
	for _, line := range r.Owed {
		fmt.Fprintf(&b, "owed: %s\n", oneLine(line))
	}
	return b.String()
}
