package chaostest

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"serin/internal/rollout"
)

// fileSize sets the largest file that a running process may write: at 0 its disk is full, whatever folder it writes to. Its pipes and sockets go on.
func (p *process) fileSize(t *testing.T, limit uint64) {
	t.Helper()
	const resourceFileSize = 1 // RLIMIT_FSIZE
	value := syscall.Rlimit{Cur: limit, Max: ^uint64(0)}
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(p.cmd.Process.Pid), resourceFileSize, uintptr(unsafe.Pointer(&value)), 0, 0, 0)
	if errno != 0 {
		t.Fatalf("set the file size of process %d: %v", p.cmd.Process.Pid, errno)
	}
}

// fullFor is how long the disk is full: several ticks, and several rounds of what the server does every second.
const fullFor = 3 * time.Second

// TestChaosDiskFull fills the server's disk in the middle of a bake. Both gateways go on serving, the log says what is wrong in lines, and when there
// is space again the rollout goes on to its end with nothing lost.
func TestChaosDiskFull(t *testing.T) {
	t.Parallel()
	w := open(t, better)
	files := w.follow()
	server, gateway, customers := w.begin()
	id := w.canary(files)
	before := len(server.errs.String())
	server.fileSize(t, 0)
	full := time.After(fullFor)
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for waiting := true; waiting; {
		select {
		case <-full:
			waiting = false
		case <-ticker.C:
			if status := w.ping(server); status != http.StatusOK {
				t.Fatalf("with the disk full the server's own gateway answers %d\n%s", status, server.errs)
			}
		case <-server.ended:
			t.Fatalf("the server ended when its disk was full: %v\n%s", server.how, server.errs)
		}
	}
	w.checkSaidSo(server.errs.String()[before:])
	server.fileSize(t, ^uint64(0))
	eventually(t, "the rollout goes on to its end", 2*time.Minute, func() bool {
		r, err := w.client.Get(t.Context(), id)
		return err == nil && r.Phase.Ended() && r.Task == "" && r.WatchUntil == nil
	})
	seen := customers[better].Snapshot().Total
	if seen.Failures != 0 || seen.Refused != 0 {
		t.Errorf("%d failures, %d refused: %s", seen.Failures, seen.Refused, seen.LastFailure)
	}
	server.stop(t)
	gateway.stop(t)
	left := w.read(w.path("data"))
	s, _ := left.row(better)
	if s.Phase != rollout.Succeeded {
		t.Errorf("it ended %s: %s", s.Phase, s.Reason)
	}
	faults, stages := left.replay(s)
	for _, fault := range append(left.faults(), faults...) {
		t.Error(fault)
	}
	if stages != 2 {
		t.Errorf("%d bakes were replayed, want 2", stages)
	}
	w.checkReplayCanFail(left, s)
	if in := left.production(better); len(in) != 1 || in[0] != "2" {
		t.Errorf("in Production: %v", in)
	}
	got, _ := w.told.messages()
	inLog := toldInLog(server.errs.String())
	for event := range left.notices(id, "hook") {
		if name := id + "/" + event; got[name] != 1 || inLog[name] != 1 {
			t.Errorf("%s was told %d times by webhook and %d times in the log", name, got[name], inLog[name])
		}
	}
	if len(inLog) < 2 {
		t.Errorf("told in the log: %v, want start and end", inLog)
	}
	files.check(t)
}

// ping asks the gateway that is in the server's own process.
func (w *world) ping(server *process) int {
	w.t.Helper()
	resp, err := http.Get(server.gateway + "/ping")
	if err != nil {
		w.t.Fatalf("with the disk full: %v\n%s", err, server.errs)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// checkSaidSo wants that the log tells that nothing can be written, in lines that a person can act on, and not one for each try.
func (w *world) checkSaidSo(log string) {
	w.t.Helper()
	said := 0
	for line := range strings.Lines(log) {
		if strings.Contains(line, "panic") || strings.Contains(line, "goroutine ") {
			w.t.Errorf("the log has %q", line)
		}
		if (strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR")) && fullWords(line) {
			said++
		}
	}
	w.t.Logf("%d lines say that the disk is full, of %d in %s", said, strings.Count(log, "\n"), fullFor)
	if said == 0 {
		w.t.Errorf("no line says that the disk is full:\n%s", log)
	}
}

// fullWords says whether a line tells that there is no space: in the system's words for a full disk, for a file size limit, or in the database's.
func fullWords(line string) bool {
	for _, words := range []string{"no space left", "file too large", "disk is full", "disk I/O error"} {
		if strings.Contains(line, words) {
			return true
		}
	}
	return false
}
