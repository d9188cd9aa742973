package chaostest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// readyWithin is what a start may take on a machine that is busy with other tests.
const readyWithin = 60 * time.Second

// program builds the real serin once for all tests; the folder goes in TestMain.
var program = sync.OnceValues(func() (path string, err error) {
	path = filepath.Join(buildDir, "serin")
	if out, err := exec.Command("go", "build", "-o", path, "serin/cmd/serin").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// buildDir is set by TestMain before any test runs.
var buildDir string

func TestMain(m *testing.M) { os.Exit(inBuildDir(m)) }

func inBuildDir(m *testing.M) int {
	dir, err := os.MkdirTemp("", "chaostest")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	buildDir = dir
	return m.Run()
}

func built(t *testing.T) string {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// process is one life of a serin. One goroutine owns its output and waits for its end.
type process struct {
	cmd   *exec.Cmd
	ready chan struct{} // closed when it has said that it serves
	// gateway is where its gateway is, once it is ready.
	gateway string
	ended   chan struct{} // closed when it is gone; how is then the reason
	how     error
	errs    *lines // its stderr
}

// lines keeps a process's stderr, by pipe: a process whose disk is full can still speak.
type lines struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// environment is the caller's without what would lead a serin to the caller's own registry, metrics, database or data.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		return slices.ContainsFunc([]string{"SERIN_", "MLFLOW_", "PROMETHEUS_", "POSTGRES_"}, func(prefix string) bool { return strings.HasPrefix(v, prefix) })
	})
}

// spawn starts a serin and does not wait for it.
func (w *world) spawn(args ...string) *process {
	w.t.Helper()
	p := &process{cmd: exec.Command(built(w.t), w.args(args)...), ready: make(chan struct{}), ended: make(chan struct{}), errs: &lines{}}
	p.cmd.Dir, p.cmd.Env, p.cmd.Stderr = w.dir, environment(), p.errs
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go p.own(stdout)
	w.t.Cleanup(p.kill)
	return p
}

func (p *process) own(stdout io.Reader) {
	r := bufio.NewReader(stdout)
	first, _ := r.ReadBytes('\n')
	var line struct {
		Ready   bool
		Gateway string
	}
	if json.Unmarshal(first, &line) == nil && line.Ready {
		p.gateway = line.Gateway
		close(p.ready)
	}
	_, _ = io.Copy(io.Discard, r) // a broken pipe is the end, which Wait tells
	p.how = p.cmd.Wait()
	close(p.ended)
}

// await waits until the process serves.
func (p *process) await() error {
	select {
	case <-p.ready:
		return nil
	case <-p.ended:
		return fmt.Errorf("it ended before it was ready: %w\n%s", errors.Join(errors.New("no line of readiness"), p.how), p.errs)
	case <-time.After(readyWithin):
		return fmt.Errorf("not ready after %s\n%s", readyWithin, p.errs)
	}
}

// strike is kill -9 without waiting: the first thing to do when the moment is there.
func (p *process) strike() { _ = p.cmd.Process.Kill() } // fails only when it has ended

// kill is kill -9; it returns when the process is gone.
func (p *process) kill() {
	p.strike()
	<-p.ended
}

// stop asks the process to finish and waits for it.
func (p *process) stop(t *testing.T) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(readyWithin):
		t.Errorf("it does not end on SIGTERM\n%s", p.errs)
		p.kill()
	}
}

// command runs a serin command to its end.
func (w *world) command(ctx context.Context, args ...string) (stdout, stderr string, code int) {
	w.t.Helper()
	cmd := exec.CommandContext(ctx, built(w.t), w.args(args)...)
	cmd.Dir, cmd.Env = w.dir, environment()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	exit, ok := errors.AsType[*exec.ExitError](err)
	switch {
	case ok:
		code = exit.ExitCode()
	case err != nil:
		w.t.Fatalf("serin %q: %v", args, err)
	}
	return out.String(), errs.String(), code
}

func (w *world) args(args []string) []string {
	return append(slices.Clone(args), "--config", filepath.Join(w.dir, "serin.yaml"), "--data", filepath.Join(w.dir, "data"), "-o", "json")
}

// freeAddresses asks the kernel for n different addresses that nobody listens on now.
func freeAddresses(t *testing.T, n int) []string {
	t.Helper()
	var free []string
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close() //nolint:gocritic // deferInLoop: until the last is there, or two could be the same
		free = append(free, ln.Addr().String())
	}
	return free
}

// eventually waits for a condition, for longer than it can take on a busy machine.
func eventually(t *testing.T, what string, within time.Duration, ok func() bool) {
	t.Helper()
	deadline := time.After(within)
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within %s: %s", within, what)
		case <-ticker.C:
		}
	}
}
