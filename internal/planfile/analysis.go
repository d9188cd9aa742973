package planfile

import (
	"time"

	"serin/internal/analysis"
	"serin/internal/strictyaml"
)

// shortestTick keeps a typing error from making the sampler spin.
const shortestTick = 10 * time.Millisecond

func (r *reader) analysis(v strictyaml.Value) {
	a := &r.plan.Analysis
	fields := strictyaml.Fields{
		"mode":        r.analysisMode,
		"tick":        duration(&a.Tick, shortestTick),
		"window":      atLeastOne(&a.Window),
		"minRequests": atLeastOne(&a.MinRequests),
		"consecutive": atLeastOne(&a.Consecutive),
		"errors":      r.analysisErrors,
		"latency":     r.analysisLatency,
	}
	sequential(fields, "alpha", "beta", "marginRatio", "sloFactor", "cap", "warmup", "capital", "phi", "gate", "suspicious", "maxExtend",
		"coverage", "split", "cells", "aaIntervals", "onInconclusive")
	v.Fields(fields)
	if !a.Errors.Enabled && !a.Latency.Enabled {
		v.Faultf("errors and latency are both off, so nothing would be judged: enable one")
	}
	if a.Consecutive > a.Window {
		v.Warnf("consecutive %d is more than window %d: a failure takes longer to be seen than the window is", a.Consecutive, a.Window)
	}
}

// sequential refuses the keys that only mode sequential reads.
func sequential(fields strictyaml.Fields, keys ...string) {
	for _, key := range keys {
		fields[key] = strictyaml.Later("it belongs to mode: sequential; remove it")
	}
}

func (r *reader) analysisMode(v strictyaml.Value) {
	if v.Is("sequential") {
		v.Faultf(`"sequential" is not in this version: use threshold, which is the default`)
		return
	}
	strictyaml.Choose(&r.plan.Analysis.Mode, analysis.ModeThreshold)(v)
}

func (r *reader) analysisErrors(v strictyaml.Value) {
	e := &r.plan.Analysis.Errors
	fields := strictyaml.Fields{
		"enabled": strictyaml.Set(&e.Enabled, strictyaml.Value.Bool),
		"slo":     strictyaml.Set(&e.SLO, insideShare),
	}
	sequential(fields, "tolerance", "margin")
	v.Fields(fields)
}

func (r *reader) analysisLatency(v strictyaml.Value) {
	l := &r.plan.Analysis.Latency
	fields := strictyaml.Fields{
		"enabled":  strictyaml.Set(&l.Enabled, strictyaml.Value.Bool),
		"slo":      duration(&l.SLO, time.Microsecond),
		"quantile": strictyaml.Set(&l.Quantile, insideShare),
	}
	sequential(fields, "slowdown", "tolerance", "margin")
	v.Fields(fields)
}

func atLeastOne(dst *int) strictyaml.Field {
	return strictyaml.Set(dst, func(v strictyaml.Value) (int, bool) { return v.Whole(1) })
}

// insideShare reads a share that leaves room on both sides: 0 could never be met and 1 never be broken.
func insideShare(v strictyaml.Value) (float64, bool) {
	share, ok := v.Share()
	if ok && (share == 0 || share == 1) {
		v.Faultf("is %g: use a share above 0 and below 1, such as 0.05", share)
		return 0, false
	}
	return share, ok
}
