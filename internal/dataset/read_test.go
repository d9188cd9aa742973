package dataset

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
)

// TestSniffing holds that the first bytes of a file say what it is, whatever its name.
func TestSniffing(t *testing.T) {
	t.Parallel()
	type row struct {
		A float64 `parquet:"a"`
	}
	dir := t.TempDir()
	tests := []struct{ name, content, want string }{
		{"csv.parquet", "a\n1\n2\n", ""},
		{"parquet.csv", string(writeParquet(t, []row{{1}, {2}})), ""},
		{"bom.txt", "\xef\xbb\xbfa\n1\n2\n", ""},
		{"magic.csv", "PAR1", "damaged Parquet metadata: the file is cut off, its last bytes are not PAR1"},
		{"encrypted.parquet", "PARE....", "encrypted Parquet is not read in this version: write it without encryption"},
		{"zipped.csv", "\x1f\x8b\x08\x00", "a gzip file: unpack it first, Serin reads CSV and Parquet"},
		{"big.csv", "\xfe\xff\x00a", "UTF-16 text: save the CSV as UTF-8"},
		{"little.csv", "\xff\xfea\x00", "UTF-16 text: save the CSV as UTF-8"},
		{"nothing.csv", "", "empty file: it needs a header line and rows"},
		{"blank.csv", "\r\n\n\r", "empty file: it needs a header line and rows"},
		{"mark.csv", "\xef\xbb\xbf", "empty file: it needs a header line and rows"},
	}
	for _, tt := range tests {
		path := filepath.Join(dir, tt.name)
		if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		table, err := Read(context.Background(), path)
		if tt.want != "" {
			if err == nil || err.Error() != path+": "+tt.want {
				t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if a, err := table.Float("a"); err != nil || len(a) != 2 || a[1] != 2 {
			t.Errorf("%s: a = %v, %v", tt.name, a, err)
		}
	}
}

// TestLimitEdges holds each limit at its edge: what fills it is read, one more is not.
func TestLimitEdges(t *testing.T) {
	t.Parallel()
	text := "a,b,c\n1,2,3\n4,5,6\n"
	path := filepath.Join(t.TempDir(), "rows.csv")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	size := int64(len(text))
	tests := []struct {
		limits Limits
		want   string
	}{
		{Limits{Bytes: size, Columns: 3, Cells: 6}, ""},
		{Limits{Bytes: size - 1}, fmt.Sprintf("%s: %d bytes, the limit is %d: judge on a sample of the rows", path, size, size-1)},
		{Limits{Columns: 2}, path + ":1: more than 2 columns"},
		{Limits{Cells: 5}, path + ":3: more than 1 rows of 3 columns: judge on a sample of the rows"},
		{Limits{Cells: 2}, path + ":2: more than 0 rows of 3 columns: judge on a sample of the rows"},
		{Limits{Bytes: -1, Columns: -1, Cells: -1, Page: -1, Text: -1}, ""},
	}
	for _, tt := range tests {
		_, err := ReadLimited(context.Background(), path, tt.limits)
		if (err == nil) != (tt.want == "") || err != nil && err.Error() != tt.want {
			t.Errorf("%+v: error %v, want %q", tt.limits, err, tt.want)
		}
	}
}

// TestParquetCellsEdge is the same for rows and columns that a footer claims.
func TestParquetCellsEdge(t *testing.T) {
	t.Parallel()
	type row struct{ A, B float64 }
	data := writeParquet(t, make([]row, 5))
	for cells, ok := range map[int64]bool{10: true, 11: true, 9: false, 1: false} {
		table, err := parse(context.Background(), source{path: "p", data: data, limits: Limits{Cells: cells}.withDefaults()})
		if (err == nil) != ok || ok && table.Rows() != 5 {
			t.Errorf("%d cells: %v", cells, err)
		}
		if want := fmt.Sprintf("p: 5 rows of 2 columns, the limit is %d cells: judge on a sample of the rows", cells); !ok && err.Error() != want {
			t.Errorf("error %q, want %q", err, want)
		}
	}
}

// TestCanceledParquet holds that a long file stops between two row groups.
func TestCanceledParquet(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := parse(ctx, source{path: "p", data: writeParquet(t, sampleRows(10)), limits: Limits{}.withDefaults()})
	if !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "p: ") {
		t.Errorf("error %v, want a canceled one that names the file", err)
	}
}

// TestUnreadColumns holds what each kind of column that is not read says, and that none keeps the others from being read.
func TestUnreadColumns(t *testing.T) {
	t.Parallel()
	type row struct {
		X       float64       `parquet:"x"`
		Date    int32         `parquet:"date,date"`
		Time    time.Duration `parquet:"time,time"`
		Stamp   time.Time     `parquet:"stamp,timestamp"`
		ID      [16]byte      `parquet:"id,uuid"`
		Amount  int64         `parquet:"amount,decimal(2:18)"`
		Fixed   [3]byte       `parquet:"fixed"`
		Inner   struct{ Y, Z float64 }
		List    []string       `parquet:"list,list"`
		Map     map[string]int `parquet:"map"`
		Unicode string         `parquet:"größe"`
	}
	table, err := parseBytes(writeParquet(t, []row{{X: 1, Unicode: "2.5"}, {X: 2, Unicode: ""}}, parquet.Compression(&parquet.Gzip)))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"date": "DATE", "time": "TIME", "stamp": "TIMESTAMP", "id": "UUID", "amount": "DECIMAL", "fixed": "FIXED_LEN_BYTE_ARRAY",
		"Inner": "a nested column is not read: flatten it", "list": "a nested column is not read", "map": "a nested column is not read",
	} {
		_, err := table.Float(name)
		_, labelErr := table.Label(name)
		if err == nil || !strings.HasPrefix(err.Error(), fmt.Sprintf("data.parquet: column %q: a", name)) || !strings.Contains(err.Error(), want) || labelErr == nil || labelErr.Error() != err.Error() {
			t.Errorf("%s: errors %v and %v, want %q", name, err, labelErr, want)
		}
	}
	x, err := table.Float("x")
	size, sizeErr := table.Float("größe")
	if err != nil || sizeErr != nil || x[1] != 2 || size[0] != 2.5 || size[1] == size[1] {
		t.Errorf("x = %v, %v, größe = %v, %v", x, err, size, sizeErr)
	}
	if n, err := table.Duplicates(); err != nil || n != 0 {
		t.Errorf("%d duplicates, %v, want 0", n, err)
	}
}
