package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"serin/internal/analysis"
	"serin/internal/traffic"
)

// fault is what a faulty model server does with a request.
type fault string

const (
	faultNone      fault = "none"
	faultStatus    fault = "500"
	faultReset     fault = "reset"
	faultTruncated fault = "truncated"
	faultGarbage   fault = "garbage"
	faultNotJSON   fault = "not json"
	faultHang      fault = "hang"
	faultIdleClose fault = "idle close"
	faultClosed    fault = "port closed"
)

// faulty is a model server that speaks HTTP by hand, so that it can break it.
type faulty struct {
	ln       net.Listener
	fault    fault
	requests atomic.Int64
	mu       sync.Mutex
	conns    map[net.Conn]bool
	wg       sync.WaitGroup
}

func newFaulty(t *testing.T, f fault) *faulty {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &faulty{ln: ln, fault: f, conns: map[net.Conn]bool{}}
	s.wg.Go(s.accept)
	t.Cleanup(s.stop)
	return s
}

func (s *faulty) accept() {
	for {
		c, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[c] = true
		s.mu.Unlock()
		s.wg.Go(func() { s.serve(c) })
	}
}

func (s *faulty) stop() {
	_ = s.ln.Close()
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *faulty) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		n := s.requests.Add(1)
		if !s.answer(c, in, n) {
			return
		}
	}
}

// answer does to one request what the fault says; false ends the connection.
func (s *faulty) answer(c net.Conn, in *bufio.Reader, n int64) bool {
	ok := func(status, length int, body string) {
		fmt.Fprintf(c, "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", status, length, body)
	}
	const body = `{"predictions": [0.5]}`
	switch s.fault {
	case faultStatus:
		ok(500, len(body), body)
	case faultReset:
		_ = c.(*net.TCPConn).SetLinger(0)
		return false
	case faultTruncated:
		ok(200, len(body)+10, body)
		return false
	case faultGarbage:
		fmt.Fprint(c, "\x16\x03\x01 not http at all\r\n\r\n")
		return false
	case faultNotJSON:
		ok(200, 5, "<html")
	case faultHang:
		_, _ = in.Peek(1) // until the client gives up
		return false
	case faultIdleClose:
		ok(200, len(body), body)
		return n%3 != 0 // says nothing, and is gone when the next request comes
	case faultNone, faultClosed:
		ok(200, len(body), body)
	}
	return true
}

func (s *faulty) url() string { return "http://" + s.ln.Addr().String() }

// tally is what the clients saw and knew: answers by version, and whose customers sent them.
type tally struct {
	mu                        sync.Mutex
	assignedCanary, assigned  int
	servedCanary, servedChamp int
	failures                  []string
	slowest                   time.Duration
	versionWrong              int
}

// storm sends n requests of n customers over some connections.
func storm(t *testing.T, url string, n int, pct float64) *tally {
	t.Helper()
	out, c := &tally{}, client(t)
	var wg sync.WaitGroup
	const workers = 8
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				key := strconv.Itoa(i)
				begin := time.Now()
				a, err := trySend(t.Context(), c, http.MethodPost, url+invocations, `{"inputs": [[1]]}`, "X-Customer-Id", key)
				out.add(traffic.Percent(pct).Has(traffic.Bucket("s4lt", key)), a, err, time.Since(begin))
			}
		})
	}
	wg.Wait()
	return out
}

func (y *tally) add(canary bool, a answer, err error, took time.Duration) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.assigned++
	if canary {
		y.assignedCanary++
	}
	if err != nil || a.status != 200 || a.body != `{"predictions": [0.5]}` {
		y.failures = append(y.failures, fmt.Sprintf("%d %q %v", a.status, a.body, err))
	}
	switch a.servedBy + a.version {
	case "canary41":
		y.servedCanary++
	case "champion40":
		y.servedChamp++
	default:
		y.versionWrong++
	}
	y.slowest = max(y.slowest, took)
}

// Nothing that a canary does may reach a user, and all of it must be in its counts.
func TestFaultMatrix(t *testing.T) {
	t.Parallel()
	for _, f := range []fault{
		faultNone, faultStatus, faultReset, faultTruncated, faultGarbage, faultNotJSON, faultHang, faultIdleClose, faultClosed,
	} {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			champion, canary := newFaulty(t, faultNone), newFaulty(t, f)
			if f == faultIdleClose {
				champion.fault = f
			}
			if f == faultClosed {
				canary.stop()
			}
			// A slow test machine is no fault of the champion's, and none of a healthy canary's.
			limits := Limits{CanaryInFlight: 16, Canary: 250 * time.Millisecond, Champion: 20 * time.Second, Request: 30 * time.Second}
			if f == faultNone || f == faultIdleClose {
				limits.Canary = 20 * time.Second
			}
			g := newGateway(t, Options{Limits: limits})
			g.Swap(fraud, Route{Table: table(25), Champion: newURL(t, URLOptions{URL: champion.url()}), Canary: newURL(t, URLOptions{URL: canary.url()})})
			const n = 1500
			y := storm(t, serve(t, ServerOptions{Gateway: g}), n, 25)
			checkTally(t, g, y, f)
			if f != faultNone && f != faultIdleClose && canary.requests.Load() > 40 {
				t.Errorf("the breaker let %d requests of %d to the faulty canary", canary.requests.Load(), y.assignedCanary)
			}
		})
	}
}

func checkTally(t *testing.T, g *Gateway, y *tally, f fault) {
	t.Helper()
	if len(y.failures) != 0 {
		t.Errorf("%d failures reached users, the first: %s", len(y.failures), y.failures[0])
	}
	if y.versionWrong != 0 {
		t.Errorf("%d answers do not name a version", y.versionWrong)
	}
	champ, champFailed := total(line(t, g, analysis.RoleChampion))
	can, canFailed := total(line(t, g, analysis.RoleCanary))
	rescues := int(g.find(fraud).rescues.Load())
	if int(can) != y.assignedCanary || int(champ) != y.assigned-y.assignedCanary || champFailed != 0 {
		t.Errorf("counted champion %v (%v failed) and canary %v; sent %d and %d", champ, champFailed, can, y.assigned-y.assignedCanary, y.assignedCanary)
	}
	if int(can)-rescues != y.servedCanary || int(champ)+rescues != y.servedChamp {
		t.Errorf("clients saw champion %d and canary %d; counted %v and %v with %d rescues", y.servedChamp, y.servedCanary, champ, can, rescues)
	}
	want := y.assignedCanary
	if f == faultNone || f == faultIdleClose {
		want = 0
	}
	if int(canFailed) != want || rescues != want {
		t.Errorf("%v canary failures and %d rescues, want %d", canFailed, rescues, want)
	}
}
