package sampler

import "time"

// clock is the wall clock that never goes back: a step back would give two scrapes one time, and the judge refuses the second. Steps forward
// are followed. It belongs to one goroutine.
type clock struct {
	wall func() time.Time
	// read is when the clock was last read, with the monotonic reading; shown what it said then.
	read  time.Time
	shown time.Time
	// behind is how far the wall clock lies behind what is shown; told is what stepBack has reported.
	behind time.Duration
	told   bool
}

// stepNoise is a difference of two readings that is no step.
const stepNoise = 10 * time.Millisecond

func newClock(wall func() time.Time) *clock {
	return &clock{wall: wall, read: time.Now(), shown: wall().Round(0)}
}

func (c *clock) now() time.Time {
	read := time.Now()
	steady := c.shown.Add(read.Sub(c.read)) // the monotonic readings differ by the time that passed
	wall := c.wall().Round(0)
	c.read, c.behind, c.shown = read, steady.Sub(wall), steady
	if c.behind <= 0 {
		c.behind, c.shown = 0, wall
	}
	return c.shown
}

// stepBack returns how far the wall clock was set back, once a step.
func (c *clock) stepBack() time.Duration {
	if c.behind <= stepNoise {
		c.told = false
		return 0
	}
	if c.told {
		return 0
	}
	c.told = true
	return c.behind
}
