package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A request that is refused says why, and in which row or column.
func TestPlay_ErrorsSayWhere(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*PlayParams){
		"play traffic: no gateway to send to: give its URL":                              func(p *PlayParams) { p.URLs = nil },
		"play traffic: 2 customers for 3 rows: each row has one":                         func(p *PlayParams) { p.Customers = p.Customers[:2] },
		"play traffic: 100001 requests a second: use a rate above 0, at most 100000":     func(p *PlayParams) { p.RatePerSecond = 100001 },
		"play traffic: +Inf requests a second: use a rate above 0, at most 100000":       func(p *PlayParams) { p.RatePerSecond = math.Inf(1) },
		"play traffic: 10001 workers: use 1 to 10000":                                    func(p *PlayParams) { p.Workers = 10001 },
		`play traffic: resend "always": use never or broken`:                             func(p *PlayParams) { p.Resend = "always" },
		"play traffic: row 2 has 3 values for 2 columns":                                 func(p *PlayParams) { p.Rows[2] = []float64{1, 2, 3} },
		`play traffic: row 1 has -Inf in column a "quoted" one, which JSON cannot carry`: func(p *PlayParams) { p.Rows[1][1] = math.Inf(-1) },
	} {
		p := traffic(3, "http://h")
		change(&p)
		if _, err := Play(t.Context(), p); err == nil || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
}

// Any row is JSON that reads back to the same bits, under any column names.
func TestBody_ReadsBack(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 17))
	for range 500 {
		columns, row := []string{}, []float64{}
		for i := range rng.IntN(5) {
			v := math.Float64frombits(rng.Uint64())
			if math.IsNaN(v) || math.IsInf(v, 0) {
				v = math.MaxFloat64
			}
			columns, row = append(columns, fmt.Sprint(i, "\"\\\n<ü>")), append(row, v)
		}
		p := &Player{}
		p.prefix, p.suffix = envelope(columns)
		var got struct {
			Split struct {
				Columns []string    `json:"columns"`
				Data    [][]float64 `json:"data"`
			} `json:"dataframe_split"`
		}
		if err := json.Unmarshal([]byte(p.body(row)), &got); err != nil {
			t.Fatalf("%v in %s", err, p.body(row))
		}
		if diff := cmp.Diff([][]float64{row}, got.Split.Data) + cmp.Diff(columns, got.Split.Columns); diff != "" {
			t.Fatalf("read back (-want +got):\n%s", diff)
		}
	}
}

// tripper answers by hand.
type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// brokenBody ends in the middle.
type brokenBody struct{}

func (brokenBody) Read([]byte) (int, error) { return 0, errors.New("connection reset") }
func (brokenBody) Close() error             { return nil }

// What a customer has in hand when the gateway has answered, from every kind of answer.
func TestSend_KindsOfAnswers(t *testing.T) {
	t.Parallel()
	body := func(s string) io.ReadCloser { return io.NopCloser(strings.NewReader(s)) }
	for _, tt := range []struct {
		name   string
		status int
		body   io.ReadCloser
		want   answer
		broken bool
	}{
		{"a prediction", 200, body(`{"predictions": [0.5]}`), answer{status: 200, role: "canary", version: "42"}, false},
		{"two predictions for one row", 200, body(`{"predictions": [1, 2]}`), answer{
			status: 200, role: "canary", version: "42", failure: `no prediction in "{\"predictions\": [1, 2]}"`, unpredictive: true,
		}, false},
		{"none", 200, body(`{"predictions": []}`), answer{status: 200, role: "canary", version: "42", failure: `no prediction in "{\"predictions\": []}"`, unpredictive: true}, false},
		{"not JSON", 200, body(`<html>`), answer{status: 200, role: "canary", version: "42", failure: `no prediction in "<html>"`, unpredictive: true}, false},
		{"refused", 400, body("bad row"), answer{status: 400, role: "canary", version: "42", failure: "status 400: bad row"}, false},
		{"long error", 500, body(strings.Repeat("x", 999)), answer{status: 500, role: "canary", version: "42", failure: "status 500: " + strings.Repeat("x", 200)}, false},
		{"cut off", 200, brokenBody{}, answer{transport: true, failure: "answer cut off: connection reset"}, true},
		{"endless", 200, io.NopCloser(io.LimitReader(zeros{}, 1<<30)), answer{
			status: 200, role: "canary", version: "42", failure: fmt.Sprintf("no prediction in %.200q", strings.Repeat("\x00", maxAnswer)), unpredictive: true,
		}, false},
	} {
		p := &Player{params: PlayParams{KeyHeader: "X-Key"}, client: &http.Client{Transport: tripper(func(r *http.Request) (*http.Response, error) {
			if r.Header.Get("X-Key") != "c7" || r.Method != http.MethodPost {
				t.Errorf("%s: sent %s %v", tt.name, r.Method, r.Header)
			}
			return &http.Response{StatusCode: tt.status, Body: tt.body, Header: http.Header{"X-Serin-Served-By": {"canary"}, "X-Serin-Model-Version": {"42"}}}, nil
		})}}
		got, err := p.send(t.Context(), attempt{client: p.client, target: "http://h/invocations", body: "{}", customer: "c7"})
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(answer{})); diff != "" || (err != nil) != tt.broken {
			t.Errorf("%s: error %v (-want +got):\n%s", tt.name, err, diff)
		}
	}
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// A tally counts each answer in one place, and a snapshot does not move any more.
func TestTally_CountsEachAnswerOnce(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(5, 2))
	total := newTally()
	for i := range 2000 {
		a := answer{status: 200, role: roleChampion, version: "41", took: time.Duration(rng.IntN(1e9))}
		switch rng.IntN(6) {
		case 0:
			a = answer{transport: true, failure: "gone"}
		case 1:
			a = answer{status: 503, failure: "status 503"}
		case 2:
			a = answer{status: 404, failure: "status 404"}
		case 3:
			a.role = roleCanary
		case 4:
			a.version = ""
		}
		total.add(fmt.Sprint(i%50), a)
	}
	s := total.seen()
	if s.Answered != 2000 || s.Failures+s.Refused+s.Roles[roleChampion]+s.Roles[roleCanary]+s.Unnamed != s.Answered || s.Transport+s.Statuses[503] != s.Failures {
		t.Errorf("seen %+v", s)
	}
	if moved := s.ToCanary - s.ToChampion; moved > 50 || moved < -50 || s.ToCanary == 0 {
		t.Errorf("50 customers, %d to the canary and %d back", s.ToCanary, s.ToChampion)
	}
	before := s.Statuses[200]
	total.add("x", answer{status: 200, role: roleCanary, version: "42"})
	if s.Statuses[200] != before || s.Versions["42"] != 0 {
		t.Error("a snapshot changes with the tally")
	}
}
