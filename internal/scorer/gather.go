package scorer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"serin/internal/compare"
	"serin/internal/model"
)

// Table is the gate's data: Columns, and Label, which gives a column of truths; anything but 0 and 1 in it is an error.
type Table interface {
	Columns
	Label(name string) ([]bool, error)
}

// Source is where a side's scores come from: a column of the data when Column is set, else the model behind Ref.
type Source struct {
	Ref    model.Ref
	Column string
}

// GatherParams is what the gate is asked.
type GatherParams struct {
	Opener *Opener
	// Champion is nil exactly when FirstChampion says why there is none.
	Champion      *Source
	FirstChampion string
	Challenger    Source
	Table         Table
	// Duplicates is the table's method that counts the rows equal to an earlier row in the named columns, all columns when none is named.
	Duplicates func(names ...string) (int, error)
	// DataName is the data in the report, such as its file name; Label is its label column.
	DataName, Label string
	Threshold       float64
	Criteria        compare.Criteria
	Mode            compare.Mode
	// Latency says how one-row scoring is timed. Rows defaults to 1000 in process and 200 over HTTP, Warmup to a tenth of it.
	Latency LatencyParams
}

// Gather scores both sides on all rows, times one-row scoring, and gives what compare.Run judges. Any error means that the gate could not judge. A
// column's scores have no latency: the criterion is declared off, and the report says so.
func Gather(ctx context.Context, p GatherParams) (compare.Input, error) {
	if p.Opener == nil || p.Table == nil || p.Duplicates == nil {
		return compare.Input{}, errors.New("gather: opener, table and duplicates must be set")
	}
	labels, err := p.Table.Label(p.Label)
	if err != nil {
		return compare.Input{}, err
	}
	in := compare.Input{
		Mode: p.Mode, Threshold: p.Threshold, Criteria: p.Criteria, Labels: labels, FirstChampion: p.FirstChampion,
		Data: compare.Data{Name: p.DataName, Label: p.Label},
	}
	g := gatherer{GatherParams: p, except: p.except(), named: true}
	if p.Champion != nil {
		if in.Champion, err = g.side(ctx, *p.Champion); err != nil {
			return compare.Input{}, fmt.Errorf("champion: %w", err)
		}
	}
	if in.Challenger, err = g.side(ctx, p.Challenger); err != nil {
		return compare.Input{}, fmt.Errorf("challenger: %w", err)
	}
	in.Data.Duplicates, err = p.Duplicates(g.compared()...)
	return in, err
}

// except are the columns that no model may read.
func (p *GatherParams) except() []string {
	except := []string{p.Label, p.Challenger.Column}
	if p.Champion != nil {
		except = append(except, p.Champion.Column)
	}
	return slices.DeleteFunc(except, func(name string) bool { return name == "" })
}

// gatherer collects the columns that the sides read.
type gatherer struct {
	GatherParams
	except []string
	used   []string
	// named is false when some side's columns are not known, as for a score column.
	named bool
}

// compared are the columns in which duplicates are counted: what the models read and the label, or all when that is not known.
func (g *gatherer) compared() []string {
	if !g.named {
		return nil
	}
	return append(g.used, g.Label)
}

func (g *gatherer) side(ctx context.Context, s Source) (*compare.Side, error) {
	if s.Column != "" {
		return g.fromColumn(s.Column)
	}
	sc, err := g.Opener.Open(ctx, s.Ref)
	if err != nil {
		return nil, err
	}
	side, err := g.fromScorer(ctx, sc)
	return side, errors.Join(err, sc.Close())
}

func (g *gatherer) fromColumn(name string) (*compare.Side, error) {
	if name == g.Label {
		return nil, fmt.Errorf("column %q is the label: name the column of the model's scores", name)
	}
	values, err := g.Table.Float(name)
	if err != nil {
		return nil, err
	}
	g.named = false
	scores := make([]float32, len(values))
	for i, x := range values {
		scores[i] = float32(x)
	}
	return &compare.Side{
		Ref: "column " + name, Kind: guessKind(scores), Scores: scores,
		Latency: compare.Latency{Off: fmt.Sprintf("declared off: the scores come from column %q, nothing was run", name)},
	}, nil
}

func (g *gatherer) fromScorer(ctx context.Context, sc Scorer) (*compare.Side, error) {
	info := sc.Info()
	if info.Kind == Value || info.Kind == Margin {
		return nil, fmt.Errorf("%s gives a %s, which cannot be held against labels: the gate judges probabilities or labels", info.Ref, info.Kind)
	}
	frame, err := FrameOf(g.Table, info, g.except...)
	if err != nil {
		return nil, err
	}
	g.note(info, frame)
	scores, err := sc.Score(ctx, frame)
	if err != nil {
		return nil, err
	}
	positive, err := positiveScores(info, scores)
	if err != nil {
		return nil, err
	}
	side := &compare.Side{Ref: info.Ref, Version: info.Pin.Version, Digest: info.Pin.Digest, Scores: positive, Notes: info.Notes}
	switch info.Kind {
	case Probability:
		side.Kind = compare.Probability
	case Label:
		side.Kind = compare.Label
	case Unknown, Value, Margin:
		side.Kind = guessKind(positive)
		side.Notes = append(slices.Clone(info.Notes), fmt.Sprintf("its answers look like a %s", side.Kind))
	}
	side.Latency.OneRow, err = MeasureLatency(ctx, sc, frame, g.latency(info))
	return side, err
}

// note remembers the columns that a side reads.
func (g *gatherer) note(info Info, f Frame) {
	if info.Columns == nil {
		g.named = false
		return
	}
	for _, name := range f.Columns {
		if !slices.Contains(g.used, name) {
			g.used = append(g.used, name)
		}
	}
}

func (g *gatherer) latency(info Info) LatencyParams {
	p := g.Latency
	if p.Rows == 0 {
		p.Rows = 200
		if info.Native {
			p.Rows = 1000
		}
	}
	if p.Warmup == 0 {
		p.Warmup = p.Rows / 10
	}
	return p
}

// positiveScores gives one number a row: the score itself, or the second of two class probabilities.
func positiveScores(info Info, s Scores) ([]float32, error) {
	switch s.Width {
	case 0, 1:
		return s.Values, nil
	case 2:
		positive := make([]float32, 0, len(s.Values)/2)
		for i := 0; i+1 < len(s.Values); i += 2 {
			if sum := float64(s.Values[i]) + float64(s.Values[i+1]); !(math.Abs(sum-1) < 1e-3) {
				return nil, fmt.Errorf("%s gives two numbers a row that are not the probabilities of two classes (row %d adds up to %v)", info.Ref, i/2+1, sum)
			}
			positive = append(positive, s.Values[i+1])
		}
		return positive, nil
	}
	return nil, fmt.Errorf("%s gives %d numbers a row: the gate judges models of two classes", info.Ref, s.Width)
}

// guessKind tells labels from probabilities by the numbers, where nothing else says it; compare refuses what is neither.
func guessKind(scores []float32) compare.Kind {
	for _, x := range scores {
		if x != 0 && x != 1 {
			return compare.Probability
		}
	}
	return compare.Label
}
