package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"

	"serin/internal/compare"
	"serin/internal/config"
	"serin/internal/dataset"
	"serin/internal/mlflow"
	"serin/internal/model"
	"serin/internal/rollout"
	"serin/internal/scorer"
)

// Bench is what commands do with models outside of rollouts: register, look, score and compare. It needs no store.
type Bench struct {
	client *mlflow.Client // nil without a registry
	opener *scorer.Opener
}

// BenchOptions say which registry a Bench works with.
type BenchOptions struct {
	Config config.Config
	// Registry is the tracking URI, a real MLflow's or a Serin server's; "" allows paths and URLs only.
	Registry string
	Logger   *slog.Logger
}

// NewBench makes a Bench; it contacts nobody.
func NewBench(o BenchOptions) (*Bench, error) {
	if o.Registry == "" {
		return &Bench{opener: scorer.NewOpener(scorer.Options{Logger: o.Logger})}, nil
	}
	options := clientOptions(o.Config, o.Logger)
	options.TrackingURI = o.Registry
	client, err := mlflow.New(options)
	if err != nil {
		return nil, err
	}
	return &Bench{client: client, opener: scorer.NewOpener(scorer.Options{Registry: registryAdapter{client}, Logger: o.Logger})}, nil
}

// Bench works with the App's own registry.
func (a *App) Bench() *Bench { return &Bench{client: a.client, opener: a.Opener()} }

// InProcess carries the requests of an API client to this App without a socket.
func (a *App) InProcess() http.RoundTripper { return mlflow.InProcess(a.Handler()) }

// Registration is a model to register: a folder or a file, under a name, moved to a stage unless that is None.
type Registration struct {
	Name, Path string
	Stage      model.Stage
}

// Register uploads the model and gives its version. It is not idempotent. A version comes back with an error when it was registered and could not be moved.
func (b *Bench) Register(ctx context.Context, r Registration) (version string, err error) {
	return b.client.Register(ctx, mlflow.RegisterParams{Name: r.Name, Path: r.Path, Stage: r.Stage})
}

// Names lists the registered models.
func (b *Bench) Names(ctx context.Context) ([]string, error) { return b.client.ListModels(ctx) }

// Resolve says which version a reference names now, and the digest of its files.
func (b *Bench) Resolve(ctx context.Context, ref model.Ref) (model.Pin, error) {
	got, err := b.client.Fetch(ctx, ref)
	return got.Pin, err
}

// Staged says which versions a model has in a stage, newest first.
func (b *Bench) Staged(ctx context.Context, name string, stage model.Stage) ([]string, error) {
	snapshot, err := b.client.Snapshot(ctx, name)
	if errors.Is(err, mlflow.ErrNotFound) {
		return nil, fmt.Errorf("%w: register it first: serin register %s PATH", err, name)
	}
	var versions []string
	for _, v := range snapshot.Stages[stage] {
		versions = append(versions, v.Version)
	}
	return versions, err
}

// Output says what scores are asked for.
type Output string

// The outputs: what the model predicts, or the raw sums of its trees before the link function.
const (
	OutputPrediction Output = "prediction"
	OutputMargin     Output = "margin"
)

// Scored are the scores of a table, Width numbers a row, and how they came about.
type Scored struct {
	Values []float32
	Width  int
	Kind   string
	Notes  []string
}

// Score scores every row of a CSV or Parquet file.
func (b *Bench) Score(ctx context.Context, ref model.Ref, data string, output Output) (s Scored, err error) {
	table, err := dataset.Read(ctx, data)
	if err != nil {
		return s, err
	}
	sc, err := b.opener.Open(ctx, ref)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, sc.Close()) }()
	frame, err := scorer.FrameOf(table, sc.Info())
	if err != nil {
		return s, fmt.Errorf("%s: %w", data, err)
	}
	score, kind := sc.Score, sc.Info().Kind
	if output == OutputMargin {
		score, kind = func(ctx context.Context, f scorer.Frame) (scorer.Scores, error) { return scorer.Margins(ctx, sc, f) }, scorer.Margin
	}
	got, err := score(ctx, frame)
	if err != nil {
		return s, fmt.Errorf("score %s: %w", data, err)
	}
	return Scored{Values: got.Values, Width: got.Width, Kind: string(kind), Notes: sc.Info().Notes}, nil
}

// Comparison is a gate outside of rollouts: each side a reference or, where the gate names one, a column of scores.
type Comparison struct {
	Champion, Challenger model.Ref
	Gate                 rollout.Gate
}

// Compare judges the challenger against the champion. An error means that it could not be judged.
func (b *Bench) Compare(ctx context.Context, c Comparison) (compare.Report, error) {
	table, err := dataset.Read(ctx, c.Gate.Data)
	if err != nil {
		return compare.Report{}, err
	}
	champion := scorer.Source{Ref: c.Champion, Column: c.Gate.ChampionScores}
	params := gatherParams(c.Gate, table)
	params.Opener, params.DataName, params.Champion = b.opener, filepath.Base(c.Gate.Data), &champion
	params.Challenger = scorer.Source{Ref: c.Challenger, Column: c.Gate.ChallengerScores}
	in, err := scorer.Gather(ctx, params)
	if err != nil {
		return compare.Report{}, err
	}
	if c.Gate.Criteria.LatencyP95 == 0 {
		in.Challenger.Latency = compare.Latency{Off: "the latency criterion is declared off"}
	}
	return compare.Run(in)
}
