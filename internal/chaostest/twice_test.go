package chaostest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestChaosTwoServers starts a second server on the folder of a first: it ends with 1, in one line that names the first one's process, and the first
// serves on. A first one that was killed leaves no lock behind.
func TestChaosTwoServers(t *testing.T) {
	t.Parallel()
	w := open(t, better)
	first := w.serve()
	_, stderr, code := w.command(t.Context(), "serve", "--listen", "127.0.0.1:0", "--gateway-listen", "127.0.0.1:0")
	if code != 1 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, fmt.Sprintf("process %d;", first.cmd.Process.Pid)) {
		t.Errorf("the second ended with %d: %q, want 1 and one line naming process %d", code, stderr, first.cmd.Process.Pid)
	}
	if h, err := w.client.Health(t.Context()); err != nil || h.PID != first.cmd.Process.Pid {
		t.Errorf("the first answers %+v, %v", h, err)
	}
	first.kill()
	began := time.Now()
	second := w.serve()
	if h, err := w.client.Health(t.Context()); err != nil || h.PID != second.cmd.Process.Pid {
		t.Errorf("after %s the second answers %+v, %v", time.Since(began), h, err)
	}
	second.stop(t)
}
