package task

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/analysis"
	"serin/internal/engine"
	"serin/internal/rollout"
	"serin/internal/store"
	"serin/internal/store/sqlite"
)

var update = flag.Bool("update", false, "write the golden files of this package")

// stored are the scripted samples by way of the real store, as the sampler keeps them.
type stored struct {
	*scripted
	db    *store.DB
	saved int
}

func (s *stored) Scrapes(ctx context.Context, name string, after, until time.Time) ([]analysis.Scrape, error) {
	if err := s.db.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Rollouts(ctx, store.RolloutFilter{Model: name, Limit: 1})
		if err == nil {
			s.w.state = rows[0].State // what the scripted traffic goes by
		}
		return err
	}); err != nil {
		return nil, err
	}
	s.grow(until)
	for ; s.saved < len(s.all); s.saved++ {
		if err := s.db.SaveScrape(ctx, name, s.all[s.saved]); err != nil {
			return nil, err
		}
	}
	return s.db.Scrapes(ctx, name, after, until)
}

// tell runs a whole rollout through the real engine on a real database, and gives its log and its history as they are stored.
func tell(t *testing.T, set func(w *world, start time.Time)) string {
	t.Helper()
	w := newWorld(t, nil)
	db, err := sqlite.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w.deps.Samples = &stored{scripted: w.samples, db: db}
	e, err := engine.New(engine.Options{Store: db, Runner: w.Runner})
	if err != nil {
		t.Fatal(err)
	}
	set(w, time.Now())
	plan := short()
	plan.Steps[1].Duration, plan.Steps[3].Duration = time.Minute, 2*time.Minute
	plan.Watch.Duration, plan.Analysis.Window, plan.Analysis.Consecutive = time.Minute, 4, 3
	s, err := e.Start(t.Context(), rollout.StartParams{Plan: plan, Actor: "ann", Reason: "weekly retraining"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- e.Run(ctx) }()
	text := wait(t, db, s.ID)
	cancel()
	if err := <-over; err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	return text
}

// wait waits for the end of the rollout and writes down what the database says of it.
func wait(t *testing.T, db *store.DB, id string) string {
	t.Helper()
	var b strings.Builder
	for range 3600 {
		<-time.After(time.Second)
		done := false
		err := db.View(t.Context(), func(tx *store.Tx) error {
			row, err := tx.Rollout(t.Context(), id)
			if done = rollout.Next(row.State, time.Now()).Done; err != nil || !done {
				return err
			}
			lines, err := tx.Logs(t.Context(), store.LogFilter{Rollout: id})
			if err != nil {
				return err
			}
			for _, l := range lines {
				fmt.Fprintf(&b, "%s  %-26s %s\n", l.At.Format(time.TimeOnly), l.Task, l.Line)
			}
			entries, err := tx.History(t.Context(), store.HistoryFilter{Rollout: id})
			fmt.Fprintf(&b, "\n%s: %s\n\n", row.State.Phase, row.State.Reason)
			for _, entry := range entries {
				fmt.Fprintf(&b, "%s  %-22s %s: %s\n", entry.At.Format(time.TimeOnly), entry.Event, entry.Actor, entry.Reason)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if done {
			return strings.ReplaceAll(b.String(), id, "ROLLOUT")
		}
	}
	t.Fatal("no end after an hour")
	return ""
}

// TestStory holds the log of whole rollouts against what people are to read. `go test ./internal/task -run TestStory -update` writes it anew.
func TestStory(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		set  func(w *world, start time.Time)
		must []string
	}{
		"promoted": {func(w *world, _ time.Time) {}, []string{
			"version 42 is loaded", "routing 5 / 95 written", "routing 25 / 75 written", "routing 100 % to version 42 written", "watching version 42 at 100 %", "succeeded",
		}},
		"degraded": {func(w *world, start time.Time) {
			w.samples.canary = from(start.Add(2*time.Minute), 1.0/15)
			w.samples.champion = func(time.Time) (float64, float64) { return 0.003, 0.01 }
		}, []string{"version 42 is loaded", "routing 5 / 95 written", "champion 0.3", "6.7 %", "> 5 %", "p95", "100 % restored on version 41", "registry: version 42: rolled_back", "rolled_back"}},
		"silent": {func(w *world, start time.Time) {
			w.samples.mute = func(at time.Time) bool {
				return at.After(start.Add(30*time.Second)) && at.Before(start.Add(4*time.Minute))
			}
		}, []string{"no sample since", "hold", "HoldReleased", "succeeded"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got string
			synctest.Test(t, func(t *testing.T) { got = tell(t, tt.set) })
			golden := filepath.Join("testdata", "story-"+name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, words := range tt.must {
				if !strings.Contains(got, words) {
					t.Errorf("the log does not say %q", words)
				}
			}
		})
	}
}
