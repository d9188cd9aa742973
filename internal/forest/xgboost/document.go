package xgboost

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
)

// kind is the kind of a value in a document.
type kind uint8

const (
	kindNull kind = iota
	kindString
	kindNumber // one number or boolean
	kindArray  // numbers, still encoded
	kindList   // any values
	kindObject // keys and values, by turns
)

// String names a kind in an error.
func (k kind) String() string {
	return [...]string{"null", "a string", "a number", "an array of numbers", "a list", "an object"}[k]
}

// decimal is the encoding of numbers in JSON text; in UBJSON the encoding is the type's marker.
const decimal = 0

// value is one value of a JSON or UBJSON document. Numbers stay as they are in
// the file until somebody asks for them as float32 or as integers: a float32 must
// be parsed as one, not through float64, and an array costs no memory of its own.
type value struct {
	kind     kind
	encoding byte    // of kindNumber and kindArray
	raw      []byte  // the string; the number's text or bytes; the array's
	list     []value // of kindList; of kindObject: key, value, key, value ...
}

// field returns a field of an object, or null.
func (v value) field(name string) value {
	if v.kind != kindObject {
		return value{}
	}
	for i := 0; i+1 < len(v.list); i += 2 {
		if string(v.list[i].raw) == name {
			return v.list[i+1]
		}
	}
	return value{}
}

// cursor is a value and the path to it, for errors.
type cursor struct {
	value
	path string
}

// at follows object fields.
func (c cursor) at(names ...string) cursor {
	for _, n := range names {
		c.value = c.field(n)
		if c.path != "" {
			c.path += "."
		}
		c.path += n
	}
	return c
}

// mismatch is the error of a value of the wrong kind.
func (c cursor) mismatch(want string) error {
	if c.kind == kindNull {
		return fmt.Errorf("%s is missing", c.path)
	}
	return fmt.Errorf("%s is %v, want %s", c.path, c.kind, want)
}

// text returns a string.
func (c cursor) text() (string, error) {
	if c.kind != kindString {
		return "", c.mismatch("a string")
	}
	return string(c.raw), nil
}

// textOr returns a string, or the fallback when the field is absent: older versions lack some fields.
func (c cursor) textOr(fallback string) (string, error) {
	if c.kind == kindNull {
		return fallback, nil
	}
	return c.text()
}

// count returns a number that XGBoost writes as a string, within 0 and limit.
func (c cursor) count(fallback string, limit int) (int, error) {
	s, err := c.textOr(fallback)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > limit {
		return 0, fmt.Errorf("%s is %q, want a number from 0 to %d", c.path, clip(s), limit)
	}
	return n, nil
}

// items returns the values of a list. An empty array counts as one.
func (c cursor) items() ([]value, error) {
	switch {
	case c.kind == kindList:
		return c.list, nil
	case c.kind == kindArray && c.empty():
		return nil, nil
	}
	return nil, c.mismatch("a list")
}

// empty reports that an array holds nothing.
func (c cursor) empty() bool {
	return len(c.raw) == 0
}

// texts returns a list of strings; an absent one is empty.
func (c cursor) texts() ([]string, error) {
	if c.kind == kindNull {
		return nil, nil
	}
	items, err := c.items()
	if err != nil {
		return nil, err
	}
	out := make([]string, 0, len(items))
	for _, v := range items {
		if v.kind != kindString {
			return nil, fmt.Errorf("%s holds %v, want strings", c.path, v.kind)
		}
		out = append(out, string(v.raw))
	}
	return out, nil
}

// floats returns an array as float32.
func (c cursor) floats() ([]float32, error) {
	return numbers(c, func(encoding byte, raw []byte) (float32, bool) {
		switch encoding {
		case decimal:
			return parseFloat(raw)
		case 'd':
			return math.Float32frombits(binary.BigEndian.Uint32(raw)), true
		case 'D':
			return float32(math.Float64frombits(binary.BigEndian.Uint64(raw))), true
		}
		n, ok := integer(encoding, raw)
		return float32(n), ok
	})
}

// ints returns an array as int32.
func (c cursor) ints() ([]int32, error) {
	return numbers(c, func(encoding byte, raw []byte) (int32, bool) {
		n, ok := integer(encoding, raw)
		return int32(n), ok && n >= math.MinInt32 && n <= math.MaxInt32
	})
}

// flags returns an array of booleans or of 0 and 1.
func (c cursor) flags() ([]bool, error) {
	return numbers(c, func(encoding byte, raw []byte) (bool, bool) {
		n, ok := integer(encoding, raw)
		return n == 1, ok && (n == 0 || n == 1)
	})
}

// numbers decodes the elements of an array, or of a list of numbers (as XGBoost 1.7 writes some in UBJSON).
func numbers[T any](c cursor, decode func(encoding byte, raw []byte) (T, bool)) ([]T, error) {
	out := []T{}
	add := func(encoding byte, raw []byte) error {
		x, ok := decode(encoding, raw)
		if !ok {
			return fmt.Errorf("%s: element %d is not a number of its kind", c.path, len(out))
		}
		out = append(out, x)
		return nil
	}
	switch c.kind {
	case kindList:
		for _, v := range c.list {
			if v.kind != kindNumber {
				return nil, fmt.Errorf("%s holds %v, want numbers", c.path, v.kind)
			}
			if err := add(v.encoding, v.raw); err != nil {
				return nil, err
			}
		}
	case kindArray:
		for rest := c.raw; len(rest) > 0; {
			raw, next := element(c.encoding, rest)
			if err := add(c.encoding, raw); err != nil {
				return nil, err
			}
			rest = next
		}
	case kindNull, kindString, kindNumber, kindObject:
		return nil, c.mismatch("an array of numbers")
	}
	return out, nil
}

// clip shortens text from a file for an error.
func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}
