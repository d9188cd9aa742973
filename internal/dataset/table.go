package dataset

import (
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Table is a file's rows, kept as columns. It is immutable and safe for concurrent use.
type Table struct {
	path    string
	columns []column
	rows    int
	// lines holds the line on which each row begins, for CSV; nil for Parquet, where a row has only its number.
	lines []int32
}

// column is one named column. Exactly one of these holds: it is numeric (num only), it is text (text, with first telling why it is
// not numeric), or it cannot be read at all (refusal).
type column struct {
	name string
	// num has one value a row, NaN where the field is empty; nil for text.
	num []float64
	// text has one value a row; nil for numbers.
	text []string
	// firstBad is the first row of a text column that is not a number.
	firstBad int
	// refusal says why a column of a Parquet file has no values here, such as a nested or a timestamp column.
	refusal string
}

// Rows is the number of rows, the header not counted.
func (t *Table) Rows() int { return t.rows }

// Names lists the columns in the order of the file.
func (t *Table) Names() []string {
	names := make([]string, len(t.columns))
	for i := range t.columns {
		names[i] = t.columns[i].name
	}
	return names
}

// Float gives a column as float64, one value a row; an empty or null field is NaN. The slice is the table's own: do not write to it.
// A missing column, and a column with a field that is not a number, are errors that name file, line and column.
func (t *Table) Float(name string) ([]float64, error) {
	c, err := t.column(name)
	if err != nil {
		return nil, err
	}
	if c.text != nil {
		return nil, fmt.Errorf("%s: column %q: %q is not a number", t.where(c.firstBad), name, clip(c.text[c.firstBad]))
	}
	return c.num, nil
}

// Label gives a column of truths: numbers 0 and 1, or the words true and false in any case. Anything else, an empty field
// included, is an error that names file, line and column: a label is never guessed.
func (t *Table) Label(name string) ([]bool, error) {
	c, err := t.column(name)
	if err != nil {
		return nil, err
	}
	labels := make([]bool, t.rows)
	for i := range labels {
		truth, ok := c.truth(i)
		if !ok {
			return nil, fmt.Errorf("%s: column %q: label %s: a label is 0 or 1 (or false, true)", t.where(i), name, c.show(i))
		}
		labels[i] = truth
	}
	return labels, nil
}

// Duplicates counts the rows that equal an earlier row in all the named columns (all readable columns when none is named).
// Two empty fields are equal, and so are 0 and -0.
func (t *Table) Duplicates(names ...string) (int, error) {
	if len(names) == 0 {
		for i := range t.columns {
			if t.columns[i].refusal == "" {
				names = append(names, t.columns[i].name)
			}
		}
		if len(names) == 0 {
			return 0, fmt.Errorf("%s: no column can be read, so rows cannot be compared: write its columns as numbers or text", t.path)
		}
	}
	columns := make([]*column, len(names))
	for i, name := range names {
		c, err := t.column(name)
		if err != nil {
			return 0, err
		}
		columns[i] = c
	}
	return countDuplicates(columns, t.rows), nil
}

// countDuplicates chains the rows of one hash, so that a collision costs time and never a wrong count.
func countDuplicates(columns []*column, rows int) int {
	seed := maphash.MakeSeed()
	last := make(map[uint64]int32, rows)
	earlier := make([]int32, rows)
	duplicates := 0
	for row := range rows {
		sum := hashRow(seed, columns, row)
		head, seen := last[sum]
		if !seen {
			head = -1
		}
		found := false
		for other := head; other >= 0 && !found; other = earlier[other] {
			found = equalRows(columns, int(other), row)
		}
		if found {
			duplicates++
			continue
		}
		earlier[row] = head
		last[sum] = int32(row)
	}
	return duplicates
}

func hashRow(seed maphash.Seed, columns []*column, row int) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	for _, c := range columns {
		if c.text != nil {
			maphash.WriteComparable(&h, c.text[row])
			continue
		}
		maphash.WriteComparable(&h, canonical(c.num[row]))
	}
	return h.Sum64()
}

func equalRows(columns []*column, a, b int) bool {
	for _, c := range columns {
		if c.text != nil {
			if c.text[a] != c.text[b] {
				return false
			}
			continue
		}
		if canonical(c.num[a]) != canonical(c.num[b]) {
			return false
		}
	}
	return true
}

// canonical is the bits of x with one NaN and one zero.
func canonical(x float64) uint64 {
	switch {
	case x == 0:
		return 0
	case x != x:
		return math.Float64bits(math.NaN())
	}
	return math.Float64bits(x)
}

func (t *Table) column(name string) (*column, error) {
	i := slices.IndexFunc(t.columns, func(c column) bool { return c.name == name })
	if i < 0 {
		return nil, fmt.Errorf("%s: no column %q: it has %s", t.path, name, listNames(t.Names()))
	}
	if c := &t.columns[i]; c.refusal != "" {
		return nil, fmt.Errorf("%s: column %q: %s", t.path, name, c.refusal)
	}
	return &t.columns[i], nil
}

// where names a row as a person finds it: by line in a CSV file, by row number (from 1) in a Parquet file.
func (t *Table) where(row int) string {
	if t.lines != nil {
		return t.path + ":" + strconv.Itoa(int(t.lines[row]))
	}
	return t.path + ": row " + strconv.Itoa(row+1)
}

func (c *column) truth(row int) (truth, ok bool) {
	if c.text == nil {
		return c.num[row] == 1, c.num[row] == 0 || c.num[row] == 1
	}
	text := strings.TrimSpace(c.text[row])
	switch {
	case strings.EqualFold(text, "true"):
		return true, true
	case strings.EqualFold(text, "false"):
		return false, true
	}
	x, ok := parseNumber([]byte(text))
	return x == 1, ok && (x == 0 || x == 1)
}

func (c *column) show(row int) string {
	switch {
	case c.text != nil && c.text[row] == "", c.text == nil && c.num[row] != c.num[row]:
		return "is empty"
	case c.text != nil:
		return strconv.Quote(clip(c.text[row]))
	}
	return strconv.FormatFloat(c.num[row], 'g', -1, 64)
}

// listNames shows the names of a table in an error, the first twenty of many.
func listNames(names []string) string {
	const most = 20
	if len(names) == 0 {
		return "no columns"
	}
	shown := make([]string, min(len(names), most))
	for i := range shown {
		shown[i] = showName(names[i])
	}
	list := strings.Join(shown, ", ")
	if len(names) > most {
		list += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return list
}

// showName quotes a name that would tear a line or a list of names apart.
func showName(name string) string {
	if quoted := strconv.Quote(name); quoted != `"`+name+`"` || name == "" || strings.Contains(name, ", ") {
		return clip(quoted)
	}
	return clip(name)
}

// clip keeps an error on one short line whatever the file holds; it does not cut a character in two.
func clip(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > most-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "..."
}
