package gateway

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/prometheus/common/expfmt"
	"github.com/valyala/fasthttp"
)

// exchange is what one request needs; it is used again.
type exchange struct {
	req  Request
	resp Response
	id   [32]byte
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

// handle is the front's handler: the gateway's own paths, and everything else through the gateway.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	s.inFlight.Add(1)
	defer s.inFlight.Add(-1)
	x, _ := exchanges.Get().(*exchange)
	defer exchanges.Put(x)
	x.resp.Reset()
	defer func() {
		if p := recover(); p != nil {
			s.opts.Logger.Error("gateway panicked", "panic", p, "stack", string(debug.Stack()))
			x.resp.Reset()
			x.resp.fail(http.StatusInternalServerError, "the gateway failed on this request: see its log")
		}
		s.write(ctx, x.req.ID, &x.resp)
	}()
	x.read(ctx)
	switch {
	case x.req.Path == "/ping" && readOnly(x.req.Method):
		x.resp.Status, x.resp.ContentType = http.StatusOK, jsonType
		x.resp.Body = append(x.resp.Body, '\n')
	case x.req.Path == "/health" && readOnly(x.req.Method):
		s.health(ctx, &x.resp)
	case x.req.Path == "/metrics" && readOnly(x.req.Method):
		s.metrics(ctx, &x.resp)
	default:
		s.route(&x.req)
		s.opts.Gateway.Handle(s.base(), &x.req, &x.resp)
	}
}

func readOnly(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// route takes /models/NAME off the path of a request for a model that is served by that name.
func (s *Server) route(req *Request) {
	rest, ok := strings.CutPrefix(req.Path, "/models/")
	if !ok {
		return
	}
	name, path, ok := strings.Cut(rest, "/")
	if !ok {
		return
	}
	if strings.ContainsRune(name, '%') {
		plain, err := url.PathUnescape(name)
		if err != nil {
			return
		}
		name = plain
	}
	// With one model an unknown name may be a path of its server. With several the answer is 404 either way.
	if s.opts.Gateway.find(name) != nil || s.opts.Gateway.find("") == nil {
		req.Model, req.Path = name, interned(path)
	}
}

// interned gives "/" and the path, without allocating for the usual one.
func interned(path string) string {
	if path == invocations[1:] {
		return invocations
	}
	return "/" + path
}

// read fills the request from fasthttp's. Its bytes are fasthttp's and valid until the handler returns.
func (x *exchange) read(ctx *fasthttp.RequestCtx) {
	header := &ctx.Request.Header
	req := &x.req
	*req = Request{Header: req.Header[:0], Body: ctx.Request.Body()}
	req.Method = methodName(header.Method())
	if path := ctx.URI().PathOriginal(); string(path) == invocations {
		req.Path = invocations
	} else {
		req.Path = string(path)
	}
	if query := ctx.URI().QueryString(); len(query) > 0 {
		req.Query = string(query)
	}
	if ct := header.ContentType(); string(ct) == jsonType {
		req.ContentType = jsonType
	} else {
		req.ContentType = string(ct)
	}
	for name, value := range header.All() {
		switch string(name) {
		case fasthttp.HeaderContentType, fasthttp.HeaderContentLength, fasthttp.HeaderHost:
		case "X-Request-Id":
			req.ID = value
		default:
			req.Header = append(req.Header, Header{name, value})
		}
	}
	if len(req.ID) == 0 {
		var raw [16]byte
		for i := range raw {
			raw[i] = byte(rand.Uint32())
		}
		hex.Encode(x.id[:], raw[:])
		req.ID = x.id[:]
	}
}

func methodName(m []byte) string {
	if string(m) == http.MethodPost {
		return http.MethodPost
	}
	return string(m)
}

// write hands the response over to fasthttp, which copies it.
func (s *Server) write(ctx *fasthttp.RequestCtx, id []byte, resp *Response) {
	out := &ctx.Response
	out.SetStatusCode(resp.Status)
	if resp.ContentType != "" {
		out.Header.SetContentType(resp.ContentType)
	}
	for _, h := range resp.Header {
		out.Header.AddBytesKV(h.Name, h.Value)
	}
	if resp.ServedBy != "" {
		out.Header.Set("X-Serin-Served-By", string(resp.ServedBy))
		out.Header.Set("X-Serin-Model-Version", resp.Version)
	}
	if len(id) > 0 {
		out.Header.SetBytesV("X-Request-Id", id)
	}
	out.SetBody(resp.Body)
	if s.draining.Load() {
		ctx.SetConnectionClose()
	}
}

// metrics answers GET /metrics from the gateway's registry.
func (s *Server) metrics(ctx *fasthttp.RequestCtx, resp *Response) {
	families, err := s.opts.Gateway.opts.Registry.Gather()
	if err != nil {
		s.opts.Logger.Error("gather metrics", "err", err)
		resp.fail(http.StatusInternalServerError, "the metrics could not be gathered: see the log of the gateway")
		return
	}
	format := expfmt.NegotiateAccept(http.Header{"Accept": {string(ctx.Request.Header.Peek("Accept"))}}, expfmt.DefaultAcceptedFormats()...)
	var out bytes.Buffer
	enc := expfmt.NewEncoder(&out, format)
	for _, f := range families {
		if err := enc.Encode(f); err != nil {
			s.opts.Logger.Error("write metrics", "err", err)
			resp.fail(http.StatusInternalServerError, "the metrics could not be written: see the log of the gateway")
			return
		}
	}
	resp.Status, resp.ContentType = http.StatusOK, string(format)
	resp.Body = append(resp.Body[:0], out.Bytes()...)
}
