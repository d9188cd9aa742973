package scorer

import (
	"context"
	"errors"
	"time"
)

// LatencyParams say how one-row scoring is timed.
type LatencyParams struct {
	// Rows is the number of timings; rows are taken evenly over the frame, and again from its start when there are fewer.
	Rows int
	// Warmup is the number of rows scored before the first timing: a first request opens a connection, a first call fills caches.
	Warmup int
	// Now is the clock, time.Now when nil. It must be monotonic.
	Now func() time.Time
}

// MeasureLatency times Rows calls of one row each, one after another, and gives their durations in that order. The time is what a caller waits:
// binding included, and over HTTP the request with its retries.
func MeasureLatency(ctx context.Context, sc Scorer, f Frame, p LatencyParams) ([]time.Duration, error) {
	if f.N == 0 {
		return nil, errors.New("no rows to measure latency on")
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	now := p.Now
	if now == nil {
		now = time.Now
	}
	durations := make([]time.Duration, 0, p.Rows)
	for i := -p.Warmup; i < p.Rows; i++ {
		row := evenly(i, p.Rows, f.N)
		one := f.slice(row, row+1)
		begin := now()
		_, err := sc.Score(ctx, one)
		took := now().Sub(begin)
		if err != nil {
			return nil, err
		}
		if i >= 0 {
			durations = append(durations, took)
		}
	}
	return durations, nil
}

// evenly spreads the i-th of n picks over rows, from the start again when there are fewer rows.
func evenly(i, n, rows int) int {
	switch {
	case i < 0:
		return (-i) % rows
	case n <= rows:
		return int(int64(i) * int64(rows) / int64(n))
	}
	return i % rows
}
