package stories

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/rollout"
)

// lastLine is the summary that a demo ended with.
func lastLine(t *testing.T, told *book) Summary {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(told.String()), "\n")
	var s Summary
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &s); err != nil || s.Stories == nil {
		t.Fatalf("the last line is no summary: %v: %s", err, lines[len(lines)-1])
	}
	return s
}

// The stories that the contract names, with the ends that it names.
func TestStories(t *testing.T) {
	t.Parallel()
	want := map[string]rollout.Phase{
		"a better challenger": rollout.Succeeded, "a challenger that fails on 7 % of requests": rollout.RolledBack, "a challenger that is slow": rollout.RolledBack,
		"a challenger with poor recall": rollout.Rejected, "kill -9 in the middle of a bake": rollout.Succeeded,
	}
	got := map[string]rollout.Phase{}
	for _, st := range (&world{}).stories() {
		got[st.name] = st.wanted
		if !strings.Contains(st.promise, "must") {
			t.Errorf("%s does not say what must happen: %q", st.name, st.promise)
		}
		if strings.Contains(st.name, "7 %") != (st.faults.FailShare == 0.07) || strings.Contains(st.name, "slow") != (st.faults.Delay > 100*time.Millisecond) {
			t.Errorf("%s has the faults %+v", st.name, st.faults)
		}
		if (st.during != nil) != strings.Contains(st.name, "kill -9") || (st.challenger == "poor") != strings.Contains(st.name, "poor") {
			t.Errorf("%s is with %q, something in the middle: %v", st.name, st.challenger, st.during != nil)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stories (-want +got)\n%s", diff)
	}
}

// The server of a test binary does not start: that is told with the log's name, nothing is left, and the summary is there all the same.
func TestRun_ServerThatDoesNotStart(t *testing.T) {
	t.Parallel()
	told, dir := &book{}, t.TempDir()
	keep := make(chan struct{}) // never closed: there is nothing to keep
	s, err := Run(t.Context(), Options{Dir: dir, Actor: "tester", Teller: NewTeller(told, JSON)}, keep)
	want := "serin serve: it ended before it was ready: exit status 3; its log is " + filepath.Join(dir, "server.log")
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	log, readErr := os.ReadFile(filepath.Join(dir, "server.log"))
	if readErr != nil || string(log) != "this server does not start\n" {
		t.Errorf("log %q, %v", log, readErr)
	}
	if diff := cmp.Diff(s, lastLine(t, told)); diff != "" || s.OK || len(s.Stories) != 5 {
		t.Errorf("summary %+v, told (-want +got)\n%s", s, diff)
	}
	for _, o := range s.Stories {
		if o.Outcome != notTold || o.Wanted == "" || len(o.Faults) > 0 {
			t.Errorf("outcome %+v", o)
		}
	}
	checkSlotsGone(t, dir)
}

// checkSlotsGone wants that nobody listens where the configuration says that the model servers are.
func checkSlotsGone(t *testing.T, dir string) {
	t.Helper()
	yaml, err := os.ReadFile(filepath.Join(dir, "serin.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(yaml), "urls: [")
	list, _, _ = strings.Cut(list, "]")
	urls := strings.Split(list, ", ")
	if len(urls) != 2 {
		t.Fatalf("model servers %q", urls)
	}
	for _, url := range urls {
		address := strings.TrimPrefix(strings.Trim(url, `"`), "http://")
		if conn, err := net.DialTimeout("tcp", address, time.Second); err == nil {
			conn.Close()
			t.Errorf("somebody still listens at %s", address)
		}
	}
}

func TestRun_Interrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	told := &book{}
	s, err := Run(ctx, Options{Dir: t.TempDir(), Actor: "tester", Teller: NewTeller(told, JSON)}, nil)
	if !errors.Is(err, ErrInterrupted) {
		t.Errorf("error %v", err)
	}
	if got := lastLine(t, told); s.OK || got.OK || len(got.Stories) != 5 {
		t.Errorf("summary %+v", got)
	}
}

func TestRun_FolderThatIsMissing(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	told := &book{}
	s, err := Run(t.Context(), Options{Dir: file, Actor: "tester", Teller: NewTeller(told, Text)}, nil)
	if err == nil || errors.Is(err, ErrInterrupted) || s.OK {
		t.Errorf("%+v, %v", s, err)
	}
	if !strings.Contains(told.String(), "NOT every story") {
		t.Errorf("told\n%s", told)
	}
}

// After a story that cannot go on the others are not told, and the demo is not ok.
func TestTellAll_StopsAtAStoryThatCannotGoOn(t *testing.T) {
	t.Parallel()
	tl, told := newTelling(t, newGateway(t, byBucket(0)), nil)
	w := tl.world
	if err := w.startServer(t.Context()); err == nil { // leaves no client of a registry
		t.Fatal("the server of a test started")
	}
	dead, err := freeAddresses(1)
	if err != nil {
		t.Fatal(err)
	}
	w.registry = registryAt(t, "http://"+dead[0])
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s := w.tellAll(ctx, nil)
	if s.OK || len(s.Stories) != 5 || len(s.Stories[0].Faults) != 1 {
		t.Fatalf("summary %+v", s)
	}
	for i, o := range s.Stories {
		if want := []string{cutOff, notTold}[min(i, 1)]; o.Outcome != want {
			t.Errorf("outcome %+v, want %s", o, want)
		}
	}
	if begun := strings.Count(told.String(), "── "); begun != 1 {
		t.Errorf("%d stories were begun:\n%s", begun, told)
	}
}

func TestKept(t *testing.T) {
	t.Parallel()
	keep := make(chan struct{})
	g := newGateway(t, byBucket(0))
	tl, _ := newTelling(t, g, newAPI(t))
	ctx, cancel := context.WithCancel(t.Context())
	if tl.kept(ctx, nil) != nil {
		t.Error("it was not asked to keep anything")
	}
	if tl.kept(ctx, keep) == nil {
		t.Fatal("nothing is kept")
	}
	eventually(t, "customers who go on", func() (come bool) {
		g.change(func() { come = g.counted["champion 1"] > 10 })
		return come
	})
	cancel()
	tl.wg.Wait() // the customers end with it
	if tl.kept(ctx, keep) != nil {
		t.Error("it is kept although it was interrupted")
	}
	none := &world{}
	if none.kept(t.Context(), keep) != nil {
		t.Error("a world that did not open is kept")
	}
}

// The model servers answer as themselves, fail as they are told, and end with their context.
func TestStartSlots(t *testing.T) {
	t.Parallel()
	w := emptyWorld(t)
	if err := w.unpack(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := w.startSlots(ctx); err != nil {
		t.Fatal(err)
	}
	for i, url := range w.slotURLs {
		resp, err := http.Get(url + "/health")
		if err != nil {
			t.Fatal(err)
		}
		var health map[string]string
		err = json.NewDecoder(resp.Body).Decode(&health)
		resp.Body.Close()
		if want := string(rune('1' + i)); err != nil || health["model_version"] != want {
			t.Errorf("slot %d says %v, %v", i+1, health, err)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	cancel()
	w.wg.Wait()
	broken := emptyWorld(t)
	if err := broken.startSlots(t.Context()); err == nil {
		t.Error("a model server started without a model")
	}
}
