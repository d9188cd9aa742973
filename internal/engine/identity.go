package engine

import (
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"
)

// crockford is the alphabet of ULIDs: no I, L, O or U.
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// ids draws identifiers that sort in the order in which they were drawn, also within a millisecond and when the clock steps back.
type ids struct {
	mu   sync.Mutex
	last [16]byte // guarded by mu
}

// next gives a ULID: 48 bits of milliseconds and 80 random bits, as 26 characters.
func (g *ids) next(now time.Time) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var id [16]byte
	binary.BigEndian.PutUint64(id[:8], uint64(max(now.UnixMilli(), 0))<<16)
	_, _ = rand.Read(id[6:]) // never fails, see its documentation
	if string(id[:6]) <= string(g.last[:6]) {
		id = g.last
		for i := len(id) - 1; i >= 0; i-- {
			if id[i]++; id[i] != 0 {
				break
			}
		}
	}
	g.last = id
	return encodeULID(id)
}

// encodeULID writes 128 bits as 26 digits of 5 bits, the first of which has 3.
func encodeULID(id [16]byte) string {
	hi, lo := binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:])
	var text [26]byte
	for i := len(text) - 1; i >= 0; i-- {
		text[i] = crockford[lo&31]
		lo = lo>>5 | hi<<59
		hi >>= 5
	}
	return string(text[:])
}

// newSalt draws what divides the users of one rollout: 130 random bits as text.
func newSalt() string { return rand.Text() }
