package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"serin/internal/api"
	"serin/internal/model"
	"serin/internal/rollout"
)

func TestTaskCode(t *testing.T) {
	t.Parallel()
	held := api.TaskAnswer{Phase: rollout.Held, Held: true}
	open := api.TaskAnswer{Phase: rollout.Progressing}
	over := api.TaskAnswer{Phase: rollout.RolledBack}
	said := func(verdict string) api.TaskAnswer {
		return api.TaskAnswer{Phase: rollout.Progressing, Verdict: verdict}
	}
	for _, tt := range []struct {
		kind rollout.TaskKind
		a    api.TaskAnswer
		want int
	}{
		{rollout.KindCompare, said("promote"), 0},
		{rollout.KindCompare, said("skipped"), 0},
		{rollout.KindCompare, said("reject"), 1},
		{rollout.KindCompare, said("undecided"), 5},
		{rollout.KindCompare, said("failed"), 2},
		{rollout.KindCompare, said("aborted"), 2},
		{rollout.KindCompare, held, 5},
		{rollout.KindCompare, api.TaskAnswer{Phase: rollout.Failed}, 2},
		{rollout.KindMonitor, said("healthy"), 0},
		{rollout.KindMonitor, said("skipped"), 0},
		{rollout.KindMonitor, said("unhealthy"), 1},
		{rollout.KindMonitor, said("aborted"), 1},
		{rollout.KindMonitor, over, 1},
		{rollout.KindMonitor, held, 5},
		{rollout.KindMonitor, open, 75},
		{rollout.KindWatch, said("done"), 0},
		{rollout.KindWatch, said("failed"), 1},
		{rollout.KindDecide, said("approve"), 0},
		{rollout.KindDecide, said("healthy"), 0},
		{rollout.KindDecide, said("reject"), 1},
		{rollout.KindDecide, said("unhealthy"), 1},
		{rollout.KindDecide, held, 5},
		{rollout.KindDeploy, said("done"), 0},
		{rollout.KindDeploy, held, 1},
		{rollout.KindDeploy, open, 1},
		{rollout.KindPromote, said("failed"), 1},
		{rollout.KindRollback, said("done"), 0},
		{rollout.KindKeep, said("done"), 0},
		{rollout.KindNotify, said("done"), 0},
		{rollout.KindUndo, over, 1},
		{rollout.KindSettle, said("done"), 0},
		{rollout.KindAdmit, said("failed"), 1},
		{"unknown", said("done"), 1},
	} {
		if got := taskCode(tt.kind, tt.a); got != tt.want {
			t.Errorf("%s %+v: exit code %d, want %d", tt.kind, tt.a, got, tt.want)
		}
	}
}

func TestWatchCode(t *testing.T) {
	t.Parallel()
	for phase, want := range map[rollout.Phase]int{
		rollout.Succeeded: 0, rollout.RolledBack: 3, rollout.Rejected: 3, rollout.Aborted: 3, rollout.Failed: 3, rollout.Held: 5,
		rollout.Progressing: 75, rollout.Paused: 75, "unknown": 1,
	} {
		if got := watchCode(phase); got != want {
			t.Errorf("watch that ends as %s: %d, want %d", phase, got, want)
		}
	}
}

func TestShort(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string]string{
		"models:/fraud/Staging": "Staging", "models:/fraud/41": "41", "models:/fraud@challenger": "@challenger", "some/path": "", "http://h/invocations": "",
	} {
		ref, err := model.ParseRef(uri)
		if err != nil {
			t.Fatal(err)
		}
		if got := short(ref); got != want {
			t.Errorf("%s in a plan: %q, want %q", uri, got, want)
		}
	}
	if got := short(model.Ref{}); got != "" {
		t.Errorf("no reference in a plan: %q", got)
	}
}

func TestTaskIDs(t *testing.T) {
	t.Parallel()
	got := []string{deployID(5), deployID(0.5), deployID(100), monitorID(25)}
	if diff := cmp.Diff([]string{"deploy_canary_5_percent", "deploy_canary_0.5_percent", "deploy_canary_100_percent", "monitor_25_percent"}, got); diff != "" {
		t.Errorf("task ids (-want +got):\n%s", diff)
	}
	s := rollout.State{Plan: rollout.DefaultPlan("fraud")}
	if stage, ok := stageOf(s, 25); !ok || stage.Weight != 25 || stage.Bake == 0 {
		t.Errorf("stage of 25 %%: %+v, %t", stage, ok)
	}
	if _, ok := stageOf(s, 7); ok {
		t.Error("the default plan has no 7 %")
	}
}

func TestOneLine(t *testing.T) {
	t.Parallel()
	if got := oneLine("a\r\n\tb \n\nc"); got != "a; b; c" {
		t.Errorf("one line: %q", got)
	}
	err := fmt.Errorf("%w (on serin-data)", errors.Join(ends(3), nil))
	var e *exit
	if !errors.As(err, &e) || e.code != 3 || e.err != nil {
		t.Errorf("a code with nothing to say, wrapped: %+v", e)
	}
	if got := usage("x: %w", errWhich); !errors.Is(got, errWhich) {
		t.Errorf("a usage error hides what it wraps: %v", got)
	}
	if ends(0) != nil {
		t.Error("exit code 0 is no error")
	}
}

// Of the log of a command only what the channel `log` tells people is shown.
func TestNotices(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	r := &root{Env: Env{Stderr: &b}}
	log := r.notices().With(slog.String("a", "b")).WithGroup("g")
	log.Error("an API call was not carried out", "err", "x")
	log.Info("notification", "text", "told")
	if got := b.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "text=told") || !strings.Contains(got, "a=b") {
		t.Errorf("shown of the log: %q", got)
	}
}

func TestGraph(t *testing.T) {
	t.Parallel()
	got := renderGraph(rollout.Graph(rollout.DefaultPlan("fraud"), rollout.KindOfUndo))
	want := "TASK             KIND    THEN\nundo_deployment  undo    notify_undone\nnotify_undone    notify  \nsettle_registry  settle  \n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("graph of an undo (-want +got):\n%s", diff)
	}
}
