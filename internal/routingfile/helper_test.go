package routingfile

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"serin/internal/model"
	"serin/internal/traffic"
)

const fraud = "fraud"

var at = time.Date(2025, 1, 20, 10, 30, 0, 0, time.UTC)

// TestMain is also the entry of the processes that tests start: a writer that a test kills, and one without space on its disk.
func TestMain(m *testing.M) {
	switch os.Getenv("ROUTINGFILE_HELPER") {
	case "":
		os.Exit(m.Run())
	case "stop before rename":
		helperWrite(func() {
			fmt.Println("ready")
			select {}
		})
	case "no space":
		signal.Ignore(syscall.SIGXFSZ)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 256, Max: 256}); err != nil {
			fmt.Println(err)
			os.Exit(2)
		}
		helperWrite(func() {})
	}
}

func helperWrite(beforeRename func()) {
	f, err := New(Options{Path: os.Getenv("ROUTINGFILE_PATH"), Compat: traffic.Compat(os.Getenv("ROUTINGFILE_COMPAT"))})
	if err == nil {
		f.beforeRename = beforeRename
		_, err = f.Update(context.Background(), toWeight(25))
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// helper is the command that runs this test binary as one of the processes above.
func helper(t *testing.T, what string, f *File) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "ROUTINGFILE_HELPER="+what, "ROUTINGFILE_PATH="+f.path, "ROUTINGFILE_COMPAT="+string(f.compat))
	return cmd
}

// toWeight is an update that gives the canary a weight; 0 rolls back.
func toWeight(pct float64) func(traffic.Document) (traffic.Document, error) {
	by := traffic.Author{Writer: "test", Rollout: "r-1", Task: "deploy", Attempt: 1}
	return func(prev traffic.Document) (traffic.Document, error) {
		if pct == 0 {
			return traffic.Rollback(prev, traffic.RollbackParams{Model: fraud, URIs: traffic.URIStage, At: at, By: by})
		}
		return traffic.Deploy(prev, traffic.DeployParams{
			Model: fraud, WeightPct: pct, URIs: traffic.URIStage, Salt: "s4lt", By: by,
			Champion: model.Pin{Version: "40"}, Canary: model.Pin{Version: "41"}, LeaseUntil: at,
		})
	}
}

func newFile(t *testing.T, c traffic.Compat) *File {
	t.Helper()
	return newFileAt(t, filepath.Join(t.TempDir(), "config", "traffic_routing.json"), c)
}

func newFileAt(t *testing.T, path string, c traffic.Compat) *File {
	t.Helper()
	f, err := New(Options{Path: path, Compat: c})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func set(t *testing.T, f *File, pct float64) traffic.Document {
	t.Helper()
	d, err := f.Update(t.Context(), toWeight(pct))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func mustRead(t *testing.T, f *File) traffic.Document {
	t.Helper()
	d, err := f.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d
}
