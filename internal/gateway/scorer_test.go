package gateway

import "serin/internal/scorer"

// The scorer of this module is what the gateway scores with.
var _ InProcessScorer = (*scorer.PayloadScorer)(nil)
