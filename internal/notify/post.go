package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// maxAnswer bounds what is read of a refusal, maxShown what of it an error shows.
	maxAnswer = 8192
	maxShown  = 512
	// maxAfter bounds how long a receiver may ask to wait.
	maxAfter = time.Hour
	// maxSlack keeps a message readable in a chat; Slack itself cuts at 40000 characters.
	maxSlack = 3000
)

func (n *Notifier) post(ctx context.Context, ch Channel, m Message) error {
	body, err := payload(ch.Kind, m)
	if err != nil {
		return &Error{Channel: ch.Name, err: fmt.Errorf("message of %s for rollout %s: %w", m.Event, m.Rollout, err)}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, ch.URL, bytes.NewReader(body))
	if err != nil {
		return &Error{Channel: ch.Name, err: errors.New("its address cannot be used: check the secret that it comes from")}
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("User-Agent", "serin")
	req.Header.Set("Idempotency-Key", m.Rollout+"/"+m.Event+"/"+ch.Name)
	resp, err := n.client.Do(req)
	if err != nil {
		return &Error{Channel: ch.Name, Retryable: true, err: n.unreachable(ch, err)}
	}
	defer resp.Body.Close() //nolint:errcheck // the answer is read or does not matter
	answer, readErr := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return nil // taken, even where the rest of the answer was lost
	}
	if readErr != nil {
		answer = nil
	}
	return refusal(ch, resp, string(answer))
}

func payload(kind Kind, m Message) ([]byte, error) {
	if kind == KindSlack {
		return json.Marshal(map[string]any{"text": slackText(m.Text), "unfurl_links": false, "unfurl_media": false})
	}
	if m.Facts == nil {
		m.Facts = []Fact{}
	}
	return json.Marshal(m)
}

// slackText escapes the three characters with a meaning, so that no text of ours mentions people or hides a link.
func slackText(s string) string {
	if r := []rune(s); len(r) > maxSlack {
		s = string(r[:maxSlack]) + "..."
	}
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

// unreachable takes the address out of a transport error: net/http puts it in.
func (n *Notifier) unreachable(ch Channel, err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer in %s: %w", n.timeout, context.DeadlineExceeded)
	}
	if errors.Is(err, context.Canceled) {
		return context.Canceled
	}
	if inner, ok := errors.AsType[*url.Error](err); ok {
		err = inner.Err
	}
	return errors.New(ch.hide(err.Error()))
}

// refusal makes an error of an answer that is no 2xx. Redirects and most 4xx want a person.
func refusal(ch Channel, resp *http.Response, answer string) error {
	code := resp.StatusCode
	e := &Error{Channel: ch.Name, Retryable: code >= 500 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout || code == http.StatusTooEarly}
	text := fmt.Sprintf("answered %d %s", code, http.StatusText(code))
	if shown := ch.shown(answer); shown != "" {
		text += ": " + shown
	}
	if e.Retryable {
		e.After = after(resp.Header)
	} else if code >= 300 && code < 400 {
		text += ": redirects are not followed, give the final address"
	}
	e.err = errors.New(text)
	return e
}

// shown is the part of an answer that an error may carry. Where the answer was cut, its end may be the beginning of the address: that goes too.
func (ch Channel) shown(answer string) string {
	text := ch.hide(answer)
	if len(answer) == maxAnswer {
		text = text[:max(0, len(text)-len(ch.URL))]
	}
	text = oneLine(strings.ToValidUTF8(text, "?"))
	if len(text) > maxShown {
		text = strings.ToValidUTF8(text[:maxShown], "") + "..."
	}
	return text
}

// after reads Retry-After, seconds or a date against the receiver's own clock.
func after(h http.Header) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	var wait time.Duration
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if until, err := http.ParseTime(value); err == nil {
		if now, err := http.ParseTime(h.Get("Date")); err == nil {
			wait = until.Sub(now)
		}
	}
	return min(max(wait, 0), maxAfter)
}

// hide removes the address, and its path and query alone, from what a receiver or a transport says.
func (ch Channel) hide(s string) string {
	secrets := []string{ch.URL}
	if u, err := url.Parse(ch.URL); err == nil {
		secrets = append(secrets, u.String(), u.RequestURI(), u.EscapedPath(), u.Path, u.RawQuery)
		if u.User != nil {
			if password, ok := u.User.Password(); ok {
				secrets = append(secrets, password)
			}
			secrets = append(secrets, u.User.Username())
		}
		for _, values := range u.Query() {
			secrets = append(secrets, values...)
		}
		secrets = append(secrets, strings.Split(strings.Trim(u.Path, "/"), "/")...)
	}
	for _, secret := range secrets {
		if len(secret) > 3 {
			s = strings.ReplaceAll(s, secret, "(hidden)")
		}
	}
	return s
}
