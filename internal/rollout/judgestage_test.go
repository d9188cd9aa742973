package rollout

import (
	"testing"
	"time"

	"serin/internal/analysis"
)

// TestJudgeStage_IsJudgeable holds the stages that have no bake of their own against the judge: promoted by a person, and waiting for one.
func TestJudgeStage_IsJudgeable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(p *StartParams) { p.Plan.Steps[1].Duration = 0 })
	manual := w.s
	manual.Stage = &StageVerdict{}
	promoted := manual
	promoted.Plan = testPlan()
	promoted.Stage = &StageVerdict{Promoted: &Promotion{Actor: "ann", Reason: "sure"}}
	for name, s := range map[string]State{"manual": manual, "promoted": promoted} {
		st := s.JudgeStage()
		if st.Bake <= 0 || st.Bake > time.Second {
			t.Errorf("%s: a bake of %s, want next to none", name, st.Bake)
		}
		if _, _, err := analysis.Judge(s.Plan.Analysis, st, nil, analysis.Scrape{At: epoch}); err != nil {
			t.Errorf("%s: the judge refuses: %v", name, err)
		}
	}
}
