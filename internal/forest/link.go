package forest

import (
	"fmt"
	"math"
	"slices"
)

// Link turns margins into predictions.
type Link string

// The links of XGBoost's objectives.
const (
	LinkIdentity Link = "identity"
	LinkLogistic Link = "logistic" // 1 / (1 + exp(-x))
	LinkExp      Link = "exp"
	LinkHinge    Link = "hinge"    // 1 above 0, else 0
	LinkSoftprob Link = "softprob" // exp(x - max) / sum, over the groups of a row
	LinkSoftmax  Link = "softmax"  // the first group with the largest margin; one value a row
	LinkSorted   Link = "sorted"   // the groups of a row in rising order
)

// known reports that the link is one of those above.
func (l Link) known() bool {
	switch l {
	case LinkIdentity, LinkLogistic, LinkExp, LinkHinge, LinkSoftprob, LinkSoftmax, LinkSorted:
		return true
	}
	return false
}

// Margin is the link's inverse: the margin of a base score that a file states in
// the space of predictions. Only logistic and exp change it. The error says when
// a base score has no finite margin.
func (l Link) Margin(base float32) (float32, error) {
	m := base
	switch l {
	case LinkLogistic:
		if !(base > 0 && base < 1) {
			return 0, fmt.Errorf("base score %v is not between 0 and 1", base)
		}
		m = -logf(1/base - 1)
	case LinkExp:
		if !(base > 0) {
			return 0, fmt.Errorf("base score %v is not above 0", base)
		}
		m = logf(base)
	case LinkIdentity, LinkHinge, LinkSoftprob, LinkSoftmax, LinkSorted:
	}
	if !finite(m) {
		return 0, fmt.Errorf("base score %v has no finite margin", base)
	}
	return m, nil
}

// apply transforms margins of groups values a row in place.
func (l Link) apply(values []float32, groups int) {
	switch l {
	case LinkLogistic:
		for i, x := range values {
			values[i] = sigmoid(x)
		}
	case LinkExp:
		for i, x := range values {
			values[i] = expf(x)
		}
	case LinkHinge:
		for i, x := range values {
			values[i] = 0
			if x > 0 {
				values[i] = 1
			}
		}
	case LinkSoftprob:
		for ; len(values) > 0; values = values[groups:] {
			softprob(values[:groups])
		}
	case LinkSorted:
		for ; len(values) > 0; values = values[groups:] {
			slices.Sort(values[:groups])
		}
	case LinkIdentity, LinkSoftmax: // softmax changes the width of a row, so Predict does it
	}
}

// sigmoid is XGBoost's: the argument is capped so that exp cannot overflow, and the tiny term is added as XGBoost adds it.
func sigmoid(x float32) float32 {
	const tiny = 1e-16
	neg := -x
	if neg > 88.7 {
		neg = 88.7
	}
	return 1 / (expf(neg) + 1 + tiny)
}

// softprob divides float32 exponentials by their float64 sum, rounded.
func softprob(row []float32) {
	largest := row[0]
	for _, x := range row[1:] {
		largest = max(largest, x)
	}
	sum := 0.0
	for i, x := range row {
		row[i] = expf(x - largest)
		sum += float64(row[i])
	}
	for i := range row {
		row[i] /= float32(sum)
	}
}

// argmax returns the index of the first largest value.
func argmax(row []float32) float32 {
	best := 0
	for i, x := range row {
		if x > row[best] {
			best = i
		}
	}
	return float32(best)
}

// RowFloat converts a parsed number to a row's float32 as XGBoost does: through
// float64, rounded once more. NaN means missing. Infinities, and numbers that
// float32 cannot hold, are errors; 3.40282356e38 still rounds to the largest float32.
func RowFloat(x float64) (float32, error) {
	f := float32(x)
	if !math.IsInf(float64(f), 0) {
		return f, nil
	}
	if math.IsInf(x, 0) {
		return 0, fmt.Errorf("%v is not a feature value: leave it empty (missing) or send a finite number", x)
	}
	return 0, fmt.Errorf("%v is beyond float32: send a number of at most 3.4028235e38 in size", x)
}
