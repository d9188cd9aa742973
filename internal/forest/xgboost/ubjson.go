package xgboost

import (
	"fmt"
	"unicode/utf8"
)

// ubjsonReader reads Universal Binary JSON (draft 12) in XGBoost's dialect:
// big-endian, keys without a string marker, counted containers without an end
// marker. Every claimed length is compared with the bytes left before it is used.
type ubjsonReader struct {
	data   []byte
	pos    int
	depth  int
	values int
}

// readUBJSON reads a whole document.
func readUBJSON(data []byte) (value, error) {
	r := ubjsonReader{data: data}
	marker, err := r.byte()
	if err != nil {
		return value{}, err
	}
	v, err := r.value(marker)
	if err != nil {
		return value{}, err
	}
	if r.pos != len(r.data) {
		return value{}, r.fault("more bytes after the document")
	}
	return v, nil
}

func (r *ubjsonReader) fault(what string) error {
	return fmt.Errorf("ubjson at byte %d: %s", r.pos, what)
}

// left is the number of bytes not read yet.
func (r *ubjsonReader) left() int { return len(r.data) - r.pos }

// byte reads one byte, skipping no-ops.
func (r *ubjsonReader) byte() (byte, error) {
	for r.pos < len(r.data) {
		b := r.data[r.pos]
		r.pos++
		if b != 'N' {
			return b, nil
		}
	}
	return 0, r.fault("the file ends too early")
}

// bytes reads n bytes.
func (r *ubjsonReader) bytes(n int) ([]byte, error) {
	if n > r.left() {
		return nil, r.fault(fmt.Sprintf("%d bytes claimed, %d left", n, r.left()))
	}
	b := r.data[r.pos : r.pos+n]
	r.pos += n
	return b, nil
}

// length reads a length of any integer type.
func (r *ubjsonReader) length() (int, error) {
	marker, err := r.byte()
	if err != nil {
		return 0, err
	}
	w := width(marker)
	if w == 0 || marker == 'd' || marker == 'D' {
		return 0, r.fault(fmt.Sprintf("a length of type %q", marker))
	}
	raw, err := r.bytes(w)
	if err != nil {
		return 0, err
	}
	n, _ := integer(marker, raw)
	if n < 0 || n > int64(r.left()) {
		return 0, r.fault(fmt.Sprintf("a length of %d, %d bytes left", n, r.left()))
	}
	return int(n), nil
}

// value reads the value that follows its marker.
func (r *ubjsonReader) value(marker byte) (value, error) {
	r.values++
	if r.values > maxValues {
		return value{}, r.fault(fmt.Sprintf("more than %d values", maxValues))
	}
	switch marker {
	case 'Z':
		return value{}, nil
	case 'T':
		return value{kind: kindNumber, encoding: 'T', raw: []byte{1}}, nil
	case 'F':
		return value{kind: kindNumber, encoding: 'T', raw: []byte{0}}, nil
	case 'S':
		return r.text()
	case '{', '[':
		if r.depth++; r.depth > maxNested {
			return value{}, r.fault(fmt.Sprintf("nested deeper than %d", maxNested))
		}
		defer func() { r.depth-- }()
		if marker == '{' {
			return r.object()
		}
		return r.array()
	}
	w := width(marker)
	if w == 0 {
		return value{}, r.fault(fmt.Sprintf("unknown type %q", marker))
	}
	raw, err := r.bytes(w)
	return value{kind: kindNumber, encoding: marker, raw: raw}, err
}

// text reads a counted string.
func (r *ubjsonReader) text() (value, error) {
	n, err := r.length()
	if err != nil {
		return value{}, err
	}
	raw, err := r.bytes(n)
	if err != nil {
		return value{}, err
	}
	if !utf8.Valid(raw) {
		return value{}, r.fault("a string that is not UTF-8")
	}
	return value{kind: kindString, raw: raw}, nil
}

// object reads keys and values up to the closing brace.
func (r *ubjsonReader) object() (value, error) {
	out := value{kind: kindObject}
	seen := map[string]bool{}
	for {
		marker, err := r.byte()
		if err != nil {
			return value{}, err
		}
		switch marker {
		case '}':
			return out, nil
		case '$', '#':
			return value{}, r.fault("a counted object, which XGBoost does not write")
		}
		r.pos-- // the marker belongs to the key's length
		key, err := r.text()
		if err != nil {
			return value{}, err
		}
		if seen[string(key.raw)] {
			return value{}, r.fault(fmt.Sprintf("the key %q appears twice", clip(string(key.raw))))
		}
		seen[string(key.raw)] = true
		if marker, err = r.byte(); err != nil {
			return value{}, err
		}
		v, err := r.value(marker)
		if err != nil {
			return value{}, err
		}
		out.list = append(out.list, key, v)
	}
}

// array reads a typed, a counted or a plain array.
func (r *ubjsonReader) array() (value, error) {
	marker, err := r.byte()
	if err != nil {
		return value{}, err
	}
	switch marker {
	case '$':
		return r.typed()
	case '#':
		n, err := r.length()
		if err != nil {
			return value{}, err
		}
		return r.counted(n)
	}
	out := value{kind: kindList}
	for ; marker != ']'; marker, err = r.byte() {
		if err != nil {
			return value{}, err
		}
		v, err := r.value(marker)
		if err != nil {
			return value{}, err
		}
		out.list = append(out.list, v)
	}
	return out, nil
}

// counted reads n values. The list grows as they come: n is a claim.
func (r *ubjsonReader) counted(n int) (value, error) {
	out := value{kind: kindList}
	for range n {
		marker, err := r.byte()
		if err != nil {
			return value{}, err
		}
		v, err := r.value(marker)
		if err != nil {
			return value{}, err
		}
		out.list = append(out.list, v)
	}
	return out, nil
}

// typed reads numbers of one type, packed.
func (r *ubjsonReader) typed() (value, error) {
	marker, err := r.byte()
	if err != nil {
		return value{}, err
	}
	w := width(marker)
	if w == 0 {
		return value{}, r.fault(fmt.Sprintf("an array of type %q", marker))
	}
	hash, err := r.byte()
	if err != nil {
		return value{}, err
	}
	if hash != '#' {
		return value{}, r.fault("a typed array without a count")
	}
	n, err := r.length()
	if err != nil {
		return value{}, err
	}
	if n > r.left()/w {
		return value{}, r.fault(fmt.Sprintf("%d numbers of %d bytes claimed, %d bytes left", n, w, r.left()))
	}
	raw, err := r.bytes(n * w)
	return value{kind: kindArray, encoding: marker, raw: raw}, err
}
