package stories

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/api"
)

// recorded reads a log as `serin logs` prints it, "TASK<tab>LINE", half a second a line.
func recorded(t *testing.T, name string) []api.LogLine {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var lines []api.LogLine
	for sc := bufio.NewScanner(f); sc.Scan(); {
		task, text, _ := strings.Cut(sc.Text(), "\t")
		n := len(lines) + 1
		lines = append(lines, api.LogLine{Seq: int64(n), At: time.Unix(1_800_000_000, 0).Add(time.Duration(n) * 500 * time.Millisecond), Task: task, Line: text})
	}
	return lines
}

// The log of a rollout that was promoted, and of one that was rolled back, as real servers wrote them.
func TestNarrator_Golden(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"promoted", "rolled_back"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := narrator{hide: "/tmp/serin-demo-1/creditcard/"}
			var b strings.Builder
			lines := recorded(t, name+".log")
			told := 0
			for _, l := range lines {
				if e, tell := n.hear(l); tell {
					told++
					fmt.Fprintf(&b, "%-8s%-26s%s\n", e.Kind, e.Who, e.Text)
				}
			}
			if told == 0 || told > len(lines)/2 {
				t.Errorf("%d of %d lines are told", told, len(lines))
			}
			golden(t, name+".told", []byte(b.String()))
		})
	}
}

func TestNarrator_Hear(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, task, line string
		want             event
		silent           bool
	}{
		{name: "blank", task: "compare_models", line: "  ", silent: true},
		{name: "started", task: "admit", line: "attempt 12 of admit started", silent: true},
		{name: "lost", task: "monitor_25_percent", line: "attempt 1 of monitor_25_percent is lost: the process that ran it ended", want: event{Text: "attempt 1 of monitor_25_percent is lost: the process that ran it ended"}},
		{name: "admitted", task: "admit", line: "attempt 1 of admit finished: done: champion version 1", want: event{Text: "champion version 1"}},
		{name: "approved", task: "decide_deployment", line: "attempt 1 of decide_deployment finished: done (approve): the gate says promote: recall 0.8", want: event{Kind: kindVerdict, Text: "the gate says promote"}},
		{name: "rejected", task: "decide_deployment", line: "attempt 1 of decide_deployment finished: done (reject): the gate says reject: recall 0.4", want: event{Kind: kindVerdict, Text: "the gate says reject: recall 0.4"}},
		{name: "kept", task: "keep_champion", line: "attempt 1 of keep_champion finished: done: version 1 stays champion", want: event{Kind: kindVerdict, Text: "version 1 stays champion"}},
		{name: "back", task: "rollback_deployment", line: "attempt 1 of rollback_deployment finished: done: proven: 100 % restored", want: event{Kind: kindVerdict, Text: "proven: 100 % restored"}},
		{name: "bake over", task: "monitor_5_percent", line: "attempt 1 of monitor_5_percent finished: done (healthy): the bake is over", silent: true},
		{name: "decided as the tick said", task: "decide_25_percent", line: "attempt 1 of decide_25_percent finished: done (healthy): the bake was healthy", silent: true},
		{name: "told", task: "notify_success", line: "attempt 1 of notify_success finished: done: told: succeeded", silent: true},
		{name: "without a reason", task: "admit", line: "attempt 1 of admit finished: done", silent: true},
		{name: "retried", task: "notify_success", line: "attempt 3 of notify_success finished: retry: no answer", want: event{Kind: kindVerdict, Text: "attempt 3 retry: no answer"}},
		{name: "failed", task: "compare_models", line: "attempt 1 of compare_models finished: failed: no such file", want: event{Kind: kindVerdict, Text: "attempt 1 failed: no such file"}},
		{name: "unknown line", task: "deploy_canary_5_percent", line: "the router is on holiday", want: event{Text: "the router is on holiday"}},
		{name: "known line", task: "deploy_canary_5_percent", line: "version 2 is loaded: 29 columns, probability", silent: true},
		{name: "tag", task: "deploy_canary_100_percent", line: "registry: version 2: tag serin.reason = error rate", silent: true},
		{name: "other tag", task: "rollback_deployment", line: "registry: version 2: serin.outcome = rolled_back", silent: true},
		{name: "stage", task: "deploy_canary_100_percent", line: "registry: version 2: to Production, others archived", want: event{Text: "registry: version 2: to Production, others archived"}},
		{name: "path", task: "compare_models", line: "comparing version 2 with version 1 on /d/holdout.parquet, label y", want: event{Text: "comparing version 2 with version 1 on holdout.parquet, label y"}},
		{name: "other report", task: "compare_models", line: "caution: precision depends", silent: true},
		{name: "verdict tick", task: "monitor_5_percent", line: "02:14:31 rollback 2s covered: error rate 7 % > 5 %, champion 0 %", want: event{Kind: kindVerdict, Text: "rollback, 2s covered: error rate 7 % > 5 %, champion 0 %"}},
		{name: "held tick", task: "monitor_5_percent", line: "02:14:31 hold 2s covered: no data", want: event{Kind: kindVerdict, Text: "hold, 2s covered: no data"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n := narrator{hide: "/d/"}
			got, told := n.hear(api.LogLine{Task: tt.task, Line: tt.line, At: time.Unix(1, 0)})
			if told == tt.silent {
				t.Fatalf("told: %v", told)
			}
			tt.want.Who = tt.task
			if told && got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

// Ticks of a bake that goes on are told every few seconds, and without the champion's figures.
func TestNarrator_TicksEveryFewSeconds(t *testing.T) {
	t.Parallel()
	n, began := narrator{}, time.Unix(1_800_000_000, 0)
	hear := func(after time.Duration, line string) (string, bool) {
		e, told := n.hear(api.LogLine{Task: "monitor_5_percent", Line: line, At: began.Add(after)})
		return e.Text, told
	}
	if _, told := hear(0, "judging version 2 at 5 %"); !told {
		t.Error("the beginning of the bake is not told")
	}
	var told []time.Duration
	for after := 500 * time.Millisecond; after <= 13*time.Second; after += 500 * time.Millisecond {
		text, ok := hear(after, "02:14:05 continue 2s covered: error rate 0 % < 5 %, champion 1 % (2 of 3); slow 0 %, champion 0 %")
		if ok {
			told = append(told, after)
			if text != "continue, 2s covered: error rate 0 % < 5 %; slow 0 %" {
				t.Errorf("tick %q", text)
			}
		}
	}
	if diff := cmp.Diff([]time.Duration{4 * time.Second, 8 * time.Second, 12 * time.Second}, told); diff != "" {
		t.Errorf("ticks told (-want +got)\n%s", diff)
	}
	if text, ok := hear(13100*time.Millisecond, "02:14:06 promote 7.5s covered: fine"); !ok || text != "promote, 7.5s covered: fine" {
		t.Errorf("the decision %q is told: %v", text, ok)
	}
}

// A log is of another program, and may be of a later one: nothing that went wrong may be left out, whatever else it says.
func FuzzNarrator(f *testing.F) {
	for _, line := range []string{"attempt 1 of admit started", "attempt 1 of admit finished: failed (x): y", "attempt 1 of admit finished: failed (x):  ", "02:14:05 continue 2s: x, champion 1", "criterion a", "", "metric  "} {
		f.Add("compare_models", line)
		f.Add("monitor_5_percent", line)
	}
	f.Fuzz(func(t *testing.T, task, line string) {
		n := narrator{hide: "/d/"}
		e, told := n.hear(api.LogLine{Task: task, Line: line, At: time.Unix(9, 0)})
		if e.Who != task {
			t.Errorf("%q speaks as %q", task, e.Who)
		}
		if m := finishedLine.FindStringSubmatch(line); m != nil && m[2] != "done" && (!told || e.Kind != kindVerdict) {
			t.Errorf("%q of %s is told: %v, as %q", line, task, told, e.Kind)
		}
		if told && e.Text == "" {
			t.Errorf("%q of %s is told as nothing", line, task)
		}
	})
}

func TestPassOn(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	a.logs = []api.LogLine{
		{Seq: 1, Task: "admit", Line: "attempt 1 of admit started"},
		{Seq: 2, Task: "admit", Line: "attempt 1 of admit finished: done: champion version 1"},
		{Seq: 3, Task: "deploy_canary_5_percent", Line: "routing 5 / 95 written"},
	}
	tl, told := newTelling(t, nil, a)
	for range 2 { // the second time there is nothing new
		if err := tl.passOn(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	a.mu.Lock()
	a.logs = append(a.logs, api.LogLine{Seq: 4, Task: "notify_success", Line: "succeeded told on log"}, api.LogLine{Seq: 5, Task: "x", Line: "the last"})
	a.mu.Unlock()
	if err := tl.passOn(t.Context()); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(told.String()) {
		_, rest, _ := strings.Cut(line, "s   ")
		got = append(got, strings.Join(strings.Fields(rest), " "))
	}
	want := []string{"admit champion version 1", "deploy_canary_5_percent routing 5 / 95 written", "x the last"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("told (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"0", "3", "3"}, a.afters); diff != "" || tl.seen != 5 {
		t.Errorf("asked for lines after (-want +got)\n%s seen %d", diff, tl.seen)
	}
}

func TestPassOn_ServerGone(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	tl, _ := newTelling(t, nil, a)
	tl.client, _ = api.NewClient(api.ClientOptions{URL: "http://127.0.0.1:1"})
	if err := tl.passOn(t.Context()); !errors.Is(err, api.ErrUnreachable) {
		t.Errorf("error %v", err)
	}
}
