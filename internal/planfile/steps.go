package planfile

import (
	"math"
	"time"

	"serin/internal/rollout"
	"serin/internal/strictyaml"
	"serin/internal/traffic"
)

const (
	// shortest is the shortest bake, hold or watch: below it no tick fits.
	shortest = time.Millisecond
	// maxSteps keeps the sum of the bakes far from overflow.
	maxSteps = 200
)

// duration makes a field that stores a length of time of at least least.
func duration(dst *time.Duration, least time.Duration) strictyaml.Field {
	return strictyaml.Set(dst, func(v strictyaml.Value) (time.Duration, bool) { return v.Duration(least) })
}

func (r *reader) strategy(v strictyaml.Value) {
	v.Fields(strictyaml.Fields{"canary": func(v strictyaml.Value) {
		v.Fields(strictyaml.Fields{"steps": r.steps, "watch": r.watch})
	}})
}

func (r *reader) watch(v strictyaml.Value) {
	v.Fields(strictyaml.Fields{
		"duration": duration(&r.plan.Watch.Duration, 0), // 0s: no watch
		"onFail":   strictyaml.Choose(&r.plan.Watch.OnFail, string(rollout.WatchUndo), string(rollout.WatchNotify)),
	})
}

// placed is a step with the place where it stands.
type placed struct {
	rollout.Step
	at strictyaml.Value
}

func (r *reader) steps(v strictyaml.Value) {
	values := v.List()
	switch {
	case len(values) == 0 && v.Empty() && !v.IsMapping():
		v.Faultf("is empty: the last step is setWeight: 100")
		return
	case len(values) > maxSteps:
		v.Faultf("has %d steps: at most %d", len(values), maxSteps)
		return
	}
	var steps []placed
	for _, element := range values {
		if step, ok := readStep(element); ok {
			steps = append(steps, step)
		}
	}
	if len(steps) < len(values) || len(steps) == 0 {
		return // their order says nothing while some cannot be read
	}
	checkOrder(steps)
	r.plan.Steps = nil
	for _, s := range steps {
		r.plan.Steps = append(r.plan.Steps, s.Step)
	}
}

// readStep reads one of setWeight and pause.
func readStep(v strictyaml.Value) (placed, bool) {
	step := placed{at: v}
	good := false
	obj := v.Fields(strictyaml.Fields{
		"setWeight": func(v strictyaml.Value) {
			weight, ok := readWeight(v)
			step.Step, good = rollout.Step{Kind: rollout.StepSetWeight, Weight: weight}, ok
		},
		"pause": func(v strictyaml.Value) {
			length, ok := readPause(v)
			step.Step, good = rollout.Step{Kind: rollout.StepPause, Duration: length}, ok
		},
	})
	switch {
	case obj.Has("setWeight") && obj.Has("pause"):
		v.Faultf("has setWeight and pause: make two steps of them")
		return step, false
	case v.IsMapping() && v.Empty():
		v.Faultf("is empty: write setWeight: PERCENT or pause: {duration: 30m}")
	}
	return step, good
}

// readWeight reads percent of the traffic. It must be a whole number of buckets, or another share than the plan's would be routed.
func readWeight(v strictyaml.Value) (float64, bool) {
	weight, ok := v.Number()
	if !ok {
		return 0, false
	}
	buckets := weight * traffic.Buckets / 100
	switch {
	case weight <= 0 || weight > 100:
		v.Faultf("is %g: use percent of the traffic above 0, at most 100", weight)
	case math.Abs(buckets-math.Round(buckets)) > 1e-6 || math.Round(buckets) < 1:
		v.Faultf("is %g: traffic is divided in parts of 0.01 percent, so use at most two decimals", weight)
	default:
		return weight, true
	}
	return 0, false
}

// readPause reads a bake; zero means until a person promotes.
func readPause(v strictyaml.Value) (time.Duration, bool) {
	if !v.IsMapping() {
		v.Faultf("must be a mapping: write pause: {duration: 30m}, or pause: {} to wait for a person")
		return 0, false
	}
	if v.Empty() {
		return 0, true
	}
	var length time.Duration
	v.Fields(strictyaml.Fields{"duration": duration(&length, shortest)})
	return length, length > 0
}

// checkOrder applies the rules of rollout.Plan.Validate to every step, where that one stops at the first.
func checkOrder(steps []placed) {
	last, baked := 0.0, true
	for i, step := range steps {
		switch {
		case step.Kind == rollout.StepPause && i == 0:
			step.at.Faultf("is a pause: the first step must be a setWeight")
		case step.Kind == rollout.StepPause && last >= 100:
			step.at.Faultf("pauses after setWeight: 100: the promotion is the last step, and strategy.canary.watch looks on after it")
		case step.Kind == rollout.StepPause:
			baked = true
		case step.Weight <= last:
			step.at.Faultf("weight %g does not grow: the step before has %g", step.Weight, last)
		case !baked:
			step.at.Faultf("weight %g follows weight %g without a pause: add pause: {duration: 30m} between them", step.Weight, last)
			last = step.Weight
		default:
			last, baked = step.Weight, false
		}
	}
	if last != 100 {
		steps[len(steps)-1].at.Faultf("is the last step but not setWeight: 100: a rollout ends with all traffic")
	}
}
