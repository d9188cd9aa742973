package engine

import (
	"context"
	"fmt"

	"serin/internal/rollout"
)

// Signal gives a rollout a person's word: it is stored as a row and applied in the same transaction, after those that wait already. One that is
// not possible is kept with its error, and the error, which wraps rollout.ErrIllegal, comes back. A running attempt learns of it at its next
// checkpoint; its result is dropped when the row has moved on.
func (e *Engine) Signal(ctx context.Context, id string, sig rollout.Signal) error {
	var refused error
	err := e.turn(ctx, id, func(u *turn) error {
		if err := u.drain(ctx); err != nil {
			return err
		}
		row, err := u.tx.AddSignal(ctx, id, sig, u.now)
		if err != nil {
			return err
		}
		if refused, err = u.send(ctx, row); err != nil {
			return err
		}
		if _, busy := e.runs(id); busy || !u.row.State.Phase.Ended() {
			return nil
		}
		return u.loseAttempts(ctx) // nothing is planned for a row that has ended: nobody else would close what a dead process left open
	})
	if err != nil {
		return fmt.Errorf("%s rollout %s: %w", sig.Name, id, err)
	}
	return refused
}
