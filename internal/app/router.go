package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"serin/internal/routingfile"
	"serin/internal/sampler"
	"serin/internal/task"
	"serin/internal/traffic"
)

// router writes routing files and asks gateways which generation they route by.
type router struct {
	models *catalog
	// local gives the generation that the gateway in this process routes a model by; nil when there is none in this process.
	local func(name string) (int64, bool)
	urls  []string
}

// Apply changes the document under the file's lock. A file that another writer broke is set aside by a rollback, which must not fail on it.
func (r *router) Apply(ctx context.Context, name string, change func(traffic.Document) (traffic.Document, error)) (traffic.Document, error) {
	m, err := r.models.get(name)
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
	if errors.Is(err, routingfile.ErrBroken) {
		return m.file.Repair(ctx, change)
	}
	return doc, err
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

// Observe asks every gateway. One that does not answer is a view with an error.
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
	for _, url := range r.urls {
		view := task.GatewayView{Name: url}
		generation, err := r.ask(ctx, url, name)
		if err != nil {
			view.Err = err.Error()
		}
		view.Generation = generation
		o.Gateways = append(o.Gateways, view)
	}
	return o, nil
}

// ask reads serin_routing_generation{model} of one gateway.
func (r *router) ask(ctx context.Context, url, name string) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	scraper, err := sampler.NewScraper(sampler.ScraperOptions{URL: url})
	if err != nil {
		return 0, err
	}
	series, err := scraper.Series(ctx)
	if err != nil {
		return 0, err
	}
	for _, one := range series {
		if one.Name == "serin_routing_generation" && one.Labels["model"] == name {
			return int64(one.Value), nil
		}
	}
	return 0, fmt.Errorf("does not serve %s yet", name)
}
