package app

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"serin/internal/config"
	"serin/internal/gateway"
	"serin/internal/planfile"
	"serin/internal/rollout"
	"serin/internal/routingfile"
	"serin/internal/traffic"
)

// served is what the app knows of one model. It is never changed once it is in the catalog: what changes is replaced by a copy.
type served struct {
	config.Model
	file *routingfile.File
	// plan is what a start takes that brings none. inForce is that of the model's newest rollout, by which its requests are told apart and its
	// samples are taken; a rollout ends under the plan that it started with.
	plan, inForce rollout.Plan
	// slots are the model servers of the backend `urls`, nil otherwise.
	slots []*gateway.URL
	// claimed says that the routing file is this model's and no other's.
	claimed bool
}

// catalog holds the models by name. Models of the embedded registry may come while the server runs.
type catalog struct {
	cfg config.Config
	mu  sync.Mutex
	all map[string]*served // guarded by mu
}

func newCatalog(cfg config.Config) *catalog { return &catalog{cfg: cfg, all: map[string]*served{}} }

// get gives a model, reading its plan on first use. A model that the configuration does not name has the defaults; it is not kept until it is
// claimed, so that a mistyped name leaves nothing behind.
func (c *catalog) get(name string) (*served, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.find(name)
}

func (c *catalog) find(name string) (*served, error) {
	if m, ok := c.all[name]; ok {
		return m, nil
	}
	entry, configured := c.cfg.Find(name)
	if !configured {
		entry = defaultModel(name, config.DefaultRoutingFile)
	}
	m := &served{Model: entry}
	var err error
	if m.plan, err = c.readPlan(name); err != nil {
		return nil, err
	}
	m.inForce = m.plan
	if m.file, err = c.openFile(name, m.plan); err != nil {
		return nil, err
	}
	if m.slots, err = openSlots(entry); err != nil {
		return nil, err
	}
	if configured {
		c.all[name] = m
	}
	return m, nil
}

// defaultModel is a model that the configuration does not name.
func defaultModel(name, routingFile string) config.Model {
	return config.Model{Name: name, RoutingFile: routingFile, Backend: config.BackendInProcess, Failover: config.FailoverOn, OnControllerLost: config.LostChampion}
}

// claim gives a model that is to be served or written for. Two models on one routing file would overwrite each other: the second is refused.
func (c *catalog) claim(name string) (*served, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, err := c.find(name)
	if err != nil || m.claimed {
		return m, err
	}
	for other, taken := range c.all {
		if taken.claimed && taken.file.Path() == m.file.Path() {
			return nil, fmt.Errorf("models %s and %s have one routing file, %s: give each a routing_file under models: in serin.yaml", other, name, m.file.Path())
		}
	}
	mine := *m
	mine.claimed = true
	c.all[name] = &mine
	return &mine, nil
}

// readPlan reads the model's plan file. Without one the default plan is used, whose gate is off until data are given: such a plan cannot be started without a reason.
func (c *catalog) readPlan(name string) (rollout.Plan, error) {
	path := c.cfg.PlanPath(name)
	if path == "" {
		return rollout.DefaultPlan(name), nil
	}
	return ReadPlan(path)
}

// adopt puts the plan of a rollout in force: its keys, its tick and its way to write the routing file hold from now on. Where the configuration
// names no plan it is also what the next start takes.
func (c *catalog) adopt(plan rollout.Plan) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, ok := c.all[plan.Model]
	if !ok {
		return nil
	}
	next := *m
	next.inForce = plan
	if c.cfg.PlanPath(plan.Model) == "" {
		next.plan = plan
	}
	if plan.Routing.Compat != m.inForce.Routing.Compat {
		var err error
		if next.file, err = c.openFile(plan.Model, plan); err != nil {
			return err
		}
	}
	c.all[plan.Model] = &next
	return nil
}

// planOf is the plan in force for a model; the zero Plan for a model that is not known.
func (c *catalog) planOf(name string) rollout.Plan {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m, ok := c.all[name]; ok {
		return m.inForce
	}
	return rollout.Plan{}
}

// configured says whether the configuration names its models, and whether this is one of them.
func (c *catalog) configured(name string) (listed, known bool) {
	_, known = c.cfg.Find(name)
	return len(c.cfg.Models) > 0, known
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
	return routingfile.New(routingfile.Options{Path: path, Compat: traffic.Compat(plan.Routing.Compat)})
}

func openSlots(m config.Model) ([]*gateway.URL, error) {
	var slots []*gateway.URL
	for slot := range m.URLs {
		u, err := openSlot(m, slot+1)
		if err != nil {
			return nil, err
		}
		slots = append(slots, u)
	}
	return slots, nil
}

// openSlot is the model server of a slot, counted from 1. With failover off a request is never sent twice, not even on a connection that was dead.
func openSlot(m config.Model, slot int) (*gateway.URL, error) {
	if slot < 1 || slot > len(m.URLs) {
		return nil, fmt.Errorf("model %s has no slot %d: its backend has %d addresses", m.Name, slot, len(m.URLs))
	}
	u, err := gateway.NewURL(gateway.URLOptions{URL: m.URLs[slot-1], Identity: gateway.Identity(m.Identity), HealthPath: m.Identity.Path, Repeat: gateway.Failover(m.Failover)})
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", m.Name, err)
	}
	return u, nil
}

// slots is the checker's view: the model servers of a model, nil without them.
func (c *catalog) slots(name string) []*gateway.URL {
	m, err := c.get(name)
	if err != nil {
		return nil
	}
	return m.slots
}

// names lists the models that the configuration names and those that have been claimed, sorted.
func (c *catalog) names() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for _, m := range c.cfg.Models {
		names = append(names, m.Name)
	}
	for name, m := range c.all {
		if m.claimed && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
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
