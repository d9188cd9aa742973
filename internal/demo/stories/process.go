package stories

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// How long a process may take until it serves, and to finish when it is asked to. A line that is longer than maxReady is not the one that says so.
const (
	readyWithin = 30 * time.Second
	graceFor    = 10 * time.Second
	maxReady    = 64 << 10
)

// process is a serin that the demo runs beside itself, so that it can be killed. One goroutine owns the child's output and waits for its end.
type process struct {
	args []string
	// dir is where it runs, log the file that its stderr is added to.
	dir, log string
	// ready and grace are readyWithin and graceFor when zero.
	ready, grace time.Duration
	cmd          *exec.Cmd
	// ended is closed once the process is gone and nothing is left to wait for; how is then the reason.
	ended chan struct{}
	how   error
}

// start runs the command and waits until it says that it serves. After an error nothing runs.
func (p *process) start(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(self, p.args...) //nolint:noctx // it outlives every call: stop and kill end it
	cmd.Dir, cmd.Env, cmd.Stderr = p.dir, environment(os.Environ()), log
	// Ctrl-C is the demo's: it ends what it started in its own order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start serin %s: %w", p.args[0], err)
	}
	p.cmd, p.ended, p.how = cmd, make(chan struct{}), nil
	serves := make(chan error, 1)
	go p.own(stdout, serves)
	if err := p.await(ctx, serves); err != nil {
		p.kill()
		return fmt.Errorf("serin %s: %w; its log is %s", p.args[0], err, p.log)
	}
	return nil
}

// own reads the first line, drops the rest, so that the child never waits for a reader, and then waits for the end.
func (p *process) own(stdout io.Reader, serves chan<- error) {
	r := bufio.NewReaderSize(stdout, maxReady)
	serves <- readReady(r)
	_, _ = io.Copy(io.Discard, r) // a broken pipe is the end, which Wait tells
	p.how = p.cmd.Wait()
	close(p.ended)
}

// errSilent says that the output ended before the line that was waited for.
var errSilent = errors.New("it ended before it was ready")

func readReady(r *bufio.Reader) error {
	first, err := r.ReadSlice('\n')
	switch {
	case errors.Is(err, io.EOF):
		return errSilent
	case err != nil:
		return fmt.Errorf("it says something else than that it is ready: %w", err)
	}
	var line struct{ Ready bool }
	if json.Unmarshal(first, &line) != nil || !line.Ready {
		return fmt.Errorf("it says %.80q instead of that it is ready", strings.TrimSpace(string(first)))
	}
	return nil
}

func (p *process) await(ctx context.Context, serves <-chan error) error {
	patience := p.ready
	if patience == 0 {
		patience = readyWithin
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case err := <-serves:
		if errors.Is(err, errSilent) && p.gone(time.Second) && p.how != nil {
			return fmt.Errorf("%w: %w", err, p.how)
		}
		return err
	case <-timer.C:
		return fmt.Errorf("it is not ready after %s", patience)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// gone waits for the end of the process for at most d.
func (p *process) gone(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.ended:
		return true
	case <-timer.C:
		return false
	}
}

// kill is kill -9: nothing is finished, nothing is written. It returns when the process is gone; one that was never started, or has ended, is left alone.
func (p *process) kill() {
	if p == nil || p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill() // fails only when it has ended
	<-p.ended
	p.cmd = nil
}

// stop asks the process to finish, and kills it when it takes too long.
func (p *process) stop() {
	if p == nil || p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails only when it has ended
	grace := p.grace
	if grace == 0 {
		grace = graceFor
	}
	if !p.gone(grace) {
		p.kill()
	}
	p.cmd = nil
}

// environment is the caller's without what would lead the demo's servers to the caller's own registry, metrics, database or data.
func environment(all []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(variable string) bool {
		return slices.ContainsFunc([]string{"SERIN_", "MLFLOW_", "PROMETHEUS_", "POSTGRES_"}, func(prefix string) bool { return strings.HasPrefix(variable, prefix) })
	})
}

// freeAddresses asks the kernel for n different addresses that nobody listens on now.
func freeAddresses(n int) (addresses []string, err error) {
	var held []net.Listener // until the last is there, or two could be the same
	for len(held) < n && err == nil {
		var ln net.Listener
		if ln, err = net.Listen("tcp", "127.0.0.1:0"); err == nil { //nolint:noctx // it does not wait for anybody
			held, addresses = append(held, ln), append(addresses, ln.Addr().String())
		}
	}
	for _, ln := range held {
		err = errors.Join(err, ln.Close())
	}
	return addresses, err
}
