package cli

import (
	"context"
	"log/slog"
)

// notices is the logger of commands that work in this process. They return what goes wrong, so that of the log only what the channel `log` has to
// tell people is shown.
func (r *root) notices() *slog.Logger {
	return slog.New(noticesOnly{slog.NewTextHandler(r.Stderr, nil)})
}

// noticesOnly passes on the records of notification channels.
type noticesOnly struct{ slog.Handler }

// Handle implements slog.Handler.
func (h noticesOnly) Handle(ctx context.Context, rec slog.Record) error {
	if rec.Message != "notification" {
		return nil
	}
	return h.Handler.Handle(ctx, rec)
}

// WithAttrs implements slog.Handler.
func (h noticesOnly) WithAttrs(attrs []slog.Attr) slog.Handler {
	return noticesOnly{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h noticesOnly) WithGroup(name string) slog.Handler {
	return noticesOnly{h.Handler.WithGroup(name)}
}
