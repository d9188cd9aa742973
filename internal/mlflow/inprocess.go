package mlflow

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// InProcess is a RoundTripper that calls a handler in this process instead of a server: how the embedded registry is reached by the same client
// as a real one. Bodies stream in both directions. The handler runs in a goroutine that ends before the answer's body is closed or read to its end.
func InProcess(h http.Handler) http.RoundTripper { return &inProcess{handler: h} }

type inProcess struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper.
func (t *inProcess) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	in := req.Clone(ctx)
	in.RequestURI, in.RemoteAddr = req.URL.RequestURI(), "in-process"
	if in.Host == "" {
		in.Host = req.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	pr, pw := io.Pipe()
	w := &pipeWriter{header: http.Header{}, body: pw, ready: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer in.Body.Close() //nolint:errcheck // the transport owns it
		t.serve(w, in)
	}()
	select {
	case <-w.ready:
	case <-req.Context().Done():
		cancel()
		_ = pr.CloseWithError(req.Context().Err())
		<-done
		return nil, req.Context().Err()
	}
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, Body: &pipeBody{PipeReader: pr, cancel: cancel, done: done}, ContentLength: contentLength(w.sent), Request: req,
	}, nil
}

// serve runs the handler; a panic becomes a broken connection, as a server would make it.
func (t *inProcess) serve(w *pipeWriter, r *http.Request) {
	defer func() {
		if p := recover(); p != nil {
			w.WriteHeader(http.StatusInternalServerError)
			_ = w.body.CloseWithError(fmt.Errorf("handler panicked: %v", p))
			return
		}
		w.WriteHeader(http.StatusOK)
		_ = w.body.Close()
	}()
	t.handler.ServeHTTP(w, r)
}

func contentLength(h http.Header) int64 {
	var n int64
	if _, err := fmt.Sscan(h.Get("Content-Length"), &n); err != nil || n < 0 {
		return -1
	}
	return n
}

// pipeWriter is the handler's ResponseWriter. It is used by the handler's goroutine only, until ready is closed.
type pipeWriter struct {
	header http.Header
	body   *io.PipeWriter
	once   sync.Once
	ready  chan struct{} // closed when status and sent are final
	status int
	sent   http.Header
}

func (w *pipeWriter) Header() http.Header { return w.header }

func (w *pipeWriter) WriteHeader(status int) {
	w.once.Do(func() {
		w.status, w.sent = status, w.header.Clone()
		close(w.ready)
	})
}

func (w *pipeWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

// pipeBody ends the handler when its reader stops early, and waits for it.
type pipeBody struct {
	*io.PipeReader
	cancel context.CancelFunc
	done   chan struct{}
}

func (b *pipeBody) Close() error {
	b.cancel()
	err := b.PipeReader.Close()
	<-b.done
	return err
}
