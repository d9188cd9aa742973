package app

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"serin/internal/config"
	"serin/internal/gateway"
	"serin/internal/planfile"
	"serin/internal/rollout"
	"serin/internal/routingfile"
	"serin/internal/traffic"
)

// served is what the app knows of one model: its configuration, its routing file and its plan.
type served struct {
	config.Model
	file *routingfile.File
	plan rollout.Plan
	// slots are the model servers of the backend `urls`, nil otherwise.
	slots []*gateway.URL
}

// catalog holds the models by name. Models of the embedded registry may come while the server runs.
type catalog struct {
	cfg config.Config
	mu  sync.Mutex
	all map[string]*served // guarded by mu
}

func newCatalog(cfg config.Config) *catalog { return &catalog{cfg: cfg, all: map[string]*served{}} }

// get gives a model, reading its plan on first use. A model that the configuration does not name has the defaults.
func (c *catalog) get(name string) (*served, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m, ok := c.all[name]; ok {
		return m, nil
	}
	entry, ok := c.cfg.Find(name)
	if !ok {
		entry = config.Model{Name: name, RoutingFile: config.DefaultRoutingFile, Backend: config.BackendInProcess, Failover: config.FailoverOn, OnControllerLost: config.LostChampion}
	}
	m := &served{Model: entry}
	var err error
	if m.plan, err = c.readPlan(name); err != nil {
		return nil, err
	}
	if m.file, err = c.openFile(name, m.plan); err != nil {
		return nil, err
	}
	if m.slots, err = openSlots(entry); err != nil {
		return nil, err
	}
	c.all[name] = m
	return m, nil
}

// readPlan reads the model's plan file. Without one the default plan is used, whose gate is off until data are given: such a plan cannot be started without a reason.
func (c *catalog) readPlan(name string) (rollout.Plan, error) {
	path := c.cfg.PlanPath(name)
	if path == "" {
		return rollout.DefaultPlan(name), nil
	}
	return ReadPlan(path)
}

// adopt takes the plan of a new rollout for a model whose configuration names none: its keys and its tick hold from now on.
func (c *catalog) adopt(plan rollout.Plan) {
	if c.cfg.PlanPath(plan.Model) != "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if m, ok := c.all[plan.Model]; ok {
		m.plan = plan
	}
}

// planOf is the plan in force for a model; the zero Plan for a model that is not known.
func (c *catalog) planOf(name string) rollout.Plan {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m, ok := c.all[name]; ok {
		return m.plan
	}
	return rollout.Plan{}
}

// ReadPlan reads a plan file; its relative paths are below its folder.
func ReadPlan(path string) (rollout.Plan, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return rollout.Plan{}, fmt.Errorf("read plan: %w", err)
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return rollout.Plan{}, fmt.Errorf("plan %s: %w", path, err)
	}
	return planfile.Parse(path, text, dir)
}

func (c *catalog) openFile(name string, plan rollout.Plan) (*routingfile.File, error) {
	path, err := filepath.Abs(c.cfg.RoutingPath(name))
	if err != nil {
		return nil, err
	}
	for other, m := range c.all {
		if m.file.Path() == path {
			return nil, fmt.Errorf("models %s and %s have one routing file, %s: give each a routing_file under models: in serin.yaml", other, name, path)
		}
	}
	return routingfile.New(routingfile.Options{Path: path, Compat: traffic.Compat(plan.Routing.Compat)})
}

func openSlots(m config.Model) ([]*gateway.URL, error) {
	var slots []*gateway.URL
	for _, url := range m.URLs {
		u, err := gateway.NewURL(gateway.URLOptions{URL: url, Identity: gateway.Identity(m.Identity), HealthPath: m.Identity.Path, Repeat: gateway.Failover(m.Failover)})
		if err != nil {
			return nil, fmt.Errorf("model %s: %w", m.Name, err)
		}
		slots = append(slots, u)
	}
	return slots, nil
}

// slots is the checker's view: the model servers of a model, nil without them.
func (c *catalog) slots(name string) []*gateway.URL {
	m, err := c.get(name)
	if err != nil {
		return nil
	}
	return m.slots
}

// names lists the models that are known so far.
func (c *catalog) names() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for name := range c.all {
		names = append(names, name)
	}
	return names
}

// mustJSON encodes what cannot fail to encode: maps of strings, numbers and lists.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
