package task

import (
	"context"
	"time"

	"serin/internal/analysis"
)

// canaryRequests counts the canary's requests in the scrapes since a time, by instance, resets included.
func (u *run) canaryRequests(ctx context.Context, since time.Time) (float64, error) {
	scrapes, err := u.Samples.Scrapes(ctx, u.state.Model, since, time.Now())
	if err != nil {
		return 0, err
	}
	return canaryIncrease(scrapes), nil
}

// canaryIncrease adds, for every instance, what its canary counters grew by from scrape to scrape. The first sight of an instance is only a base.
func canaryIncrease(scrapes []analysis.Scrape) float64 {
	last, total := map[string]float64{}, 0.0
	for _, sc := range scrapes {
		for _, s := range sc.Samples {
			if s.Role != analysis.RoleCanary {
				continue
			}
			n := 0.0
			for _, v := range s.Requests {
				n += float64(v)
			}
			if before, known := last[s.Instance]; known && n >= before {
				total += n - before
			} else if known {
				total += n
			}
			last[s.Instance] = n
		}
	}
	return total
}
