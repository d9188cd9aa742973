package chaostest

import (
	"testing"
	"time"
)

// TestChaosGateway kills server and gateway in the middle of a bake. The gateway that starts again while the server is dead serves champion and
// canary from its cache, and the server that comes back goes on.
func TestChaosGateway(t *testing.T) {
	t.Parallel()
	w := openWith(t, time.Minute, better)
	files := w.follow()
	server, gateway, customers := w.begin()
	id := w.canary(files)
	player := customers[better]
	if seen := player.Snapshot().Total; seen.Failures != 0 || seen.Refused != 0 {
		t.Errorf("before any kill: %d failures, %d refused: %s", seen.Failures, seen.Refused, seen.LastFailure)
	}
	server.kill()
	player.Mark()
	gateway.kill()
	gateway = w.startGateway()
	eventually(t, "who was refused before the start has been counted, and customers get answers again", readyWithin, func() bool {
		player.Mark()
		<-time.After(500 * time.Millisecond)
		seen := player.Snapshot().Window
		return seen.Roles["champion"] > 0 && seen.Failures == 0
	})
	player.Mark()
	eventually(t, "customers of both roles get answers", readyWithin, func() bool {
		seen := player.Snapshot().Window
		return seen.Roles["champion"] > 2*rate && seen.Roles["canary"] > 0
	})
	seen := player.Snapshot().Window
	if seen.Failures != 0 || seen.Refused != 0 {
		t.Errorf("with the server dead: %d failures, %d refused: %s", seen.Failures, seen.Refused, seen.LastFailure)
	}
	if share := float64(seen.Roles["canary"]) / float64(seen.Answered); share < 0.12 || share > 0.28 {
		t.Errorf("with the server dead the canary has %.0f %% of %d answers, the file says 20 %%", 100*share, seen.Answered)
	}
	server = w.serve()
	r, err := w.client.Get(t.Context(), id)
	if err != nil || r.Phase.Ended() {
		t.Errorf("after the restart: %s %q, %v", r.Phase, r.Reason, err)
	}
	server.stop(t)
	gateway.stop(t)
	files.check(t)
}
