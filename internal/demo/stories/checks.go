package stories

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"serin/internal/api"
	"serin/internal/rollout"
	"serin/internal/sampler"
	"serin/internal/traffic"
)

// roleCanary is the canary's role in headers and labels.
const roleCanary = "canary"

// enoughOfWanted is the share of the canary's customers that must have been seen there: one who was rescued, or has not come yet, is missing.
const enoughOfWanted = 0.8

// checkShare holds the customers' view against the weight, once a weight, from the middle of its bake: the customers on the canary are those
// whose bucket is the canary's.
func (t *telling) checkShare(ctx context.Context, r api.Rollout) error {
	if r.Judgement == nil || r.WeightPct == 0 || r.BakeFor == "" || t.shares[r.WeightPct] || r.Judgement.BakeDone || r.Phase.Ended() {
		return nil
	}
	bake, err := time.ParseDuration(r.BakeFor)
	if err != nil {
		return fmt.Errorf("rollout %s has weight %g without a bake: %w", t.id, r.WeightPct, err)
	}
	if bake == 0 || r.Judgement.Covered < bake/2 {
		return nil
	}
	t.shares[r.WeightPct] = true
	raw, err := t.client.State(ctx, t.id)
	if err != nil {
		return err
	}
	var s rollout.State
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("read the state of rollout %s: %w", t.id, err)
	}
	t.compareShare(r.WeightPct, s.Salt)
	return nil
}

// compareShare tells how many customers are on the canary, by their buckets and by chance, and who is there that must not be.
func (t *telling) compareShare(weight float64, salt string) {
	set, want := traffic.Percent(weight), 0
	mine := func(customer string) bool { return set.Has(traffic.Bucket(salt, customer)) }
	for _, customer := range t.rows.customers {
		if mine(customer) {
			want++
		}
	}
	share := t.player.Snapshot().Total.CanaryShare(weight)
	where := "inside"
	if !share.Within {
		where = "outside"
	}
	t.note("", whoCustomers, "%d of %d are on the canary, %d by their buckets; that is %s the 99.9 %% band of %g %%, %d to %d",
		share.Canary, share.Customers, want, where, weight, share.Low, share.High)
	if wrong := slices.DeleteFunc(t.player.OnCanary(), mine); len(wrong) > 0 {
		t.fault("%d customers are on the canary whose bucket is the champion's, such as %s", len(wrong), wrong[0])
	}
	if float64(share.Canary) < enoughOfWanted*float64(want) {
		t.fault("%d customers are on the canary, %d have its buckets", share.Canary, want)
	}
}

// How long in-flight answers may take after a rollback, and then how long nobody may meet the canary.
const (
	settleFor = 300 * time.Millisecond
	backFor   = 700 * time.Millisecond
)

// checkBack looks, after a rollback, whether customers still meet the canary.
func (t *telling) checkBack(ctx context.Context, r api.Rollout) error {
	if r.Phase != rollout.RolledBack {
		return nil
	}
	if err := pause(ctx, settleFor); err != nil {
		return err
	}
	t.player.Mark()
	if err := pause(ctx, backFor); err != nil {
		return err
	}
	after := t.player.Snapshot().Window
	if n := after.Roles[roleCanary]; n > 0 || after.Answered == 0 {
		t.fault("after the rollback %d of %d answers came from the canary", n, after.Answered)
	}
	return nil
}

// checkCustomers wants, once the traffic has stopped, that no customer saw a failure or a refusal.
func (t *telling) checkCustomers() {
	seen := t.player.Snapshot().Total
	t.out.Failures = seen.Failures
	if seen.Failures > 0 || seen.Refused > 0 {
		t.fault("customers saw %d failures and %d refusals in %d answers, the last: %s", seen.Failures, seen.Refused, seen.Answered, seen.LastFailure)
	}
}

// How long the samples may take to hold what the gateway has counted, and how often they are looked at.
const (
	samplesWithin = 10 * time.Second
	samplesEvery  = 15 * time.Second / tickFactor / 2
)

// reconcile holds three counts against each other, once the traffic has stopped: what customers were answered, what the gateway counted, and what
// the sampler stored.
func (t *telling) reconcile(ctx context.Context, r api.Rollout) error {
	counted, err := t.counters(ctx)
	if err != nil {
		return err
	}
	faults := len(t.out.Faults)
	if err := t.checkStored(ctx, counted.requests); err != nil {
		return err
	}
	seen := t.player.Snapshot().Total
	want := t.answers(counted, r)
	for _, version := range unionOf(want, seen.Versions) {
		if seen.Versions[version] != want[version] {
			t.fault("customers got %d answers of version %s, the gateway's counters say %d", seen.Versions[version], version, want[version])
		}
	}
	t.countCanary(counted)
	if len(t.out.Faults) == faults {
		t.note("", whoDemo, "counts agree: customers got %s; gateway and samples have the same, with %d rescues by the champion",
			perVersion(seen.Versions), counted.rescues-t.before.rescues)
	}
	return nil
}

// checkStored waits until the samples hold what the gateway has counted. What they do not hold in time is a fault.
func (t *telling) checkStored(ctx context.Context, counted map[string]int64) error {
	within := t.samplesWithin
	if within == 0 {
		within = samplesWithin
	}
	deadline := time.Now().Add(within)
	for {
		stored, err := t.stored(ctx)
		if err != nil {
			return err
		}
		differ := slices.DeleteFunc(unionOf(counted, stored), func(key string) bool { return counted[key] == stored[key] })
		if len(differ) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			for _, key := range differ {
				t.fault("the gateway counted %d requests of %s, the samples hold %d", counted[key], key, stored[key])
			}
			return nil
		}
		if err := pause(ctx, samplesEvery); err != nil {
			return err
		}
	}
}

// countCanary fills in how many requests the canary got. One that is rejected must not get any, any other must.
func (t *telling) countCanary(counted counters) {
	for key, n := range counted.requests {
		if role, _, _ := strings.Cut(key, " "); role == roleCanary {
			t.out.CanaryRequests += n - t.before.requests[key]
		}
	}
	if rejected := t.story.wanted == rollout.Rejected; rejected != (t.out.CanaryRequests == 0) {
		t.fault("the canary got %d requests", t.out.CanaryRequests)
	}
}

func unionOf(a, b map[string]int64) []string {
	keys := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(keys)
	return slices.Compact(keys)
}

func perVersion(answers map[string]int64) string {
	var parts []string
	for _, version := range slices.Sorted(maps.Keys(answers)) {
		parts = append(parts, fmt.Sprintf("%d answers of version %s", answers[version], version))
	}
	return strings.Join(parts, " and ")
}

// answers is what customers must have got of each version since the story began: what the gateway assigned to it, less the canary's failures that
// the champion answered.
func (t *telling) answers(counted counters, r api.Rollout) map[string]int64 {
	want := map[string]int64{}
	for key, n := range counted.requests {
		_, version, _ := strings.Cut(key, " ")
		if n -= t.before.requests[key]; n != 0 {
			want[version] += n
		}
	}
	if rescued := counted.rescues - t.before.rescues; rescued > 0 {
		want[r.Challenger.Version] -= rescued
		want[r.Champion.Version] += rescued
	}
	return want
}

// counters are those of the customers' gateway for one model since it started: requests by "ROLE REVISION", and how many of the canary's the
// champion answered.
type counters struct {
	requests map[string]int64
	rescues  int64
}

var errCounts = errors.New("the counts could not be read")

// counters reads the customers' gateway.
func (t *telling) counters(ctx context.Context) (counters, error) {
	c := counters{requests: map[string]int64{}}
	scraper, err := sampler.NewScraper(sampler.ScraperOptions{URL: t.gateway})
	if err != nil {
		return c, fmt.Errorf("%w: %w", errCounts, err)
	}
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	series, err := scraper.Series(ctx)
	if err != nil {
		return c, fmt.Errorf("%w: %w", errCounts, err)
	}
	for _, one := range series {
		if one.Labels["model"] != t.story.model || one.Value == 0 {
			continue
		}
		switch one.Name {
		case "http_requests_total":
			c.requests[one.Labels["version"]+" "+one.Labels["revision"]] += int64(one.Value)
		case "serin_gateway_rescues_total":
			c.rescues += int64(one.Value)
		}
	}
	return c, nil
}

// embedded is the instance of the server's own gateway, which no customer of the demo uses.
const embedded = "serin serve"

// stored is what the samples hold of the customers' gateway: the last count of each role and revision.
func (t *telling) stored(ctx context.Context) (map[string]int64, error) {
	scrapes, err := t.client.Samples(ctx, t.story.model)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCounts, err)
	}
	last := map[string]int64{}
	for _, sc := range scrapes {
		for _, s := range sc.Samples {
			n := int64(0)
			for _, v := range s.Requests {
				n += int64(v)
			}
			if key := string(s.Role) + " " + s.Revision; n > 0 && s.Instance != embedded {
				last[key] = max(last[key], n)
			}
		}
	}
	return last, nil
}
