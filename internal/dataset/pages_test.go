package dataset

import (
	"bytes"
	"compress/gzip"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/format"
)

// thriftWriter writes the compact protocol, as far as Parquet needs it.
type thriftWriter struct {
	bytes.Buffer
	last int
}

func (w *thriftWriter) varint(v uint64) {
	for ; v >= 0x80; v >>= 7 {
		w.WriteByte(byte(v) | 0x80)
	}
	w.WriteByte(byte(v))
}

func (w *thriftWriter) head(id, kind int) {
	if delta := id - w.last; delta > 0 && delta < 16 {
		w.WriteByte(byte(delta<<4 | kind))
	} else {
		w.WriteByte(byte(kind))
		w.varint(uint64(uint32(int32(id)<<1 ^ int32(id)>>31)))
	}
	w.last = id
}

func (w *thriftWriter) integer(id int, v int64) {
	w.head(id, thriftI64)
	w.varint(uint64(v)<<1 ^ uint64(v>>63))
}

func (w *thriftWriter) object(id int, fields func(*thriftWriter)) {
	w.head(id, thriftStruct)
	var inner thriftWriter
	fields(&inner)
	w.Write(inner.Bytes())
	w.WriteByte(0)
}

// pageBytes is a page header with the given sizes and one nested header of id with the fields.
func pageBytes(kind format.PageType, uncompressed, compressed int64, id int, fields map[int]int64) []byte {
	var w thriftWriter
	w.integer(1, int64(kind))
	w.integer(2, uncompressed)
	w.integer(3, compressed)
	w.object(id, func(inner *thriftWriter) {
		for field := 1; field <= 7; field++ {
			v, there := fields[field]
			switch {
			case !there:
			case id == 8 && field == 7: // a boolean
				inner.head(field, thriftFalse-int(v))
			default:
				inner.integer(field, v)
			}
		}
	})
	w.WriteByte(0)
	return w.Bytes()
}

// TestThriftRoundTrip walks random structs and holds that every integer comes out with its field, whatever stands between them.
func TestThriftRoundTrip(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(31, 37))
	for round := range 500 {
		var w thriftWriter
		want, got := make(map[int]int64), make(map[int]int64)
		wantInner, gotInner := make(map[[2]int]int64), make(map[[2]int]int64)
		for id := 1 + random.IntN(20); id < 1000; id += 1 + random.IntN(40) {
			v := int64(random.Uint64()) >> random.IntN(64)
			switch random.IntN(6) {
			case 0:
				want[id] = v
				w.integer(id, v)
			case 1:
				want[id] = v & 1
				w.head(id, thriftFalse-int(v&1))
			case 2:
				w.head(id, thriftBinary)
				w.varint(5)
				w.WriteString("\x00\xff\x15\x02a")
			case 3:
				w.head(id, thriftList)
				w.WriteByte(2<<4 | thriftI32)
				w.varint(uint64(v) >> 1)
				w.varint(7)
			case 4:
				w.head(id, thriftDouble)
				w.Write(make([]byte, 8))
			case 5:
				w.object(id, func(inner *thriftWriter) {
					wantInner[[2]int{id, 3}], wantInner[[2]int{id, 400}] = v, math.MinInt64
					inner.integer(3, v)
					inner.integer(400, math.MinInt64)
				})
			}
		}
		w.WriteByte(0)
		end := w.Len()
		w.WriteString("the rest is not its business")
		walker := thriftWalker{data: w.Bytes()}
		err := walker.fields(0, visitor{
			value: func(id int, v int64) { got[id] = v },
			nested: func(id int) func(int, int64) {
				return func(field int, v int64) { gotInner[[2]int{id, field}] = v }
			},
		})
		if err != nil || walker.pos != end {
			t.Fatalf("round %d: stopped at %d of %d: %v", round, walker.pos, end, err)
		}
		equalMaps(t, want, got)
		equalMaps(t, wantInner, gotInner)
		for cut := range end {
			walker := thriftWalker{data: w.Bytes()[:cut]}
			if err := walker.fields(0, visitor{}); !errors.Is(err, errThrift) {
				t.Fatalf("round %d: cut at %d of %d: error %v", round, cut, end, err)
			}
		}
	}
}

func equalMaps[K comparable](t *testing.T, want, got map[K]int64) {
	t.Helper()
	if len(want) != len(got) {
		t.Fatalf("%d fields, want %d", len(got), len(want))
	}
	for id, v := range want {
		if got[id] != v {
			t.Fatalf("field %v = %d, want %d", id, got[id], v)
		}
	}
}

func TestParsePageHeader(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		data []byte
		want pageHeader
	}{
		{"data page", pageBytes(format.DataPage, 100, 40, 5, map[int]int64{1: 12, 2: 8}), pageHeader{kind: format.DataPage, encoding: format.RLEDictionary, uncompressed: 100, compressed: 40, values: 12}},
		{"dictionary", pageBytes(format.DictionaryPage, 9, 9, 7, map[int]int64{1: 3}), pageHeader{kind: format.DictionaryPage, uncompressed: 9, compressed: 9, values: 3}},
		{"version 2", pageBytes(format.DataPageV2, 50, 20, 8, map[int]int64{1: 5, 2: 1, 3: 5, 4: 7, 5: 2, 6: 3, 7: 1}), pageHeader{kind: format.DataPageV2, encoding: format.DeltaByteArray, uncompressed: 50, compressed: 20, values: 5, levels: 5}},
		{"version 2, not compressed", pageBytes(format.DataPageV2, 50, 50, 8, map[int]int64{1: 5, 5: 2, 6: 0, 7: 0}), pageHeader{kind: format.DataPageV2, uncompressed: 50, compressed: 50, values: 5, levels: 2, raw: true}},
		{"levels below zero are too long for any page", pageBytes(format.DataPageV2, 50, 50, 8, map[int]int64{1: 5, 5: -1}), pageHeader{kind: format.DataPageV2, uncompressed: 50, compressed: 50, values: 5, levels: 1 << 40}},
		{"no number of values", pageBytes(format.DataPage, 1, 1, 5, nil), pageHeader{kind: format.DataPage, uncompressed: 1, compressed: 1, values: -1}},
	}
	for _, tt := range tests {
		tt.want.size = len(tt.data)
		if got, err := parsePageHeader(append(tt.data, "body"...)); err != nil || got != tt.want {
			t.Errorf("%s: %+v, %v, want %+v", tt.name, got, err, tt.want)
		}
	}
}

// TestCheckChunk holds what pages claim against each other and against the bytes there are.
func TestCheckChunk(t *testing.T) {
	t.Parallel()
	body := func(n int) []byte { return make([]byte, n) }
	page := func(values, size int64) []byte {
		return append(pageBytes(format.DataPage, size, size, 5, map[int]int64{1: values}), body(int(size))...)
	}
	dictionary := func(values, size int64) []byte {
		return append(pageBytes(format.DictionaryPage, size, size, 7, map[int]int64{1: values}), body(int(size))...)
	}
	tests := []struct {
		name  string
		pages [][]byte
		want  string
	}{
		{"one page", [][]byte{page(10, 80)}, ""},
		{"two pages", [][]byte{page(4, 32), page(6, 48)}, ""},
		{"a dictionary first", [][]byte{dictionary(5, 40), page(10, 10)}, ""},
		{"what follows the last value is not looked at", [][]byte{page(10, 80), {0xff, 0xff}}, ""},
		{"too many values", [][]byte{page(4, 32), page(7, 48)}, "pages with more values than the column's 10"},
		{"more values than any column", [][]byte{page(math.MaxInt64, 8)}, "pages with more values than the column's 10"},
		{"values below zero", [][]byte{page(-1, 8)}, "a page with -1 values"},
		{"no values said", [][]byte{append(pageBytes(format.DataPage, 1, 1, 5, nil), 0)}, "a page with -1 values"},
		{"a dictionary of more values than bytes", [][]byte{dictionary(41, 40)}, "a dictionary of 41 values in 40 bytes"},
		{"an index page", [][]byte{append(pageBytes(format.IndexPage, 1, 1, 6, nil), 0)}, "a page of type 1"},
		{"a page longer than the chunk", [][]byte{pageBytes(format.DataPage, 8, 8, 5, map[int]int64{1: 1})}, "a page of 8 bytes with 0 left"},
		{"a page of less than nothing", [][]byte{pageBytes(format.DataPage, 8, -8, 5, map[int]int64{1: 1})}, "a page of -8 bytes"},
		{"it unpacks to less than nothing", [][]byte{pageBytes(format.DataPage, -1, 0, 5, map[int]int64{1: 1})}, "unpacks to -1 bytes, the limit is 1000"},
		{"it unpacks to more than the limit", [][]byte{pageBytes(format.DataPage, 1001, 0, 5, map[int]int64{1: 1})}, "unpacks to 1001 bytes, the limit is 1000"},
		{"levels longer than the page", [][]byte{append(pageBytes(format.DataPageV2, 8, 8, 8, map[int]int64{1: 1, 5: 9}), body(8)...)}, "levels of 9 bytes in a page of 8"},
		{"levels below zero", [][]byte{append(pageBytes(format.DataPageV2, 8, 8, 8, map[int]int64{1: 1, 5: -9}), body(8)...)}, "levels of 1099511627776 bytes in a page of 8"},
		{"a header that is none", [][]byte{{0x1b, 0}}, "it has a map"},
		{"a header that is cut", [][]byte{page(10, 80)[:5]}, "it ends too early"},
		{"prefix-coded text", [][]byte{append(pageBytes(format.DataPage, 8, 8, 5, map[int]int64{1: 1, 2: 7}), body(8)...)}, "a DELTA_BYTE_ARRAY column"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			data := append([]byte("PAR1"), bytes.Join(tt.pages, nil)...)
			meta := format.ColumnMetaData{DataPageOffset: 4, TotalCompressedSize: int64(len(data) - 4), NumValues: 10}
			err := checkChunk(data, &meta, Limits{Page: 1000})
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestCheckChunkPlace(t *testing.T) {
	t.Parallel()
	data := append([]byte("PAR1"), append(pageBytes(format.DataPage, 1, 1, 5, map[int]int64{1: 1}), 0)...)
	whole := int64(len(data) - 4)
	tests := []struct {
		name string
		meta format.ColumnMetaData
		ok   bool
	}{
		{"there", format.ColumnMetaData{DataPageOffset: 4, TotalCompressedSize: whole}, true},
		{"the dictionary comes first", format.ColumnMetaData{DataPageOffset: 1 << 40, DictionaryPageOffset: 4, TotalCompressedSize: whole}, true},
		{"nothing, at the end", format.ColumnMetaData{DataPageOffset: 4 + whole}, true},
		{"one byte too long", format.ColumnMetaData{DataPageOffset: 4, TotalCompressedSize: whole + 1}, false},
		{"inside the magic", format.ColumnMetaData{DataPageOffset: 3, TotalCompressedSize: 1}, false},
		{"before the file", format.ColumnMetaData{DataPageOffset: -4, TotalCompressedSize: 8}, false},
		{"behind the file", format.ColumnMetaData{DataPageOffset: 5 + whole}, false},
		{"less than nothing", format.ColumnMetaData{DataPageOffset: 4, TotalCompressedSize: -1}, false},
		{"a sum that overflows", format.ColumnMetaData{DataPageOffset: 5, TotalCompressedSize: math.MaxInt64}, false},
		{"a dictionary before the file", format.ColumnMetaData{DataPageOffset: 4, DictionaryPageOffset: -1, TotalCompressedSize: 1}, false},
	}
	for _, tt := range tests {
		tt.meta.NumValues = 1
		err := checkChunk(data, &tt.meta, Limits{Page: 1000})
		if (err == nil) != tt.ok || err != nil && (!errors.Is(err, errThrift) || !strings.Contains(err.Error(), "in a file of")) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// TestCheckUnpacked packs a body with each codec and holds the claim against it from both sides.
func TestCheckUnpacked(t *testing.T) {
	t.Parallel()
	plain := bytes.Repeat([]byte("0123456789abcdef"), 64)
	packed := map[format.CompressionCodec][]byte{format.Snappy: snappy.Encode(nil, plain)}
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	packed[format.Gzip] = zipped.Bytes()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	packed[format.Zstd] = z.EncodeAll(plain, nil)
	levels := []byte{1, 2, 3}
	size := int64(len(plain))
	for codec, body := range packed {
		for claim, want := range map[int64]string{size: "", size - 1: "or more, its header says 1023", size + 1: "or more, its header says 1025", 0: "its header says 0", 1 << 30: "its header says 1073741824"} {
			for _, before := range [][]byte{nil, levels} {
				h := pageHeader{uncompressed: claim + int64(len(before)), levels: int64(len(before))}
				err := checkUnpacked(codec, h, append(bytes.Clone(before), body...))
				if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
					t.Errorf("%s, %d bytes of levels, claim %d: error %v, want %q", codec, len(before), claim, err, want)
				}
			}
		}
		if err := checkUnpacked(codec, pageHeader{uncompressed: size}, []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")); !errors.Is(err, errThrift) {
			t.Errorf("%s of a body that is none: %v", codec, err)
		}
		if err := checkUnpacked(codec, pageHeader{uncompressed: 7, raw: true}, body); err != nil {
			t.Errorf("%s of a page that is not compressed: %v", codec, err)
		}
		if err := checkUnpacked(codec, pageHeader{uncompressed: 3, levels: 3}, levels); err != nil {
			t.Errorf("%s of a page of levels only: %v", codec, err)
		}
	}
	if err := checkUnpacked(format.Lz4Raw, pageHeader{uncompressed: 1}, []byte{0}); err == nil || err.Error() != "compression LZ4_RAW is not in this version: write it with snappy, gzip, zstd or none" {
		t.Errorf("lz4: %v", err)
	}
}
