package mlflow_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"serin/internal/mlflow"
)

func roundTrip(t *testing.T, h http.HandlerFunc, body io.Reader) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost/a%20b?c=d", body)
	if err != nil {
		t.Fatal(err)
	}
	return mlflow.InProcess(h).RoundTrip(req)
}

func TestInProcessStreams(t *testing.T) {
	t.Parallel()
	resp, err := roundTrip(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "localhost" || r.URL.Path != "/a b" || r.RequestURI != "/a%20b?c=d" || r.RemoteAddr != "in-process" {
			t.Errorf("request %s %s %s from %s", r.Host, r.URL.Path, r.RequestURI, r.RemoteAddr)
		}
		w.Header().Set("X-Before", "1")
		w.WriteHeader(http.StatusAccepted)
		w.Header().Set("X-After", "1") // too late, as in a server
		if _, err := io.Copy(w, io.LimitReader(r.Body, 5<<20)); err != nil {
			t.Error(err)
		}
	}, endlessReader{})
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil || n != 5<<20 || resp.StatusCode != http.StatusAccepted || resp.Header.Get("X-Before") != "1" || resp.Header.Get("X-After") != "" {
		t.Errorf("%d bytes, %v, status %d, header %v", n, err, resp.StatusCode, resp.Header)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
}

func TestInProcessEmptyAnswer(t *testing.T) {
	t.Parallel()
	resp, err := roundTrip(t, func(http.ResponseWriter, *http.Request) {}, strings.NewReader("unread"))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", resp, err)
	}
	if text, err := io.ReadAll(resp.Body); err != nil || len(text) != 0 {
		t.Errorf("%q, %v", text, err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
}

func TestInProcessPanicIsABrokenAnswer(t *testing.T) {
	t.Parallel()
	resp, err := roundTrip(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "begun")
		panic("oh")
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(resp.Body); err == nil || string(text) != "begun" || !strings.Contains(err.Error(), "handler panicked: oh") {
		t.Errorf("%q, %v", text, err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
}

// A reader that stops early ends the handler, and Close waits for it: nothing is left running.
func TestInProcessCloseEndsTheHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ended := false
		resp, err := roundTrip(t, func(w http.ResponseWriter, r *http.Request) {
			defer func() { ended = true }()
			for {
				if _, err := io.WriteString(w, "more"); err != nil {
					<-r.Context().Done()
					return
				}
			}
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(resp.Body, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil || !ended {
			t.Errorf("closed with %v, handler ended %v", err, ended)
		}
	})
}

func TestInProcessCancel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/", nil)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			synctest.Wait()
			cancel()
		}()
		resp, err := mlflow.InProcess(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })).RoundTrip(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}
