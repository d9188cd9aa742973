package scorer

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
)

// maxDepth bounds nesting in a payload.
const maxDepth = 64

// jsonScanner reads JSON strictly (RFC 8259) and without allocating. Beyond the standard it takes NaN, Infinity and -Infinity where a number may
// stand, because Python's json module, which clients and MLflow's server use, writes and reads them.
type jsonScanner struct {
	data []byte
	pos  int
}

func (s *jsonScanner) fault(format string, args ...any) error {
	return payloadErrorf("invalid JSON at byte %d: "+format, append([]any{s.pos + 1}, args...)...)
}

// peek skips white space and gives the next byte, 0 at the end.
func (s *jsonScanner) peek() byte {
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

func (s *jsonScanner) expect(c byte) error {
	if got := s.peek(); got != c {
		return s.unexpected(string(c))
	}
	s.pos++
	return nil
}

func (s *jsonScanner) unexpected(want string) error {
	if s.pos >= len(s.data) {
		return s.fault("it ends where %s should stand", want)
	}
	return s.fault("%q where %s should stand", rune(s.data[s.pos]), want)
}

// more steps over the comma of a list or object that close ends, and says whether an element follows. first is true before the first element.
func (s *jsonScanner) more(closer byte, first *bool) (bool, error) {
	c := s.peek()
	switch {
	case c == closer:
		s.pos++
		return false, nil
	case *first:
		*first = false
		return true, nil
	case c == ',':
		s.pos++
		return true, nil
	}
	return false, s.unexpected("a comma or " + string(closer))
}

// text reads a string. The bytes are a part of the data unless the string has escapes.
func (s *jsonScanner) text() ([]byte, error) {
	if err := s.expect('"'); err != nil {
		return nil, err
	}
	start, escaped := s.pos, false
	for ; s.pos < len(s.data); s.pos++ {
		switch c := s.data[s.pos]; {
		case c == '"':
			raw := s.data[start:s.pos]
			s.pos++
			if !escaped {
				return raw, nil
			}
			var text string
			if err := json.Unmarshal(s.data[start-1:s.pos], &text); err != nil {
				return nil, s.fault("a bad escape in a string")
			}
			return []byte(text), nil
		case c == '\\':
			escaped = true
			s.pos++
		case c < 0x20:
			return nil, s.fault("a control character in a string")
		}
	}
	return nil, s.fault("a string does not end")
}

// key reads the name of an object's member and its colon.
func (s *jsonScanner) key() ([]byte, error) {
	name, err := s.text()
	if err != nil {
		return nil, err
	}
	return name, s.expect(':')
}

// number reads a value that should be a number: null is NaN, true is 1, false is 0. Any other value is skipped, and what names it.
func (s *jsonScanner) number() (x float64, what string, err error) {
	switch c := s.peek(); {
	case c == '-' || c >= '0' && c <= '9':
		x, err = s.digits()
		return x, "", err
	case c == 'n':
		return math.NaN(), "", s.word("null")
	case c == 't':
		return 1, "", s.word("true")
	case c == 'f':
		return 0, "", s.word("false")
	case c == 'N':
		return math.NaN(), "", s.word("NaN")
	case c == 'I':
		return math.Inf(1), "", s.word("Infinity")
	case c == '"':
		_, err = s.text()
		return math.NaN(), "a string", err
	case c == '[':
		return math.NaN(), "a list", s.skip(0)
	case c == '{':
		return math.NaN(), "an object", s.skip(0)
	}
	return 0, "", s.unexpected("a value")
}

func (s *jsonScanner) word(w string) error {
	if len(s.data)-s.pos < len(w) || string(s.data[s.pos:s.pos+len(w)]) != w {
		return s.unexpected("a value")
	}
	s.pos += len(w)
	return nil
}

// pow10 are the powers of ten that float64 holds exactly.
var pow10 = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// digits reads a number. One whose digits fit 2^53 and whose power of ten is exact is one exact multiplication or division (Clinger's fast
// path); the rest goes to strconv, so that every number is correctly rounded. Beyond float64 it is infinite.
func (s *jsonScanner) digits() (float64, error) {
	start, sign := s.pos, 1.0
	if s.data[s.pos] == '-' {
		sign = -1
		s.pos++
		if s.pos < len(s.data) && s.data[s.pos] == 'I' {
			return math.Inf(-1), s.word("Infinity")
		}
	}
	whole := s.pos
	mantissa, ok := s.run(0)
	if !ok {
		return 0, s.unexpected("a digit")
	}
	if s.data[whole] == '0' && s.pos > whole+1 {
		s.pos = whole
		return 0, s.fault("a number with a leading zero")
	}
	digits, exponent := s.pos-whole, 0
	if s.pos < len(s.data) && s.data[s.pos] == '.' {
		s.pos++
		point := s.pos
		if mantissa, ok = s.run(mantissa); !ok {
			return 0, s.unexpected("a digit")
		}
		exponent = point - s.pos
		digits -= exponent
	}
	if s.pos < len(s.data) && (s.data[s.pos] == 'e' || s.data[s.pos] == 'E') {
		e, err := s.exponent()
		if err != nil {
			return 0, err
		}
		exponent += e
	}
	if digits <= 15 && exponent >= -22 && exponent <= 22 {
		return sign * exact(mantissa, exponent), nil
	}
	x, err := strconv.ParseFloat(string(s.data[start:s.pos]), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, s.fault("a number that is not one")
	}
	return x, nil
}

func exact(mantissa uint64, exponent int) float64 {
	if exponent < 0 {
		return float64(mantissa) / pow10[-exponent]
	}
	return float64(mantissa) * pow10[exponent]
}

// run reads digits onto a mantissa, which is meaningful up to 15 digits, and says whether there was one.
func (s *jsonScanner) run(mantissa uint64) (uint64, bool) {
	start := s.pos
	for s.pos < len(s.data) && s.data[s.pos]-'0' <= 9 {
		mantissa = mantissa*10 + uint64(s.data[s.pos]-'0')
		s.pos++
	}
	return mantissa, s.pos > start
}

// exponent reads the part from e on; one beyond any float64 is cut to a size that stays so.
func (s *jsonScanner) exponent() (int, error) {
	s.pos++
	sign := 1
	if s.pos < len(s.data) && (s.data[s.pos] == '+' || s.data[s.pos] == '-') {
		if s.data[s.pos] == '-' {
			sign = -1
		}
		s.pos++
	}
	start, e := s.pos, 0
	for s.pos < len(s.data) && s.data[s.pos]-'0' <= 9 {
		e = min(e*10+int(s.data[s.pos]-'0'), 1<<20)
		s.pos++
	}
	if s.pos == start {
		return 0, s.unexpected("a digit")
	}
	return sign * e, nil
}

// skip reads one value and forgets it.
func (s *jsonScanner) skip(depth int) error {
	if depth > maxDepth {
		return s.fault("nested deeper than %d", maxDepth)
	}
	switch s.peek() {
	case '[':
		s.pos++
		for first := true; ; {
			more, err := s.more(']', &first)
			if err != nil || !more {
				return err
			}
			if err := s.skip(depth + 1); err != nil {
				return err
			}
		}
	case '{':
		s.pos++
		for first := true; ; {
			more, err := s.more('}', &first)
			if err != nil || !more {
				return err
			}
			if _, err := s.key(); err != nil {
				return err
			}
			if err := s.skip(depth + 1); err != nil {
				return err
			}
		}
	}
	_, _, err := s.number()
	return err
}

// end refuses anything but white space after the value.
func (s *jsonScanner) end() error {
	if s.peek() != 0 || s.pos < len(s.data) {
		return s.unexpected("the end")
	}
	return nil
}
