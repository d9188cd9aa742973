package stories

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"serin/internal/api"
	"serin/internal/demo/faulty"
	"serin/internal/rollout"
)

// cutOff is the outcome of a story that could not be told to its end, notTold that of those after it.
const (
	cutOff  = "cut off"
	notTold = "not told"
)

// ErrInterrupted is wrapped when the context ended before the stories did.
var ErrInterrupted = errors.New("interrupted; everything that was started has been stopped")

// Run tells all stories and says how they ended; the summary is told last, whatever happens. A story that cannot go on is a fault in the summary;
// the error is about what comes before the first story, or wraps ErrInterrupted. Given a channel it keeps everything running until that is closed
// or ctx ends. When it returns, nothing runs that it has started.
func Run(ctx context.Context, o Options, keep <-chan struct{}) (Summary, error) {
	scope, cancel := context.WithCancel(ctx)
	w := &world{Options: o}
	defer w.wg.Wait()
	defer cancel()
	defer w.close()
	o.Teller.tell(event{Kind: kindTitle, Text: fmt.Sprintf(
		"Serin demo: customers pay by card, three services look for fraud, new versions are rolled out. The payments are real; times are compressed: bakes by %d (30 min = %s), ticks by %d (15 s = %s).",
		bakeFactor, 30*time.Minute/bakeFactor, tickFactor, 15*time.Second/tickFactor)})
	err := w.open(scope)
	if err == nil {
		w.say("server and registry at %s, customers' gateway at %s, files in %s", w.api, w.gateway, o.Dir)
	}
	s := w.tellAll(scope, err)
	note := ""
	if keep = w.kept(scope, keep); keep != nil {
		note = fmt.Sprintf("Everything keeps running until Ctrl-C, with customers' payments for %s. Look: serin list --server %s", cards, w.api)
	}
	o.Teller.summary(s, note)
	switch {
	case ctx.Err() != nil:
		return s, ErrInterrupted
	case err != nil:
		return s, err
	case keep != nil:
		select {
		case <-keep:
		case <-ctx.Done():
		}
	}
	return s, nil
}

// kept gives the channel to wait for: none when there is nothing to keep. The customers of the first model go on.
func (w *world) kept(ctx context.Context, keep <-chan struct{}) <-chan struct{} {
	if keep == nil || w.client == nil || ctx.Err() != nil {
		return nil
	}
	if p, _, err := w.play(ctx, cards); err == nil {
		w.wg.Go(p.Wait)
	} else {
		w.say("no customers: %v", err)
	}
	return keep
}

// tellAll tells the stories in their order, up to one that cannot go on: none in a world that did not open.
func (w *world) tellAll(ctx context.Context, opened error) Summary {
	goOn := opened == nil
	s := Summary{Stories: []Outcome{}}
	all := w.stories()
	for i, st := range all {
		out := Outcome{Name: st.name, Wanted: string(st.wanted), Outcome: notTold}
		if goOn {
			t := &telling{world: w, story: st, out: &out, shares: map[float64]bool{}, narrator: narrator{hide: w.path("creditcard") + "/"}}
			w.Teller.tell(event{Kind: kindBegin, Story: st.name, Text: fmt.Sprintf("%d of %d, model %s. %s", i+1, len(all), st.model, st.promise)})
			out.Outcome = cutOff // until the rollout has ended
			goOn = t.tell(ctx)
		}
		s.Stories = append(s.Stories, out)
	}
	s.OK = !slices.ContainsFunc(s.Stories, func(o Outcome) bool { return !o.ok() })
	return s
}

func (w *world) say(format string, args ...any) {
	w.Teller.tell(event{Who: whoDemo, Text: fmt.Sprintf(format, args...)})
}

// story is what happens to one challenger, and how it must end.
type story struct {
	name, model string
	// promise says what will happen, before it does.
	promise string
	// challenger is the folder of the version that is put into Staging; empty when one is there.
	challenger string
	wanted     rollout.Phase
	// faults are those of the challenger's model server.
	faults faulty.Faults
	// during is called at each look at the rollout until it says that it has done what the story is about.
	during func(context.Context, *telling, api.Rollout) (done bool, err error)
}

func (w *world) stories() []story {
	return []story{
		{
			name: "a better challenger", model: cards, challenger: "better", wanted: rollout.Succeeded,
			promise: "It finds more of the frauds than the champion. It must get 5 %, then 25 % of the customers, and then become the champion.",
		},
		{
			name: "a challenger that fails on 7 % of requests", model: service, challenger: "better", wanted: rollout.RolledBack,
			faults: faulty.Faults{FailShare: 0.07},
			promise: "Offline it is better, but its server answers 7 % of the requests with 500, where 5 % are allowed. " +
				"It must be rolled back, and no customer may see a failure: the champion answers for it.",
		},
		{
			name: "a challenger that is slow", model: service, wanted: rollout.RolledBack,
			faults: faulty.Faults{DelayShare: 0.2, Delay: 180 * time.Millisecond},
			promise: "The same version, whose server now takes 180 ms longer for a fifth of the requests, where 5 % may be slower than 100 ms. " +
				"It must be rolled back.",
		},
		{
			name: "a challenger with poor recall", model: cards, challenger: "poor", wanted: rollout.Rejected,
			promise: "It misses half of the frauds. It must be rejected on labeled data and never meet a customer.",
		},
		{
			name: "kill -9 in the middle of a bake", model: restart, challenger: "better", wanted: rollout.Succeeded, during: killServer,
			promise: "The server is killed in the middle of the bake at 25 % and started again. Customers must not notice, and the rollout must go on where it was.",
		},
	}
}

// How far the bake is when the server is killed, and how long nobody judges it.
const (
	killAt  = 5 * time.Second
	deadFor = 3 * time.Second
)

// killServer kills the server in the middle of the second bake and starts it again.
func killServer(ctx context.Context, t *telling, r api.Rollout) (bool, error) {
	if r.Task != "monitor_25_percent" || r.Judgement == nil || r.Judgement.BakeDone || r.Judgement.Covered < killAt {
		return false, nil
	}
	before, seen, at := r.Judgement.Covered, t.player.Snapshot().Total, time.Now()
	t.server.kill()
	t.note(kindVerdict, whoServer, "kill -9, with %s of the bake covered; the gateway goes on serving", before)
	if err := pause(ctx, deadFor); err != nil {
		return false, err
	}
	answers := t.player.Snapshot().Total.Answered - seen.Answered
	if answers == 0 {
		t.fault("no customer got an answer while the server was dead")
	}
	if err := t.server.start(ctx); err != nil {
		return true, fmt.Errorf("start the killed server again: %w", err)
	}
	now, err := t.client.Get(ctx, t.id)
	if err != nil {
		return true, err
	}
	dead := time.Since(at).Round(100 * time.Millisecond)
	t.note(kindVerdict, whoServer, "started again after %s, %d answers later: %s at %s, %s covered; the gateway's counters cover the gap", dead, answers, now.Phase, now.Task, now.Covered)
	t.checkResumed(now, before, dead)
	return true, nil
}

// checkResumed holds the rollout after the restart against what was covered before it. The gateway has counted on meanwhile, so its counters may
// cover the gap, but never more than has passed.
func (t *telling) checkResumed(now api.Rollout, before, dead time.Duration) {
	const tick = 15 * time.Second / tickFactor
	switch {
	case now.Task != "monitor_25_percent" || now.Judgement == nil:
		t.fault("after the restart the rollout is %s at %q, not in the bake that was cut off", now.Phase, now.Task)
	case now.Judgement.Covered < before:
		t.fault("bake time was lost: %s were covered before the kill, %s after it", before, now.Judgement.Covered)
	case now.Judgement.Covered > before+dead+2*tick:
		t.fault("bake time was invented: %s were covered before the kill, %s after %s", before, now.Judgement.Covered, dead)
	}
}
