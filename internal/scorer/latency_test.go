package scorer

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// recorder remembers which rows it was given.
type recorder struct {
	rows []float64
	fail error
}

func (r *recorder) Info() Info   { return Info{Ref: "recorder"} }
func (r *recorder) Close() error { return nil }
func (r *recorder) Score(_ context.Context, f Frame) (Scores, error) {
	if f.N != 1 {
		return Scores{}, errors.New("not one row")
	}
	r.rows = append(r.rows, f.Values[0])
	return Scores{Values: []float32{0}, Width: 1}, r.fail
}

func TestMeasureLatency(t *testing.T) {
	t.Parallel()
	var clock time.Time
	tick := time.Duration(0)
	now := func() time.Time { // each call of the model takes 1 ms more than the one before
		tick += time.Millisecond / 2
		clock = clock.Add(tick)
		return clock
	}
	f := Frame{Columns: []string{"x"}, Values: []float64{0, 1, 2, 3, 4, 5}, N: 6}
	r := &recorder{}
	got, err := MeasureLatency(context.Background(), r, f, LatencyParams{Rows: 3, Warmup: 2, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	want := []time.Duration{3 * time.Millisecond, 4 * time.Millisecond, 5 * time.Millisecond}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("durations (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]float64{2, 1, 0, 2, 4}, r.rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	r.rows = nil
	if got, err := MeasureLatency(context.Background(), r, f, LatencyParams{Rows: 8}); err != nil || len(got) != 8 {
		t.Errorf("%d durations, %v, want 8", len(got), err)
	}
	if diff := cmp.Diff([]float64{0, 1, 2, 3, 4, 5, 0, 1}, r.rows); diff != "" {
		t.Errorf("more timings than rows (-want +got):\n%s", diff)
	}
	r.fail = errors.New("down")
	if _, err := MeasureLatency(context.Background(), r, f, LatencyParams{Rows: 1}); !errors.Is(err, r.fail) {
		t.Errorf("error %v, want the scorer's", err)
	}
	if _, err := MeasureLatency(context.Background(), r, Frame{}, LatencyParams{Rows: 1}); err == nil {
		t.Error("latency without rows")
	}
}
