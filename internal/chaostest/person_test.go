package chaostest

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"serin/internal/api"
)

// scripts are what a person says to the better challenger's rollout in a round, in order.
var scripts = [][]string{
	nil, {"pause", "resume"}, {"promote"}, {"pause", "resume", "promote"}, {"promote", "pause", "resume", "promote"}, {"abort"},
}

// insists is how often a word is said that the rollout, as it stands, cannot take: its time may come.
const insists = 5

// person says a script to one rollout, by API or by command while the server is dead, until each word was heard or refused.
type person struct {
	w     *world
	id    string
	words []string
	// heard are the words that were acknowledged; unsure is set once a call ended without an answer: it may have been heard.
	heard  []string
	unsure bool
	// refused counts how often the next word was.
	refused int
}

// speak says the next word to a server that lives, at a random moment; one that is killed meanwhile has perhaps heard it.
func (p *person) speak(ctx context.Context, rng *rand.Rand, server *process) {
	if len(p.words) == 0 {
		return
	}
	select {
	case <-server.ready:
	case <-server.ended:
		return
	}
	select {
	case <-time.After(time.Duration(rng.Int64N(int64(time.Second)))):
	case <-server.ended:
		return
	}
	p.say(ctx)
}

func (p *person) say(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := p.w.client.Act(ctx, p.id, p.words[0], api.ActionRequest{Reason: "chaos"})
	refused, answered := errors.AsType[*api.StatusError](err)
	switch {
	case err == nil:
		p.done(true)
	case answered && refused.Status < 500:
		p.done(false)
	default:
		p.unsure = true // said again later
	}
}

// speakToTheDead says the next word by the command, which works on the store of the dead server.
func (p *person) speakToTheDead(ctx context.Context) {
	if len(p.words) == 0 {
		return
	}
	_, stderr, code := p.w.command(ctx, p.words[0], p.id, "--reason", "chaos")
	if code > 1 {
		p.w.t.Errorf("serin %s on the store of a dead server: exit code %d: %s", p.words[0], code, stderr)
	}
	p.done(code == 0)
}

func (p *person) done(heard bool) {
	if heard {
		p.heard = append(p.heard, p.words[0])
	} else if p.refused++; p.refused < insists {
		return
	}
	p.words, p.refused = p.words[1:], 0
}

// aborted says whether the rollout must have ended by the abort, and whether it may have.
func (p *person) aborted() (must, may bool) {
	must = slices.Contains(p.heard, "abort")
	return must, must || p.unsure
}
