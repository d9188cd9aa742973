package scorer

import "math"

// Records may have different keys. The columns are the union of all keys, and a key that one record lacks is a missing value there, as pandas makes
// of such a list. Rows are laid out with room for columns to come, and closed up at the end.

// manyColumns is from when on a key that is out of order is looked up in a map.
const manyColumns = 16

// record reads one object as the row after the last.
func (d *decoder) record(form string) error {
	s := &d.scan
	s.pos++
	row := d.frame.N
	if row == 0 {
		d.stride = 8
	}
	d.frame.Values = fillNaN(d.frame.Values, (row+1)*d.stride)
	position := 0
	for first := true; ; position++ {
		more, err := s.more('}', &first)
		if err != nil || !more {
			return err
		}
		key, err := s.key()
		if err != nil {
			return err
		}
		col, err := d.recordColumn(form, key, position)
		if err != nil {
			return err
		}
		x, what, err := s.number()
		if err != nil {
			return err
		}
		if what != "" {
			d.addFault(row, col, what)
		}
		d.frame.Values[row*d.stride+col] = x
	}
}

// recordColumn finds the column of a key. Records mostly have the same keys in the same order, so its position is tried first.
func (d *decoder) recordColumn(form string, key []byte, position int) (int, error) {
	if position < d.columns && d.names[position] == string(key) {
		return position, nil
	}
	known := position == d.columns && position < d.distinct && d.names[position] == string(key)
	if !known {
		if col, ok := d.findColumn(key); ok {
			return col, nil
		}
	}
	if d.columns == d.stride {
		if err := d.widen(form); err != nil {
			return 0, err
		}
	}
	d.addColumn(key)
	if len(d.index) > 0 {
		d.index[d.names[d.columns-1]] = d.columns - 1
	}
	return d.columns - 1, nil
}

func (d *decoder) findColumn(key []byte) (int, bool) {
	if d.columns > manyColumns {
		if len(d.index) == 0 {
			d.buildIndex()
		}
		col, ok := d.index[string(key)]
		return col, ok
	}
	for i, name := range d.names[:d.columns] {
		if name == string(key) {
			return i, true
		}
	}
	return 0, false
}

func (d *decoder) buildIndex() {
	if d.index == nil {
		d.index = make(map[string]int)
	}
	for i, name := range d.names[:d.columns] {
		d.index[name] = i
	}
}

// widen doubles the room of every row. Records of ever new keys would make a frame much larger than its payload, which is refused before it is
// allocated; the limit is far above what records with equal keys need.
func (d *decoder) widen(form string) error {
	rows, old := d.frame.N+1, d.stride
	wide := 2 * old
	if rows*wide > 2*len(d.scan.data)+1<<12 {
		return payloadErrorf("%s: row %d: too many different keys: send records that have the same keys", form, rows)
	}
	d.frame.Values = fillNaN(d.frame.Values, rows*wide)
	values := d.frame.Values
	for row := rows - 1; row > 0; row-- {
		copy(values[row*wide:], values[row*old:(row+1)*old])
		for i := row*wide + old; i < (row+1)*wide; i++ {
			values[i] = math.NaN()
		}
	}
	for i := old; i < wide; i++ {
		values[i] = math.NaN()
	}
	d.stride = wide
	return nil
}

// finishRecords closes up the rows.
func (d *decoder) finishRecords() {
	values := d.frame.Values
	for row := 1; row < d.frame.N; row++ {
		copy(values[row*d.columns:(row+1)*d.columns], values[row*d.stride:])
	}
	d.frame.Values = values[:d.frame.N*d.columns]
	d.distinct = d.columns
	d.setColumns()
}
