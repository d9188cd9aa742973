package chaostest

import (
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/mlflow"
	"serin/internal/model"
	"serin/internal/rollout"
	"serin/internal/store"
	"serin/internal/traffic"
)

// endsWithin is what the rollouts may take to end once nobody kills any more.
const endsWithin = 3 * time.Minute

// finish lets the rollouts end, stops the server, and checks everything that they have left behind.
func (c *round) finish(server *process) {
	c.t.Helper()
	if err := server.await(); err != nil {
		c.t.Fatal(err)
	}
	for deadline := time.Now().Add(endsWithin); len(c.person.words) > 0 && time.Now().Before(deadline); {
		c.person.say(c.t.Context())
		<-time.After(tick)
	}
	eventually(c.t, "every rollout has ended, told everybody and is not watched any more", endsWithin, c.settled)
	registry := map[string]mlflow.Snapshot{}
	for _, name := range c.models {
		snap, err := c.registry.Snapshot(c.t.Context(), name)
		if err != nil {
			c.t.Fatal(err)
		}
		registry[name] = snap
	}
	server.stop(c.t)
	c.logs = append(c.logs, server.errs.String())
	left := c.read(c.path("data"))
	for _, fault := range left.faults() {
		c.t.Errorf("at the end: %s", fault)
	}
	for _, name := range c.models {
		s, ok := left.row(name)
		if !ok || s.ID != c.ids[name] {
			c.t.Fatalf("%s: rollout %s, the start answered %s", name, s.ID, c.ids[name])
		}
		c.rollouts++
		c.ends[name+" "+string(s.Phase)]++
		c.checkRow(s, left)
		c.checkHistory(s, left)
		c.checkRegistry(s, registry[name])
		c.checkRouting(s)
		c.checkTold(s, left)
		c.checkCustomers(name)
		faults, stages := left.replay(s)
		c.stages += stages
		for _, fault := range faults {
			c.t.Error(fault)
		}
	}
	for _, word := range c.person.heard {
		c.words[word]++
	}
	c.files.check(c.t)
	if c.t.Failed() {
		c.t.Logf("the last life of the server:\n%s", c.logs[len(c.logs)-1])
	}
}

// settled says whether nothing is left to do.
func (c *round) settled() bool {
	for _, name := range c.models {
		r, err := c.client.Get(c.t.Context(), c.ids[name])
		if err != nil || !r.Phase.Ended() || r.Task != "" || len(r.Owed) > 0 || r.WatchUntil != nil {
			return false
		}
	}
	left := c.autopsy()
	for _, list := range left.deliveries {
		if slices.ContainsFunc(list, func(d store.Delivery) bool { return d.Status == store.DeliveryPending }) {
			return false
		}
	}
	return true
}

// ends are the phases that a rollout may have ended in: one, unless it is not known whether an abort was heard.
func (c *round) endsOf(s rollout.State) []rollout.Phase {
	must, may := c.person.aborted()
	switch {
	case s.Model == poor:
		return []rollout.Phase{rollout.Rejected}
	case s.Model == failing:
		return []rollout.Phase{rollout.RolledBack}
	case must && s.Exposed:
		return []rollout.Phase{rollout.RolledBack}
	case must:
		return []rollout.Phase{rollout.Aborted}
	case may:
		return []rollout.Phase{rollout.Succeeded, rollout.RolledBack, rollout.Aborted}
	}
	return []rollout.Phase{rollout.Succeeded}
}

func (c *round) checkRow(s rollout.State, left remains) {
	c.t.Helper()
	if !slices.Contains(c.endsOf(s), s.Phase) {
		c.t.Errorf("%s ended %s (%s), want %v; heard %v, unsure %v", s.Model, s.Phase, s.Reason, c.endsOf(s), c.person.heard, c.person.unsure)
	}
	for _, a := range left.attempts[s.ID] {
		if a.Status == store.AttemptOpen {
			c.t.Errorf("%s: attempt %d of %s is still open", s.Model, a.Attempt, a.Task)
		}
	}
	for _, sig := range left.signals[s.ID] {
		if sig.AppliedAt.IsZero() {
			c.t.Errorf("%s: %s by %s still waits", s.Model, sig.Signal.Name, sig.Signal.Actor)
		}
	}
}

// once are the events that a rollout has at most once, whoever killed what.
var once = []string{"RolloutStarted", "RolloutSucceeded", "RolloutRolledBack", "RolloutRejected", "RolloutAborted", "RolloutFailed", "RollbackStarted", "WatchEnded"}

// ended is the event that each end has.
var ended = map[rollout.Phase]string{
	rollout.Succeeded: "RolloutSucceeded", rollout.RolledBack: "RolloutRolledBack", rollout.Rejected: "RolloutRejected", rollout.Aborted: "RolloutAborted",
}

func (c *round) checkHistory(s rollout.State, left remains) {
	c.t.Helper()
	counts := map[string]int{}
	for _, e := range left.history {
		if e.Rollout == s.ID {
			counts[e.Event]++
		}
	}
	want := map[string]int{"RolloutStarted": 1, ended[s.Phase]: 1}
	if s.Phase == rollout.RolledBack {
		want["RollbackStarted"] = 1
	}
	if s.Phase == rollout.Succeeded {
		want["WatchEnded"], want["TrafficWeightUpdated"] = 1, 2
	}
	got := map[string]int{}
	for _, event := range append(slices.Clone(once), "TrafficWeightUpdated") {
		if _, wanted := want[event]; counts[event] > 0 && (wanted || event != "TrafficWeightUpdated") {
			got[event] = counts[event]
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		c.t.Errorf("history of %s, %s (-want +got)\n%s", s.Model, s.Phase, diff)
	}
	c.checkSignals(s, left, counts)
}

// checkSignals wants every word that was heard in the history, as often as it was said.
func (c *round) checkSignals(s rollout.State, left remains, counts map[string]int) {
	c.t.Helper()
	applied := map[rollout.SignalName]int{}
	for _, sig := range left.signals[s.ID] {
		if sig.Error == "" {
			applied[sig.Signal.Name]++
		}
	}
	for name, event := range map[rollout.SignalName]string{
		rollout.SignalPause: "RolloutPaused", rollout.SignalResume: "RolloutResumed", rollout.SignalPromote: "StepPromoted",
	} {
		if counts[event] != applied[name] {
			c.t.Errorf("%s: %d %s applied, %d %s in the history", s.Model, applied[name], name, counts[event], event)
		}
		if heard := count(c.person.heard, string(name)); s.Model == better && applied[name] < heard {
			c.t.Errorf("%s: %d %s were acknowledged, %d applied", s.Model, heard, name, applied[name])
		}
	}
}

func count(list []string, word string) (n int) {
	for _, w := range list {
		if w == word {
			n++
		}
	}
	return n
}

// checkRegistry wants the right version, and only that, in Production, with the aliases and the tags of its outcome.
func (c *round) checkRegistry(s rollout.State, snap mlflow.Snapshot) {
	c.t.Helper()
	type view struct {
		Production, Staging, Archived []string
		Aliases                       map[string]string
		Rollout, Outcome              string
	}
	got := view{Aliases: snap.Aliases}
	for stage, into := range map[model.Stage]*[]string{model.StageProduction: &got.Production, model.StageStaging: &got.Staging, model.StageArchived: &got.Archived} {
		for _, v := range snap.Stages[stage] {
			*into = append(*into, v.Version)
		}
	}
	challenger, ok := snap.Version("2")
	if !ok {
		c.t.Fatalf("%s has lost version 2", s.Model)
	}
	got.Rollout, got.Outcome = challenger.Tags[mlflow.TagRollout], challenger.Tags[mlflow.TagOutcome]
	want := view{Production: []string{"1"}, Staging: []string{"2"}, Aliases: map[string]string{}, Rollout: s.ID, Outcome: string(s.Phase)}
	switch {
	case s.Phase == rollout.Succeeded:
		want = view{
			Production: []string{"2"}, Archived: []string{"1"}, Rollout: s.ID, Outcome: "promoted",
			Aliases: map[string]string{mlflow.AliasChampion: "2", mlflow.AliasPrevious: "1"},
		}
	case s.Promoting: // the abort came when the registry may have been touched: it was put back
		want.Aliases, want.Staging = got.Aliases, got.Staging
		want.Archived, want.Outcome, want.Rollout = got.Archived, got.Outcome, got.Rollout
	case s.Phase == rollout.Aborted:
		want.Rollout, want.Outcome = "", "" // nobody has met it: nothing is written
	}
	if got.Aliases == nil {
		got.Aliases = map[string]string{}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		c.t.Errorf("registry of %s, %s (-want +got)\n%s", s.Model, s.Phase, diff)
	}
}

// checkRouting wants no canary, and the right champion by its pin.
func (c *round) checkRouting(s rollout.State) {
	c.t.Helper()
	doc := c.files.now(s.Model)
	champion := s.Pins.Champion
	if s.Phase == rollout.Succeeded {
		champion = s.Pins.Challenger
	}
	if s.Phase == rollout.Rejected || s.Phase == rollout.Aborted {
		if doc.CanaryEnabled {
			c.t.Errorf("%s, %s: the routing has a canary", s.Model, s.Phase)
		}
		return
	}
	if doc.CanaryEnabled || doc.CanaryPct != 0 || doc.ChampionPct != 100 || doc.Control == nil || doc.Control.Canary != nil || doc.Control.Champion != champion ||
		doc.Control.Rollout != s.ID || doc.RollbackAt.IsZero() == (s.Phase == rollout.RolledBack) {
		c.t.Errorf("%s, %s: routing %+v, control %+v, want no canary and champion %+v", s.Model, s.Phase, doc, doc.Control, champion)
	}
	if gone := c.files.disabledAt(s.Model); gone > 0 && c.files.enabledAfter(s.Model, gone) != nil {
		c.t.Errorf("%s, %s: the canary was taken away with generation %d and put back: %+v", s.Model, s.Phase, gone, c.files.enabledAfter(s.Model, gone))
	}
	if _, _, err := doc.Marshal(traffic.CompatExtended); err != nil {
		c.t.Errorf("%s: %v", s.Model, err)
	}
}

// checkTold wants every notice on both channels, one key a notice, and one line in the log of one life of the server.
func (c *round) checkTold(s rollout.State, left remains) {
	c.t.Helper()
	got, keys := c.told.messages()
	for _, channel := range []string{"hook", "log"} {
		notices := left.notices(s.ID, channel)
		if len(notices) < 2 {
			c.t.Errorf("%s: people were told %v on %s, want start and end", s.Model, notices, channel)
		}
		for event, status := range notices {
			if status != store.DeliveryDelivered {
				c.t.Errorf("%s: %s is %s on %s", s.Model, event, status, channel)
			}
		}
	}
	for event := range left.notices(s.ID, "hook") {
		name := s.ID + "/" + event
		if got[name] == 0 || keys[name] != 1 {
			c.t.Errorf("%s came %d times, with %d keys", name, got[name], keys[name])
		}
		c.hookDoubled += max(got[name]-1, 0)
		lives := 0
		for i, log := range c.logs {
			n := toldInLog(log)[name]
			if n > 1 {
				c.t.Errorf("%s was told %d times by life %d of the server", name, n, i+1)
			}
			lives += n
		}
		if lives == 0 {
			c.t.Errorf("%s is in no log", name)
		}
		c.logDoubled += max(lives-1, 0)
	}
	for name := range got {
		if strings.HasPrefix(name, s.ID+"/") && left.notices(s.ID, "hook")[strings.TrimPrefix(name, s.ID+"/")] == "" {
			c.t.Errorf("%s was told and is in no record", name)
		}
	}
}

// checkCustomers wants an answer for everybody.
func (c *round) checkCustomers(name string) {
	c.t.Helper()
	seen := c.customers[name].Snapshot().Total
	c.answers += int(seen.Answered)
	if seen.Failures != 0 || seen.Refused != 0 || seen.Answered < rate {
		c.t.Errorf("customers of %s: %d answers, %d failures, %d refused: %s", name, seen.Answered, seen.Failures, seen.Refused, seen.LastFailure)
	}
}
