package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// ServerOptions configure the front. Zero values get the defaults.
type ServerOptions struct {
	Gateway *Gateway
	Logger  *slog.Logger
	// MaxBody (1 MiB) bounds a request's body, MaxHeader (16 KiB) its request line and header together.
	MaxBody, MaxHeader int
	// HeaderTime (10 s) is for the request's header, and for the first byte on a new connection; BodyTime (10 s) for its body; IdleTime
	// (120 s) for a kept connection without a request.
	HeaderTime, BodyTime, IdleTime time.Duration
	// DrainNotice (1 s, negative: none) is how long the front still takes connections while /health says 503, so that load balancers see
	// it. DrainTime (30 s) bounds what follows.
	DrainNotice, DrainTime time.Duration
}

// Server is the HTTP/1.1 front of a Gateway.
type Server struct {
	opts     ServerOptions
	http     *fasthttp.Server
	draining atomic.Bool
	inFlight atomic.Int64
	// base is the context of the requests in flight; it ends with the last of them or with the drain's deadline.
	base func() context.Context
}

// NewServer checks the options.
func NewServer(o ServerOptions) (*Server, error) {
	if o.Gateway == nil {
		return nil, errors.New("gateway server without a gateway: give one")
	}
	def(&o.Logger, o.Gateway.opts.Logger)
	def(&o.MaxBody, 1<<20)
	def(&o.MaxHeader, 16<<10)
	def(&o.HeaderTime, 10*time.Second)
	def(&o.BodyTime, 10*time.Second)
	def(&o.IdleTime, 2*time.Minute)
	def(&o.DrainNotice, time.Second)
	def(&o.DrainTime, 30*time.Second)
	s := &Server{opts: o}
	s.http = &fasthttp.Server{
		Handler:      s.handle,
		ErrorHandler: s.badRequest,
		HeaderReceived: func(*fasthttp.RequestHeader) fasthttp.RequestConfig {
			return fasthttp.RequestConfig{ReadTimeout: o.BodyTime}
		},
		Logger:                fasthttpLog{o.Logger},
		ReadBufferSize:        o.MaxHeader,
		MaxRequestBodySize:    o.MaxBody,
		ReadTimeout:           o.HeaderTime,
		WriteTimeout:          o.BodyTime,
		IdleTimeout:           o.IdleTime,
		NoDefaultServerHeader: true,
		NoDefaultContentType:  true,
		CloseOnShutdown:       true,

		DisablePreParseMultipartForm: true, // a body is passed on as it came
	}
	return s, nil
}

// fasthttpLog takes what fasthttp has to say about connections, which is about clients that went away.
type fasthttpLog struct{ logger *slog.Logger }

// Printf logs a line of fasthttp.
func (l fasthttpLog) Printf(format string, args ...any) {
	l.logger.Debug("http server", "message", fmt.Sprintf(format, args...))
}

// Serve answers on ln until ctx ends, and then drains: /health says 503, every answer closes its connection, and after the notice no
// connection is taken. It returns nil when all requests have been answered. A Server serves once.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	s.base = func() context.Context { return base }
	ln = &onceClosed{Listener: ln}
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(ln) }()
	select {
	case err := <-served:
		return fmt.Errorf("gateway on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	s.draining.Store(true)
	s.opts.Logger.Info("gateway drains", "notice", s.opts.DrainNotice.String(), "deadline", s.opts.DrainTime.String())
	if s.opts.DrainNotice > 0 {
		notice := time.NewTimer(s.opts.DrainNotice)
		defer notice.Stop()
		select {
		case err := <-served:
			return fmt.Errorf("gateway on %s: %w", ln.Addr(), err)
		case <-notice.C:
		}
	}
	// The listener is closed here: Shutdown knows it only once Serve has run, which it may not have when the end comes at once.
	if err := errors.Join(ln.Close(), <-served); err != nil {
		return fmt.Errorf("gateway on %s: %w", ln.Addr(), err)
	}
	deadline, done := context.WithTimeout(base, s.opts.DrainTime)
	defer done()
	if err := s.http.ShutdownWithContext(deadline); err != nil {
		open := s.inFlight.Load()
		cancel() // what still runs is told to end
		return fmt.Errorf("gateway drain: %w: %d requests had no answer yet and are cut", err, open)
	}
	return nil
}

// onceClosed is a listener that may be closed again without an error.
type onceClosed struct {
	net.Listener
	once sync.Once
	err  error
}

// Close closes the listener the first time.
func (l *onceClosed) Close() error {
	l.once.Do(func() { l.err = l.Listener.Close() })
	return l.err
}

// badRequest answers what never became a request.
func (s *Server) badRequest(ctx *fasthttp.RequestCtx, err error) {
	var small *fasthttp.ErrSmallBuffer
	var timeout interface{ Timeout() bool }
	var resp Response
	switch {
	case errors.As(err, &small):
		resp.fail(http.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("the header is larger than %d bytes", s.opts.MaxHeader))
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		resp.fail(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes: send fewer rows at a time", s.opts.MaxBody))
	case errors.As(err, &timeout) && timeout.Timeout():
		resp.fail(http.StatusRequestTimeout, "the request did not arrive in time")
	default:
		resp.fail(http.StatusBadRequest, "this is not an HTTP/1.1 request")
	}
	s.write(ctx, nil, &resp)
}

// health answers GET /health: 200 when the champion answers, with several models when one of them does. The body tells each.
func (s *Server) health(_ *fasthttp.RequestCtx, resp *Response) {
	models := map[string]string{}
	ready := false
	for name, err := range s.opts.Gateway.Health(s.base()) {
		models[name] = "ok"
		if err != nil {
			models[name] = "the champion does not answer"
			s.opts.Logger.Debug("health", "model", name, "err", err)
		}
		ready = ready || err == nil
	}
	status := "ok"
	switch {
	case s.draining.Load():
		status, ready = "draining", false
	case len(models) == 0:
		status = "no model is served"
	case !ready:
		status = "not ready"
	}
	resp.Status, resp.ContentType = http.StatusOK, jsonType
	if !ready {
		resp.Status = http.StatusServiceUnavailable
	}
	body, err := json.Marshal(map[string]any{"status": status, "models": models})
	if err != nil {
		resp.fail(http.StatusInternalServerError, "health could not be written")
		return
	}
	resp.Body = append(append(resp.Body[:0], body...), '\n')
}
