package registry

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/store"
	"serin/internal/store/sqlite"
)

func testVersions() []store.ModelVersion {
	return []store.ModelVersion{
		{Name: "fraud", Version: 1, RunID: "r1", Source: "s3://b/one", Tags: map[string]string{"team": "risk", "a.b/c-d": "x"}},
		{Name: "fraud", Version: 2, RunID: "r2", Source: "s3://b/two", Tags: map[string]string{"team": "Pay"}},
		{Name: "Fraud two", Version: 10, RunID: "r1", Source: "mlflow-artifacts:/x", Tags: map[string]string{"mlflow.prompt.is_prompt": "true"}},
	}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	tests := []struct {
		filter string
		want   string // the matching versions by number
	}{
		{"", "1 2 10"},
		{"  ", "1 2 10"},
		{"name = 'fraud'", "1 2"},
		{`name="fraud"`, "1 2"},
		{"`name` = 'fraud'", "1 2"},
		{"attribute.name != 'fraud'", "10"},
		{"name LIKE 'fr%'", "1 2"},
		{"name like '%'", "1 2 10"},
		{"name ILIKE 'FRAUD%'", "1 2 10"},
		{"name LIKE 'f_aud'", "1 2"},
		{"name LIKE 'fraud '", ""},
		{"run_id IN ('r1', 'r9')", "1 10"},
		{"run_id NOT IN ('r1')", "2"},
		{"name IN ('fraud') AND run_id = 'r2'", "2"},
		{"source_path LIKE 's3://b/%'", "1 2"},
		{"version_number > 1", "2 10"},
		{"version_number >= 2 and version_number<10", "2"},
		{"version_number <= 1", "1"},
		{"version_number != 2 AND version_number != 10", "1"},
		{"version_number = 10", "10"},
		{"tags.team = 'risk'", "1"},
		{"tag.`team` != 'risk'", "2"},
		{"tags.`team` ILIKE 'p%'", "2"},
		{"tags.\"team\" LIKE 'P_y'", "2"},
		{"tags.`a.b/c-d` = 'x'", "1"},
		{"tags.a.b/c-d = 'x'", "1"},
		{"tag.`mlflow.prompt.is_prompt` != 'true'", "1 2"},
		{"tag.`mlflow.prompt.is_prompt` = 'true'", "10"},
		{"tag.`mlflow.prompt.is_prompt` = 'false'", "1 2"},
		{"tags.absent != 'x'", ""},
		{"name = 'a AND b'", ""},
	}
	for _, tt := range tests {
		t.Run(tt.filter, func(t *testing.T) {
			t.Parallel()
			f, err := parseFilter(tt.filter, versionAttributes)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, v := range testVersions() {
				if f.matches(searchedVersion(v), versionAttributes) {
					got = append(got, searchedVersion(v).attributes["version_number"])
				}
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("matches %v, want %s", got, tt.want)
			}
		})
	}
}

func TestFilterRefuses(t *testing.T) {
	t.Parallel()
	for filter, want := range map[string]string{
		"current_stage = 'Production'":   "Invalid attribute key 'current_stage' specified. Valid keys are '{name, run_id, source_path, version_number}'",
		"name = 'a' OR name = 'b'":       "joined by AND",
		"name = 'a' name = 'b'":          "joined by AND",
		"name = a":                       "quoted string value",
		"name = 'a":                      "cannot read it",
		"name":                           "Invalid comparator ''",
		"name = ":                        "quoted string value",
		"name > 'a'":                     "Invalid comparator '>'",
		"version_number = 'a'":           "an integer",
		"version_number LIKE '1'":        "Invalid comparator 'LIKE'",
		"version_number = 1.5":           "an integer",
		"source_path IN ('a')":           "Invalid comparator 'IN'",
		"tags.k IN ('a')":                "Invalid comparator 'IN'",
		"run_id IN 'a'":                  "list of quoted string values",
		"run_id IN ('a'":                 "does not end",
		"run_id IN (a)":                  "list of quoted string values",
		"run_id IN ()":                   "list of quoted string values",
		"metric.auc = 'x'":               "Invalid entity type 'metric'",
		"name = 'a' AND":                 "Invalid",
		"; DROP TABLE model_versions":    "cannot read it",
		strings.Repeat("name='a'", 2000): "at most 10000",
	} {
		_, err := parseFilter(filter, versionAttributes)
		var e *apiError
		if !errors.As(err, &e) || e.status != http.StatusBadRequest || e.code != codeInvalid || !strings.Contains(e.message, want) {
			t.Errorf("%.40s: %v; want %q", filter, err, want)
		}
	}
	if _, err := parseFilter("version_number = 1", modelAttributes); err == nil {
		t.Error("models are not searched by version")
	}
}

func TestPagesAndOrder(t *testing.T) {
	t.Parallel()
	s := fuzzServer(t)
	at := time.Unix(1_800_000_000, 0)
	s.opts.Now = func() time.Time { at = at.Add(time.Second); return at }
	for _, name := range []string{"b", "a", "c"} {
		if _, err := s.createModel(t.Context(), "t", createModelIn{Name: text(name)}); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := s.createVersion(t.Context(), "t", createVersionIn{Name: text(name), Source: "s3://b/k"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct{ path, query, want string }{
		{"model-versions/search", "", "c3 c2 c1 a3 a2 a1 b3 b2 b1"}, // last updated first
		{"model-versions/search", "order_by=name&max_results=4", "a3 a2 a1 b3 b2 b1 c3 c2 c1"},
		{"model-versions/search", "order_by=version_number+ASC&order_by=name+DESC&max_results=2", "c1 b1 a1 c2 b2 a2 c3 b3 a3"},
		{"model-versions/search", "order_by=creation_timestamp&filter=name%3D'a'&max_results=1", "a1 a2 a3"},
		{"registered-models/search", "max_results=2", "a b c"},
		{"registered-models/search", "order_by=creation_timestamp+DESC&max_results=1", "c a b"},
		{"registered-models/search", "order_by=last_updated_timestamp+ASC", "b a c"},
	}
	item := regexp.MustCompile(`"name":"(\w)","version":"(\d)"`)
	if strings.Contains(tests[0].path, "registered") {
		t.Fatal("the first case searches versions")
	}
	for _, tt := range tests {
		var got []string
		token := ""
		for pages := 0; ; pages++ {
			w := httptest.NewRecorder()
			target := "http://localhost" + mlflowAPI + tt.path + "?" + tt.query + "&page_token=" + url.QueryEscape(token)
			s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil))
			body := w.Body.String()
			if strings.HasPrefix(tt.path, "registered") {
				for _, m := range regexp.MustCompile(`\{"name":"(\w)","creation`).FindAllStringSubmatch(body, -1) {
					got = append(got, m[1])
				}
			} else {
				for _, m := range item.FindAllStringSubmatch(body, -1) {
					got = append(got, m[1]+m[2])
				}
			}
			next := regexp.MustCompile(`"next_page_token":"([^"]+)"`).FindStringSubmatch(body)
			if next == nil {
				break
			}
			if token = next[1]; pages > 20 {
				t.Fatal("the pages do not end")
			}
		}
		if diff := cmp.Diff(tt.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s?%s (-want +got):\n%s", tt.path, tt.query, diff)
		}
	}
}

func FuzzParseFilter(f *testing.F) {
	for _, s := range []string{"name = 'a'", "run_id IN ('a', 'b') AND tags.`k` ILIKE '%x_'", "version_number >= 3", `name="x" and tag."y" != 'z'`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		parsed, err := parseFilter(s, versionAttributes)
		if err != nil {
			var e *apiError
			if !errors.As(err, &e) || e.status != http.StatusBadRequest {
				t.Errorf("error %v is not a 400", err)
			}
			return
		}
		for _, v := range testVersions() {
			parsed.matches(searchedVersion(v), versionAttributes)
		}
	})
}

// fuzzServer opens a server on a store of its own.
func fuzzServer(tb testing.TB) *Server {
	tb.Helper()
	db, err := sqlite.Open(tb.Context(), tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	s, err := New(Options{Store: db, ArtifactRoot: filepath.Join(tb.TempDir(), "artifacts")})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// FuzzServe sends anything anywhere: never a panic, and never a 500, which MLflow's clients would repeat.
func FuzzServe(f *testing.F) {
	s := fuzzServer(f)
	if _, err := s.createModel(f.Context(), "t", createModelIn{Name: "m"}); err != nil {
		f.Fatal(err)
	}
	routes := make([]string, 0, len(s.routes))
	for route := range s.routes {
		routes = append(routes, route)
	}
	for _, route := range routes {
		f.Add(route, "name=m&version=1&filter=name%3D'm'&path=a", `{"name":"m","version":"1","stage":"Staging","source":"s3://b/k","key":"k","value":"v","alias":"a"}`)
	}
	f.Add("PUT "+artifactsAPI+"/a/b", "", "bytes")
	f.Add("GET "+artifactsAPI+"/a/%2e%2e/b", "", "")
	f.Fuzz(func(t *testing.T, route, query, body string) {
		method, path, _ := strings.Cut(route, " ")
		switch method {
		case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead:
		default:
			method = http.MethodGet
		}
		r := httptest.NewRequestWithContext(t.Context(), method, "http://localhost/", strings.NewReader(body))
		r.URL.Path, r.URL.RawQuery = path, query
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code == http.StatusInternalServerError {
			t.Errorf("%s %q ?%q %q: %d %s", method, path, query, body, w.Code, w.Body)
		}
	})
}

func BenchmarkSnapshotCalls(b *testing.B) {
	s := fuzzServer(b)
	if _, err := s.createModel(b.Context(), "t", createModelIn{Name: "m"}); err != nil {
		b.Fatal(err)
	}
	for range 50 {
		if _, err := s.createVersion(b.Context(), "t", createVersionIn{Name: "m", Source: "s3://b/k"}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		for _, target := range []string{"registered-models/get?name=m", "model-versions/search?filter=name%3D'm'"} {
			w := httptest.NewRecorder()
			s.ServeHTTP(w, httptest.NewRequestWithContext(b.Context(), http.MethodGet, "http://localhost"+mlflowAPI+target, nil))
			if w.Code != http.StatusOK {
				b.Fatal(w.Body)
			}
		}
	}
}
