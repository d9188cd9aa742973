package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Notice is something that people are told, once a rollout: rollout and event together name it.
type Notice struct {
	Rollout string
	Event   string
	Model   string
	Actor   string
	Reason  string
	// Body is JSON for the text: the row's state when it happened.
	Body json.RawMessage
	At   time.Time
}

// DeliveryStatus is how the delivery of a notice to a channel stands.
type DeliveryStatus string

// The statuses of deliveries. Skipped is a channel that does not want this event, Failed one that was given up.
const (
	DeliveryPending   DeliveryStatus = "pending"
	DeliveryDelivered DeliveryStatus = "delivered"
	DeliverySkipped   DeliveryStatus = "skipped"
	DeliveryFailed    DeliveryStatus = "failed"
)

// DeliveryKey names the delivery of one notice to one channel.
type DeliveryKey struct {
	Rollout string
	Event   string
	Channel string
}

// Delivery is a notice on its way to a channel.
type Delivery struct {
	DeliveryKey
	Notice   Notice
	Status   DeliveryStatus
	Attempts int
	// NextAt is when a pending delivery is due.
	NextAt time.Time
	// SettledAt is when it was delivered, skipped or given up.
	SettledAt time.Time
	LastError string
}

// DeliveryResult is what an attempt to deliver came to. Pending with NextAt and Error is another attempt later; the others are final.
type DeliveryResult struct {
	DeliveryKey
	Status DeliveryStatus
	At     time.Time
	NextAt time.Time
	Error  string
}

// Due chooses the deliveries to attempt now. Limit of 0 is 100.
type Due struct {
	Channels []string
	Now      time.Time
	Limit    int
}

// QueueNotice stores a notice with a pending delivery for each channel. A notice that the rollout has had already is left as it was: people are told once.
func (tx *Tx) QueueNotice(ctx context.Context, n Notice, channels []string) error {
	rows, err := tx.exec(ctx, `INSERT INTO outbox (rollout, event, model, actor, reason, body, at) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (rollout, event) DO NOTHING`, n.Rollout, n.Event, n.Model, n.Actor, n.Reason, string(n.Body), nanos(n.At))
	if err != nil {
		return fmt.Errorf("queue notice %s of rollout %s: %w", n.Event, n.Rollout, err)
	}
	if rows == 0 {
		return nil
	}
	for _, channel := range channels {
		if _, err := tx.exec(ctx, `INSERT INTO deliveries (rollout, event, channel, status, attempts, next_at, settled_at, last_error)
			VALUES ($1, $2, $3, $4, 0, $5, 0, '') ON CONFLICT (rollout, event, channel) DO NOTHING`,
			n.Rollout, n.Event, channel, string(DeliveryPending), nanos(n.At)); err != nil {
			return fmt.Errorf("queue notice %s of rollout %s for %s: %w", n.Event, n.Rollout, channel, err)
		}
	}
	return nil
}

// SettleDelivery records an attempt to deliver. A delivery that is not pending any more is ErrConflict.
func (tx *Tx) SettleDelivery(ctx context.Context, r DeliveryResult) error {
	next, settled := int64(0), nanos(r.At)
	if r.Status == DeliveryPending {
		next, settled = nanos(r.NextAt), 0
	}
	n, err := tx.exec(ctx, `UPDATE deliveries SET status = $1, attempts = attempts + 1, next_at = $2, settled_at = $3, last_error = $4
		WHERE rollout = $5 AND event = $6 AND channel = $7 AND status = $8`,
		string(r.Status), next, settled, r.Error, r.Rollout, r.Event, r.Channel, string(DeliveryPending))
	if err == nil && n != 1 {
		err = ErrConflict
	}
	if err != nil {
		return fmt.Errorf("settle delivery of %s of rollout %s to %s: %w", r.Event, r.Rollout, r.Channel, err)
	}
	return nil
}

const deliveryColumns = `SELECT d.rollout, d.event, d.channel, d.status, d.attempts, d.next_at, d.settled_at, d.last_error,
		o.model, o.actor, o.reason, o.body, o.at
	FROM deliveries d JOIN outbox o ON o.rollout = d.rollout AND o.event = d.event `

func scanDelivery(row scanner) (d Delivery, err error) {
	var next, settled, at int64
	var body string
	err = row.Scan(&d.Rollout, &d.Event, &d.Channel, &d.Status, &d.Attempts, &next, &settled, &d.LastError,
		&d.Notice.Model, &d.Notice.Actor, &d.Notice.Reason, &body, &at)
	d.NextAt, d.SettledAt, d.Notice.At = timeOf(next), timeOf(settled), timeOf(at)
	d.Notice.Rollout, d.Notice.Event = d.Rollout, d.Event
	if body != "" {
		d.Notice.Body = json.RawMessage(body)
	}
	return d, err
}

// DueDeliveries lists the pending deliveries to the given channels whose time has come, oldest notice first.
func (tx *Tx) DueDeliveries(ctx context.Context, due Due) ([]Delivery, error) {
	if len(due.Channels) == 0 {
		return nil, nil
	}
	if due.Limit == 0 {
		due.Limit = 100
	}
	args := []any{string(DeliveryPending), nanos(due.Now), due.Limit}
	marks := make([]string, 0, len(due.Channels))
	for _, c := range due.Channels {
		args = append(args, c)
		marks = append(marks, "$"+strconv.Itoa(len(args)))
	}
	all, err := collect(ctx, tx, scanDelivery, deliveryColumns+`WHERE d.status = $1 AND d.next_at <= $2 AND d.channel IN (`+
		strings.Join(marks, ", ")+`) ORDER BY o.at, d.rollout, d.event, d.channel LIMIT $3`, args...)
	if err != nil {
		return nil, fmt.Errorf("list due deliveries: %w", err)
	}
	return all, nil
}

// Deliveries lists all deliveries of a rollout, oldest notice first.
func (tx *Tx) Deliveries(ctx context.Context, rollout string) ([]Delivery, error) {
	all, err := collect(ctx, tx, scanDelivery, deliveryColumns+`WHERE d.rollout = $1 ORDER BY o.at, d.event, d.channel`, rollout)
	if err != nil {
		return nil, fmt.Errorf("deliveries of rollout %s: %w", rollout, err)
	}
	return all, nil
}

// Notices lists what people are told about a rollout, oldest first.
func (tx *Tx) Notices(ctx context.Context, rollout string) ([]Notice, error) {
	all, err := collect(ctx, tx, func(row scanner) (n Notice, err error) {
		var body string
		var at int64
		err = row.Scan(&n.Rollout, &n.Event, &n.Model, &n.Actor, &n.Reason, &body, &at)
		n.At = timeOf(at)
		if body != "" {
			n.Body = json.RawMessage(body)
		}
		return n, err
	}, `SELECT rollout, event, model, actor, reason, body, at FROM outbox WHERE rollout = $1 ORDER BY at, event`, rollout)
	if err != nil {
		return nil, fmt.Errorf("notices of rollout %s: %w", rollout, err)
	}
	return all, nil
}
