package mlflow_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
)

func sha(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

var errCut = errors.New("connection was cut")

// breaker counts calls and cuts chosen ones: before they are sent, or after the server has done its work.
type breaker struct {
	next  http.RoundTripper // nil: the default transport
	calls atomic.Int64
	from  atomic.Int64 // calls from this number on fail; 0: none
	at    int64        // this call fails; 0: none
	after bool         // it fails after the server has answered
}

// failFrom makes the n-th call from now on, and all later ones, fail before they are sent; 0 mends it.
func (b *breaker) failFrom(n int64) {
	if n == 0 {
		b.from.Store(0)
		return
	}
	b.from.Store(b.calls.Load() + n)
}

func (b *breaker) RoundTrip(r *http.Request) (*http.Response, error) {
	n := b.calls.Add(1)
	next := b.next
	if next == nil {
		next = http.DefaultTransport
	}
	if from := b.from.Load(); (from > 0 && n >= from) || (n == b.at && !b.after) {
		return nil, errCut
	}
	resp, err := next.RoundTrip(r)
	if n == b.at && err == nil {
		_, copyErr := io.Copy(io.Discard, resp.Body)
		return nil, errors.Join(errCut, copyErr, resp.Body.Close())
	}
	return resp, err
}
