package stories

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// process is a serin that the demo runs beside itself, so that it can be killed.
type process struct {
	args []string
	log  string
	cmd  *exec.Cmd
	done chan error
}

// start runs the command and waits until it says that it serves.
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
	p.cmd = exec.Command(self, p.args...)
	p.cmd.Stderr = log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start serin %s: %w", p.args[0], err)
	}
	ready := make(chan error, 1)
	p.done = make(chan error, 1)
	go func() {
		first, err := bufio.NewReader(stdout).ReadBytes('\n')
		var line struct{ Ready bool }
		if err == nil {
			err = json.Unmarshal(first, &line)
		}
		if err == nil && !line.Ready {
			err = errors.New("it does not say that it is ready")
		}
		ready <- err
		p.done <- p.cmd.Wait()
	}()
	select {
	case err = <-ready:
	case <-time.After(30 * time.Second):
		err = errors.New("it is not ready after 30 s")
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		p.kill()
		return fmt.Errorf("serin %s: %w: its log is %s", p.args[0], err, p.log)
	}
	return nil
}

// kill is kill -9: nothing is finished, nothing is written.
func (p *process) kill() {
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.done
	p.cmd = nil
}

// stop asks the process to finish, and kills it after ten seconds.
func (p *process) stop() {
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		p.cmd = nil
	case <-time.After(10 * time.Second):
		p.kill()
	}
}

// freePort asks the kernel for a port that nobody listens on now.
func freePort() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}
