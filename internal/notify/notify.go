// Package notify tells people how rollouts go, through the log, webhooks and Slack. It never retries by itself, never follows a redirect, and never
// lets the address of a channel, which is a secret, into an error or a log.
package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Kind says how a channel tells.
type Kind string

// The kinds of channels.
const (
	KindLog     Kind = "log"
	KindWebhook Kind = "webhook"
	KindSlack   Kind = "slack"
)

// Channel is one place to tell people at.
type Channel struct {
	Name string
	Kind Kind
	// URL is where webhook and slack channels post to. It is a secret.
	URL string
	// On lists the events that the channel hears of.
	On []string
}

// Options configure a Notifier. Logger must be given.
type Options struct {
	Channels []Channel
	// HTTP is used without its redirects; nil is a client of its own.
	HTTP   *http.Client
	Logger *slog.Logger
	// Timeout bounds one Send; 10 s when zero.
	Timeout time.Duration
}

// Notifier sends messages. It is safe for concurrent use and has no goroutine of its own.
type Notifier struct {
	channels []Channel
	client   *http.Client
	logger   *slog.Logger
	timeout  time.Duration
}

// Error is why a message was not delivered.
type Error struct {
	// Channel is the channel's name.
	Channel string
	// Retryable says that the same message may get through later; the others want a change of the configuration.
	Retryable bool
	// After is how long the receiver asked to wait, 0 when it did not.
	After time.Duration
	err   error
}

// Error is one line, without the channel's address.
func (e *Error) Error() string { return fmt.Sprintf("notify channel %s: %v", e.Channel, e.err) }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.err }

// New makes a Notifier of channels with names of their own.
func New(o Options) (*Notifier, error) {
	if o.Logger == nil {
		return nil, errors.New("notify without a logger: give one, the log channel writes to it")
	}
	seen := map[string]bool{}
	for _, ch := range o.Channels {
		if ch.Name == "" || seen[ch.Name] {
			return nil, fmt.Errorf("notify channel %q: every channel needs a name of its own", ch.Name)
		}
		seen[ch.Name] = true
		if err := ch.check(); err != nil {
			return nil, fmt.Errorf("notify channel %s: %w", ch.Name, err)
		}
	}
	n := &Notifier{channels: slices.Clone(o.Channels), logger: o.Logger, timeout: o.Timeout}
	if n.timeout <= 0 {
		n.timeout = 10 * time.Second
	}
	client := http.Client{}
	if o.HTTP != nil {
		client = *o.HTTP
	}
	// Messages go to configured targets only.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	n.client = &client
	return n, nil
}

func (ch Channel) check() error {
	switch ch.Kind {
	case KindLog:
		if ch.URL != "" {
			return errors.New("a log channel has no address: remove it")
		}
		return nil
	case KindWebhook, KindSlack:
		u, err := url.Parse(ch.URL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return errors.New("its address is no http or https URL: check the secret that it comes from")
		}
		return nil
	}
	return fmt.Errorf("kind %q is unknown: use log, webhook or slack", ch.Kind)
}

// Channels gives the channels among names that hear of the event, in the order of the configuration. Names without a channel are left out.
func (n *Notifier) Channels(event string, names []string) []string {
	var wanted []string
	for _, ch := range n.channels {
		if slices.Contains(names, ch.Name) && slices.Contains(ch.On, event) {
			wanted = append(wanted, ch.Name)
		}
	}
	return wanted
}

// Send delivers one message to one channel, once. Every error is an *Error, which says whether to try again. A receiver tells repetitions by the
// header Idempotency-Key, rollout/event/channel, which stays the same.
func (n *Notifier) Send(ctx context.Context, channel string, m Message) error {
	i := slices.IndexFunc(n.channels, func(ch Channel) bool { return ch.Name == channel })
	if i < 0 {
		return &Error{Channel: channel, err: errors.New("is not configured: add it under notifications in serin.yaml, or remove it from the plan")}
	}
	ch := n.channels[i]
	if ch.Kind == KindLog {
		n.logger.InfoContext(ctx, "notification", "channel", ch.Name, "event", m.Event, "model", m.Model, "rollout", m.Rollout, "text", m.Text)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	return n.post(ctx, ch, m)
}
