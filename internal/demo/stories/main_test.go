package stories

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"serin/internal/analysis"
	"serin/internal/api"
	"serin/internal/mlflow"
	"serin/internal/rollout"
)

// TestMain plays the processes that the demo runs: the demo starts its own program, which is the test's here.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 2 && os.Args[1] == "helper":
		os.Exit(helper(os.Args[2]))
	case len(os.Args) > 1 && os.Args[1] == "serve":
		fmt.Fprintln(os.Stderr, "this server does not start")
		os.Exit(3)
	}
	os.Exit(m.Run())
}

const readyLine = `{"ready":true,"gateway":"http://127.0.0.1:1"}`

// helper behaves in one way until it is asked to end, a minute at most.
func helper(mode string) int {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	switch mode {
	case "exits":
		fmt.Fprintln(os.Stderr, "the address is in use")
		return 3
	case "ends":
		return 0
	case "garbage":
		fmt.Println("hello, I am another program")
	case "unready":
		fmt.Println(`{"ready":false}`)
	case "endless":
		fmt.Print(strings.Repeat("x", 2*maxReady))
	case "silent":
	case "chatty":
		// More than a pipe holds: it must not wait for a reader.
		fmt.Println(readyLine + "\n" + strings.Repeat("more\n", 100_000))
		fmt.Fprintln(os.Stderr, "all is said")
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println(readyLine)
	case "environment":
		dir, _ := os.Getwd()
		fmt.Fprintf(os.Stderr, "dir %s\n%s\n", dir, strings.Join(os.Environ(), "\n"))
		fmt.Println(readyLine)
	default:
		fmt.Println(readyLine)
	}
	select {
	case <-asked:
		fmt.Fprintln(os.Stderr, "finished")
	case <-time.After(time.Minute):
	}
	return 0
}

// eventually waits for a condition, or fails the test after 10 s.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("%s did not come about", what)
		case <-tick.C:
		}
	}
}

// fakeGateway answers customers as sides says, and counts as a gateway does.
type fakeGateway struct {
	URL string
	mu  sync.Mutex // guards what follows
	// sides gives who answers a customer, and whether the champion has to, because the canary failed.
	sides func(customer string) side
	// counted by "ROLE REVISION".
	counted map[string]int64
	rescues int64
	// page is shown instead of the counters when it is not empty; broken fails it.
	page   string
	broken bool
}

type side struct {
	role    string
	rescued bool
	status  int
}

// The sides: champion is version 1, canary version 2.
var (
	onChampion = side{role: "champion"}
	onCanary   = side{role: "canary"}
	rescued    = side{role: "canary", rescued: true}
)

var versionOf = map[string]string{"champion": "1", "canary": "2"}

func newGateway(t *testing.T, sides func(string) side) *fakeGateway {
	t.Helper()
	g := &fakeGateway{sides: sides, counted: map[string]int64{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /models/{model}/invocations", g.invocations)
	mux.HandleFunc("GET /metrics", g.metrics)
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	g.URL = srv.URL
	return g
}

func (g *fakeGateway) invocations(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.sides(r.Header.Get("X-Customer-Id"))
	g.counted[s.role+" "+versionOf[s.role]]++
	served := s.role
	if s.rescued {
		g.rescues++
		served = "champion"
	}
	w.Header().Set("X-Serin-Served-By", served)
	w.Header().Set("X-Serin-Model-Version", versionOf[served])
	if s.status != 0 {
		w.WriteHeader(s.status)
	}
	fmt.Fprintln(w, `{"predictions": [0.5]}`)
}

func (g *fakeGateway) metrics(w http.ResponseWriter, _ *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.broken {
		http.Error(w, "no counters today", http.StatusInternalServerError)
		return
	}
	if g.page != "" {
		fmt.Fprint(w, g.page)
		return
	}
	fmt.Fprintln(w, "# TYPE http_requests_total counter")
	for key, n := range g.counted {
		role, revision, _ := strings.Cut(key, " ")
		fmt.Fprintf(w, "http_requests_total{model=%q,version=%q,revision=%q,status=\"200\"} %d\n", cards, role, revision, n)
	}
	fmt.Fprintf(w, "# TYPE serin_gateway_rescues_total counter\nserin_gateway_rescues_total{model=%q} %d\n", cards, g.rescues)
}

// change changes the gateway under its lock.
func (g *fakeGateway) change(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f()
}

// samples are what a sampler stored of the gateway, in two scrapes, beside those of the server's own gateway.
func (g *fakeGateway) samples() []analysis.Scrape {
	g.mu.Lock()
	defer g.mu.Unlock()
	var half, whole analysis.Scrape
	for key, n := range g.counted {
		role, revision, _ := strings.Cut(key, " ")
		s := analysis.Sample{Role: analysis.Role(role), Revision: revision, Instance: "gw@" + revision}
		s.Requests = map[string]analysis.Number{"200": analysis.Number(n / 2)}
		half.Samples = append(half.Samples, s)
		s.Requests = map[string]analysis.Number{"200": analysis.Number(n - 1), "500": 1}
		own := analysis.Sample{Role: analysis.Role(role), Revision: revision, Instance: embedded, Requests: map[string]analysis.Number{"200": 1e6}}
		whole.Samples = append(whole.Samples, s, own)
	}
	return []analysis.Scrape{half, whole}
}

// fakeAPI is a server with one rollout.
type fakeAPI struct {
	URL     string
	get     func() (api.Rollout, error)
	logs    []api.LogLine
	state   rollout.State
	samples func() []analysis.Scrape
	// afters are the sequence numbers that the log was asked for.
	mu     sync.Mutex // guards what follows
	afters []string
	starts []api.StartRequest
}

func newAPI(t *testing.T) *fakeAPI {
	t.Helper()
	f := &fakeAPI{samples: func() []analysis.Scrape { return []analysis.Scrape{} }}
	mux := http.NewServeMux()
	answer := func(pattern string, value func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			v, err := value(r)
			if err != nil {
				w.WriteHeader(http.StatusInternalServerError)
				v = api.Error{Code: "internal", Message: err.Error()}
			}
			_ = json.NewEncoder(w).Encode(v)
		})
	}
	answer("GET /api/v1/rollouts/{id}", func(*http.Request) (any, error) { return f.get() })
	answer("GET /api/v1/rollouts/{id}/state", func(*http.Request) (any, error) { return f.state, nil })
	answer("GET /api/v1/models/{model}/samples", func(*http.Request) (any, error) { return f.samples(), nil })
	answer("GET /api/v1/rollouts/{id}/logs", f.answerLogs)
	answer("POST /api/v1/rollouts", func(r *http.Request) (any, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		var s api.StartRequest
		err := json.NewDecoder(r.Body).Decode(&s)
		f.starts = append(f.starts, s)
		return api.Started{Rollout: "r1"}, err
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	f.URL = srv.URL
	return f
}

func (f *fakeAPI) answerLogs(r *http.Request) (any, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	after := r.URL.Query().Get("after")
	f.afters = append(f.afters, after)
	lines := []api.LogLine{}
	for _, l := range f.logs {
		if fmt.Sprint(l.Seq) > after {
			lines = append(lines, l)
		}
	}
	return lines, nil
}

// book is what a test's Teller writes to. It is safe for concurrent use.
type book struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *book) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// newTelling is a story between a gateway and a server, with 200 customers.
func newTelling(t *testing.T, g *fakeGateway, a *fakeAPI) (*telling, *book) {
	t.Helper()
	told := &book{}
	w := &world{Options: Options{Dir: t.TempDir(), Actor: "tester", Teller: NewTeller(told, Text)}}
	w.rows.columns = []string{"V1"}
	for i := range 200 {
		w.rows.values = append(w.rows.values, []float64{float64(i)})
		w.rows.customers = append(w.rows.customers, fmt.Sprintf("customer-%04d", i+1))
	}
	if g != nil {
		w.gateway = g.URL
	}
	if a != nil {
		w.api = a.URL
		client, err := api.NewClient(api.ClientOptions{URL: a.URL, Actor: w.Actor})
		if err != nil {
			t.Fatal(err)
		}
		w.client = client
	}
	st := story{name: "a story", model: cards, wanted: rollout.Succeeded}
	out := &Outcome{Name: st.name, Wanted: string(st.wanted), Outcome: notTold}
	tl := &telling{
		world: w, story: st, out: out, id: "r1", shares: map[float64]bool{}, before: counters{requests: map[string]int64{}},
		narrator: narrator{hide: filepath.Join(w.Dir, "creditcard") + "/"}, samplesWithin: 50 * time.Millisecond,
	}
	return tl, told
}

// playing starts the customers of a story, who go on until the test ends or stop is called, and waits for enough answers.
func playing(t *testing.T, tl *telling, answers int64) (stop func()) {
	t.Helper()
	player, stop, err := tl.play(t.Context(), tl.story.model)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	tl.player = player
	eventually(t, fmt.Sprint(answers, " answers"), func() bool { return player.Snapshot().Total.Answered >= answers })
	return stop
}

// registryAt is a client of a registry that tries once.
func registryAt(t *testing.T, url string) *mlflow.Client {
	t.Helper()
	c, err := mlflow.New(mlflow.Options{TrackingURI: url, CacheDir: t.TempDir(), Attempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
