package gateway

import (
	"bytes"
	"encoding/json"
)

// bodyKey looks for the customer's key in a JSON body: a field of the object itself, or the column of that name in the first row of one of
// MLflow's payload forms. The first one in the order of the text counts; its value is a string or a number (as it is written) and not
// empty. It scans and does not judge: what is wrong with the rest of the body is the model's to say.
func bodyKey(body []byte, field string) ([]byte, bool) {
	s := scanner{b: body}
	var key []byte
	s.members(func(name []byte) bool {
		s.peek()
		at := s.i
		switch string(name) {
		case field:
			key = s.scalar()
		case "dataframe_split":
			key = s.split(field)
		case "dataframe_records", "instances":
			key = s.firstRow(field)
		case "inputs":
			if s.peek() == '{' {
				key = s.column(field)
			} else {
				key = s.firstRow(field)
			}
		}
		if key == nil {
			s.i = at
			s.skip()
		}
		return key == nil
	})
	return key, len(key) > 0
}

// scanner walks over JSON text. At the end of the text, or where it is not JSON, it stands still and finds nothing more.
type scanner struct {
	b []byte
	i int
}

// peek gives the next byte that is no white space, 0 at the end.
func (s *scanner) peek() byte {
	for ; s.i < len(s.b); s.i++ {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
		default:
			return s.b[s.i]
		}
	}
	return 0
}

func (s *scanner) take(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.i++
	return true
}

// members calls each for every member of the object that begins here, with its name and the scanner before the value, which each must
// take; it ends when each says false.
func (s *scanner) members(each func(name []byte) bool) {
	if !s.take('{') || s.peek() == '}' {
		return
	}
	for {
		name, ok := s.text()
		if !ok || !s.take(':') || !each(name) || !s.take(',') {
			return
		}
	}
}

// elements does the same for an array.
func (s *scanner) elements(each func(i int) bool) {
	if !s.take('[') || s.peek() == ']' {
		return
	}
	for i := 0; each(i) && s.take(','); i++ {
	}
}

// text reads a string.
func (s *scanner) text() ([]byte, bool) {
	raw, escaped, ok := s.rawText()
	if !ok || !escaped {
		return raw, ok
	}
	var out string
	if err := json.Unmarshal(append(append([]byte{'"'}, raw...), '"'), &out); err != nil {
		return nil, false
	}
	return []byte(out), true
}

// rawText reads a string and leaves its escapes as they are.
func (s *scanner) rawText() (raw []byte, escaped, ok bool) {
	if !s.take('"') {
		return nil, false, false
	}
	start := s.i
	for s.i < len(s.b) {
		n := bytes.IndexAny(s.b[s.i:], `"\`)
		if n < 0 {
			break
		}
		s.i += n
		if s.b[s.i] == '"' {
			s.i++
			return s.b[start : s.i-1], escaped, true
		}
		escaped = true
		s.i += 2
	}
	s.i = len(s.b)
	return nil, false, false
}

// scalar reads a value and gives it when it is a string or a number; nil otherwise.
func (s *scanner) scalar() []byte {
	c := s.peek()
	if c == '"' {
		text, _ := s.text()
		return text
	}
	start := s.i
	s.skip()
	if c != '-' && (c < '0' || c > '9') {
		return nil
	}
	return s.b[start:s.i]
}

// skip passes over one value. It counts brackets and does not check that they match.
func (s *scanner) skip() {
	depth := 0
	for {
		switch c := s.peek(); c {
		case 0:
			s.i = len(s.b)
			return
		case '"':
			if _, _, ok := s.rawText(); !ok {
				return
			}
		case '{', '[':
			depth++
			s.i++
		case '}', ']':
			if depth == 0 {
				return
			}
			depth--
			s.i++
		case ',', ':':
			if depth == 0 {
				return
			}
			s.i++
		default:
			s.bare()
		}
		if depth == 0 {
			return
		}
	}
}

// bare passes over a number, true, false or null.
func (s *scanner) bare() {
	for ; s.i < len(s.b); s.i++ {
		switch s.b[s.i] {
		case ',', ':', ']', '}', '[', '{', '"', ' ', '\t', '\n', '\r':
			return
		}
	}
}

// column finds the field in an object; a list of values gives its first.
func (s *scanner) column(field string) (key []byte) {
	s.members(func(name []byte) bool {
		if string(name) != field {
			s.skip()
			return true
		}
		if s.peek() != '[' {
			key = s.scalar()
			return false
		}
		s.elements(func(int) bool {
			key = s.scalar()
			return false
		})
		return false
	})
	return key
}

// firstRow finds the field in the first element of an array of objects.
func (s *scanner) firstRow(field string) (key []byte) {
	s.elements(func(int) bool {
		key = s.column(field)
		return false
	})
	return key
}

// split finds the field in {"columns": [...], "data": [[...], ...]}, in either order.
func (s *scanner) split(field string) []byte {
	column, data := -1, -1
	s.members(func(name []byte) bool {
		s.peek()
		start := s.i
		switch string(name) {
		case "columns":
			s.elements(func(i int) bool {
				if string(s.scalar()) == field && column < 0 {
					column = i
				}
				return true
			})
			s.i = start
		case "data":
			data = start
		}
		s.skip()
		return true
	})
	if column < 0 || data < 0 {
		return nil
	}
	row := scanner{b: s.b, i: data}
	return row.cell(column)
}

// cell gives the value in a column of the first row of an array of arrays.
func (s *scanner) cell(column int) (key []byte) {
	s.elements(func(int) bool {
		s.elements(func(i int) bool {
			if i == column {
				key = s.scalar()
				return false
			}
			s.skip()
			return true
		})
		return false
	})
	return key
}
