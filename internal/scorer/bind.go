package scorer

import (
	"fmt"
	"slices"
	"strings"

	"serin/internal/forest"
)

// binding knows how a model's columns are found in a frame.
type binding struct {
	// names are the model's columns in its order; nil binds by position.
	names []string
	// index finds a name's position.
	index map[string]int
	width int
}

func newBinding(names []string, width int) (binding, error) {
	b := binding{width: width}
	if len(names) == 0 {
		return b, nil
	}
	if len(names) != width {
		return b, fmt.Errorf("the model has %d column names for %d columns", len(names), width)
	}
	b.names, b.index = names, make(map[string]int, len(names))
	for i, name := range names {
		if _, dup := b.index[name]; dup {
			return b, fmt.Errorf("the model has two columns named %q", name)
		}
		b.index[name] = i
	}
	return b, nil
}

// columns gives, for each column of the model, its place in the frame, in perm's memory where that is enough.
func (b *binding) columns(f *Frame, perm []int) ([]int, error) {
	if err := f.check(); err != nil {
		return perm, err
	}
	perm = slices.Grow(perm[:0], b.width)[:b.width]
	if b.names != nil && f.Columns != nil && !slices.Equal(b.names, f.Columns) {
		return perm, b.byName(f, perm)
	}
	if width := f.Width(); width != b.width && (f.N > 0 || f.Columns != nil) {
		return perm, inputErrorf("rows of %d columns, the model wants %d", width, b.width)
	}
	for i := range perm {
		perm[i] = i
	}
	return perm, nil
}

func (b *binding) byName(f *Frame, perm []int) error {
	for i := range perm {
		perm[i] = -1
	}
	var extra []string
	for place, name := range f.Columns {
		i, wanted := b.index[name]
		switch {
		case !wanted && f.Extra == RefuseExtra:
			extra = append(extra, name)
		case !wanted:
		case perm[i] >= 0:
			return inputErrorf("column %q is there twice", name)
		default:
			perm[i] = place
		}
	}
	var missing []string
	for i, place := range perm {
		if place < 0 {
			missing = append(missing, b.names[i])
		}
	}
	if len(missing) > 0 {
		return inputErrorf("missing columns: %s: the model wants %d, by name", some(missing), b.width)
	}
	if len(extra) > 0 {
		return inputErrorf("columns that the model does not have: %s", some(extra))
	}
	return nil
}

// faults refuses values that are not numbers in columns that the model wants.
func (b *binding) faults(f *Frame, perm []int) error {
	for _, x := range f.faults {
		if slices.Contains(perm, x.col) {
			return inputErrorf("row %d, %s: %s is not a number", x.row+1, f.columnName(x.col), x.what)
		}
	}
	return nil
}

// rows fills dst with the rows from first on, as float32 in the model's order. Infinities and numbers beyond float32 are refused: XGBoost takes them in some
// calls and refuses them in others.
func (b *binding) rows(dst []float32, f *Frame, perm []int, first int) error {
	width := f.Width()
	for row := first; len(dst) > 0; row++ {
		values := f.Values[row*width : (row+1)*width]
		for _, place := range perm {
			x, err := forest.RowFloat(values[place])
			if err != nil {
				return inputErrorf("row %d, %s: %v", row+1, f.columnName(place), err)
			}
			dst[0], dst = x, dst[1:]
		}
	}
	return nil
}

// some lists names in an error, the first ten of many.
func some(names []string) string {
	const most = 10
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}
