package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"serin/internal/notify"
	"serin/internal/rollout"
	"serin/internal/store"
)

// deliverer tells people what the outbox holds: each notice once to each channel that wants it, again later when a channel fails.
type deliverer struct {
	store    *store.DB
	notifier *notify.Notifier
	channels []string
	baseURL  string
	log      *slog.Logger
	// mu keeps two flushes from sending the same notice, and guards unwritten.
	mu sync.Mutex
	// unwritten are attempts that the store could not record, such as on a full disk. They are recorded before anything is sent again: what was
	// told once must not be told every second.
	unwritten map[store.DeliveryKey]store.DeliveryResult
}

// giveUpAfter is how often a channel is tried for one notice.
const giveUpAfter = 10

// Notify queues how a rollout ended and tries to tell at once; what fails is tried again by run.
func (d *deliverer) Notify(ctx context.Context, s rollout.State, event string) ([]string, error) {
	body, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	err = d.store.Update(ctx, func(tx *store.Tx) error {
		return tx.QueueNotice(ctx, store.Notice{Rollout: s.ID, Event: event, Model: s.Model, Actor: rollout.Controller, Reason: s.Reason, Body: body, At: time.Now()}, s.Plan.Notifications)
	})
	if err != nil {
		return nil, err
	}
	return d.flush(ctx, s.ID)
}

// run delivers what is due until ctx ends.
func (d *deliverer) run(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		if _, err := d.flush(ctx, ""); err != nil && ctx.Err() == nil {
			d.log.Warn("notices could not be read or recorded", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// flush attempts the deliveries that are due, of one rollout when id is not empty; it says what became of each.
func (d *deliverer) flush(ctx context.Context, id string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var due []store.Delivery
	err := d.store.View(ctx, func(tx *store.Tx) (err error) {
		due, err = tx.DueDeliveries(ctx, store.Due{Channels: d.channels, Now: time.Now()})
		return err
	})
	var lines []string
	for _, delivery := range due {
		if id != "" && delivery.Rollout != id {
			continue
		}
		line, settleErr := d.deliver(ctx, delivery)
		lines, err = append(lines, line), errors.Join(err, settleErr)
	}
	return lines, err
}

// deliver attempts one delivery and records what came of it.
func (d *deliverer) deliver(ctx context.Context, delivery store.Delivery) (string, error) {
	key := delivery.DeliveryKey
	result, again := d.unwritten[key]
	line := fmt.Sprintf("%s was tried on %s before, that is recorded now", delivery.Event, delivery.Channel)
	if !again {
		result, line = d.attempt(ctx, delivery)
	}
	ctx = context.WithoutCancel(ctx) // told is told: at the end of the process it must be written down, or it would be told again
	err := d.store.Update(ctx, func(tx *store.Tx) error { return tx.SettleDelivery(ctx, result) })
	if err != nil && !errors.Is(err, store.ErrConflict) { // a conflict is somebody else's record
		d.unwritten[key] = result
		return line, err
	}
	delete(d.unwritten, key)
	return line, err
}

// attempt sends one notice and says what came of it.
func (d *deliverer) attempt(ctx context.Context, delivery store.Delivery) (result store.DeliveryResult, line string) {
	result = store.DeliveryResult{DeliveryKey: delivery.DeliveryKey, At: time.Now(), Status: store.DeliveryDelivered}
	line = fmt.Sprintf("%s told on %s", delivery.Event, delivery.Channel)
	if err := d.send(ctx, delivery); errors.Is(err, errUnwanted) {
		result.Status, line = store.DeliverySkipped, fmt.Sprintf("%s does not want to hear of %s", delivery.Channel, delivery.Event)
	} else if err != nil {
		result.Status, result.Error = store.DeliveryFailed, err.Error()
		var failure *notify.Error
		if errors.As(err, &failure) && failure.Retryable && delivery.Attempts+1 < giveUpAfter {
			result.Status, result.NextAt = store.DeliveryPending, time.Now().Add(max(failure.After, min(time.Second<<delivery.Attempts, time.Minute)))
		}
		line = fmt.Sprintf("%s not told on %s: %v", delivery.Event, delivery.Channel, err)
		d.log.Warn("a notice was not delivered", "rollout", delivery.Rollout, "event", delivery.Event, "channel", delivery.Channel, "status", result.Status, "err", err)
	}
	return result, line
}

var errUnwanted = errors.New("the channel does not want this event")

func (d *deliverer) send(ctx context.Context, delivery store.Delivery) error {
	if len(d.notifier.Channels(delivery.Event, []string{delivery.Channel})) == 0 {
		return errUnwanted
	}
	var s rollout.State
	if err := json.Unmarshal(delivery.Notice.Body, &s); err != nil {
		return fmt.Errorf("notice %s of rollout %s cannot be read: %w", delivery.Event, delivery.Rollout, err)
	}
	return d.notifier.Send(ctx, delivery.Channel, notify.Render(notify.Facts{
		State: s, Event: delivery.Event, Actor: delivery.Notice.Actor, Reason: delivery.Notice.Reason, BaseURL: d.baseURL, At: delivery.Notice.At,
	}))
}
