package notify

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const secretPath = "/services/T0/B0/geheim"

// received is what a channel's server was sent.
type received struct {
	mu       sync.Mutex
	requests []*http.Request
	bodies   []string
}

// serve answers each request by answer and keeps it.
func serve(t *testing.T, answer http.HandlerFunc) (string, *received) {
	t.Helper()
	got := &received{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got.mu.Lock()
		got.requests, got.bodies = append(got.requests, r), append(got.bodies, string(body))
		got.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL + secretPath, got
}

func newNotifier(t *testing.T, channels ...Channel) (*Notifier, *strings.Builder) {
	t.Helper()
	var log strings.Builder
	n, err := New(Options{Channels: channels, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return n, &log
}

var message = Message{
	Model: "fraud", Rollout: "01R", Event: "rolled_back", Title: "fraud: canary v42 rolled back",
	Text: "fraud: canary v42 rolled back: 6.7 % > 5 % & <!channel>.", NextCommand: "serin get 01R", At: at,
}

func TestSend_Webhook(t *testing.T) {
	t.Parallel()
	url, got := serve(t, func(http.ResponseWriter, *http.Request) {})
	n, _ := newNotifier(t, Channel{Name: "ops", Kind: KindWebhook, URL: url})
	for range 2 {
		if err := n.Send(t.Context(), "ops", message); err != nil {
			t.Fatal(err)
		}
	}
	if len(got.requests) != 2 {
		t.Fatalf("%d requests, want 2", len(got.requests))
	}
	for i, r := range got.requests {
		if r.Method != http.MethodPost || r.URL.Path != secretPath || r.Header.Get("Content-Type") != "application/json; charset=utf-8" {
			t.Errorf("request %s %s %q", r.Method, r.URL, r.Header)
		}
		if key := r.Header.Get("Idempotency-Key"); key != "01R/rolled_back/ops" {
			t.Errorf("key %q of request %d", key, i)
		}
		var back Message
		if err := json.Unmarshal([]byte(got.bodies[i]), &back); err != nil {
			t.Fatal(err)
		}
		want := message
		want.Facts = []Fact{}
		if diff := cmp.Diff(want, back); diff != "" {
			t.Errorf("body (-want +got):\n%s", diff)
		}
	}
}

func TestSend_SlackTextIsEscapedAndBounded(t *testing.T) {
	t.Parallel()
	url, got := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	n, _ := newNotifier(t, Channel{Name: "oncall", Kind: KindSlack, URL: url})
	long := message
	long.Text = strings.Repeat("ü", 5000)
	for _, m := range []Message{message, long} {
		if err := n.Send(t.Context(), "oncall", m); err != nil {
			t.Fatal(err)
		}
	}
	texts := make([]string, 2)
	for i, body := range got.bodies {
		var sent struct {
			Text        string `json:"text"`
			UnfurlLinks *bool  `json:"unfurl_links"`
		}
		if err := json.Unmarshal([]byte(body), &sent); err != nil || sent.UnfurlLinks == nil || *sent.UnfurlLinks {
			t.Fatalf("body %.200s: %v", body, err)
		}
		texts[i] = sent.Text
	}
	if want := "fraud: canary v42 rolled back: 6.7 % &gt; 5 % &amp; &lt;!channel&gt;."; texts[0] != want {
		t.Errorf("text %q, want %q", texts[0], want)
	}
	if want := strings.Repeat("ü", maxSlack) + "..."; texts[1] != want {
		t.Errorf("text of %d bytes, want %d", len(texts[1]), len(want))
	}
}

func TestSend_Log(t *testing.T) {
	t.Parallel()
	n, log := newNotifier(t, Channel{Name: "log", Kind: KindLog})
	if err := n.Send(t.Context(), "log", message); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"level=INFO", "msg=notification", "channel=log", "event=rolled_back", "model=fraud", "rollout=01R", "6.7 % > 5 %"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in %s", want, log)
		}
	}
}

// Whether to try again, and when, is the answer's to say; the address stays hidden even where the receiver repeats it.
func TestSend_Refusals(t *testing.T) {
	t.Parallel()
	const now = "Tue, 20 Jan 2026 10:30:00 GMT"
	tests := []struct {
		name    string
		status  int
		headers map[string]string
		body    string
		want    string
		retry   bool
		after   time.Duration
	}{
		{"limited, seconds", 429, map[string]string{"Retry-After": "30"}, "slow down", "answered 429 Too Many Requests: slow down", true, 30 * time.Second},
		{"limited, date", 429, map[string]string{"Retry-After": "Tue, 20 Jan 2026 10:32:00 GMT", "Date": now}, "", "answered 429 Too Many Requests", true, 2 * time.Minute},
		{"limited, in the past", 429, map[string]string{"Retry-After": "Tue, 20 Jan 2026 09:00:00 GMT", "Date": now}, "", "answered 429 Too Many Requests", true, 0},
		{"limited, far away", 503, map[string]string{"Retry-After": "999999"}, "", "answered 503 Service Unavailable", true, time.Hour},
		{"limited, nonsense", 429, map[string]string{"Retry-After": "-3 soon"}, "", "answered 429 Too Many Requests", true, 0},
		{"server error", 500, nil, "oops\nat line 3", "answered 500 Internal Server Error: oops at line 3", true, 0},
		{"gateway", 502, nil, "", "answered 502 Bad Gateway", true, 0},
		{"timeout at the receiver", 408, nil, "", "answered 408 Request Timeout", true, 0},
		{"bad payload", 400, map[string]string{"Retry-After": "5"}, "invalid_payload", "answered 400 Bad Request: invalid_payload", false, 0},
		{"gone", 410, nil, "channel_is_archived", "answered 410 Gone: channel_is_archived", false, 0},
		{"wrong secret", 404, nil, "no " + secretPath + " and no geheim here", "answered 404 Not Found: no (hidden) and no (hidden) here", false, 0},
		{"redirect", 302, map[string]string{"Location": "http://127.0.0.1:1/elsewhere"}, "", "answered 302 Found: redirects are not followed, give the final address", false, 0},
		{"binary", 500, nil, "\xff\x00\x01a", "answered 500 Internal Server Error: ? a", true, 0},
		{"endless", 500, nil, strings.Repeat("x", 10_000), "answered 500 Internal Server Error: " + strings.Repeat("x", maxShown) + "...", true, 0},
		{"secret at the cut", 500, nil, strings.Repeat(" ", maxAnswer-10) + secretPath, "answered 500 Internal Server Error", true, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			url, got := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				for name, value := range tt.headers {
					w.Header().Set(name, value)
				}
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			})
			n, log := newNotifier(t, Channel{Name: "ops", Kind: KindWebhook, URL: url})
			err := n.Send(t.Context(), "ops", message)
			var refused *Error
			if !errors.As(err, &refused) {
				t.Fatalf("error %v is no *Error", err)
			}
			if want := "notify channel ops: " + tt.want; err.Error() != want {
				t.Errorf("error %q\n want %q", err, want)
			}
			if refused.Retryable != tt.retry || refused.After != tt.after || refused.Channel != "ops" {
				t.Errorf("retryable %v after %s, want %v after %s", refused.Retryable, refused.After, tt.retry, tt.after)
			}
			if strings.Contains(err.Error()+log.String(), "geheim") || len(got.requests) != 1 {
				t.Errorf("secret shown or %d requests: %v %s", len(got.requests), err, log)
			}
		})
	}
}

// No receiver at all: the same message may get through later.
func TestSend_Unreachable(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	reset, _ := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	for name, url := range map[string]string{
		"closed port": "http://user:kennwort@" + address + secretPath, "reset": reset, "no TLS": "https://" + strings.TrimPrefix(reset, "http://"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, log := newNotifier(t, Channel{Name: "ops", Kind: KindSlack, URL: url})
			err := n.Send(t.Context(), "ops", message)
			var refused *Error
			if !errors.As(err, &refused) || !refused.Retryable {
				t.Fatalf("error %v, want one to retry", err)
			}
			for _, secret := range []string{"geheim", "kennwort", "/services"} {
				if strings.Contains(err.Error()+log.String(), secret) {
					t.Errorf("shows %s: %v %s", secret, err, log)
				}
			}
		})
	}
}

// transport answers after a time, or never.
type transport struct{ wait time.Duration }

func (tr transport) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case <-time.After(tr.wait):
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
	}
}

func TestSend_TimesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, err := New(Options{
			Channels: []Channel{{Name: "ops", Kind: KindWebhook, URL: "http://h" + secretPath}}, HTTP: &http.Client{Transport: transport{wait: 11 * time.Second}},
			Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		err = n.Send(t.Context(), "ops", message)
		var refused *Error
		if !errors.As(err, &refused) || !refused.Retryable || err.Error() != "notify channel ops: no answer in 10s: context deadline exceeded" {
			t.Errorf("error %v", err)
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("gave up after %s", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := n.Send(ctx, "ops", message); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want the caller's cancellation", err)
		}
	})
}

func TestSend_UnknownChannelIsFinal(t *testing.T) {
	t.Parallel()
	n, _ := newNotifier(t)
	var refused *Error
	if err := n.Send(t.Context(), "nobody", message); !errors.As(err, &refused) || refused.Retryable {
		t.Errorf("error %v, want a final one", err)
	}
}

func TestNew_Refuses(t *testing.T) {
	t.Parallel()
	logger := slog.New(slog.DiscardHandler)
	tests := []struct {
		name string
		opts Options
		want string
	}{
		{"no logger", Options{}, "notify without a logger: give one, the log channel writes to it"},
		{"no name", Options{Logger: logger, Channels: []Channel{{Kind: KindLog}}}, `notify channel "": every channel needs a name of its own`},
		{"twice", Options{Logger: logger, Channels: []Channel{{Name: "a", Kind: KindLog}, {Name: "a", Kind: KindLog}}}, `notify channel "a": every channel needs a name of its own`},
		{"log with address", Options{Logger: logger, Channels: []Channel{{Name: "a", Kind: KindLog, URL: "http://h"}}}, "notify channel a: a log channel has no address: remove it"},
		{"no address", Options{Logger: logger, Channels: []Channel{{Name: "a", Kind: KindSlack}}}, "notify channel a: its address is no http or https URL: check the secret that it comes from"},
		{"bad address", Options{Logger: logger, Channels: []Channel{{Name: "a", Kind: KindWebhook, URL: "http://geheim:x/"}}}, "notify channel a: its address is no http or https URL: check the secret that it comes from"},
		{"unknown kind", Options{Logger: logger, Channels: []Channel{{Name: "a", Kind: "mail"}}}, `notify channel a: kind "mail" is unknown: use log, webhook or slack`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := New(tt.opts); err == nil || err.Error() != tt.want {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

func TestNew_LeavesTheCallersClientAlone(t *testing.T) {
	t.Parallel()
	client := &http.Client{}
	if _, err := New(Options{HTTP: client, Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	if client.CheckRedirect != nil {
		t.Error("the caller's client was changed")
	}
}

func TestChannels(t *testing.T) {
	t.Parallel()
	n, _ := newNotifier(t,
		Channel{Name: "oncall", Kind: KindSlack, URL: "http://h/x", On: []string{"held", "rolled_back"}},
		Channel{Name: "log", Kind: KindLog, On: []string{"started", "held"}})
	tests := []struct {
		event string
		names []string
		want  []string
	}{
		{"held", []string{"log", "oncall", "nobody"}, []string{"oncall", "log"}},
		{"rolled_back", []string{"log", "oncall"}, []string{"oncall"}},
		{"held", []string{"log"}, []string{"log"}},
		{"undone", []string{"log", "oncall"}, nil},
		{"held", nil, nil},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, n.Channels(tt.event, tt.names)); diff != "" {
			t.Errorf("channels of %s among %v (-want +got):\n%s", tt.event, tt.names, diff)
		}
	}
}
