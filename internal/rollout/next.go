package rollout

import "time"

// Next says what to do with a row at time now. It changes nothing; asking twice gives the same answer.
func Next(s State, now time.Time) Action {
	if s.Task == "" {
		return s.afterEnd(now)
	}
	node, ok := Find(Graph(s.Plan, s.Kind), s.Task)
	if !ok {
		return Action{}
	}
	if s.RetryAt.After(now) {
		return Action{Wait: s.RetryAt}
	}
	if s.waitsInHold(node, now) {
		return Action{Wait: s.Hold.Deadline}
	}
	if s.forward(node) && !s.mayGo(node) {
		return Action{}
	}
	return Action{Do: &node}
}

// afterEnd is what is left of an ended row: owed registry work, then the watch.
func (s State) afterEnd(now time.Time) Action {
	graph := Graph(s.Plan, s.Kind)
	for _, id := range s.Owed {
		node, ok := Find(graph, id)
		switch {
		case !ok:
			continue
		case s.RetryAt.After(now):
			return Action{Wait: s.RetryAt}
		default:
			return Action{Do: &node}
		}
	}
	if node, ok := Find(graph, TaskWatch); ok && !s.WatchUntil.IsZero() {
		if s.RetryAt.After(now) {
			return Action{Wait: s.RetryAt}
		}
		return Action{Do: &node}
	}
	return Action{Done: true}
}

// waitsInHold says whether the task has nothing to do before the hold's deadline: a decision that lacks its evidence, or a
// promotion that the registry refused. Bakes go on while held, and so do deploys that are not proven.
func (s State) waitsInHold(node Node, now time.Time) bool {
	if s.Hold == nil || s.Hold.expired(now) {
		return false
	}
	return node.Kind == KindDecide && s.undecided(node)
}

func (h *Hold) expired(now time.Time) bool {
	return h != nil && !h.Deadline.IsZero() && !now.Before(h.Deadline)
}

// undecided says whether a decide task lacks a verdict to decide on.
func (s State) undecided(node Node) bool {
	return node.Stage == 0 && s.Gate != nil && s.Gate.Decision == "undecided" && s.Gate.Override == ""
}

// forward says whether running the node takes the rollout forward, towards more of the challenger.
func (s State) forward(node Node) bool {
	switch node.Kind {
	case KindAdmit, KindCompare, KindDeploy, KindPromote:
		return true
	case KindDecide:
		if node.Stage == 0 {
			return s.Gate == nil || s.Gate.Decision == "promote" || s.Gate.Override != ""
		}
		return s.Stage == nil || s.Stage.Verdict != OnUnhealthy
	case KindMonitor, KindRollback, KindKeep, KindNotify, KindWatch, KindUndo, KindSettle:
		return false
	}
	return false
}

// mayGo says whether nobody objects to going forward to the node: no pause, and with an external driver a command that asked for it.
func (s State) mayGo(node Node) bool {
	if s.Pause != nil {
		return false
	}
	if s.Driver != DriverExternal {
		return true
	}
	return s.Granted != "" && position(s, node.ID) <= position(s, s.Granted)
}

// position is a task's place in the graph's order, which is that of the success path.
func position(s State, id string) int {
	for i, n := range Graph(s.Plan, s.Kind) {
		if n.ID == id {
			return i
		}
	}
	return -1
}

// Directive is what the running attempt of t learns after a checkpoint.
func (s State) Directive(t Task) Signals {
	switch t.Kind {
	case KindWatch:
		return Signals{Stop: s.WatchUntil.IsZero() || s.Stage == nil || s.Stage.Stop}
	case KindMonitor:
		return Signals{Stop: s.Task != t.ID || s.Stage == nil || s.Stage.Stop, Promoted: s.Stage != nil && s.Stage.Promoted != nil}
	case KindDeploy, KindPromote:
		return Signals{Stop: s.Task != t.ID || s.Pause != nil && !s.Exposed}
	case KindAdmit, KindCompare, KindDecide, KindRollback, KindKeep, KindNotify, KindUndo, KindSettle:
		return Signals{Stop: s.Task != t.ID && !s.owes(t.ID)}
	}
	return Signals{Stop: true}
}

func (s State) owes(id string) bool {
	for _, o := range s.Owed {
		if o == id {
			return true
		}
	}
	return false
}
