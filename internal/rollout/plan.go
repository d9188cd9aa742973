// Package rollout is the state machine of a rollout: the plan, its graph of tasks, and three pure functions over one row of state,
// Next, Apply and Signal. It never reads a clock, does I/O or starts a goroutine: time comes in, decisions go out.
package rollout

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"serin/internal/analysis"
)

// Plan is what should happen, with every constant written out; a rollout ends under the plan it started with.
type Plan struct {
	// Model is the registered model's name (metadata.name).
	Model string `json:"model"`
	// Champion and Challenger are a stage, a version number or "@alias", resolved once at the start. The champion's is one that a promotion
	// moves (planfile checks it), or a version number.
	Champion   string          `json:"champion"`
	Challenger string          `json:"challenger"`
	Gate       Gate            `json:"offlineGate"`
	Steps      []Step          `json:"steps"`
	Watch      Watch           `json:"watch"`
	Analysis   analysis.Config `json:"analysis"`
	Hold       HoldPolicy      `json:"hold"`
	Routing    Routing         `json:"routing"`
	Promotion  PromotionMode   `json:"promotion"`
	// Notifications names the channels of the configuration that are told.
	Notifications []string `json:"notifications"`
}

// Gate is the offline comparison on labeled data.
type Gate struct {
	// Off switches the gate off by name, in the plan or with --no-gate; Reason then says why.
	Off    bool   `json:"off,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Data is a CSV or Parquet file, absolute once the plan is read. Label is its 0/1 column.
	Data  string `json:"data,omitempty"`
	Label string `json:"label,omitempty"`
	// ChampionScores and ChallengerScores name score columns in Data, for models that Serin cannot score.
	ChampionScores   string   `json:"championScores,omitempty"`
	ChallengerScores string   `json:"challengerScores,omitempty"`
	Threshold        float64  `json:"threshold"`
	Mode             string   `json:"mode"`
	Criteria         Criteria `json:"criteria"`
}

// Criteria are the limits of the gate (spec: recall >=, fpr <=, p95 of one-row scoring <=, F1 >= champion F1 x ratio).
type Criteria struct {
	Recall  float64 `json:"recall"`
	FPR     float64 `json:"fpr"`
	F1Ratio float64 `json:"f1Ratio"`
	// LatencyP95 of zero declares the latency criterion off (score columns have no latency).
	LatencyP95 time.Duration `json:"latencyP95"`
}

// Step is one line of the plan's steps: a weight to set, or a pause.
type Step struct {
	Kind StepKind `json:"kind"`
	// Weight is percent of the traffic, 0 < Weight <= 100, for StepSetWeight.
	Weight float64 `json:"weight,omitempty"`
	// Duration is the bake; zero in a StepPause means: until a person promotes.
	Duration time.Duration `json:"duration,omitempty"`
}

// StepKind says what a step does.
type StepKind string

// The kinds of steps.
const (
	StepSetWeight StepKind = "setWeight"
	StepPause     StepKind = "pause"
)

// Watch is the time after success during which a breach opens an undo or tells people.
type Watch struct {
	Duration time.Duration `json:"duration"`
	OnFail   WatchAction   `json:"onFail"`
}

// WatchAction is what a breach during the watch does.
type WatchAction string

// The actions of a watch.
const (
	WatchUndo   WatchAction = "undo"
	WatchNotify WatchAction = "notify"
)

// HoldPolicy bounds every hold.
type HoldPolicy struct {
	Max  time.Duration `json:"max"`
	Then HoldAction    `json:"then"`
}

// HoldAction is what happens when a hold has lasted its maximum.
type HoldAction string

// The ends of a hold: back to the champion, or keep waiting for a person.
const (
	HoldRollback HoldAction = "rollback"
	HoldKeep     HoldAction = "keep"
)

// Routing says how requests are told apart and how the routing file is written.
type Routing struct {
	Key     string `json:"key"`
	Field   string `json:"field"`
	By      string `json:"by"`
	Missing string `json:"missing"`
	URIs    string `json:"uris"`
	Compat  string `json:"compat"`
}

// PromotionMode says what a promotion moves in the registry.
type PromotionMode string

// The promotion modes.
const (
	PromoteStages  PromotionMode = "stages"
	PromoteAliases PromotionMode = "aliases"
	PromoteBoth    PromotionMode = "both"
)

// DefaultPlan is the plan of a model whose file says nothing but its name and its gate's data.
func DefaultPlan(name string) Plan {
	return Plan{
		Model: name, Champion: "Production", Challenger: "Staging",
		Gate: Gate{Threshold: 0.5, Mode: "point", Criteria: Criteria{Recall: 0.95, FPR: 0.02, F1Ratio: 1.01, LatencyP95: 100 * time.Millisecond}},
		Steps: []Step{
			{Kind: StepSetWeight, Weight: 5},
			{Kind: StepPause, Duration: 30 * time.Minute},
			{Kind: StepSetWeight, Weight: 25},
			{Kind: StepPause, Duration: time.Hour},
			{Kind: StepSetWeight, Weight: 100},
		},
		Watch:         Watch{Duration: 30 * time.Minute, OnFail: WatchUndo},
		Analysis:      analysis.DefaultConfig(),
		Hold:          HoldPolicy{Max: 2 * time.Hour, Then: HoldRollback},
		Routing:       Routing{Key: "X-Customer-Id", By: "key", Missing: "champion", URIs: "stage", Compat: "extended"},
		Promotion:     PromoteBoth,
		Notifications: []string{"oncall", "log"},
	}
}

// Stage is a weight together with the bake that follows it. The last stage has weight 100 and no bake: it is the promotion.
type Stage struct {
	Weight float64
	// Bake is the sum of the timed pauses. Manual is set when a pause without a duration follows: a person must promote.
	Bake   time.Duration
	Manual bool
	// Step is the index of the stage's setWeight in Plan.Steps.
	Step int
}

// Final says whether the stage is the promotion.
func (s Stage) Final() bool { return s.Weight >= 100 }

// Name is the weight as it stands in task ids: "5", "0.5", "100".
func (s Stage) Name() string { return strconv.FormatFloat(s.Weight, 'f', -1, 64) }

// Stages folds the steps into stages. It assumes a valid plan.
func (p Plan) Stages() []Stage {
	var stages []Stage
	for i, step := range p.Steps {
		switch step.Kind {
		case StepSetWeight:
			stages = append(stages, Stage{Weight: step.Weight, Step: i})
		case StepPause:
			if len(stages) == 0 {
				continue
			}
			last := &stages[len(stages)-1]
			last.Bake += step.Duration
			last.Manual = last.Manual || step.Duration == 0
		}
	}
	return stages
}

// Validate checks what no single value shows: the order and the sense of the steps. Errors name the step by its index from 0.
func (p Plan) Validate() error {
	if p.Model == "" {
		return errors.New("plan without a model: set metadata.name to the registered model's name")
	}
	if err := p.validateChoices(); err != nil {
		return err
	}
	if !p.Gate.Off && (p.Gate.Data == "" || p.Gate.Label == "") {
		return errors.New("offlineGate needs data and label; to go without it, write offlineGate: {off: true, reason: WHY}")
	}
	return validateSteps(p.Steps)
}

// validateChoices refuses words that the state machine has no branch for: a hold that ends in nothing would never end.
func (p Plan) validateChoices() error {
	switch {
	case p.Hold.Max <= 0:
		return errors.New("hold.max must be longer than 0")
	case p.Hold.Then != HoldRollback && p.Hold.Then != HoldKeep:
		return fmt.Errorf("hold.then %q: know rollback and keep", p.Hold.Then)
	case p.Watch.Duration < 0:
		return fmt.Errorf("watch.duration %s: 0 or longer", p.Watch.Duration)
	case p.Watch.Duration > 0 && p.Watch.OnFail != WatchUndo && p.Watch.OnFail != WatchNotify:
		return fmt.Errorf("watch.onFail %q: know undo and notify", p.Watch.OnFail)
	case p.Promotion != PromoteStages && p.Promotion != PromoteAliases && p.Promotion != PromoteBoth:
		return fmt.Errorf("promotion %q: know stages, aliases and both", p.Promotion)
	}
	return nil
}

func validateSteps(steps []Step) error {
	last, baked := 0.0, true
	for i, step := range steps {
		switch {
		case step.Kind != StepPause && step.Kind != StepSetWeight:
			return fmt.Errorf("steps[%d] is a %q: know setWeight and pause", i, step.Kind)
		case step.Kind == StepPause && i == 0:
			return fmt.Errorf("steps[0] is a pause: the first step must be a setWeight")
		case step.Kind == StepPause && last >= 100:
			return fmt.Errorf("steps[%d] pauses after setWeight 100: the promotion is the last step; strategy.canary.watch looks on after it", i)
		case step.Kind == StepPause && step.Duration < 0:
			return fmt.Errorf("steps[%d] pauses for %s: 0 waits for a person, a longer time bakes", i, step.Duration)
		case step.Kind == StepPause:
			baked = true
		case math.IsNaN(step.Weight):
			return fmt.Errorf("steps[%d]: weight NaN is no number", i)
		case step.Weight <= last:
			return fmt.Errorf("steps[%d]: weight %g does not grow (the step before has %g)", i, step.Weight, last)
		case step.Weight > 100:
			return fmt.Errorf("steps[%d]: weight %g: at most 100", i, step.Weight)
		case !baked:
			return fmt.Errorf("steps[%d]: weight %g follows weight %g without a pause: a weight below 100 needs a bake", i, step.Weight, last)
		default:
			last, baked = step.Weight, false
		}
	}
	if last != 100 {
		return errors.New("the last step must be setWeight: 100")
	}
	return nil
}
