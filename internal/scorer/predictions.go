package scorer

import (
	"errors"
	"fmt"
	"math"
	"strconv"
)

// AppendPredictions appends {"predictions": [...]} to dst: one number a row, or a list of numbers where Width is above 1. Numbers have the fewest
// digits that give the same float32 back; NaN and infinities, which MLflow's server writes as words that are not JSON, become null.
func AppendPredictions(dst []byte, s Scores) []byte {
	dst = append(dst, `{"predictions": [`...)
	for i, x := range s.Values {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		if s.Width > 1 && i%s.Width == 0 {
			dst = append(dst, '[')
		}
		dst = appendFloat32(dst, x)
		if s.Width > 1 && i%s.Width == s.Width-1 {
			dst = append(dst, ']')
		}
	}
	return append(dst, "]}"...)
}

func appendFloat32(dst []byte, x float32) []byte {
	if wide := float64(x); math.IsNaN(wide) || math.IsInf(wide, 0) {
		return append(dst, "null"...)
	}
	return strconv.AppendFloat(dst, float64(x), 'g', -1, 32)
}

// parsePredictions reads what AppendPredictions and MLflow's server write. rows is the number of predictions that there must be.
func parsePredictions(body []byte, rows int) (Scores, error) {
	s := &jsonScanner{data: body}
	var scores Scores
	found := false
	if err := s.expect('{'); err != nil {
		return Scores{}, fmt.Errorf("the answer has no predictions: %w", err)
	}
	for first := true; ; {
		more, err := s.more('}', &first)
		if err != nil {
			return Scores{}, err
		}
		if !more {
			break
		}
		key, err := s.key()
		if err != nil {
			return Scores{}, err
		}
		if string(key) != "predictions" {
			err = s.skip(0)
		} else {
			found = true
			scores, err = predictionList(s, rows)
		}
		if err != nil {
			return Scores{}, err
		}
	}
	if !found {
		return Scores{}, errors.New("the answer has no predictions")
	}
	return scores, s.end()
}

func predictionList(s *jsonScanner, rows int) (Scores, error) {
	if err := s.expect('['); err != nil {
		return Scores{}, err
	}
	var scores Scores
	n := 0
	for first := true; ; n++ {
		more, err := s.more(']', &first)
		if err != nil {
			return Scores{}, err
		}
		if !more {
			break
		}
		before := len(scores.Values)
		if s.peek() == '[' {
			err = scores.appendList(s)
		} else {
			err = scores.appendNumber(s)
		}
		if err != nil {
			return Scores{}, err
		}
		width := len(scores.Values) - before
		if n > 0 && width != scores.Width || width == 0 {
			return Scores{}, fmt.Errorf("prediction %d has %d numbers, the ones before have %d", n+1, width, scores.Width)
		}
		scores.Width = width
	}
	if n != rows {
		return Scores{}, fmt.Errorf("%d predictions for %d rows", n, rows)
	}
	return scores, nil
}

func (sc *Scores) appendList(s *jsonScanner) error {
	s.pos++
	for first := true; ; {
		more, err := s.more(']', &first)
		if err != nil || !more {
			return err
		}
		if err := sc.appendNumber(s); err != nil {
			return err
		}
	}
}

func (sc *Scores) appendNumber(s *jsonScanner) error {
	x, what, err := s.number()
	if err != nil {
		return err
	}
	if what != "" {
		return fmt.Errorf("a prediction is %s, not a number: serve a model that answers numbers", what)
	}
	sc.Values = append(sc.Values, float32(x))
	return nil
}
