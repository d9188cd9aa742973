package demo

import "math"

// bandTail is the probability on each side of the band: it holds 99.9 % of what chance does.
const bandTail = 0.0005

// Band is the range of counts that n draws with probability p stay in with at least 99.9 %: fewer than low, or more than high, is each less
// likely than 0.05 %. Exact binomial; n up to a few millions.
func Band(n int, p float64) (low, high int) {
	switch {
	case n <= 0 || math.IsNaN(p) || p <= 0:
		return 0, 0
	case p >= 1:
		return n, n
	}
	return tail(n, p), n - tail(n, 1-p)
}

// tail is the largest k with P(X < k) <= bandTail.
func tail(n int, p float64) int {
	logN, _ := math.Lgamma(float64(n) + 1)
	below := 0.0
	for k := range n + 1 {
		a, _ := math.Lgamma(float64(k) + 1)
		b, _ := math.Lgamma(float64(n-k) + 1)
		below += math.Exp(logN - a - b + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
		if below > bandTail {
			return k
		}
	}
	return n
}

// CanaryShare says whether the share of customers on the canary is what a weight in percent brings by chance.
func (s Seen) CanaryShare(weightPct float64) Share {
	share := Share{Customers: s.Customers, Canary: s.CanaryCustomers}
	share.Low, share.High = Band(s.Customers, weightPct/100)
	share.Within = s.Customers > 0 && share.Canary >= share.Low && share.Canary <= share.High
	return share
}

// Share is how many of the customers were on the canary, and the band of counts that the weight allows.
type Share struct {
	Customers int `json:"customers"`
	Canary    int `json:"canary"`
	Low       int `json:"low"`
	High      int `json:"high"`
	// Within is false without customers: nothing was seen.
	Within bool `json:"within"`
}
