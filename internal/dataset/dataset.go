// Package dataset reads tables of labeled rows from CSV and Parquet files into columns of float64.
// It must never allocate a size that a file merely claims, guess a value it could not read, or know what the columns mean.
package dataset

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
)

// Limits bound what one file may make Serin hold in memory. A zero field takes its default.
type Limits struct {
	// Bytes is the largest file, 1 GiB by default. Files are read whole.
	Bytes int64
	// Columns is the largest number of columns, 4096 by default.
	Columns int
	// Cells is the largest rows x columns, 128 Mi by default: 1 GiB of float64.
	Cells int64
	// Page is the largest uncompressed page of a Parquet file in bytes, 64 MiB by default. Writers make pages of about 1 MiB.
	Page int64
	// Text is the most text that the columns of a Parquet file may hold together in bytes, 1 GiB by default. A CSV file has no more than its size.
	Text int64
}

func (l Limits) withDefaults() Limits {
	if l.Bytes <= 0 {
		l.Bytes = 1 << 30
	}
	if l.Columns <= 0 {
		l.Columns = 4096
	}
	if l.Cells <= 0 {
		l.Cells = 128 << 20
	}
	if l.Page <= 0 {
		l.Page = 64 << 20
	}
	if l.Text <= 0 {
		l.Text = 1 << 30
	}
	return l
}

const parquetMagic = "PAR1"

// Read reads the CSV or Parquet file at path with the default Limits. What the file is, its first bytes say, not its name.
// An error names the file and, where there is one, the line (CSV) or row (Parquet) and the column; none is worth a retry.
func Read(ctx context.Context, path string) (*Table, error) {
	return ReadLimited(ctx, path, Limits{})
}

// ReadLimited is Read with other limits.
func ReadLimited(ctx context.Context, path string, limits Limits) (*Table, error) {
	limits = limits.withDefaults()
	data, err := readFile(path, limits.Bytes)
	if err != nil {
		return nil, err
	}
	return parse(ctx, source{path: path, data: data, limits: limits})
}

// source is one file in memory.
type source struct {
	path   string
	data   []byte
	limits Limits
}

func parse(ctx context.Context, src source) (*Table, error) {
	switch {
	case bytes.HasPrefix(src.data, []byte(parquetMagic)):
		return readParquet(ctx, src)
	case bytes.HasPrefix(src.data, []byte("PARE")):
		return nil, fmt.Errorf("%s: encrypted Parquet is not read in this version: write it without encryption", src.path)
	case bytes.HasPrefix(src.data, []byte{0x1f, 0x8b}):
		return nil, fmt.Errorf("%s: a gzip file: unpack it first, Serin reads CSV and Parquet", src.path)
	case bytes.HasPrefix(src.data, []byte{0xff, 0xfe}), bytes.HasPrefix(src.data, []byte{0xfe, 0xff}):
		return nil, fmt.Errorf("%s: UTF-16 text: save the CSV as UTF-8", src.path)
	default:
		return readCSV(ctx, src)
	}
}

// readFile reads a regular file whole. The size is taken from the file system and checked before anything is allocated.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open data file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open data file: %w", err)
	}
	if info.IsDir() {
		return nil, fmt.Errorf("%s: is a folder: name a CSV or Parquet file", path)
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s: %d bytes, the limit is %d: judge on a sample of the rows", path, info.Size(), limit)
	}
	var buf bytes.Buffer
	buf.Grow(int(info.Size()) + bytes.MinRead)
	if _, err := buf.ReadFrom(io.LimitReader(f, limit+1)); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(buf.Len()) > limit {
		return nil, fmt.Errorf("%s: grew beyond the limit of %d bytes while it was read", path, limit)
	}
	return buf.Bytes(), nil
}
