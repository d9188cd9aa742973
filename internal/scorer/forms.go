package scorer

import "math"

// list reads a list whose first element decides: lists are rows, objects are records, numbers are rows of one column.
func (d *decoder) list(form string) error {
	s := &d.scan
	if err := s.expect('['); err != nil {
		return err
	}
	shape := byte(0)
	for first := true; ; {
		more, err := s.more(']', &first)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		c := s.peek()
		if c != '[' && c != '{' {
			c = '0'
		}
		if shape == 0 {
			shape = c
		}
		if err := d.element(form, shape, c); err != nil {
			return err
		}
		d.frame.N++
	}
	if shape == '{' {
		d.finishRecords()
	}
	return nil
}

func (d *decoder) element(form string, shape, c byte) error {
	switch {
	case c != shape:
		return payloadErrorf("%s: row %d is another kind of JSON value than the rows before", form, d.frame.N+1)
	case c != '{' && form == formRecords:
		return payloadErrorf("%s: row %d is not an object", form, d.frame.N+1)
	case c != '[' && form == formSplit:
		return payloadErrorf("%s: row %d is not a list", form, d.frame.N+1)
	case c == '[':
		return d.row(form)
	case c == '{':
		return d.record(form)
	}
	return d.value(0)
}

func (d *decoder) row(form string) error {
	s := &d.scan
	s.pos++
	width, before := 0, len(d.frame.Values)
	for first := true; ; width++ {
		more, err := s.more(']', &first)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if err := d.value(width); err != nil {
			return err
		}
	}
	if d.frame.N > 0 && width != before/d.frame.N || width == 0 {
		want := 1
		if d.frame.N > 0 {
			want = before / d.frame.N
		}
		return payloadErrorf("%s: row %d has %d values, want %d", form, d.frame.N+1, width, want)
	}
	return nil
}

// value appends one number of the row being read.
func (d *decoder) value(col int) error {
	x, what, err := d.scan.number()
	if err != nil {
		return err
	}
	if what != "" {
		d.addFault(d.frame.N, col, what)
	}
	d.frame.Values = append(d.frame.Values, x)
	return nil
}

func (d *decoder) addFault(row, col int, what string) {
	for len(d.faulted) <= col {
		d.faulted = append(d.faulted, false)
	}
	if !d.faulted[col] {
		d.faulted[col] = true
		d.frame.faults = append(d.frame.faults, fault{row, col, what})
	}
}

// inputs reads {"column": [value, ...], ...}.
func (d *decoder) inputs() error {
	s := &d.scan
	s.pos++
	rows := -1
	for first := true; ; {
		more, err := s.more('}', &first)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		key, err := s.key()
		if err != nil {
			return err
		}
		d.addColumn(key)
		n, err := d.inputColumn()
		if err != nil {
			return err
		}
		if rows >= 0 && n != rows {
			return payloadErrorf("%s: column %q has %d values, the columns before have %d", formInputs, d.names[d.columns-1], n, rows)
		}
		rows = n
	}
	if d.columns == 0 {
		return payloadErrorf("%s has no columns", formInputs)
	}
	d.frame.N = rows
	d.setColumns()
	for row := range rows {
		for col := range d.columns {
			d.frame.Values = append(d.frame.Values, d.byColumn[col*rows+row])
		}
	}
	return nil
}

func (d *decoder) inputColumn() (int, error) {
	s := &d.scan
	if s.peek() != '[' {
		return 0, payloadErrorf("%s: column %q is not a list", formInputs, d.names[d.columns-1])
	}
	s.pos++
	n := 0
	for first := true; ; n++ {
		more, err := s.more(']', &first)
		if err != nil || !more {
			return n, err
		}
		x, what, err := s.number()
		if err != nil {
			return n, err
		}
		if what != "" {
			d.addFault(n, d.columns-1, what)
		}
		d.byColumn = append(d.byColumn, x)
	}
}

// fillNaN extends values to n, the new ones missing.
func fillNaN(values []float64, n int) []float64 {
	for len(values) < n {
		values = append(values, math.NaN())
	}
	return values
}
