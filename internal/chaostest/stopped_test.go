package chaostest

import (
	"syscall"
	"testing"
	"time"

	"serin/internal/rollout"
	"serin/internal/traffic"
)

// TestChaosStopped freezes the server while a canary has traffic. The command takes the canary away all the same, within a second, and the server
// that wakes up does not put it back.
func TestChaosStopped(t *testing.T) {
	t.Parallel()
	w := openWith(t, time.Minute, better)
	files := w.follow()
	server, gateway, customers := w.begin()
	id := w.canary(files)
	if err := server.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	written := make(chan time.Duration, 1)
	files.arm(func(string, traffic.Document) { written <- time.Since(began) })
	stdout, stderr, code := w.command(t.Context(), "rollback-deployment", "--model", better)
	took := time.Since(began)
	if code != 0 {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
	select {
	case after := <-written:
		t.Logf("champion 100 %% in the file after %s, the command ended after %s", after.Round(time.Millisecond), took.Round(time.Millisecond))
		if after > time.Second {
			t.Errorf("the champion had everything after %s, want a second", after)
		}
	default:
		t.Errorf("the routing file was not written: %s%s", stdout, stderr)
	}
	if doc := files.now(better); doc.CanaryEnabled || doc.ChampionPct != 100 {
		t.Errorf("the file has %+v", doc)
	}
	eventually(t, "no customer meets the canary", readyWithin, func() bool {
		customers[better].Mark()
		<-time.After(200 * time.Millisecond)
		seen := customers[better].Snapshot().Window
		return seen.Roles["champion"] > 0 && seen.Roles["canary"] == 0
	})
	if err := server.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the rollout ends rolled back", readyWithin, func() bool {
		r, err := w.client.Get(t.Context(), id)
		return err == nil && r.Phase == rollout.RolledBack && r.Task == ""
	})
	if again := files.enabledAfter(better, files.disabledAt(better)); again != nil {
		t.Errorf("the server put the canary back: %+v", again)
	}
	seen := customers[better].Snapshot().Total
	if seen.Failures != 0 || seen.Refused != 0 {
		t.Errorf("%d failures, %d refused: %s", seen.Failures, seen.Refused, seen.LastFailure)
	}
	server.stop(t)
	gateway.stop(t)
	left := w.read(w.path("data"))
	if n := len(left.rows[better]); n != 1 {
		t.Errorf("%d rollouts", n)
	}
	for _, fault := range left.faults() {
		t.Error(fault)
	}
	files.check(t)
}
