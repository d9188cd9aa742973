package sampler

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// showing is a gateway whose page of metrics is text.
func showing(t *testing.T, text string) *Scraper {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(srv.Close)
	s, err := NewScraper(ScraperOptions{URL: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const twoModels = `# TYPE serin_routing_generation gauge
serin_routing_generation{model="other"} 4
serin_routing_generation{model="fraud"} 17
`

func TestGeneration(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, page string
		want       int64
		err        string
	}{
		{name: "the model's own, not the other's", page: twoModels, want: 17},
		{name: "zero is a generation", page: "# TYPE serin_routing_generation gauge\nserin_routing_generation{model=\"fraud\"} 0\n"},
		{name: "large and exact", page: "# TYPE serin_routing_generation gauge\nserin_routing_generation{model=\"fraud\"} 9007199254740991\n", want: 9007199254740991},
		{name: "another model only", page: strings.ReplaceAll(twoModels, `"fraud"`, `"fraud2"`), err: "does not serve fraud yet"},
		{name: "no model named", page: "# TYPE serin_routing_generation gauge\nserin_routing_generation 3\n", err: "does not serve fraud yet"},
		{name: "empty page", err: "does not serve fraud yet"},
		{name: "not a number of a document", page: "# TYPE serin_routing_generation gauge\nserin_routing_generation{model=\"fraud\"} NaN\n", err: "is no generation"},
		{name: "half a generation", page: "# TYPE serin_routing_generation gauge\nserin_routing_generation{model=\"fraud\"} 1.5\n", err: "is no generation"},
		{name: "negative", page: "# TYPE serin_routing_generation gauge\nserin_routing_generation{model=\"fraud\"} -1\n", err: "is no generation"},
		{name: "beyond whole numbers", page: "# TYPE serin_routing_generation gauge\nserin_routing_generation{model=\"fraud\"} 1e300\n", err: "is no generation"},
		{name: "not metrics", page: "<html>", err: "not in the text format"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := showing(t, tt.page).Generation(t.Context(), "fraud")
			if tt.err == "" && (err != nil || got != tt.want) {
				t.Fatalf("generation %d, error %v, want %d", got, err, tt.want)
			}
			if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err) || got != 0) {
				t.Fatalf("generation %d, error %v, want the error %q", got, err, tt.err)
			}
		})
	}
}

func TestGeneration_GatewayThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.NotFoundHandler())
	s, err := NewScraper(ScraperOptions{URL: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Generation(t.Context(), "fraud"); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("a page that is not there: %v", err)
	}
	srv.Close()
	if _, err := s.Generation(t.Context(), "fraud"); err == nil || !strings.Contains(err.Error(), s.url.Host) {
		t.Errorf("a gateway that is away: %v, want its address in it", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Generation(ctx, "fraud"); err == nil {
		t.Error("no error after the end of the context")
	}
}
