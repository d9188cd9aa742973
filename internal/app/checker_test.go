package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/compare"
	"serin/internal/mlflow"
	"serin/internal/model"
	"serin/internal/rollout"
	"serin/internal/scorer"
	"serin/internal/task"
)

// examples registers the three models of the examples as versions 1 (champion), 2 (better) and 3 (poor) in the embedded registry of an App.
func examples(t *testing.T) (*site, *App, checker) {
	t.Helper()
	s, a, _ := opened(t, oneModel)
	s.write("plan.yaml", plan{}.text(fraud))
	for _, dir := range []string{"champion", "better", "poor"} {
		s.register(dir, model.StageNone)
	}
	return s, a, checker{a.client, a.opener, a.models.slots}
}

// pins is a rollout of version to against version from, under the compressed plan.
func pins(t *testing.T, a *App, from, to string) rollout.State {
	t.Helper()
	m, err := a.models.get(fraud)
	if err != nil {
		t.Fatal(err)
	}
	s := rollout.State{Model: fraud, Plan: m.plan}
	for i, pin := range []*model.Pin{&s.Pins.Champion, &s.Pins.Challenger} {
		if *pin, err = (registryAdapter{a.client}).Resolve(t.Context(), fraud, []string{from, to}[i]); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// Before a deploy the pinned files are loaded, asked for the example, and score golden rows as a request as they did offline.
func TestChecker_Check(t *testing.T) {
	t.Parallel()
	_, a, c := examples(t)
	s := pins(t, a, "1", "2")
	lines, err := c.Check(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"version 2 is loaded", "takes and gives what version 1 does", "example answers", "20 golden rows score as offline"} {
		if !contains(lines, want) {
			t.Errorf("no line says %q: %q", want, lines)
		}
	}
	s.Pins.FirstChampion, s.Pins.Champion = "the first", model.Pin{}
	if lines, err = c.Check(t.Context(), s); err != nil || contains(lines, "takes and gives") {
		t.Errorf("first champion: %q, %v", lines, err)
	}
	if err := c.Identity(t.Context(), s); err != nil {
		t.Errorf("a model in process has no identity to ask: %v", err)
	}
}

func TestChecker_CheckRefuses(t *testing.T) {
	t.Parallel()
	_, a, c := examples(t)
	for name, change := range map[string]func(*rollout.State){
		"digest mismatch": func(s *rollout.State) { s.Pins.Challenger.Digest = "sha256:" + strings.Repeat("0", 64) },
		"no such version": func(s *rollout.State) { s.Pins.Challenger = model.Pin{Version: "9"} },
		"data that cannot be read": func(s *rollout.State) {
			s.Plan.Gate.Data = filepath.Join(t.TempDir(), "gone.parquet")
		},
		"data without the columns": func(s *rollout.State) {
			s.Plan.Gate.Data = filepath.Join(t.TempDir(), "other.csv")
			if err := os.WriteFile(s.Plan.Gate.Data, []byte("a,b\n1,2\n"), 0o600); err != nil {
				t.Error(err)
			}
		},
	} {
		s := pins(t, a, "1", "2")
		change(&s)
		if _, err := c.Check(t.Context(), s); !errors.Is(err, task.ErrFinal) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := pins(t, a, "1", "2")
	s.Plan.Gate.Off = true
	if lines, err := c.Check(t.Context(), s); err != nil || !contains(lines, "no golden rows") {
		t.Errorf("without a gate: %q, %v", lines, err)
	}
}

// The gate judges the pinned versions and nothing else, whatever the stages say by then.
func TestGate_JudgesThePins(t *testing.T) {
	t.Parallel()
	_, a, _ := examples(t)
	g := gate{a.client, a.opener}
	for _, tt := range []struct {
		from, to string
		want     compare.Decision
	}{{"1", "2", compare.Promote}, {"1", "3", compare.Reject}, {"1", "1", compare.Reject}, {"2", "1", compare.Reject}} {
		report, err := g.Compare(t.Context(), pins(t, a, tt.from, tt.to))
		if err != nil || report.Decision != tt.want {
			t.Errorf("%s against %s: %s, %v, want %s", tt.to, tt.from, report.Decision, err, tt.want)
		}
	}
	s := pins(t, a, "1", "2")
	s.Plan.Gate.Label = "no such column"
	if _, err := g.Compare(t.Context(), s); !errors.Is(err, task.ErrFinal) {
		t.Errorf("a label that is not there: %v", err)
	}
	pair := pinnedPair{a.client, fraud, s.Pins}
	if _, err := pair.Fetch(t.Context(), model.Ref{Kind: model.RefVersion, Name: fraud, Version: "3"}); err == nil || !strings.Contains(err.Error(), "not pinned") {
		t.Errorf("a version that is not pinned: %v", err)
	}
}

// What may pass is tried again; what cannot is final.
func TestErrors_FinalOrNot(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err          error
		judge, adapt bool
	}{
		{mlflow.ErrUnavailable, false, false},
		{fmt.Errorf("asking: %w", context.DeadlineExceeded), false, false},
		{context.Canceled, false, false},
		{&scorer.RemoteError{}, false, false},
		{mlflow.ErrDigestMismatch, true, true},
		{mlflow.ErrNotFound, true, true},
		{mlflow.ErrUnauthorized, true, true},
		{errors.New("the label has no positive row"), true, false},
	} {
		if got := errors.Is(judged(tt.err), task.ErrFinal); got != tt.judge || !errors.Is(judged(tt.err), tt.err) {
			t.Errorf("judging met %v: final %v, want %v", tt.err, got, tt.judge)
		}
		if got := errors.Is(final(tt.err), task.ErrFinal); got != tt.adapt || !errors.Is(final(tt.err), tt.err) {
			t.Errorf("the registry said %v: final %v, want %v", tt.err, got, tt.adapt)
		}
	}
	if judged(nil) != nil || final(nil) != nil || moved(nil) != nil {
		t.Error("no error became one")
	}
	if err := moved(mlflow.ErrRegistryChanged); !errors.Is(err, task.ErrRegistryChanged) || errors.Is(err, task.ErrFinal) {
		t.Errorf("a registry that somebody has changed: %v", err)
	}
}

func TestRegistryAdapter_Resolve(t *testing.T) {
	t.Parallel()
	s, a, _ := examples(t)
	s.move("1", model.StageProduction)
	if err := a.client.SetAlias(t.Context(), mlflow.AliasParams{Model: fraud, Alias: "blue", Version: "2"}); err != nil {
		t.Fatal(err)
	}
	r := registryAdapter{a.client}
	for ref, want := range map[string]string{"Production": "1", "@blue": "2", "3": "3"} {
		pin, err := r.Resolve(t.Context(), fraud, ref)
		if err != nil || pin.Version != want || !strings.HasPrefix(pin.Digest, "sha256:") {
			t.Errorf("%s is %+v, %v", ref, pin, err)
		}
	}
	for _, ref := range []string{"Staging", "@green", "77"} {
		if _, err := r.Resolve(t.Context(), fraud, ref); !errors.Is(err, task.ErrNoVersion) || !errors.Is(err, task.ErrFinal) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if _, err := r.Resolve(t.Context(), fraud, "Somewhere"); !errors.Is(err, task.ErrFinal) {
		t.Errorf("not a reference: %v", err)
	}
}

// A promotion by aliases alone leaves the stages to others, and the follower does not take it back because Production is elsewhere.
func TestFollow_PromotionByAliases(t *testing.T) {
	t.Parallel()
	s := configured(t, oneModel)
	s.write("plan.yaml", plan{gate: noGate}.text(fraud)+"  promotion: {mode: aliases}\n  champion: \"@champion\"\n")
	s.serve()
	s.register("champion", model.StageProduction)
	point := func(version string) {
		t.Helper()
		if err := s.registry.SetAlias(t.Context(), mlflow.AliasParams{Model: fraud, Alias: mlflow.AliasChampion, Version: version}); err != nil {
			t.Fatal(err)
		}
	}
	point("1")
	s.served()
	s.register("better", model.StageStaging)
	player, stop := s.play()
	s.ends(s.start(), rollout.Succeeded)
	generation := s.document().Generation()
	looks := 0
	until(t, "some rounds of the follower go by", func() bool {
		looks++
		if doc := s.document(); doc.Control.Champion.Version != "2" || doc.Generation() != generation {
			t.Fatalf("the promotion was taken back: %+v", doc.Control)
		}
		return looks > 100
	})
	if diff := cmp.Diff(map[string]model.Stage{"1": model.StageProduction, "2": model.StageStaging}, s.stages()); diff != "" {
		t.Errorf("stages (-want +got):\n%s", diff)
	}
	point("1")
	until(t, "a hand's alias is followed", func() bool { return answers(t, s.at.Gateway, fraud).version == "1" })
	stop()
	unharmed(t, player)
}

// An address that is taken is an error that names the flag; nothing is left running, and the folder is free again.
func TestServe_AddressTaken(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for flag, set := range map[string]func(*site){
		"--listen":         func(s *site) { s.cfg.Server.Listen = ln.Addr().String() },
		"--gateway-listen": func(s *site) { s.cfg.Gateway.Listen = ln.Addr().String() },
	} {
		s := configured(t, "")
		s.cfg = s.load()
		set(s)
		for range 2 {
			a, err := Open(t.Context(), Options{Config: s.cfg, Logger: s.logger()})
			if err != nil {
				t.Fatal(err)
			}
			if err := a.Serve(t.Context(), func(Ready) { t.Error("it serves") }); err == nil || !strings.Contains(err.Error(), flag) {
				t.Errorf("%s: %v", flag, err)
			}
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// A request that waits for a bake does not keep the server from ending: it is told, and answered.
func TestServeHTTP_EndsInTime(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	arrived := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- serveHTTP(ctx, ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(arrived)
			<-r.Context().Done()
			http.Error(w, "the server ends", http.StatusServiceUnavailable)
		}))
	}()
	answered := make(chan int, 1)
	go func() {
		resp, err := http.Get("http://" + ln.Addr().String())
		if err != nil {
			answered <- 0
			return
		}
		answered <- resp.StatusCode
		_ = resp.Body.Close()
	}()
	<-arrived
	cancel()
	began := time.Now()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took < graceAPI || took > graceAPI+cutAPI {
		t.Errorf("ended after %s", took)
	}
	if got := <-answered; got != http.StatusServiceUnavailable {
		t.Errorf("answered with %d", got)
	}
}

// The registry's API and Serin's stand on one address; a real MLflow's is not passed on.
func TestHandler_RegistryOnlyWhereItIsEmbedded(t *testing.T) {
	t.Parallel()
	_, a, _ := opened(t, "")
	apart := *a
	apart.registry = nil
	for _, tt := range []struct {
		app      *App
		path     string
		embedded bool
	}{{a, "/api/2.0/mlflow/registered-models/search", true}, {&apart, "/api/2.0/mlflow/registered-models/search", false}, {a, "/health", true}, {&apart, "/health", true}} {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1"+tt.path, nil)
		tt.app.Handler().ServeHTTP(w, r)
		if got := w.Code == http.StatusOK; got != tt.embedded {
			t.Errorf("%s answers %d", tt.path, w.Code)
		}
	}
}
