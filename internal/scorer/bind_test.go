package scorer

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBinding(t *testing.T) {
	t.Parallel()
	names := []string{"a", "b", "c"}
	tests := []struct {
		name    string
		names   []string
		frame   Frame
		want    []int
		wantErr string
	}{
		{"same order", names, Frame{Columns: []string{"a", "b", "c"}, Values: make([]float64, 3), N: 1}, []int{0, 1, 2}, ""},
		{"other order", names, Frame{Columns: []string{"c", "a", "b"}, Values: make([]float64, 3), N: 1}, []int{1, 2, 0}, ""},
		{"extra ignored", names, Frame{Columns: []string{"id", "c", "a", "x", "b"}, Values: make([]float64, 5), N: 1, Extra: IgnoreExtra}, []int{2, 4, 1}, ""},
		{"extra refused", names, Frame{Columns: []string{"id", "c", "a", "x", "b"}, Values: make([]float64, 5), N: 1}, nil, "columns that the model does not have: id, x"},
		{"missing", names, Frame{Columns: []string{"b"}, Values: make([]float64, 1), N: 1}, nil, "missing columns: a, c: the model wants 3, by name"},
		{"missing without rows", names, Frame{Columns: []string{"b"}}, nil, "missing columns: a, c"},
		{"twice", names, Frame{Columns: []string{"a", "b", "c", "a"}, Values: make([]float64, 4), N: 1}, nil, `column "a" is there twice`},
		{"an extra one twice", names, Frame{Columns: []string{"a", "x", "b", "c", "x"}, Values: make([]float64, 5), N: 1, Extra: IgnoreExtra}, []int{0, 2, 3}, ""},
		{"by position", names, Frame{Values: make([]float64, 6), N: 2}, []int{0, 1, 2}, ""},
		{"by position, too wide", names, Frame{Values: make([]float64, 8), N: 2}, nil, "rows of 4 columns, the model wants 3"},
		{"model without names", nil, Frame{Columns: []string{"x", "y", "z"}, Values: make([]float64, 3), N: 1}, []int{0, 1, 2}, ""},
		{"model without names, too narrow", nil, Frame{Columns: []string{"x"}, Values: make([]float64, 1), N: 1}, nil, "rows of 1 columns, the model wants 3"},
		{"no rows", names, Frame{}, []int{0, 1, 2}, ""},
		{"ragged", names, Frame{Values: make([]float64, 5), N: 2}, nil, "a frame of 2 rows has 5 values"},
		{"ragged with names", names, Frame{Columns: names, Values: make([]float64, 5), N: 2}, nil, "a frame of 2 rows and 3 columns has 5 values"},
		{"values without rows", names, Frame{Values: make([]float64, 3)}, nil, "a frame of 0 rows has 3 values"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b, err := newBinding(tt.names, 3)
			if err != nil {
				t.Fatal(err)
			}
			got, err := b.columns(&tt.frame, nil)
			if tt.wantErr != "" {
				var input *InputError
				if !errors.As(err, &input) || input.Status() != 400 || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("error %v, want an InputError with %q", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("places (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBindingOfBadModels(t *testing.T) {
	t.Parallel()
	if _, err := newBinding([]string{"a", "b"}, 3); err == nil {
		t.Error("two names for three columns were taken")
	}
	if _, err := newBinding([]string{"a", "b", "a"}, 3); err == nil {
		t.Error("a name that is there twice was taken")
	}
}

func TestBindingRows(t *testing.T) {
	t.Parallel()
	b, err := newBinding([]string{"a", "b"}, 2)
	if err != nil {
		t.Fatal(err)
	}
	f := Frame{Columns: []string{"b", "a"}, Values: []float64{1, 2, 3, math.NaN(), 0.1, 3.40282356e38}, N: 3}
	perm, err := b.columns(&f, nil)
	if err != nil {
		t.Fatal(err)
	}
	rows := make([]float32, 6)
	if err := b.rows(rows, &f, perm, 0); err != nil {
		t.Fatal(err)
	}
	if !(rows[0] == 2 && rows[1] == 1 && rows[2] != rows[2] && rows[3] == 3 && rows[4] == math.MaxFloat32 && rows[5] == float32(0.1)) {
		t.Errorf("rows %v", rows)
	}
	for _, bad := range []float64{math.Inf(1), math.Inf(-1), 1e39, -1e39} {
		f.Values[3] = bad
		err := b.rows(rows, &f, perm, 0)
		if err == nil || !strings.HasPrefix(err.Error(), `row 2, column "a": `) {
			t.Errorf("%v: error %v, want one that names row and column", bad, err)
		}
	}
	positional := Frame{Values: []float64{1, math.Inf(1)}, N: 1}
	if err := b.rows(rows[:2], &positional, []int{0, 1}, 0); err == nil || !strings.HasPrefix(err.Error(), "row 1, column 2: ") {
		t.Errorf("by position: error %v", err)
	}
}

func TestBindingFaults(t *testing.T) {
	t.Parallel()
	b, err := newBinding([]string{"a", "b"}, 2)
	if err != nil {
		t.Fatal(err)
	}
	f, err := DecodePayload("application/json", []byte(`{"dataframe_records":[{"id":"c1","a":1,"b":2},{"id":"c2","a":"x","b":2}]}`))
	if err != nil {
		t.Fatal(err)
	}
	perm, err := b.columns(&f, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.faults(&f, perm); err == nil || err.Error() != `row 2, column "a": a string is not a number` {
		t.Errorf("error %v", err)
	}
	one := f.slice(0, 1)
	if err := b.faults(&one, perm); err != nil {
		t.Errorf("text in a column that is not wanted: %v", err)
	}
}
