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
	u.say("judging version %s at %g %%%s, a tick every %s", u.state.Pins.Challenger.Version, st.WeightPct, forAbout(st.Bake), u.tick())
	m := &bake{run: u, last: u.state.StartedAt, began: time.Now()}
	if v := u.state.Stage; v != nil {
		m.judge, m.last = v.Judge, v.Since
		if v.Judgement != nil {
			m.last = v.Judgement.At
		}
	}
	if signals, err := m.back(ctx); err != nil || signals.Stop {
		return bakeOver, err
	}
	return m.loop(ctx)
}

// bakeOver is what a bake returns: whether it is over for good follows from the row.
var bakeOver = rollout.Result{Status: rollout.StatusDone, Reason: "the bake is over"}

// forAbout says how long a bake is; nothing for one that has no time of its own.
func forAbout(bake time.Duration) string {
	if bake < time.Second {
		return ""
	}
	return " for " + bake.String()
}

// bake is the loop that monitor and watch share.
type bake struct {
	*run
	watch bool
	judge analysis.State
	last  time.Time // of the newest scrape that was judged, also one that only says that there was none
	seen  time.Time // of the newest sample
	began time.Time
	// leased is when the lease was last renewed, or tried to.
	leased time.Time
	// promoted is set when a person promotes the stage while it is being judged.
	promoted bool
	// ownPromotion is set while the routing shows our own promotion, which waits for its proof: the new champion is judged then.
	ownPromotion bool
	// told is the last trouble with the routing that the log has; the same is not said again at every look.
	told string
}

func (m *bake) loop(ctx context.Context) (rollout.Result, error) {
	m.seen = m.last
	for {
		if err := m.renewLease(ctx); err != nil {
			return rollout.Result{}, err
		}
		scrapes, err := m.Samples.Scrapes(ctx, m.state.Model, m.last, time.Now())
		if err != nil {
			return rollout.Result{}, fmt.Errorf("read the samples of %s: %w", m.state.Model, err)
		}
		if silent := m.silence(scrapes); silent != nil {
			scrapes = append(scrapes, *silent)
		}
		if over, err := m.take(ctx, scrapes); err != nil || over {
			return bakeOver, err
		}
		if err := sleep(ctx, min(m.tick()/2, time.Second)); err != nil {
			return rollout.Result{}, err
		}
	}
}

// silence is a scrape that says that there was none, once the sampler has been silent for too long. The time before this attempt began is not
// held against the sampler: it has just started too.
func (m *bake) silence(scrapes []analysis.Scrape) *analysis.Scrape {
	if len(scrapes) > 0 {
		m.seen = scrapes[len(scrapes)-1].At
		return nil
	}
	since := m.seen
	if m.began.After(since) {
		since = m.began
	}
	if time.Since(since) < (silentTicks+1)*m.tick() {
		return nil
	}
	at := time.Now().Truncate(m.tick()).Add(-m.tick())
	if !at.After(m.last) {
		return nil
	}
	return &analysis.Scrape{At: at, Err: fmt.Sprintf("no sample since %s", m.seen.UTC().Format(time.RFC3339))}
}

// take judges the scrapes and commits each; without any it commits nothing but asks what the row says.
func (m *bake) take(ctx context.Context, scrapes []analysis.Scrape) (over bool, err error) {
	if len(scrapes) == 0 {
		f, _ := m.look(ctx) // what cannot be read is said, and judged with the next scrape
		signals, err := m.commit(rollout.Result{Foreign: f})
		m.promoted = signals.Promoted
		return signals.Stop, err
	}
	for _, sc := range scrapes {
		signals, err := m.judged(ctx, sc)
		if err != nil || signals.Stop {
			return signals.Stop, err
		}
	}
	return false, nil
}

func (m *bake) judged(ctx context.Context, sc analysis.Scrape) (rollout.Signals, error) {
	f, routing := m.look(ctx)
	if f != nil {
		if signals, err := m.commit(rollout.Result{Foreign: f}); err != nil || signals.Stop {
			return signals, err
		}
	}
	if !m.watch {
		sc.Err = joined(sc.Err, routing, m.Checker.Identity(ctx, m.state))
	}
	stage, shown := m.subject(sc)
	next, j, err := analysis.Judge(m.state.Plan.Analysis, stage, m.judge, shown)
	m.last = sc.At
	if errors.Is(err, analysis.ErrSeen) {
		return rollout.Signals{}, nil
	}
	if err != nil {
		return rollout.Signals{}, fmt.Errorf("judge the scrape of %s: %w", sc.At.UTC().Format(time.RFC3339), err)
	}
	m.judge = next
	m.say("%s", line(stage, j))
	return m.settle(j)
}

// settle commits a judgement.
func (m *bake) settle(j analysis.Judgement) (rollout.Signals, error) {
	signals, err := m.commit(rollout.Result{Judge: &rollout.Judged{State: m.judge, Judgement: j}, Evidence: evidence(j)})
	m.promoted = signals.Promoted
	return signals, err
}

// joined adds what went wrong to what the scrape says of itself.
func joined(text string, errs ...error) string {
	for _, err := range errs {
		if err != nil {
			text = strings.TrimPrefix(text+"; "+oneLine(err.Error()), "; ")
		}
	}
	return text
}

// subject is what the judge is asked about. A promote that came since the attempt began takes the rest of the bake away. While a deploy waits for
// another attempt the canary may still have the weight before it, and while a promotion waits for its proof the canary is champion already: it is
// judged as what it is, because harm must be seen also then.
func (m *bake) subject(sc analysis.Scrape) (analysis.Stage, analysis.Scrape) {
	st := m.state.JudgeStage()
	if m.promoted {
		st.Bake = time.Nanosecond // the judge wants a bake above zero; this one is over with the first evidence
	}
	switch {
	case m.ownPromotion:
		st = analysis.Stage{Name: st.Name, WeightPct: 100, Bake: st.Bake}
		sc.Samples = championAsCanary(sc.Samples, m.state.Pins.Challenger.Version)
	case m.state.Stage != nil && m.state.Stage.Return != "" && m.state.WeightPct > 0 && len(sc.Samples) > 0 && sameWeight(sc.Samples[0].WeightPct, m.state.WeightPct):
		st.WeightPct = m.state.WeightPct
	}
	return st, sc
}

// look says whether somebody else has changed the routing. A file that is broken or gone is no reason to act, because gateways keep their last
// good table; but no bake is healthy on it.
func (m *bake) look(ctx context.Context) (*rollout.Foreign, error) {
	if m.watch {
		return nil, nil
	}
	doc, err := m.Router.Current(ctx, m.state.Model)
	if err == nil && gone(doc) {
		err = errors.New("there is no routing file: put it back, or abort the rollout")
	}
	if err != nil {
		err = fmt.Errorf("the routing cannot be read: %w", err)
		m.sayOnce(err.Error())
		return nil, err
	}
	f := foreign(m.state, doc)
	m.ownPromotion = f == nil && !doc.CanaryEnabled
	if f != nil {
		m.sayOnce(f.Writer + ": " + f.Reason)
		return f, nil
	}
	m.told = ""
	return nil, nil
}

func (m *bake) sayOnce(text string) {
	if text != m.told {
		m.say("%s", text)
	}
	m.told = text
}

// back looks at the lease that was left. When it was over for so long that the gateways serve the champion, people are told by a hold, which the
// next sample that can be judged ends.
func (m *bake) back(ctx context.Context) (rollout.Signals, error) {
	doc, err := m.Router.Current(ctx, m.state.Model)
	if err != nil || doc.Control == nil || foreign(m.state, doc) != nil || !doc.CanaryEnabled {
		return rollout.Signals{}, nil //nolint:nilerr // the loop says what is wrong with the file
	}
	m.leased = doc.Control.LeaseUntil.Add(-LeaseFor)
	if !doc.Table(m.state.Model).LeaseLost(time.Now()) {
		return rollout.Signals{}, nil
	}
	j := analysis.Judgement{At: m.last}
	if v := m.state.Stage; v != nil && v.Judgement != nil {
		j = *v.Judgement
	}
	j.Decision, j.Verdict, j.Code = analysis.DecisionHold, analysis.VerdictInconclusive, CodeLeaseOver
	j.Reason = fmt.Sprintf("nobody judged the canary since %s: its lease was over at %s and gateways went back to the champion; it is renewed now",
		m.last.UTC().Format(time.RFC3339), doc.Control.LeaseUntil.UTC().Format(time.RFC3339))
	m.say("%s", j.Reason)
	return m.settle(j)
}

// CodeLeaseOver is the code of the hold of a server that was away for longer than the lease and its grace.
const CodeLeaseOver analysis.Code = "lease_over"

// renewLease tells the gateways that somebody is still judging. A lease that cannot be renewed is not worth more than a line: the gateways go back by themselves.
func (m *bake) renewLease(ctx context.Context) error {
	if m.watch || m.ownPromotion || time.Since(m.leased) < LeaseEvery {
		return nil
	}
	m.leased = time.Now()
	_, err := m.Router.Apply(ctx, m.state.Model, func(prev traffic.Document) (traffic.Document, error) {
		if foreign(m.state, prev) != nil || !prev.CanaryEnabled {
			return prev, nil
		}
		return traffic.RenewLease(prev, m.leased.Add(LeaseFor), m.author())
	})
	if err != nil {
		m.say("the lease was not renewed: %v", err)
	}
	return ctx.Err()
}
