package gateway

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// BenchmarkCore is one request through the core with a scorer that does nothing: what the gateway itself costs.
func BenchmarkCore(b *testing.B) {
	for name, pct := range map[string]float64{"champion": 0, "canary": 99} {
		b.Run(name, func(b *testing.B) {
			g := newGateway(b, Options{})
			route := Route{Table: table(pct), Champion: NewInProcess(echoScorer{}, nil)}
			if pct > 0 {
				route.Canary = NewInProcess(echoScorer{}, nil)
			}
			g.Swap(fraud, route)
			req := &Request{Method: http.MethodPost, Path: invocations, Header: []Header{{[]byte("X-Customer-Id"), []byte("customer-1")}}, Body: []byte("{}")}
			resp := &Response{}
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				if g.Handle(ctx, req, resp); resp.Status != 200 {
					b.Fatal(resp.Status)
				}
			}
		})
	}
}

// BenchmarkHTTP compares, over one kept connection on loopback: the gateway that scores itself, a model server asked directly, and the
// same server behind the gateway.
func BenchmarkHTTP(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", jsonType)
		_, _ = w.Write([]byte(`{"predictions": [0.5]}`))
	}))
	defer server.Close()
	local, proxy := newGateway(b, Options{}), newGateway(b, Options{})
	local.Swap(fraud, Route{Table: table(0), Champion: NewInProcess(echoScorer{}, nil)})
	proxy.Swap(fraud, Route{Table: table(0), Champion: newURL(b, URLOptions{URL: server.URL})})
	for _, target := range []struct{ name, url string }{
		{"inprocess", serve(b, ServerOptions{Gateway: local})},
		{"direct", server.URL},
		{"proxy", serve(b, ServerOptions{Gateway: proxy})},
	} {
		b.Run(target.name, func(b *testing.B) {
			c := client(b)
			b.ReportAllocs()
			for b.Loop() {
				if a := send(b, c, http.MethodPost, target.url+invocations, "{}", "X-Customer-Id", "c1"); a.status != 200 {
					b.Fatal(a.status)
				}
			}
		})
	}
}
