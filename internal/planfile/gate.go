package planfile

import (
	"strings"
	"time"

	"serin/internal/strictyaml"
)

const gateHint = "name labeled data, or write offlineGate: {off: true, reason: WHY}"

// gateMissing says that a plan without an offline gate must say so by name.
func (r *reader) gateMissing(v strictyaml.Value) {
	v.Faultf("offlineGate is missing: %s", gateHint)
}

func (r *reader) gate(v strictyaml.Value) {
	g := &r.plan.Gate
	obj := v.Fields(strictyaml.Fields{
		"off":              strictyaml.Set(&g.Off, strictyaml.Value.Bool),
		"reason":           strictyaml.Set(&g.Reason, strictyaml.Value.Text),
		"data":             r.data,
		"label":            strictyaml.Set(&g.Label, strictyaml.Value.Text),
		"championScores":   strictyaml.Set(&g.ChampionScores, strictyaml.Value.Text),
		"challengerScores": strictyaml.Set(&g.ChallengerScores, strictyaml.Value.Text),
		"threshold":        r.threshold,
		"mode":             r.gateMode,
		"criteria":         r.criteria,
	})
	if !v.IsMapping() {
		return
	}
	r.checkOff(obj)
	r.checkScores(obj)
}

func (r *reader) data(v strictyaml.Value) {
	path, ok := v.Text()
	if !ok {
		return
	}
	if strings.Contains(path, "://") {
		v.Faultf("is the address %q: data is a CSV or Parquet file on the machine that runs the gate", path)
		return
	}
	r.plan.Gate.Data = r.beside(path)
}

func (r *reader) threshold(v strictyaml.Value) {
	t, ok := v.Number()
	if !ok {
		return
	}
	if t < 0 || t > 1 {
		v.Warnf("is %g: scores that are probabilities lie between 0 and 1", t)
	}
	r.plan.Gate.Threshold = t
}

func (r *reader) gateMode(v strictyaml.Value) {
	if v.Is("exact") {
		v.Faultf(`"exact" is not in this version: use point, which is the default`)
		return
	}
	strictyaml.Choose(&r.plan.Gate.Mode, "point")(v)
}

func (r *reader) criteria(v strictyaml.Value) {
	c := &r.plan.Gate.Criteria
	v.Fields(strictyaml.Fields{
		"recall": strictyaml.Set(&c.Recall, strictyaml.Value.Share),
		"fpr":    strictyaml.Set(&c.FPR, strictyaml.Value.Share),
		"f1Ratio": func(v strictyaml.Value) {
			ratio, ok := v.Number()
			if ok && (ratio <= 0 || ratio > 100) {
				v.Faultf("is %g: use a ratio to the champion's F1 above 0, such as 1.01 for one percent better", ratio)
				return
			}
			if ok {
				c.F1Ratio = ratio
			}
		},
		"latencyP95": func(v strictyaml.Value) {
			if v.Is("off") {
				c.LatencyP95 = 0
				return
			}
			duration(&c.LatencyP95, time.Microsecond)(v)
		},
	})
}

// checkOff ties the switch to its reason, and the gate to its data.
func (r *reader) checkOff(obj strictyaml.Object) {
	off := r.plan.Gate.Off
	switch reason, has := obj.Lookup("reason"); {
	case off && !has:
		obj.Require("reason", "say why the gate is off")
	case !off && has:
		reason.Faultf("explains a gate that is not off: add off: true, or remove the reason")
	}
	if off {
		return
	}
	obj.Require("data", gateHint)
	obj.Require("label", "name the 0/1 column of the data")
}

// checkScores wants both score columns or none. They have no latency.
func (r *reader) checkScores(obj strictyaml.Object) {
	champion, hasChampion := obj.Lookup("championScores")
	challenger, hasChallenger := obj.Lookup("challengerScores")
	g := r.plan.Gate
	switch {
	case hasChampion && !hasChallenger:
		champion.Faultf("stands alone: name challengerScores too")
	case hasChallenger && !hasChampion:
		challenger.Faultf("stands alone: name championScores too")
	case hasChampion && g.ChampionScores != "" && g.ChampionScores == g.ChallengerScores:
		challenger.Faultf("is the champion's column %q: two columns are compared", g.ChampionScores)
	case hasChampion && !g.Off && g.Criteria.LatencyP95 > 0:
		champion.Warnf("score columns have no latency: write criteria: {latencyP95: off}, or the gate stays undecided")
	}
}
