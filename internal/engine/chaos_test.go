package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"serin/internal/analysis"
	"serin/internal/rollout"
	"serin/internal/store"
	"serin/internal/store/sqlite"
)

// TestChaos kills the process that carries rollouts, again and again, at random and at the worst moments, writes people's words while it is dead, and
// starts it anew. Every rollout must end, rightly, with no effect applied twice and no minute of bake invented. SERIN_CHAOS_KILLS says how often.
func TestChaos(t *testing.T) {
	t.Parallel()
	kills := 5
	if v := os.Getenv("SERIN_CHAOS_KILLS"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatalf("SERIN_CHAOS_KILLS=%s: %v", v, err)
		}
		kills = n
	}
	seed := uint64(time.Now().UnixNano())
	c := &chaos{t: t, rand: rand.New(rand.NewPCG(seed, 1)), left: kills}
	began := time.Now()
	for c.rollouts == 0 || c.left > 0 {
		c.dir = t.TempDir()
		c.run()
		c.rollouts++
	}
	t.Logf("chaos: seed %d, %d rollouts in %s: %d kills (%d at named points, %d before it was ready), %d signals while dead, %d attempts cut off; effects %d; lost %d, doubled %d",
		seed, c.rollouts, time.Since(began).Round(time.Millisecond), c.random+c.named, c.named, c.early, c.sent, c.cut, c.effects, c.lost, c.doubled)
	t.Logf("chaos: ends %v", c.ends)
}

// chaos is the parent: what it does, and how often it did it.
type chaos struct {
	t    *testing.T
	rand *rand.Rand
	dir  string
	left int

	rollouts, random, named, early, sent, cut int
	// effects are those done outside, lost the ends that are not what they should be, doubled what was done twice.
	effects, lost, doubled int
	ends                   map[rollout.Phase]int
}

// open runs fn on the store while nobody else has it.
func (c *chaos) open(fn func(ctx context.Context, db *store.DB) error) {
	c.t.Helper()
	db, err := sqlite.Open(c.t.Context(), c.dir)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := errors.Join(fn(c.t.Context(), db), db.Close()); err != nil {
		c.t.Fatal(err)
	}
}

// run carries one rollout through its kills to its end and checks it.
func (c *chaos) run() {
	c.t.Helper()
	var id string
	c.open(func(ctx context.Context, db *store.DB) error {
		e, err := New(Options{Store: db, Runner: chaosWorld{}})
		if err != nil {
			return err
		}
		s, err := e.Start(ctx, rollout.StartParams{Plan: chaosPlan(), Actor: "ann", Reason: "chaos"})
		id = s.ID
		return err
	})
	bad := c.rand.IntN(4) == 0
	if bad {
		if err := os.WriteFile(filepath.Join(c.dir, "bad"), nil, 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	for lives := 0; ; lives++ {
		if lives > 300 {
			c.t.Fatal("the rollout does not end")
		}
		if ended := c.live(); ended {
			break
		}
		if c.rand.IntN(4) == 0 { // an outage that is longer than a gap that counts
			pause(c.t.Context(), 25*chaosTick)
		}
		c.signals(id)
	}
	c.open(func(ctx context.Context, db *store.DB) error { return c.check(ctx, db, id, bad) })
}

func chaosPlan() rollout.Plan {
	p := plan("fraud")
	p.Watch.Duration = 0
	p.Analysis.Tick, p.Analysis.MinRequests, p.Analysis.Latency.Enabled = chaosTick, 20, false
	for i := range p.Steps {
		if p.Steps[i].Kind == rollout.StepPause {
			p.Steps[i].Duration = 16 * chaosTick
		}
	}
	return p
}

// errLife is why a life ends whose kill point never came.
var errLife = errors.New("the life is over")

// live starts the child and kills it, unless no kill is left; ended says that the child came to its own end, with nothing left to do.
func (c *chaos) live() (ended bool) {
	c.t.Helper()
	limit := time.Minute
	ctx, cancel := context.WithCancelCause(c.t.Context())
	defer cancel(nil)
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), chaosDir+"="+c.dir)
	dice := c.rand.IntN(10)
	if c.left > 0 && dice < 4 {
		cmd.Env = append(cmd.Env, chaosPoint+"="+chaosPoints[c.rand.IntN(len(chaosPoints))])
		limit = 1500 * time.Millisecond // a rollout that is paused comes to no point at all
	}
	defer time.AfterFunc(limit, func() { cancel(errLife) }).Stop()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	asked := c.left > 0 && dice >= 4
	if asked {
		c.kill(cmd, out)
	}
	_, _ = io.Copy(io.Discard, out)
	err = cmd.Wait()
	if err == nil {
		return true
	}
	timedOut := errors.Is(context.Cause(ctx), errLife)
	if timedOut && limit == time.Minute {
		c.open(c.dump)
		c.t.Fatal("the last life of the child does not end")
	}
	asked = asked || timedOut
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		c.t.Fatalf("the child ended by itself: %v: %s", err, stderr.String())
	}
	c.left--
	if asked {
		c.random++
	} else {
		c.named++
	}
	return false
}

// dump says how the rollouts stand when a test is given up.
func (c *chaos) dump(ctx context.Context, db *store.DB) error {
	return db.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Rollouts(ctx, store.RolloutFilter{})
		for _, row := range rows {
			lines, err := tx.Logs(ctx, store.LogFilter{Rollout: row.State.ID})
			c.t.Logf("%s at %q: %s; pause %+v, hold %+v, %d log lines, %v", row.State.Phase, row.State.Task, row.State.Reason, row.State.Pause, row.State.Hold, len(lines), err)
			for _, l := range lines[max(0, len(lines)-10):] {
				c.t.Logf("%s %s/%d %s", l.At.Format(time.RFC3339Nano), l.Task, l.Attempt, l.Line)
			}
		}
		return err
	})
}

// kill ends the child at a random moment of its life, one time in six before it has opened the store.
func (c *chaos) kill(cmd *exec.Cmd, out io.Reader) {
	c.t.Helper()
	if c.rand.IntN(6) == 0 {
		c.early++
	} else if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return
	}
	pause(c.t.Context(), time.Duration(c.rand.IntN(400))*time.Millisecond)
	_ = cmd.Process.Kill()
}

// signals writes people's words as rows while nothing runs.
func (c *chaos) signals(id string) {
	c.t.Helper()
	c.open(func(ctx context.Context, db *store.DB) error {
		return db.Update(ctx, func(tx *store.Tx) error {
			row, err := tx.Rollout(ctx, id)
			if err != nil {
				return err
			}
			var names []rollout.SignalName
			if c.rand.IntN(3) == 0 {
				names = append(names, []rollout.SignalName{rollout.SignalPause, rollout.SignalResume, rollout.SignalPromote}[c.rand.IntN(3)])
			}
			if c.rand.IntN(25) == 0 {
				names = append(names, rollout.SignalAbort)
			}
			if row.State.Pause != nil || c.left <= 0 {
				names = append(names, rollout.SignalResume)
			}
			for _, name := range names {
				c.sent++
				if _, err := tx.AddSignal(ctx, id, rollout.Signal{Name: name, Actor: "bob", Reason: "chaos"}, now()); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// check looks at everything that is left of a rollout.
func (c *chaos) check(ctx context.Context, db *store.DB, id string, bad bool) error {
	return db.View(ctx, func(tx *store.Tx) error {
		row, err := tx.Rollout(ctx, id)
		if err != nil {
			return err
		}
		s := row.State
		if c.ends == nil {
			c.ends = map[rollout.Phase]int{}
		}
		c.ends[s.Phase]++
		c.checkEffects(s)
		aborted := false
		signals, err := tx.Signals(ctx, id) // one that came after the end waits for ever: there is nothing left to tell
		for _, sig := range signals {
			aborted = aborted || sig.Signal.Name == rollout.SignalAbort && sig.Error == "" && !sig.AppliedAt.IsZero()
			if sig.AppliedAt.IsZero() && !s.Phase.Ended() {
				c.t.Errorf("signal %s was never looked at", sig.Signal.Name)
			}
		}
		wrong := !bad && !aborted && s.Phase != rollout.Succeeded || aborted && s.Phase != rollout.Aborted && s.Phase != rollout.RolledBack || bad && s.Phase == rollout.Succeeded
		if wrong {
			c.lost++
			c.t.Errorf("bad canary %t, aborted %t: the rollout ended as %s: %s", bad, aborted, s.Phase, s.Reason)
		}
		return errors.Join(err, c.checkAttempts(ctx, tx, id), c.checkBake(ctx, tx, s))
	})
}

// checkEffects counts what was done outside: each key once, and the last state the right one.
func (c *chaos) checkEffects(s rollout.State) {
	c.t.Helper()
	w := chaosWorld{dir: c.dir}
	for _, chain := range []string{"routing", "registry", "messages"} {
		seen := map[string]bool{}
		_, n, err := w.last(chain)
		if err != nil {
			c.t.Fatal(err)
		}
		for i := 1; i <= n; i++ {
			text, err := os.ReadFile(filepath.Join(c.dir, fmt.Sprintf("%s.%d", chain, i)))
			if err != nil {
				c.t.Fatal(err)
			}
			c.effects++
			if seen[string(text)] {
				c.doubled++
				c.t.Errorf("%s: link %d was made twice: %s", chain, i, text)
			}
			seen[string(text)] = true
		}
	}
	routing, links, _ := w.last("routing")
	registry, _, _ := w.last("registry")
	messages, _, _ := w.last("messages")
	switch s.Phase {
	case rollout.Succeeded:
		if routing.Weight != 100 || registry.Value != "2" || messages.Key != s.ID+"/"+rollout.TaskNotifySuccess {
			c.lost++
			c.t.Errorf("succeeded with routing %+v, registry %+v, messages %+v", routing, registry, messages)
		}
	case rollout.RolledBack:
		if routing.Weight != 0 || registry.Value == "2" || messages.Key != s.ID+"/"+rollout.TaskNotifyRollback {
			c.lost++
			c.t.Errorf("rolled back with routing %+v, registry %+v, messages %+v", routing, registry, messages)
		}
	case rollout.Aborted:
		if links != 0 {
			c.lost++
			c.t.Errorf("aborted before anybody met the canary, with routing %+v", routing)
		}
	case rollout.Progressing, rollout.Paused, rollout.Held, rollout.Rejected, rollout.Failed:
		c.lost++
		c.t.Errorf("the rollout is %s: %s", s.Phase, s.Reason)
	}
}

// checkAttempts wants every attempt closed, and every task with effects done at most once.
func (c *chaos) checkAttempts(ctx context.Context, tx *store.Tx, id string) error {
	all, err := tx.Attempts(ctx, id)
	done := map[string]int{}
	for _, a := range all {
		switch a.Status {
		case store.AttemptDone:
			done[a.Task]++
		case store.AttemptLost:
			c.cut++
		case store.AttemptDropped:
		case store.AttemptOpen, store.AttemptRetry, store.AttemptNotProven, store.AttemptRefused:
			c.t.Errorf("attempt %d of %s is %s: %s", a.Attempt, a.Task, a.Status, a.Reason)
		}
	}
	for task, n := range done {
		if n > 1 && !strings.HasPrefix(task, "monitor_") && !strings.HasPrefix(task, "decide_") {
			c.doubled++
			c.t.Errorf("%s was done %d times", task, n)
		}
	}
	return err
}

// checkBake judges what the log says was judged once more, in one go: a process that was never killed must have come to the same covered time at every scrape.
func (c *chaos) checkBake(ctx context.Context, tx *store.Tx, s rollout.State) error {
	lines, err1 := tx.Logs(ctx, store.LogFilter{Rollout: s.ID})
	scrapes, err2 := tx.Scrapes(ctx, s.Model, time.Time{}, time.Time{})
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	byTime := map[int64]analysis.Scrape{}
	for _, sc := range scrapes {
		byTime[sc.At.UnixNano()] = sc
	}
	var judge analysis.State
	var last, begun int64
	for _, l := range lines {
		var at, covered int64
		if l.Line == "fresh" {
			judge, begun = nil, 0
		}
		if n, _ := fmt.Sscanf(l.Line, "judged %d %d", &at, &covered); n != 2 {
			continue
		}
		if at <= last {
			c.t.Errorf("scrape %d was judged after %d", at, last)
		}
		if begun == 0 {
			begun = at
		}
		last = at
		sc, ok := byTime[at]
		if !ok {
			c.t.Fatalf("scrape %d was judged and is not stored", at)
		}
		next, j, err := analysis.Judge(s.Plan.Analysis, chaosStage(l.Task), judge, sc)
		if err != nil {
			return err
		}
		judge = next
		if int64(j.Covered) != covered || covered > at-begun {
			c.t.Errorf("%s at %d: %s covered, but %s in one go and %s since the first scrape", l.Task, at, time.Duration(covered), j.Covered, time.Duration(at-begun))
		}
	}
	return nil
}

// chaosStage is the stage of a monitor of chaosPlan.
func chaosStage(task string) analysis.Stage {
	weight := 5.0
	if task == "monitor_25_percent" {
		weight = 25
	}
	return analysis.Stage{Name: task, WeightPct: weight, Bake: 16 * chaosTick}
}
