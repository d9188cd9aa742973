// Package demo plays the customers of a model: steady traffic through the gateways, and what those customers saw. It never looks behind the
// gateway, so its figures are the users' view and can be held against the server's.
package demo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxPassed bounds the search for a row whose customer is not waiting.
const maxPassed = 1000

// Resend says what a customer does when the connection breaks under a request.
type Resend string

// The ways of resending. Scoring has no side effects, so ResendBroken is what a careful client does; each resend is counted.
const (
	ResendNever  Resend = "never"
	ResendBroken Resend = "broken"
)

// PlayParams describe the traffic.
type PlayParams struct {
	// URLs are the gateways' base addresses. A customer takes the first that accepts the connection.
	URLs []string
	// Model asks at /models/NAME/invocations; "" at /invocations.
	Model string
	// Columns name the values of each row; Rows are sent in order, again from the first after the last, one row a request.
	Columns []string
	Rows    [][]float64
	// Customers[i] sends Rows[i], in the header KeyHeader (X-Customer-Id when empty). A customer waits for his answer before he sends again, so
	// that his sides are seen in their order: rows of one who is still waiting are passed over.
	Customers []string
	KeyHeader string
	// RatePerSecond is kept whatever the answers take, as long as one of Workers (16 when 0) is free; what finds none is skipped and counted.
	RatePerSecond float64
	Workers       int
	// Timeout bounds one request (5 s when 0); longer is a failure that the customer saw.
	Timeout time.Duration
	Resend  Resend
	// Transport carries the requests; nil is one of the player's own.
	Transport http.RoundTripper
}

// Player is traffic that is being played. It owns its goroutines, which end after the context of Play does; Wait waits for them.
type Player struct {
	params PlayParams
	client *http.Client
	// fresh makes a new connection for each request; what broke is sent again by it.
	fresh *http.Client
	// targets are the full addresses, prefix and suffix the JSON around a row.
	targets        []string
	prefix, suffix string

	queue chan int
	done  chan struct{}

	// cursor is the next row; only pace uses it.
	cursor int

	mu     sync.Mutex // guards what follows
	total  *tally
	window *tally
	// waiting are the customers with a request that is not answered yet.
	waiting map[string]bool
}

// Play starts the traffic. It goes on until ctx ends; requests that are then in flight are still answered and counted.
func Play(ctx context.Context, p PlayParams) (*Player, error) {
	p.KeyHeader = or(p.KeyHeader, "X-Customer-Id")
	p.Resend = or(p.Resend, ResendNever)
	p.Workers = or(p.Workers, 16)
	p.Timeout = or(p.Timeout, 5*time.Second)
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("play traffic: %w", err)
	}
	player := &Player{params: p, queue: make(chan int, p.Workers), done: make(chan struct{}), total: newTally(), window: newTally(), waiting: map[string]bool{}}
	player.prefix, player.suffix = envelope(p.Columns)
	path := "/invocations"
	if p.Model != "" {
		path = "/models/" + url.PathEscape(p.Model) + path
	}
	for _, base := range p.URLs {
		player.targets = append(player.targets, strings.TrimRight(base, "/")+path)
	}
	if p.Transport == nil {
		p.Transport = &http.Transport{MaxIdleConnsPerHost: p.Workers, IdleConnTimeout: 4 * time.Second}
	}
	player.client = &http.Client{Transport: p.Transport}
	player.fresh = player.client
	if t, ok := p.Transport.(*http.Transport); ok {
		unkept := t.Clone()
		unkept.DisableKeepAlives = true
		player.fresh = &http.Client{Transport: unkept}
	}
	go player.run(ctx)
	return player, nil
}

func or[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

func (p PlayParams) check() error {
	switch {
	case len(p.URLs) == 0:
		return errors.New("no gateway to send to: give its URL")
	case len(p.Rows) == 0:
		return errors.New("no rows to send")
	case len(p.Customers) != len(p.Rows):
		return fmt.Errorf("%d customers for %d rows: each row has one", len(p.Customers), len(p.Rows))
	case p.RatePerSecond <= 0 || p.RatePerSecond > 1e5 || math.IsNaN(p.RatePerSecond):
		return fmt.Errorf("%v requests a second: use a rate above 0, at most 100000", p.RatePerSecond)
	case p.Workers < 1 || p.Workers > 10_000:
		return fmt.Errorf("%d workers: use 1 to 10000", p.Workers)
	case p.Resend != ResendNever && p.Resend != ResendBroken:
		return fmt.Errorf("resend %q: use never or broken", p.Resend)
	}
	for i, row := range p.Rows {
		if len(row) != len(p.Columns) {
			return fmt.Errorf("row %d has %d values for %d columns", i, len(row), len(p.Columns))
		}
		for j, v := range row {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return fmt.Errorf("row %d has %v in column %s, which JSON cannot carry", i, v, p.Columns[j])
			}
		}
	}
	return nil
}

// Wait returns when the traffic has ended and every answer is counted.
func (p *Player) Wait() { <-p.done }

// run owns the workers and paces them.
func (p *Player) run(ctx context.Context) {
	defer close(p.done)
	var workers sync.WaitGroup
	for range p.params.Workers {
		workers.Go(func() {
			for i := range p.queue {
				p.ask(ctx, i)
			}
		})
	}
	p.pace(ctx)
	close(p.queue)
	workers.Wait()
	p.client.CloseIdleConnections()
}

// pace hands out as many requests as are due by the clock, so that a late tick is made up for and the rate does not depend on the answers.
func (p *Player) pace(ctx context.Context) {
	interval := max(time.Duration(float64(time.Second)/p.params.RatePerSecond), 2*time.Millisecond)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	began, handed := time.Now(), 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for due := int(time.Since(began).Seconds() * p.params.RatePerSecond); handed < due; handed++ {
			p.hand()
		}
	}
}

// hand gives the next row to a worker, or counts that there was none to give or to take it.
func (p *Player) hand() {
	i, ok := p.next()
	if ok {
		select {
		case p.queue <- i:
			return
		default:
			p.release(p.params.Customers[i])
		}
	}
	p.count(func(t *tally) { t.skipped++ })
}

// next finds the next row whose customer is not waiting, and makes him wait.
func (p *Player) next() (row int, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range min(len(p.params.Rows), maxPassed) {
		i := p.cursor
		p.cursor = (p.cursor + 1) % len(p.params.Rows)
		if customer := p.params.Customers[i]; !p.waiting[customer] {
			p.waiting[customer] = true
			return i, true
		}
	}
	return 0, false
}

func (p *Player) release(customer string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, customer)
}

// count changes both tallies under the lock.
func (p *Player) count(change func(*tally)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p.total)
	change(p.window)
}

// Mark begins a new window: Snapshot's Window counts from here.
func (p *Player) Mark() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.window = newTally()
}

// Snapshot is what the customers have seen so far.
func (p *Player) Snapshot() Snapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Snapshot{Total: p.total.seen(), Window: p.window.seen()}
}

// OnCanary lists the customers whose last prediction came from the canary, in the order of their names.
func (p *Player) OnCanary() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var customers []string
	for customer, side := range p.total.sides {
		if side == roleCanary {
			customers = append(customers, customer)
		}
	}
	slices.Sort(customers)
	return customers
}

// envelope is the JSON of dataframe_split around the values of one row.
func envelope(columns []string) (prefix, suffix string) {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = quoteJSON(c)
	}
	return `{"dataframe_split":{"columns":[` + strings.Join(names, ",") + `],"data":[[`, `]]}}`
}

func (p *Player) body(row []float64) string {
	b := make([]byte, 0, len(p.prefix)+len(p.suffix)+12*len(row))
	b = append(b, p.prefix...)
	for i, v := range row {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendFloat(b, v, 'g', -1, 64)
	}
	return string(append(b, p.suffix...))
}
