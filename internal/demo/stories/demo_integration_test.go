//go:build integration

package stories

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// running is the real demo, built and started as a user does, in a temporary folder of its own.
type running struct {
	cmd    *exec.Cmd
	stdout io.ReadCloser
	stderr bytes.Buffer
	tmp    string
}

// buildSerin builds the program once for all tests that want it.
func buildSerin(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "serin")
	if out, err := exec.Command("go", "build", "-o", program, "serin/cmd/serin").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}

func startDemo(t *testing.T, program string, args ...string) *running {
	t.Helper()
	d := &running{tmp: t.TempDir()}
	d.cmd = exec.Command(program, append([]string{"demo"}, args...)...)
	// A registry of the caller's, which does not answer: a demo that used it would end at once.
	d.cmd.Env = append(os.Environ(), "TMPDIR="+d.tmp, "MLFLOW_TRACKING_URI=http://127.0.0.1:1", "SERIN_DATA=/nowhere")
	d.cmd.Stderr = &d.stderr
	var err error
	if d.stdout, err = d.cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.cmd.Process.Kill() })
	return d
}

// exitCode waits for the demo's end.
func (d *running) exitCode(t *testing.T) int {
	t.Helper()
	err := d.cmd.Wait()
	exit, ok := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return 0
	case ok:
		return exit.ExitCode()
	}
	t.Fatal(err)
	return 0
}

// servers are the processes on the demo's folder.
func (d *running) servers(t *testing.T) (list []string) {
	t.Helper()
	out, err := exec.Command("ps", "-A", "-ww", "-o", "pid=,args=").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, d.tmp) {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return list
}

// checkNothingLeft wants that nothing runs and no file is left.
func (d *running) checkNothingLeft(t *testing.T) {
	t.Helper()
	if left := d.servers(t); len(left) > 0 {
		t.Errorf("left running: %q", left)
	}
	if files, err := os.ReadDir(d.tmp); err != nil || len(files) > 0 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

// await reads lines until one holds the text, and gives all that were read; with "" all that there are.
func await(t *testing.T, r *bufio.Scanner, text string) (lines []string) {
	t.Helper()
	for r.Scan() {
		lines = append(lines, r.Text())
		if text != "" && strings.Contains(r.Text(), text) {
			return lines
		}
	}
	if text != "" {
		t.Fatalf("the demo ended before it said %q: %q", text, lines)
	}
	return lines
}

// TestDemo_Integration plays the whole demo: every story must end as the contract says, in under two minutes, and leave nothing.
func TestDemo_Integration(t *testing.T) {
	program := buildSerin(t)
	began := time.Now()
	d := startDemo(t, program, "-o", "json")
	lines := await(t, bufio.NewScanner(d.stdout), "")
	code, took := d.exitCode(t), time.Since(began)
	if code != 0 || d.stderr.Len() > 0 || took > 2*time.Minute {
		t.Errorf("exit code %d after %s: %s", code, took, d.stderr.String())
	}
	for _, line := range lines {
		if !json.Valid([]byte(line)) {
			t.Errorf("no JSON: %s", line)
		}
	}
	var s Summary
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &s); err != nil {
		t.Fatalf("last line: %v: %s", err, lines[len(lines)-1])
	}
	ends := map[string]string{}
	for _, o := range s.Stories {
		ends[o.Name] = o.Outcome
		if o.Outcome != o.Wanted || o.Failures != 0 || len(o.Faults) > 0 {
			t.Errorf("story %+v", o)
		}
		if o.Outcome == "rolled_back" && (o.Took == "" || o.CanaryRequests == 0) {
			t.Errorf("story %+v does not say after how many seconds and canary requests", o)
		}
	}
	want := map[string]string{
		"a better challenger": "succeeded", "a challenger that fails on 7 % of requests": "rolled_back", "a challenger that is slow": "rolled_back",
		"a challenger with poor recall": "rejected", "kill -9 in the middle of a bake": "succeeded",
	}
	if diff := cmp.Diff(want, ends); diff != "" || !s.OK {
		t.Errorf("ok %v, stories (-want +got)\n%s\n%s", s.OK, diff, strings.Join(lines, "\n"))
	}
	d.checkNothingLeft(t)
}

// TestDemoEnds_Integration ends the demo in the middle of a story, in the ways in which people do.
func TestDemoEnds_Integration(t *testing.T) {
	program := buildSerin(t)
	tests := []struct {
		name string
		args []string
		end  func(*running) error
		// summary is the last line; a reader that has gone sees none.
		summary bool
	}{
		{"Ctrl-C", []string{"-o", "json"}, func(d *running) error { return d.cmd.Process.Signal(os.Interrupt) }, true},
		{"SIGTERM", []string{"-o", "json", "--keep"}, func(d *running) error { return d.cmd.Process.Signal(syscall.SIGTERM) }, true},
		{"the terminal closes", []string{"-o", "json"}, func(d *running) error { return d.cmd.Process.Signal(syscall.SIGHUP) }, true},
		{"the reader has seen enough", nil, func(d *running) error { return d.stdout.Close() }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := startDemo(t, program, tt.args...)
			out := bufio.NewScanner(d.stdout)
			await(t, out, "judging version 2 at 5 %")
			if running := d.servers(t); len(running) != 2 {
				t.Errorf("running: %q, want a server and a gateway", running)
			}
			began := time.Now()
			if err := tt.end(d); err != nil {
				t.Fatal(err)
			}
			if tt.summary {
				lines := await(t, out, `"ok":`)
				if last := lines[len(lines)-1]; !strings.HasPrefix(last, `{"stories":[{"name":"a better challenger"`) || !strings.HasSuffix(last, `"ok":false}`) {
					t.Errorf("last line %s", last)
				}
			}
			if code := d.exitCode(t); code != 1 {
				t.Errorf("exit code %d", code)
			}
			if took := time.Since(began); took > 25*time.Second {
				t.Errorf("it took %s to end", took)
			}
			if got := d.stderr.String(); got != "serin: demo: interrupted; everything that was started has been stopped\n" {
				t.Errorf("stderr %q", got)
			}
			d.checkNothingLeft(t)
		})
	}
}

// TestDemoServerDies_Integration kills the server where no story wants it: the fault is told, and the folder is kept with the logs.
func TestDemoServerDies_Integration(t *testing.T) {
	d := startDemo(t, buildSerin(t), "-o", "json")
	out := bufio.NewScanner(d.stdout)
	await(t, out, "judging version 2 at 5 %")
	killed := 0
	for _, line := range d.servers(t) {
		pid, args, _ := strings.Cut(line, " ")
		if id, err := strconv.Atoi(pid); err == nil && strings.Contains(args, " serve ") {
			killed++
			if err := syscall.Kill(id, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	lines := await(t, out, "")
	if code := d.exitCode(t); code != 1 || killed != 1 {
		t.Errorf("exit code %d, %d servers killed", code, killed)
	}
	var s Summary
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &s); err != nil || s.OK || len(s.Stories) != 5 {
		t.Fatalf("last line: %v: %s", err, lines[len(lines)-1])
	}
	wantFaults(t, s.Stories[0].Faults, "no serin server answers at ")
	if last := s.Stories[4]; last.Outcome != notTold || last.Wanted != "succeeded" {
		t.Errorf("last story %+v", last)
	}
	_, dir, _ := strings.Cut(strings.TrimSpace(d.stderr.String()), "see the table; its files are kept in ")
	for _, name := range []string{"server.log", "gateway.log"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil || !strings.HasPrefix(dir, d.tmp) {
			t.Errorf("stderr %q: %v", d.stderr.String(), err)
		}
	}
	if left := d.servers(t); len(left) > 0 {
		t.Errorf("left running: %q", left)
	}
}
