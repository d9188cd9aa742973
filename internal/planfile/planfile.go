// Package planfile turns a plan file (apiVersion serin/v1, kind ModelRollout) into a rollout.Plan and back, naming line and column of every
// fault. It never reads a file, and never reads a key as something that it does not say.
package planfile

import (
	"path/filepath"
	"strconv"
	"strings"

	"serin/internal/model"
	"serin/internal/rollout"
	"serin/internal/strictyaml"
)

// Fault is one thing that is wrong in a plan file, or with Warning one that is allowed but unwise.
type Fault = strictyaml.Fault

// Parse reads a plan file. The name is what faults are reported under, dir the folder that a relative offlineGate.data is joined to ("" leaves
// it relative). Keys that are absent have the defaults of rollout.DefaultPlan. The error is a *strictyaml.Error with every fault.
func Parse(name string, data []byte, dir string) (rollout.Plan, error) {
	plan, faults := read(name, data, dir)
	if err := strictyaml.Refusal(faults); err != nil {
		return rollout.Plan{}, err
	}
	return plan, nil
}

// Lint lists every fault and warning of a plan file in the order of the file; none for a good one.
func Lint(name string, data []byte) []Fault {
	_, faults := read(name, data, "")
	return faults
}

// reader gathers a plan section by section.
type reader struct {
	plan rollout.Plan
	dir  string
	// champion, challenger and mode (of promotion) are the places where the file gives them, else nil.
	champion, challenger, mode *strictyaml.Value
}

func read(name string, data []byte, dir string) (rollout.Plan, []Fault) {
	doc, root, ok := strictyaml.Read(strictyaml.Source{File: name, Data: data, Hide: []string{"spec.strategy.canary.", "spec."}})
	if !ok {
		return rollout.Plan{}, doc.Faults()
	}
	r := &reader{plan: rollout.DefaultPlan(""), dir: dir}
	r.root(root)
	if faults := doc.Faults(); strictyaml.Refusal(faults) != nil {
		return rollout.Plan{}, faults
	}
	// What the state machine and the judge check for themselves stays the last word.
	if err := r.plan.Validate(); err != nil {
		root.Faultf("%v", err)
	}
	if err := r.plan.Analysis.Validate(); err != nil {
		root.Faultf("%v", err)
	}
	return r.plan, doc.Faults()
}

func (r *reader) root(v strictyaml.Value) {
	top := v.Fields(strictyaml.Fields{
		"apiVersion": only("serin/v1"),
		"kind":       only("ModelRollout"),
		"metadata":   r.metadata,
		"spec":       r.spec,
	})
	top.Require("metadata", "write metadata: {name: NAME}, the name that the model is registered under")
	if !top.Has("spec") && v.IsMapping() {
		r.gateMissing(v)
	}
}

// only reads a key that has one value in this version.
func only(word string) strictyaml.Field {
	return func(v strictyaml.Value) {
		if got, ok := v.Text(); ok && got != word {
			v.Faultf("is %q, which this version does not know: use %s", got, word)
		}
	}
}

func (r *reader) metadata(v strictyaml.Value) {
	obj := v.Fields(strictyaml.Fields{"name": func(v strictyaml.Value) {
		name, ok := v.Text()
		if !ok {
			return
		}
		if err := model.ValidateName(name); err != nil {
			v.Faultf("%v", err)
			return
		}
		r.plan.Model = name
	}})
	obj.Require("name", "give the name that the model is registered under")
}

func (r *reader) spec(v strictyaml.Value) {
	obj := v.Fields(strictyaml.Fields{
		"champion":      func(v strictyaml.Value) { r.champion = &v; reference(&r.plan.Champion, v) },
		"challenger":    func(v strictyaml.Value) { r.challenger = &v; reference(&r.plan.Challenger, v) },
		"offlineGate":   r.gate,
		"strategy":      r.strategy,
		"analysis":      r.analysis,
		"hold":          r.hold,
		"routing":       r.routing,
		"promotion":     r.promotion,
		"notifications": r.notifications,
	})
	if !obj.Has("offlineGate") && v.IsMapping() {
		r.gateMissing(v)
	}
	r.checkSides()
	r.checkPromotion()
}

// reference reads a stage, a version number or "@alias" in the registry's spelling.
func reference(dst *string, v strictyaml.Value) {
	word, ok := v.Word()
	if !ok {
		return
	}
	suffix := "/" + word
	if strings.HasPrefix(word, "@") {
		suffix = word
	}
	ref, err := model.ParseRef("models:/m" + suffix)
	switch {
	case strings.ContainsAny(word, "/:") || err != nil:
		v.Faultf("is %q: use a stage (Production, Staging), a version number or \"@alias\"", word)
	case ref.Kind == model.RefStage:
		*dst = string(ref.Stage)
	case ref.Kind == model.RefVersion:
		*dst = ref.Version
	case ref.Kind == model.RefAlias:
		*dst = "@" + ref.Alias
	default:
		v.Faultf("is %q: use a stage (Production, Staging), a version number or \"@alias\"", word)
	}
}

// checkSides refuses a model that is to be compared with itself.
func (r *reader) checkSides() {
	if r.plan.Champion != r.plan.Challenger {
		return
	}
	for _, v := range []*strictyaml.Value{r.challenger, r.champion} {
		if v != nil {
			v.Faultf("is %s like the other side: a version cannot be compared with itself", r.plan.Champion)
			return
		}
	}
}

// checkPromotion refuses a champion that a promotion would not move: the next rollout would start from the version before. A version number
// is never moved, and says so.
func (r *reader) checkPromotion() {
	champion, mode := r.plan.Champion, r.plan.Promotion
	stages, aliases := mode != rollout.PromoteAliases, mode != rollout.PromoteStages
	_, err := strconv.Atoi(champion)
	switch {
	case err == nil, champion == "Production" && stages, champion == "@champion" && aliases:
	case champion == "Production":
		r.mode.Faultf("is %s, but the champion is Production, which only stages move: use both, or champion: \"@champion\"", mode)
	case champion == "@champion":
		r.mode.Faultf("is %s, but the champion is @champion, which only aliases move: use both, or champion: Production", mode)
	default:
		r.champion.Faultf("is %s, which a promotion does not move: use Production, \"@champion\" or a version number", champion)
	}
}

func (r *reader) hold(v strictyaml.Value) {
	v.Fields(strictyaml.Fields{
		"max":  duration(&r.plan.Hold.Max, shortest),
		"then": strictyaml.Choose(&r.plan.Hold.Then, string(rollout.HoldRollback), string(rollout.HoldKeep)),
	})
}

func (r *reader) routing(v strictyaml.Value) {
	to := &r.plan.Routing
	v.Fields(strictyaml.Fields{
		"key": func(v strictyaml.Value) {
			name, ok := v.Text()
			if ok && !isHeaderName(name) {
				v.Faultf("is %q: a header name has letters, digits and dashes, such as X-Customer-Id", name)
				return
			}
			if ok {
				to.Key = name
			}
		},
		"field":   strictyaml.Set(&to.Field, strictyaml.Value.TextOrEmpty),
		"by":      strictyaml.Choose(&to.By, "key", "random"),
		"missing": strictyaml.Choose(&to.Missing, "champion", "random"),
		"uris":    strictyaml.Choose(&to.URIs, "stage", "version"),
		"compat":  strictyaml.Choose(&to.Compat, "extended", "strict"),
	})
}

// isHeaderName keeps to the characters that every proxy passes on.
func isHeaderName(s string) bool {
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 100
}

func (r *reader) promotion(v strictyaml.Value) {
	choose := strictyaml.Choose(&r.plan.Promotion, string(rollout.PromoteStages), string(rollout.PromoteAliases), string(rollout.PromoteBoth))
	v.Fields(strictyaml.Fields{"mode": func(v strictyaml.Value) {
		r.mode = &v
		choose(v)
	}})
}

func (r *reader) notifications(v strictyaml.Value) {
	names := []string{}
	seen := map[string]bool{}
	for _, element := range v.List() {
		name, ok := element.Text()
		if !ok {
			continue
		}
		if seen[name] {
			element.Faultf("channel %q is there twice: remove one of them", name)
			continue
		}
		seen[name] = true
		names = append(names, name)
	}
	r.plan.Notifications = names
}

// beside joins a relative path to the plan's folder.
func (r *reader) beside(path string) string {
	if r.dir == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(r.dir, path)
}
