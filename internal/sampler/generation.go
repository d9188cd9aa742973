package sampler

import (
	"context"
	"fmt"
)

// generationMetric is the gauge by which a gateway acknowledges a routing document.
const generationMetric = "serin_routing_generation"

// maxGeneration is the largest whole number that a gauge carries exactly.
const maxGeneration = 1 << 53

// Generation reads which routing generation the gateway routes the model by. An error means that the gateway did not tell: it does not answer,
// shows no page of metrics, or does not serve the model yet. Asking again is always allowed.
func (s *Scraper) Generation(ctx context.Context, name string) (int64, error) {
	series, err := s.Series(ctx)
	if err != nil {
		return 0, err
	}
	for _, one := range series {
		if one.Name != generationMetric || one.Labels["model"] != name {
			continue
		}
		if !(one.Value >= 0 && one.Value <= maxGeneration) || one.Value != float64(int64(one.Value)) { // NaN is not in the range
			return 0, fmt.Errorf("gateway %s: %s of %s is no generation: is it a gateway of serin?", s.url.Host, generationMetric, name)
		}
		return int64(one.Value), nil
	}
	return 0, fmt.Errorf("gateway %s does not serve %s yet", s.url.Host, name)
}
