package gateway

import (
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

// payload makes a body of MLflow's forms with the wanted key in the first row, and decoys wherever the key must not be taken from.
func payload(rng *rand.Rand, field string, key any) string {
	decoy := func() any {
		return []any{"id", map[string]any{field: "decoy"}, 1.5, nil, true, []any{field, "decoy"}, `]}",:\`}[rng.IntN(7)]
	}
	row := map[string]any{"a" + strconv.Itoa(rng.IntN(9)): decoy(), field: key, "z": decoy()}
	other := map[string]any{field: "second row", "z": decoy()}
	cells := func(r map[string]any, columns []string) []any {
		out := make([]any, len(columns))
		for i, c := range columns {
			out[i] = r[c]
		}
		return out
	}
	top := map[string]any{"params": map[string]any{field: "decoy"}}
	switch rng.IntN(6) {
	case 0:
		var columns []string
		for name := range row {
			columns = append(columns, name)
		}
		rng.Shuffle(len(columns), func(i, j int) { columns[i], columns[j] = columns[j], columns[i] })
		top["dataframe_split"] = map[string]any{"columns": columns, "index": []any{0, 1}, "data": []any{cells(row, columns), cells(other, columns)}}
	case 1:
		top["dataframe_records"] = []any{row, other}
	case 2:
		top["instances"] = []any{row, other}
	case 3:
		top["inputs"] = []any{row, other}
	case 4:
		top["inputs"] = map[string]any{"z": []any{decoy()}, field: []any{key, "second row"}}
	default:
		top[field] = key
		delete(top, "params")
		top["a"] = decoy()
	}
	return relaxed(rng, top)
}

// relaxed writes JSON with white space and keys in any order.
func relaxed(rng *rand.Rand, v any) string {
	space := func() string { return []string{"", "", " ", "\n\t", "\r\n  "}[rng.IntN(5)] }
	var b strings.Builder
	var write func(v any)
	write = func(v any) {
		b.WriteString(space())
		defer func() { b.WriteString(space()) }()
		switch v := v.(type) {
		case map[string]any:
			b.WriteByte('{')
			n := 0
			for name, x := range v { // in an order of the map's
				if n++; n > 1 {
					b.WriteByte(',')
				}
				write(name)
				b.WriteByte(':')
				write(x)
			}
			b.WriteByte('}')
		case []any:
			b.WriteByte('[')
			for i, x := range v {
				if i > 0 {
					b.WriteByte(',')
				}
				write(x)
			}
			b.WriteByte(']')
		case []string:
			list := make([]any, len(v))
			for i, x := range v {
				list[i] = x
			}
			write(list)
		default:
			text, err := json.Marshal(v)
			if err != nil {
				panic(err)
			}
			b.Write(text)
		}
	}
	write(v)
	return b.String()
}

// Whatever form a client uses, in whatever order and layout, its key is found and no other value is taken for it.
func TestBodyKeyInEveryForm(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(11, 2))
	keys := []struct {
		key  any
		want string
	}{
		{"c1", "c1"},
		{`quo"te\`, `quo"te\`},
		{"ümlaut 😀", "ümlaut 😀"},
		{"<a&b>", "<a&b>"},
		{" ", " "},
		{"\n", "\n"},
		{json.Number("42"), "42"},
		{json.Number("-1.50e+3"), "-1.50e+3"},
		{json.Number("12345678901234567890"), "12345678901234567890"},
		{"]", "]"},
		{"\x7f\u2028", "\x7f\u2028"},
	}
	for i := range 1500 {
		k := keys[i%len(keys)]
		for _, field := range []string{"customer", "kunden nr", `fi"eld`} {
			body := payload(rng, field, k.key)
			if !json.Valid([]byte(body)) {
				t.Fatalf("the test wrote no JSON: %s", body)
			}
			if got, ok := bodyKey([]byte(body), field); !ok || string(got) != k.want {
				t.Fatalf("key %q (%v), want %q, field %q in\n%s", got, ok, k.want, field, body)
			}
		}
	}
}

// A body that is cut off anywhere ends the search, and what is found before the cut is the whole key or nothing.
func TestBodyKeyInTornBodies(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(4, 4))
	for range 100 {
		body := payload(rng, "id", "customer-1")
		for cut := range len(body) {
			if got, ok := bodyKey([]byte(body[:cut]), "id"); ok && string(got) != "customer-1" {
				t.Fatalf("%q of the first %d bytes of\n%s", got, cut, body)
			}
		}
	}
}

func TestBodyKeyOfBrokenStrings(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, body, want string }{
		{"bad escape in the value", `{"id": "a\qb"}`, ""},
		{"bad escape in another name", `{"a\q": 1, "id": "c1"}`, ""},
		{"bad escape in another value", `{"a": "\q", "id": "c1"}`, "c1"},
		{"half an escape at the end", `{"id": "a\`, ""},
		{"closing without opening", `}{"id": "c1"}`, ""},
		{"list of columns", `{"inputs": {"id": []}}`, ""},
		{"list in a list", `{"inputs": {"id": [["c1"]]}}`, ""},
		{"column twice", `{"dataframe_split": {"columns": ["id", "id"], "data": [["first", "second"]]}}`, "first"},
		{"empty frame", `{"dataframe_split": {"columns": ["id"], "data": []}}`, ""},
		{"rows of objects", `{"dataframe_split": {"columns": ["id"], "data": [{"id": "c1"}]}}`, ""},
		{"two values without a comma", `{"a": 1 2, "id": "c1"}`, ""},
	} {
		if got, ok := bodyKey([]byte(tt.body), "id"); string(got) != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: %q %v, want %q", tt.name, got, ok, tt.want)
		}
	}
}
