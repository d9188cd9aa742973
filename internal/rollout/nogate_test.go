package rollout

import "testing"

// Without a gate nothing has to be compared first: a command may ask for the deploy of a rollout that has just been opened.
func TestExternalDriverWithoutGateDeploysAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(p *StartParams) { p.Driver, p.NoGate = DriverExternal, "a person's reason" })
	w.command("deploy_canary_5_percent")
	if w.s.Task != "monitor_5_percent" || w.s.Tasks[TaskCompare].Verdict != "skipped" {
		t.Errorf("at %s, compare_models %+v", w.s.Task, w.s.Tasks[TaskCompare])
	}
}
