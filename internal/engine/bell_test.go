package engine

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestIDs_SortInTheOrderDrawn(t *testing.T) {
	t.Parallel()
	var g ids
	base := time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)
	var drawn []string
	for _, step := range []time.Duration{0, 0, 0, time.Millisecond, -time.Hour, 0, time.Second, time.Hour} {
		for range 100 {
			drawn = append(drawn, g.next(base.Add(step)))
		}
	}
	if !slices.IsSorted(drawn) || len(slices.Compact(slices.Clone(drawn))) != len(drawn) {
		t.Error("ids do not sort in the order in which they were drawn")
	}
	for _, id := range drawn {
		if len(id) != 26 {
			t.Fatalf("id %q has %d characters", id, len(id))
		}
	}
	if drawn[0] == new(ids).next(base) {
		t.Error("two processes draw the same id")
	}
}

// TestEncodeULID has the example of the ULID specification and the ends of the range.
func TestEncodeULID(t *testing.T) {
	t.Parallel()
	var zero, full, ms [16]byte
	for i := range full {
		full[i] = 0xff
	}
	copy(ms[:], []byte{0x01, 0x56, 0x3d, 0xf3, 0x64, 0x81}) // 1469922850945
	for want, id := range map[string][16]byte{
		"00000000000000000000000000": zero, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ": full, "01ARYZ6S410000000000000000": ms,
	} {
		if got := encodeULID(id); got != want {
			t.Errorf("%x is %s, want %s", id, got, want)
		}
	}
}

func TestIDs_FromManyGoroutines(t *testing.T) {
	t.Parallel()
	var g ids
	var mu sync.Mutex
	seen := map[string]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				id := g.next(time.Now())
				mu.Lock()
				seen[id] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != 1600 {
		t.Errorf("%d different ids of 1600", len(seen))
	}
}

func TestBell(t *testing.T) {
	t.Parallel()
	var b bell
	b.ring("nobody listens")
	one, same, other := b.listen("a"), b.listen("a"), b.listen("b")
	b.ring("a")
	for _, ch := range []<-chan struct{}{one, same} {
		select {
		case <-ch:
		default:
			t.Error("a listener was not woken")
		}
	}
	select {
	case <-other:
		t.Error("a listener of another rollout was woken")
	case <-b.listen("a"):
		t.Error("a ring lasts")
	default:
	}
}

func TestSlots(t *testing.T) {
	t.Parallel()
	var s slots
	release, ok := s.take(t.Context(), "a", nil)
	if !ok {
		t.Fatal("a free slot was not given")
	}
	if freeB, ok := s.take(t.Context(), "b", nil); !ok {
		t.Error("the slot of another rollout is taken")
	} else {
		freeB()
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, ok := s.take(ended, "a", nil); ok {
		t.Error("a taken slot was given")
	}
	also := make(chan struct{})
	close(also)
	if _, ok := s.take(t.Context(), "a", also); ok {
		t.Error("a taken slot was given")
	}
	got := make(chan bool)
	go func() {
		free, ok := s.take(t.Context(), "a", nil)
		if ok {
			free()
		}
		got <- ok
	}()
	release()
	if !<-got {
		t.Error("a released slot was not given to who waits")
	}
	if _, ok := s.take(t.Context(), "a", nil); !ok {
		t.Error("the slot did not come back")
	}
}

func BenchmarkNextID(b *testing.B) {
	var g ids
	for b.Loop() {
		g.next(time.Now())
	}
}
