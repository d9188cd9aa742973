package dataset

import (
	"errors"
	"fmt"
)

// The Parquet library allocates the lengths that a footer or a page header claims before it reads what they are lengths of. So
// every footer and page header is walked here first: compact-protocol Thrift, nothing stored, every length held against the
// bytes that are left and every list against a bound.

// The types of the compact protocol.
const (
	thriftTrue   = 1
	thriftFalse  = 2
	thriftByte   = 3
	thriftI16    = 4
	thriftI32    = 5
	thriftI64    = 6
	thriftDouble = 7
	thriftBinary = 8
	thriftList   = 9
	thriftSet    = 10
	thriftMap    = 11
	thriftStruct = 12
)

// A struct element costs the library a few hundred bytes, a scalar element at most 16.
const (
	maxThriftStructs = 200_000
	maxThriftScalars = 2_000_000
	maxThriftDepth   = 24
)

var errThrift = errors.New("damaged Parquet metadata")

// thriftWalker walks one struct.
type thriftWalker struct {
	data             []byte
	pos              int
	structs, scalars int
}

// visitor is told what a walk meets. Integers and booleans (0, 1) are handed to value; for a field that is a struct itself, nested gives the
// value function of its fields. Either may be nil; the rest is skipped.
type visitor struct {
	value  func(id int, v int64)
	nested func(id int) func(id int, v int64)
}

// fields walks the fields of one struct.
func (w *thriftWalker) fields(depth int, v visitor) error {
	if depth > maxThriftDepth {
		return fmt.Errorf("%w: nested deeper than %d", errThrift, maxThriftDepth)
	}
	for id := 0; ; {
		head, err := w.byte()
		if err != nil {
			return err
		}
		if head == 0 {
			return nil
		}
		kind := int(head & 0xf)
		if delta := int(head >> 4); delta != 0 {
			id += delta
		} else {
			long, err := w.varint()
			if err != nil {
				return err
			}
			id = int(int16(unzigzag(long)))
		}
		if err := w.field(depth, kind, id, v); err != nil {
			return err
		}
	}
}

func (w *thriftWalker) field(depth, kind, id int, visit visitor) error {
	switch kind {
	case thriftTrue, thriftFalse: // the value is in the head
		if visit.value != nil {
			visit.value(id, int64(thriftFalse-kind))
		}
		return nil
	case thriftI16, thriftI32, thriftI64:
		v, err := w.varint()
		if err == nil && visit.value != nil {
			visit.value(id, unzigzag(v))
		}
		return err
	case thriftStruct:
		var inner visitor
		if visit.nested != nil {
			inner.value = visit.nested(id)
		}
		return w.fields(depth+1, inner)
	}
	return w.skip(depth, kind)
}

// skip walks a value that is not a field: an element of a list, or a field nobody asked for.
func (w *thriftWalker) skip(depth, kind int) error {
	switch kind {
	case thriftTrue, thriftFalse, thriftByte:
		return w.advance(1)
	case thriftI16, thriftI32, thriftI64:
		_, err := w.varint()
		return err
	case thriftDouble:
		return w.advance(8)
	case thriftBinary:
		n, err := w.varint()
		if err != nil {
			return err
		}
		if n > uint64(len(w.data)-w.pos) {
			return fmt.Errorf("%w: a string of %d bytes with %d left", errThrift, n, len(w.data)-w.pos)
		}
		return w.advance(int(n))
	case thriftList, thriftSet:
		return w.list(depth)
	case thriftStruct:
		return w.fields(depth+1, visitor{})
	case thriftMap:
		return fmt.Errorf("%w: it has a map, Parquet has none", errThrift)
	}
	return fmt.Errorf("%w: unknown type %d", errThrift, kind)
}

func (w *thriftWalker) list(depth int) error {
	if depth > maxThriftDepth {
		return fmt.Errorf("%w: nested deeper than %d", errThrift, maxThriftDepth)
	}
	head, err := w.byte()
	if err != nil {
		return err
	}
	size := uint64(head >> 4)
	if size == 15 {
		if size, err = w.varint(); err != nil {
			return err
		}
	}
	kind := int(head & 0xf)
	if err := w.count(kind, size); err != nil {
		return err
	}
	for range size {
		if err := w.skip(depth+1, kind); err != nil {
			return err
		}
	}
	return nil
}

// count holds a list's claimed size against the bytes left (an element has at least one) and the bounds.
func (w *thriftWalker) count(kind int, size uint64) error {
	if size > uint64(len(w.data)-w.pos) {
		return fmt.Errorf("%w: a list of %d with %d bytes left", errThrift, size, len(w.data)-w.pos)
	}
	switch kind {
	case thriftStruct, thriftList, thriftSet:
		w.structs += int(size)
	default:
		w.scalars += int(size)
	}
	if w.structs > maxThriftStructs || w.scalars > maxThriftScalars {
		return fmt.Errorf("%w: more than %d structures or %d values", errThrift, maxThriftStructs, maxThriftScalars)
	}
	return nil
}

func (w *thriftWalker) byte() (byte, error) {
	if w.pos >= len(w.data) {
		return 0, fmt.Errorf("%w: it ends too early", errThrift)
	}
	b := w.data[w.pos]
	w.pos++
	return b, nil
}

func (w *thriftWalker) advance(n int) error {
	if n > len(w.data)-w.pos {
		return fmt.Errorf("%w: it ends too early", errThrift)
	}
	w.pos += n
	return nil
}

func (w *thriftWalker) varint() (uint64, error) {
	var v uint64
	for shift := 0; shift < 64; shift += 7 {
		b, err := w.byte()
		if err != nil {
			return 0, err
		}
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v, nil
		}
	}
	return 0, fmt.Errorf("%w: a number of more than 64 bits", errThrift)
}

func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }
