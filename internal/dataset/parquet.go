package dataset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// readParquet reads the flat columns of a Parquet file. Nested, repeated, date, time and decimal columns stay unread: asking for one is
// an error, having one is not.
func readParquet(ctx context.Context, src source) (t *Table, err error) {
	// The library panics on some damaged files that pass every check it makes; a reader of files from outside must not.
	defer func() {
		if r := recover(); r != nil {
			t, err = nil, fmt.Errorf("%s: damaged Parquet file: %v", src.path, r)
		}
	}()
	if err := checkFooter(src.data); err != nil {
		return nil, fmt.Errorf("%s: %w", src.path, err)
	}
	file, err := parquet.OpenFile(bytes.NewReader(src.data), int64(len(src.data)), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, fmt.Errorf("%s: damaged Parquet file: %w", src.path, err)
	}
	t, err = parquetColumns(src, file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", src.path, err)
	}
	for _, column := range file.Root().Columns() {
		if err := t.readParquetColumn(ctx, &src, file, column); err != nil {
			return nil, fmt.Errorf("%s: column %q: %w", src.path, column.Name(), err)
		}
	}
	return t, nil
}

// parquetColumns names the columns and holds the claimed number of rows against the limits.
func parquetColumns(src source, file *parquet.File) (*Table, error) {
	columns := file.Root().Columns()
	if len(columns) == 0 {
		return nil, errors.New("a Parquet file without columns")
	}
	if len(columns) > src.limits.Columns {
		return nil, fmt.Errorf("%d columns, the limit is %d", len(columns), src.limits.Columns)
	}
	rows := file.NumRows()
	var sum int64
	for _, group := range file.Metadata().RowGroups {
		if group.NumRows < 0 || group.NumRows > math.MaxInt32 {
			return nil, fmt.Errorf("%w: a row group of %d rows", errThrift, group.NumRows)
		}
		sum += group.NumRows
	}
	if rows < 0 || rows != sum {
		return nil, fmt.Errorf("%w: it says %d rows and has groups of %d", errThrift, rows, sum)
	}
	if rows > math.MaxInt32 || rows > src.limits.Cells/int64(len(columns)) {
		return nil, fmt.Errorf("%d rows of %d columns, the limit is %d cells: judge on a sample of the rows", rows, len(columns), src.limits.Cells)
	}
	t := &Table{path: src.path, rows: int(rows), columns: make([]column, 0, len(columns))}
	seen := make(map[string]bool, len(columns))
	for _, c := range columns {
		if seen[c.Name()] {
			return nil, fmt.Errorf("two columns are named %q: rename one", c.Name())
		}
		seen[c.Name()] = true
		t.columns = append(t.columns, column{name: c.Name(), firstBad: -1, refusal: refusal(c)})
	}
	return t, nil
}

// refusal says why a column cannot be read, or "".
func refusal(c *parquet.Column) string {
	switch {
	case !c.Leaf():
		return "a nested column is not read: flatten it"
	case c.Repeated():
		return "a repeated column is not read: write one value a row"
	}
	if logical := c.Type().LogicalType(); logical != nil && logical.Value != nil {
		switch logical.Value.(type) {
		case *format.DecimalType, *format.DateType, *format.TimeType, *format.TimestampType, *format.Float16Type, *format.UUIDType:
			return fmt.Sprintf("a %s column is not read: write it as a number", c.Type())
		}
	}
	switch c.Type().Kind() {
	case parquet.Int96, parquet.FixedLenByteArray:
		return fmt.Sprintf("a %s column is not read: write it as a number", c.Type())
	}
	return ""
}

// readParquetColumn appends the values of all row groups. Values are appended as they are read, never reserved by the claimed count.
// What a column holds of text is taken off the limit that src has for the file.
func (t *Table) readParquetColumn(ctx context.Context, src *source, file *parquet.File, leaf *parquet.Column) error {
	c := &t.columns[t.index(leaf.Name())]
	if c.refusal != "" {
		return nil
	}
	into := values{column: c, text: leaf.Type().Kind() == parquet.ByteArray, unsigned: unsigned(leaf), left: &src.limits.Text}
	for g, group := range file.RowGroups() {
		if err := ctx.Err(); err != nil {
			return err
		}
		metadata := &file.Metadata().RowGroups[g]
		if leaf.Index() >= len(metadata.Columns) {
			return fmt.Errorf("%w: row group %d has no such column", errThrift, g+1)
		}
		meta := &metadata.Columns[leaf.Index()].MetaData
		if meta.NumValues != metadata.NumRows {
			return fmt.Errorf("%w: %d values in a row group of %d rows", errThrift, meta.NumValues, metadata.NumRows)
		}
		if err := checkChunk(src.data, meta, src.limits); errors.Is(err, errDelta) {
			c.refusal = errDelta.Error()
			return nil
		} else if err != nil {
			return err
		}
		if err := into.readChunk(group.ColumnChunks()[leaf.Index()], meta.NumValues); err != nil {
			return err
		}
	}
	return into.finish(t.rows)
}

func (t *Table) index(name string) int {
	for i := range t.columns {
		if t.columns[i].name == name {
			return i
		}
	}
	return -1
}

func unsigned(c *parquet.Column) bool {
	logical := c.Type().LogicalType()
	if logical == nil {
		return false
	}
	integer, ok := logical.Value.(*format.IntType)
	return ok && !integer.IsSigned
}

// values collects one column.
type values struct {
	*column
	text, unsigned bool
	strings        []string
	numbers        []float64
	// left is the text that the file may still hold, in bytes.
	left *int64
}

func (v *values) readChunk(chunk parquet.ColumnChunk, want int64) error {
	pages := chunk.Pages()
	defer pages.Close()
	buf := make([]parquet.Value, 1024)
	var got int64
	for got < want {
		page, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		n, err := v.readPage(page, buf)
		parquet.Release(page)
		if err != nil {
			return err
		}
		got += n
	}
	if got != want {
		return fmt.Errorf("%w: %d values, the file says %d", errThrift, got, want)
	}
	return nil
}

func (v *values) readPage(page parquet.Page, buf []parquet.Value) (int64, error) {
	reader := page.Values()
	var total int64
	for {
		n, err := reader.ReadValues(buf)
		for _, x := range buf[:n] {
			if err := v.add(x); err != nil {
				return total, err
			}
		}
		total += int64(n)
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		if n == 0 {
			return total, fmt.Errorf("%w: a page gives no values", errThrift)
		}
	}
}

// add appends one value. Text is held against the limit before it is copied: a dictionary lets a few bytes stand for any length.
func (v *values) add(x parquet.Value) error {
	if !v.text {
		v.numbers = append(v.numbers, v.number(x))
		return nil
	}
	s := ""
	if !x.IsNull() {
		if *v.left -= int64(len(x.ByteArray())); *v.left < 0 {
			return errors.New("more text than the limit: leave the column out, or judge on a sample of the rows")
		}
		s = string(x.ByteArray())
	}
	v.strings = append(v.strings, s)
	return nil
}

func (v *values) number(x parquet.Value) float64 {
	if x.IsNull() {
		return math.NaN()
	}
	switch x.Kind() {
	case parquet.Boolean:
		if x.Boolean() {
			return 1
		}
		return 0
	case parquet.Int32:
		if v.unsigned {
			return float64(x.Uint32())
		}
		return float64(x.Int32())
	case parquet.Int64:
		if v.unsigned {
			return float64(x.Uint64())
		}
		return float64(x.Int64())
	case parquet.Float:
		return float64(x.Float())
	}
	return x.Double()
}

// finish hands the values to the column. A column of strings that all read as numbers is numeric, as it would be in a CSV file.
func (v *values) finish(rows int) error {
	if len(v.strings)+len(v.numbers) != rows {
		return fmt.Errorf("%w: %d values in %d rows", errThrift, len(v.strings)+len(v.numbers), rows)
	}
	if !v.text {
		v.num = v.numbers
		return nil
	}
	v.num = []float64{}
	for row, s := range v.strings {
		x, ok := parseNumber([]byte(s))
		if !ok {
			v.firstBad, v.num, v.column.text = row, nil, v.strings
			return nil
		}
		v.num = append(v.num, x)
	}
	return nil
}
