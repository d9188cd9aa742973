package analysis

import (
	"math/rand/v2"
	"testing"
	"time"
)

// oracle is the rule of mode threshold written a second time, straight from the specification, over the true counts of each tick.
type oracle struct {
	cfg       Config
	bakeTicks int
	canary    []traffic
	champion  []traffic
	over      [2]int // successive ticks over the limit: errors, latency
}

// observed adds a tick and says what has to be decided.
func (o *oracle) observed(canary, champion traffic) Decision {
	o.canary, o.champion = append(o.canary, canary), append(o.champion, champion)
	window := func(all []traffic) []traffic { return all[max(0, len(all)-o.cfg.Window):] }
	bakeOver := len(o.canary) >= o.bakeTicks
	rollback, hold, moving, proved := false, false, false, true
	for check := range 2 {
		events, n := tally(window(o.canary), check)
		broken := n >= o.cfg.MinRequests && 20*events >= n // 5 %
		o.over[check]++
		if !broken {
			o.over[check] = 0
		}
		stageEvents, stageN := tally(o.canary, check)
		championEvents, championN := tally(window(o.champion), check)
		excused := championN >= o.cfg.MinRequests && 20*championEvents >= championN && events*championN < 2*championEvents*n
		switch {
		case broken && o.over[check] >= o.cfg.Consecutive:
			rollback, hold = rollback || !excused, hold || excused
		case broken:
			moving = true
		case n == 0 && len(o.canary) >= o.cfg.Window:
			hold = true
		}
		proved = proved && n >= o.cfg.MinRequests && 20*events < n && 20*stageEvents < stageN
	}
	switch {
	case rollback:
		return DecisionRollback
	case hold:
		return DecisionHold
	case bakeOver && proved:
		return DecisionPromote
	case bakeOver && (!moving || !o.nothingElse()):
		return DecisionHold
	}
	return DecisionContinue
}

// nothingElse is whether every check that is not over its limit would be promoted: only then does the tick over the limit wait quietly.
func (o *oracle) nothingElse() bool {
	for check := range 2 {
		if o.over[check] > 0 {
			continue
		}
		_, n := tally(o.canary[max(0, len(o.canary)-o.cfg.Window):], check)
		stageEvents, stageN := tally(o.canary, check)
		if n < o.cfg.MinRequests || 20*stageEvents >= stageN {
			return false
		}
	}
	return true
}

// tally counts errors (check 0) or slow requests (check 1).
func tally(ticks []traffic, check int) (events, n int) {
	for _, tr := range ticks {
		n += tr.n
		if check == 0 {
			events += tr.errors
		} else {
			events += tr.slow
		}
	}
	return events, n
}

// someTraffic is a tick of about n requests at the given share of errors and slow ones.
func someTraffic(rng *rand.Rand, n int, bad float64) traffic {
	tr := traffic{n: rng.IntN(2*n + 1)}
	for range tr.n {
		if rng.Float64() < bad {
			tr.errors++
		}
		if rng.Float64() < bad {
			tr.slow++
		}
	}
	return tr
}

// TestProperty_AgreesWithTheRuleWrittenTwice compares every decision of random rollouts with the oracle's: sound and bad canaries, shared incidents,
// little traffic and none.
func TestProperty_AgreesWithTheRuleWrittenTwice(t *testing.T) {
	t.Parallel()
	seen := map[Decision]int{}
	for seed := range uint64(2 * runs) {
		rng := rand.New(rand.NewPCG(seed, 5))
		w := newWorld(t)
		w.cfg.Window, w.cfg.MinRequests, w.cfg.Consecutive = 1+rng.IntN(10), 1+rng.IntN(80), 1+rng.IntN(3)
		o := &oracle{cfg: w.cfg, bakeTicks: 1 + rng.IntN(30)}
		w.stage.Bake = time.Duration(o.bakeTicks) * w.cfg.Tick
		volume := []int{1, 8, 60}[rng.IntN(3)]
		canaryBad, championBad := []float64{0, 0.04, 0.06, 0.5}[rng.IntN(4)], []float64{0, 0.01, 0.06}[rng.IntN(3)]
		w.tick(traffic{}, traffic{})
		for i := range 40 {
			canary, champion := someTraffic(rng, volume, canaryBad), someTraffic(rng, 4*volume, championBad)
			if rng.IntN(40) == 0 {
				volume = 0
			}
			j := w.tick(canary, champion)
			want := o.observed(canary, champion)
			seen[want]++
			if j.Decision != want {
				t.Fatalf("seed %d, tick %d: %s (%s: %s), want %s", seed, i, j.Decision, j.Code, j.Reason, want)
			}
		}
	}
	for _, d := range []Decision{DecisionContinue, DecisionPromote, DecisionRollback, DecisionHold} {
		if seen[d] < 25 {
			t.Errorf("only %d ticks were to be decided as %s: the worlds are too tame", seen[d], d)
		}
	}
}
