package strictyaml

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Value is one place in the document. Its methods read it as what the caller wants and record a fault when it is something else.
type Value struct {
	doc  *Document
	node *yaml.Node
	path string
}

// Field reads the value of one key.
type Field func(Value)

// Fields names the keys that a mapping may have.
type Fields map[string]Field

// Object is a mapping that has been read: which of its keys were there.
type Object struct {
	Value
	seen map[string]Value
}

// Entry is one key of a mapping whose keys are names that the user chose.
type Entry struct {
	Key string
	// At is the place of the key, for faults about the name.
	At    Value
	Value Value
}

// Faultf records a fault at the value: what is wrong, and after a colon what to write instead.
func (v Value) Faultf(format string, args ...any) { v.record(false, format, args...) }

// Warnf records a warning at the value.
func (v Value) Warnf(format string, args ...any) { v.record(true, format, args...) }

//revive:disable-next-line:flag-parameter // private: the two exported names are the choice
func (v Value) record(warning bool, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	if name := v.name(); name != "" {
		message = name + ": " + message
	}
	v.doc.add(Fault{Line: v.node.Line, Column: v.node.Column, Message: message, Warning: warning})
}

// Line is where the value stands, from 1.
func (v Value) Line() int { return v.node.Line }

// name is the path without the prefixes that everybody knows.
func (v Value) name() string {
	for _, prefix := range v.doc.hide {
		if rest, ok := strings.CutPrefix(v.path, prefix); ok {
			return rest
		}
	}
	return v.path
}

// Fields reads a mapping: each known key by its field, in the order of the file. Unknown and duplicate keys are faults.
func (v Value) Fields(fields Fields) Object {
	obj := Object{Value: v, seen: map[string]Value{}}
	for _, e := range v.Entries() {
		read, known := fields[e.Key]
		if !known {
			e.At.Faultf("unknown key%s", suggestion(e.Key, fields))
			continue
		}
		obj.seen[e.Key] = e.Value
		if e.Value.null() {
			e.Value.Faultf("has no value: give one, or remove the key to have the default")
			continue
		}
		read(e.Value)
	}
	return obj
}

// Lookup gives the value of a key that Fields has read.
func (o Object) Lookup(key string) (Value, bool) {
	v, ok := o.seen[key]
	return v, ok
}

// Has says whether the key was there.
func (o Object) Has(key string) bool {
	_, ok := o.seen[key]
	return ok
}

// Require records a fault for each key that is missing, with what it is for.
func (o Object) Require(key, hint string) {
	if o.node.Kind == yaml.MappingNode && !o.Has(key) {
		o.Faultf("%s is missing: %s", key, hint)
	}
}

// Entries lists the keys and values of a mapping in the order of the file. Duplicate keys are faults, the first one is kept.
func (v Value) Entries() []Entry {
	if v.node.Kind != yaml.MappingNode || v.node.ShortTag() != "!!map" {
		v.Faultf("is %s: a mapping (key: value) belongs here", describe(v.node))
		return nil
	}
	var entries []Entry
	first := map[string]int{}
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		key := v.node.Content[i]
		at := Value{doc: v.doc, node: key, path: v.path}
		switch {
		case key.ShortTag() == "!!merge":
			at.Faultf("merge keys (<<) are not read: write the keys out")
			continue
		case key.Kind != yaml.ScalarNode || key.ShortTag() == "!!null":
			at.Faultf("has %s as a key: keys are plain names", describe(key))
			continue
		}
		at.path = join(v.path, key.Value)
		if line, twice := first[key.Value]; twice {
			at.Faultf("is there twice: remove one of them (the first is in line %d)", line)
			continue
		}
		first[key.Value] = key.Line
		if child, ok := v.child(v.node.Content[i+1], at.path); ok {
			entries = append(entries, Entry{Key: key.Value, At: at, Value: child})
		}
	}
	return entries
}

// List gives the elements of a sequence.
func (v Value) List() []Value {
	if v.node.Kind != yaml.SequenceNode || v.node.ShortTag() != "!!seq" {
		v.Faultf("is %s: a list belongs here", describe(v.node))
		return nil
	}
	var values []Value
	for i, n := range v.node.Content {
		if child, ok := v.child(n, fmt.Sprintf("%s[%d]", v.path, i)); ok {
			values = append(values, child)
		}
	}
	return values
}

// IsMapping says whether the value is a mapping, where other kinds are allowed too.
func (v Value) IsMapping() bool { return v.node.Kind == yaml.MappingNode }

// Empty says whether the value is {} or [].
func (v Value) Empty() bool { return v.node.Kind != yaml.ScalarNode && len(v.node.Content) == 0 }

func (v Value) null() bool { return v.node.Kind == yaml.ScalarNode && v.node.ShortTag() == "!!null" }

// child follows an alias and counts the visit, so that a file that repeats itself without end is refused instead of read.
func (v Value) child(n *yaml.Node, path string) (Value, bool) {
	v.doc.visits++
	if v.doc.visits > maxVisits {
		if !v.doc.full {
			v.doc.full = true
			v.doc.add(Fault{Line: n.Line, Column: n.Column, Message: "too many values: anchors and aliases repeat each other; write the values out"})
		}
		return Value{}, false
	}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return Value{doc: v.doc, node: n, path: path}, true
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// describe names what stands there in words.
func describe(n *yaml.Node) string {
	tag := n.ShortTag()
	switch {
	case n.Kind == yaml.MappingNode && tag == "!!map":
		return "a mapping"
	case n.Kind == yaml.SequenceNode && tag == "!!seq":
		return "a list"
	case n.Kind != yaml.ScalarNode:
		return "a value with the tag " + tag
	}
	value := n.Value
	if r := []rune(value); len(r) > 40 {
		value = string(r[:40]) + "..."
	}
	switch tag {
	case "!!null":
		return "empty"
	case "!!str":
		return fmt.Sprintf("the text %q", value)
	case "!!int", "!!float":
		return "the number " + value
	case "!!bool":
		return "the truth value " + value
	case "!!timestamp":
		return "the date " + value
	}
	return fmt.Sprintf("%q with the tag %s", value, tag)
}

// suggestion names the key that was probably meant, or all that there are.
func suggestion(key string, fields Fields) string {
	known := make([]string, 0, len(fields))
	for name := range fields {
		known = append(known, name)
	}
	if len(known) == 0 {
		return ": it has no keys, write {}"
	}
	slices.Sort(known)
	best, distance := "", len(key)/2+1
	for _, name := range known {
		if d := editDistance(plain(key), plain(name)); d < distance {
			best, distance = name, d
		}
	}
	if best != "" && distance <= 2 {
		return fmt.Sprintf(": did you mean %s?", best)
	}
	return ": use one of " + strings.Join(known, ", ")
}

// plain makes latency_p95, latency-p95 and latencyP95 the same word.
func plain(key string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "", " ", "").Replace(key))
}

// editDistance is Levenshtein's, on bytes, for words of at most 40.
func editDistance(a, b string) int {
	if len(a) > 40 || len(b) > 40 {
		return 40
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

// Set makes a field that stores what read gives: Set(&limit, strictyaml.Value.Share). After a fault dst keeps its default.
func Set[T any](dst *T, read func(Value) (T, bool)) Field {
	return func(v Value) {
		if got, ok := read(v); ok {
			*dst = got
		}
	}
}

// Choose makes a field that stores one of the words.
func Choose[T ~string](dst *T, words ...string) Field {
	return func(v Value) {
		if got, ok := v.Choice(words...); ok {
			*dst = T(got)
		}
	}
}

// Later makes a field for a key that is known but not in this version: what to do until then.
func Later(instead string) Field {
	return func(v Value) { v.Faultf("is not in this version: %s", instead) }
}
