package chaostest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"serin/internal/analysis"
	"serin/internal/model"
	"serin/internal/rollout"
	"serin/internal/store"
	"serin/internal/store/sqlite"
)

// remains are what a dead server has left in its store.
type remains struct { //nolint:recvcheck // the pointer methods fill it
	rows       map[string][]rollout.State // by model, newest first
	attempts   map[string][]store.Attempt // by rollout
	deliveries map[string][]store.Delivery
	signals    map[string][]store.Signal
	history    []store.Entry
	versions   map[string][]store.ModelVersion
	scrapes    map[string][]analysis.Scrape
}

// autopsy reads the store of a dead server from a copy: the next server must recover the log by itself.
func (w *world) autopsy() remains {
	w.t.Helper()
	dir := w.t.TempDir()
	for _, name := range []string{sqlite.File, sqlite.File + "-wal"} {
		data, err := os.ReadFile(w.path("data", name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := errors.Join(err, os.WriteFile(filepath.Join(dir, name), data, 0o600)); err != nil {
			w.t.Fatal(err)
		}
	}
	r := w.read(dir)
	if err := os.RemoveAll(dir); err != nil {
		w.t.Error(err)
	}
	return r
}

// read reads a store that nobody uses any more, with its samples.
func (w *world) read(dir string) remains {
	w.t.Helper()
	ctx := w.t.Context()
	db, err := sqlite.Open(ctx, dir)
	if err != nil {
		w.t.Fatal(err)
	}
	r := remains{
		rows: map[string][]rollout.State{}, attempts: map[string][]store.Attempt{}, deliveries: map[string][]store.Delivery{},
		signals: map[string][]store.Signal{}, versions: map[string][]store.ModelVersion{}, scrapes: map[string][]analysis.Scrape{},
	}
	err = db.View(ctx, func(tx *store.Tx) error { return r.fill(ctx, tx, w.models) })
	if err := errors.Join(err, db.Close()); err != nil {
		w.t.Fatalf("the store of the dead server cannot be read: %v", err)
	}
	return r
}

func (r *remains) fill(ctx context.Context, tx *store.Tx, models []string) (err error) {
	if r.history, err = tx.History(ctx, store.HistoryFilter{Limit: 1 << 20}); err != nil {
		return err
	}
	for _, name := range models {
		rows, err := tx.Rollouts(ctx, store.RolloutFilter{Model: name, Limit: 1000})
		if err != nil {
			return err
		}
		for _, row := range rows {
			r.rows[name] = append(r.rows[name], row.State)
			if err := r.fillRollout(ctx, tx, row.State.ID); err != nil {
				return err
			}
		}
		if r.versions[name], err = tx.ModelVersions(ctx, name); err != nil {
			return err
		}
		if r.scrapes[name], err = tx.Scrapes(ctx, name, time.Time{}, time.Time{}); err != nil {
			return err
		}
	}
	return nil
}

func (r *remains) fillRollout(ctx context.Context, tx *store.Tx, id string) (err error) {
	if r.attempts[id], err = tx.Attempts(ctx, id); err != nil {
		return err
	}
	if r.deliveries[id], err = tx.Deliveries(ctx, id); err != nil {
		return err
	}
	r.signals[id], err = tx.Signals(ctx, id)
	return err
}

// production are the versions of a model in Production.
func (r remains) production(name string) (in []string) {
	for _, v := range r.versions[name] {
		if v.Stage == model.StageProduction {
			in = append(in, strconv.FormatInt(v.Version, 10))
		}
	}
	return in
}

// faults are what must not be in a store at any moment, whenever its server died.
func (r remains) faults() (list []string) {
	for i, e := range r.history {
		if e.Seq != int64(i+1) {
			list = append(list, fmt.Sprintf("history: entry %d has number %d", i+1, e.Seq))
			break
		}
	}
	for id, attempts := range r.attempts {
		open := 0
		for _, a := range attempts {
			if a.Status == store.AttemptOpen {
				open++
			}
		}
		if open > 1 {
			list = append(list, fmt.Sprintf("rollout %s has %d open attempts", id, open))
		}
	}
	for name, rows := range r.rows {
		if len(rows) > 1 {
			list = append(list, fmt.Sprintf("%s has %d rollouts, one was started", name, len(rows)))
		}
	}
	for name := range maps.Keys(r.versions) {
		if in := r.production(name); len(in) > 1 {
			list = append(list, fmt.Sprintf("%s has %v in Production", name, in))
		}
	}
	return list
}

// row is the only rollout of a model; false when it has none.
func (r remains) row(name string) (rollout.State, bool) {
	if len(r.rows[name]) == 0 {
		return rollout.State{}, false
	}
	return r.rows[name][0], true
}

// proves says whether the kill really fell between the effect of the point and its commit.
func (r remains) proves(at point, files *routings, told map[string]int) bool {
	switch at {
	case afterRouting:
		files.mu.Lock()
		defer files.mu.Unlock()
		for name, doc := range files.last {
			s, ok := r.row(name)
			if !ok || doc.Control == nil || doc.Control.Rollout != s.ID {
				continue
			}
			if _, committed := s.Tasks[doc.Control.Task]; !committed {
				return true
			}
		}
	case afterStage:
		s, ok := r.row(better)
		in := r.production(better)
		return ok && len(in) == 1 && in[0] == s.Pins.Challenger.Version && s.Phase != rollout.Succeeded
	case whileTelling:
		for id, list := range r.deliveries {
			for _, d := range list {
				if d.Status == store.DeliveryPending && d.Channel == "hook" && told[id+"/"+d.Event] > 0 {
					return true
				}
			}
		}
	case atStart:
		return len(r.rows[better])+len(r.rows[poor])+len(r.rows[failing]) < 3
	case atRandom:
		return true
	}
	return false
}
