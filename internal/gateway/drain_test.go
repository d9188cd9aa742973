package gateway

import (
	"context"
	"net"
	"testing"
	"time"
)

// A server that is told to end before it has begun to listen ends all the same. The order of the two is chance, so it is tried often.
func TestServe_ToldToEndAtOnce(t *testing.T) {
	t.Parallel()
	g, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s, err := NewServer(ServerOptions{Gateway: g, DrainNotice: -1})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(ctx, ln) }()
		select {
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("it serves on")
		}
		if _, err := net.DialTimeout("tcp", ln.Addr().String(), time.Second); err == nil {
			t.Fatal("it still takes connections")
		}
	}
}
