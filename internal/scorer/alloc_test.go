//go:build !race

package scorer

// Under the race detector sync.Pool throws away some of what it is given, on purpose; allocations are counted without it.

import (
	"context"
	"testing"
)

// TestScorePayloadAllocates holds that a steady form of request costs no allocation.
func TestScorePayloadAllocates(t *testing.T) {
	p := NewPayloadScorer(openPath(t, demo+"champion"))
	for name, body := range map[string][]byte{
		"split, one row": demoBody(t, formSplit, 1), "split, 50 rows": demoBody(t, formSplit, 50),
		"records, one row": demoBody(t, formRecords, 1), "records, 50 rows": demoBody(t, formRecords, 50),
	} {
		out := make([]byte, 0, 1<<12)
		allocations := testing.AllocsPerRun(200, func() {
			if _, err := p.ScorePayload(context.Background(), "application/json", body, out); err != nil {
				t.Fatal(err)
			}
		})
		if allocations != 0 {
			t.Errorf("%s: %v allocations a request, want 0", name, allocations)
		}
	}
}
