package chaostest

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"serin/internal/notify"
	"serin/internal/traffic"
)

// point is a moment to kill the server in.
type point string

// The points. All but the first are between an effect and the commit that records it; they are hit from outside, by looking every millisecond.
const (
	atRandom     point = "at a random moment"
	atStart      point = "while rollouts are started"
	afterRouting point = "between routing file and commit"
	afterStage   point = "between registry and commit"
	whileTelling point = "between message and its record"
)

// How long a kill waits for its moment before it strikes anyhow.
const (
	patience  = 15 * time.Second
	longest   = 45 * time.Second // for the promotion, which comes at the end
	randomest = 2500 * time.Millisecond
)

// strike kills the server at the point and returns when it is dead; false when the moment did not come.
func (w *world) strike(p *process, at point, files *routings, rng *rand.Rand) (came bool) {
	reached := make(chan struct{}, 1)
	hit := func() {
		p.strike()
		<-p.ended
		reached <- struct{}{}
	}
	wait := patience
	switch at {
	case afterRouting:
		files.arm(func(string, traffic.Document) { hit() })
		defer files.arm(nil)
	case whileTelling:
		w.told.arm(func(notify.Message) { hit() })
		defer w.told.arm(nil)
	case afterStage:
		wait = longest
		ctx, cancel := context.WithCancel(w.t.Context())
		done := make(chan struct{})
		defer func() { cancel(); <-done }()
		go func() {
			defer close(done)
			if w.awaitProduction(ctx, better, "2") {
				hit()
			}
		}()
	case atRandom, atStart:
		wait = time.Duration(rng.Int64N(int64(randomest)))
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-reached:
		return true
	case <-timer.C:
	case <-p.ended:
		select {
		case <-reached: // it ended because it was hit
			return true
		case <-time.After(time.Second):
		}
	}
	p.kill()
	return at == atRandom || at == atStart
}

// awaitProduction asks the server's registry every millisecond until the version is in Production; false when it cannot come any more.
func (w *world) awaitProduction(ctx context.Context, name, version string) bool {
	target := w.api + "/api/2.0/mlflow/model-versions/get?" + url.Values{"name": {name}, "version": {version}}.Encode()
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
		if err != nil {
			return false
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			continue // it does not serve yet
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if strings.Contains(string(body), `"current_stage":"Production"`) || strings.Contains(string(body), `"current_stage": "Production"`) {
			return true
		}
	}
}
