package analysis

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const runs = 40

// TestProperty_FailureLateInTheBakeIsRolledBackInTime lets a canary fail at 80 % of its bake, in many plans and rates.
func TestProperty_FailureLateInTheBakeIsRolledBackInTime(t *testing.T) {
	t.Parallel()
	for seed := range uint64(runs) {
		rng := rand.New(rand.NewPCG(seed, 1))
		w := newWorld(t)
		w.cfg.Window = 2 + rng.IntN(12)
		w.cfg.Consecutive = 1 + rng.IntN(2)
		bakeTicks := 40 + rng.IntN(80)
		w.stage.Bake = time.Duration(bakeTicks) * w.cfg.Tick
		bad := traffic{n: 100, errors: 6 + rng.IntN(95)} // at least 6 % in every tick: a full window is over the limit
		if rng.IntN(2) == 0 {
			bad = traffic{n: 100, slow: 6 + rng.IntN(95)}
		}
		w.tick(traffic{}, traffic{})
		w.ticks(bakeTicks*8/10, traffic{n: 100}, healthy)
		rolledBack := 0
		for i := range w.cfg.Window + 2 {
			if w.tick(bad, healthy).Decision == DecisionRollback {
				rolledBack = i + 1
				break
			}
		}
		if rolledBack == 0 {
			t.Fatalf("seed %d: no rollback within %d ticks of %+v", seed, w.cfg.Window+2, bad)
		}
	}
}

// TestProperty_WithoutTrafficNothingIsPromoted runs canaries that get no request, or too few, through faults of every kind.
func TestProperty_WithoutTrafficNothingIsPromoted(t *testing.T) {
	t.Parallel()
	for seed := range uint64(runs) {
		rng := rand.New(rand.NewPCG(seed, 2))
		w := newWorld(t)
		for range 100 {
			canary := traffic{}
			if rng.IntN(4) == 0 {
				canary.n = rng.IntN(5) // at most 40 in a window of 8
			}
			w.serve(canary, healthy)
			if j := w.judge(spoil(rng, w)); j.Decision == DecisionPromote || j.Decision == DecisionRollback {
				t.Fatalf("seed %d: %s on %d requests: %s", seed, j.Decision, j.CanaryRequests, j.Reason)
			}
		}
	}
}

// spoil takes the present scrape and sometimes breaks something in it, or in the world.
func spoil(rng *rand.Rand, w *world) Scrape {
	sc := w.scrape()
	victim := rng.IntN(len(sc.Samples))
	switch rng.IntN(12) {
	case 0:
		sc.Samples, sc.Err = nil, "source is down"
	case 1:
		sc.Err = "one of the sources is down"
	case 2:
		sc.Samples = slices.Delete(sc.Samples, victim, victim+1)
	case 3:
		sc.Samples[victim].Requests["200"] = Number(math.NaN())
	case 4:
		sc.Samples[victim].Latency = nil
	case 5:
		sc.Samples[victim].Latency.LE["0.1"] = Number(math.Inf(1))
	case 6:
		w.at = w.at.Add(time.Duration(rng.IntN(30)) * w.cfg.Tick)
		sc = w.scrape()
	}
	return sc
}

// TestProperty_GapsAndResetsInventNothing compares what was counted with what happened, over random restarts, gaps and faults.
func TestProperty_GapsAndResetsInventNothing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(runs) {
		rng := rand.New(rand.NewPCG(seed, 3))
		w := newWorld(t)
		w.stage.Bake = 10 * time.Hour
		served, failed := int64(0), int64(0)
		start := w.at
		var previous time.Duration
		for range 150 {
			if rng.IntN(10) == 0 {
				w.canary.restart()
			}
			canary := traffic{n: rng.IntN(100)}
			canary.errors = rng.IntN(canary.n + 1)
			served, failed = served+int64(canary.n), failed+int64(canary.errors)
			w.serve(canary, healthy)
			j := w.judge(spoil(rng, w))
			e := evidence(t, j, CheckErrors)
			l := evidence(t, j, CheckLatency)
			elapsed := j.At.Sub(start)
			switch {
			case j.CanaryRequests > served || e.StageEvents > failed || l.StageRequests > served:
				t.Fatalf("seed %d: counted %d of %d requests, %d of %d errors, %d in the histogram", seed, j.CanaryRequests, served, e.StageEvents, failed, l.StageRequests)
			case j.Covered+j.Lost > elapsed || j.Covered > elapsed:
				t.Fatalf("seed %d: covered %s and lost %s in %s", seed, j.Covered, j.Lost, elapsed)
			case j.Covered-previous > w.cfg.MaxGap():
				t.Fatalf("seed %d: covered grew by %s in one scrape", seed, j.Covered-previous)
			case j.Covered > previous && (j.Code == CodeProviderError || j.Verdict == VerdictNoData && j.Code == CodeNoData):
				t.Fatalf("seed %d: covered grew on %s", seed, j.Code)
			}
			previous = j.Covered
		}
		if previous == 0 {
			t.Fatalf("seed %d: nothing was covered at all", seed)
		}
	}
}

// TestProperty_ARunCutAnywhereGoesOnTheSame replays recorded scrapes, stopping after each and going on from the stored state, with some scrapes
// offered a second time as after a crash.
func TestProperty_ARunCutAnywhereGoesOnTheSame(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(7, 4))
	w := newWorld(t)
	w.stage.Bake = time.Hour
	for range 120 {
		canary := traffic{n: rng.IntN(100)}
		canary.errors = min(canary.n, rng.IntN(9))
		if rng.IntN(15) == 0 {
			w.canary.restart()
		}
		w.serve(canary, healthy)
		w.judge(spoil(rng, w))
	}
	recording, err := json.Marshal(w.scrapes)
	if err != nil {
		t.Fatal(err)
	}
	whole := replay(t, w, recording, func(int) bool { return false })
	cuts := map[string]func(int) bool{
		"everywhere":    func(int) bool { return true },
		"in the middle": func(i int) bool { return i == 60 },
		"at random":     func(int) bool { return rng.IntN(5) == 0 },
	}
	for name, cut := range cuts {
		if diff := cmp.Diff(whole, replay(t, w, recording, cut)); diff != "" {
			t.Errorf("cut %s (-whole +cut)\n%s", name, diff)
		}
	}
}

// replay judges a recording. At a cut the process dies: all that is left is the state as it was stored, and the scrape is offered again.
func replay(t *testing.T, w *world, recording []byte, cut func(scrape int) bool) []Judgement {
	t.Helper()
	var scrapes []Scrape
	if err := json.Unmarshal(recording, &scrapes); err != nil {
		t.Fatal(err)
	}
	var all []Judgement
	var st State
	for i, sc := range scrapes {
		next, j, err := Judge(w.cfg, w.stage, st, sc)
		if err != nil {
			t.Fatal(err)
		}
		st = next
		all = append(all, j)
		if cut(i) {
			st = throughJSON(t, st)
			if _, _, err := Judge(w.cfg, w.stage, st, sc); !errors.Is(err, ErrSeen) {
				t.Fatalf("a scrape was judged twice: %v", err)
			}
		}
	}
	return all
}

// FuzzJudge offers any state and any scrape: no panic, and never a promotion without requests behind it.
func FuzzJudge(f *testing.F) {
	w := newWorld(&testing.T{})
	w.ticks(9, traffic{n: 60, errors: 1, slow: 1}, healthy)
	w.serve(traffic{n: 60}, healthy)
	sc, err := json.Marshal(w.scrape())
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(w.state), sc)
	f.Add([]byte(`{"v":1,"bounds":{"le":[0.1],"plus":0,"minus":0},"lines":{"canary\u0000gw-1\u0000":{"le":[1]}}}`), sc)
	f.Add([]byte(nil), []byte(`{"at":"2025-01-20T10:00:00Z","samples":[{"role":"canary","requests":{"200":"NaN"}}]}`))
	f.Fuzz(func(t *testing.T, st, scrape []byte) {
		var sc Scrape
		if json.Unmarshal(scrape, &sc) != nil {
			return
		}
		next, j, err := Judge(DefaultConfig(), stage5, st, sc)
		if err != nil {
			return
		}
		if j.Decision == DecisionPromote {
			for _, e := range j.Checks {
				if e.Requests < 50 || e.Value >= e.Limit || e.StageValue >= e.Limit {
					t.Fatalf("promoted on %+v", e)
				}
			}
		}
		if _, err := decodeState(next); err != nil {
			t.Fatalf("wrote a state that it cannot read: %v", err)
		}
		if _, err := json.Marshal(j); err != nil {
			t.Fatalf("judgement cannot be stored: %v", err)
		}
	})
}

func BenchmarkJudge(b *testing.B) {
	w := newWorld(&testing.T{})
	w.ticks(20, traffic{n: 600, errors: 1}, healthy)
	sc := w.scrape()
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Judge(w.cfg, w.stage, w.state, sc); err != nil {
			b.Fatal(err)
		}
	}
}
