package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"strconv"
	"sync"
	"time"

	"serin/internal/routingfile"
	"serin/internal/sampler"
	"serin/internal/task"
	"serin/internal/traffic"
)

// askFor bounds how long one gateway may take to say its generation.
const askFor = 2 * time.Second

// router writes routing files and asks gateways which generation they route by.
type router struct {
	models *catalog
	// local gives the generation that the gateway in this process routes a model by; nil when there is none in this process.
	local func(name string) (int64, bool)
	peers []peer
}

// peer is a gateway in another process.
type peer struct {
	url     string
	scraper *sampler.Scraper
}

func newPeers(urls []string) ([]peer, error) {
	var peers []peer
	for _, u := range urls {
		s, err := sampler.NewScraper(sampler.ScraperOptions{URL: u})
		if err != nil {
			return nil, fmt.Errorf("gateways: %s: %w", u, err)
		}
		peers = append(peers, peer{u, s})
	}
	return peers, nil
}

// others leaves out the gateway at addr, which is in this process: listed among the others it would be counted twice.
func others(peers []peer, addr net.Addr) []peer {
	own, ok := addr.(*net.TCPAddr)
	if !ok {
		return peers
	}
	var out []peer
	for _, p := range peers {
		if !isAt(p.url, own) {
			out = append(out, p)
		}
	}
	return out
}

func isAt(address string, own *net.TCPAddr) bool {
	u, err := url.Parse(address)
	if err != nil || u.Port() != strconv.Itoa(own.Port) {
		return false
	}
	if u.Hostname() == "localhost" {
		return own.IP.IsLoopback() || own.IP.IsUnspecified()
	}
	ip := net.ParseIP(u.Hostname())
	return ip.Equal(own.IP) || own.IP.IsUnspecified() && ip.IsLoopback()
}

// Apply changes the document under the file's lock. A file that another writer broke is set aside by what gives the champion everything, which
// must not fail on it; nothing gives a canary traffic by a file that could not be read.
func (r *router) Apply(ctx context.Context, name string, change func(traffic.Document) (traffic.Document, error)) (traffic.Document, error) {
	m, err := r.models.claim(name)
	if err != nil {
		return traffic.Document{}, err
	}
	doc, err := m.file.Update(ctx, change)
	for range 5 {
		if !errors.Is(err, routingfile.ErrGeneration) {
			break
		}
		doc, err = m.file.Update(ctx, change)
	}
	if !errors.Is(err, routingfile.ErrBroken) {
		return doc, err
	}
	broken := err
	return m.file.Repair(ctx, func(prev traffic.Document) (traffic.Document, error) {
		next, err := change(prev)
		if err == nil && (next.CanaryEnabled || next.ProductionURI == "") {
			return prev, fmt.Errorf("%w: mend or remove it, its writer has the word", broken)
		}
		return next, err
	})
}

// Current reads the document; none at all is the zero Document.
func (r *router) Current(ctx context.Context, name string) (traffic.Document, error) {
	m, err := r.models.get(name)
	if err != nil {
		return traffic.Document{}, err
	}
	doc, err := m.file.Read(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return traffic.Document{}, nil
	}
	return doc, err
}

// Observe asks every gateway at once. One that does not answer is a view with an error.
func (r *router) Observe(ctx context.Context, name string) (task.Observation, error) {
	var o task.Observation
	if r.local != nil {
		view := task.GatewayView{Name: "in process"}
		generation, ok := r.local(name)
		if view.Generation = generation; !ok {
			view.Err = "does not serve " + name + " yet"
		}
		o.Gateways = append(o.Gateways, view)
	}
	views := make([]task.GatewayView, len(r.peers))
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	var wg sync.WaitGroup
	for i, p := range r.peers {
		wg.Go(func() {
			views[i].Name = p.url
			var err error
			if views[i].Generation, err = p.scraper.Generation(ctx, name); err != nil {
				views[i].Err = err.Error()
			}
		})
	}
	wg.Wait()
	o.Gateways = append(o.Gateways, views...)
	return o, nil
}
