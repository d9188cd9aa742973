package stories

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"serin/internal/api"
	"serin/internal/demo"
	"serin/internal/demo/faulty"
	"serin/internal/rollout"
)

// Run tells all stories and says how they ended. With a channel that is not closed yet it keeps everything running until that is, or ctx ends.
func Run(ctx context.Context, o Options, keep <-chan struct{}) (Summary, error) {
	scope, cancel := context.WithCancel(ctx)
	o.Teller.title("", "Serin demo: three services on real card payments; times are compressed: bakes by %d (30 min = %s), ticks by %d (15 s = %s)",
		bakeFactor, 30*time.Minute/bakeFactor, tickFactor, 15*time.Second/tickFactor)
	w, err := open(scope, o)
	if w != nil {
		defer w.wg.Wait()
		defer cancel()
		defer w.close()
	} else {
		defer cancel()
	}
	if err != nil {
		return Summary{}, err
	}
	o.Teller.say("", "server and registry at %s, customers' gateway at %s, files in %s", w.api, w.gateway, o.Dir)
	var s Summary
	for _, tell := range []func(context.Context) (Outcome, error){w.better, w.failing, w.slow, w.poor, w.killed} {
		outcome, err := tell(ctx)
		if err != nil {
			return s, err
		}
		s.Stories = append(s.Stories, outcome)
	}
	s.OK = !slices.ContainsFunc(s.Stories, func(o Outcome) bool { return !o.ok() })
	o.Teller.summary(s)
	if keep != nil {
		o.Teller.say("", "kept running: serin list --server %s; end it with Ctrl-C", w.api)
		select {
		case <-keep:
		case <-ctx.Done():
		}
	}
	return s, nil
}

// telling is one rollout that is being told, with the traffic it meets.
type telling struct {
	*world
	out    *Outcome
	model  string
	player *demo.Player
	stop   func()
	id     string
	seen   int64 // of the log
	shares map[float64]bool
	// before and rescues are the gateway's counters at the beginning of the story.
	before  map[string]int64
	rescues int64
	// canaryFrom is when the canary first had traffic.
	canaryFrom time.Time
	// during is called at each look, for what a story does in the middle.
	during func(context.Context, api.Rollout) error
}

// better is the story of a challenger that deserves it.
func (w *world) better(ctx context.Context) (Outcome, error) {
	return w.tell(ctx, &telling{model: cards, out: &Outcome{Name: "a better challenger", Wanted: string(rollout.Succeeded)}}, "better")
}

// failing is the story of a challenger whose server answers 7 % of the requests with 500.
func (w *world) failing(ctx context.Context) (Outcome, error) {
	if err := w.slots[1].SetFaults(faulty.Faults{FailShare: 0.07}); err != nil {
		return Outcome{}, err
	}
	return w.tell(ctx, &telling{model: service, out: &Outcome{Name: "a challenger that fails on 7 % of requests", Wanted: string(rollout.RolledBack)}}, "better")
}

// slow is the story of a challenger whose server is slow on a fifth of the requests.
func (w *world) slow(ctx context.Context) (Outcome, error) {
	if err := w.slots[1].SetFaults(faulty.Faults{DelayShare: 0.2, Delay: 180 * time.Millisecond}); err != nil {
		return Outcome{}, err
	}
	return w.tell(ctx, &telling{model: service, out: &Outcome{Name: "a challenger that is slow", Wanted: string(rollout.RolledBack)}}, "")
}

// poor is the story of a challenger that misses half of the frauds: it never meets a customer.
func (w *world) poor(ctx context.Context) (Outcome, error) {
	return w.tell(ctx, &telling{model: cards, out: &Outcome{Name: "a challenger with poor recall", Wanted: string(rollout.Rejected)}}, "poor")
}

// killed is the story of a server that is killed with -9 in the middle of a bake and started again.
func (w *world) killed(ctx context.Context) (Outcome, error) {
	t := &telling{model: restart, out: &Outcome{Name: "kill -9 in the middle of a bake", Wanted: string(rollout.Succeeded)}}
	killed := false
	t.during = func(ctx context.Context, r api.Rollout) error {
		if killed || r.Task != "monitor_25_percent" || r.Judgement == nil || r.Judgement.Covered < 5*time.Second {
			return nil
		}
		killed = true
		covered := r.Judgement.Covered
		w.server.kill()
		t.say("kill -9 of the server with %s of the bake covered; the gateway goes on serving", covered)
		if err := pause(ctx, 3*time.Second); err != nil {
			return err
		}
		if err := w.server.start(ctx); err != nil {
			return err
		}
		now, err := w.client.Get(ctx, t.id)
		if err != nil {
			return err
		}
		t.say("started again: %s at %s, %s covered", now.Phase, now.Task, now.Covered)
		if now.Judgement != nil && now.Judgement.Covered > covered+2*time.Second {
			t.fault("bake time was invented: %s before the kill, %s after it", covered, now.Judgement.Covered)
		}
		return nil
	}
	o, err := w.tell(ctx, t, "better")
	if err == nil && !killed {
		o.Faults = append(o.Faults, "the server was never killed")
	}
	return o, err
}

func (t *telling) say(format string, args ...any) { t.Teller.say(t.out.Name, format, args...) }

func (t *telling) fault(format string, args ...any) {
	f := fmt.Sprintf(format, args...)
	t.out.Faults = append(t.out.Faults, f)
	t.say("NOT AS IT MUST BE: %s", f)
}

// tell stages the challenger, plays traffic, starts a rollout and follows it to its end.
func (w *world) tell(ctx context.Context, t *telling, challenger string) (Outcome, error) {
	t.world, t.shares = w, map[float64]bool{}
	t.Teller.title(t.out.Name, "── %s (%s)", t.out.Name, t.model)
	if challenger != "" {
		version, err := w.stage(ctx, t.model, challenger)
		if err != nil {
			return *t.out, err
		}
		t.say("version %s is in Staging", version)
	}
	var err error
	if t.before, t.rescues, err = t.counters(ctx); err != nil {
		return *t.out, fmt.Errorf("%w: %w", errCounts, err)
	}
	if t.player, t.stop, err = w.play(ctx, t.model); err != nil {
		return *t.out, err
	}
	defer t.stop()
	before := t.player.Snapshot()
	started, err := w.client.Start(ctx, api.StartRequest{Model: t.model, Reason: "demo: " + t.out.Name})
	if err != nil {
		return *t.out, err
	}
	t.id = started.Rollout
	r, err := t.follow(ctx)
	if err != nil {
		return *t.out, err
	}
	t.ended(r, before)
	err = t.reconcile(ctx, r)
	return *t.out, err
}

// follow looks at the rollout until it has ended and told people, and passes on its log.
func (t *telling) follow(ctx context.Context) (api.Rollout, error) {
	deadline := time.Now().Add(90 * time.Second)
	for {
		r, err := t.client.Get(ctx, t.id)
		if err != nil {
			return r, err
		}
		if err := t.passOn(ctx); err != nil {
			return r, err
		}
		if t.canaryFrom.IsZero() && r.WeightPct > 0 && !r.Phase.Ended() {
			t.canaryFrom = time.Now()
		}
		if r.Judgement != nil {
			t.out.CanaryRequests = max(t.out.CanaryRequests, r.Judgement.CanaryRequests)
		}
		if err := t.checkShare(ctx, r); err != nil {
			return r, err
		}
		if t.during != nil {
			if err := t.during(ctx, r); err != nil {
				return r, err
			}
		}
		if r.Phase.Ended() && r.Task == "" {
			return r, t.passOn(ctx)
		}
		if time.Now().After(deadline) {
			return r, fmt.Errorf("%s: rollout %s is still %s at %s: %s", t.out.Name, t.id, r.Phase, r.Task, r.Reason)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return r, err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// ended fills in how the story ended.
func (t *telling) ended(r api.Rollout, before demo.Snapshot) {
	t.out.Outcome = string(r.Phase)
	if !t.canaryFrom.IsZero() && r.EndedAt != nil {
		t.out.Took = r.EndedAt.Sub(t.canaryFrom).Round(100 * time.Millisecond).String()
	}
	seen := t.player.Snapshot().Total
	t.out.Failures = seen.Failures - before.Total.Failures
	if t.out.Failures > 0 {
		t.fault("customers saw %d failures, the last: %s", t.out.Failures, seen.LastFailure)
	}
	t.say("%s: %s", r.Phase, r.Reason)
	if r.Phase == rollout.RolledBack {
		t.say("back on the champion %s after the canary's first request; the canary had %d requests, customers saw %d failures", t.out.Took, t.out.CanaryRequests, t.out.Failures)
	}
}

var errCounts = errors.New("the counts could not be read")
