package rollout

import "fmt"

// TaskKind says which effect a task has; each kind has one runner.
type TaskKind string

// The kinds of tasks.
const (
	KindAdmit    TaskKind = "admit"    // pin versions, check blocks
	KindCompare  TaskKind = "compare"  // the offline gate
	KindDecide   TaskKind = "decide"   // read the verdict before it, choose the branch
	KindDeploy   TaskKind = "deploy"   // give the canary a weight and prove it
	KindMonitor  TaskKind = "monitor"  // judge a bake
	KindPromote  TaskKind = "promote"  // registry, then 100 %
	KindRollback TaskKind = "rollback" // back to the champion
	KindKeep     TaskKind = "keep"     // nothing to do but say so
	KindNotify   TaskKind = "notify"   // tell people how it ended
	KindWatch    TaskKind = "watch"    // judge the new champion after success
	KindUndo     TaskKind = "undo"     // back to an older champion
	KindSettle   TaskKind = "settle"   // do what a rollback left owed at the registry
)

// The public task ids that do not depend on a weight.
const (
	TaskAdmit          = "admit"
	TaskCompare        = "compare_models"
	TaskDecideFirst    = "decide_deployment"
	TaskKeepChampion   = "keep_champion"
	TaskNotifyRejected = "notify_rejected"
	TaskRollback       = "rollback_deployment"
	TaskNotifyRollback = "notify_rollback"
	TaskNotifySuccess  = "notify_success"
	TaskWatch          = "watch_100_percent"
	TaskUndo           = "undo_deployment"
	TaskNotifyUndone   = "notify_undone"
	TaskSettle         = "settle_registry"
)

// Node is one task of a rollout's graph.
type Node struct {
	ID   string   `json:"id"`
	Kind TaskKind `json:"kind"`
	// Stage is the index in Plan.Stages of deploy, monitor, promote, and of the stage that a decide leads to; -1 for the others.
	Stage int `json:"stage"`
	// Weight is the stage's weight in percent, 0 where there is none.
	Weight float64 `json:"weight,omitempty"`
	// Next are the tasks that can follow, with the verdict that leads to each; an empty verdict always leads there.
	Next []Edge `json:"next,omitempty"`
}

// Edge leads from a node to the task that follows on a verdict.
type Edge struct {
	To string `json:"to"`
	On string `json:"on,omitempty"`
}

// The verdicts on edges.
const (
	OnApprove   = "approve"
	OnReject    = "reject"
	OnHealthy   = "healthy"
	OnUnhealthy = "unhealthy"
)

// Graph lists the tasks of a plan in the order of the success path, then the other branches. An undo has a graph of its own.
func Graph(p Plan, kind Kind) []Node {
	if kind == KindOfUndo {
		return []Node{
			{ID: TaskUndo, Kind: KindUndo, Stage: -1, Next: []Edge{{To: TaskNotifyUndone}}},
			{ID: TaskNotifyUndone, Kind: KindNotify, Stage: -1},
			{ID: TaskSettle, Kind: KindSettle, Stage: -1},
		}
	}
	nodes := []Node{
		{ID: TaskAdmit, Kind: KindAdmit, Stage: -1, Next: []Edge{{To: TaskCompare}}},
		{ID: TaskCompare, Kind: KindCompare, Stage: -1, Next: []Edge{{To: TaskDecideFirst}}},
	}
	nodes = append(nodes, stageNodes(p.Stages())...)
	nodes = append(nodes, Node{ID: TaskNotifySuccess, Kind: KindNotify, Stage: -1, Next: watchEdges(p)})
	if p.Watch.Duration > 0 {
		nodes = append(nodes, Node{ID: TaskWatch, Kind: KindWatch, Stage: -1})
	}
	return append(nodes,
		Node{ID: TaskKeepChampion, Kind: KindKeep, Stage: -1, Next: []Edge{{To: TaskNotifyRejected}}},
		Node{ID: TaskNotifyRejected, Kind: KindNotify, Stage: -1},
		Node{ID: TaskRollback, Kind: KindRollback, Stage: -1, Next: []Edge{{To: TaskNotifyRollback}}},
		Node{ID: TaskNotifyRollback, Kind: KindNotify, Stage: -1},
		Node{ID: TaskSettle, Kind: KindSettle, Stage: -1},
	)
}

func watchEdges(p Plan) []Edge {
	if p.Watch.Duration > 0 {
		return []Edge{{To: TaskWatch}}
	}
	return nil
}

func stageNodes(stages []Stage) []Node {
	var nodes []Node
	for i, s := range stages {
		decide := Node{ID: decideID(stages, i), Kind: KindDecide, Stage: i, Weight: s.Weight, Next: []Edge{
			{To: deployID(s), On: OnHealthy}, {To: TaskRollback, On: OnUnhealthy},
		}}
		if i == 0 {
			decide.Next = []Edge{{To: deployID(s), On: OnApprove}, {To: TaskKeepChampion, On: OnReject}}
		}
		nodes = append(nodes, decide)
		if s.Final() {
			nodes = append(nodes, Node{ID: deployID(s), Kind: KindPromote, Stage: i, Weight: s.Weight, Next: []Edge{{To: TaskNotifySuccess}}})
			continue
		}
		nodes = append(nodes,
			Node{ID: deployID(s), Kind: KindDeploy, Stage: i, Weight: s.Weight, Next: []Edge{{To: monitorID(s)}}},
			Node{ID: monitorID(s), Kind: KindMonitor, Stage: i, Weight: s.Weight, Next: []Edge{{To: decideID(stages, i+1)}}})
	}
	return nodes
}

func deployID(s Stage) string  { return fmt.Sprintf("deploy_canary_%s_percent", s.Name()) }
func monitorID(s Stage) string { return fmt.Sprintf("monitor_%s_percent", s.Name()) }

func decideID(stages []Stage, i int) string {
	if i == 0 {
		return TaskDecideFirst
	}
	return fmt.Sprintf("decide_%s_percent", stages[i].Name())
}

// Find gives the node of a task id, and whether the graph has it.
func Find(nodes []Node, id string) (Node, bool) {
	for _, n := range nodes {
		if n.ID == id {
			return n, true
		}
	}
	return Node{}, false
}
