package registry

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"serin/internal/store"
)

// A filter is MLflow's search expression for the registry: clauses joined by AND. Source: mlflow/utils/search_utils.py, SearchModelUtils and
// SearchModelVersionUtils; mlflow.md 2.6.
type filter []clause

// clause compares an attribute, or with tag set the tag of that key, with a value.
type clause struct {
	key    string
	tag    bool
	op     string // = != LIKE ILIKE < <= > >= IN NOT IN
	values []string
}

// attributes says which attributes an object can be searched by, and which of them are numbers.
type attributes map[string]bool

var (
	modelAttributes   = attributes{"name": false}
	versionAttributes = attributes{"name": false, "run_id": false, "source_path": false, "version_number": true}
)

const promptTag = "mlflow.prompt.is_prompt"

var tokenPattern = regexp.MustCompile("^(?:\\s+" +
	`|'[^']*'|"[^"]*"` +
	"|(?:[A-Za-z_][\\w]*|`[^`]*`)(?:\\.(?:[\\w.\\-/]+|`[^`]*`|\"[^\"]*\"))*" +
	`|-?\d+(?:\.\d+)?|!=|<=|>=|=|<|>|\(|\)|,)`)

// parseFilter reads an expression; the empty one matches everything.
func parseFilter(expression string, known attributes) (filter, error) {
	tokens, err := tokenize(expression)
	if err != nil || len(tokens) == 0 {
		return nil, err
	}
	p := &filterParser{tokens: tokens, known: known}
	var f filter
	for {
		c, err := p.clause()
		if err != nil {
			return nil, err
		}
		f = append(f, c)
		if p.done() {
			return f, nil
		}
		if joint := p.next(); !strings.EqualFold(joint, "AND") {
			return nil, invalid("Invalid clause(s) in filter string: %s. Clauses are joined by AND.", joint)
		}
	}
}

func tokenize(s string) ([]string, error) {
	if len(s) > 10_000 {
		return nil, invalid("filter of %d bytes: at most 10000", len(s))
	}
	var tokens []string
	for s != "" {
		t := tokenPattern.FindString(s)
		if t == "" {
			return nil, invalid("Invalid filter: cannot read it from %q on.", short(s))
		}
		if s = s[len(t):]; strings.TrimSpace(t) != "" {
			tokens = append(tokens, t)
		}
	}
	return tokens, nil
}

type filterParser struct {
	tokens []string
	known  attributes
}

func (p *filterParser) done() bool { return len(p.tokens) == 0 }

// next takes a token; the empty text at the end.
func (p *filterParser) next() string {
	if p.done() {
		return ""
	}
	t := p.tokens[0]
	p.tokens = p.tokens[1:]
	return t
}

func (p *filterParser) clause() (clause, error) {
	c, err := p.identifier(p.next())
	if err != nil {
		return c, err
	}
	c.op = strings.ToUpper(p.next())
	if c.op == "NOT" {
		c.op += " " + strings.ToUpper(p.next())
	}
	numeric := !c.tag && p.known[c.key]
	if err := checkOperator(c, numeric); err != nil {
		return c, err
	}
	if c.op == "IN" || c.op == "NOT IN" {
		c.values, err = p.list(c.key)
		return c, err
	}
	value := p.next()
	if numeric {
		if _, err := strconv.ParseInt(value, 10, 64); err != nil {
			return c, invalid("Expected an integer for attribute '%s'. Got value %s", c.key, value)
		}
		c.values = []string{value}
		return c, nil
	}
	text, ok := unquote(value)
	if !ok {
		return c, invalid("Expected a quoted string value for '%s' (e.g. 'my-value'). Got value %s", c.key, value)
	}
	c.values = []string{text}
	return c, nil
}

func (p *filterParser) identifier(token string) (clause, error) {
	entity, key, dotted := strings.Cut(token, ".")
	if !dotted {
		entity, key = "attribute", token
	}
	key = strings.Trim(key, "`\"")
	switch entity {
	case "tag", "tags":
		return clause{key: key, tag: true}, nil
	case "attribute", "attributes":
		if _, ok := p.known[key]; ok {
			return clause{key: key}, nil
		}
		return clause{}, invalid("Invalid attribute key '%s' specified. Valid keys are '%s'", key, p.known)
	}
	return clause{}, invalid("Invalid entity type '%s'. Valid entity types are ('attribute', 'tag', 'tags')", entity)
}

// String lists the keys as they stand in messages.
func (a attributes) String() string {
	keys := make([]string, 0, len(a))
	for k := range a {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return fmt.Sprintf("{%s}", strings.Join(keys, ", "))
}

func checkOperator(c clause, numeric bool) error {
	allowed := []string{"=", "!=", "LIKE", "ILIKE"}
	switch {
	case numeric:
		allowed = []string{"=", "!=", "<", "<=", ">", ">="}
	case !c.tag && (c.key == "run_id" || c.key == "name"):
		allowed = append(allowed, "IN", "NOT IN")
	}
	if slices.Contains(allowed, c.op) {
		return nil
	}
	return invalid("Invalid comparator '%s' for '%s'. Valid comparators are %s", c.op, c.key, strings.Join(allowed, ", "))
}

// list reads ('a', 'b').
func (p *filterParser) list(key string) ([]string, error) {
	if t := p.next(); t != "(" {
		return nil, invalid("Expected a list of quoted string values for '%s'. Got value %s", key, t)
	}
	var values []string
	for {
		v, ok := unquote(p.next())
		if !ok {
			return nil, invalid("Expected a list of quoted string values for '%s'.", key)
		}
		values = append(values, v)
		switch p.next() {
		case ",":
		case ")":
			return values, nil
		default:
			return nil, invalid("The list of values for '%s' does not end.", key)
		}
	}
}

func unquote(t string) (string, bool) {
	if len(t) < 2 || (t[0] != '\'' && t[0] != '"') || t[len(t)-1] != t[0] {
		return "", false
	}
	return t[1 : len(t)-1], true
}

// searched is an object as a filter sees it.
type searched struct {
	attributes map[string]string
	tags       map[string]string
}

func searchedModel(m store.RegisteredModel) searched {
	return searched{attributes: map[string]string{"name": m.Name}, tags: m.Tags}
}

func searchedVersion(v store.ModelVersion) searched {
	return searched{tags: v.Tags, attributes: map[string]string{
		"name": v.Name, "run_id": v.RunID, "source_path": v.Source, "version_number": strconv.FormatInt(v.Version, 10),
	}}
}

func (f filter) matches(o searched, known attributes) bool {
	for _, c := range f {
		if !c.matches(o, known) {
			return false
		}
	}
	return true
}

func (c clause) matches(o searched, known attributes) bool {
	if !c.tag {
		have := o.attributes[c.key]
		if known[c.key] {
			return compareNumbers(have, c.op, c.values[0])
		}
		return c.compare(have)
	}
	have, ok := o.tags[c.key]
	if !ok { // a tag that is not there matches nothing, except that everything without the prompt tag is no prompt
		return c.key == promptTag && ((c.op == "=" && c.values[0] == "false") || (c.op == "!=" && c.values[0] == "true"))
	}
	return c.compare(have)
}

func (c clause) compare(have string) bool {
	switch c.op {
	case "=":
		return have == c.values[0]
	case "!=":
		return have != c.values[0]
	case "LIKE":
		return like(have, c.values[0])
	case "ILIKE":
		return like(strings.ToLower(have), strings.ToLower(c.values[0]))
	case "IN":
		return slices.Contains(c.values, have)
	case "NOT IN":
		return !slices.Contains(c.values, have)
	}
	return false // checkOperator lets no other through
}

func compareNumbers(have, op, want string) bool {
	a, errA := strconv.ParseInt(have, 10, 64)
	b, errB := strconv.ParseInt(want, 10, 64)
	if errA != nil || errB != nil {
		return false
	}
	switch op {
	case "=":
		return a == b
	case "!=":
		return a != b
	case "<":
		return a < b
	case "<=":
		return a <= b
	case ">":
		return a > b
	case ">=":
		return a >= b
	}
	return false
}

// like is SQL's LIKE: % for any text, _ for one character. It walks back to the last % only, so it is at worst quadratic.
func like(s, pattern string) bool {
	text, pat := []rune(s), []rune(pattern)
	i, j, star, mark := 0, 0, -1, 0
	for i < len(text) {
		switch {
		case j < len(pat) && pat[j] == '%':
			star, mark = j, i
			j++
		case j < len(pat) && (pat[j] == '_' || pat[j] == text[i]):
			i, j = i+1, j+1
		case star >= 0:
			mark++
			i, j = mark, star+1
		default:
			return false
		}
	}
	for j < len(pat) && pat[j] == '%' {
		j++
	}
	return j == len(pat)
}
