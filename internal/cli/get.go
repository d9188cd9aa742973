package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"serin/internal/api"
	"serin/internal/rollout"
)

// redrawEvery is how often a watch looks, and so the most often that it redraws.
const redrawEvery = 200 * time.Millisecond

// getOptions are the words of `serin get`.
type getOptions struct {
	*root
	id      string
	watch   bool
	timeout time.Duration
}

func (r *root) getCommand() *cobra.Command {
	o := &getOptions{root: r}
	cmd := &cobra.Command{
		Use: "get ROLLOUT", GroupID: groupLook, Args: wants("ROLLOUT"),
		Short: "Show a rollout: where it stands, why, and on what evidence",
		Long: `Show a rollout by its id, or a model's open or newest one by the model's name. With -w it is watched until it
ends or is held: redrawn on a terminal, one line a change elsewhere, one JSON object a change with -o json.
Exit code of a watch: 0 succeeded, 3 ended without promotion, 4 the --timeout is over, 5 held.`,
		Example: "  serin get fraud\n  serin get fraud -w --timeout 3h",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.id = args[0]
			return o.run(cmd.Context())
		},
	}
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", false, "watch it until it ends or is held")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 0, "stop watching after so long, such as 3h (never)")
	return cmd
}

func (o *getOptions) run(ctx context.Context) error {
	if o.timeout < 0 || o.timeout > 0 && !o.watch {
		return usage("get --timeout %s: give a positive time together with -w", o.timeout)
	}
	return o.with(ctx, func(s *session) error {
		r, err := s.client.Get(ctx, o.id)
		if err != nil {
			return err
		}
		if !o.watch {
			return o.print(r, renderRollout(r, time.Now()))
		}
		if s.app != nil && !r.Phase.Ended() && r.Phase != rollout.Held {
			return fmt.Errorf("watch rollout %s: no server runs, so nothing will change: start one with serin serve --data %s", r.ID, s.cfg.Data)
		}
		w := &watcher{getOptions: o, client: s.client, tty: isTerminal(o.Stdout)}
		return w.follow(ctx, r)
	})
}

// isTerminal says whether a stream can be redrawn.
func isTerminal(stream any) bool {
	f, ok := stream.(interface{ Fd() uintptr })
	return ok && term.IsTerminal(int(f.Fd()))
}

// watcher shows one rollout as it changes.
type watcher struct {
	*getOptions
	client *api.Client
	tty    bool
	last   string // what was shown last
}

// follow watches from the first view on until the end, a hold, or the timeout.
func (w *watcher) follow(ctx context.Context, r api.Rollout) error {
	id := r.ID
	if w.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, w.timeout, &exit{codeTimeout, fmt.Errorf("rollout %s has not ended within %s: it goes on, watch it again", id, w.timeout)})
		defer cancel()
	}
	ticker := time.NewTicker(redrawEvery)
	defer ticker.Stop()
	for {
		if err := w.show(r); err != nil {
			return err
		}
		if r.Phase.Ended() || r.Phase == rollout.Held {
			return ends(watchCode(r.Phase))
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
		next, err := w.client.Get(ctx, id)
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		r = next
	}
}

// watchCode is the exit code of a watch that ends in a phase.
func watchCode(p rollout.Phase) int {
	switch p {
	case rollout.Succeeded:
		return codeOK
	case rollout.RolledBack, rollout.Rejected, rollout.Aborted, rollout.Failed:
		return codeEnded
	case rollout.Held:
		return codeHeld
	case rollout.Progressing, rollout.Paused:
		return codeNotYet
	}
	return codeError
}

// show prints what is new.
func (w *watcher) show(r api.Rollout) error {
	text := renderLine(r)
	switch {
	case w.json():
		b, err := json.Marshal(r)
		if err != nil {
			return err
		}
		text = string(b) + "\n"
	case w.tty:
		text = renderRollout(r, time.Now())
	}
	if text == w.last {
		return nil
	}
	w.last = text
	if w.tty && !w.json() {
		text = "\x1b[H\x1b[2J" + text
	}
	_, err := fmt.Fprint(w.Stdout, text)
	return err
}
