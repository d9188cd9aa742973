package dataset

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// readCSV reads a CSV file with a header line (RFC 4180, LF or CRLF, UTF-8 with or without BOM). Blank lines are skipped.
// The first pass reads every field as a number; only when some column has words does a second pass keep its text.
func readCSV(ctx context.Context, src source) (*Table, error) {
	s := newScanner(src.data)
	names, err := readHeader(s, src)
	if err != nil {
		return nil, err
	}
	start := *s
	t := &Table{path: src.path, columns: make([]column, len(names)), lines: []int32{}}
	for i, name := range names {
		t.columns[i] = column{name: name, num: []float64{}, firstBad: -1}
	}
	if err := t.readNumbers(ctx, s, src.limits); err != nil {
		return nil, err
	}
	t.readText(&start)
	return t, nil
}

func readHeader(s *scanner, src source) ([]string, error) {
	s.skipBlankLines()
	if s.done() {
		return nil, fmt.Errorf("%s: empty file: it needs a header line and rows", src.path)
	}
	var names []string
	seen := make(map[string]int)
	for {
		f, err := s.next()
		if err != nil {
			return nil, s.locate(src.path, err)
		}
		name := string(f.text)
		if first, dup := seen[name]; dup {
			return nil, fmt.Errorf("%s:%d:%d: columns %d and %d are both named %q: rename one", src.path, f.line, f.col, first, len(names)+1, name)
		}
		if len(names) == src.limits.Columns {
			return nil, fmt.Errorf("%s:%d: more than %d columns", src.path, f.line, src.limits.Columns)
		}
		names = append(names, name)
		seen[name] = len(names)
		if f.last {
			return names, nil
		}
	}
}

// readNumbers appends all rows to the columns, NaN where a field is empty or not a number.
func (t *Table) readNumbers(ctx context.Context, s *scanner, limits Limits) error {
	maxRows := min(limits.Cells/int64(len(t.columns)), math.MaxInt32)
	for s.skipBlankLines(); !s.done(); s.skipBlankLines() {
		if t.rows%4096 == 0 && ctx.Err() != nil {
			return fmt.Errorf("read %s: %w", t.path, ctx.Err())
		}
		if int64(t.rows) >= maxRows {
			return fmt.Errorf("%s:%d: more than %d rows of %d columns: judge on a sample of the rows", t.path, s.line, maxRows, len(t.columns))
		}
		t.lines = append(t.lines, int32(min(s.line, math.MaxInt32)))
		if err := t.readRow(s); err != nil {
			return err
		}
		t.rows++
	}
	return nil
}

func (t *Table) readRow(s *scanner) error {
	for i := range t.columns {
		f, err := s.next()
		if err != nil {
			return s.locate(t.path, err)
		}
		c := &t.columns[i]
		x, ok := parseNumber(f.text)
		if !ok && c.firstBad < 0 {
			c.firstBad = t.rows
		}
		c.num = append(c.num, x)
		if f.last != (i == len(t.columns)-1) {
			if f.last {
				return fmt.Errorf("%s:%d: %d fields, the header has %d", t.path, f.line, i+1, len(t.columns))
			}
			return fmt.Errorf("%s:%d:%d: more fields than the header's %d", t.path, f.line, f.col, len(t.columns))
		}
	}
	return nil
}

// readText goes over the rows once more for the columns that are not numbers, which readNumbers has found to be well formed.
func (t *Table) readText(s *scanner) {
	words := false
	for i := range t.columns {
		if c := &t.columns[i]; c.firstBad >= 0 {
			c.num, c.text, words = nil, make([]string, t.rows), true
		}
	}
	if !words {
		return
	}
	for row := range t.rows {
		s.skipBlankLines()
		for i := range t.columns {
			f, err := s.next()
			if err != nil {
				return
			}
			if c := &t.columns[i]; c.text != nil {
				c.text[row] = string(f.text)
			}
		}
	}
}

// parseNumber reads a decimal number as float64, spaces around it allowed. Empty and NaN are missing values; a number beyond
// float64 is infinite, which whoever scores it refuses by row and column. Hexadecimal and 1_000, which Go would read, are not numbers here.
func parseNumber(text []byte) (float64, bool) {
	for len(text) > 0 && (text[0] == ' ' || text[0] == '\t') {
		text = text[1:]
	}
	for len(text) > 0 && (text[len(text)-1] == ' ' || text[len(text)-1] == '\t') {
		text = text[:len(text)-1]
	}
	if len(text) == 0 {
		return math.NaN(), true
	}
	for _, b := range text {
		if b == 'x' || b == 'X' || b == 'p' || b == 'P' || b == '_' {
			return math.NaN(), false
		}
	}
	x, err := strconv.ParseFloat(string(text), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return math.NaN(), false
	}
	return x, true
}
