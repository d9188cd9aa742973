package notify

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"serin/internal/rollout"
)

// Whatever a reason, a name or a model brings along, a message is one line and Slack finds no markup in it.
func FuzzRender(f *testing.F) {
	f.Add("fraud", "rolled_back", "error rate 6.7 % > 5 %\n<!channel>", "anna")
	f.Add("a'b", "succeeded", "\u2028\u0085\r", "")
	f.Fuzz(func(t *testing.T, name, event, reason, actor string) {
		m := Render(Facts{Event: event, Reason: reason, Actor: actor, State: row(func(s *rollout.State) { s.Model = name }), At: at, BaseURL: "http://s"})
		for _, text := range []string{m.Title, m.Text, m.Link} {
			if strings.ContainsAny(text, "\n\r\u2028\u2029\u0085") {
				t.Errorf("several lines: %q", text)
			}
		}
		if slack := slackText(m.Text); strings.ContainsAny(slack, "<>") {
			t.Errorf("markup: %q", slack)
		}
		if _, err := payload(KindWebhook, m); err != nil {
			t.Error(err)
		}
	})
}

// However a receiver words its refusal, the secret part of the address is not in it, and no wait is longer than promised.
func FuzzRefusal(f *testing.F) {
	f.Add("no "+secretPath, "30", 429)
	f.Add("geheimgeheim", "Tue, 20 Jan 2026 10:32:00 GMT", 503)
	ch := Channel{Name: "ops", Kind: KindWebhook, URL: "https://u:kennwort@h" + secretPath + "?token=zeichen"}
	f.Fuzz(func(t *testing.T, answer, retryAfter string, status int) {
		resp := &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {retryAfter}, "Date": {"Tue, 20 Jan 2026 10:30:00 GMT"}}}
		err := refusal(ch, resp, answer+" "+ch.URL)
		e, ok := err.(*Error) //nolint:errorlint // the type itself is the contract here
		if !ok || e.After < 0 || e.After > time.Hour {
			t.Fatalf("error %#v", err)
		}
		for _, secret := range []string{"geheim", "kennwort", "zeichen", "/services"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s is in %q", secret, err)
			}
		}
	})
}
