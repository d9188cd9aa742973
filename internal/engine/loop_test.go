package engine

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/analysis"
	"serin/internal/rollout"
	"serin/internal/store"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (run with -update to accept): %s", name, diff)
	}
}

// TestRun_WholeRollout drives the default plan, 90 minutes of bakes and 30 of watching, on a real database.
func TestRun_WholeRollout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stop := w.loop()
		id := w.start(nil)
		s := w.waitFor(id, "the end", over)
		stop()
		if s.Phase != rollout.Succeeded || s.WeightPct != 100 {
			t.Errorf("ended as %s with %g %%", s.Phase, s.WeightPct)
		}
		want := []string{
			"admit", "compare_models", "decide_deployment", "deploy_canary_5_percent", "monitor_5_percent", "decide_25_percent",
			"deploy_canary_25_percent", "monitor_25_percent", "decide_100_percent", "deploy_canary_100_percent", "notify_success", "watch_100_percent",
		}
		if diff := cmp.Diff(want, w.script.order()); diff != "" {
			t.Error(diff)
		}
		if took := s.EndedAt.Sub(s.StartedAt); took < 90*time.Minute || took > 91*time.Minute {
			t.Errorf("took %s, want the 90 minutes of the two bakes", took)
		}
		if !strings.Contains(w.logged.String(), "msg=\"task finished\"") {
			t.Error("the process's log does not tell of finished tasks")
		}
	})
}

// TestRun_Story keeps what the log of a rollout says: a retry, a lost attempt, a rollback.
func TestRun_Story(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.script.on("compare_models", result(rollout.Result{}, errors.New("holdout.parquet: connection reset")), good)
		w.script.on("monitor_5_percent", bake(analysis.DecisionRollback))
		id := w.start(func(p *rollout.StartParams) { p.Plan.Steps[1].Duration = time.Minute })
		if _, err := w.Plan(t.Context(), id); err != nil { // the process that planned this dies
			t.Fatal(err)
		}
		stop := w.loop()
		s := w.waitFor(id, "the end", over)
		stop()
		if s.Phase != rollout.RolledBack {
			t.Errorf("ended as %s", s.Phase)
		}
		golden(t, "story.txt", w.story(id))
		golden(t, "history.txt", strings.Join(w.history(id), "\n")+"\n")
	})
}

// TestRun_AbortIsQuick aborts in the middle of a bake: nobody waits for its end.
func TestRun_AbortIsQuick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stop := w.loop()
		id := w.start(nil)
		w.waitFor(id, "the bake", at("monitor_5_percent"))
		pause(t.Context(), 10*time.Minute)
		asked := time.Now()
		if err := w.Signal(t.Context(), id, rollout.Signal{Name: rollout.SignalAbort, Actor: "bob", Reason: "angry customers"}); err != nil {
			t.Fatal(err)
		}
		s := w.waitFor(id, "the end", phase(rollout.RolledBack))
		stop()
		if took := time.Since(asked); took > 16*time.Second {
			t.Errorf("an abort took %s, more than a tick", took)
		}
		if !strings.Contains(s.Reason, "bob") {
			t.Errorf("the reason %q does not name who aborted", s.Reason)
		}
	})
}

// TestRun_RetriesWithGrowingPauses lets the registry fail four times: the rollout is held, then goes on.
func TestRun_RetriesWithGrowingPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		down := result(rollout.Result{}, errors.New("registry: connection refused"))
		w.script.on("admit", append(slices.Repeat([]effect{down}, 4), good)...)
		stop := w.loop()
		id := w.start(nil)
		w.waitFor(id, "the hold", phase(rollout.Held))
		s := w.waitFor(id, "going on", at("monitor_5_percent"))
		stop()
		if waited := s.Tasks["admit"].At.Sub(s.StartedAt); waited != 15*time.Second {
			t.Errorf("four failures took %s, want 1 + 2 + 4 + 8 s", waited)
		}
		want := []string{"admit/1 retry", "admit/2 retry", "admit/3 retry", "admit/4 retry", "admit/5 done"}
		if diff := cmp.Diff(want, w.attempts(id)[:5]); diff != "" {
			t.Error(diff)
		}
	})
}

// TestRun_PanicIsARetry catches the panic of a task; the process, its other rollouts and this one go on.
func TestRun_PanicIsARetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.script.on("admit", func(context.Context, rollout.Task, func(rollout.Result) (rollout.Signals, error)) (rollout.Result, error) {
			panic("nil map")
		}, good)
		stop := w.loop()
		id := w.start(nil)
		w.waitFor(id, "the bake", at("monitor_5_percent"))
		stop()
		if got := w.attempts(id)[:2]; !slices.Equal(got, []string{"admit/1 retry", "admit/2 done"}) {
			t.Errorf("attempts %v", got)
		}
		if !strings.Contains(w.logged.String(), "nil map") || !strings.Contains(w.story(id), "nil map") {
			t.Error("the panic is in neither log")
		}
	})
}

// TestRun_PoisonedRowHoldsUpNobody has a row that cannot be read.
func TestRun_PoisonedRowHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		bad := w.start(nil)
		other := params("churn")
		broken := &poisoned{DB: w.db, id: bad}
		e, err := New(Options{Store: broken, Runner: w.script})
		if err != nil {
			t.Fatal(err)
		}
		w.Engine = e
		stop := w.loop()
		s, err := w.Start(t.Context(), other)
		if err != nil {
			t.Fatal(err)
		}
		w.waitFor(s.ID, "the end", over)
		if n := broken.count(); n < 10 || n > 1000 {
			t.Errorf("the poisoned row was tried %d times in two hours", n)
		}
		if got := w.get(bad).Task; got != "admit" {
			t.Errorf("the poisoned row moved to %s", got)
		}
		broken.heal()
		w.waitFor(bad, "the end of the healed row", over)
		stop()
	})
}

// TestRun_SeveralModels drives three rollouts side by side.
func TestRun_SeveralModels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stop := w.loop()
		var ids []string
		for _, name := range []string{"a", "b", "c"} {
			s, err := w.Start(t.Context(), params(name))
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, s.ID)
		}
		for _, id := range ids {
			s := w.waitFor(id, "success", phase(rollout.Succeeded))
			if took := s.EndedAt.Sub(s.StartedAt); took > 91*time.Minute {
				t.Errorf("%s took %s: the rollouts waited for each other", s.Model, took)
			}
		}
		stop()
	})
}

// TestRun_ShutdownAndRestart stops the loop in the middle of a bake; the next one goes on with the time that was covered.
func TestRun_ShutdownAndRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stop := w.loop()
		id := w.start(nil)
		w.waitFor(id, "the bake", at("monitor_5_percent"))
		pause(t.Context(), 20*time.Minute)
		stop()
		before := w.get(id).Stage.Judgement.Covered
		if before < 19*time.Minute {
			t.Fatalf("only %s covered after 20 minutes", before)
		}
		pause(t.Context(), 3*time.Hour)
		w.Engine = w.another()
		stop = w.loop()
		s := w.waitFor(id, "the next step", at("monitor_25_percent"))
		stop()
		if took := s.Tasks["monitor_5_percent"].At.Sub(s.Tasks["deploy_canary_5_percent"].At); took < 3*time.Hour+29*time.Minute {
			t.Errorf("the bake ended after %s: the outage counted", took)
		}
		if got := w.attempts(id); !slices.Contains(got, "monitor_5_percent/1 lost") || !slices.Contains(got, "monitor_5_percent/2 done") {
			t.Errorf("attempts %v", got)
		}
	})
}

// TestRun_ExternalRowIsNotMovedForward drives an external row back, but forward only as far as a command asked.
func TestRun_ExternalRowIsNotMovedForward(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stop := w.loop()
		id := w.start(external)
		pause(t.Context(), 2*time.Hour)
		if got := w.script.order(); len(got) != 0 {
			t.Errorf("ran %v without being asked", got)
		}
		if err := w.Signal(t.Context(), id, rollout.Signal{Name: rollout.SignalGrant, Actor: "airflow", Task: "compare_models"}); err != nil {
			t.Fatal(err)
		}
		pause(t.Context(), time.Minute)
		if got := w.script.order(); !slices.Equal(got, []string{"admit", "compare_models"}) {
			t.Errorf("ran %v, asked for compare_models", got)
		}
		stop()
	})
}

// TestRun_IdleTaskDoesNotSpin has a bake that returns at once, again and again.
func TestRun_IdleTaskDoesNotSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.script.on("monitor_5_percent", result(rollout.Result{Status: rollout.StatusDone}, nil))
		stop := w.loop()
		id := w.start(nil)
		w.waitFor(id, "the bake", at("monitor_5_percent"))
		pause(t.Context(), 10*time.Second)
		stop()
		if n := len(w.attempts(id)); n < 8 || n > 20 {
			t.Errorf("%d attempts in ten seconds, want about one a second", n)
		}
	})
}

// TestRun_StoreIsAway begins while the database cannot be read at all.
func TestRun_StoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		id := w.start(nil)
		broken := &poisoned{DB: w.db, all: true}
		e, err := New(Options{Store: broken, Runner: w.script})
		if err != nil {
			t.Fatal(err)
		}
		w.Engine = e
		stop := w.loop()
		pause(t.Context(), 5*time.Minute)
		if n := broken.count(); n < 5 || n > 60 {
			t.Errorf("the store was tried %d times in five minutes", n)
		}
		broken.heal()
		pause(t.Context(), time.Minute)
		stop()
		if got := w.script.order(); !slices.Contains(got, "deploy_canary_5_percent") {
			t.Errorf("after the store came back only %v ran", got)
		}
		if s := w.get(id); s.Task != "monitor_5_percent" {
			t.Errorf("at %s", s.Task)
		}
	})
}

// TestRun_ReturnsAtOnceWhenStopped leaves no goroutine; goleak looks for them after all tests.
func TestRun_ReturnsAtOnceWhenStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Run(ctx); err != nil {
		t.Fatal(err)
	}
	var live []store.Live
	w.read(func(ctx context.Context, tx *store.Tx) (err error) {
		live, err = tx.LiveRollouts(ctx)
		return err
	})
	if len(live) != 0 {
		t.Errorf("live rows %v", live)
	}
}
