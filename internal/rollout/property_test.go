package rollout

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"serin/internal/analysis"
)

var (
	allSignals   = []SignalName{SignalPause, SignalResume, SignalPromote, SignalAbort, SignalRetry, SignalGrant, SignalSupersede, "nonsense"}
	allDecisions = []analysis.Decision{analysis.DecisionContinue, analysis.DecisionPromote, analysis.DecisionRollback, analysis.DecisionHold}
	allStatuses  = []Status{StatusDone, StatusRetry, StatusNotProven, StatusRefused, StatusRunning, "nonsense"}
)

// TestRandomHistoriesKeepTheInvariants drives rollouts with random results, ticks, signals and waits, also of tasks that are not
// next, and checks after every transition what must always hold.
func TestRandomHistoriesKeepTheInvariants(t *testing.T) {
	t.Parallel()
	ends, seen := map[Phase]int{}, map[Phase]int{}
	for seed := range uint64(200) {
		h := &history{t: t, r: rand.New(rand.NewPCG(seed, 7)), now: epoch, trouble: 1 + int(seed%2)*9}
		h.begin()
		for range 120 {
			h.act()
			seen[h.s.Phase]++
		}
		ends[h.s.Phase]++
	}
	t.Logf("ends: %v", ends)
	for _, p := range []Phase{Succeeded, RolledBack, Rejected, Aborted, Failed, Held, Paused, Progressing} {
		if seen[p] == 0 {
			t.Errorf("no random history was ever %s: the test does not reach it", p)
		}
	}
}

type history struct {
	t        *testing.T
	r        *rand.Rand
	s        State
	now      time.Time
	override bool
	// trouble is how rare it is: in wild histories (1) the ends are early, calm ones (10) come far.
	trouble int
}

// strikes says whether trouble comes that comes once in n in a wild history.
func (h *history) strikes(n int) bool { return h.r.IntN(n*h.trouble) == 0 }

func (h *history) begin() {
	p := StartParams{ID: "r", Plan: testPlan(), Driver: DriverLocal, Salt: "a", NextSalt: "b", Actor: "ann", Reason: "x"}
	if h.r.IntN(4) == 0 {
		p.Driver = DriverExternal
	}
	if h.r.IntN(4) == 0 {
		p.Plan.Hold.Then = HoldKeep
	}
	if h.r.IntN(4) == 0 {
		p.Plan.Steps[1].Duration = 0
	}
	s, _, err := Start(p, h.now)
	if err != nil {
		h.t.Fatal(err)
	}
	h.s = s
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

func (h *history) act() {
	before := encode(h.t, h.s)
	next, kind := h.transition()
	if after := encode(h.t, h.s); after != before {
		h.t.Fatalf("%s changed its input", kind)
	}
	h.check(h.s, next, kind)
	h.s = h.roundTrip(next)
}

// roundTrip stores and loads the row, as the engine does between any two steps.
func (h *history) roundTrip(s State) State {
	var back State
	if err := json.Unmarshal([]byte(encode(h.t, s)), &back); err != nil {
		h.t.Fatal(err)
	}
	return back
}

func (h *history) transition() (State, string) {
	h.now = h.now.Add(time.Duration(h.r.IntN(120)) * time.Second)
	switch h.r.IntN(10) {
	case 0, 1:
		if !h.strikes(1) {
			break
		}
		sig := Signal{Name: pick(h.r, allSignals), Actor: "ann", Reason: "x", Override: h.r.IntN(3) == 0, Task: pick(h.r, Graph(h.s.Plan, h.s.Kind)).ID}
		if sig.Name == SignalAbort && h.r.IntN(8) > 0 {
			return h.s, "wait"
		}
		s, _, err := Send(h.s, sig, h.now)
		if err != nil && !errors.Is(err, ErrIllegal) {
			h.t.Fatalf("signal %s: %v", sig.Name, err)
		}
		h.override = h.override || err == nil && sig.Name == SignalPromote && sig.Override
		return s, string(sig.Name)
	case 2:
		return h.result(pick(h.r, Graph(h.s.Plan, h.s.Kind)))
	case 3:
		h.now = h.now.Add(time.Duration(h.r.IntN(3)) * time.Hour)
		return h.s, "wait"
	}
	if a := Next(h.s, h.now); a.Do != nil {
		return h.result(*a.Do)
	} else if a.Wait.After(h.now) {
		h.now = a.Wait
	}
	return h.s, "wait"
}

func (h *history) result(n Node) (State, string) {
	task := Task{Rollout: h.s.ID, ID: n.ID, Kind: n.Kind, Attempt: 1}
	r := good(n, h.s)
	if h.strikes(4) {
		r.Status = pick(h.r, allStatuses)
	}
	if n.Kind == KindCompare && h.strikes(3) {
		r.Gate = &GateVerdict{Decision: pick(h.r, []string{"reject", "undecided"})}
	}
	if (n.Kind == KindMonitor || n.Kind == KindWatch) && h.r.IntN(4) > 0 {
		decision := analysis.DecisionPromote
		if h.strikes(1) {
			decision = pick(h.r, allDecisions)
		}
		r = Result{Status: StatusRunning, Judge: &Judged{State: analysis.State(`{}`), Judgement: analysis.Judgement{At: h.now, Decision: decision, Reason: "r", Code: "no_data"}}}
	}
	if (n.Kind == KindDeploy || n.Kind == KindPromote) && !h.s.Exposed {
		r = Result{Status: StatusRunning, Exposed: true, Promoting: n.Kind == KindPromote}
	}
	if h.strikes(60) {
		r.Foreign = &Foreign{Disabled: h.r.IntN(2) == 0, Writer: "bob", Reason: "by hand"}
	}
	s, _, err := Apply(h.s, task, r, h.now)
	if err != nil && !errors.Is(err, ErrIllegal) && !errors.Is(err, ErrStale) {
		h.t.Fatalf("apply %s %s: %v", n.ID, r.Status, err)
	}
	return s, n.ID
}

// check holds after every transition.
func (h *history) check(a, b State, by string) {
	h.t.Helper()
	fail := func(why string) {
		h.t.Fatalf("%s by %s\nbefore %s at %q %+v stage %+v\nafter  %s at %q %+v stage %+v", why, by, a.Phase, a.Task, a.Tasks, a.Stage, b.Phase, b.Task, b.Tasks, b.Stage)
	}
	if a.Phase.Ended() && b.Phase != a.Phase {
		fail("an end is not an end")
	}
	if b.Phase == Succeeded && a.Phase != Succeeded && !h.earned(b) {
		fail("promoted without positive evidence")
	}
	if b.Exposed && (b.Phase == Aborted || b.Phase == Rejected || b.Phase == Failed) {
		fail("ended quietly although users may have met the canary")
	}
	if !b.Exposed && b.WeightPct > 0 {
		fail("weight without exposure")
	}
	if a.Ending != nil && b.Ending == nil || a.Ending != nil && b.Phase == Succeeded {
		fail("a rollback was turned round")
	}
	if a.Pause != nil && b.Pause != nil && b.WeightPct > a.WeightPct && a.Task == b.Task {
		fail("went forward under a pause")
	}
	if b.Phase == Held && b.Hold.Deadline.IsZero() && !b.Hold.Told {
		fail("a hold without a bound")
	}
	if h.stuck(b) {
		fail("nothing runs, nothing waits and nobody was told")
	}
}

// earned says whether each bake of the plan was healthy or overridden by a person, and the gate too.
func (h *history) earned(s State) bool {
	gate := s.Gate != nil && (s.Gate.Decision == "promote" || s.Gate.Override != "")
	for _, st := range s.Plan.Stages() {
		if st.Final() {
			continue
		}
		v := s.Tasks[monitorID(st)].Verdict
		gate = gate && (v == OnHealthy || v == "skipped" && h.override)
	}
	return gate
}

// stuck says whether an open row has neither work nor a time nor a person's or command's part to wait for.
func (h *history) stuck(s State) bool {
	a := Next(s, h.now)
	if a.Do != nil || !a.Wait.IsZero() || a.Done {
		return false
	}
	return s.Pause == nil && s.Driver == DriverLocal && (s.Hold == nil || !s.Hold.Told)
}
