package stories

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"serin/internal/api"
	"serin/internal/rollout"
	"serin/internal/sampler"
	"serin/internal/traffic"
)

// passOn tells the new lines of the rollout's log. Of the ticks of a bake only those that say something new are told.
func (t *telling) passOn(ctx context.Context) error {
	lines, err := t.client.Logs(ctx, t.id, "", t.seen)
	if err != nil {
		return err
	}
	for _, l := range lines {
		t.seen = l.Seq
		if strings.HasPrefix(l.Task, "monitor_") && strings.Contains(l.Line, " continue ") && l.Seq%8 != 0 || strings.TrimSpace(l.Line) == "" {
			continue
		}
		t.say("%-24s %s", l.Task, l.Line)
	}
	return nil
}

// checkShare holds the customers' view against the weight, once a stage: the customers on the canary are exactly those whose bucket is the canary's.
func (t *telling) checkShare(ctx context.Context, r api.Rollout) error {
	if r.Judgement == nil || r.WeightPct == 0 || t.shares[r.WeightPct] || r.Judgement.BakeDone || r.Phase.Ended() {
		return nil
	}
	bake, err := time.ParseDuration(r.BakeFor)
	if err != nil || r.Judgement.Covered < bake/2 {
		return nil
	}
	t.shares[r.WeightPct] = true
	raw, err := t.client.State(ctx, t.id)
	if err != nil {
		return err
	}
	var s rollout.State
	if err := json.Unmarshal(raw, &s); err != nil {
		return err
	}
	seen := t.player.Snapshot().Total
	share := seen.CanaryShare(r.WeightPct)
	set, want := traffic.Percent(r.WeightPct), 0
	for _, customer := range unique(t.rows.customers) {
		if set.Has(traffic.Bucket(s.Salt, customer)) {
			want++
		}
	}
	where := "inside"
	if !share.Within {
		where = "outside"
	}
	t.say("%d of %d customers are on the canary, %d by their buckets; that is %s the 99.9 %% band of %g %%, %d to %d", share.Canary, share.Customers, want, where, r.WeightPct, share.Low, share.High)
	// A customer who was rescued, or who has not come yet, is missing here; nobody may be there whose bucket is the champion's.
	if share.Canary > want || float64(share.Canary) < 0.8*float64(want) {
		t.fault("%d customers are on the canary, %d have its buckets", share.Canary, want)
	}
	return nil
}

func unique(list []string) []string {
	seen, out := map[string]bool{}, []string(nil)
	for _, v := range list {
		if !seen[v] {
			seen[v], out = true, append(out, v)
		}
	}
	return out
}

// reconcile stops the traffic and holds three counts against each other: what customers were answered, what the gateway counted, what the sampler stored.
func (t *telling) reconcile(ctx context.Context, r api.Rollout) error {
	t.stop()
	if err := pause(ctx, 3*15*time.Second/tickFactor); err != nil {
		return err
	}
	counted, rescues, err := t.counters(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", errCounts, err)
	}
	stored, err := t.stored(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", errCounts, err)
	}
	for key, n := range counted {
		if stored[key] != n {
			t.fault("the gateway counted %d requests of %s, the samples hold %d", n, key, stored[key])
		}
	}
	seen := t.player.Snapshot().Total
	for version, n := range t.answers(counted, rescues, r) {
		if seen.Versions[version] != n {
			t.fault("customers got %d answers of version %s, the gateway's counters say %d", seen.Versions[version], version, n)
		}
	}
	if len(t.out.Faults) == 0 {
		t.say("counts agree: customers' answers by version %v = gateway %v with %d rescues = samples", seen.Versions, counted, rescues)
	}
	return nil
}

// answers is what customers must have got of each version since the story began: what the gateway assigned to it, less the canary's failures that the champion answered.
func (t *telling) answers(counted map[string]int64, rescues int64, r api.Rollout) map[string]int64 {
	want := map[string]int64{}
	for key, n := range counted {
		_, version, _ := strings.Cut(key, " ")
		if n -= t.before[key]; n != 0 {
			want[version] += n
		}
	}
	if rescued := rescues - t.rescues; rescued > 0 {
		want[r.Challenger.Version] -= rescued
		want[r.Champion.Version] += rescued
	}
	return want
}

// counters reads the customers' gateway: requests by role and revision, and rescues.
func (t *telling) counters(ctx context.Context) (byVersion map[string]int64, rescues int64, err error) {
	scraper, err := sampler.NewScraper(sampler.ScraperOptions{URL: t.gateway})
	if err != nil {
		return nil, 0, err
	}
	series, err := scraper.Series(ctx)
	if err != nil {
		return nil, 0, err
	}
	byVersion = map[string]int64{}
	for _, one := range series {
		if one.Labels["model"] != t.model || one.Value == 0 {
			continue
		}
		switch one.Name {
		case "http_requests_total":
			byVersion[one.Labels["version"]+" "+one.Labels["revision"]] += int64(one.Value)
		case "serin_gateway_rescues_total":
			rescues += int64(one.Value)
		}
	}
	return byVersion, rescues, nil
}

// stored adds up the samples of the customers' gateway: the last count of each role and revision.
func (t *telling) stored(ctx context.Context) (map[string]int64, error) {
	scrapes, err := t.client.Samples(ctx, t.model)
	if err != nil {
		return nil, err
	}
	last := map[string]int64{}
	for _, sc := range scrapes {
		for _, s := range sc.Samples {
			if s.Instance == "serin serve" {
				continue
			}
			n := int64(0)
			for _, v := range s.Requests {
				n += int64(v)
			}
			key := string(s.Role) + " " + s.Revision
			last[key] = max(last[key], n)
		}
	}
	return last, nil
}
