package registry_test

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"serin/internal/registry"
	"serin/internal/store/sqlite"
)

// exchange is one recorded call of MLflow's own client to MLflow's own server; testdata/make_golden.py says how it was trimmed.
type exchange struct {
	N        int    `json:"n"`
	Phase    string `json:"phase"`
	Method   string `json:"method"`
	Path     string `json:"path"`
	Query    string `json:"query"`
	Request  *body  `json:"request"`
	Status   int    `json:"status"`
	Response *body  `json:"response"`
}

type body struct {
	JSON   any     `json:"json"`
	Text   *string `json:"text"`
	Base64 *[]byte `json:"base64"`
}

func (b *body) bytes(t *testing.T) []byte {
	t.Helper()
	switch {
	case b == nil:
		return nil
	case b.Base64 != nil:
		return *b.Base64
	case b.Text != nil:
		return []byte(*b.Text)
	}
	text, err := json.Marshal(b.JSON)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func readGolden(t *testing.T, file string) []exchange {
	t.Helper()
	f, err := os.Open("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var all []exchange
	lines := bufio.NewScanner(zipped)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var x exchange
		if err := json.Unmarshal(lines.Bytes(), &x); err != nil {
			t.Fatal(err)
		}
		all = append(all, x)
	}
	if err := lines.Err(); err != nil || len(all) == 0 {
		t.Fatalf("%s: %d exchanges, %v", file, len(all), err)
	}
	return all
}

// server opens a registry on a store of its own; change may alter its options.
func server(tb testing.TB, change ...func(*registry.Options)) *registry.Server {
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
	o := registry.Options{Store: db, ArtifactRoot: tb.TempDir()}
	for _, f := range change {
		f(&o)
	}
	s, err := registry.New(o)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// difference is a way in which our answer may differ from the recorded one. It changes both sides so that they are equal when nothing else differs,
// and says whether it had anything to do: one that never applies has to go.
type difference struct {
	name  string
	apply func(x exchange, got, want *answerOf) bool
}

type answerOf struct {
	status int
	json   any
}

var allowedDifferences = []difference{
	{"MLflow 3.11 and later add sqlstate and error_class to errors", func(_ exchange, _, want *answerOf) bool {
		m, ok := want.json.(map[string]any)
		if !ok || m["error_class"] == nil {
			return false
		}
		delete(m, "sqlstate")
		delete(m, "error_class")
		return true
	}},
	{"archiving on the way to Archived is 400, not 500, which old clients repeat for minutes", func(x exchange, got, want *answerOf) bool {
		if !strings.HasSuffix(x.Path, "/transition-stage") || want.status != 500 || got.status != 400 {
			return false
		}
		want.status = 400
		object(want.json)["error_code"] = "INVALID_PARAMETER_VALUE"
		return true
	}},
	{"searched versions carry their aliases, which the real server forgets", func(x exchange, got, _ *answerOf) bool {
		used := false
		if strings.HasSuffix(x.Path, "/model-versions/search") {
			walk(got.json, func(m map[string]any) {
				used = used || m["aliases"] != nil
				delete(m, "aliases")
			})
		}
		return used
	}},
	{"an empty list of files is [], not left out", func(x exchange, got, want *answerOf) bool {
		if !strings.HasSuffix(x.Path, "/artifacts") || len(object(want.json)) > 0 {
			return false
		}
		files, ok := object(got.json)["files"].([]any)
		if !ok || len(files) > 0 {
			return false
		}
		delete(object(got.json), "files")
		return true
	}},
	{"an upload is answered with {} as in MLflow 2, not with nothing", func(x exchange, got, want *answerOf) bool {
		if x.Method != http.MethodPut || want.json != nil {
			return false
		}
		want.json = map[string]any{}
		return true
	}},
	{"times are other times, but numbers", func(_ exchange, got, want *answerOf) bool {
		used := false
		for _, side := range []*answerOf{got, want} {
			walk(side.json, func(m map[string]any) {
				for _, key := range []string{"creation_timestamp", "last_updated_timestamp"} {
					if n, ok := m[key].(float64); ok && n > 1.7e12 {
						m[key], used = "a time in milliseconds", true
					}
				}
			})
		}
		return used
	}},
	{"the newest versions of the stages come in another order", func(_ exchange, got, want *answerOf) bool {
		used := false
		for _, side := range []*answerOf{got, want} {
			walk(side.json, func(m map[string]any) {
				if list, ok := m["latest_versions"].([]any); ok && len(list) > 1 {
					used = true
					slices.SortFunc(list, func(a, b any) int {
						return cmp.Compare(fmt.Sprint(object(a)["version"]), fmt.Sprint(object(b)["version"]))
					})
				}
			})
		}
		return used
	}},
}

// object is v as a JSON object; an empty one when it is something else.
func object(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// walk visits every object in a JSON value.
func walk(v any, visit func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		visit(v)
		for _, inner := range v {
			walk(inner, visit)
		}
	case []any:
		for _, inner := range v {
			walk(inner, visit)
		}
	}
}

// TestGolden replays what MLflow's client sends, in order, and compares status and body with what MLflow's server answered.
func TestGolden(t *testing.T) {
	t.Parallel()
	used := map[string]int{}
	for _, file := range []string{"golden-3.18.jsonl.gz", "golden-2.22.jsonl.gz"} {
		s := server(t)
		for _, x := range readGolden(t, file) {
			w := send(t, s, x)
			if isDownload(x) {
				if w.Code != x.Status || !bytes.Equal(w.Body.Bytes(), x.Response.bytes(t)) {
					t.Errorf("%s %d: %s %s: status %d with %d other bytes", file, x.N, x.Method, x.Path, w.Code, w.Body.Len())
				}
				continue
			}
			got, want := answerOf{status: w.Code}, answerOf{status: x.Status}
			if err := json.Unmarshal(w.Body.Bytes(), &got.json); err != nil {
				t.Errorf("%s %d: %s %s: %v in %q", file, x.N, x.Method, x.Path, err, w.Body)
			}
			if x.Response != nil {
				want.json = x.Response.JSON
			}
			for _, d := range allowedDifferences {
				if d.apply(x, &got, &want) {
					used[d.name]++
				}
			}
			if diff := gocmp.Diff(want, got, gocmp.AllowUnexported(answerOf{})); diff != "" {
				t.Errorf("%s %d: %s %s?%s (-MLflow +ours):\n%s", file, x.N, x.Method, x.Path, x.Query, diff)
			}
		}
	}
	for _, d := range allowedDifferences {
		if used[d.name] == 0 {
			t.Errorf("the allowed difference %q is not needed", d.name)
		}
	}
}

func isDownload(x exchange) bool {
	return x.Method == http.MethodGet && strings.Contains(x.Path, "/mlflow-artifacts/artifacts/") && x.Status == http.StatusOK
}

func send(t *testing.T, h http.Handler, x exchange) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), x.Method, "http://localhost/", bytes.NewReader(x.Request.bytes(t)))
	r.URL.Path, r.URL.RawQuery = x.Path, x.Query
	if x.Request != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
