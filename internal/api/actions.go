package api

import (
	"fmt"
	"net/http"
	"strings"

	"serin/internal/rollout"
)

func (s *Server) start(r *http.Request) (any, error) {
	var req StartRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	if req.Key == "" {
		req.Key = r.Header.Get("Idempotency-Key")
	}
	row, err := s.Operator.Start(r.Context(), actor(r), req)
	return Started{Rollout: row.ID}, err
}

// action hands on a person's word. A retry of an ended rollout is a new rollout with a new gate.
func (s *Server) action(r *http.Request) (any, error) {
	var req ActionRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	if err := reasoned(req.Reason); err != nil {
		return nil, err
	}
	name := rollout.SignalName(r.PathValue("action"))
	switch name {
	case rollout.SignalPause, rollout.SignalResume, rollout.SignalPromote, rollout.SignalAbort, rollout.SignalRetry:
	case rollout.SignalGrant, rollout.SignalSupersede:
		fallthrough
	default:
		return nil, fmt.Errorf("action %q: %w: pause, resume, promote, abort or retry", name, ErrNotFound)
	}
	if req.Override && name != rollout.SignalPromote {
		return nil, fmt.Errorf("override with %s: %w: only a promote overrides the analysis", name, ErrInvalid)
	}
	row, err := s.row(r)
	if err != nil {
		return nil, err
	}
	if name == rollout.SignalRetry && row.Phase.Ended() {
		return s.again(r, row, req.Reason)
	}
	sig := rollout.Signal{Name: name, Actor: actor(r), Reason: req.Reason, Override: req.Override}
	return Started{Rollout: row.ID}, s.Engine.Signal(r.Context(), row.ID, sig)
}

// again starts a new rollout by the plan of one that has ended. An undo goes back, so there is nothing in it to start forward again.
func (s *Server) again(r *http.Request, row rollout.State, reason string) (any, error) {
	if row.Kind == rollout.KindOfUndo {
		return nil, fmt.Errorf("retry %s of %s: %w: it is an undo that has ended as %s; start a rollout, or undo again", row.ID, row.Model, ErrConflict, row.Phase)
	}
	next, err := s.Operator.Start(r.Context(), actor(r), StartRequest{Model: row.Model, RetryOf: row.ID, Reason: reason, Key: r.Header.Get("Idempotency-Key")})
	return Started{Rollout: next.ID}, err
}

func reasoned(reason string) error {
	if strings.TrimSpace(reason) == "" {
		return fmt.Errorf("no reason: %w: give --reason, it stands in the history", ErrInvalid)
	}
	return nil
}

func (s *Server) row(r *http.Request) (rollout.State, error) {
	v, err := s.state(r)
	if err != nil {
		return rollout.State{}, err
	}
	row, ok := v.(rollout.State)
	if !ok {
		return row, fmt.Errorf("a row of type %T", v)
	}
	return row, nil
}

func (s *Server) perform(r *http.Request) (any, error) {
	var req TaskRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	row, err := s.row(r)
	if err != nil {
		return nil, err
	}
	return s.Operator.Perform(r.Context(), actor(r), row.ID, r.PathValue("task"), req)
}

func (s *Server) undo(r *http.Request) (any, error) {
	var req UndoRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	if err := reasoned(req.Reason); err != nil {
		return nil, err
	}
	row, err := s.Operator.Undo(r.Context(), actor(r), r.PathValue("model"), req)
	return Started{Rollout: row.ID}, err
}

func (s *Server) rollback(r *http.Request) (any, error) {
	var req RollbackRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	return s.Safety.Rollback(r.Context(), actor(r), r.PathValue("model"), req)
}

func (s *Server) unblock(r *http.Request) (any, error) {
	var req UnblockRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	if err := reasoned(req.Reason); err != nil {
		return nil, err
	}
	return struct{}{}, s.Safety.Unblock(r.Context(), actor(r), r.PathValue("model"), req)
}
