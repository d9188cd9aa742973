package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"serin/internal/store"
)

// helperDir makes this test binary a second process: it opens the store in the folder, says so, and does what helperMode says until it is killed.
const (
	helperDir  = "SERIN_TEST_HELPER_DIR"
	helperMode = "SERIN_TEST_HELPER_MODE"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperDir); dir != "" {
		if err := helper(context.Background(), dir, os.Getenv(helperMode)); err != nil {
			fmt.Println("error:", err)
			os.Exit(3)
		}
		return
	}
	os.Exit(m.Run())
}

func helper(ctx context.Context, dir, mode string) error {
	db, err := Open(ctx, dir)
	if err != nil {
		return err
	}
	fmt.Println("open")
	if mode == "hold" {
		_, err := io.ReadAll(os.Stdin) // until the test closes it
		return errors.Join(err, db.Close())
	}
	for n := 1; ; n++ { // both keys in one transaction: no reader may ever see them differ
		err := db.Update(ctx, func(tx *store.Tx) error {
			return errors.Join(tx.SetMeta(ctx, "a", strconv.Itoa(n)), tx.SetMeta(ctx, "text", strings.Repeat(strconv.Itoa(n), 1000)), tx.SetMeta(ctx, "b", strconv.Itoa(n)))
		})
		if err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// second is another process on a folder.
type second struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
}

// launch starts the helper and reads its first line.
func launch(t *testing.T, dir, mode string) (*second, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), helperDir+"="+dir, helperMode+"="+mode)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &second{cmd: cmd, in: in, lines: bufio.NewScanner(out)}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if !s.lines.Scan() {
		t.Fatalf("the second process said nothing: %v", s.lines.Err())
	}
	return s, s.lines.Text()
}

// TestLock_SecondProcessIsRefused names the process that has the folder, in both directions, and frees it when that process ends or is killed.
func TestLock_SecondProcessIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	other, said := launch(t, dir, "hold")
	if said != "open" {
		t.Fatal(said)
	}
	_, err := Open(t.Context(), dir)
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "process "+strconv.Itoa(other.cmd.Process.Pid)+";") || strings.Contains(err.Error(), "\n") {
		t.Errorf("opening a folder that process %d has: %v", other.cmd.Process.Pid, err)
	}
	if err := errors.Join(other.in.Close(), other.cmd.Wait()); err != nil {
		t.Fatal(err)
	}
	db := openIn(t, dir)
	if _, said := launch(t, dir, "hold"); !strings.Contains(said, "process "+strconv.Itoa(os.Getpid())+";") {
		t.Errorf("the second process says %q, want our pid %d", said, os.Getpid())
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	killed, said := launch(t, dir, "hold")
	if said != "open" {
		t.Fatal(said)
	}
	_ = killed.cmd.Process.Kill()
	_ = killed.cmd.Wait()
	openIn(t, dir)
}

// TestLock_SameProcess refuses a second store on one folder within a process too.
func TestLock_SameProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	openIn(t, dir)
	if _, err := Open(t.Context(), dir); !errors.Is(err, ErrLocked) {
		t.Errorf("a second open: %v", err)
	}
}

// TestKilledWhileWriting kills a writer with no warning: what it had committed is there, whole, and nothing else.
func TestKilledWhileWriting(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	last := 0
	for round := range 5 {
		writer, said := launch(t, dir, "write")
		if said != "open" {
			t.Fatal(said)
		}
		for range 3 + round {
			if !writer.lines.Scan() {
				t.Fatal("the writer stopped")
			}
		}
		wait := time.NewTimer(time.Duration(round) * 700 * time.Microsecond)
		<-wait.C
		_ = writer.cmd.Process.Kill()
		for writer.lines.Scan() { // what it had said before it died
			last, _ = strconv.Atoi(writer.lines.Text())
		}
		_ = writer.cmd.Wait()
		checkWhole(t, dir, last)
		last = 0
	}
}

// checkWhole wants both keys at the same number, at least the last that was said to be committed.
func checkWhole(t *testing.T, dir string, last int) {
	t.Helper()
	db := openIn(t, dir)
	err := db.View(t.Context(), func(tx *store.Tx) error {
		a, err1 := tx.Meta(t.Context(), "a")
		text, err2 := tx.Meta(t.Context(), "text")
		b, err3 := tx.Meta(t.Context(), "b")
		n, err4 := strconv.Atoi(a)
		if a != b || text != strings.Repeat(a, 1000) || n < last {
			t.Errorf("after a kill a is %s, b is %s; %d was committed", a, b, last)
		}
		return errors.Join(err1, err2, err3, err4)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestKilledWhileMigrating kills a process that is still migrating: the next one finds all of the schema or none, and brings it up.
func TestKilledWhileMigrating(t *testing.T) {
	t.Parallel()
	for delay := range 12 {
		dir := t.TempDir()
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), helperDir+"="+dir, helperMode+"=write")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		wait := time.NewTimer(time.Duration(10+delay*5) * time.Millisecond)
		<-wait.C
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		db := openIn(t, dir)
		if err := db.Update(t.Context(), func(tx *store.Tx) error { return tx.SetMeta(t.Context(), "k", "v") }); err != nil {
			t.Errorf("after a kill at %d ms: %v", 10+delay*5, err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}
