package chaostest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"serin/internal/demo"
	"serin/internal/demo/faulty"
)

// killsInAll is how often TestChaosServer kills, unless SERIN_CHAOS_KILLS says so; SERIN_CHAOS_SEED repeats a run.
const killsInAll = 6

// perRound is how often a round's server is killed at most.
const perRound = 6

// figures are what a run came to.
type figures struct {
	kills, rounds, rollouts int
	// struck counts kills by the point that they were meant for, hit those that really fell there.
	struck, hit map[point]int
	ends        map[string]int
	// doubled are notices that came again, with the same key, because the kill fell between message and record.
	hookDoubled, logDoubled int
	stages, answers         int
	words                   map[string]int
}

// TestChaosServer kills a server with kill -9 again and again while it drives a rollout to its promotion, one to its rejection and one to its
// rollback, while a person pauses, promotes or aborts. Whatever the moment: each rollout ends as it must, once, and no customer notices.
func TestChaosServer(t *testing.T) {
	t.Parallel()
	kills, seed := number(t, "SERIN_CHAOS_KILLS", killsInAll), number(t, "SERIN_CHAOS_SEED", int(time.Now().UnixNano()%1e9))
	f := &figures{struck: map[point]int{}, hit: map[point]int{}, ends: map[string]int{}, words: map[string]int{}}
	began := time.Now()
	for f.kills < kills && !t.Failed() {
		t.Run(fmt.Sprintf("seed %d", seed+f.rounds), func(t *testing.T) {
			c := &round{world: open(t, better, poor, failing), figures: f, rng: rand.New(rand.NewPCG(uint64(seed+f.rounds), 1))}
			c.run(min(perRound, kills-f.kills))
		})
		f.rounds++
	}
	t.Logf("%d kills in %d rounds, %s: %d rollouts ended %v, %d bakes replayed, %d answers to customers; words heard %v; messages told again: webhook %d, log %d",
		f.kills, f.rounds, time.Since(began).Round(time.Second), f.rollouts, f.ends, f.stages, f.answers, f.words, f.hookDoubled, f.logDoubled)
	for _, at := range []point{atRandom, atStart, afterRouting, afterStage, whileTelling} {
		t.Logf("killed %s: %d, hit %d", at, f.struck[at], f.hit[at])
	}
}

func number(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q: give a number above 0", variable, text)
	}
	return n
}

// round is one world, from the start of its rollouts to their ends.
type round struct {
	*world
	*figures
	rng    *rand.Rand
	files  *routings
	person *person
	// ids are the rollouts by model, logs what each life of the server has said.
	ids       map[string]string
	logs      []string
	customers map[string]*demo.Player
}

func (c *round) run(kills int) {
	c.t.Helper()
	c.files = c.follow()
	server, gateway, customers := c.begin()
	c.customers, c.ids = customers, map[string]string{}
	if err := c.slots[1].SetFaults(faulty.Faults{FailShare: 0.3}); err != nil {
		c.t.Fatal(err)
	}
	points := c.points(kills)
	if points[0] == atStart {
		server = c.killAtStart(server)
		points = points[1:]
	}
	c.startAll()
	c.person = &person{w: c.world, id: c.ids[better], words: slices.Clone(scripts[c.rng.IntN(len(scripts))])}
	for _, at := range points {
		if c.over() {
			break
		}
		server = c.kill(server, at)
	}
	c.finish(server)
	gateway.stop(c.t)
}

// points are the moments of a round: the promotion's last, because it comes last.
func (c *round) points(kills int) []point {
	list := []point{afterRouting, atRandom, whileTelling, afterRouting, afterStage}
	if c.rng.IntN(2) == 0 {
		list = append([]point{atStart}, list...)
	} else {
		list = append([]point{atRandom}, list...)
	}
	middle := list[1 : len(list)-1]
	c.rng.Shuffle(len(middle), func(i, j int) { middle[i], middle[j] = middle[j], middle[i] })
	return list[:min(kills, len(list))]
}

// killAtStart kills the server while it is asked to start the rollouts, and starts it again.
func (c *round) killAtStart(server *process) *process {
	c.t.Helper()
	var wg sync.WaitGroup
	for _, name := range c.models {
		wg.Go(func() { _, _ = c.start(name) }) // what became of it is found out by asking again
	}
	timer := time.NewTimer(time.Duration(c.rng.Int64N(int64(30 * time.Millisecond))))
	<-timer.C
	server.kill()
	wg.Wait()
	c.count(server, atStart)
	return c.serve()
}

// startAll asks again for the same rollouts, by the same keys.
func (c *round) startAll() {
	c.t.Helper()
	for _, name := range c.models {
		id, err := c.start(name)
		if err != nil {
			c.t.Fatalf("start %s: %v", name, err)
		}
		c.ids[name] = id
	}
}

// kill kills the server at a point while a person speaks, looks at what is left, and starts it again.
func (c *round) kill(server *process, at point) *process {
	c.t.Helper()
	var wg sync.WaitGroup
	if c.rng.IntN(2) == 0 {
		draw := rand.New(rand.NewPCG(c.rng.Uint64(), 2))
		wg.Go(func() { c.person.speak(c.t.Context(), draw, server) })
	}
	came := c.strike(server, at, c.files, c.rng)
	wg.Wait()
	if !came {
		c.t.Logf("no moment %s came", at)
		at = atRandom
	}
	c.count(server, at)
	if c.rng.IntN(2) == 0 {
		c.person.speakToTheDead(c.t.Context())
	}
	if c.rng.IntN(3) == 0 {
		return c.spawn("serve") // the next kill may find it starting
	}
	return c.serve()
}

// count looks at what the kill has left.
func (c *round) count(server *process, at point) {
	c.t.Helper()
	c.kills++
	c.struck[at]++
	c.logs = append(c.logs, server.errs.String())
	left := c.autopsy()
	told, _ := c.told.messages()
	if left.proves(at, c.files, told) {
		c.hit[at]++
	}
	for _, fault := range left.faults() {
		c.t.Errorf("after kill %d %s: %s", c.kills, at, fault)
	}
}

// over says whether every rollout has ended.
func (c *round) over() bool {
	left := c.autopsy()
	for _, name := range c.models {
		if s, ok := left.row(name); !ok || !s.Phase.Ended() {
			return false
		}
	}
	return true
}
