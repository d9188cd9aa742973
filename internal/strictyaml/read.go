package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	// maxBytes is far above any plan or configuration that a person writes.
	maxBytes = 1 << 20
	// maxVisits bounds how many nodes are looked at, aliases counted each time: an alias bomb ends here.
	maxVisits = 50_000
)

// Document is a file being read: it gathers the faults that the reading of its values finds.
type Document struct {
	file   string
	lines  int
	hide   []string
	faults []Fault
	visits int
	full   bool
}

// Source is a file to be read.
type Source struct {
	// File is the name that faults carry.
	File string
	Data []byte
	// Hide lists prefixes of keys that messages leave out because everybody knows them, such as "spec."; the longest come first.
	Hide []string
}

// Read parses one YAML document and returns its root. The root is not usable (ok false) when the file is no YAML; the document then holds the fault.
func Read(src Source) (doc *Document, root Value, ok bool) {
	doc = &Document{file: src.File, hide: src.Hide, lines: 1 + len(lineBreak.FindAllIndex(src.Data, -1))}
	if at, problem := unreadable(src.Data); problem != "" {
		line, column := position(src.Data, at)
		doc.add(Fault{Line: line, Column: column, Message: problem})
		return doc, Value{}, false
	}
	dec := yaml.NewDecoder(bytes.NewReader(src.Data))
	var n yaml.Node
	switch err := dec.Decode(&n); {
	case errors.Is(err, io.EOF):
		doc.add(Fault{Line: 1, Column: 1, Message: "the file is empty"})
		return doc, Value{}, false
	case err != nil:
		doc.syntax(src.Data, err)
		return doc, Value{}, false
	}
	var second yaml.Node
	switch err := dec.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		doc.syntax(src.Data, err)
		return doc, Value{}, false
	default:
		doc.add(Fault{Line: second.Line, Column: second.Column, Message: "a second document (---): put it into a file of its own"})
		return doc, Value{}, false
	}
	if n.Kind != yaml.DocumentNode || len(n.Content) != 1 {
		doc.add(Fault{Line: 1, Column: 1, Message: "the file is empty"})
		return doc, Value{}, false
	}
	return doc, Value{doc: doc, node: n.Content[0]}, true
}

// Faults lists what was found so far, in the order of the file.
func (d *Document) Faults() []Fault { return sorted(d.faults) }

// lineBreak is a line break as YAML counts them.
var lineBreak = regexp.MustCompile(`\r\n|[\n\r\x{85}\x{2028}\x{2029}]`)

func (d *Document) add(f Fault) {
	if f.Line > d.lines { // the parser puts what is missing at the end behind it
		f.Line, f.Column = d.lines, 1
	}
	f.File, f.Message = d.file, oneLine(f.Message)
	d.faults = append(d.faults, f)
}

// unreadable says what keeps the bytes from being text, and where.
func unreadable(data []byte) (at int, problem string) {
	if len(data) > maxBytes {
		return 0, fmt.Sprintf("the file has %d bytes: at most %d are read", len(data), maxBytes)
	}
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return i, "not UTF-8 text: save the file as UTF-8"
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', r == 0x7f:
			return i, fmt.Sprintf("control character %U: remove it", r)
		}
		i += size
	}
	return 0, ""
}

// position gives line and column of a byte offset.
func position(data []byte, at int) (line, column int) {
	before := data[:at]
	start := bytes.LastIndexByte(before, '\n') + 1
	return bytes.Count(before, []byte{'\n'}) + 1, utf8.RuneCount(before[start:]) + 1
}

var yamlError = regexp.MustCompile(`(?s)^yaml: (?:line (\d+): )?(.*)$`)

// syntax records the parser's complaint. The parser gives a line at best, and counts it from 0 where the grammar rather than a character is wrong.
func (d *Document) syntax(data []byte, err error) {
	line, message := 1, err.Error()
	if m := yamlError.FindStringSubmatch(message); m != nil {
		message = m[2]
		if n, convErr := strconv.Atoi(m[1]); convErr == nil {
			line = n
			if strings.HasPrefix(message, "did not find expected") {
				line++
			}
		}
	}
	lines := bytes.Split(data, []byte{'\n'})
	line = min(max(line, 1), len(lines))
	text := string(lines[line-1])
	column := len(text) - len(strings.TrimLeft(text, " ")) + 1
	if strings.Contains(message, "cannot start any token") && strings.HasPrefix(strings.TrimLeft(text, " "), "\t") {
		message = "a tab: YAML is indented with spaces"
	} else {
		message = "not YAML: " + message + ": check indentation, colons and quotes here"
	}
	d.add(Fault{Line: line, Column: column, Message: message})
}
