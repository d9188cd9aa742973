package scorer

import (
	"context"
	"fmt"
	"sync"

	"serin/internal/forest"
)

// blockRows is the number of rows that are scored between two looks at the context, and what bounds the memory of a large frame.
const blockRows = 1024

// native scores with a forest in this process. It is immutable.
type native struct {
	info    Info
	model   *forest.Model
	binding binding
	pool    sync.Pool // of *scratch
}

// scratch is the memory of one call.
type scratch struct {
	perm   []int
	rows   []float32
	scores []float32
}

func newNative(info Info, m *forest.Model, columns []string) (*native, error) {
	b, err := newBinding(columns, m.NumFeature())
	if err != nil {
		return nil, err
	}
	kind, err := kindOf(m.Output())
	if err != nil {
		return nil, err
	}
	info.Columns, info.Features, info.Width, info.Kind, info.Native = columns, m.NumFeature(), m.Outputs(), kind, true
	n := &native{info: info, model: m, binding: b}
	n.pool.New = func() any { return new(scratch) }
	return n, nil
}

// kindOf reads the forest's word for its output; the words are the same here.
func kindOf(o forest.Output) (Kind, error) {
	switch k := Kind(o); k {
	case Probability, Label, Value, Margin:
		return k, nil
	case Unknown:
	}
	return Unknown, fmt.Errorf("the model's output %q is not known in this version", o)
}

func (n *native) Info() Info { return n.info }

func (n *native) Close() error { return nil }

// Score implements Scorer.
func (n *native) Score(ctx context.Context, f Frame) (Scores, error) {
	return n.score(ctx, f, call{width: n.model.Outputs(), predict: n.model.Predict})
}

func (n *native) margins(ctx context.Context, f Frame) (Scores, error) {
	return n.score(ctx, f, call{width: n.model.Groups(), predict: n.model.Margins})
}

// call is the method of the forest that answers, and how many numbers a row it gives.
type call struct {
	width   int
	predict func(dst, rows []float32)
}

func (n *native) score(ctx context.Context, f Frame, c call) (Scores, error) {
	s := n.pool.Get().(*scratch) //nolint:errcheck // New puts nothing else in
	defer n.pool.Put(s)
	err := n.into(ctx, &f, s, c)
	values := s.scores
	s.scores = nil // they go to the caller
	if err != nil {
		return Scores{}, err
	}
	return Scores{Values: values, Width: c.width}, nil
}

// into leaves the scores of f in s.scores.
func (n *native) into(ctx context.Context, f *Frame, s *scratch, c call) error {
	s.scores = s.scores[:0]
	perm, err := n.binding.columns(f, s.perm)
	s.perm = perm
	if err != nil {
		return err
	}
	if len(f.faults) > 0 {
		if err := n.binding.faults(f, perm); err != nil {
			return err
		}
	}
	width := n.binding.width
	for from := 0; from < f.N; from += blockRows {
		if err := ctx.Err(); err != nil {
			return err
		}
		to := min(from+blockRows, f.N)
		s.rows = grow(s.rows, (to-from)*width)
		if err := n.binding.rows(s.rows, f, perm, from); err != nil {
			return err
		}
		start := len(s.scores)
		s.scores = grow(s.scores, start+(to-from)*c.width)
		c.predict(s.scores[start:], s.rows)
	}
	return nil
}

// grow gives s the length n and keeps its values.
func grow(s []float32, n int) []float32 {
	if n <= cap(s) {
		return s[:n]
	}
	return append(s, make([]float32, n-len(s))...)
}
