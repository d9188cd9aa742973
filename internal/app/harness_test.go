package app

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"serin/examples/creditcard"
	"serin/internal/analysis"
	"serin/internal/api"
	"serin/internal/config"
	"serin/internal/demo"
	"serin/internal/demo/faulty"
	"serin/internal/mlflow"
	"serin/internal/model"
	"serin/internal/rollout"
	"serin/internal/sampler"
	"serin/internal/scorer"
	"serin/internal/store"
	"serin/internal/traffic"
)

// fraud is the model of most tests.
const fraud = "fraud_detection"

// patience bounds every wait of these tests. It is long because the machine may be busy; nothing waits for it when all is well.
const patience = 120 * time.Second

// plan is the compressed plan of a test, with what tests differ in.
type plan struct {
	tick, bake, watch, hold string
	then                    string // of hold
	gate                    string // replaces the gate's lines
	slo                     string // of the latency
	tell                    string // the channels
}

// text is the plan file. Weights of 20 and 50 % and fewer requests than the default give a canary its evidence on a
// machine that is busy with other things.
func (p plan) text(name string) string {
	def := func(s *string, d string) {
		if *s == "" {
			*s = d
		}
	}
	def(&p.tick, "150ms")
	def(&p.bake, "1200ms")
	def(&p.watch, "1s")
	def(&p.hold, "60s")
	def(&p.then, "rollback")
	def(&p.slo, "1s")
	def(&p.tell, "log")
	def(&p.gate, fmt.Sprintf("{data: %q, label: is_fraud, criteria: {recall: 0.75, fpr: 0.02, latencyP95: 250ms, f1Ratio: 1.01}}", example("holdout.parquet")))
	return fmt.Sprintf(`apiVersion: serin/v1
kind: ModelRollout
metadata: {name: %s}
spec:
  offlineGate: %s
  strategy:
    canary:
      steps: [{setWeight: 20}, {pause: {duration: %s}}, {setWeight: 50}, {pause: {duration: %s}}, {setWeight: 100}]
      watch: {duration: %s, onFail: undo}
  analysis: {tick: %s, minRequests: 10, latency: {slo: %s}}
  hold: {max: %s, then: %s}
  notifications: [%s]
`, name, p.gate, p.bake, p.bake, p.watch, p.tick, p.slo, p.hold, p.then, p.tell)
}

// noGate is a gate that is off, for tests that are about what comes after it.
const noGate = `{off: true, reason: "not what this test is about"}`

// example is the absolute path of a file of examples/creditcard.
func example(name string) string {
	path, err := filepath.Abs(filepath.Join("..", "..", "examples", "creditcard", name))
	if err != nil {
		panic(err)
	}
	return path
}

// site is a Serin that runs in this process, as its users see it.
type site struct {
	t        *testing.T
	dir      string
	yaml     string
	env      map[string]string
	cfg      config.Config
	app      *App
	at       Ready
	client   *api.Client
	registry *mlflow.Client
	log      *syncBuffer
	// close ends the server and waits for it.
	close func()
}

// syncBuffer keeps the log of a server.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// configured is a site whose server does not run yet.
func configured(t *testing.T, models string) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), log: &syncBuffer{}, yaml: "server: {listen: 127.0.0.1:0}\ngateway: {listen: 127.0.0.1:0}\n"}
	if models != "" {
		s.yaml += "models:\n" + models
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("server log:\n" + s.log.String())
		}
	})
	return s
}

// one is the usual model with a plan of its own.
func one(t *testing.T, p plan) *site {
	t.Helper()
	s := configured(t, "  "+fraud+": {plan: plan.yaml, routing_file: routing.json}\n")
	s.write("plan.yaml", p.text(fraud))
	s.serve()
	s.register("champion", model.StageProduction)
	s.served()
	return s
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// load reads the configuration as the command does.
func (s *site) load() config.Config {
	s.t.Helper()
	s.write("serin.yaml", s.yaml)
	cfg, err := config.Load(s.path("serin.yaml"), func(key string) string { return s.env[key] }, config.Overrides{Data: s.path("data")})
	if err != nil {
		s.t.Fatal(err)
	}
	return cfg
}

func (s *site) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// serve opens the App and runs the server. After a restart it is where it was before.
func (s *site) serve() {
	s.t.Helper()
	s.cfg = s.load()
	if s.at.API != "" {
		s.cfg.Server.Listen, s.cfg.Gateway.Listen = strings.TrimPrefix(s.at.API, "http://"), strings.TrimPrefix(s.at.Gateway, "http://")
	}
	var err error
	if s.app, err = Open(s.t.Context(), Options{Config: s.cfg, Logger: s.logger(), Version: "test", DrainNotice: -1}); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	served, ready := make(chan error, 1), make(chan Ready, 1)
	go func() { served <- s.app.Serve(ctx, func(at Ready) { ready <- at }) }()
	select {
	case s.at = <-ready:
	case err := <-served:
		cancel()
		s.t.Fatal(errors.Join(err, s.app.Close()))
	}
	s.close = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-served, s.app.Close()); err != nil {
			s.t.Errorf("the server ended with %v", err)
		}
	})
	s.t.Cleanup(s.close)
	if s.client, err = api.NewClient(api.ClientOptions{URL: s.at.API, Actor: "ann@test"}); err != nil {
		s.t.Fatal(err)
	}
	if s.registry, err = mlflow.New(mlflow.Options{TrackingURI: s.at.API, CacheDir: s.path("client-cache")}); err != nil {
		s.t.Fatal(err)
	}
}

// register puts a model of the examples into the registry.
func (s *site) register(dir string, stage model.Stage) (version string) {
	s.t.Helper()
	return s.registerAs(fraud, dir, stage)
}

func (s *site) registerAs(name, dir string, stage model.Stage) (version string) {
	s.t.Helper()
	version, err := s.registry.Register(s.t.Context(), mlflow.RegisterParams{Name: name, Path: example(dir), Stage: stage})
	if err != nil {
		s.t.Fatal(err)
	}
	return version
}

// until waits for a condition by looking again and again.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	look := time.NewTicker(15 * time.Millisecond)
	defer look.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("waited %s for: %s", patience, what)
		case <-look.C:
		}
	}
}

// served waits until the server's gateway answers for the model.
func (s *site) served() {
	s.t.Helper()
	until(s.t, "the gateway serves", func() bool { return answers(s.t, s.at.Gateway, fraud).version != "" })
}

// answer is one prediction as a customer sees it.
type answer struct {
	status        int
	role, version string
	body          string
}

// answers asks a gateway for one prediction; the zero answer is a gateway that is not there.
func answers(t *testing.T, gateway, name string) answer {
	t.Helper()
	rows := payments(t)
	body := mustJSON(map[string]any{"dataframe_split": map[string]any{"columns": rows.columns, "data": rows.values[:1]}})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, gateway+"/models/"+name+"/invocations", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Customer-Id", "somebody")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header.Get("X-Serin-Served-By"), resp.Header.Get("X-Serin-Model-Version"), string(text)}
}

// start starts a rollout under the configured plan.
func (s *site) start() (id string) {
	s.t.Helper()
	started, err := s.client.Start(s.t.Context(), api.StartRequest{Model: fraud, Reason: "test"})
	if err != nil {
		s.t.Fatal(err)
	}
	return started.Rollout
}

func (s *site) get(id string) api.Rollout {
	s.t.Helper()
	r, err := s.client.Get(s.t.Context(), id)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// await waits until a rollout is as wanted, and fails at once when it has ended otherwise.
func (s *site) await(id, what string, ok func(api.Rollout) bool) (r api.Rollout) {
	s.t.Helper()
	until(s.t, what, func() bool {
		r = s.get(id)
		if ok(r) {
			return true
		}
		if r.Phase.Ended() && r.Task == "" && len(r.Owed) == 0 && r.WatchUntil == nil {
			s.t.Fatalf("waiting for: %s; but rollout %s ended as %s: %s", what, id, r.Phase, r.Reason)
		}
		return false
	})
	return r
}

// ends waits until nothing is left of a rollout but its watch.
func (s *site) ends(id string, want rollout.Phase) api.Rollout {
	s.t.Helper()
	r := s.await(id, "the end as "+string(want), func(r api.Rollout) bool { return r.Phase.Ended() && r.Task == "" })
	if r.Phase != want {
		s.t.Fatalf("rollout %s ended as %s, want %s: %s", id, r.Phase, want, r.Reason)
	}
	return r
}

// at gives the verdict of a task.
func verdict(r api.Rollout, id string) string {
	for _, task := range r.Tasks {
		if task.ID == id {
			return task.Verdict
		}
	}
	return ""
}

// bakes waits until a bake has judged something.
func (s *site) bakes(id, task string) api.Rollout {
	s.t.Helper()
	return s.await(id, task+" judges", func(r api.Rollout) bool { return r.Task == task && r.Judgement != nil })
}

// rows is the traffic of the examples.
type rows struct {
	columns   []string
	values    [][]float64
	customers []string
}

var readPayments = sync.OnceValues(func() (rows, error) {
	var out rows
	packed, err := creditcard.FS.ReadFile("traffic.csv.gz")
	if err != nil {
		return out, err
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return out, err
	}
	records, err := csv.NewReader(z).ReadAll()
	if err != nil {
		return out, err
	}
	out.columns = records[0][1:]
	for i, record := range records[1:] {
		values := make([]float64, len(record)-1)
		for j, text := range record[1:] {
			if values[j], err = strconv.ParseFloat(text, 64); err != nil {
				return out, err
			}
		}
		out.values, out.customers = append(out.values, values), append(out.customers, fmt.Sprintf("customer-%d", i))
	}
	return out, nil
})

func payments(t *testing.T) rows {
	t.Helper()
	got, err := readPayments()
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// play sends payments to the gateways until stop, which waits for the last answer.
func (s *site) play(gateways ...string) (p *demo.Player, stop func()) {
	s.t.Helper()
	if len(gateways) == 0 {
		gateways = []string{s.at.Gateway}
	}
	rows := payments(s.t)
	ctx, cancel := context.WithCancel(s.t.Context())
	p, err := demo.Play(ctx, demo.PlayParams{
		URLs: gateways, Model: fraud, Columns: rows.columns, Rows: rows.values, Customers: rows.customers, RatePerSecond: 150, Workers: 24, Resend: demo.ResendBroken,
	})
	if err != nil {
		cancel()
		s.t.Fatal(err)
	}
	stop = sync.OnceFunc(func() { cancel(); p.Wait() })
	s.t.Cleanup(stop)
	return p, stop
}

// unharmed says that no customer saw a failure.
func unharmed(t *testing.T, p *demo.Player) {
	t.Helper()
	if seen := p.Snapshot().Total; seen.Failures != 0 || seen.Refused != 0 || seen.Answered == 0 {
		t.Errorf("customers saw %d failures and %d refusals in %d answers, the last: %s", seen.Failures, seen.Refused, seen.Answered, seen.LastFailure)
	}
}

// document reads the routing file.
func (s *site) document() traffic.Document {
	s.t.Helper()
	text, err := os.ReadFile(s.path("routing.json"))
	if err != nil {
		s.t.Fatal(err)
	}
	doc, err := traffic.ParseDocument(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return doc
}

// rewrite changes keys of the routing file as another writer would: by the file alone. A nil value removes the key.
func (s *site) rewrite(change map[string]any) {
	s.t.Helper()
	text, err := os.ReadFile(s.path("routing.json"))
	if err != nil {
		s.t.Fatal(err)
	}
	keys := map[string]any{}
	if err := json.Unmarshal(text, &keys); err != nil {
		s.t.Fatal(err)
	}
	for key, value := range change {
		if keys[key] = value; value == nil {
			delete(keys, key)
		}
	}
	if err := replaceFile(s.path("routing.json"), mustJSON(keys)); err != nil {
		s.t.Fatal(err)
	}
}

// public is what a reader sees that knows only the five keys and the rollback's time.
func (s *site) public() map[string]any {
	s.t.Helper()
	text, err := os.ReadFile(s.path("routing.json"))
	if err != nil {
		s.t.Fatal(err)
	}
	keys := map[string]any{}
	if err := json.Unmarshal(text, &keys); err != nil {
		s.t.Fatal(err)
	}
	delete(keys, "serin")
	return keys
}

func (s *site) snapshot() mlflow.Snapshot {
	s.t.Helper()
	snapshot, err := s.registry.Snapshot(s.t.Context(), fraud)
	if err != nil {
		s.t.Fatal(err)
	}
	return snapshot
}

// stages gives the stage of each version.
func (s *site) stages() map[string]model.Stage {
	s.t.Helper()
	out := map[string]model.Stage{}
	for stage, versions := range s.snapshot().Stages {
		for _, v := range versions {
			out[v.Version] = stage
		}
	}
	return out
}

// events are the names in a rollout's history.
func (s *site) events(id string) []string {
	s.t.Helper()
	entries, err := s.client.History(s.t.Context(), id)
	if err != nil {
		s.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Event)
	}
	return names
}

func count(list []string, want string) (n int) {
	for _, one := range list {
		if one == want {
			n++
		}
	}
	return n
}

// counters reads a gateway's own page: first attempts by role and revision, and rescues.
func counters(t *testing.T, gateway string) (byRole map[string]int64, rescues int64) {
	t.Helper()
	scraper, err := sampler.NewScraper(sampler.ScraperOptions{URL: gateway})
	if err != nil {
		t.Fatal(err)
	}
	series, err := scraper.Series(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	byRole = map[string]int64{}
	for _, one := range series {
		switch one.Name {
		case "http_requests_total":
			byRole[one.Labels["version"]+" "+one.Labels["revision"]] += int64(one.Value)
		case "serin_gateway_rescues_total":
			rescues += int64(one.Value)
		}
	}
	return byRole, rescues
}

// requestsOf adds up what a scrape counts of a role.
func requestsOf(sc analysis.Scrape, role analysis.Role) (n int64) {
	for _, line := range sc.Samples {
		if line.Role == role {
			for _, v := range line.Requests {
				n += int64(v)
			}
		}
	}
	return n
}

// slots are two model servers behind `urls`.
type slots [2]*slot

// slot is a model server whose faults can be switched on, and which can say that it is another version.
type slot struct {
	*faulty.ModelServer
	url string
	// claims is the version that /health names instead of its own; empty names its own.
	claims atomic.Value
}

func (s *slot) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if other, _ := s.claims.Load().(string); other != "" && r.URL.Path == "/health" {
		_, _ = w.Write(mustJSON(map[string]any{"model_version": other}))
		return
	}
	s.ModelServer.ServeHTTP(w, r)
}

// startSlots serves the champion in slot 1 and the challenger in slot 2, which call themselves versions 1 and 2.
func startSlots(t *testing.T) slots {
	t.Helper()
	return slots{modelServer(t, "champion", "1"), modelServer(t, "better", "2")}
}

func modelServer(t *testing.T, dir, version string) *slot {
	t.Helper()
	sc, err := scorer.NewOpener(scorer.Options{}).Open(t.Context(), model.Ref{Kind: model.RefPath, Location: example(dir)})
	if err != nil {
		t.Fatal(err)
	}
	payloads := scorer.NewPayloadScorer(sc)
	server, err := faulty.NewModelServer(faulty.Options{Version: version, Score: func(ctx context.Context, contentType string, body []byte) ([]byte, error) {
		return payloads.ScorePayload(ctx, contentType, body, nil)
	}})
	if err != nil {
		t.Fatal(err)
	}
	s := &slot{ModelServer: server}
	listening := httptest.NewServer(s)
	s.url = listening.URL
	t.Cleanup(func() {
		listening.Close()
		if err := sc.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// behindURLs is the usual model behind two model servers.
func behindURLs(t *testing.T, p plan) (*site, slots) {
	t.Helper()
	two := startSlots(t)
	s := configured(t, fmt.Sprintf("  %s: {plan: plan.yaml, routing_file: routing.json, backend: {urls: [%q, %q]}, identity: {path: /health, field: model_version}}\n", fraud, two[0].url, two[1].url))
	p.gate = noGate
	s.write("plan.yaml", p.text(fraud))
	s.serve()
	s.register("champion", model.StageProduction)
	s.served()
	return s, two
}

// contains says whether one of the texts has the part.
func contains(texts []string, part string) bool {
	return slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(s, part) })
}

// outage is a server that can be taken away and given back.
type outage struct {
	url   string
	state atomic.Int32
	done  chan struct{}
}

const (
	healthy = iota
	hanging
	refusing
)

// newSwitch serves h until hang or refuse.
func newSwitch(t *testing.T, h http.Handler) *outage {
	t.Helper()
	o := &outage{done: make(chan struct{})}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch o.state.Load() {
		case hanging:
			select {
			case <-r.Context().Done():
			case <-o.done:
			}
			panic(http.ErrAbortHandler)
		case refusing:
			panic(http.ErrAbortHandler)
		}
		h.ServeHTTP(w, r)
	}))
	o.url = srv.URL
	t.Cleanup(func() { close(o.done); srv.Close() })
	return o
}

func (o *outage) hang()   { o.state.Store(hanging) }
func (o *outage) refuse() { o.state.Store(refusing) }
func (o *outage) heal()   { o.state.Store(healthy) }

// move moves a version by hand, and archives the others of that stage.
func (s *site) move(version string, to model.Stage) {
	s.t.Helper()
	if _, err := s.registry.Transition(s.t.Context(), mlflow.TransitionParams{Model: fraud, Version: version, To: to, ArchiveOthers: true}); err != nil {
		s.t.Fatal(err)
	}
}

// modelEvents are the names in the whole history of the model, whether they belong to a rollout or not.
func (s *site) modelEvents() []string {
	s.t.Helper()
	var names []string
	err := s.app.store.View(s.t.Context(), func(tx *store.Tx) error {
		entries, err := tx.History(s.t.Context(), store.HistoryFilter{Model: fraud})
		for _, e := range entries {
			names = append(names, e.Event)
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return names
}

// gauge reads one number of the model from a gateway's page; -1 when it is not there.
func (s *site) gauge(gateway, name string) float64 {
	s.t.Helper()
	scraper, err := sampler.NewScraper(sampler.ScraperOptions{URL: gateway})
	if err != nil {
		s.t.Fatal(err)
	}
	series, err := scraper.Series(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, one := range series {
		if one.Name == name && one.Labels["model"] == fraud {
			return one.Value
		}
	}
	return -1
}
