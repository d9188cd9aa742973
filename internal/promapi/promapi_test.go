package promapi

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"serin/internal/analysis"
)

// at is the tick of the recorded answers.
var at = time.Unix(1737367200, 0).UTC()

// server answers every query with a status and a body, and remembers the last question.
type server struct {
	*httptest.Server
	status int
	body   string
	form   url.Values
	path   string
}

func serve(t *testing.T, status int, body string) *server {
	t.Helper()
	s := &server{status: status, body: body}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Errorf("form: %v", err)
		}
		s.form, s.path = r.Form, r.URL.Path
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(s.status)
		fmt.Fprint(w, s.body)
	}))
	t.Cleanup(s.Close)
	return s
}

func client(t *testing.T, opts Options) *Client {
	t.Helper()
	c, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// series writes one series of model fraud; points are "offset value" pairs in seconds before or after at.
func series(metric string, points ...any) string {
	var values []string
	for i := 0; i < len(points); i += 2 {
		values = append(values, fmt.Sprintf("[%v,%q]", float64(at.Unix())+toFloat(points[i]), fmt.Sprint(points[i+1])))
	}
	return fmt.Sprintf(`{"metric":%s,"values":[%s]}`, metric, strings.Join(values, ","))
}

func toFloat(v any) float64 {
	switch n := v.(type) {
	case int:
		return float64(n)
	case float64:
		return n
	}
	return math.NaN()
}

func matrix(series ...string) string {
	return `{"status":"success","data":{"resultType":"matrix","result":[` + strings.Join(series, ",") + `]}}`
}

const canary200 = `{"__name__":"http_requests_total","instance":"gw-1:8081","job":"gw","model":"fraud","status":"200","version":"canary"}`

func TestScrape_RecordedAnswers(t *testing.T) {
	t.Parallel()
	number := func(f float64) map[string]analysis.Number {
		return map[string]analysis.Number{"200": analysis.Number(f)}
	}
	for name, tc := range map[string]struct {
		body string
		want []analysis.Sample
	}{
		"no series": {matrix(), nil},
		"the last value at or before the tick": {
			matrix(series(canary200, -29, 3, -14, 7, 1, 99)),
			[]analysis.Sample{{Requests: number(7)}},
		},
		"on the tick":                                 {matrix(series(canary200, -15, 3, 0, 8)), []analysis.Sample{{Requests: number(8)}}},
		"two scrape intervals old is there":           {matrix(series(canary200, -30, 5)), []analysis.Sample{{Requests: number(5)}}},
		"a millisecond older is absent":               {matrix(series(canary200, -30.001, 5)), nil},
		"only younger than the tick is absent":        {matrix(series(canary200, 0.001, 5)), nil},
		"NaN is kept for the judge":                   {matrix(series(canary200, -15, 3, -1, "NaN")), []analysis.Sample{{Requests: number(math.NaN())}}},
		"the first tick knows no reset in between":    {matrix(series(canary200, -29, 100, -14, 7)), []analysis.Sample{{Requests: number(7)}}},
		"points out of order":                         {matrix(series(canary200, -1, 9, -14, 7)), []analysis.Sample{{Requests: number(9)}}},
		"a native histogram alone is passed over":     {`{"status":"success","data":{"resultType":"matrix","result":[{"metric":` + canary200 + `,"histograms":[[1,{}]]}]}}`, nil},
		"infos of the engine are no trouble":          {`{"status":"success","infos":["PromQL info"],"data":{"resultType":"matrix","result":[]}}`, nil},
		"another model from a sloppy proxy is no one": {matrix(series(strings.ReplaceAll(canary200, "fraud", "churn"), -1, 9)), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := client(t, Options{URL: serve(t, http.StatusOK, tc.body).URL}).Scrape(t.Context(), "fraud", at)
			if err != nil {
				t.Fatal(err)
			}
			for i := range tc.want {
				tc.want[i].At, tc.want[i].Role, tc.want[i].Instance = at, analysis.RoleCanary, "gw-1:8081"
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.EquateEmpty(), sameNumber); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

var sameNumber = cmp.Comparer(func(a, b analysis.Number) bool {
	return a == b || math.IsNaN(float64(a)) && math.IsNaN(float64(b))
})

func TestScrape_AResetBetweenTwoTicksIsCarried(t *testing.T) {
	t.Parallel()
	srv := serve(t, http.StatusOK, "")
	c := client(t, Options{URL: srv.URL, ScrapeInterval: 15 * time.Second})
	tick := func(seconds int, points ...any) analysis.Sample {
		t.Helper()
		srv.body = matrix(series(canary200, points...))
		got, err := c.Scrape(t.Context(), "fraud", at.Add(time.Duration(seconds)*time.Second))
		if err != nil || len(got) != 1 {
			t.Fatalf("%+v, %v", got, err)
		}
		return got[0]
	}
	for _, step := range []struct {
		at        int
		points    []any
		restarted bool
		value     analysis.Number
	}{
		{0, []any{-15, 100, 0, 110}, false, 110},
		{15, []any{0, 110, 5, 3, 15, 130}, true, 130},       // fell to 3 and has outgrown 110
		{30, []any{5, 3, 15, 130, 30, 140}, false, 140},     // the same fall is not carried twice
		{45, []any{15, 130, 30, 140, 40, 2}, true, 2},       // a plain fall is one too
		{60, []any{40, 2, 50, "NaN", 60, 1}, true, 1},       // across a NaN
		{75, []any{60, 1, 70, 5, 75, 5}, false, 5},          // standing still is none
		{75, []any{60, 1, 70, 5, 72, 0, 75, 9}, false, 9},   // the same tick again: nothing before it is known
		{30, []any{0, 110, 5, 3, 15, 130}, false, 130},      // a tick in the past
		{90, []any{70, 5, 72, 0, 75, 9, 85, 10}, false, 10}, // a fall before the tick of 75 s is the past
		{3600, []any{3590, 5, 3595, 0, 3600, 9}, true, 9},   // after an outage
	} {
		got := tick(step.at, step.points...)
		if got.Restarted != step.restarted || got.Requests["200"] != step.value {
			t.Errorf("at %d s: restarted %v, value %v, want %v and %v", step.at, got.Restarted, got.Requests["200"], step.restarted, step.value)
		}
	}
}

func TestScrape_TheJudgeCountsACarriedReset(t *testing.T) {
	t.Parallel()
	cfg := analysis.DefaultConfig()
	cfg.Latency.Enabled = false
	stage := analysis.Stage{Name: "monitor_5_percent", WeightPct: 5, Bake: time.Minute}
	champion := strings.ReplaceAll(canary200, "canary", "champion")
	srv := serve(t, http.StatusOK, "")
	c := client(t, Options{URL: srv.URL})
	var st analysis.State
	var j analysis.Judgement
	for i, points := range [][]any{{0, 110}, {0, 110, 5, 3, 15, 130}, {5, 3, 15, 130, 30, 140}} {
		tick := at.Add(time.Duration(i) * 15 * time.Second)
		srv.body = matrix(series(canary200, points...), series(champion, points...))
		samples, err := c.Scrape(t.Context(), "fraud", tick)
		if err != nil {
			t.Fatal(err)
		}
		for k := range samples {
			samples[k].WeightPct = 5
		}
		if st, j, err = analysis.Judge(cfg, stage, st, analysis.Scrape{At: tick, Samples: samples}); err != nil {
			t.Fatal(err)
		}
	}
	if j.CanaryRequests != 140 { // 130 of the new life, then 10; without the mark it would be 30
		t.Errorf("%d requests counted, want 140", j.CanaryRequests)
	}
}

func TestScrape_AsksOneQuery(t *testing.T) {
	t.Parallel()
	istio, err := analysis.Preset("istio")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		opts  Options
		model string
		query string
	}{
		"serin": {
			Options{},
			"fraud",
			`{__name__=~"http_requests_total|http_request_duration_seconds_bucket|http_request_duration_seconds_sum|http_request_duration_seconds_count",model="fraud"}[30001ms]`,
		},
		"a name that is a trap": {
			Options{ScrapeInterval: time.Second},
			"a\"} or vector(1) #\\\n",
			`{__name__=~"http_requests_total|http_request_duration_seconds_bucket|http_request_duration_seconds_sum|http_request_duration_seconds_count",model="a\"} or vector(1) #\\\n"}[2001ms]`,
		},
		"istio": {
			Options{Names: istio},
			"fraud",
			`{__name__=~"istio_requests_total|istio_request_duration_milliseconds_bucket|istio_request_duration_milliseconds_sum|istio_request_duration_milliseconds_count",destination_canonical_service="fraud",reporter="destination"}[30001ms]`,
		},
	} {
		srv := serve(t, http.StatusOK, matrix())
		tc.opts.URL = srv.URL + "/prefix/"
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		_, err := client(t, tc.opts).Scrape(ctx, tc.model, at.Add(250*time.Millisecond))
		cancel()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := srv.form.Get("query"); got != tc.query {
			t.Errorf("%s: query\n%s\nwant\n%s", name, got, tc.query)
		}
		if srv.form.Get("time") != "1737367200.250" || srv.path != "/prefix/api/v1/query" || !strings.HasSuffix(srv.form.Get("timeout"), "ms") {
			t.Errorf("%s: asked %s with %v", name, srv.path, srv.form)
		}
	}
}

func TestScrape_SaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		body   string
		words  string
	}{
		"bad query":             {400, `{"status":"error","errorType":"bad_data","error":"parse error:\nunexpected"}`, "query refused with 400 Bad Request (bad_data): parse error: unexpected"},
		"timeout of the engine": {503, `{"status":"error","errorType":"timeout","error":"query timed out"}`, "503 Service Unavailable (timeout): query timed out"},
		"unauthorized":          {401, "who are\nyou?", "401 Unauthorized: who are you?"},
		"an empty 502":          {502, "", "502 Bad Gateway: check the address"},
		"a page":                {200, "<html>sign in</html>", "not what Prometheus gives"},
		"cut off":               {200, `{"status":"success","data":{"resultType":"matrix","result":[`, "not what Prometheus gives"},
		"error with 200":        {200, `{"status":"error","errorType":"internal","error":"oops"}`, "query refused (internal): oops"},
		"no JSON object":        {200, `[]`, "not what Prometheus gives"},
		"a vector":              {200, `{"status":"success","data":{"resultType":"vector","result":[]}}`, `a "vector", not a matrix`},
		"partial":               {200, `{"status":"success","warnings":["store x: down"],"data":{"resultType":"matrix","result":[]}}`, "partial: store x: down"},
		"value is no number":    {200, matrix(series(canary200, 0, "many")), `"many" of a sample is no number`},
		"a pair of three":       {200, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"2",3]]}]}}`, "not a pair"},
		"time is no time":       {200, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1e300,"2"]]}]}}`, "is no time"},
		"roles not told apart":  {200, matrix(series(strings.ReplaceAll(canary200, "version", "color"), -1, 9)), "no label version"},
		"two jobs":              {200, matrix(series(canary200, -1, 9), series(strings.ReplaceAll(canary200, `"gw"`, `"other"`), -1, 9)), "would count it twice"},
		"too large":             {200, strings.Repeat(" ", maxBody+1), "larger than 32 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := serve(t, tc.status, tc.body)
			got, err := client(t, Options{URL: srv.URL}).Scrape(t.Context(), "fraud", at)
			if err == nil || got != nil || !strings.Contains(err.Error(), tc.words) || !strings.Contains(err.Error(), strings.TrimPrefix(srv.URL, "http://")) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%+v, error %v, want one line with %q and the address", got, err, tc.words)
			}
		})
	}
}

func TestScrape_AFailureIsNotRememberedAsATick(t *testing.T) {
	t.Parallel()
	srv := serve(t, http.StatusInternalServerError, "")
	c := client(t, Options{URL: srv.URL})
	if _, err := c.Scrape(t.Context(), "fraud", at); err == nil {
		t.Fatal("no error")
	}
	srv.status, srv.body = http.StatusOK, matrix(series(canary200, 1, 9, 5, 2, 15, 12))
	got, err := c.Scrape(t.Context(), "fraud", at.Add(15*time.Second))
	if err != nil || len(got) != 1 || got[0].Restarted {
		t.Errorf("%+v, %v: the tick before gave nothing to fall from", got, err)
	}
}

func TestScrape_EndsWithItsContext(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(srv.Close)
	t.Cleanup(func() { close(release) })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := client(t, Options{URL: srv.URL}).Scrape(ctx, "fraud", at); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	srv.CloseClientConnections()
}

func TestNew_Refuses(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]Options{
		"no address": {}, "no scheme": {URL: "prometheus:9090"}, "another scheme": {URL: "ftp://prometheus"}, "no URL": {URL: "http://%zz"},
		"names":    {URL: "http://p", Names: analysis.Names{Requests: "r"}},
		"interval": {URL: "http://p", ScrapeInterval: time.Microsecond}, "negative interval": {URL: "http://p", ScrapeInterval: -time.Second},
	} {
		if _, err := New(opts); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// FuzzParse reads any answer: no panic, and an error of one line.
func FuzzParse(f *testing.F) {
	f.Add([]byte(matrix(series(canary200, -15, 3, 0, "NaN"))))
	f.Add([]byte(`{"status":"error","errorType":"bad_data","error":"x"}`))
	f.Add([]byte(`{"status":"success","data":{"resultType":"matrix","result":[{"values":[[null,"1"]]}]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if err := refusal("500 x", body); strings.ContainsAny(err.Error(), "\n\r") {
			t.Fatalf("refusal of more than a line: %q", err)
		}
		raw, err := parse(body)
		if err != nil {
			return
		}
		c := Client{names: analysis.Names{}, interval: 15 * time.Second}
		for _, s := range c.pick(raw, at, at.Add(-15*time.Second)) {
			if s.Name != "" && s.Labels == nil {
				t.Fatalf("series %+v", s)
			}
		}
	})
}

func BenchmarkScrapeOfTwentyProcesses(b *testing.B) {
	var all []string
	for i := range 20 {
		for _, version := range []string{"canary", "champion"} {
			for _, status := range []string{"200", "400", "503"} {
				all = append(all, series(fmt.Sprintf(`{"__name__":"http_requests_total","instance":"gw-%d","model":"fraud","status":%q,"version":%q}`, i, status, version), -20, 5, -5, 9))
			}
			for le := range 19 {
				all = append(all, series(fmt.Sprintf(`{"__name__":"http_request_duration_seconds_bucket","instance":"gw-%d","model":"fraud","le":"%d","version":%q}`, i, le, version), -20, 5, -5, 9))
			}
		}
	}
	body := []byte(matrix(all...))
	names, err := analysis.Preset("serin")
	if err != nil {
		b.Fatal(err)
	}
	c := Client{names: names, interval: 15 * time.Second}
	b.ReportAllocs()
	for b.Loop() {
		raw, err := parse(body)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := analysis.Collect(at, "fraud", names, c.pick(raw, at, at.Add(-15*time.Second))); err != nil {
			b.Fatal(err)
		}
	}
}
