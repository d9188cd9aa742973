package task

import (
	"context"
	"fmt"
	"time"

	"serin/internal/analysis"
)

// noRequests says, where no gateway can be asked, that no canary request was seen since a time; "" when one was.
func (u *run) noRequests(ctx context.Context, since time.Time) (string, error) {
	scrapes, err := u.Samples.Scrapes(ctx, u.state.Model, since, time.Now())
	if err != nil {
		return "", fmt.Errorf("read the samples of %s: %w", u.state.Model, err)
	}
	if canaryIncrease(scrapes) == 0 {
		return "no gateway is configured and no canary request was seen", nil
	}
	return "", nil
}

// notQuiet says that canary requests have not stopped since a time as far as the samples show; "" when the last two, both whole, have none between them.
func (u *run) notQuiet(ctx context.Context, since time.Time) (string, error) {
	scrapes, err := u.Samples.Scrapes(ctx, u.state.Model, since, time.Now())
	if err != nil {
		return "", fmt.Errorf("read the samples of %s: %w", u.state.Model, err)
	}
	if n := len(scrapes); n >= 2 && scrapes[n-2].Err == "" && scrapes[n-1].Err == "" {
		more := canaryIncrease(scrapes[n-2:])
		if more == 0 {
			return "", nil
		}
		return fmt.Sprintf("the routing is written; the canary still got %.0f requests between the last two samples", more), nil
	}
	return "the routing is written; no sample shows yet that canary requests have stopped", nil
}

// canaryIncrease adds, for every instance, what its canary counters grew by from scrape to scrape. The first sight of an instance is only a base.
func canaryIncrease(scrapes []analysis.Scrape) float64 {
	last, total := map[string]float64{}, 0.0
	for _, sc := range scrapes {
		for _, s := range sc.Samples {
			if s.Role != analysis.RoleCanary || s.Requests == nil {
				continue
			}
			key, n := s.Instance+"\x00"+s.Revision, 0.0
			for _, v := range s.Requests {
				n += float64(v)
			}
			if before, known := last[key]; known && n >= before {
				total += n - before
			} else if known {
				total += n
			}
			last[key] = n
		}
	}
	return total
}
