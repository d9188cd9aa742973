package dataset

import (
	"context"
	"encoding/csv"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func parseText(t *testing.T, text string) (*Table, error) {
	t.Helper()
	return parse(context.Background(), source{path: "data.csv", data: []byte(text), limits: Limits{}.withDefaults()})
}

func TestCSVNumbers(t *testing.T) {
	t.Parallel()
	nan := math.NaN()
	tests := []struct {
		name, text string
		want       map[string][]float64
	}{
		{"plain", "a,b\n1,2\n3,4\n", map[string][]float64{"a": {1, 3}, "b": {2, 4}}},
		{"no newline at the end", "a,b\n1,2", map[string][]float64{"a": {1}, "b": {2}}},
		{"crlf and bom", "\xef\xbb\xbfa,b\r\n1,2\r\n\r\n3,4\r\n", map[string][]float64{"a": {1, 3}, "b": {2, 4}}},
		{"empty is missing", "a,b\n,2\n3,\n", map[string][]float64{"a": {nan, 3}, "b": {2, nan}}},
		{"empty last field at the end", "a,b\n3,", map[string][]float64{"a": {3}, "b": {nan}}},
		{"nan words", "a\nNaN\nnan\n", map[string][]float64{"a": {nan, nan}}},
		{"quoted numbers", "a,b\n\"1\",\" 2 \"\n", map[string][]float64{"a": {1}, "b": {2}}},
		{"quoted names", "\"a,1\",\"b\"\"c\"\n1,2\n", map[string][]float64{"a,1": {1}, `b"c`: {2}}},
		{"exponents", "a\n1e-3\n-2.5E+2\n", map[string][]float64{"a": {0.001, -250}}},
		{"beyond float64 is infinite", "a\n1e400\n", map[string][]float64{"a": {math.Inf(1)}}},
		{"header only", "a,b\n", map[string][]float64{"a": {}, "b": {}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			table, err := parseText(t, tt.text)
			if err != nil {
				t.Fatal(err)
			}
			got := make(map[string][]float64)
			for _, name := range table.Names() {
				if got[name], err = table.Float(name); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateNaNs()); diff != "" {
				t.Errorf("columns (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCSVErrors(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want string }{
		{"empty", "", "data.csv: empty file"},
		{"blank lines only", "\n\n", "data.csv: empty file"},
		{"short row", "a,b\n1,2\n3\n", "data.csv:3: 1 fields, the header has 2"},
		{"long row", "a,b\n1,2,3\n", "data.csv:2:3: more fields than the header's 2"},
		{"bare quote", "a,b\n1,2\n3,x\"y\n", "data.csv:3:4: a quote inside an unquoted field"},
		{"open quote", "a,b\n1,\"2\n3,4\n", "data.csv:2:3: the quoted field that begins here never ends"},
		{"text after quote", "a,b\n\"1\"x,2\n", "data.csv:2:4: text after the closing quote"},
		{"same name twice", "a,b,a\n1,2,3\n", `data.csv:1:5: columns 1 and 3 are both named "a"`},
		{"line after a quoted newline", "a,b\n\"x\ny\",1\n1\n", "data.csv:4: 1 fields, the header has 2"},
		{"gzip", "\x1f\x8b\x08", "a gzip file: unpack it first"},
		{"utf-16", "\xff\xfea\x00", "save the CSV as UTF-8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := parseText(t, tt.text)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestCSVText(t *testing.T) {
	t.Parallel()
	table, err := parseText(t, "id,x,y\nc1,1,0\n\"c,2\",2,1\n\n007,3,true\n")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := table.Float("x"); err != nil || !cmp.Equal(got, []float64{1, 2, 3}) {
		t.Errorf("x = %v, %v beside a text column", got, err)
	}
	if _, err := table.Float("id"); err == nil || err.Error() != `data.csv:2: column "id": "c1" is not a number` {
		t.Errorf("id as numbers: %v", err)
	}
	if _, err := table.Float("y"); err == nil || err.Error() != `data.csv:5: column "y": "true" is not a number` {
		t.Errorf("y as numbers: %v", err)
	}
	if got, err := table.Label("y"); err != nil || !cmp.Equal(got, []bool{false, true, true}) {
		t.Errorf("y as labels = %v, %v", got, err)
	}
	if diff := cmp.Diff([]string{"c1", "c,2", "007"}, table.columns[0].text); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	if _, err := table.Float("z"); err == nil || err.Error() != `data.csv: no column "z": it has id, x, y` {
		t.Errorf("missing column: %v", err)
	}
}

func TestLabel(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text, wantErr string
		want                []bool
	}{
		{"numbers", "y\n0\n1\n1.0\n", "", []bool{false, true, true}},
		{"words", "y\nfalse\nTrue\n", "", []bool{false, true}},
		{"two", "y\n0\n2\n", `data.csv:3: column "y": label 2: a label is 0 or 1`, nil},
		{"probability", "y\n0.5\n", `data.csv:2: column "y": label 0.5`, nil},
		{"missing", "y,x\n1,1\n,1\n", `data.csv:3: column "y": label is empty`, nil},
		{"missing among words", "y,x\ntrue,1\n,1\n", `data.csv:3: column "y": label is empty`, nil},
		{"other words", "y\nfraud\n", `data.csv:2: column "y": label "fraud"`, nil},
		{"long words are cut", "y\n" + strings.Repeat("z", 99) + "\n", `"` + strings.Repeat("z", 40) + `..."`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			table, err := parseText(t, tt.text)
			if err != nil {
				t.Fatal(err)
			}
			got, err := table.Label("y")
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("error %v, want one with %q", err, tt.wantErr)
				}
				return
			}
			if err != nil || !cmp.Equal(got, tt.want) {
				t.Errorf("labels %v, %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestDuplicates(t *testing.T) {
	t.Parallel()
	table, err := parseText(t, "id,x,y\na,1,0\nb,1,0\na,1,0\na,,0\na,,0\na,0,0\na,-0,0\n")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		columns []string
		want    int
	}{
		{nil, 3},
		{[]string{"x", "y"}, 4},
		{[]string{"id"}, 5},
		{[]string{"y"}, 6},
	}
	for _, tt := range tests {
		if got, err := table.Duplicates(tt.columns...); err != nil || got != tt.want {
			t.Errorf("Duplicates(%v) = %d, %v, want %d", tt.columns, got, err, tt.want)
		}
	}
	if _, err := table.Duplicates("nope"); err == nil {
		t.Error("a missing column has duplicates")
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "rows.csv")
	if err := os.WriteFile(path, []byte("a,b,c\n1,2,3\n4,5,6\n7,8,9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		limits Limits
		want   string
	}{
		{"bytes", Limits{Bytes: 10}, "24 bytes, the limit is 10"},
		{"columns", Limits{Columns: 2}, "more than 2 columns"},
		{"cells", Limits{Cells: 7}, ":4: more than 2 rows of 3 columns"},
	}
	for _, tt := range tests {
		if _, err := ReadLimited(context.Background(), path, tt.limits); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", tt.name, err, tt.want)
		}
	}
	table, err := Read(context.Background(), path)
	if err != nil || table.Rows() != 3 {
		t.Fatalf("Read = %v, %v, want 3 rows", table, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Read(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled read: %v", err)
	}
	if _, err := Read(context.Background(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "is a folder") {
		t.Errorf("a folder: %v", err)
	}
	if _, err := Read(context.Background(), path+".none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

// FuzzCSV holds the scanner against encoding/csv: what both accept, both split alike.
func FuzzCSV(f *testing.F) {
	for _, seed := range []string{
		"a,b\n1,2\n", "a,b\r\n1,\"x\"\"y\"\r\n", "a\n\"\n\"\n", "\"a\n", "a,b\n,\n", "\xef\xbb\xbfa\n1", "a,b\n1,2,3\n", "y\ntrue\nfalse\n", "a\n0x1p4\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		src := source{path: "f", data: []byte(text), limits: Limits{Columns: 64, Cells: 1 << 16}.withDefaults()}
		table, err := readCSV(context.Background(), src)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n") {
				t.Fatalf("an error of two lines: %q", err)
			}
			return
		}
		if strings.Contains(text, "\r") {
			return // encoding/csv rewrites CRLF inside quotes
		}
		reader := csv.NewReader(strings.NewReader(strings.TrimPrefix(text, "\xef\xbb\xbf")))
		records, err := reader.ReadAll()
		if err != nil {
			t.Fatalf("encoding/csv refuses what we read: %v", err)
		}
		if len(records) != table.Rows()+1 || !cmp.Equal(records[0], table.Names()) {
			t.Fatalf("%d rows with names %q, encoding/csv has %d with %q", table.Rows(), table.Names(), len(records)-1, records[0])
		}
		for i, c := range table.columns {
			for row, record := range records[1:] {
				if c.text != nil && c.text[row] != record[i] {
					t.Fatalf("row %d column %d: %q, encoding/csv has %q", row, i, c.text[row], record[i])
				}
				if x, ok := parseNumber([]byte(record[i])); c.text == nil && (!ok || canonical(x) != canonical(c.num[row])) {
					t.Fatalf("row %d column %d: %v from %q", row, i, c.num[row], record[i])
				}
			}
		}
	})
}

func BenchmarkCSV(b *testing.B) {
	var text strings.Builder
	text.WriteString("a,b,c,d,e,f,g,h\n")
	for range 5000 {
		text.WriteString("-1.3598071336738,-0.0727811733098497,2.53634673796914,1.37815522427443,-0.338320769942518,0.462387777762292,149.62,0\n")
	}
	src := source{path: "b", data: []byte(text.String()), limits: Limits{}.withDefaults()}
	b.SetBytes(int64(len(src.data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := readCSV(context.Background(), src); err != nil {
			b.Fatal(err)
		}
	}
}
