package app

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"serin/internal/analysis"
	"serin/internal/api"
	"serin/internal/config"
	"serin/internal/model"
	"serin/internal/rollout"
	"serin/internal/store"
	"serin/internal/traffic"
)

// opened is an App that no server runs, as a command without one has it.
func opened(t *testing.T, models string) (*site, *App, *api.Client) {
	t.Helper()
	s := configured(t, models)
	a, err := Open(t.Context(), Options{Config: s.load(), Logger: s.logger(), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	client, err := api.NewClient(api.ClientOptions{URL: embeddedURL, Actor: "ann@test", HTTP: &http.Client{Transport: a.InProcess()}})
	if err != nil {
		t.Fatal(err)
	}
	s.app, s.client, s.registry = a, client, a.Registry()
	return s, a, client
}

const oneModel = "  " + fraud + ": {plan: plan.yaml, routing_file: routing.json}\n"

func TestStart_Refuses(t *testing.T) {
	t.Parallel()
	s, _, client := opened(t, oneModel)
	s.write("plan.yaml", plan{}.text(fraud))
	for name, tt := range map[string]struct {
		request api.StartRequest
		want    string
	}{
		"no model":            {api.StartRequest{}, "give MODEL or --plan FILE"},
		"not served":          {api.StartRequest{Model: "mistyped"}, "not served here"},
		"another plan's":      {api.StartRequest{Model: "other", PlanName: "p.yaml", PlanYAML: plan{}.text(fraud)}, "is for " + fraud + ", not for other"},
		"not a plan":          {api.StartRequest{PlanName: "p.yaml", PlanYAML: "kind: Pod"}, "p.yaml"},
		"unknown driver":      {api.StartRequest{Model: fraud, Driver: "cron"}, `driver "cron"`},
		"unknown task":        {api.StartRequest{Model: fraud, Task: "deploy_canary_7_percent"}, "its weights are 20 %, 50 %, 100 %"},
		"retry of nothing":    {api.StartRequest{RetryOf: "01NOTHING"}, "not found"},
		"no data and no gate": {api.StartRequest{PlanName: "p.yaml", PlanYAML: strings.Replace(plan{}.text(fraud), "label: is_fraud, ", "", 1)}, "label"},
	} {
		_, err := client.Start(t.Context(), tt.request)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want %q", name, err, tt.want)
		}
	}
	if list, err := client.List(t.Context(), "", 10); err != nil || len(list) != 0 {
		t.Errorf("rollouts were started: %v, %v", list, err)
	}
}

// Several starts with one key are one start; another is told which rollout is open.
func TestStart_KeyMakesItIdempotent(t *testing.T) {
	t.Parallel()
	s, _, client := opened(t, oneModel)
	s.write("plan.yaml", plan{gate: noGate}.text(fraud))
	var wg sync.WaitGroup
	ids := make([]string, 8)
	for i := range ids {
		wg.Go(func() {
			started, err := client.Start(t.Context(), api.StartRequest{Model: fraud, Reason: "ci", Key: "build-17"})
			if err != nil {
				t.Error(err)
			}
			ids[i] = started.Rollout
		})
	}
	wg.Wait()
	if slices.Sort(ids); ids[0] == "" || len(slices.Compact(ids)) != 1 {
		t.Errorf("started %v", ids)
	}
	if _, err := client.Start(t.Context(), api.StartRequest{Model: fraud, Key: "build-18"}); !errors.Is(err, api.ErrConflict) || !strings.Contains(err.Error(), ids[0]) {
		t.Errorf("a second one: %v", err)
	}
}

// In the embedded registry a model must be registered, and a mistyped name must not take the routing file from the right one.
func TestStart_EmbeddedRegistryKnowsItsModels(t *testing.T) {
	t.Parallel()
	s := configured(t, "")
	s.yaml = "server: {listen: 127.0.0.1:0}\ngateway: {listen: 127.0.0.1:0}\n"
	s.env = map[string]string{"SERIN_ROUTING_FILE": s.path("routing.json")}
	s.serve()
	if _, err := s.client.Start(t.Context(), api.StartRequest{PlanName: "p.yaml", PlanYAML: plan{gate: noGate}.text("mistyped"), Reason: "r"}); err == nil || !strings.Contains(err.Error(), "not in the registry") {
		t.Errorf("a model that is not registered: %v", err)
	}
	s.register("champion", model.StageStaging)
	_, stop := s.play()
	started, err := s.client.Start(t.Context(), api.StartRequest{PlanName: "p.yaml", PlanYAML: plan{gate: noGate}.text(fraud), Reason: "r", FirstChampion: "it is the first"})
	if err != nil {
		t.Fatal(err)
	}
	r := s.ends(started.Rollout, rollout.Succeeded)
	stop()
	if r.Champion.Version != "" || s.document().Control.Champion.Version != "1" {
		t.Errorf("first champion %+v, document %+v", r.Champion, s.document().Control)
	}
	s.served()
	s.registerAs("second", "champion", model.StageProduction)
	until(t, "the second model on the file is refused aloud", func() bool { return strings.Contains(s.log.String(), "have one routing file") })
	if got := answers(t, s.at.Gateway, fraud); got.version != "1" {
		t.Errorf("the first model answers %+v", got)
	}
	models, err := s.client.Models(t.Context())
	if err != nil || len(models) != 1 || models[0].Name != fraud || models[0].Champion != "1" || models[0].RoutingFile != s.path("routing.json") {
		t.Errorf("models %+v, %v", models, err)
	}
	if n := strings.Count(s.log.String(), "a model is not served"); n != 1 {
		t.Errorf("told %d times", n)
	}
}

// One model's broken routing file is that model's fault, and said; the others are listed as ever.
func TestModels_OneBrokenFile(t *testing.T) {
	t.Parallel()
	s, _, client := opened(t, oneModel+"  other: {plan: other.yaml, routing_file: other.json}\n")
	s.write("plan.yaml", plan{gate: noGate}.text(fraud))
	s.write("other.yaml", plan{gate: noGate}.text("other"))
	s.write("routing.json", `{"canary_enabled": fal`)
	models, err := client.Models(t.Context())
	if err != nil || len(models) != 2 {
		t.Fatalf("models %+v, %v", models, err)
	}
	for _, m := range models {
		if broken := m.Name == fraud; broken != strings.Contains(m.Error, s.path("routing.json")) {
			t.Errorf("%s: error %q", m.Name, m.Error)
		}
	}
}

func TestUndo_Refuses(t *testing.T) {
	t.Parallel()
	s, _, client := opened(t, oneModel)
	s.write("plan.yaml", plan{gate: noGate}.text(fraud))
	if _, err := client.Undo(t.Context(), fraud, api.UndoRequest{Reason: "r"}); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("nothing has succeeded: %v", err)
	}
}

// An undo to a slot that has another version by now is refused before anything changes.
func TestUndo_ChecksTheSlotItGoesBackTo(t *testing.T) {
	t.Parallel()
	s, two := behindURLs(t, plan{})
	s.register("better", model.StageStaging)
	player, stop := s.play()
	s.ends(s.start(), rollout.Succeeded)
	two[0].claims.Store("5")
	before := s.document()
	if _, err := s.client.Undo(t.Context(), fraud, api.UndoRequest{Reason: "r"}); !errors.Is(err, api.ErrConflict) || !strings.Contains(err.Error(), "says 5, want 1") {
		t.Errorf("error %v", err)
	}
	if s.document().Generation() != before.Generation() {
		t.Error("the routing was changed")
	}
	if _, err := s.client.Undo(t.Context(), fraud, api.UndoRequest{Reason: "r", To: "not a number"}); err == nil {
		t.Error("--to not a number")
	}
	two[0].claims.Store("")
	started, err := s.client.Undo(t.Context(), fraud, api.UndoRequest{Reason: "r", To: "1"})
	if err != nil {
		t.Fatal(err)
	}
	s.ends(started.Rollout, rollout.Succeeded)
	stop()
	unharmed(t, player)
}

// A store that is gone does not keep a rollback from its file, and is told to be owed.
func TestRollback_WithoutAStore(t *testing.T) {
	t.Parallel()
	s := configured(t, oneModel)
	s.write("plan.yaml", plan{gate: noGate}.text(fraud))
	a, err := Open(t.Context(), Options{Config: s.load(), Logger: s.logger()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.router.Apply(t.Context(), fraud, deployTo(20)); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	answer, err := (&safety{store: a.store, engine: a.engine, router: a.router, writer: a.writer}).Rollback(t.Context(), "ann", fraud, api.RollbackRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if doc := s.document(); doc.CanaryEnabled || doc.RollbackAt.IsZero() || !strings.Contains(doc.Control.Writer, "rollback-deployment by ann") {
		t.Errorf("document %+v", doc)
	}
	if !contains(answer.Done, "100 %") || !contains(answer.Owed, "does not know yet") {
		t.Errorf("answer %+v", answer)
	}
}

// An open undo is not rolled back: the answer says that it is on its way.
func TestRollback_WhileAnUndoIsOpen(t *testing.T) {
	t.Parallel()
	s, a, client := opened(t, oneModel)
	s.write("plan.yaml", plan{gate: noGate}.text(fraud))
	undo, err := a.engine.StartUndo(t.Context(), rollout.UndoParams{Plan: rollout.DefaultPlan(fraud), Actor: "ann", Reason: "r", To: model.Pin{Version: "1"}, From: model.Pin{Version: "2"}})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Rollback(t.Context(), fraud, api.RollbackRequest{Reason: "r"})
	if err != nil || answer.Rollout != undo.ID || !contains(answer.Owed, "undo "+undo.ID+" is on its way") {
		t.Errorf("answer %+v, %v", answer, err)
	}
	if _, err := client.Rollback(t.Context(), fraud, api.RollbackRequest{Wait: "soon"}); !errors.Is(err, api.ErrInvalid) {
		t.Errorf("a wait that is no duration: %v", err)
	}
}

func TestUnblock(t *testing.T) {
	t.Parallel()
	_, a, client := opened(t, oneModel)
	block := func(version string) {
		t.Helper()
		err := a.store.Update(t.Context(), func(tx *store.Tx) error {
			return tx.BlockVersion(t.Context(), store.Block{Model: fraud, Version: version, Reason: "bad", Actor: "serin", At: time.Now()})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := client.Unblock(t.Context(), fraud, api.UnblockRequest{Reason: "r"}); !errors.Is(err, api.ErrInvalid) || !strings.Contains(err.Error(), "0 versions") {
		t.Errorf("nothing is blocked: %v", err)
	}
	block("2")
	block("3")
	if err := client.Unblock(t.Context(), fraud, api.UnblockRequest{Reason: "r"}); !errors.Is(err, api.ErrInvalid) || !strings.Contains(err.Error(), "--version") {
		t.Errorf("which one: %v", err)
	}
	if err := client.Unblock(t.Context(), fraud, api.UnblockRequest{Version: "2", Reason: "mended"}); err != nil {
		t.Error(err)
	}
	if err := client.Unblock(t.Context(), fraud, api.UnblockRequest{Reason: "the only one"}); err != nil {
		t.Error(err)
	}
	if reason, blocked, err := (blocks{a.store}).Blocked(t.Context(), fraud, "3"); err != nil || blocked {
		t.Errorf("version 3 is blocked: %q, %v", reason, err)
	}
}

// The routing is served as it stands in the file, and a name that is not served leaves nothing behind.
func TestRouting(t *testing.T) {
	t.Parallel()
	s, a, _ := opened(t, oneModel)
	s.write("plan.yaml", plan{}.text(fraud))
	if _, _, err := a.Routing(t.Context(), "mistyped"); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("a model that is not served: %v", err)
	}
	if _, _, err := a.Routing(t.Context(), fraud); !errors.Is(err, api.ErrNotFound) || !strings.Contains(err.Error(), "no routing file yet") {
		t.Errorf("no file yet: %v", err)
	}
	want, err := a.router.Apply(t.Context(), fraud, deployTo(20))
	if err != nil {
		t.Fatal(err)
	}
	text, generation, err := a.Routing(t.Context(), fraud)
	if err != nil || generation != want.Generation() {
		t.Fatalf("generation %d, %v", generation, err)
	}
	if doc, err := traffic.ParseDocument(text); err != nil || doc.CanaryPct != 20 || doc.Control == nil {
		t.Errorf("document %+v, %v", doc, err)
	}
}

// Without anything to sample from, sampling says so; with Prometheus it is the only source.
func TestSources(t *testing.T) {
	t.Parallel()
	s, a, _ := opened(t, oneModel)
	s.write("plan.yaml", plan{}.text(fraud))
	if _, err := a.sources(fraud, nil); err == nil || !strings.Contains(err.Error(), "PROMETHEUS_URL") || a.HasSource() {
		t.Errorf("nothing to sample from: %v", err)
	}
	if _, err := a.StartSampling(t.Context(), fraud); err == nil || !strings.Contains(err.Error(), "gateways:") {
		t.Errorf("sampling without a source: %v", err)
	}
	withPrometheus := *a
	withPrometheus.cfg.PrometheusURL = "http://prometheus:9090"
	withPrometheus.cfg.Gateways = []string{"http://gw-1:8081"}
	if got, err := withPrometheus.sources(fraud, nil); err != nil || len(got) != 1 || !withPrometheus.HasSource() {
		t.Errorf("sources %v, %v", got, err)
	}
}

// A channel that fails is tried again and hears of each event once; one that does not want an event is left alone.
func TestNotices_AreToldOnceThoughTheChannelFails(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var told []string
	failures := 1
	hook := newSwitch(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if failures > 0 {
			failures--
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		var event struct {
			Event string `json:"event"`
		}
		if err := json.Unmarshal(body, &event); err != nil {
			t.Errorf("%s: %v", body, err)
		}
		told = append(told, event.Event)
	}))
	s := configured(t, oneModel)
	s.env = map[string]string{"HOOK": hook.url}
	s.yaml += "notifications: [{name: hook, webhook: {env: HOOK}, on: [started, succeeded, rolled_back]}, {name: log, log: {}, on: [started]}]\n"
	s.write("plan.yaml", plan{gate: noGate, tell: "hook, log"}.text(fraud))
	s.serve()
	s.register("champion", model.StageProduction)
	s.served()
	s.register("better", model.StageStaging)
	_, stop := s.play()
	s.ends(s.start(), rollout.Succeeded)
	stop()
	events := func() []string { mu.Lock(); defer mu.Unlock(); return slices.Sorted(slices.Values(told)) }
	until(t, "both events are told", func() bool { return len(events()) >= 2 })
	if got := events(); !slices.Equal(got, []string{"started", "succeeded"}) {
		t.Errorf("told %v", got)
	}
	if hook.url == "" || len(s.app.cfg.Notifications) != 2 || s.app.cfg.Notifications[0].Kind != config.ChannelWebhook {
		t.Errorf("channels %+v", s.app.cfg.Notifications)
	}
}

// A second App on a folder is refused in one line that says who has it; the first goes on.
func TestOpen_OneAtATime(t *testing.T) {
	t.Parallel()
	s, _, client := opened(t, "")
	if _, err := Open(t.Context(), Options{Config: s.load(), Logger: s.logger()}); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("a second one: %v", err)
	}
	if _, err := client.Health(t.Context()); err != nil {
		t.Error(err)
	}
}

// A memory that cannot be read is an error that names the file, and the lock of the folder is given back.
func TestOpen_BrokenMemory(t *testing.T) {
	t.Parallel()
	s := configured(t, "")
	cfg := s.load()
	if err := os.MkdirAll(s.path("data"), 0o750); err != nil {
		t.Fatal(err)
	}
	s.write("data/serve-known.json", "{")
	for range 2 {
		if _, err := Open(t.Context(), Options{Config: cfg, Logger: s.logger()}); err == nil || !strings.Contains(err.Error(), "serve-known.json") {
			t.Fatalf("error %v", err)
		}
	}
}

// A command without a server samples the gateways that are listed, until it is told to stop.
func TestStartSampling(t *testing.T) {
	t.Parallel()
	page := newSwitch(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("# TYPE http_requests_total counter\nhttp_requests_total{model=\"" + fraud + "\",version=\"champion\",revision=\"1\",status=\"200\"} 7\n"))
	}))
	s, a, client := opened(t, oneModel)
	s.write("plan.yaml", plan{}.text(fraud))
	peers, err := newPeers([]string{page.url})
	if err != nil {
		t.Fatal(err)
	}
	a.router.peers = peers
	stop, err := a.StartSampling(t.Context(), fraud)
	if err != nil {
		t.Fatal(err)
	}
	var scrapes []analysis.Scrape
	until(t, "two scrapes are stored that the gateway has answered", func() bool {
		if scrapes, err = client.Samples(t.Context(), fraud); err != nil {
			t.Fatal(err)
		}
		scrapes = slices.DeleteFunc(scrapes, func(sc analysis.Scrape) bool { return sc.Err != "" })
		return len(scrapes) >= 2
	})
	stop()
	if got := scrapes[1].At.Sub(scrapes[0].At); got%(150*time.Millisecond) != 0 || requestsOf(scrapes[1], analysis.RoleChampion) != 7 {
		t.Errorf("%s apart: %+v", got, scrapes[1])
	}
}

// A rollout whose plan has another tick is sampled at that tick while it lasts, and still after a restart of the server in its middle.
func TestSampling_FollowsThePlanInForce(t *testing.T) {
	t.Parallel()
	s := one(t, plan{gate: noGate, tick: "300ms"})
	s.register("better", model.StageStaging)
	_, stop := s.play()
	fast := plan{gate: noGate, tick: "100ms", bake: "60s"}.text(fraud)
	started, err := s.client.Start(t.Context(), api.StartRequest{Model: fraud, PlanName: "fast.yaml", PlanYAML: fast, Reason: "r"})
	if err != nil {
		t.Fatal(err)
	}
	apart := func() time.Duration {
		scrapes, err := s.client.Samples(t.Context(), fraud)
		if err != nil {
			t.Fatal(err)
		}
		if len(scrapes) < 2 {
			return 0
		}
		return scrapes[len(scrapes)-1].At.Sub(scrapes[len(scrapes)-2].At)
	}
	s.bakes(started.Rollout, "monitor_20_percent")
	until(t, "samples every 100 ms", func() bool { return apart() == 100*time.Millisecond })
	s.close()
	s.serve()
	if tick := s.app.tick(fraud); tick != 100*time.Millisecond {
		t.Errorf("after the restart the tick is %s", tick)
	}
	s.rollback()
	s.ends(started.Rollout, rollout.RolledBack)
	stop()
	s.close()
	s.serve()
	if tick := s.app.tick(fraud); tick != 300*time.Millisecond {
		t.Errorf("after the end the tick is %s: the configured plan's again", tick)
	}
}
