package xgboost

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// jsonReader reads the JSON that XGBoost writes. The standard decoder refuses
// valid models: XGBoost writes bare NaN and Infinity.
type jsonReader struct {
	data   []byte
	pos    int
	depth  int
	values int
}

// readJSON reads a whole document.
func readJSON(data []byte) (value, error) {
	r := jsonReader{data: data}
	v, err := r.value()
	if err != nil {
		return value{}, err
	}
	if r.space(); r.pos < len(r.data) {
		return value{}, r.fault("more text after the document")
	}
	return v, nil
}

func (r *jsonReader) fault(what string) error {
	return fmt.Errorf("json at byte %d: %s", r.pos, what)
}

// space skips white space.
func (r *jsonReader) space() {
	for r.pos < len(r.data) && bytes.IndexByte([]byte(" \t\r\n"), r.data[r.pos]) >= 0 {
		r.pos++
	}
}

// peek returns the next byte that is not white space, 0 at the end.
func (r *jsonReader) peek() byte {
	if r.space(); r.pos < len(r.data) {
		return r.data[r.pos]
	}
	return 0
}

// take skips a byte that must be there.
func (r *jsonReader) take(b byte) error {
	if r.peek() != b {
		return r.fault(fmt.Sprintf("want %q", b))
	}
	r.pos++
	return nil
}

// enter counts a value and a level of nesting; leave ends the level.
func (r *jsonReader) enter() error {
	r.values++
	r.depth++
	switch {
	case r.values > maxValues:
		return r.fault(fmt.Sprintf("more than %d values", maxValues))
	case r.depth > maxNested:
		return r.fault(fmt.Sprintf("nested deeper than %d", maxNested))
	}
	return nil
}

func (r *jsonReader) leave() { r.depth-- }

// value reads any value.
func (r *jsonReader) value() (value, error) {
	if err := r.enter(); err != nil {
		return value{}, err
	}
	defer r.leave()
	switch r.peek() {
	case '{':
		return r.object()
	case '[':
		return r.array()
	case '"':
		return r.text()
	case 'n':
		if !bytes.HasPrefix(r.data[r.pos:], []byte("null")) {
			return value{}, r.fault("want a value")
		}
		r.pos += len("null")
		return value{}, nil
	}
	return r.number()
}

// object reads { "key": value, ... }.
func (r *jsonReader) object() (value, error) {
	r.pos++
	out := value{kind: kindObject}
	seen := map[string]bool{}
	for r.peek() != '}' {
		if len(out.list) > 0 {
			if err := r.take(','); err != nil {
				return value{}, err
			}
		}
		if r.peek() != '"' {
			return value{}, r.fault("want a key in quotes")
		}
		key, err := r.text()
		if err != nil {
			return value{}, err
		}
		if seen[string(key.raw)] {
			return value{}, r.fault(fmt.Sprintf("the key %q appears twice", clip(string(key.raw))))
		}
		seen[string(key.raw)] = true
		if err := r.take(':'); err != nil {
			return value{}, err
		}
		v, err := r.value()
		if err != nil {
			return value{}, err
		}
		out.list = append(out.list, key, v)
	}
	r.pos++
	return out, nil
}

// array reads [ ... ]: numbers alone as an encoded array, anything else as a list.
func (r *jsonReader) array() (value, error) {
	r.pos++
	if v, ok := r.numbers(); ok {
		return v, nil
	}
	out := value{kind: kindList}
	for r.peek() != ']' {
		if len(out.list) > 0 {
			if err := r.take(','); err != nil {
				return value{}, err
			}
		}
		v, err := r.value()
		if err != nil {
			return value{}, err
		}
		out.list = append(out.list, v)
	}
	r.pos++
	return out, nil
}

// numbers takes an array up to its end when everything in it is a number or a boolean.
func (r *jsonReader) numbers() (value, bool) {
	n := bytes.IndexAny(r.data[r.pos:], "]\"{[")
	if n < 0 || r.data[r.pos+n] != ']' {
		return value{}, false
	}
	raw := bytes.Trim(r.data[r.pos:r.pos+n], " \t\r\n")
	for rest := raw; len(rest) > 0; {
		element, after, more := bytes.Cut(rest, []byte(","))
		if !scalar(bytes.Trim(element, " \t\r\n")) || more && len(bytes.TrimLeft(after, " \t\r\n")) == 0 {
			return value{}, false
		}
		rest = after
	}
	r.pos += n + 1
	return value{kind: kindArray, raw: raw}, true
}

// scalar reports a number or a boolean.
func scalar(raw []byte) bool {
	switch string(raw) {
	case "true", "false", "NaN", "Infinity", "-Infinity":
		return true
	}
	return decimalNumber(raw)
}

// number reads one number or boolean.
func (r *jsonReader) number() (value, error) {
	n := bytes.IndexAny(r.data[r.pos:], ",]} \t\r\n")
	if n < 0 {
		n = len(r.data) - r.pos
	}
	raw := r.data[r.pos : r.pos+n]
	if !scalar(raw) {
		return value{}, r.fault(fmt.Sprintf("%q is not a value", clip(string(raw))))
	}
	r.pos += n
	return value{kind: kindNumber, raw: raw}, nil
}

// text reads a string; one with escapes is decoded by the standard library.
func (r *jsonReader) text() (value, error) {
	start := r.pos
	for r.pos++; r.pos < len(r.data) && r.data[r.pos] != '"'; r.pos++ {
		if r.data[r.pos] == '\\' {
			r.pos++
		}
	}
	if r.pos >= len(r.data) {
		return value{}, r.fault("a string without an end")
	}
	r.pos++
	raw := r.data[start+1 : r.pos-1]
	if !utf8.Valid(raw) {
		return value{}, r.fault("a string that is not UTF-8")
	}
	if bytes.IndexByte(raw, '\\') >= 0 {
		var s string
		if err := json.Unmarshal(r.data[start:r.pos], &s); err != nil {
			return value{}, r.fault("a string with a bad escape")
		}
		raw = []byte(s)
	}
	return value{kind: kindString, raw: raw}, nil
}
