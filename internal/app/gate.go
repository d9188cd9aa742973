package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"serin/internal/compare"
	"serin/internal/dataset"
	"serin/internal/mlflow"
	"serin/internal/model"
	"serin/internal/rollout"
	"serin/internal/scorer"
	"serin/internal/task"
)

// gate runs the offline comparison of a rollout's pinned versions.
type gate struct {
	client *mlflow.Client
	opener func(scorer.Registry) *scorer.Opener
}

// Compare judges the pinned challenger against the pinned champion. What cannot be judged is final; a registry or a server that is away is not.
func (g gate) Compare(ctx context.Context, s rollout.State) (compare.Report, error) {
	table, err := dataset.Read(ctx, s.Plan.Gate.Data)
	if err != nil {
		return compare.Report{}, judged(err)
	}
	in, err := g.gather(ctx, s, table)
	if err != nil {
		return compare.Report{}, judged(err)
	}
	report, err := compare.Run(in)
	return report, judged(err)
}

func (g gate) gather(ctx context.Context, s rollout.State, table *dataset.Table) (compare.Input, error) {
	p := s.Plan.Gate
	params := gatherParams(p, table)
	params.Opener = g.opener(pinnedPair{g.client, s.Model, s.Pins})
	params.Challenger = source(s.Model, s.Pins.Challenger, p.ChallengerScores)
	params.FirstChampion = s.Pins.FirstChampion
	if s.Pins.FirstChampion == "" {
		champion := source(s.Model, s.Pins.Champion, p.ChampionScores)
		params.Champion = &champion
	}
	in, err := scorer.Gather(ctx, params)
	if err == nil && p.Criteria.LatencyP95 == 0 {
		in.Challenger.Latency = compare.Latency{Off: "the plan declares the latency criterion off"}
	}
	return in, err
}

func gatherParams(p rollout.Gate, table *dataset.Table) scorer.GatherParams {
	if p.Criteria.LatencyP95 == 0 {
		p.Criteria.LatencyP95 = compare.DefaultCriteria().LatencyP95
	}
	return scorer.GatherParams{
		Table: table, Duplicates: table.Duplicates, DataName: filepath.Base(p.Data), Label: p.Label, Threshold: p.Threshold, Mode: compare.Mode(p.Mode),
		Criteria: compare.Criteria{Recall: p.Criteria.Recall, FPR: p.Criteria.FPR, LatencyP95: p.Criteria.LatencyP95, F1Ratio: p.Criteria.F1Ratio},
	}
}

func source(name string, pin model.Pin, column string) scorer.Source {
	if column != "" {
		return scorer.Source{Column: column}
	}
	return scorer.Source{Ref: model.Ref{Kind: model.RefVersion, Name: name, Version: pin.Version}}
}

// pinnedPair fetches the two pinned versions of a rollout and no other.
type pinnedPair struct {
	client *mlflow.Client
	name   string
	pins   rollout.Pins
}

func (p pinnedPair) Fetch(ctx context.Context, ref model.Ref) (scorer.Fetched, error) {
	for _, pin := range []model.Pin{p.pins.Champion, p.pins.Challenger} {
		if ref.Version == pin.Version {
			return onePin{p.client, p.name, pin}.Fetch(ctx, ref)
		}
	}
	return scorer.Fetched{}, fmt.Errorf("%s is not pinned by this rollout", ref)
}

// judged marks as final what a later attempt would find the same.
func judged(err error) error {
	var remote *scorer.RemoteError
	if err == nil || errors.Is(err, mlflow.ErrUnavailable) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &remote) {
		return err
	}
	return fmt.Errorf("%w: %w", err, task.ErrFinal)
}
