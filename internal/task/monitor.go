package task

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"serin/internal/analysis"
	"serin/internal/rollout"
	"serin/internal/traffic"
)

// silentTicks is how many ticks without a new scrape make the source count as failed.
const silentTicks = 3

// monitor judges a bake: every scrape that it has not seen, one checkpoint each, until the row says that the bake is over.
func monitor(ctx context.Context, u *run) (rollout.Result, error) {
	st := u.state.JudgeStage()
	u.say("judging version %s at %g %% for %s, a tick every %s", u.state.Pins.Challenger.Version, st.WeightPct, st.Bake, u.tick())
	m := &bake{run: u, watch: false, last: u.state.StartedAt, leased: time.Now()}
	if v := u.state.Stage; v != nil {
		m.judge, m.last = v.Judge, v.Since
		if v.Judgement != nil {
			m.last = v.Judgement.At
		}
	}
	return m.loop(ctx)
}

// bake is the loop that monitor and watch share.
type bake struct {
	*run
	watch  bool
	judge  analysis.State
	last   time.Time // of the newest scrape that was judged
	leased time.Time // when the lease was last renewed
	// promoted is set when a person promotes the stage while it is being judged.
	promoted bool
}

func (m *bake) loop(ctx context.Context) (rollout.Result, error) {
	for {
		scrapes, err := m.Samples.Scrapes(ctx, m.state.Model, m.last, time.Now())
		if err != nil {
			return rollout.Result{}, fmt.Errorf("read the samples of %s: %w", m.state.Model, err)
		}
		if silent := m.silence(scrapes); silent != nil {
			scrapes = append(scrapes, *silent)
		}
		over, err := m.take(ctx, scrapes)
		if err != nil || over {
			return rollout.Result{Status: rollout.StatusDone, Reason: "the bake is over"}, err
		}
		if err := sleep(ctx, min(m.tick()/2, time.Second)); err != nil {
			return rollout.Result{}, err
		}
	}
}

// silence is a scrape that says that there was none, once the sampler has been silent for too long.
func (m *bake) silence(scrapes []analysis.Scrape) *analysis.Scrape {
	if len(scrapes) > 0 || time.Since(m.last) < (silentTicks+1)*m.tick() {
		return nil
	}
	at := time.Now().Truncate(m.tick()).Add(-m.tick())
	if !at.After(m.last) {
		return nil
	}
	return &analysis.Scrape{At: at, Err: fmt.Sprintf("no sample since %s", m.last.UTC().Format(time.RFC3339))}
}

// take judges the scrapes and commits each; without any it commits nothing but asks what the row says.
func (m *bake) take(ctx context.Context, scrapes []analysis.Scrape) (over bool, err error) {
	if len(scrapes) == 0 {
		signals, err := m.commit(rollout.Result{Foreign: m.foreign(ctx)})
		return signals.Stop, err
	}
	for _, sc := range scrapes {
		signals, err := m.judged(ctx, sc)
		if err != nil || signals.Stop {
			return signals.Stop, err
		}
	}
	return false, m.renewLease(ctx)
}

func (m *bake) judged(ctx context.Context, sc analysis.Scrape) (rollout.Signals, error) {
	if f := m.foreign(ctx); f != nil {
		m.say("%s: %s", f.Writer, f.Reason)
		if signals, err := m.commit(rollout.Result{Foreign: f}); err != nil || signals.Stop {
			return signals, err
		}
	}
	if err := m.Checker.Identity(ctx, m.state); err != nil && !m.watch {
		sc.Err = strings.TrimPrefix(sc.Err+"; "+err.Error(), "; ")
	}
	next, j, err := analysis.Judge(m.state.Plan.Analysis, m.stage(), m.judge, sc)
	m.last = sc.At
	if errors.Is(err, analysis.ErrSeen) {
		return rollout.Signals{}, nil
	}
	if err != nil {
		return rollout.Signals{}, fmt.Errorf("judge the scrape of %s: %w", sc.At.UTC().Format(time.RFC3339), err)
	}
	m.judge = next
	m.say("%s", line(j))
	signals, err := m.commit(rollout.Result{Judge: &rollout.Judged{State: next, Judgement: j}, Evidence: evidence(j)})
	m.promoted = signals.Promoted
	return signals, err
}

// stage is what the judge is asked about. A promote that came since the attempt began takes the rest of the bake away.
func (m *bake) stage() analysis.Stage {
	st := m.state.JudgeStage()
	if m.promoted {
		st.Bake = time.Nanosecond // the judge wants a bake above zero; this one is over with the first evidence
	}
	return st
}

// line is one tick in the task's log: the decision, and each check with its numbers.
func line(j analysis.Judgement) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s (%s of the bake covered): %s", j.At.UTC().Format("15:04:05"), j.Decision, j.Covered, j.Reason)
	for _, c := range j.Checks {
		if c.Text != "" && !strings.Contains(j.Reason, c.Text) {
			b.WriteString("; " + c.Text)
		}
	}
	return b.String()
}

// foreign looks whether the routing is still ours. A file that cannot be read is no reason to act: gateways keep their last good table.
func (m *bake) foreign(ctx context.Context) *rollout.Foreign {
	if m.watch {
		return nil
	}
	doc, err := m.Router.Current(ctx, m.state.Model)
	if err != nil {
		m.say("the routing could not be read: %v", err)
		return nil
	}
	return foreign(m.state, doc)
}

// renewLease tells the gateways that somebody is still judging. A lease that cannot be renewed is not worth more than a line: the gateways go back by themselves.
func (m *bake) renewLease(ctx context.Context) error {
	if m.watch || time.Since(m.leased) < LeaseEvery {
		return nil
	}
	m.leased = time.Now()
	_, err := m.Router.Apply(ctx, m.state.Model, func(prev traffic.Document) (traffic.Document, error) {
		if foreign(m.state, prev) != nil {
			return prev, nil
		}
		return traffic.RenewLease(prev, m.leased.Add(LeaseFor), m.author())
	})
	if err != nil {
		m.say("the lease was not renewed: %v", err)
	}
	return ctx.Err()
}
