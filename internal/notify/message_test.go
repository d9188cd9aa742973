package notify

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/analysis"
	"serin/internal/model"
	"serin/internal/rollout"
)

var update = flag.Bool("update", false, "rewrite golden files")

var at = time.Date(2026, 1, 20, 10, 30, 0, 0, time.UTC)

// failing is a canary over the error limit and within the latency limit.
func failing() *rollout.StageVerdict {
	return &rollout.StageVerdict{Judgement: &analysis.Judgement{
		Decision: analysis.DecisionRollback, Reason: "error rate 6.7 % (12 of 180 requests) > 5 %",
		Checks: []analysis.Evidence{
			{
				Check: analysis.CheckErrors, Verdict: analysis.VerdictFail, Value: 12.0 / 180, Limit: 0.05, Events: 12, Requests: 180,
				Text: "error rate 6.7 % (12 of 180 requests) > 5 %",
			},
			{
				Check: analysis.CheckLatency, Verdict: analysis.VerdictPass, Value: 0.01, Limit: 0.05, Events: 2, Requests: 180,
				Text: "slower than 100ms: 1.1 % (2 of 180 requests) < 5 %",
			},
		},
	}}
}

// row is a rollout of v42 against v41 at 5 %.
func row(change func(*rollout.State)) rollout.State {
	s := rollout.State{
		ID: "01R", Model: "fraud", Kind: rollout.KindOfRollout, Plan: rollout.DefaultPlan("fraud"), Phase: rollout.Progressing,
		Pins: rollout.Pins{Champion: model.Pin{Version: "41"}, Challenger: model.Pin{Version: "42"}}, Exposed: true, WeightPct: 5,
		Tasks: map[string]rollout.Outcome{},
	}
	if change != nil {
		change(&s)
	}
	return s
}

func ended(phase rollout.Phase) func(*rollout.State) {
	return func(s *rollout.State) { s.Phase = phase }
}

func cases() []struct {
	name string
	f    Facts
} {
	hold := &rollout.Hold{Code: "no_traffic", Reason: "no canary request for 2m0s", Deadline: at.Add(2 * time.Hour)}
	keep := func(s *rollout.State) { s.Plan.Hold.Then, s.Hold = rollout.HoldKeep, hold }
	return []struct {
		name string
		f    Facts
	}{
		{"started by a person", Facts{Event: rollout.NotifyStarted, Actor: "anna", Reason: "retrained on January", State: row(func(s *rollout.State) { s.Pins = rollout.Pins{} })}},
		{"started, first champion", Facts{Event: rollout.NotifyStarted, Actor: rollout.Controller, State: row(func(s *rollout.State) {
			s.Pins = rollout.Pins{FirstChampion: "first"}
			s.Reason = "started"
		})}},
		{"paused", Facts{Event: rollout.NotifyPaused, Actor: "anna", Reason: "release freeze", State: row(nil)}},
		{"held without traffic", Facts{Event: rollout.NotifyHeld, Reason: hold.Reason, State: row(func(s *rollout.State) { s.Hold = hold })}},
		{"held, then kept", Facts{Event: rollout.NotifyHeld, Reason: hold.Reason, State: row(keep)}},
		{"held by the gate", Facts{Event: rollout.NotifyHeld, Reason: "the offline gate cannot tell: recall 0.95 (19 of 20)", State: row(func(s *rollout.State) {
			s.Hold, s.Exposed, s.WeightPct = hold, false, 0
		})}},
		{"held, nobody to wait for", Facts{Event: rollout.NotifyHeld, Reason: "routing changed", State: row(func(s *rollout.State) { s.Stage = failing() })}},
		{"held too long", Facts{Event: rollout.NotifyHoldTooLong, Reason: "held for 2h0m0s: no canary request", State: row(nil)}},
		{"held too long, kept", Facts{Event: rollout.NotifyHoldTooLong, Reason: "held for 2h0m0s: no canary request", State: row(keep)}},
		{"held too long, unseen", Facts{Event: rollout.NotifyHoldTooLong, Reason: "held for 2h0m0s: gate", State: row(func(s *rollout.State) { s.Exposed = false })}},
		{"succeeded", Facts{Event: rollout.NotifySucceeded, Reason: "v42 is in Production", State: row(func(s *rollout.State) {
			s.Phase, s.WeightPct = rollout.Succeeded, 100
			s.Tasks["monitor_5_percent"] = rollout.Outcome{Reason: "error rate 1 % (1 of 100 requests) < 5 %"}
			s.Tasks["monitor_25_percent"] = rollout.Outcome{Reason: "error rate 0.4 % (2 of 500 requests) < 5 %"}
		})}},
		{"succeeded without a bake", Facts{Event: rollout.NotifySucceeded, Reason: "first champion", State: row(ended(rollout.Succeeded))}},
		{"rolled back", Facts{Event: rollout.NotifyRolledBack, Reason: "error rate 6.7 % (12 of 180 requests) > 5 %", State: row(func(s *rollout.State) {
			s.Phase, s.WeightPct, s.Stage = rollout.RolledBack, 0, failing()
		})}},
		{"rolled back for a reason that lacks the figures", Facts{Event: rollout.NotifyRolledBack, Reason: "the canary was not healthy", State: row(func(s *rollout.State) {
			s.Phase, s.WeightPct, s.Stage = rollout.RolledBack, 0, failing()
		})}},
		{"rollback unproven", Facts{Event: rollout.NotifyUnproven, Reason: "rollback_deployment: gateway gw-2 still has generation 7", State: row(nil)}},
		{"undo unproven", Facts{Event: rollout.NotifyUnproven, Reason: "undo_deployment: gateway gw-2 is silent", State: row(func(s *rollout.State) { s.Kind = rollout.KindOfUndo })}},
		{"rejected", Facts{Event: rollout.NotifyRejected, Reason: "rejected", State: row(func(s *rollout.State) {
			s.Phase, s.Exposed, s.WeightPct = rollout.Rejected, false, 0
			s.Gate = &rollout.GateVerdict{Decision: "reject", Reasons: []string{"recall 0.71 (71 of 100) < 0.95", "F1 0.80 < 0.91"}}
		})}},
		{"aborted by a person", Facts{Event: rollout.NotifyAborted, Actor: "bo", Reason: "wrong model", State: row(func(s *rollout.State) { s.Phase, s.Exposed = rollout.Aborted, false })}},
		{"undone", Facts{Event: rollout.NotifyUndone, Reason: "chargebacks rose", State: row(func(s *rollout.State) { s.Phase, s.Kind = rollout.Succeeded, rollout.KindOfUndo })}},
		{"failed", Facts{Event: rollout.NotifyFailed, Reason: "deploy_canary_5_percent: model cannot be read", State: row(ended(rollout.Failed))}},
		{"watch failed, undone", Facts{Event: rollout.NotifyWatch, Reason: "error rate 6.7 % (12 of 180 requests) > 5 %", State: row(func(s *rollout.State) { s.Phase, s.Stage = rollout.Succeeded, failing() })}},
		{"watch failed, told only", Facts{Event: rollout.NotifyWatch, Reason: "slow", State: row(func(s *rollout.State) { s.Phase, s.Plan.Watch.OnFail = rollout.Succeeded, rollout.WatchNotify })}},
		{"an event of a later version", Facts{Event: "quota", Reason: "over", State: row(nil)}},
	}
}

func TestRender_Golden(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, tt := range cases() {
		tt.f.At, tt.f.BaseURL = at, "https://serin.example"
		m := Render(tt.f)
		fmt.Fprintf(&b, "# %s\n%s\n%s\n", tt.name, m.Title, m.Text)
	}
	golden := filepath.Join("testdata", "messages.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
}

// Every message is one line with the model, the link and a command; those about checks carry value, limit and sample size.
func TestRender_SaysWhatIsPromised(t *testing.T) {
	t.Parallel()
	for _, tt := range cases() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.f.At, tt.f.BaseURL = at, "https://serin.example"
			m := Render(tt.f)
			for what, part := range map[string]string{"model": "fraud: ", "link": "https://serin.example/rollouts/01R", "next command": "Next: serin get 01R"} {
				if !strings.Contains(m.Text, part) {
					t.Errorf("no %s in %q", what, m.Text)
				}
			}
			if strings.ContainsAny(m.Text+m.Title, "\n\r\t") || m.Link == "" || m.NextCommand == "" || !m.At.Equal(at) {
				t.Errorf("message %+v", m)
			}
			if len(m.Facts) > 0 && !strings.Contains(m.Text, "(12 of 180 requests) > 5 %") {
				t.Errorf("the failed check is not in %q", m.Text)
			}
		})
	}
}

func TestRender_FactsAreTheEvidence(t *testing.T) {
	t.Parallel()
	m := Render(Facts{Event: rollout.NotifyRolledBack, Reason: "x", State: row(func(s *rollout.State) { s.Stage = failing() }), At: at})
	want := []Fact{
		{Check: "error_rate", Value: 12.0 / 180, Limit: 0.05, Events: 12, Requests: 180, Text: "error rate 6.7 % (12 of 180 requests) > 5 %"},
		{Check: "latency_p95", Value: 0.01, Limit: 0.05, Events: 2, Requests: 180, Text: "slower than 100ms: 1.1 % (2 of 180 requests) < 5 %"},
	}
	if diff := cmp.Diff(want, m.Facts); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
	if m.Link != "" || strings.Contains(m.Text, "/rollouts/") {
		t.Errorf("a link without an address: %q", m.Text)
	}
}

func TestRender_HostileTextStaysOnOneLineAndInQuotes(t *testing.T) {
	t.Parallel()
	s := row(func(s *rollout.State) { s.Model, s.Phase = "my model; rm -rf 'x'", rollout.Succeeded })
	m := Render(Facts{Event: rollout.NotifySucceeded, Reason: "a\nb\r\n\u2028c\td", State: s, At: at})
	if strings.ContainsAny(m.Text, "\n\r\t\u2028") || !strings.Contains(m.Text, "a b c d") {
		t.Errorf("text %q", m.Text)
	}
	if want := `serin undo 'my model; rm -rf '\''x'\''' --reason ...`; !strings.Contains(m.NextCommand, want) {
		t.Errorf("command %q, want %q in it", m.NextCommand, want)
	}
}

// The body of a webhook is a contract: adding a key is fine, changing one is not.
func TestMessage_JSON(t *testing.T) {
	t.Parallel()
	m := Render(Facts{Event: rollout.NotifyHeld, Reason: "x", State: row(nil), At: at, BaseURL: "http://s"})
	data, err := payload(KindWebhook, m)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"model": "fraud", "rollout": "01R", "event": "held", "title": "fraud: rollout of v42 held", "text": m.Text, "facts": []any{},
		"link": "http://s/rollouts/01R", "next_command": "serin get 01R; serin retry 01R --reason ...; serin abort 01R --reason ...", "at": "2026-01-20T10:30:00Z",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
}
