package registry

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"serin/internal/model"
	"serin/internal/store"
)

// TestLikeAgainstRegexp holds LIKE against the regular expression that says the same, on short texts where all meets all.
func TestLikeAgainstRegexp(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(2, 3))
	letters := []string{"a", "b", "%", "_", "ü", "%", ".", "\n"}
	draw := func(n int) (s string) {
		for range random.IntN(n) {
			s += letters[random.IntN(len(letters))]
		}
		return s
	}
	matched := 0
	for range 50_000 {
		text, pattern := draw(7), draw(6)
		var expression strings.Builder
		for _, r := range pattern {
			switch r {
			case '%':
				expression.WriteString(".*")
			case '_':
				expression.WriteString(".")
			default:
				expression.WriteString(regexp.QuoteMeta(string(r)))
			}
		}
		want := regexp.MustCompile(`(?s)^` + expression.String() + `$`).MatchString(text)
		if like(text, pattern) != want {
			t.Fatalf("%q LIKE %q is %v", text, pattern, !want)
		}
		if want {
			matched++
		}
	}
	if matched < 1000 {
		t.Errorf("only %d matches: the draw tries misses only", matched)
	}
}

// TestLikeIsNotExponential: a pattern of many % on a text that almost matches, which naive matchers take years for.
func TestLikeIsNotExponential(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("a", 5000)
	if like(text+"c", strings.Repeat("%a", 500)+"b") || !like(text, strings.Repeat("a%", 500)) {
		t.Error("wrong answer")
	}
}

// TestRandomFilters builds filters together with what they mean, and holds parser and matcher against that meaning.
func TestRandomFilters(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(17, 19))
	all := testVersions()
	hits := 0
	for range 20_000 {
		var texts []string
		meaning := func(store.ModelVersion) bool { return true }
		for range 1 + random.IntN(3) {
			text, means := randomClause(random)
			before := meaning
			texts, meaning = append(texts, text), func(v store.ModelVersion) bool { return before(v) && means(v) }
		}
		expression := strings.Join(texts, []string{" AND ", " and ", "\nAnd\t"}[random.IntN(3)])
		f, err := parseFilter(expression, versionAttributes)
		if err != nil {
			t.Fatalf("%s: %v", expression, err)
		}
		for _, v := range all {
			got, want := f.matches(searchedVersion(v), versionAttributes), meaning(v)
			if got != want {
				t.Fatalf("%s matches %s/%d: %v, want %v", expression, v.Name, v.Version, got, want)
			}
			if want {
				hits++
			}
			if name := f.name(); want && name != "" && name != v.Name {
				t.Fatalf("%s reads only versions of %q, and %s/%d matches", expression, name, v.Name, v.Version)
			}
		}
	}
	if hits < 1000 {
		t.Errorf("only %d hits", hits)
	}
}

// randomClause draws one clause and what it means, written without looking at the parser.
func randomClause(random *rand.Rand) (string, func(store.ModelVersion) bool) {
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	quote := func(s string) string {
		if random.IntN(2) == 0 {
			return `"` + s + `"`
		}
		return "'" + s + "'"
	}
	switch random.IntN(4) {
	case 0:
		value := pick("fraud", "Fraud two", "nobody")
		if random.IntN(2) == 0 {
			return pick("name", "`name`", "attribute.name", "attributes.name") + pick("=", " = ") + quote(value), func(v store.ModelVersion) bool { return v.Name == value }
		}
		return "name != " + quote(value), func(v store.ModelVersion) bool { return v.Name != value }
	case 1:
		n := int64(random.IntN(12))
		op := pick("<", "<=", ">", ">=", "=", "!=")
		return fmt.Sprintf("version_number %s %d", op, n), func(v store.ModelVersion) bool {
			return map[string]bool{"<": v.Version < n, "<=": v.Version <= n, ">": v.Version > n, ">=": v.Version >= n, "=": v.Version == n, "!=": v.Version != n}[op]
		}
	case 2:
		a, b := pick("r1", "r2", "r9"), pick("r1", "r3")
		in := func(v store.ModelVersion) bool { return v.RunID == a || v.RunID == b }
		if random.IntN(2) == 0 {
			return fmt.Sprintf("run_id %s (%s,%s)", pick("IN", "in"), quote(a), quote(b)), in
		}
		return fmt.Sprintf("run_id %s (%s , %s)", pick("NOT IN", "not  in"), quote(a), quote(b)), func(v store.ModelVersion) bool { return !in(v) }
	}
	value, negated := pick("risk", "Pay", "x"), random.IntN(2) == 0
	op := map[bool]string{true: "!=", false: "="}[negated]
	return pick("tags.", "tag.") + pick("team", "`team`", `"team"`) + " " + op + " " + quote(value), func(v store.ModelVersion) bool {
		have, ok := v.Tags["team"]
		return ok && (have == value) != negated // a tag that is not there is not different either
	}
}

// TestPagesPartitionTheResults: whatever the page size, following the tokens gives every element once, in order.
func TestPagesPartitionTheResults(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 2, 7, 100} {
		var all []int
		for i := range n {
			all = append(all, i)
		}
		for _, size := range []int{1, 2, 3, 7, 99, 100, 101, 1000} {
			var got []int
			token := ""
			for pages := 0; ; pages++ {
				p, err := searchIn{MaxResults: text(strconv.Itoa(size)), PageToken: text(token)}.page(50, 1000)
				if err != nil {
					t.Fatal(err)
				}
				part, next := cut(all, p)
				if len(part) > size || len(part) == 0 && n > 0 {
					t.Fatalf("%d of %d: a page of %d", size, n, len(part))
				}
				if got = append(got, part...); next == "" {
					break
				}
				if token = next; pages > n {
					t.Fatalf("%d of %d: the pages do not end", size, n)
				}
			}
			if diff := cmp.Diff(all, got); diff != "" {
				t.Errorf("%d of %d (-all +pages):\n%s", size, n, diff)
			}
		}
	}
}

func TestPageArguments(t *testing.T) {
	t.Parallel()
	token := func(s string) text { return text(base64.StdEncoding.EncodeToString([]byte(s))) }
	for _, tt := range []struct {
		in   searchIn
		want page
		ok   bool
	}{
		{searchIn{}, page{0, 50}, true},
		{searchIn{MaxResults: "1000"}, page{0, 1000}, true},
		{searchIn{MaxResults: "1001"}, page{}, false},
		{searchIn{MaxResults: "0"}, page{}, false},
		{searchIn{MaxResults: "-1"}, page{}, false},
		{searchIn{MaxResults: "1.5"}, page{}, false},
		{searchIn{MaxResults: "9999999999999999999999"}, page{}, false},
		{searchIn{PageToken: token(`{"offset": 7}`)}, page{7, 50}, true}, // as MLflow's own server writes it
		{searchIn{PageToken: token(`{"offset":7,"more":"x"}`)}, page{7, 50}, true},
		{searchIn{PageToken: token(fmt.Sprintf(`{"offset":%d}`, math.MaxInt64))}, page{math.MaxInt64, 50}, true},
		{searchIn{PageToken: token(`{"offset":-1}`)}, page{}, false},
		{searchIn{PageToken: token(`{"offset":1e99}`)}, page{}, false},
		{searchIn{PageToken: token(`{"offset":"7"}`)}, page{}, false},
		{searchIn{PageToken: token(`7`)}, page{}, false},
		{searchIn{PageToken: "not base64!"}, page{}, false},
	} {
		got, err := tt.in.page(50, 1000)
		var e *apiError
		if (err == nil) != tt.ok || tt.ok && got != tt.want || err != nil && (!errors.As(err, &e) || e.status != http.StatusBadRequest) {
			t.Errorf("%+v: %+v, %v; want %+v, %v", tt.in, got, err, tt.want, tt.ok)
		}
		if err == nil {
			if part, next := cut([]int{1, 2, 3}, got); len(part) > 3 || got.offset > 3 && (len(part) != 0 || next != "") {
				t.Errorf("%+v cuts %v, %q", tt.in, part, next)
			}
		}
	}
}

func TestOrderBy(t *testing.T) {
	t.Parallel()
	keys := []string{"name", "version_number", "creation_timestamp", "last_updated_timestamp"}
	for _, tt := range []struct {
		in   []text
		want []order
		says string
	}{
		{nil, nil, ""},
		{[]text{"name"}, []order{{key: "name"}}, ""},
		{[]text{"`name` DESC", "version_number asc"}, []order{{"name", true}, {"version_number", false}}, ""},
		{[]text{"attribute.name  desc"}, []order{{"name", true}}, ""},
		{[]text{"timestamp"}, []order{{key: "last_updated_timestamp"}}, ""}, // the name that old clients send
		{[]text{""}, nil, "Invalid order_by clause ''"},
		{[]text{"name DESC please"}, nil, "Invalid order_by clause"},
		{[]text{"name UP"}, nil, "ASC or DESC"},
		{[]text{"current_stage"}, nil, "Valid keys are name, version_number"},
		{[]text{"name", "attribute.name DESC"}, nil, "duplicate fields: name"},
		{[]text{"timestamp", "last_updated_timestamp"}, nil, "duplicate fields"},
		{[]text{"name; DROP TABLE model_versions"}, nil, "Invalid order_by clause"},
	} {
		got, err := parseOrder(tt.in, keys...)
		if tt.says == "" && (err != nil || !cmp.Equal(tt.want, got, cmp.AllowUnexported(order{}))) || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
			t.Errorf("%q: %+v, %v; want %+v, %q", tt.in, got, err, tt.want, tt.says)
		}
	}
}

// TestLatestAgainstDefinition: of every stage the highest number, and the answer in the order of numbers.
func TestLatestAgainstDefinition(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(23, 29))
	stages := []model.Stage{model.StageNone, model.StageStaging, model.StageProduction, model.StageArchived}
	for range 500 {
		var versions []store.ModelVersion
		want := map[model.Stage]int64{}
		for n := int64(random.IntN(12)); n > 0; n-- { // newest first, as the store lists them
			v := store.ModelVersion{Version: n, Stage: stages[random.IntN(4)]}
			versions = append(versions, v)
			want[v.Stage] = max(want[v.Stage], n)
		}
		got, last := map[model.Stage]int64{}, int64(0)
		for _, v := range latest(versions) {
			if v.Version <= last {
				t.Fatalf("version %d after %d", v.Version, last)
			}
			got[v.Stage], last = v.Version, v.Version
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("latest of %+v (-want +got):\n%s", versions, diff)
		}
	}
}

// TestDecodeFully holds the bound: what is still escaped after it is refused, and what is not escaped is left as it is.
func TestDecodeFully(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "", "plain": "plain", "a%20b": "a b", "a%2520b": "a b", "100%": "100%", "%zz": "%zz", "%25": "%", "%2525": "%", "a+b": "a+b", "%2e%2E/x": "../x", "%252e%252e": "..",
	} {
		if got, ok := decodeFully(in); got != want || !ok {
			t.Errorf("decodeFully(%q) = %q, %v; want %q", in, got, ok, want)
		}
	}
	for levels := range 14 {
		_, ok := decodeFully("%" + strings.Repeat("25", levels) + "2e")
		if want := levels+1 < maxEscapes; ok != want {
			t.Errorf("%d levels: %v, want %v", levels+1, ok, want)
		}
	}
}

// TestShortKeepsText: an event's text is cut between characters, never inside one.
func TestShortKeepsText(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "x", strings.Repeat("x", 500), strings.Repeat("x", 501), strings.Repeat("ü", 400), "x" + strings.Repeat("ü", 400), strings.Repeat("😀", 200)} {
		got := short(s)
		if len(s) <= 500 && got != s || len(s) > 500 && (len(got) > 503 || !strings.HasSuffix(got, "...") || !strings.HasPrefix(s, strings.TrimSuffix(got, "..."))) {
			t.Errorf("%d bytes became %d: %q", len(s), len(got), got[max(0, len(got)-10):])
		}
	}
}
