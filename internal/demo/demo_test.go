package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// traffic is n rows of n customers, 500 a second.
func traffic(n int, urls ...string) PlayParams {
	p := PlayParams{URLs: urls, Columns: []string{"V1", `a "quoted" one`}, RatePerSecond: 500, Workers: 8}
	for i := range n {
		p.Rows = append(p.Rows, []float64{float64(i), 1e-7})
		p.Customers = append(p.Customers, fmt.Sprintf("customer-%d", i))
	}
	return p
}

// predict answers as a gateway does, by a side for the customer.
func predict(w http.ResponseWriter, role, version string) {
	w.Header().Set("X-Serin-Served-By", role)
	w.Header().Set("X-Serin-Model-Version", version)
	_, _ = io.WriteString(w, `{"predictions": [0.5]}`)
}

func gateway(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(handler)
	t.Cleanup(srv.Close)
	return srv.URL
}

// playUntil plays until enough answers have come, or fails the test after 20 s.
func playUntil(t *testing.T, p PlayParams, answers int64) (Snapshot, *Player) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	player, err := Play(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	awaitAnswers(t, player, answers)
	cancel()
	player.Wait()
	return player.Snapshot(), player
}

func awaitAnswers(t *testing.T, player *Player, answers int64) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for player.Snapshot().Total.Answered < answers {
		select {
		case <-deadline:
			t.Fatalf("only %d of %d answers: %+v", player.Snapshot().Total.Answered, answers, player.Snapshot().Total)
		case <-tick.C:
		}
	}
}

func TestPlay_SendsOneRowOfItsCustomerAndCountsWhoAnswered(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	perVersion := map[string]int64{}
	url := gateway(t, func(w http.ResponseWriter, r *http.Request) {
		var sent struct {
			Split struct {
				Columns []string    `json:"columns"`
				Data    [][]float64 `json:"data"`
			} `json:"dataframe_split"`
		}
		if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
			t.Error(err)
			return
		}
		if diff := cmp.Diff([]string{"V1", `a "quoted" one`}, sent.Split.Columns); diff != "" || len(sent.Split.Data) != 1 {
			t.Errorf("columns or rows wrong: %s %v", diff, sent.Split.Data)
		}
		row := sent.Split.Data[0]
		if want := fmt.Sprintf("customer-%d", int(row[0])); r.Header.Get("X-Customer-Id") != want || row[1] != 1e-7 {
			t.Errorf("row %v of customer %s, want %s", row, r.Header.Get("X-Customer-Id"), want)
		}
		if r.Method != http.MethodPost || r.URL.Path != "/models/fraud/invocations" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("request %s %s %s", r.Method, r.URL.Path, r.Header.Get("Content-Type"))
		}
		role, version := "champion", "41"
		if int(row[0]) < 5 {
			role, version = "canary", "42"
		}
		mu.Lock()
		perVersion[version]++
		mu.Unlock()
		predict(w, role, version)
	})
	p := traffic(40, url+"/")
	p.Model = "fraud"
	s, _ := playUntil(t, p, 200)
	if diff := cmp.Diff(perVersion, s.Total.Versions); diff != "" {
		t.Errorf("versions (-server +player):\n%s", diff)
	}
	got := s.Total
	if got.Failures != 0 || got.Refused != 0 || got.Sent != got.Answered || got.Statuses[200] != got.Answered || got.Customers != 40 || got.CanaryCustomers != 5 {
		t.Errorf("seen %+v", got)
	}
	if got.ToCanary != 0 || got.ToChampion != 0 || got.P95 <= 0 || got.P50 > got.P95 || got.Roles["canary"] != got.Versions["42"] {
		t.Errorf("seen %+v", got)
	}
}

func TestPlay_CountsWhatUsersMustNotSee(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		answer   http.HandlerFunc
		failures bool
		status   int
		last     string
	}{
		{"error", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "boom", http.StatusInternalServerError) }, true, 500, "status 500: boom"},
		{"unavailable", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, true, 503, "status 503"},
		{"bad request", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "bad", http.StatusBadRequest) }, false, 400, "status 400: bad"},
		{"not an answer", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, true, 200, "no prediction"},
		{"no prediction", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"predictions": []}`) }, true, 200, "no prediction"},
		{"reset", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, true, 0, "EOF"},
		{"cut off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"predictions": [`)
		}, true, 0, "answer cut off"},
		{"hangs", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, true, 0, "deadline exceeded"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := traffic(3, gateway(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				tt.answer(w, r)
			}))
			p.Timeout = 20 * time.Second
			if tt.name == "hangs" {
				p.Timeout = 100 * time.Millisecond
			}
			got, _ := playUntil(t, p, 20)
			s := got.Total
			failures, refused := s.Answered, int64(0)
			if !tt.failures {
				failures, refused = 0, s.Answered
			}
			if s.Failures != failures || s.Refused != refused || !strings.Contains(s.LastFailure, tt.last) {
				t.Errorf("seen %+v, want the failure %q", s, tt.last)
			}
			if tt.status == 0 && s.Transport != s.Answered || tt.status != 0 && s.Statuses[tt.status] != s.Answered {
				t.Errorf("statuses %v and %d transport of %d", s.Statuses, s.Transport, s.Answered)
			}
			if s.Customers != 0 || s.P95 != 0 {
				t.Errorf("failures count as predictions: %+v", s)
			}
		})
	}
}

func TestPlay_FailsOverWhenAGatewayRefusesConnections(t *testing.T) {
	t.Parallel()
	second := gateway(t, func(w http.ResponseWriter, _ *http.Request) { predict(w, "champion", "41") })
	s, _ := playUntil(t, traffic(3, closedPort(t), second), 50)
	if s.Total.Failures != 0 || s.Total.FailedOver != s.Total.Answered || s.Total.Versions["41"] != s.Total.Answered {
		t.Errorf("seen %+v", s.Total)
	}
	s, _ = playUntil(t, traffic(3, closedPort(t), closedPort(t)), 20)
	if s.Total.Failures != s.Total.Answered || s.Total.Transport != s.Total.Answered {
		t.Errorf("no gateway at all: %+v", s.Total)
	}
}

// A server that is killed and comes back while a second gateway stands by: nobody sees it, and every detour is counted.
func TestPlay_SurvivesARestartOfItsFirstGateway(t *testing.T) {
	t.Parallel()
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { predict(w, "champion", "41") })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	first := &http.Server{Handler: answer, ReadHeaderTimeout: time.Second}
	go func() { _ = first.Serve(ln) }()
	p := traffic(20, "http://"+ln.Addr().String(), gateway(t, answer))
	p.Resend = ResendBroken
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	player, err := Play(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	awaitAnswers(t, player, 50)
	if err := first.Close(); err != nil { // cuts every connection, as kill -9 does
		t.Fatal(err)
	}
	awaitAnswers(t, player, 150)
	again, err := net.Listen("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	restarted := &http.Server{Handler: answer, ReadHeaderTimeout: time.Second}
	go func() { _ = restarted.Serve(again) }()
	defer restarted.Close()
	before := player.Snapshot().Total.FailedOver
	awaitAnswers(t, player, 300)
	cancel()
	player.Wait()
	s := player.Snapshot().Total
	if s.Failures != 0 || before == 0 || s.FailedOver == s.Answered {
		t.Errorf("%d failed over before the restart; seen %+v", before, s)
	}
}

func closedPort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return "http://" + ln.Addr().String()
}

func TestPlay_ResendsOnceWhereToldTo(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	url := gateway(t, func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1)%2 == 1 {
			panic(http.ErrAbortHandler)
		}
		predict(w, "champion", "41")
	})
	p := traffic(3, url)
	p.Workers, p.Resend = 1, ResendBroken
	s, _ := playUntil(t, p, 20)
	if s.Total.Failures != 0 || s.Total.Resent != s.Total.Answered {
		t.Errorf("seen %+v: want every request sent twice and none failed", s.Total)
	}
}

func TestPlay_MarkBeginsAWindowAndSidesAreFollowed(t *testing.T) {
	t.Parallel()
	var weight atomic.Int64
	url := gateway(t, func(w http.ResponseWriter, r *http.Request) {
		var customer int64
		if _, err := fmt.Sscanf(r.Header.Get("X-Customer-Id"), "customer-%d", &customer); err != nil {
			t.Error(err)
		}
		if customer < weight.Load() {
			predict(w, "canary", "42")
			return
		}
		predict(w, "champion", "41")
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	player, err := Play(ctx, traffic(20, url))
	if err != nil {
		t.Fatal(err)
	}
	awaitAnswers(t, player, 60)
	weight.Store(5)
	awaitAnswers(t, player, player.Snapshot().Total.Answered+100)
	weight.Store(0)
	awaitAnswers(t, player, player.Snapshot().Total.Answered+100)
	s := player.Snapshot()
	if s.Total.ToCanary != 5 || s.Total.ToChampion != 5 || s.Total.CanaryCustomers != 0 {
		t.Errorf("five customers went to the canary and came back: %+v", s.Total)
	}
	player.Mark()
	if w := player.Snapshot().Window; w.Answered > 50 || w.ToCanary != 0 {
		t.Errorf("the window has the past in it: %+v", w)
	}
	awaitAnswers(t, player, player.Snapshot().Total.Answered+100)
	cancel()
	player.Wait()
	if w := player.Snapshot().Window; w.Customers != 20 || w.Roles["canary"] != 0 || w.Answered < 90 {
		t.Errorf("window %+v", w)
	}
}

// The rate is kept whatever the answers take; what finds no free worker is skipped, not queued without end.
func TestPlay_RateDoesNotDependOnTheAnswers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name          string
		answers       time.Duration
		workers       int
		sent, skipped int64
	}{
		{"fast answers", time.Millisecond, 4, 1000, 0},
		{"slow answers, enough workers", 500 * time.Millisecond, 80, 1000, 0},
		{"slow answers, too few workers", time.Second, 10, 110, 890},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := traffic(200, "http://gateway")
				p.RatePerSecond, p.Workers = 100, tt.workers
				player, ctx, cancel := playOn(t, p, slow(tt.answers))
				defer cancel()
				<-ctx.Done()
				player.Wait()
				s := player.Snapshot().Total
				if math.Abs(float64(s.Sent-tt.sent)) > 12 || math.Abs(float64(s.Skipped-tt.skipped)) > 12 || s.Failures != 0 || s.Sent != s.Answered {
					t.Errorf("seen %+v, want about %d sent and %d skipped", s, tt.sent, tt.skipped)
				}
				if ratio := float64(s.P95) / float64(tt.answers); ratio < 1 || ratio > 1.06 {
					t.Errorf("p95 %s of answers that took %s", s.P95, tt.answers)
				}
			})
		})
	}
}

// slow is a transport whose answers take a time of the bubble's clock.
type slow time.Duration

func (s slow) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case <-time.After(time.Duration(s)):
	}
	rec := httptest.NewRecorder()
	predict(rec, "champion", "41")
	return rec.Result(), nil
}

// playOn plays for 10 s through a transport of the test.
func playOn(t *testing.T, p PlayParams, through http.RoundTripper) (*Player, context.Context, context.CancelFunc) {
	t.Helper()
	p.Transport = through
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	player, err := Play(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	return player, ctx, cancel
}

func TestPlay_Refuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*PlayParams){
		"no gateway":        func(p *PlayParams) { p.URLs = nil },
		"no rows":           func(p *PlayParams) { p.Rows, p.Customers = nil, nil },
		"too few customers": func(p *PlayParams) { p.Customers = p.Customers[:1] },
		"no rate":           func(p *PlayParams) { p.RatePerSecond = 0 },
		"rate is NaN":       func(p *PlayParams) { p.RatePerSecond = math.NaN() },
		"negative workers":  func(p *PlayParams) { p.Workers = -1 },
		"short row":         func(p *PlayParams) { p.Rows[1] = p.Rows[1][:1] },
		"NaN in a row":      func(p *PlayParams) { p.Rows[1][0] = math.NaN() },
		"unknown resend":    func(p *PlayParams) { p.Resend = "always" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := traffic(3, "http://h")
			change(&p)
			if _, err := Play(t.Context(), p); err == nil || !strings.HasPrefix(err.Error(), "play traffic: ") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// A customer never has two requests at once, however slow the answers are, so nobody seems to change sides by an answer that overtook another.
func TestPlay_ACustomerWaitsForHisAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := traffic(3, "http://gateway")
		p.RatePerSecond, p.Workers = 100, 10
		p.Rows, p.Customers = append(p.Rows, p.Rows...), append(p.Customers, p.Customers...) // two rows of each
		watch := &oneAtATime{next: slow(time.Second), busy: map[string]bool{}}
		player, ctx, cancel := playOn(t, p, watch)
		defer cancel()
		<-ctx.Done()
		player.Wait()
		if watch.twice != 0 {
			t.Errorf("%d requests of a customer who was still waiting", watch.twice)
		}
		s := player.Snapshot().Total
		if s.Sent < 27 || s.Sent > 33 || s.Sent+s.Skipped < 990 {
			t.Errorf("three customers and 1 s an answer: %+v, want about 30 sent in 10 s and the rest skipped", s)
		}
	})
}

// oneAtATime notices a customer with two requests at once.
type oneAtATime struct {
	next  http.RoundTripper
	mu    sync.Mutex
	busy  map[string]bool
	twice int
}

func (o *oneAtATime) RoundTrip(r *http.Request) (*http.Response, error) {
	customer := r.Header.Get("X-Customer-Id")
	o.mu.Lock()
	if o.busy[customer] {
		o.twice++
	}
	o.busy[customer] = true
	o.mu.Unlock()
	defer func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.busy[customer] = false
	}()
	return o.next.RoundTrip(r)
}
