package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"serin/internal/app"
	"serin/internal/demo"
)

// TestMain lets scripts run this test binary as serin, so that a server is a process that can be stopped and killed.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"serin": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		code := Main(ctx, os.Args[1:], Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv})
		stop()
		os.Exit(code)
	}})
}

const scripts = "../../testdata/script"

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: scripts, RequireUniqueNames: true, RequireExplicitExec: true, Setup: setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "fails": fails, "ready": waitReady, "signal": sendSignal, "traffic": playTraffic, "prometheus": startPrometheus, "within": within, "eventually": eventually,
			"freeport": freePort, "answers": answers,
		},
	})
}

// setup gives every script the example models, at the paths that the help uses, and a plan whose times are compressed.
func setup(env *testscript.Env) error {
	examples, err := filepath.Abs("../../examples")
	if err != nil {
		return err
	}
	plan, err := os.ReadFile("testdata/fraud.yaml")
	if err != nil {
		return err
	}
	return errors.Join(
		os.Symlink(examples, filepath.Join(env.WorkDir, "examples")),
		os.Symlink(filepath.Join(examples, "creditcard"), filepath.Join(env.WorkDir, "models")),
		os.MkdirAll(filepath.Join(env.WorkDir, "plans"), 0o750),
		os.WriteFile(filepath.Join(env.WorkDir, "plans", "fraud.yaml"), plan, 0o600),
	)
}

// exits CODE PROGRAM ARGS...: the program ends with exactly this code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	err := ts.Exec(args[1], args[2:]...)
	var e *exec.ExitError
	code := 0
	if errors.As(err, &e) {
		code = e.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// fails CODE PROGRAM ARGS...: the program prints nothing but one line that begins with its name, and ends with this code.
func fails(ts *testscript.TestScript, neg bool, args []string) {
	exits(ts, neg, args)
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("stdout of a command that failed: %q", out)
	}
	line := ts.ReadFile("stderr")
	if !strings.HasPrefix(line, "serin: ") || strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
		ts.Fatalf("want one line on stderr, got %q", line)
	}
}

// waitReady implements ready DATA: a server serves on the data folder; $API, $GATEWAY and $PID are its own.
func waitReady(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ready DATA")
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		f, err := app.ReadServerFile(ts.MkAbs(args[0]))
		if err == nil && f.API != "" && strconv.Itoa(f.PID) != ts.Getenv("PID") {
			if _, err = answering(context.Background(), f.API, time.Second); err == nil {
				ts.Setenv("API", f.API)
				ts.Setenv("GATEWAY", f.Gateway)
				ts.Setenv("PID", strconv.Itoa(f.PID))
				return
			}
		}
		if time.Now().After(deadline) {
			ts.Fatalf("no server on %s: %v", args[0], err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// sendSignal implements signal NAME PID: KILL, STOP, CONT or TERM for a server of this script.
func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]syscall.Signal{"KILL": syscall.SIGKILL, "STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT, "TERM": syscall.SIGTERM}
	if neg || len(args) != 2 || signals[args[0]] == 0 {
		ts.Fatalf("usage: signal KILL|STOP|CONT|TERM PID")
	}
	pid, err := strconv.Atoi(args[1])
	if err != nil || pid <= 1 {
		ts.Fatalf("pid %q", args[1])
	}
	if err := syscall.Kill(pid, signals[args[0]]); err != nil {
		ts.Fatalf("%v", err)
	}
	if args[0] == "STOP" { // a script that fails must not wait for ever for a process that is stopped
		ts.Defer(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	}
}

// within DURATION PROGRAM ARGS...: the program succeeds, and in this time.
func within(ts *testscript.TestScript, neg bool, args []string) {
	limit, err := time.ParseDuration(args[0])
	if neg || err != nil {
		ts.Fatalf("usage: within DURATION PROGRAM ARGS...")
	}
	begin := time.Now()
	exits(ts, false, append([]string{"0"}, args[1:]...))
	if took := time.Since(begin); took > limit {
		ts.Fatalf("took %s, want at most %s", took, limit)
	}
}

// eventually PATTERN PROGRAM ARGS...: the program's output holds the text, within half a minute.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually TEXT PROGRAM ARGS...")
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := ts.Exec(args[1], args[2:]...)
		if strings.Contains(ts.ReadFile("stdout"), args[0]) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%q did not come (%v): %s", args[0], err, ts.ReadFile("stdout"))
		}
		<-time.After(50 * time.Millisecond)
	}
}

// freePort implements freeport VARIABLE: an address on which nobody listens now.
func freePort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: freeport VARIABLE")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		ts.Fatalf("%v", err)
	}
	ts.Setenv(args[0], ln.Addr().String())
	if err := ln.Close(); err != nil {
		ts.Fatalf("%v", err)
	}
}

// answers URL TEXT: a server answers there, within half a minute, with 200 and this text.
func answers(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: answers URL TEXT")
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		text, err := fetch(args[0])
		if err == nil && strings.Contains(text, args[1]) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s: %q (%v), want %q", args[0], text, err, args[1])
		}
		<-time.After(20 * time.Millisecond)
	}
}

func fetch(url string) (string, error) {
	resp, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return string(body), err
}

// playTraffic implements traffic URL MODEL: customers ask for predictions until the script ends.
func playTraffic(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: traffic URL MODEL")
	}
	columns := make([]string, 0, 29)
	for i := range 28 {
		columns = append(columns, fmt.Sprintf("V%d", i+1))
	}
	columns = append(columns, "Amount")
	var rows [][]float64
	var customers []string
	for i := range 400 {
		row := make([]float64, len(columns))
		for j := range row {
			row[j] = float64((i*31+j*17)%200-100) / 50
		}
		rows, customers = append(rows, row), append(customers, fmt.Sprintf("c%d", i))
	}
	ctx, cancel := context.WithCancel(context.Background())
	p, err := demo.Play(ctx, demo.PlayParams{URLs: []string{args[0]}, Model: args[1], Columns: columns, Rows: rows, Customers: customers, RatePerSecond: 400})
	if err != nil {
		cancel()
		ts.Fatalf("%v", err)
	}
	ts.Defer(func() { cancel(); p.Wait() })
}
