package config

import (
	"slices"
	"strings"

	"serin/internal/rollout"
	"serin/internal/strictyaml"
)

// Events lists what a channel can hear of, in the order of a rollout.
func Events() []string {
	return []string{
		rollout.NotifyStarted, rollout.NotifyPaused, rollout.NotifyHeld, rollout.NotifyHoldTooLong, rollout.NotifySucceeded, rollout.NotifyRolledBack,
		rollout.NotifyUnproven, rollout.NotifyRejected, rollout.NotifyAborted, rollout.NotifyUndone, rollout.NotifyFailed, rollout.NotifyWatch,
	}
}

func (l *loader) notifications(v strictyaml.Value) {
	l.from("notifications", v)
	l.cfg.Notifications = nil
	names := map[string]bool{}
	for _, element := range v.List() {
		ch, ok := l.channel(element)
		if !ok {
			continue
		}
		if names[ch.Name] {
			element.Faultf("channel %q is there twice: give each a name of its own", ch.Name)
			continue
		}
		names[ch.Name] = true
		l.cfg.Notifications = append(l.cfg.Notifications, ch)
	}
}

func (l *loader) channel(v strictyaml.Value) (Channel, bool) {
	var ch Channel
	target := func(kind ChannelKind) strictyaml.Field {
		return func(v strictyaml.Value) {
			ch.Kind = kind
			ch.Target, _ = l.secret(v)
		}
	}
	obj := v.Fields(strictyaml.Fields{
		"name":    strictyaml.Set(&ch.Name, strictyaml.Value.Text),
		"slack":   target(ChannelSlack),
		"webhook": target(ChannelWebhook),
		"log": func(v strictyaml.Value) {
			ch.Kind = ChannelLog
			v.Fields(strictyaml.Fields{})
		},
		"on": func(v strictyaml.Value) { ch.On = events(v) },
	})
	if !v.IsMapping() {
		return ch, false
	}
	obj.Require("name", "plans name their channels")
	obj.Require("on", "list the events, such as [rolled_back, held]")
	kinds := 0
	for _, kind := range []ChannelKind{ChannelLog, ChannelSlack, ChannelWebhook} {
		if obj.Has(string(kind)) {
			kinds++
		}
	}
	if kinds != 1 {
		v.Faultf("has %d of log, slack and webhook: a channel is one of them", kinds)
	}
	return ch, ch.Name != "" && kinds == 1
}

// events reads names of Events, each once.
func events(v strictyaml.Value) []string {
	known := Events()
	var on []string
	for _, element := range v.List() {
		event, ok := element.Text()
		switch {
		case !ok:
		case !slices.Contains(known, event):
			element.Faultf("%q is no event: use %s", event, strings.Join(known, ", "))
		case slices.Contains(on, event):
			element.Faultf("%s is there twice: remove one of them", event)
		default:
			on = append(on, event)
		}
	}
	if v.Empty() {
		v.Faultf("is empty, so the channel would never hear anything: list events, such as [rolled_back, held]")
	}
	return on
}
