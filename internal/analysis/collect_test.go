package analysis

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func preset(t *testing.T, name string) Names {
	t.Helper()
	n, err := Preset(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Validate(); err != nil {
		t.Fatalf("preset %s: %v", name, err)
	}
	return n
}

// sameNumber takes NaN for NaN.
var sameNumber = cmp.Comparer(func(a, b Number) bool { return a == b || math.IsNaN(float64(a)) && math.IsNaN(float64(b)) })

// one makes a series of model fraud at gw-1; labels go over the usual ones, an empty value takes one away.
func one(name string, value float64, labels ...string) Series {
	l := map[string]string{"model": "fraud", "instance": "gw-1", "version": "canary"}
	for i := 0; i < len(labels); i += 2 {
		l[labels[i]] = labels[i+1]
		if labels[i+1] == "" {
			delete(l, labels[i])
		}
	}
	return Series{Name: name, Labels: l, Value: value}
}

func requests(value float64, labels ...string) Series {
	return one("http_requests_total", value, append([]string{"status", "200"}, labels...)...)
}

func bucket(le string, value float64, labels ...string) Series {
	return one("http_request_duration_seconds_bucket", value, append([]string{"le", le}, labels...)...)
}

func TestCollect(t *testing.T) {
	t.Parallel()
	sample := func(role Role, instance string, req map[string]Number) Sample {
		return Sample{At: t0, Role: role, Instance: instance, Requests: req}
	}
	for name, tc := range map[string]struct {
		series []Series
		want   []Sample
	}{
		"nothing": {nil, nil},
		"roles, statuses and processes": {
			[]Series{requests(7), requests(2, "status", "503"), requests(90, "version", "champion"), requests(5, "instance", "gw-2")},
			[]Sample{sample(RoleCanary, "gw-1", map[string]Number{"200": 7, "503": 2}), sample(RoleCanary, "gw-2", map[string]Number{"200": 5}), sample(RoleChampion, "gw-1", map[string]Number{"200": 90})},
		},
		"routes are added": {
			[]Series{requests(7, "route", "/a"), requests(8, "route", "/b")},
			[]Sample{sample(RoleCanary, "gw-1", map[string]Number{"200": 15})},
		},
		"pods are told apart": {
			[]Series{requests(7, "pod", "p1"), requests(8, "pod", "p2")},
			[]Sample{sample(RoleCanary, "gw-1/p1", map[string]Number{"200": 7}), sample(RoleCanary, "gw-1/p2", map[string]Number{"200": 8})},
		},
		"other models, versions and metrics are not read": {
			[]Series{requests(7, "model", "churn"), requests(8, "version", "shadow"), one("go_goroutines", 9, "version", ""), requests(1)},
			[]Sample{sample(RoleCanary, "gw-1", map[string]Number{"200": 1})},
		},
		"NaN goes through, for the judge to see": {
			[]Series{requests(math.NaN())},
			[]Sample{sample(RoleCanary, "gw-1", map[string]Number{"200": Number(math.NaN())})},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Collect(t0, "fraud", preset(t, "serin"), tc.series)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, sameNumber, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestCollect_HistogramRevisionAndRestart(t *testing.T) {
	t.Parallel()
	fell := bucket("0.1", 5, "revision", "42")
	fell.Restarted = true
	got, err := Collect(t0, "fraud", preset(t, "serin"), []Series{
		requests(9, "revision", "42"), fell, bucket("+Inf", 9, "revision", "42"), one("http_request_duration_seconds_sum", 1.5, "revision", "42"),
		one("http_request_duration_seconds_count", 9, "revision", "42"), requests(4, "revision", "41"),
	})
	want := []Sample{
		{At: t0, Role: RoleCanary, Instance: "gw-1@41", Revision: "41", Requests: map[string]Number{"200": 4}},
		{
			At: t0, Role: RoleCanary, Instance: "gw-1@42", Revision: "42", Requests: map[string]Number{"200": 9}, Restarted: true,
			Latency: &Histogram{LE: map[string]Number{"0.1": 5, "+Inf": 9}, Sum: 1.5},
		},
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestCollect_OtherPresets(t *testing.T) {
	t.Parallel()
	istio := func(name string, value float64, labels ...string) Series {
		l := map[string]string{"destination_canonical_service": "fraud", "destination_version": "canary", "pod": "p", "reporter": "destination"}
		for i := 0; i < len(labels); i += 2 {
			l[labels[i]] = labels[i+1]
		}
		return Series{Name: name, Labels: l, Value: value}
	}
	for name, series := range map[string][]Series{
		"prometheus": {
			one("http_requests_total", 9, "code", "200"), bucket("0.10", 5), bucket("+Inf", 9),
		},
		"otel": {
			one("http_server_request_duration_seconds_count", 9, "http_response_status_code", "200"),
			one("http_server_request_duration_seconds_bucket", 5, "le", "0.1", "http_response_status_code", "200"),
			one("http_server_request_duration_seconds_bucket", 9, "le", "+Inf", "http_response_status_code", "200"),
		},
		"istio": {
			istio("istio_requests_total", 9, "response_code", "200"), istio("istio_requests_total", 9, "response_code", "200", "reporter", "source"),
			istio("istio_request_duration_milliseconds_bucket", 5, "le", "100"), istio("istio_request_duration_milliseconds_bucket", 9, "le", "+Inf"),
		},
	} {
		got, err := Collect(t0, "fraud", preset(t, name), series)
		if err != nil || len(got) != 1 {
			t.Errorf("%s: %+v, %v", name, got, err)
			continue
		}
		want := Sample{
			At: t0, Role: RoleCanary, Instance: got[0].Instance, Requests: map[string]Number{"200": 9},
			Latency: &Histogram{LE: map[string]Number{"0.1": 5, "+Inf": 9}},
		}
		if diff := cmp.Diff(want, got[0]); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
	if _, err := Preset("graphite"); err == nil {
		t.Error("an unknown preset was taken")
	}
}

func TestCollect_RefusesWhatItCannotTellApart(t *testing.T) {
	t.Parallel()
	for words, series := range map[string][]Series{
		"has no label version":                    {requests(1, "version", "")},
		"has no label status":                     {requests(1, "status", "")},
		"none of the labels instance, pod":        {requests(1, "instance", "")},
		"given twice":                             {requests(1), requests(2)},
		`scraped by the jobs "gw" and "gateways"`: {requests(1, "job", "gw"), requests(1, "job", "gateways")},
		"no bound in its label le":                {bucket("fast", 1)},
	} {
		if _, err := Collect(t0, "fraud", preset(t, "serin"), series); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("error %v, want one with %q", err, words)
		}
	}
}

func TestNames_Validate(t *testing.T) {
	t.Parallel()
	for words, change := range map[string]func(*Names){
		"request counter":             func(n *Names) { n.Requests = "" },
		"tells canary from champion":  func(n *Names) { n.VersionLabel = "" },
		"status label":                func(n *Names) { n.StatusLabel = "" },
		"one for the canary":          func(n *Names) { n.Canary = "" },
		"champion and canary at once": func(n *Names) { n.Canary = n.Champion },
		"unit of http_request":        func(n *Names) { n.BoundSeconds = 0 },
		"tell processes apart":        func(n *Names) { n.InstanceLabels = nil },
	} {
		n := preset(t, "")
		change(&n)
		if _, err := Collect(t0, "fraud", n, nil); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("error %v, want one with %q", err, words)
		}
	}
}
