// Package scorer turns a model reference into something that scores rows, in process or over HTTP, and reads and writes the payload forms of
// MLflow's /invocations. It must never execute a pickle, fill in a missing column, or score a model that it cannot reproduce exactly.
package scorer

import (
	"context"
	"fmt"

	"serin/internal/model"
)

// Kind says what a scorer's numbers are.
type Kind string

// The kinds of output.
const (
	// Probability is a probability, or one for each class.
	Probability Kind = "probability"
	// Label is a class.
	Label Kind = "label"
	// Value is a prediction on a scale of its own, such as a regression.
	Value Kind = "value"
	// Margin is the raw sum of the trees, before the link function.
	Margin Kind = "margin"
	// Unknown is what a server over HTTP gives: the protocol does not say.
	Unknown Kind = "unknown"
)

// Scorer scores rows. It is safe for concurrent use until Close.
type Scorer interface {
	// Info describes the scorer; it does no I/O and does not change.
	Info() Info
	// Score scores all rows of f, in order. A fault of the rows (a missing column, a value that is no number) is an *InputError and will
	// not go away; a fault of a server is a *RemoteError, which says whether trying again can help.
	Score(ctx context.Context, f Frame) (Scores, error)
	// Close frees what the scorer holds. Calling it again is harmless.
	Close() error
}

// Info describes a scorer.
type Info struct {
	// Ref is the reference that it was opened by, Name the registered model (empty for paths and URLs) and Pin the version behind it.
	Ref  string
	Name string
	Pin  model.Pin
	// Columns are the names that rows are bound by, in the model's order; nil when the model knows no names or they are not known here.
	Columns []string
	// Features is the number of columns of a row, 0 when it is not known.
	Features int
	// Width is the number of scores a row, 0 when it is not known before the first answer.
	Width int
	// Kind says what the scores are.
	Kind Kind
	// Native is true when Serin scores in this process.
	Native bool
	// Notes say how the model is scored, for people.
	Notes []string
}

// Extra says what happens to columns that the model does not want.
type Extra int

// RefuseExtra makes an extra column an error that names it; IgnoreExtra passes over it, as MLflow does.
const (
	RefuseExtra Extra = iota
	IgnoreExtra
)

// Frame is a block of rows.
type Frame struct {
	// Columns are the names of the columns; nil means that they are bound by position.
	Columns []string
	// Values holds the rows one after another, Width() numbers each; NaN is a missing value.
	Values []float64
	// N is the number of rows.
	N int
	// Extra applies where both the frame and the model have names.
	Extra Extra

	// faults has, for a column with values that are not numbers, the first of them. Such a column is an error only for a model that wants it.
	faults []fault
}

// fault is a value that is not a number; row and column count from 0.
type fault struct {
	row, col int
	what     string
}

// Width is the number of columns.
func (f *Frame) Width() int {
	switch {
	case f.Columns != nil:
		return len(f.Columns)
	case f.N == 0:
		return 0
	}
	return len(f.Values) / f.N
}

// check refuses a frame whose parts do not fit together.
func (f *Frame) check() error {
	switch {
	case f.N < 0, f.N == 0 && len(f.Values) > 0:
		return inputErrorf("a frame of %d rows has %d values", f.N, len(f.Values))
	case f.N > 0 && f.Columns != nil && len(f.Values) != f.N*len(f.Columns):
		return inputErrorf("a frame of %d rows and %d columns has %d values", f.N, len(f.Columns), len(f.Values))
	case f.N > 0 && len(f.Values)%f.N != 0:
		return inputErrorf("a frame of %d rows has %d values", f.N, len(f.Values))
	}
	return nil
}

// columnName names a column in an error.
func (f *Frame) columnName(col int) string {
	if f.Columns != nil {
		return fmt.Sprintf("column %q", f.Columns[col])
	}
	return fmt.Sprintf("column %d", col+1)
}

// slice is the rows from up to to, with their faults.
func (f *Frame) slice(from, to int) Frame {
	width := f.Width()
	part := Frame{Columns: f.Columns, Values: f.Values[from*width : to*width], N: to - from, Extra: f.Extra}
	for _, x := range f.faults {
		if x.row >= from && x.row < to {
			part.faults = append(part.faults, fault{x.row - from, x.col, x.what})
		}
	}
	return part
}

// Scores are the answers to a frame: Width numbers a row, one row after another.
type Scores struct {
	Values []float32
	Width  int
}

// marginScorer is a scorer that knows the margins behind its scores.
type marginScorer interface {
	margins(ctx context.Context, f Frame) (Scores, error)
}

// Margins scores the rows of f as margins, the raw sums of the trees before the link function. A scorer over HTTP does not know them, which is an error.
func Margins(ctx context.Context, sc Scorer, f Frame) (Scores, error) {
	m, ok := sc.(marginScorer)
	if !ok {
		return Scores{}, fmt.Errorf("%s: a server does not tell margins: open the model itself, by path or models:/ reference", sc.Info().Ref)
	}
	return m.margins(ctx, f)
}
