package dataset

import (
	"bytes"
	"errors"
	"fmt"
)

// scanner splits CSV into fields without copying, one field a call.
type scanner struct {
	data []byte
	pos  int
	// line is the line of pos, from 1, and lineStart the offset at which it begins.
	line, lineStart int
	// unquoted holds the last field that had doubled quotes in it.
	unquoted []byte
}

// field is one field of a row. Its text is valid until the next call.
type field struct {
	text []byte
	// last says that the row ends with this field.
	last bool
	// line and col are where it begins, both from 1; col counts bytes.
	line, col int
}

var (
	errBareQuote = errors.New("a quote inside an unquoted field: quote the whole field and double the quote")
	errAfter     = errors.New("text after the closing quote: double a quote that belongs to the field")
	errOpenQuote = errors.New("the quoted field that begins here never ends")
)

func newScanner(data []byte) *scanner {
	return &scanner{data: bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), line: 1}
}

func (s *scanner) done() bool { return s.pos >= len(s.data) }

func (s *scanner) skipBlankLines() {
	for s.pos < len(s.data) {
		switch {
		case s.data[s.pos] == '\n':
			s.pos++
		case s.data[s.pos] == '\r' && s.pos+1 < len(s.data) && s.data[s.pos+1] == '\n':
			s.pos += 2
		case s.data[s.pos] == '\r' && s.pos+1 == len(s.data): // a last line that is blank but for half of its CRLF
			s.pos++
		default:
			return
		}
		s.newline()
	}
}

func (s *scanner) newline() {
	s.line++
	s.lineStart = s.pos
}

// next reads one field and its delimiter. At the end of the data it gives an empty last field.
func (s *scanner) next() (field, error) {
	f := field{line: s.line, col: s.pos - s.lineStart + 1}
	if s.pos < len(s.data) && s.data[s.pos] == '"' {
		return s.quoted(f)
	}
	start := s.pos
	for i := start; i < len(s.data); i++ {
		switch s.data[i] {
		case ',':
			f.text, s.pos = s.data[start:i], i+1
			return f, nil
		case '\n':
			f.text, f.last, s.pos = bytes.TrimSuffix(s.data[start:i], []byte{'\r'}), true, i+1
			s.newline()
			return f, nil
		case '"':
			s.pos = i
			return f, errBareQuote
		}
	}
	f.text, f.last, s.pos = bytes.TrimSuffix(s.data[start:], []byte{'\r'}), true, len(s.data)
	return f, nil
}

func (s *scanner) quoted(f field) (field, error) {
	open, openLine, openStart := s.pos, s.line, s.lineStart
	doubled := false
	for i := open + 1; i < len(s.data); i++ {
		switch s.data[i] {
		case '\n':
			s.pos = i + 1
			s.newline()
		case '"':
			if i+1 < len(s.data) && s.data[i+1] == '"' {
				doubled = true
				i++
				continue
			}
			f.text = s.data[open+1 : i]
			if doubled {
				s.unquoted = append(s.unquoted[:0], bytes.ReplaceAll(f.text, []byte(`""`), []byte(`"`))...)
				f.text = s.unquoted
			}
			s.pos = i + 1
			return s.delimiter(f)
		}
	}
	s.pos, s.line, s.lineStart = open, openLine, openStart
	return f, errOpenQuote
}

// delimiter ends a quoted field: a comma, the end of the line or of the data.
func (s *scanner) delimiter(f field) (field, error) {
	rest := s.data[s.pos:]
	switch {
	case len(rest) == 0:
		f.last = true
	case rest[0] == ',':
		s.pos++
	case rest[0] == '\n':
		f.last = true
		s.pos++
		s.newline()
	case rest[0] == '\r' && len(rest) == 1:
		f.last = true
		s.pos++
	case rest[0] == '\r' && rest[1] == '\n':
		f.last = true
		s.pos += 2
		s.newline()
	default:
		return f, errAfter
	}
	return f, nil
}

// locate says where in the file err was met.
func (s *scanner) locate(path string, err error) error {
	return fmt.Errorf("%s:%d:%d: %w", path, s.line, s.pos-s.lineStart+1, err)
}
