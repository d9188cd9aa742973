package dataset

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/format"
)

const maxFooter = 16 << 20

// errDelta refuses a column: each of its values may repeat a part of the one before, so a page of megabytes can unpack to terabytes, and nothing in
// its header says how many.
var errDelta = errors.New("a DELTA_BYTE_ARRAY column is not in this version: write it with a dictionary or as PLAIN")

// checkFooter holds the footer's claimed length and all lengths inside it against the file, before the library sees them.
func checkFooter(data []byte) error {
	const frame = 12 // the magic at both ends and the footer's length
	if len(data) < frame || string(data[len(data)-4:]) != parquetMagic {
		return fmt.Errorf("%w: the file is cut off, its last bytes are not %s", errThrift, parquetMagic)
	}
	size := int64(binary.LittleEndian.Uint32(data[len(data)-8:]))
	if size > int64(len(data)-frame) || size > maxFooter {
		return fmt.Errorf("%w: a footer of %d bytes in a file of %d", errThrift, size, len(data))
	}
	w := thriftWalker{data: data[int64(len(data)-8)-size : len(data)-8]}
	return w.fields(0, visitor{})
}

// pageHeader is what a page claims about itself.
type pageHeader struct {
	kind                     format.PageType
	encoding                 format.Encoding
	uncompressed, compressed int64
	// values is the claimed number of values, nulls included; levels the bytes before the compressed part of a version 2 page.
	values, levels int64
	// raw says that a version 2 page is not compressed although its column is.
	raw bool
	// size is the length of the header itself.
	size int
}

func parsePageHeader(data []byte) (pageHeader, error) {
	h := pageHeader{values: -1}
	top := func(id int, v int64) {
		switch id {
		case 1:
			h.kind = format.PageType(v)
		case 2:
			h.uncompressed = v
		case 3:
			h.compressed = v
		}
	}
	nested := func(id int) func(int, int64) {
		switch id {
		case 5, 7: // data page, dictionary page
			return func(field int, v int64) {
				switch field {
				case 1:
					h.values = v
				case 2:
					h.encoding = format.Encoding(v)
				}
			}
		case 8:
			return h.visitV2
		}
		return nil
	}
	w := thriftWalker{data: data}
	err := w.fields(0, visitor{value: top, nested: nested})
	h.size = w.pos
	return h, err
}

// visitV2 takes the fields of a version 2 data page's header.
func (h *pageHeader) visitV2(field int, v int64) {
	switch field {
	case 1:
		h.values = v
	case 4:
		h.encoding = format.Encoding(v)
	case 5, 6: // lengths of the definition and repetition levels; int32 in the format
		if v < 0 || v > 1<<31 {
			v = 1 << 40
		}
		h.levels += v
	case 7:
		h.raw = v == 0
	}
}

// checkChunk walks the pages of one column chunk and holds every claim in their headers against the bytes there are: sizes, number
// of values, and what a compressed page really unpacks to.
func checkChunk(data []byte, meta *format.ColumnMetaData, limits Limits) error {
	begin, size := meta.DataPageOffset, meta.TotalCompressedSize
	if d := meta.DictionaryPageOffset; d != 0 {
		begin = d
	}
	if begin < 4 || size < 0 || begin > int64(len(data)) || size > int64(len(data))-begin {
		return fmt.Errorf("%w: a column of %d bytes at %d in a file of %d", errThrift, size, begin, len(data))
	}
	chunk := data[begin : begin+size]
	for values := int64(0); len(chunk) > 0 && values < meta.NumValues; {
		h, err := parsePageHeader(chunk)
		if err != nil {
			return err
		}
		body := chunk[h.size:]
		if err := h.check(body, limits); err != nil {
			return err
		}
		switch {
		case h.kind == format.DictionaryPage && h.values > h.uncompressed:
			return fmt.Errorf("%w: a dictionary of %d values in %d bytes", errThrift, h.values, h.uncompressed)
		case h.kind != format.DictionaryPage && h.values > meta.NumValues-values:
			return fmt.Errorf("%w: pages with more values than the column's %d", errThrift, meta.NumValues)
		case h.kind != format.DictionaryPage:
			values += h.values
		}
		if err := checkUnpacked(meta.Codec, h, body[:h.compressed]); err != nil {
			return err
		}
		chunk = body[h.compressed:]
	}
	return nil
}

func (h *pageHeader) check(body []byte, limits Limits) error {
	switch {
	case h.kind != format.DataPage && h.kind != format.DataPageV2 && h.kind != format.DictionaryPage:
		return fmt.Errorf("%w: a page of type %d", errThrift, h.kind)
	case h.compressed < 0 || h.compressed > int64(len(body)):
		return fmt.Errorf("%w: a page of %d bytes with %d left", errThrift, h.compressed, len(body))
	case h.uncompressed < 0 || h.uncompressed > limits.Page:
		return fmt.Errorf("%w: a page that unpacks to %d bytes, the limit is %d", errThrift, h.uncompressed, limits.Page)
	case h.values < 0:
		return fmt.Errorf("%w: a page with %d values", errThrift, h.values)
	case h.levels < 0 || h.levels > min(h.compressed, h.uncompressed):
		return fmt.Errorf("%w: levels of %d bytes in a page of %d", errThrift, h.levels, h.compressed)
	case h.encoding == format.DeltaByteArray:
		return errDelta
	}
	return nil
}

// checkUnpacked proves that a compressed page unpacks to what its header claims, in constant memory, because the library's
// decoders allocate what the compressed data says.
func checkUnpacked(codec format.CompressionCodec, h pageHeader, body []byte) error {
	packed, want := body[h.levels:], h.uncompressed-h.levels
	if codec == format.Uncompressed || h.raw || len(packed) == 0 {
		return nil
	}
	var got int64
	var err error
	switch codec {
	case format.Snappy:
		claim, n := binary.Uvarint(packed)
		if n <= 0 || claim > 1<<32 {
			return fmt.Errorf("%w: a damaged snappy page", errThrift)
		}
		got = int64(claim)
	case format.Gzip:
		var r *gzip.Reader
		if r, err = gzip.NewReader(bytes.NewReader(packed)); err == nil {
			got, err = io.Copy(io.Discard, io.LimitReader(r, want+1))
		}
	case format.Zstd:
		got, err = zstdSize(packed, want)
	default:
		return fmt.Errorf("compression %s is not in this version: write it with snappy, gzip, zstd or none", codec)
	}
	if err != nil {
		return fmt.Errorf("%w: unpack a page: %w", errThrift, err)
	}
	if got != want {
		return fmt.Errorf("%w: a page unpacks to %d bytes or more, its header says %d", errThrift, got, want)
	}
	return nil
}

func zstdSize(packed []byte, want int64) (int64, error) {
	const window = 128 << 20 // the largest window that zstd's own levels write
	r, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(window))
	if err != nil {
		return 0, err
	}
	defer r.Close()
	return io.Copy(io.Discard, io.LimitReader(r, want+1))
}
