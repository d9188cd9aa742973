package dataset

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
)

type sampleRow struct {
	Double  float64   `parquet:"double"`
	Float   float32   `parquet:"float"`
	Int     int32     `parquet:"int"`
	Long    int64     `parquet:"long"`
	Byte    uint8     `parquet:"byte"`
	Flag    bool      `parquet:"flag"`
	Maybe   *float64  `parquet:"maybe,optional"`
	Dict    float64   `parquet:"dict,dict"`
	Word    string    `parquet:"word,dict"`
	Digits  string    `parquet:"digits"`
	Huge    uint64    `parquet:"huge"`
	When    time.Time `parquet:"when,timestamp"`
	Nested  struct{ X float64 }
	Repeats []float64 `parquet:"repeats"`
}

func sampleRows(n int) []sampleRow {
	rows := make([]sampleRow, n)
	for i := range rows {
		x := float64(i) * 0.25
		rows[i] = sampleRow{
			Double: x, Float: float32(x), Int: int32(-i), Long: int64(i) << 33, Byte: uint8(250 + i%6), Flag: i%2 == 1,
			Dict: float64(i % 3), Word: fmt.Sprint("w", i%5), Digits: fmt.Sprint(i), Huge: 1 << 63, When: time.Unix(int64(i), 0),
		}
		if i%3 != 0 {
			rows[i].Maybe = &x
		}
	}
	return rows
}

func writeParquet[T any](tb testing.TB, rows []T, options ...parquet.WriterOption) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w := parquet.NewGenericWriter[T](&buf, options...)
	if _, err := w.Write(rows); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

func parseBytes(data []byte) (*Table, error) {
	return parse(context.Background(), source{path: "data.parquet", data: data, limits: Limits{}.withDefaults()})
}

func TestParquetTypes(t *testing.T) {
	t.Parallel()
	codecs := []compress.Codec{&parquet.Uncompressed, &parquet.Snappy, &parquet.Gzip, &parquet.Zstd}
	for _, codec := range codecs {
		for _, version := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s/v%d", codec, version), func(t *testing.T) {
				t.Parallel()
				rows := sampleRows(3000)
				data := writeParquet(t, rows, parquet.Compression(codec), parquet.DataPageVersion(version), parquet.PageBufferSize(4096), parquet.MaxRowsPerRowGroup(1000))
				table, err := parseBytes(data)
				if err != nil {
					t.Fatal(err)
				}
				checkSample(t, table, rows)
			})
		}
	}
}

func checkSample(t *testing.T, table *Table, rows []sampleRow) {
	t.Helper()
	want := map[string]func(sampleRow) float64{
		"double": func(r sampleRow) float64 { return r.Double },
		"float":  func(r sampleRow) float64 { return float64(r.Float) },
		"int":    func(r sampleRow) float64 { return float64(r.Int) },
		"long":   func(r sampleRow) float64 { return float64(r.Long) },
		"byte":   func(r sampleRow) float64 { return float64(r.Byte) },
		"dict":   func(r sampleRow) float64 { return r.Dict },
		"huge":   func(r sampleRow) float64 { return float64(r.Huge) },
		"maybe": func(r sampleRow) float64 {
			if r.Maybe == nil {
				return math.NaN()
			}
			return *r.Maybe
		},
	}
	for name, value := range want {
		expected := make([]float64, len(rows))
		for i, r := range rows {
			expected[i] = value(r)
		}
		got, err := table.Float(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(expected, got, cmpopts.EquateNaNs()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if digits, err := table.Float("digits"); err != nil || digits[2999] != 2999 {
		t.Errorf("digits: %v", err)
	}
	flags, err := table.Label("flag")
	if err != nil || flags[0] || !flags[1] {
		t.Errorf("flag = %v..., %v", flags[:2], err)
	}
	if n, err := table.Duplicates("dict", "word"); err != nil || n != len(rows)-15 {
		t.Errorf("duplicates %d, %v, want %d", n, err, len(rows)-15)
	}
	for name, text := range map[string]string{
		"word": `row 1: column "word": "w0" is not a number`, "when": "TIMESTAMP", "Nested": "nested column is not read", "repeats": "repeated column is not read",
		"none": `no column "none": it has double, float`,
	} {
		if _, err := table.Float(name); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: error %v, want one with %q", name, err, text)
		}
	}
}

func TestParquetRefusals(t *testing.T) {
	t.Parallel()
	good := writeParquet(t, sampleRows(50))
	footer := int(binary.LittleEndian.Uint32(good[len(good)-8:]))
	patched := func(at int, b ...byte) []byte {
		data := bytes.Clone(good)
		copy(data[at:], b)
		return data
	}
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"magic only", []byte("PAR1"), "the file is cut off"},
		{"cut off", good[:len(good)-10], "the file is cut off"},
		{"footer longer than the file", patched(len(good)-8, 0xff, 0xff, 0xff, 0x7f), "a footer of 2147483647 bytes"},
		{"footer of nothing", patched(len(good)-8-footer, 0x1f), "damaged"},
		{"encrypted", append([]byte("PARE"), good...), "encrypted"},
		{"lz4", writeParquet(t, sampleRows(50), parquet.Compression(&parquet.Lz4Raw)), "LZ4_RAW is not in this version"},
		{"brotli", writeParquet(t, sampleRows(50), parquet.Compression(&parquet.Brotli)), "BROTLI is not in this version"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := parseBytes(tt.data)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line with %q", err, tt.want)
			}
		})
	}
}

func TestParquetLimits(t *testing.T) {
	t.Parallel()
	data := writeParquet(t, sampleRows(50))
	for want, limits := range map[string]Limits{
		"14 columns, the limit is 3":       {Columns: 3},
		"50 rows of 14 columns, the limit": {Cells: 600},
		"a page that unpacks to 4":         {Page: 100},
	} {
		_, err := parse(context.Background(), source{path: "p", data: data, limits: limits.withDefaults()})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

// TestParquetClaims writes huge claims into every length of footer and page headers that a byte can reach, and holds the memory that
// reading costs against the size of the file.
func TestParquetClaims(t *testing.T) {
	type row struct {
		X float64 `parquet:"x"`
		W string  `parquet:"w"`
	}
	good := writeParquet(t, []row{{1, "a"}, {2, "b"}, {3, "c"}}, parquet.Compression(&parquet.Snappy))
	huge := []byte{0xfe, 0xff, 0xff, 0xff, 0x0f} // 2^31-1 as a varint, zigzagged or not
	var before, after runtime.MemStats
	for at := 4; at < len(good)-8; at++ {
		data := bytes.Clone(good)
		copy(data[at:len(data)-8], huge)
		runtime.ReadMemStats(&before)
		if table, err := parseBytes(data); err == nil && table.Rows() != 3 {
			t.Errorf("byte %d: %d rows", at, table.Rows())
		}
		runtime.ReadMemStats(&after)
		if cost := after.TotalAlloc - before.TotalAlloc; cost > 8<<20 {
			t.Errorf("byte %d: reading %d bytes allocated %d", at, len(data), cost)
		}
	}
}

func TestThriftWalker(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"empty struct", []byte{0}, ""},
		{"integers", []byte{0x15, 0x02, 0x16, 0x04, 0}, ""},
		{"long field id", []byte{0x05, 0x40, 0x02, 0}, ""},
		{"string", []byte{0x18, 0x02, 'a', 'b', 0}, ""},
		{"cut string", []byte{0x18, 0x09, 'a', 0}, "a string of 9 bytes with 2 left"},
		{"list of structs", []byte{0x19, 0x2c, 0, 0, 0}, ""},
		{"list longer than the data", []byte{0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0}, "a list of 2147483647 with 1 bytes left"},
		{"map", []byte{0x1b, 0x00, 0}, "it has a map"},
		{"unknown type", []byte{0x1d, 0}, "unknown type 13"},
		{"endless", []byte{0x15}, "ends too early"},
		{"long number", append(bytes.Repeat([]byte{0x15}, 1), bytes.Repeat([]byte{0xff}, 11)...), "more than 64 bits"},
		{"deep structs", bytes.Repeat([]byte{0x1c}, 100), "nested deeper"},
		{"deep lists", append([]byte{0x19}, bytes.Repeat([]byte{0x19}, 100)...), "nested deeper"},
		{"many structs", append([]byte{0x19, 0xfc, 0xe0, 0xa7, 0x12}, make([]byte, 300000)...), "more than 200000 structures"},
	}
	for _, tt := range tests {
		w := thriftWalker{data: tt.data}
		err := w.fields(0, visitor{})
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
}

// FuzzParquet holds that no bytes make the reader panic past its guard, answer with ragged columns or with an error of two lines.
func FuzzParquet(f *testing.F) {
	for _, codec := range []compress.Codec{&parquet.Uncompressed, &parquet.Snappy, &parquet.Gzip, &parquet.Zstd} {
		f.Add(writeParquet(f, sampleRows(20), parquet.Compression(codec)))
	}
	f.Add(writeParquet(f, sampleRows(20), parquet.DataPageVersion(1)))
	limits := Limits{Columns: 64, Cells: 1 << 16, Page: 1 << 16}.withDefaults()
	f.Fuzz(func(t *testing.T, data []byte) {
		table, err := readParquet(context.Background(), source{path: "f", data: data, limits: limits})
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Fatalf("an error of two lines: %q", err)
			}
			return
		}
		for _, c := range table.columns {
			if c.refusal == "" && len(c.num)+len(c.text) != table.Rows() {
				t.Fatalf("column %q has %d values in %d rows", c.name, len(c.num)+len(c.text), table.Rows())
			}
		}
	})
}

func BenchmarkParquet(b *testing.B) {
	type row struct{ A, B, C, D, E, F, G, H float64 }
	rows := make([]row, 5000)
	for i := range rows {
		x := math.Sin(float64(i))
		rows[i] = row{x, x + 1, x + 2, x + 3, x + 4, x + 5, x + 6, x + 7}
	}
	data := writeParquet(b, rows, parquet.Compression(&parquet.Snappy))
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseBytes(data); err != nil {
			b.Fatal(err)
		}
	}
}

// TestHoldout reads the demo's data, which another Parquet writer than ours made.
func TestHoldout(t *testing.T) {
	t.Parallel()
	table, err := Read(context.Background(), "../../examples/creditcard/holdout.parquet")
	if err != nil {
		t.Fatal(err)
	}
	labels, err := table.Label("is_fraud")
	if err != nil {
		t.Fatal(err)
	}
	positives := 0
	for _, positive := range labels {
		if positive {
			positives++
		}
	}
	amount, err := table.Float("Amount")
	if err != nil {
		t.Fatal(err)
	}
	if table.Rows() != 2669 || positives != 131 || len(amount) != 2669 || len(table.Names()) != 30 {
		t.Errorf("%d rows, %d positives, columns %v; README.md says 2669 and 131", table.Rows(), positives, table.Names())
	}
	// The payments differ in their time, which the models and this file leave out.
	seen, repeated := make(map[string]bool), 0
	for row := range table.Rows() {
		key := ""
		for i := range table.columns {
			key += fmt.Sprintf("%x,", math.Float64bits(table.columns[i].num[row]))
		}
		if seen[key] {
			repeated++
		}
		seen[key] = true
	}
	if n, err := table.Duplicates(); err != nil || n != repeated || n != 3 {
		t.Errorf("%d duplicates, %v; row by row %d, want 3", n, err, repeated)
	}
}
