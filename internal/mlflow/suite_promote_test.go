package mlflow_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"serin/internal/mlflow"
	"serin/internal/model"
)

// scenario is one operation on a model with versions 1 to 3, set up by prepare.
type scenario struct {
	name    string
	prepare func(testing.TB, *mlflow.Client, string)
	run     func(context.Context, *mlflow.Client, string) (mlflow.Promoted, error)
	want    state
}

func champion1(tb testing.TB, c *mlflow.Client, name string) {
	tb.Helper()
	stage(tb, c, name, "1", model.StageProduction)
	stage(tb, c, name, "2", model.StageStaging)
	for alias, version := range map[string]string{"champion": "1", "challenger": "2"} {
		if err := c.SetAlias(tb.Context(), mlflow.AliasParams{Model: name, Alias: alias, Version: version}); err != nil {
			tb.Fatal(err)
		}
	}
}

// promoted2 is the state after 2 replaced 1, by rollout r1.
func promoted2(tb testing.TB, c *mlflow.Client, name string) {
	tb.Helper()
	champion1(tb, c, name)
	if _, err := c.Promote(tb.Context(), promote12(name, mlflow.ModeBoth)); err != nil {
		tb.Fatal(err)
	}
}

func promote12(name string, mode mlflow.Mode) mlflow.PromoteParams {
	return mlflow.PromoteParams{Model: name, From: "1", To: "2", Mode: mode, Rollout: "r1", Tags: map[string]string{"serin.decided_at": "2026-11-25T00:00:00Z"}}
}

func tags(kv ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return m
}

func promoteScenarios() []scenario {
	decided := tags("serin.rollout_id", "r1", "serin.decided_at", "2026-11-25T00:00:00Z", "serin.outcome", "promoted")
	promote := func(mode mlflow.Mode) func(context.Context, *mlflow.Client, string) (mlflow.Promoted, error) {
		return func(ctx context.Context, c *mlflow.Client, name string) (mlflow.Promoted, error) {
			return c.Promote(ctx, promote12(name, mode))
		}
	}
	return []scenario{
		{"promote both", champion1, promote(mlflow.ModeBoth), state{
			Stages: map[string][]string{"Production": {"2"}, "Archived": {"1"}, "None": {"3"}}, Aliases: tags("champion", "2", "previous-champion", "1"),
			Tags: map[string]map[string]string{"2": decided},
		}},
		{"promote stages", champion1, promote(mlflow.ModeStages), state{
			Stages: map[string][]string{"Production": {"2"}, "Archived": {"1"}, "None": {"3"}}, Aliases: tags("champion", "1", "challenger", "2"),
			Tags: map[string]map[string]string{"2": decided},
		}},
		{"promote aliases", champion1, promote(mlflow.ModeAliases), state{
			Stages: map[string][]string{"Production": {"1"}, "Staging": {"2"}, "None": {"3"}}, Aliases: tags("champion", "2", "previous-champion", "1"),
			Tags: map[string]map[string]string{"2": decided},
		}},
		{
			"promote the first champion", func(testing.TB, *mlflow.Client, string) {},
			func(ctx context.Context, c *mlflow.Client, name string) (mlflow.Promoted, error) {
				return c.Promote(ctx, mlflow.PromoteParams{Model: name, To: "3", Mode: mlflow.ModeBoth, Rollout: "r1"})
			},
			state{
				Stages: map[string][]string{"Production": {"3"}, "None": {"2", "1"}}, Aliases: tags("champion", "3"),
				Tags: map[string]map[string]string{"3": tags("serin.rollout_id", "r1", "serin.outcome", "promoted")},
			},
		},
		{"promote repairs two in Production", func(tb testing.TB, c *mlflow.Client, name string) {
			tb.Helper()
			stage(tb, c, name, "1", model.StageProduction)
			stage(tb, c, name, "2", model.StageProduction)
		}, func(ctx context.Context, c *mlflow.Client, name string) (mlflow.Promoted, error) {
			return c.Promote(ctx, mlflow.PromoteParams{Model: name, From: "1", To: "2", Mode: mlflow.ModeStages, Rollout: "r1"})
		}, state{
			Stages: map[string][]string{"Production": {"2"}, "Archived": {"1"}, "None": {"3"}}, Aliases: map[string]string{},
			Tags: map[string]map[string]string{"2": tags("serin.rollout_id", "r1", "serin.outcome", "promoted")},
		}},
		{"undo", promoted2, func(ctx context.Context, c *mlflow.Client, name string) (mlflow.Promoted, error) {
			return c.Undo(ctx, mlflow.PromoteParams{Model: name, From: "2", To: "1", Mode: mlflow.ModeBoth, Rollout: "u1", Tags: tags("serin.reason", "errors 9 %")})
		}, state{
			Stages: map[string][]string{"Production": {"1"}, "Archived": {"2"}, "None": {"3"}}, Aliases: tags("champion", "1"),
			Tags: map[string]map[string]string{"2": tags("serin.rollout_id", "r1", "serin.decided_at", "2026-11-25T00:00:00Z",
				"serin.undo_id", "u1", "serin.reason", "errors 9 %", "serin.outcome", "undone")},
		}},
		{"promote again after an undo", func(tb testing.TB, c *mlflow.Client, name string) {
			tb.Helper()
			promoted2(tb, c, name)
			if _, err := c.Undo(tb.Context(), mlflow.PromoteParams{Model: name, From: "2", To: "1", Mode: mlflow.ModeBoth, Rollout: "u1"}); err != nil {
				tb.Fatal(err)
			}
		}, func(ctx context.Context, c *mlflow.Client, name string) (mlflow.Promoted, error) {
			return c.Promote(ctx, mlflow.PromoteParams{Model: name, From: "1", To: "2", Mode: mlflow.ModeBoth, Rollout: "r2"})
		}, state{
			Stages: map[string][]string{"Production": {"2"}, "Archived": {"1"}, "None": {"3"}}, Aliases: tags("champion", "2", "previous-champion", "1"),
			Tags: map[string]map[string]string{"2": tags("serin.rollout_id", "r2", "serin.decided_at", "2026-11-25T00:00:00Z",
				"serin.undo_id", "u1", "serin.outcome", "promoted")},
		}},
		{"demote", champion1, func(ctx context.Context, c *mlflow.Client, name string) (mlflow.Promoted, error) {
			return c.Demote(ctx, mlflow.DemoteParams{
				Model: name, Version: "2", Mode: mlflow.ModeBoth, To: model.StageArchived, Rollout: "r1",
				Outcome: "rejected", Tags: tags("serin.reason", "recall 0.91 < 0.95"),
			})
		}, state{
			Stages: map[string][]string{"Production": {"1"}, "Archived": {"2"}, "None": {"3"}}, Aliases: tags("champion", "1"),
			Tags: map[string]map[string]string{"2": tags("serin.rollout_id", "r1", "serin.reason", "recall 0.91 < 0.95", "serin.outcome", "rejected")},
		}},
	}
}

func suitePromote(t *testing.T, tg target) {
	t.Helper()
	for _, sc := range promoteScenarios() {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			c := tg.newClient(t)
			name := newModel(t, c, 3)
			sc.prepare(t, c, name)
			did, err := sc.run(t.Context(), c, name)
			if err != nil || len(did.Writes) == 0 {
				t.Fatalf("%+v, %v", did, err)
			}
			if diff := cmp.Diff(sc.want, stateOf(t, c, name)); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
			again, err := sc.run(t.Context(), c, name)
			if err != nil || len(again.Writes) != 0 {
				t.Errorf("again: wrote %q, %v; want nothing", again.Writes, err)
			}
		})
	}
	t.Run("refusals", func(t *testing.T) { t.Parallel(); suiteRefusals(t, tg) })
}

// suiteRefusals: in every case the registry must stay exactly as it was.
func suiteRefusals(t *testing.T, tg target) {
	t.Helper()
	c := tg.newClient(t)
	ctx := t.Context()
	both := func(name, from, to string) error {
		_, err := c.Promote(ctx, mlflow.PromoteParams{Model: name, From: from, To: to, Mode: mlflow.ModeBoth, Rollout: "r9"})
		return err
	}
	for _, tt := range []struct {
		name string
		run  func(name string) error
		want error
		text string
	}{
		{"another champion", func(n string) error { return both(n, "2", "3") }, mlflow.ErrRegistryChanged, "the champion is version 1, not 2"},
		{"a champion where none was", func(n string) error { return both(n, "", "3") }, mlflow.ErrRegistryChanged, "not (none)"},
		{"an unknown version", func(n string) error { return both(n, "1", "9") }, mlflow.ErrNotFound, "it was deleted"},
		{"the same version", func(n string) error { return both(n, "1", "1") }, nil, "same version"},
		{"an unknown mode", func(n string) error {
			_, err := c.Promote(ctx, mlflow.PromoteParams{Model: n, From: "1", To: "2", Mode: "stage", Rollout: "r"})
			return err
		}, nil, "use stages, aliases or both"},
		{"no rollout", func(n string) error {
			_, err := c.Promote(ctx, mlflow.PromoteParams{Model: n, From: "1", To: "2", Mode: mlflow.ModeBoth})
			return err
		}, nil, "no rollout is named"},
		{"undo of nothing", func(n string) error {
			_, err := c.Undo(ctx, mlflow.PromoteParams{Model: n, To: "2", Mode: mlflow.ModeBoth, Rollout: "r"})
			return err
		}, nil, "name the version that is taken back"},
		{"demote the champion", func(n string) error {
			_, err := c.Demote(ctx, mlflow.DemoteParams{Model: n, Version: "1", Mode: mlflow.ModeBoth, To: model.StageArchived, Rollout: "r", Outcome: "rejected"})
			return err
		}, mlflow.ErrRegistryChanged, "it is the champion"},
		{"demote to Production", func(n string) error {
			_, err := c.Demote(ctx, mlflow.DemoteParams{Model: n, Version: "2", Mode: mlflow.ModeBoth, To: model.StageProduction, Rollout: "r", Outcome: "rejected"})
			return err
		}, nil, "Archived or None"},
	} {
		name := newModel(t, c, 3)
		champion1(t, c, name)
		before := stateOf(t, c, name)
		err := tt.run(name)
		if err == nil || (tt.want != nil && !errors.Is(err, tt.want)) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v; want %v with %q", tt.name, err, tt.want, tt.text)
		}
		if diff := cmp.Diff(before, stateOf(t, c, name)); diff != "" {
			t.Errorf("%s changed the registry (-before +after):\n%s", tt.name, diff)
		}
	}
	name := newModel(t, c, 3)
	promoted2(t, c, name)
	if _, err := c.Transition(ctx, mlflow.TransitionParams{Model: name, Version: "3", To: model.StageProduction, ArchiveOthers: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Promote(ctx, promote12(name, mlflow.ModeBoth)); !errors.Is(err, mlflow.ErrRegistryChanged) {
		t.Errorf("repeating a promotion that a person has replaced: %v", err)
	}
}

// suiteCrash cuts the n-th call of an operation, for every n, before it is sent and after the server has done it, and repeats the operation.
// The end must be the same as without the cut.
func suiteCrash(t *testing.T, tg target) {
	t.Helper()
	for _, sc := range promoteScenarios() {
		// A cut after call n leaves the registry as a cut before call n+1 does, so one kind is enough, and both for one operation. The other
		// modes do a part of the same calls.
		cuts := map[string][]bool{"promote both": {false, true}, "promote again after an undo": {true}, "undo": {true}, "demote": {true}}[sc.name]
		for _, after := range cuts {
			t.Run(fmt.Sprintf("%s, after=%v", sc.name, after), func(t *testing.T) {
				t.Parallel()
				for n := int64(1); ; n++ {
					if n > 60 {
						t.Fatal("the operation does not end")
					}
					if finished := crashAt(t, tg, crash{scenario: sc, n: n, after: after}); finished {
						if n < 5 {
							t.Errorf("only %d calls: the operation did not do its work", n-1)
						}
						return
					}
				}
			})
		}
	}
}

type crash struct {
	scenario scenario
	n        int64
	after    bool
}

// crashAt says whether the operation ended before its n-th call.
func crashAt(t *testing.T, tg target, c crash) (finished bool) {
	t.Helper()
	whole := tg.newClient(t)
	name := newModel(t, whole, 3)
	c.scenario.prepare(t, whole, name)
	cut := &breaker{next: tg.http, at: c.n, after: c.after}
	broken := tg.newClient(t, func(o *mlflow.Options) { o.HTTP, o.Attempts = cut, 1 })
	_, err := c.scenario.run(t.Context(), broken, name)
	if finished = cut.calls.Load() < c.n; finished != (err == nil) {
		t.Fatalf("call %d: %d calls were made, error %v", c.n, cut.calls.Load(), err)
	}
	if !finished && !errors.Is(err, mlflow.ErrUnavailable) {
		t.Errorf("call %d: %v; want ErrUnavailable", c.n, err)
	}
	if _, err := c.scenario.run(t.Context(), whole, name); err != nil {
		t.Errorf("repeated after call %d was cut: %v", c.n, err)
	}
	if diff := cmp.Diff(c.scenario.want, stateOf(t, whole, name)); diff != "" {
		t.Errorf("state after call %d was cut (-want +got):\n%s", c.n, diff)
	}
	return finished
}
