package dataset

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
)

// readCost is what reading data allocates in all, in bytes.
func readCost(data []byte, limits Limits) (uint64, *Table, error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	table, err := parse(context.Background(), source{path: "data.parquet", data: data, limits: limits.withDefaults()})
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc, table, err
}

// TestDictionaryBomb repeats one long word of a dictionary: each repetition costs a bit of the file.
func TestDictionaryBomb(t *testing.T) {
	type row struct {
		X float64 `parquet:"x"`
		W string  `parquet:"w,dict"`
	}
	rows := make([]row, 3000)
	long := strings.Repeat("x", 100_000)
	for i := range rows {
		rows[i] = row{float64(i), long}
	}
	data := writeParquet(t, rows, parquet.Compression(&parquet.Snappy))
	cost, _, err := readCost(data, Limits{Text: 4 << 20})
	if want := `data.parquet: column "w": more text than the limit: leave the column out, or judge on a sample of the rows`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
	if cost > 32<<20 {
		t.Errorf("reading %d bytes allocated %d", len(data), cost)
	}
}

// TestTextLimit holds the limit at its edge, and that it is one for all columns and row groups.
func TestTextLimit(t *testing.T) {
	t.Parallel()
	type row struct {
		A string  `parquet:"a,dict"`
		B *string `parquet:"b,optional,plain"`
	}
	rows := make([]row, 30)
	word := "seven b"
	for i := range rows {
		rows[i].A = "abc"
		if i%3 == 0 {
			rows[i].B = &word
		}
	}
	data := writeParquet(t, rows, parquet.MaxRowsPerRowGroup(7))
	const all = 30*3 + 10*7
	for limit, ok := range map[int64]bool{all: true, all + 1: true, all - 1: false, 30 * 3: false, 1: false} {
		table, err := parse(context.Background(), source{path: "p", data: data, limits: Limits{Text: limit}.withDefaults()})
		if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "more text than the limit") {
			t.Errorf("%d bytes of text under a limit of %d: %v", all, limit, err)
		}
		if ok && table.columns[1].text[3] != word {
			t.Errorf("b = %q", table.columns[1].text)
		}
	}
}

// TestDeltaBomb holds that text which repeats the value before it is not unpacked, and that the columns beside it are read all the same.
func TestDeltaBomb(t *testing.T) {
	type row struct {
		X float64 `parquet:"x"`
		W string  `parquet:"w,delta"`
		Y int64   `parquet:"y,delta"`
	}
	rows := make([]row, 1000)
	long := strings.Repeat("x", 100_000)
	for i := range rows {
		rows[i] = row{float64(i), long, int64(i) % 2}
	}
	for _, version := range []int{1, 2} {
		data := writeParquet(t, rows, parquet.DataPageVersion(version), parquet.PageBufferSize(1<<30), parquet.Compression(&parquet.Zstd))
		cost, table, err := readCost(data, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if cost > 32<<20 {
			t.Errorf("v%d: reading %d bytes allocated %d", version, len(data), cost)
		}
		want := `data.parquet: column "w": a DELTA_BYTE_ARRAY column is not in this version: write it with a dictionary or as PLAIN`
		if _, err := table.Float("w"); err == nil || err.Error() != want {
			t.Errorf("v%d: error %v, want %q", version, err, want)
		}
		x, err := table.Float("x")
		labels, labelErr := table.Label("y")
		if err != nil || labelErr != nil || x[999] != 999 || !labels[999] || labels[998] {
			t.Errorf("v%d: the columns beside it: %v, %v", version, err, labelErr)
		}
		if n, err := table.Duplicates("y"); err != nil || n != 998 {
			t.Errorf("v%d: %d duplicates, %v, want 998", version, n, err)
		}
	}
}

// TestClaimsOfEncodings writes huge claims over each byte of files in other encodings than TestParquetClaims has. Pages are not compressed, so the
// claims reach the decoders of the library.
func TestClaimsOfEncodings(t *testing.T) {
	type row struct {
		D int64   `parquet:"d,delta"`
		I float64 `parquet:"i,dict"`
		W string  `parquet:"w,dict"`
		O *int32  `parquet:"o,optional"`
		B bool    `parquet:"b"`
	}
	rows := make([]row, 40)
	for i := range rows {
		rows[i] = row{D: int64(i * i), I: float64(i % 3), W: fmt.Sprint(i % 2), B: i%2 == 0}
		if i%4 == 0 {
			rows[i].O = new(int32)
		}
	}
	for _, version := range []int{1, 2} {
		good := writeParquet(t, rows, parquet.Compression(&parquet.Uncompressed), parquet.DataPageVersion(version))
		for at := 4; at < len(good)-13; at += 2 {
			data := bytes.Clone(good)
			copy(data[at:], []byte{0xfe, 0xff, 0xff, 0xff, 0x0f})
			cost, table, err := readCost(data, Limits{Cells: 1 << 20})
			if cost > 16<<20 {
				t.Errorf("v%d, byte %d: reading %d bytes allocated %d", version, at, len(data), cost)
			}
			if err == nil && table.Rows() != len(rows) {
				t.Errorf("v%d, byte %d: %d rows", version, at, table.Rows())
			}
			if err != nil && strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("v%d, byte %d: an error of two lines: %q", version, at, err)
			}
		}
	}
}
