package stories

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/analysis"
	"serin/internal/api"
	"serin/internal/demo/faulty"
	"serin/internal/rollout"
)

// looks answers with one rollout after the other, and then with the last again and again.
func looks(list ...api.Rollout) func() (api.Rollout, error) {
	var n atomic.Int64
	return func() (api.Rollout, error) { return list[min(int(n.Add(1)), len(list))-1], nil }
}

func at(phase rollout.Phase, task string) api.Rollout {
	r := oneOrTwo(phase)
	r.Task, r.Reason = task, strings.TrimSpace("reason "+task)
	return r
}

// idle gives a telling customers who never come.
func idle(t *testing.T, a *fakeAPI) (*telling, *book) {
	t.Helper()
	tl, told := newTelling(t, newGateway(t, byBucket(0)), a)
	playing(t, tl, 0)()
	return tl, told
}

func TestFollow_UntilPeopleWereTold(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	// The phase has ended before people were told: the story goes on until then.
	a.get = looks(at(rollout.Progressing, "admit"), at(rollout.RolledBack, "notify_rollback"), at(rollout.RolledBack, ""))
	a.logs = []api.LogLine{{Seq: 1, Task: "rollback_deployment", Line: "routing 0 / 100 written"}}
	tl, told := idle(t, a)
	r, err := tl.follow(t.Context())
	if err != nil || r.Phase != rollout.RolledBack || r.Task != "" {
		t.Errorf("rollout %+v, %v", r, err)
	}
	if !strings.Contains(told.String(), "routing 0 / 100 written") {
		t.Errorf("told %q", told)
	}
	if len(a.afters) != 4 {
		t.Errorf("the log was asked for %d times, want once a look and once at the end", len(a.afters))
	}
}

func TestFollow_Deadline(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.get = looks(at(rollout.Held, "monitor_5_percent"))
	tl, _ := idle(t, a)
	tl.within = 150 * time.Millisecond
	began := time.Now()
	_, err := tl.follow(t.Context())
	if want := "rollout r1 is still held at monitor_5_percent after 150ms: reason monitor_5_percent"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if took := time.Since(began); took < tl.within || took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestFollow_Refusals(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	boom := errors.New("the disk is full")
	a.get = func() (api.Rollout, error) { return api.Rollout{}, boom }
	tl, _ := idle(t, a)
	if _, err := tl.follow(t.Context()); err == nil || err.Error() != boom.Error() {
		t.Errorf("error %v", err)
	}
	a.get = looks(at(rollout.Progressing, "admit"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := tl.follow(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	tl.story.during = func(context.Context, *telling, api.Rollout) (bool, error) { return true, boom }
	if _, err := tl.follow(t.Context()); !errors.Is(err, boom) {
		t.Errorf("error %v", err)
	}
}

// What a story does in the middle is done once.
func TestLook_DuringIsDoneOnce(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	tl, _ := idle(t, a)
	var tasks []string
	tl.story.during = func(_ context.Context, _ *telling, r api.Rollout) (bool, error) {
		tasks = append(tasks, r.Task)
		return r.Task == "monitor_25_percent", nil
	}
	for _, task := range []string{"admit", "monitor_5_percent", "monitor_25_percent", "monitor_25_percent", "notify_success"} {
		if err := tl.look(t.Context(), at(rollout.Progressing, task)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"admit", "monitor_5_percent", "monitor_25_percent"}, tasks); diff != "" || !tl.acted {
		t.Errorf("asked at (-want +got)\n%s", diff)
	}
}

// The time of a story begins with the first answer of the canary that a customer got.
func TestLook_NotesTheCanarysBeginning(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	g := newGateway(t, byBucket(0))
	tl, _ := newTelling(t, g, a)
	playing(t, tl, 20)
	look := func() {
		t.Helper()
		if err := tl.look(t.Context(), at(rollout.Progressing, "deploy_canary_5_percent")); err != nil {
			t.Fatal(err)
		}
	}
	look()
	if !tl.canaryFrom.IsZero() {
		t.Fatal("the canary had no customer yet")
	}
	before := time.Now()
	g.change(func() { g.sides = byBucket(25) })
	eventually(t, "an answer of the canary", func() bool { return tl.player.Snapshot().Total.Roles[roleCanary] > 0 })
	look()
	first := tl.canaryFrom
	if first.Before(before) || first.After(time.Now()) {
		t.Errorf("the canary began at %s", first)
	}
	if look(); tl.canaryFrom != first {
		t.Error("the beginning has moved")
	}
}

func TestEnded(t *testing.T) {
	t.Parallel()
	began := time.Date(2025, 1, 20, 10, 0, 0, 0, time.UTC)
	over := began.Add(2849 * time.Millisecond)
	never := func(context.Context, *telling, api.Rollout) (bool, error) { return false, nil }
	tests := []struct {
		name   string
		change func(*telling, *api.Rollout)
		took   string
		want   []string
	}{
		{"as wanted", func(*telling, *api.Rollout) {}, "2.8s", nil},
		{"without a canary", func(tl *telling, _ *api.Rollout) { tl.canaryFrom = time.Time{} }, "", nil},
		{"without an end", func(_ *telling, r *api.Rollout) { r.EndedAt = nil }, "", nil},
		{"otherwise", func(_ *telling, r *api.Rollout) { r.Phase = rollout.Failed }, "2.8s", []string{"the rollout is failed, it must be succeeded"}},
		{"never killed", func(tl *telling, _ *api.Rollout) { tl.story.during = never }, "2.8s", []string{"the rollout ended before what the story is about could happen"}},
		{"killed", func(tl *telling, _ *api.Rollout) { tl.story.during, tl.acted = never, true }, "2.8s", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tl, told := newTelling(t, nil, nil)
			tl.canaryFrom = began
			r := at(rollout.Succeeded, "")
			r.EndedAt = &over
			tt.change(tl, &r)
			tl.ended(r)
			if tl.out.Took != tt.took || tl.out.Outcome != string(r.Phase) {
				t.Errorf("outcome %+v", tl.out)
			}
			wantFaults(t, tl.out.Faults, tt.want...)
			if !strings.Contains(told.String(), string(r.Phase)+": "+r.Reason) {
				t.Errorf("told %s", told)
			}
		})
	}
}

func TestEnd(t *testing.T) {
	t.Parallel()
	tests := []struct {
		out  Outcome
		want string
	}{
		{Outcome{Outcome: "rolled_back", Took: "2.8s", CanaryRequests: 98}, "✔ demo rolled_back 2.8s after the canary's first answer, with 98 canary requests; customers saw 0 failures"},
		{Outcome{Outcome: "rejected"}, "✔ demo rejected with 0 canary requests; customers saw 0 failures"},
		{Outcome{Outcome: "failed", Faults: []string{"x"}}, "✖ demo this story did not end as it must: failed"},
	}
	for _, tt := range tests {
		tl, told := newTelling(t, nil, nil)
		tl.out = &tt.out
		tl.end()
		_, got, _ := strings.Cut(told.String(), "s ")
		if got := strings.Join(strings.Fields(got), " "); got != tt.want {
			t.Errorf("told %q, want %q", got, tt.want)
		}
	}
}

// A whole story against a gateway that rescues and a server whose rollout goes back: everything but the machine is real.
func TestTell_AStoryThatIsRolledBack(t *testing.T) {
	t.Parallel()
	var phase atomic.Int64
	g := newGateway(t, func(customer string) side {
		if s := byBucket(5)(customer); phase.Load() != 1 || s.role == "champion" {
			return onChampion
		}
		return rescued
	})
	a := newAPI(t)
	a.samples = g.samples
	var starting atomic.Pointer[telling]
	a.get = func() (api.Rollout, error) {
		if phase.Load() == 0 {
			phase.Store(1)
		}
		seen := starting.Load().player.Snapshot().Total
		if g.change(func() {}); seen.Answered < 500 {
			return at(rollout.Progressing, "monitor_5_percent"), nil
		}
		phase.Store(2)
		r, now := at(rollout.RolledBack, ""), time.Now()
		r.EndedAt = &now
		return r, nil
	}
	tl, told := newTelling(t, g, a)
	starting.Store(tl)
	tl.story = story{name: "a story", model: cards, wanted: rollout.RolledBack}
	tl.out.Wanted, tl.samplesWithin = string(rollout.RolledBack), 0
	if !tl.tell(t.Context()) || !tl.out.ok() {
		t.Errorf("outcome %+v\n%s", tl.out, told)
	}
	if tl.out.CanaryRequests != g.counted["canary 2"] || tl.out.CanaryRequests != g.rescues || g.rescues == 0 {
		t.Errorf("%d canary requests, gateway %v, %d rescues", tl.out.CanaryRequests, g.counted, g.rescues)
	}
	if len(a.starts) != 1 || a.starts[0].Model != cards || a.starts[0].Reason != "demo: a story" {
		t.Errorf("started %+v", a.starts)
	}
	if !strings.Contains(told.String(), fmt.Sprintf("with %d rescues", g.rescues)) {
		t.Errorf("told\n%s", told)
	}
}

// What cannot go on is told as a fault with the place of the logs, and nothing is told after it.
func TestTell_AStoryThatCannotGoOn(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.get = func() (api.Rollout, error) { return api.Rollout{}, errors.New("the disk is full") }
	tl, told := newTelling(t, newGateway(t, byBucket(0)), a)
	if tl.tell(t.Context()) {
		t.Error("another story can be told")
	}
	wantFaults(t, tl.out.Faults, "the disk is full (logs: "+tl.path("server.log")+" and ")
	if tl.out.ok() || tl.out.Outcome != notTold || !strings.Contains(told.String(), "✖") {
		t.Errorf("outcome %+v\n%s", tl.out, told)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tl.out.Faults = nil
	if tl.tell(ctx) {
		t.Error("another story can be told after an interruption")
	}
	wantFaults(t, tl.out.Faults, "interrupted")
}

func TestPrepare(t *testing.T) {
	t.Parallel()
	score := func(context.Context, string, []byte) ([]byte, error) { return nil, nil }
	slot, err := faulty.NewModelServer(faulty.Options{Version: "2", Score: score})
	if err != nil {
		t.Fatal(err)
	}
	tl, _ := newTelling(t, newGateway(t, byBucket(0)), nil)
	tl.slots[1] = slot
	tl.story = story{model: service, faults: faulty.Faults{FailShare: 7}}
	if err := tl.prepare(t.Context()); err == nil || !strings.Contains(err.Error(), "use 0 to 1") {
		t.Errorf("error %v", err)
	}
	tl.story.faults.FailShare = 0.07
	if err := tl.prepare(t.Context()); err != nil {
		t.Error(err)
	}
	tl.gateway = "http://127.0.0.1:1"
	if err := tl.prepare(t.Context()); !errors.Is(err, errCounts) {
		t.Errorf("error %v", err)
	}
}

// killing is a story whose server is a process of this test, in the middle of its second bake.
func killing(t *testing.T, mode string) (*telling, *fakeAPI) {
	t.Helper()
	a := newAPI(t)
	tl, _ := newTelling(t, newGateway(t, byBucket(25)), a)
	playing(t, tl, 10)
	tl.server = helperProcess(t, "ready")
	if err := tl.server.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	tl.server.args = []string{"helper", mode}
	return tl, a
}

func TestKillServer(t *testing.T) {
	t.Parallel()
	tl, a := killing(t, "ready")
	pid := tl.server.cmd.Process.Pid
	early := half()
	early.Judgement = &analysis.Judgement{Covered: killAt - 1}
	for _, r := range []api.Rollout{at(rollout.Progressing, "monitor_5_percent"), early, at(rollout.Progressing, "monitor_25_percent")} {
		if done, err := killServer(t.Context(), tl, r); done || err != nil || !alive(pid) {
			t.Fatalf("killed at %+v: %v, %v", r, done, err)
		}
	}
	r := half()
	a.get = looks(r)
	if done, err := killServer(t.Context(), tl, r); !done || err != nil {
		t.Fatalf("killed: %v, %v", done, err)
	}
	if alive(pid) || !alive(tl.server.cmd.Process.Pid) {
		t.Errorf("the old server lives: %v, the new one: %v", alive(pid), alive(tl.server.cmd.Process.Pid))
	}
	wantFaults(t, tl.out.Faults)
}

func TestKillServer_ThatDoesNotStartAgain(t *testing.T) {
	t.Parallel()
	tl, _ := killing(t, "exits")
	tl.story.during = killServer
	gatewayDies(t, tl)
	done, err := killServer(t.Context(), tl, half())
	if !done || err == nil || !strings.HasPrefix(err.Error(), "start the killed server again: serin helper: it ended before it was ready: exit status 3; its log is ") {
		t.Errorf("done %v, error %v", done, err)
	}
	wantFaults(t, tl.out.Faults, "no customer got an answer while the server was dead")
}

// gatewayDies ends the customers, as a gateway does that dies with the server.
func gatewayDies(t *testing.T, tl *telling) {
	t.Helper()
	playing(t, tl, 0)()
}

func TestCheckResumed(t *testing.T) {
	t.Parallel()
	covered := func(d time.Duration) api.Rollout {
		r := half()
		r.Judgement.Covered = d
		return r
	}
	tests := []struct {
		name string
		now  api.Rollout
		want []string
	}{
		{"where it was", covered(5 * time.Second), nil},
		{"the gap is covered", covered(9 * time.Second), nil},
		{"lost", covered(4 * time.Second), []string{"bake time was lost: 5s were covered before the kill, 4s after it"}},
		{"invented", covered(9500 * time.Millisecond), []string{"bake time was invented: 5s were covered before the kill, 9.5s after 3s"}},
		{"elsewhere", at(rollout.RolledBack, "notify_rollback"), []string{`after the restart the rollout is rolled_back at "notify_rollback"`}},
		{"begun anew", at(rollout.Progressing, "monitor_25_percent"), []string{`after the restart the rollout is progressing at "monitor_25_percent"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tl, _ := newTelling(t, nil, nil)
			tl.checkResumed(tt.now, 5*time.Second, 3*time.Second)
			wantFaults(t, tl.out.Faults, tt.want...)
		})
	}
}
