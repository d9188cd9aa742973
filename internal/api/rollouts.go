package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"serin/internal/analysis"
	"serin/internal/rollout"
	"serin/internal/store"
)

// find gives the row of an id, or of a model's name: then its open rollout, or its newest.
func find(ctx context.Context, tx *store.Tx, id string) (rollout.State, error) {
	row, err := tx.Rollout(ctx, id)
	if err == nil {
		return row.State, nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return rollout.State{}, err
	}
	if row, err = tx.OpenRollout(ctx, id); err == nil {
		return row.State, nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return rollout.State{}, err
	}
	rows, err := tx.Rollouts(ctx, store.RolloutFilter{Model: id, Limit: 1})
	if err != nil {
		return rollout.State{}, err
	}
	if len(rows) == 0 {
		return rollout.State{}, fmt.Errorf("rollout or model %q: %w: serin list shows what there is", id, ErrNotFound)
	}
	return rows[0].State, nil
}

// read runs fn on the row that the request names.
func read[T any](s *Server, r *http.Request, fn func(ctx context.Context, tx *store.Tx, row rollout.State) (T, error)) (v T, err error) {
	err = s.Store.View(r.Context(), func(tx *store.Tx) error { //nolint:contextcheck // the request's context is passed on
		row, err := find(r.Context(), tx, r.PathValue("id"))
		if err != nil {
			return err
		}
		v, err = fn(r.Context(), tx, row)
		return err
	})
	return v, err
}

func (s *Server) get(r *http.Request) (any, error) { return read(s, r, view) }

func (s *Server) state(r *http.Request) (any, error) {
	return read(s, r, func(_ context.Context, _ *store.Tx, row rollout.State) (rollout.State, error) { return row, nil })
}

func (s *Server) graph(r *http.Request) (any, error) {
	return read(s, r, func(_ context.Context, _ *store.Tx, row rollout.State) ([]rollout.Node, error) {
		return rollout.Graph(row.Plan, row.Kind), nil
	})
}

// maxList is how many rollouts one answer lists at most: each comes with its tasks, attempts and evidence.
const maxList = 1000

func (s *Server) list(r *http.Request) (any, error) {
	limit, err := number(r, "limit")
	if err != nil {
		return nil, err
	}
	if limit > maxList {
		return nil, fmt.Errorf("query limit=%d: %w: at most %d, go on with before=ID", limit, ErrInvalid, maxList)
	}
	out := []Rollout{}
	err = s.Store.View(r.Context(), func(tx *store.Tx) error { //nolint:contextcheck // the request's context is passed on
		rows, err := tx.Rollouts(r.Context(), store.RolloutFilter{Model: r.URL.Query().Get("model"), Before: r.URL.Query().Get("before"), Limit: int(limit)})
		if err != nil {
			return err
		}
		for _, row := range rows {
			v, err := view(r.Context(), tx, row.State)
			if err != nil {
				return err
			}
			out = append(out, v)
		}
		return nil
	})
	return out, err
}

func number(r *http.Request, name string) (int64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("query %s=%q: %w: give a number from 0 up", name, text, ErrInvalid)
	}
	return n, nil
}

func (s *Server) logs(r *http.Request) (any, error) {
	after, err := number(r, "after")
	if err != nil {
		return nil, err
	}
	task := r.URL.Query().Get("task")
	return read(s, r, func(ctx context.Context, tx *store.Tx, row rollout.State) ([]LogLine, error) {
		if _, ok := rollout.Find(rollout.Graph(row.Plan, row.Kind), task); task != "" && !ok {
			return nil, fmt.Errorf("task %q of rollout %s: %w: serin get %s lists its tasks", task, row.ID, ErrNotFound, row.ID)
		}
		lines, err := tx.Logs(ctx, store.LogFilter{Rollout: row.ID, Task: task, After: after})
		out := make([]LogLine, 0, len(lines))
		for _, l := range lines {
			out = append(out, LogLine{Seq: l.Seq, At: l.At, Task: l.Task, Attempt: l.Attempt, Line: l.Line})
		}
		return out, err
	})
}

func (s *Server) history(r *http.Request) (any, error) {
	after, err := number(r, "after")
	if err != nil {
		return nil, err
	}
	return read(s, r, func(ctx context.Context, tx *store.Tx, row rollout.State) ([]HistoryEntry, error) {
		return entries(tx.History(ctx, store.HistoryFilter{Rollout: row.ID, After: after}))
	})
}

func (s *Server) modelHistory(r *http.Request) (any, error) {
	after, err := number(r, "after")
	if err != nil {
		return nil, err
	}
	var out []HistoryEntry
	err = s.Store.View(r.Context(), func(tx *store.Tx) (err error) { //nolint:contextcheck // the request's context is passed on
		out, err = entries(tx.History(r.Context(), store.HistoryFilter{Model: r.PathValue("model"), After: after}))
		return err
	})
	if err == nil && len(out) == 0 {
		err = s.known(r)
	}
	return out, err
}

// known is an error for a model that is neither served nor configured: nothing of it is not the same as nothing yet.
func (s *Server) known(r *http.Request) error {
	models, err := s.Models.Models(r.Context())
	if err != nil {
		return err
	}
	name := r.PathValue("model")
	if !slices.ContainsFunc(models, func(m Model) bool { return m.Name == name }) {
		return fmt.Errorf("model %q: %w: GET /api/v1/models lists what is served", name, ErrNotFound)
	}
	return nil
}

// samples gives every number that judgements rest on: the stored scrapes of a model.
func (s *Server) samples(r *http.Request) (any, error) {
	scrapes, err := s.Store.Scrapes(r.Context(), r.PathValue("model"), time.Time{}, time.Now())
	if err == nil && len(scrapes) == 0 {
		scrapes, err = []analysis.Scrape{}, s.known(r)
	}
	return scrapes, err
}

func entries(list []store.Entry, err error) ([]HistoryEntry, error) {
	out := make([]HistoryEntry, 0, len(list))
	for _, e := range list {
		out = append(out, HistoryEntry{Seq: e.Seq, At: e.At, Rollout: e.Rollout, Model: e.Model, Actor: e.Actor, Event: e.Event, Reason: e.Reason})
	}
	return out, err
}

// wait is for pollers that know only HTTP: 404 while the rollout goes on, 200 when it has ended, 410 for an id that there is none of.
func (s *Server) wait(w http.ResponseWriter, r *http.Request) {
	row, err := read(s, r, func(_ context.Context, _ *store.Tx, row rollout.State) (rollout.State, error) { return row, nil })
	if errors.Is(err, ErrNotFound) || errors.Is(err, store.ErrNotFound) {
		s.fail(w, http.StatusGone, "not_found", err.Error())
		return
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	status := http.StatusNotFound
	if row.Phase.Ended() {
		status = http.StatusOK
	}
	s.reply(w, status, Wait{Rollout: row.ID, Status: row.Phase, Reason: row.Reason})
}
