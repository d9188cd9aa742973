package compare

import (
	"errors"
	"fmt"
	"math"
)

// check refuses what cannot be judged.
func (in *Input) check() error {
	if err := in.checkSettings(); err != nil {
		return err
	}
	positives := count(in.Labels)
	switch {
	case len(in.Labels) == 0:
		return errors.New("the data has no rows")
	case positives == 0:
		return fmt.Errorf("none of the %d rows is positive, so recall has no value: give data with positive rows", len(in.Labels))
	case positives == len(in.Labels):
		return fmt.Errorf("all %d rows are positive, so the false-positive rate has no value: give data with negative rows", len(in.Labels))
	case in.Challenger == nil:
		return errors.New("no challenger: name the model to be judged")
	case in.Champion == nil && in.FirstChampion == "":
		return errors.New("no champion to compare with: promote one first, or say that this is the first with a reason")
	case in.Champion != nil && in.FirstChampion != "":
		return fmt.Errorf("a first champion is claimed (%s) although there is a champion, %s", in.FirstChampion, in.Champion.Ref)
	}
	if err := in.Challenger.check("challenger", len(in.Labels)); err != nil {
		return err
	}
	if in.Challenger.Latency.Off == "" && len(in.Challenger.Latency.OneRow) < MinLatencies {
		return fmt.Errorf("challenger: %d timings of one-row scoring, a 95th percentile wants %d: measure it, or declare the latency criterion off",
			len(in.Challenger.Latency.OneRow), MinLatencies)
	}
	if in.Champion == nil {
		return nil
	}
	if err := in.Champion.check("champion", len(in.Labels)); err != nil {
		return err
	}
	if in.Champion.Kind != in.Challenger.Kind {
		return fmt.Errorf("the champion gives a %s and the challenger a %s, which cannot be compared: score both the same way", in.Champion.Kind, in.Challenger.Kind)
	}
	return nil
}

func (in *Input) checkSettings() error {
	switch in.Mode {
	case Point:
	case Exact:
		return errors.New("mode exact is not in this version: use mode point")
	default:
		return fmt.Errorf("unknown mode %q: use point", in.Mode)
	}
	// Written so that NaN is refused.
	if !(in.Threshold > 0 && in.Threshold <= 1) {
		return fmt.Errorf("threshold %v: give a probability above 0 and up to 1", in.Threshold)
	}
	c := in.Criteria
	switch {
	case !(c.Recall >= 0 && c.Recall <= 1):
		return fmt.Errorf("recall limit %v: give a share from 0 to 1", c.Recall)
	case !(c.FPR >= 0 && c.FPR <= 1):
		return fmt.Errorf("fpr limit %v: give a share from 0 to 1", c.FPR)
	case c.LatencyP95 <= 0:
		return fmt.Errorf("latency limit %v: give a duration above 0", c.LatencyP95)
	case !(c.F1Ratio > 0) || math.IsInf(c.F1Ratio, 0):
		return fmt.Errorf("f1 ratio %v: give a number above 0, such as 1.01", c.F1Ratio)
	}
	return nil
}

func (s *Side) check(role string, rows int) error {
	if len(s.Scores) != rows {
		return fmt.Errorf("%s: %d scores for %d rows", role, len(s.Scores), rows)
	}
	for _, d := range s.Latency.OneRow {
		if d < 0 {
			return fmt.Errorf("%s: a latency of %v: the time source runs backwards", role, d)
		}
	}
	switch s.Kind {
	case Probability:
		for i, x := range s.Scores {
			if !(x >= 0 && x <= 1) {
				return fmt.Errorf("%s: row %d: score %v is not a probability", role, i+1, x)
			}
		}
	case Label:
		for i, x := range s.Scores {
			if x != 0 && x != 1 {
				return fmt.Errorf("%s: row %d: score %v is not a label, 0 or 1", role, i+1, x)
			}
		}
	default:
		return fmt.Errorf("%s: scores of kind %q cannot be held against labels: give probabilities or labels", role, s.Kind)
	}
	return nil
}
