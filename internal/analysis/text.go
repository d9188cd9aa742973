package analysis

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// percent writes a share as people read it: one decimal, two digits for small ones.
func percent(share float64) string { return digits(share, 1) + " %" }

// digits writes a share in percent with at least the decimals asked for that are not zeros, and more below 1 %.
func digits(share float64, decimals int) string {
	pct := share * 100
	for p := pct; p > 0 && p < 1 && decimals < 6; p *= 10 {
		decimals++
	}
	return strings.TrimSuffix(strings.TrimRight(strconv.FormatFloat(pct, 'f', decimals, 64), "0"), ".")
}

// compared writes "6.7 % (12 of 180 requests) > 5 %", with as many decimals as it takes to see on which side of the limit the share is.
func compared(events, requests int64, limit float64) string {
	if requests == 0 {
		return fmt.Sprintf("unknown (0 requests), limit %s", percent(limit))
	}
	share := float64(events) / float64(requests)
	sign := "<"
	switch {
	case share > limit:
		sign = ">"
	case share == limit:
		sign = "="
	}
	left, right := digits(share, 1), digits(limit, 1)
	for decimals := 2; sign != "=" && left == right && decimals <= 6; decimals++ {
		left, right = digits(share, decimals), digits(limit, decimals)
	}
	return fmt.Sprintf("%s %% (%d of %d requests) %s %s %%", left, events, requests, sign, right)
}

// seconds writes a bound or a quantile as a duration.
func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(100 * time.Microsecond).String()
}

func joinBounds(bounds []float64) string {
	words := make([]string, len(bounds))
	for i, b := range bounds {
		words[i] = strconv.FormatFloat(b, 'g', -1, 64)
	}
	return strings.Join(words, " ")
}
