package stories

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// helperProcess is this program in one of its modes.
func helperProcess(t *testing.T, mode string) *process {
	t.Helper()
	dir := t.TempDir()
	p := &process{args: []string{"helper", mode}, dir: dir, log: filepath.Join(dir, "helper.log"), grace: 10 * time.Second}
	t.Cleanup(p.kill)
	return p
}

func (p *process) logged(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(p.log)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// alive says whether a process of that id is there.
func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestProcess_StartsAndFinishes(t *testing.T) {
	t.Parallel()
	p := helperProcess(t, "ready")
	if err := p.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	pid := p.cmd.Process.Pid
	if !alive(pid) {
		t.Fatalf("process %d is not there", pid)
	}
	p.stop()
	if alive(pid) {
		t.Errorf("process %d is still there", pid)
	}
	if got := p.logged(t); got != "finished\n" {
		t.Errorf("log %q: it was not asked to finish", got)
	}
	p.stop() // a second time, and a kill afterwards, find nothing to do
	p.kill()
}

// The story of the killed server: the same process is started again, and adds to its log.
func TestProcess_KilledAndStartedAgain(t *testing.T) {
	t.Parallel()
	p := helperProcess(t, "ready")
	if err := p.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := p.cmd.Process.Pid
	p.kill()
	if alive(first) {
		t.Errorf("process %d has survived kill -9", first)
	}
	if got := p.logged(t); got != "" {
		t.Errorf("log %q: kill -9 must not let it finish", got)
	}
	if err := p.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if second := p.cmd.Process.Pid; second == first || !alive(second) {
		t.Errorf("process %d after %d", second, first)
	}
	p.stop()
	if got := p.logged(t); got != "finished\n" {
		t.Errorf("log %q", got)
	}
}

func TestProcess_StartRefusals(t *testing.T) {
	t.Parallel()
	tests := []struct{ mode, want string }{
		{"exits", "serin helper: it ended before it was ready: exit status 3; its log is "},
		{"ends", "serin helper: it ended before it was ready; its log is "},
		{"garbage", `serin helper: it says "hello, I am another program" instead of that it is ready; its log is `},
		{"unready", `serin helper: it says "{\"ready\":false}" instead of that it is ready; its log is `},
		{"endless", "serin helper: it says something else than that it is ready: bufio: buffer full; its log is "},
		{"silent", "serin helper: it is not ready after 300ms; its log is "},
	}
	for _, tt := range tests {
		t.Run(tt.mode, func(t *testing.T) {
			t.Parallel()
			p := helperProcess(t, tt.mode)
			if tt.mode == "silent" {
				p.ready = 300 * time.Millisecond
			}
			err := p.start(t.Context())
			if err == nil || err.Error() != tt.want+p.log {
				t.Errorf("error\n%v, want\n%s%s", err, tt.want, p.log)
			}
			if p.cmd != nil {
				t.Error("something still runs")
			}
			if _, err := os.Stat(p.log); err != nil {
				t.Errorf("the log that the error names: %v", err)
			}
		})
	}
}

func TestProcess_StartEndsWithItsContext(t *testing.T) {
	t.Parallel()
	p := helperProcess(t, "silent")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := p.start(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if p.cmd != nil {
		t.Error("something still runs")
	}
}

func TestProcess_LogThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	p := helperProcess(t, "ready")
	p.log = filepath.Join(p.dir, "missing", "helper.log")
	if err := p.start(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	p.dir, p.log = filepath.Join(p.dir, "gone"), filepath.Join(p.dir, "helper.log")
	if err := p.start(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "start serin helper: ") {
		t.Errorf("error %v", err)
	}
	p.stop()
}

// One that ignores SIGTERM is killed once its grace is over.
func TestProcess_StopKillsTheStubborn(t *testing.T) {
	t.Parallel()
	p := helperProcess(t, "stubborn")
	p.grace = 200 * time.Millisecond
	if err := p.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	pid, began := p.cmd.Process.Pid, time.Now()
	p.stop()
	if alive(pid) {
		t.Errorf("process %d is still there", pid)
	}
	if took := time.Since(began); took < p.grace || took > 5*time.Second {
		t.Errorf("it was killed after %s, want after its grace of %s", took, p.grace)
	}
}

// One that says a lot after it is ready must neither block nor be cut off.
func TestProcess_OutputIsDrained(t *testing.T) {
	t.Parallel()
	p := helperProcess(t, "chatty")
	if err := p.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of its output", func() bool { return strings.Contains(p.logged(t), "all is said") })
	p.stop()
	if got := p.logged(t); !strings.HasSuffix(got, "finished\n") {
		t.Errorf("log %q", got)
	}
}

// One that has ended by itself is nothing to wait for.
func TestProcess_EndsByItself(t *testing.T) {
	t.Parallel()
	p := helperProcess(t, "ready")
	if err := p.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(p.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.ended
	p.stop()
	if p.cmd != nil || p.how == nil {
		t.Errorf("command %v, ended with %v", p.cmd, p.how)
	}
}

func TestProcess_NothingToStop(t *testing.T) {
	t.Parallel()
	var none *process
	none.stop()
	none.kill()
	(&process{}).stop()
	(&process{}).kill()
}

// The caller's settings lead to his own registry: the demo's servers must not see them.
func TestProcess_EnvironmentAndFolder(t *testing.T) {
	t.Setenv("MLFLOW_TRACKING_URI", "http://registry.example")
	t.Setenv("SERIN_DATA", "/var/lib/serin")
	t.Setenv("STORIES_KEPT", "yes")
	p := helperProcess(t, "environment")
	if err := p.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.stop()
	lines := strings.Split(p.logged(t), "\n")
	real, err := filepath.EvalSymlinks(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(lines, "dir "+real) || !slices.Contains(lines, "STORIES_KEPT=yes") {
		t.Errorf("it ran with %q, want folder %s and STORIES_KEPT", lines, real)
	}
	for _, line := range lines {
		if strings.HasPrefix(line, "MLFLOW_") || strings.HasPrefix(line, "SERIN_") {
			t.Errorf("it saw %s", line)
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	all := []string{"PATH=/bin", "SERIN_SERVER=x", "MLFLOW_TRACKING_TOKEN=x", "PROMETHEUS_URL=x", "POSTGRES_HOST=x", "HOME=/h", "MY_SERIN_X=1"}
	want := []string{"PATH=/bin", "HOME=/h", "MY_SERIN_X=1"}
	if diff := cmp.Diff(want, environment(all)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if all[1] != "SERIN_SERVER=x" {
		t.Error("the caller's list was changed")
	}
}

func TestFreeAddresses(t *testing.T) {
	t.Parallel()
	const n = 50
	got, err := freeAddresses(n)
	if err != nil || len(got) != n {
		t.Fatalf("%d addresses, %v", len(got), err)
	}
	slices.Sort(got)
	if len(slices.Compact(slices.Clone(got))) != n {
		t.Errorf("the same address twice in %v", got)
	}
	for _, address := range got[:3] {
		ln, err := net.Listen("tcp", address)
		if err != nil {
			t.Errorf("%s is not free: %v", address, err)
			continue
		}
		ln.Close()
	}
	if none, err := freeAddresses(0); err != nil || none != nil {
		t.Errorf("no addresses: %v, %v", none, err)
	}
}

// A first line is data of another program: none may panic or be taken for ready without saying so.
func FuzzReadReady(f *testing.F) {
	for _, line := range []string{readyLine + "\n", "\n", "", "{}\n", "null\n", `{"ready":"yes"}` + "\n", `{"READY":true}` + "\nmore", strings.Repeat("x", maxReady+1)} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, text string) {
		err := readReady(bufio.NewReaderSize(strings.NewReader(text), maxReady))
		first, _, whole := strings.Cut(text, "\n")
		if err == nil && (!whole || !json.Valid([]byte(first)) || !strings.Contains(first, "true")) {
			t.Errorf("%q was taken for ready", text)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\r\n") {
			t.Errorf("error of more than one line: %q", err)
		}
		if !whole && len(text) < maxReady && !errors.Is(err, errSilent) {
			t.Errorf("%q: %v, want that it ended", text, err)
		}
		if errors.Is(err, io.EOF) {
			t.Errorf("%q: %v leaks how it is read", text, err)
		}
	})
}
