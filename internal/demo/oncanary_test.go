package demo

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The customers on the canary are those of the last answer, not of any before.
func TestPlayer_OnCanary(t *testing.T) {
	t.Parallel()
	canaries := map[string]bool{"customer-3": true, "customer-1": true}
	url := gateway(t, func(w http.ResponseWriter, r *http.Request) {
		if canaries[r.Header.Get("X-Customer-Id")] {
			predict(w, roleCanary, "42")
			return
		}
		predict(w, roleChampion, "41")
	})
	_, player := playUntil(t, traffic(6, url), 30)
	if diff := cmp.Diff([]string{"customer-1", "customer-3"}, player.OnCanary()); diff != "" {
		t.Errorf("on the canary (-want +got)\n%s", diff)
	}
	player.count(func(t *tally) { t.add("customer-1", answer{status: 200, role: roleChampion, version: "41"}) })
	if diff := cmp.Diff([]string{"customer-3"}, player.OnCanary()); diff != "" {
		t.Errorf("after one went back (-want +got)\n%s", diff)
	}
}
