package scorer

import (
	"fmt"
	"slices"
)

// Columns is a table that rows are taken from. Float gives one value a row, NaN where there is none; its errors name file, line and column and are
// not worth a retry.
type Columns interface {
	Names() []string
	Float(name string) ([]float64, error)
}

// FrameOf takes the columns that a scorer wants out of a table that may have more. A scorer that knows no names gets all columns in the table's order,
// but for those in except (the label, other models' scores).
func FrameOf(t Columns, info Info, except ...string) (Frame, error) {
	names := info.Columns
	if names == nil {
		names = slices.DeleteFunc(slices.Clone(t.Names()), func(name string) bool { return slices.Contains(except, name) })
	}
	if len(names) == 0 {
		return Frame{}, fmt.Errorf("%s: the data has no columns to score", info.Ref)
	}
	if info.Features > 0 && len(names) != info.Features {
		return Frame{}, fmt.Errorf("%s: the model has %d columns without names, the data has %d that could be meant: give data with just these", info.Ref, info.Features, len(names))
	}
	if err := allThere(t, info, except); err != nil {
		return Frame{}, err
	}
	var f Frame
	for place, name := range names {
		values, err := t.Float(name)
		if err != nil {
			return Frame{}, err
		}
		if place == 0 {
			f = Frame{Columns: names, N: len(values), Values: make([]float64, len(values)*len(names))}
		}
		if len(values) != f.N {
			return Frame{}, fmt.Errorf("column %q has %d values, the others have %d", name, len(values), f.N)
		}
		for row, x := range values {
			f.Values[row*len(names)+place] = x
		}
	}
	return f, nil
}

// allThere names all missing columns at once, and refuses a model that reads what it is to be judged by.
func allThere(t Columns, info Info, except []string) error {
	there := t.Names()
	var missing []string
	for _, name := range info.Columns {
		if slices.Contains(except, name) {
			return fmt.Errorf("%s: the model reads the column %q, which holds the label or a score: it cannot be judged on this data", info.Ref, name)
		}
		if !slices.Contains(there, name) {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s: columns that the data lacks: %s: the data has %s", info.Ref, some(missing), some(there))
	}
	return nil
}
