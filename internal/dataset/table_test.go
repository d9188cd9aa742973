package dataset

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func mustParse(t *testing.T, text string) *Table {
	t.Helper()
	table, err := parseText(t, text)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// slowDuplicates compares every row with every earlier one, as the doc comment of Duplicates says it.
func slowDuplicates(t *testing.T, table *Table, names []string) int {
	t.Helper()
	cells := make([][]string, table.Rows())
	for _, name := range names {
		c, err := table.column(name)
		if err != nil {
			t.Fatal(err)
		}
		for row := range cells {
			var cell string
			switch {
			case c.text != nil:
				cell = "t" + c.text[row]
			case math.IsNaN(c.num[row]):
				cell = "missing"
			case c.num[row] == 0:
				cell = "0"
			default:
				cell = strconv.FormatFloat(c.num[row], 'x', -1, 64)
			}
			cells[row] = append(cells[row], cell)
		}
	}
	n := 0
	for row := range cells {
		for earlier := range row {
			if cmp.Equal(cells[row], cells[earlier]) {
				n++
				break
			}
		}
	}
	return n
}

// TestDuplicatesAgainstSlow draws tables in which equal rows, both zeros, missing values, infinities and words are common.
func TestDuplicatesAgainstSlow(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(7, 11))
	numbers := []string{"0", "-0", "0.0", "", "NaN", "1", "1.0", "1e400", "-1e400", "0.1", "0.1000000000000000055"}
	words := []string{"a", "A", "", " a", "0", "\"a\"", "\"a\"\"\""}
	for round := range 60 {
		var text strings.Builder
		text.WriteString("n,m,w\n")
		rows := random.IntN(40)
		for range rows {
			fmt.Fprintf(&text, "%s,%s,%s\n", numbers[random.IntN(len(numbers))], numbers[random.IntN(len(numbers))], words[random.IntN(len(words))])
		}
		text.WriteString("5,5,z\n") // makes w a text column
		table := mustParse(t, text.String())
		for _, names := range [][]string{{"n"}, {"w"}, {"n", "w"}, {"n", "m", "w"}, {"m", "m"}} {
			got, err := table.Duplicates(names...)
			if want := slowDuplicates(t, table, names); err != nil || got != want {
				t.Fatalf("round %d: Duplicates(%q) = %d, %v, row by row %d, in\n%s", round, names, got, err, want, text.String())
			}
		}
		all, err := table.Duplicates()
		if want := slowDuplicates(t, table, table.Names()); err != nil || all != want {
			t.Fatalf("round %d: %d duplicates in all columns, %v, row by row %d", round, all, err, want)
		}
	}
}

// TestDuplicatesOfNothing holds tables without rows, and one whose columns cannot be read: its rows cannot be told to be equal.
func TestDuplicatesOfNothing(t *testing.T) {
	t.Parallel()
	if n, err := mustParse(t, "a,b\n").Duplicates(); err != nil || n != 0 {
		t.Errorf("no rows: %d duplicates, %v", n, err)
	}
	unreadable := &Table{path: "t.parquet", rows: 3, columns: []column{{name: "when", refusal: "a TIMESTAMP column is not read: write it as a number"}}}
	n, err := unreadable.Duplicates()
	if want := "t.parquet: no column can be read, so rows cannot be compared: write its columns as numbers or text"; err == nil || err.Error() != want {
		t.Errorf("%d duplicates, error %v, want %q", n, err, want)
	}
	if _, err := unreadable.Duplicates("when"); err == nil || err.Error() != `t.parquet: column "when": a TIMESTAMP column is not read: write it as a number` {
		t.Errorf("a column that cannot be read: %v", err)
	}
}

// TestCollidingRows gives all rows one hash: the count may take longer and must stay right.
func TestCollidingRows(t *testing.T) {
	t.Parallel()
	a := &column{num: []float64{1, 2, 1, 3, 2, math.NaN(), math.NaN()}}
	b := &column{text: []string{"x", "x", "x", "x", "y", "", ""}}
	equal := [][2]int{{0, 2}, {5, 6}}
	for i := range a.num {
		for j := range i {
			want := false
			for _, pair := range equal {
				want = want || pair == [2]int{j, i}
			}
			if got := equalRows([]*column{a, b}, j, i); got != want {
				t.Errorf("rows %d and %d are equal: %v, want %v", j, i, got, want)
			}
		}
	}
	if got := countDuplicates([]*column{a, b}, len(a.num)); got != len(equal) {
		t.Errorf("%d duplicates, want %d", got, len(equal))
	}
}

// TestLabelWords holds which spellings are a truth; each stands in a numeric and in a text column, and both must agree.
func TestLabelWords(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text      string
		truth, ok bool
	}{
		{"0", false, true},
		{"1", true, true},
		{"-0", false, true},
		{"+1", true, true},
		{"1.000", true, true},
		{"10e-1", true, true},
		{" 1 ", true, true},
		{"0e9", false, true},
		{"true", true, true},
		{"TRUE", true, true},
		{"False", false, true},
		{" false ", false, true},
		{"", false, false},
		{"NaN", false, false},
		{"2", false, false},
		{"-1", false, false},
		{"0.9999999", false, false},
		{"1e-320", false, false},
		{"inf", false, false},
		{"yes", false, false},
		{"t", false, false},
		{"f", false, false},
		{"0x0", false, false},
		{"0x1p0", false, false},
		{"1_0", false, false},
		{"tru\u00e9", false, false},
	}
	for _, tt := range tests {
		for kind, other := range map[string]string{"alone": "1", "beside a word": "true"} {
			labels, err := mustParse(t, "y,x\n"+tt.text+",1\n"+other+",2\n").Label("y")
			switch {
			case (err == nil) != tt.ok:
				t.Errorf("label %q %s: %v, %v, want a label: %v", tt.text, kind, labels, err, tt.ok)
			case err == nil && labels[0] != tt.truth:
				t.Errorf("label %q %s is %v", tt.text, kind, labels[0])
			case err != nil && !strings.HasPrefix(err.Error(), `data.csv:2: column "y": label `):
				t.Errorf("label %q %s: error %q names no place", tt.text, kind, err)
			}
		}
	}
}

// TestErrorsStayOnOneLine gives columns and values that would tear an error apart.
func TestErrorsStayOnOneLine(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 60) // two bytes each: a cut by bytes could split one
	table := mustParse(t, "\"two\nlines\","+long+",y\n\"a\nb\",x"+long+",1\n")
	_, missing := table.Float("nope")
	_, word := table.Float("two\nlines")
	_, cut := table.Float(long)
	_, label := table.Label("two\nlines")
	for what, err := range map[string]error{"missing": missing, "word": word, "cut": cut, "label": label} {
		if err == nil || strings.ContainsAny(err.Error(), "\n\r") || !utf8.ValidString(err.Error()) || strings.Contains(err.Error(), `\x`) {
			t.Errorf("%s: error %q, want one line of valid text", what, err)
		}
	}
	if want := `data.csv:3: column "two\nlines": "a\nb" is not a number`; word.Error() != want {
		t.Errorf("error %q, want %q", word, want)
	}
	if want := `data.csv: no column "nope": it has "two\nlines", `; !strings.HasPrefix(missing.Error(), want) {
		t.Errorf("error %q, want one that begins %q", missing, want)
	}
}

func TestClip(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                            "",
		strings.Repeat("z", 40):       strings.Repeat("z", 40),
		strings.Repeat("z", 41):       strings.Repeat("z", 40) + "...",
		"z" + strings.Repeat("é", 20): "z" + strings.Repeat("é", 19) + "...",
		strings.Repeat("é", 20):       strings.Repeat("é", 20),
		strings.Repeat("\xff", 50):    strings.Repeat("\xff", 40) + "...",
	} {
		if got := clip(text); got != want {
			t.Errorf("clip(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestListNames(t *testing.T) {
	t.Parallel()
	var names []string
	for i := range 23 {
		names = append(names, fmt.Sprint("c", i))
	}
	for n, want := range map[int]string{0: "no columns", 1: "c0", 3: "c0, c1, c2", 20: strings.Join(names[:20], ", "), 21: strings.Join(names[:20], ", ") + " and 1 more"} {
		if got := listNames(names[:n]); got != want {
			t.Errorf("%d names are listed as %q, want %q", n, got, want)
		}
	}
}

// TestWhere holds that a row is named as the reader of the file finds it.
func TestWhere(t *testing.T) {
	t.Parallel()
	table := mustParse(t, "\n\nname,x\n\"a\nb\nc\",1\n\r\nd,\"oops\n\"\ne,3\n")
	if got := fmt.Sprint(table.lines); got != "[4 8 10]" {
		t.Errorf("rows begin at lines %s, want [4 8 10]", got)
	}
	if _, err := table.Float("x"); err == nil || err.Error() != `data.csv:8: column "x": "oops\n" is not a number` {
		t.Errorf("error %v", err)
	}
	if got := (&Table{path: "p", rows: 9}).where(6); got != "p: row 7" {
		t.Errorf("a row without a line is %q", got)
	}
}

// TestConcurrentReads reads one table from many goroutines; the race detector and the sums watch.
func TestConcurrentReads(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	text.WriteString("x,y,w\n")
	for i := range 500 {
		fmt.Fprintf(&text, "%d,%d,w%d\n", i, i%2, i%7)
	}
	table := mustParse(t, text.String())
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 20 {
				x, err := table.Float("x")
				labels, labelErr := table.Label("y")
				duplicates, countErr := table.Duplicates("y", "w")
				_, wordErr := table.Float("w")
				if err != nil || labelErr != nil || countErr != nil || wordErr == nil || x[499] != 499 || !labels[499] || duplicates != 500-14 {
					t.Errorf("x %v, label %v, duplicates %d; %v, %v, %v, %v", x[499], labels[499], duplicates, err, labelErr, countErr, wordErr)
					return
				}
			}
		})
	}
	group.Wait()
}

// TestSameTableBothWays holds that a CSV and a Parquet file of the same rows answer alike, errors but for the place.
func TestSameTableBothWays(t *testing.T) {
	t.Parallel()
	type row struct {
		X *float64 `parquet:"x,optional"`
		Y int32    `parquet:"y"`
		W string   `parquet:"w"`
		D string   `parquet:"d"`
	}
	random := rand.New(rand.NewPCG(3, 5))
	var rows []row
	var text strings.Builder
	text.WriteString("x,y,w,d\n")
	for i := range 300 {
		r := row{Y: int32(random.IntN(2)), W: fmt.Sprint("w", random.IntN(4)), D: strconv.Itoa(random.IntN(3))}
		x := ""
		if random.IntN(4) > 0 {
			value := random.NormFloat64() * math.Pow(10, float64(random.IntN(40)-20))
			if random.IntN(2) == 0 {
				value = float64(random.IntN(3))
			}
			r.X, x = &value, strconv.FormatFloat(value, 'g', -1, 64)
		}
		rows = append(rows, r)
		fmt.Fprintf(&text, "%s,%d,%s,%s\n", x, r.Y, r.W, r.D)
		_ = i
	}
	fromCSV := mustParse(t, text.String())
	fromParquet, err := parse(context.Background(), source{path: "data.parquet", data: writeParquet(t, rows), limits: Limits{}.withDefaults()})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fromCSV.Names(), fromParquet.Names()); diff != "" {
		t.Fatalf("names (-csv +parquet):\n%s", diff)
	}
	for _, name := range []string{"x", "y", "d"} {
		a, errA := fromCSV.Float(name)
		b, errB := fromParquet.Float(name)
		if diff := cmp.Diff(a, b, cmpopts.EquateNaNs()); diff != "" || errA != nil || errB != nil {
			t.Errorf("%s: %v, %v (-csv +parquet):\n%s", name, errA, errB, diff)
		}
	}
	a, errA := fromCSV.Label("y")
	b, errB := fromParquet.Label("y")
	if diff := cmp.Diff(a, b); diff != "" || errA != nil || errB != nil {
		t.Errorf("labels: %v, %v (-csv +parquet):\n%s", errA, errB, diff)
	}
	for _, names := range [][]string{nil, {"x"}, {"y", "w"}, {"w", "d"}} {
		m, errA := fromCSV.Duplicates(names...)
		n, errB := fromParquet.Duplicates(names...)
		if m != n || m == 0 && names != nil || errA != nil || errB != nil {
			t.Errorf("Duplicates(%q): CSV %d, %v; Parquet %d, %v", names, m, errA, n, errB)
		}
	}
	_, errA = fromCSV.Float("w")
	_, errB = fromParquet.Float("w")
	if errA == nil || errB == nil || strings.TrimPrefix(errA.Error(), "data.csv:2") != strings.TrimPrefix(errB.Error(), "data.parquet: row 1") {
		t.Errorf("a word: CSV %v, Parquet %v", errA, errB)
	}
}
