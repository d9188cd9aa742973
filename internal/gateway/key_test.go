package gateway

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestBodyKey(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, body, want string }{
		{"top", `{"inputs": [[1]], "id": "c1"}`, "c1"},
		{"number", ` { "id" : 42 , "x":1}`, "42"},
		{"number last", `{"id": 1.5e3}`, "1.5e3"},
		{"escaped value", `{"id": "a\u0062\"c"}`, `ab"c`},
		{"escaped name", `{"\u0069d": "c1"}`, "c1"},
		{"null", `{"id": null}`, ""},
		{"true", `{"id": true}`, ""},
		{"empty", `{"id": ""}`, ""},
		{"object", `{"id": {"id": "inner"}}`, ""},
		{"not inside others", `{"params": {"id": "inner"}, "x": ["id", "no"]}`, ""},
		{"split", `{"dataframe_split": {"columns": ["a", "id"], "data": [[1, "c1"], [2, "c2"]]}}`, "c1"},
		{"split, data first", `{"dataframe_split": {"data": [[[1,"]"], 7], [2, 8]], "index": [0], "columns": ["a", "id"]}}`, "7"},
		{"split without it", `{"dataframe_split": {"columns": ["a"], "data": [[1]]}, "id": "c9"}`, "c9"},
		{"split short row", `{"dataframe_split": {"columns": ["a", "id"], "data": [[1]]}}`, ""},
		{"records", `{"dataframe_records": [{"a": {"id": 1}, "id": "c1"}, {"id": "c2"}]}`, "c1"},
		{"records only the first", `{"dataframe_records": [{"a": 1}, {"id": "c2"}]}`, ""},
		{"instances", `{"instances": [{"id": "c1"}]}`, "c1"},
		{"instances of lists", `{"instances": [[1,2]], "id": "c3"}`, "c3"},
		{"inputs by column", `{"inputs": {"a": [1], "id": ["c1", "c2"]}}`, "c1"},
		{"inputs scalar", `{"inputs": {"id": 5}}`, "5"},
		{"inputs by row", `{"inputs": [{"id": "c1"}]}`, "c1"},
		{"inputs without it", `{"inputs": {"a": [1]}, "id": "c1"}`, "c1"},
		{"no object", `["id", "c1"]`, ""},
		{"nothing", ``, ""},
		{"torn", `{"a": "b`, ""},
		{"torn after the key", `{"id": "c1", "inputs": [[`, "c1"},
		{"torn value", `{"id": "c1`, ""},
		{"csv", "id,a\n1,2\n", ""},
		{"deep", `{"a": ` + strings.Repeat("[", 50000) + strings.Repeat("]", 50000) + `, "id": "c1"}`, "c1"},
	}
	for _, tt := range tests {
		got, ok := bodyKey([]byte(tt.body), "id")
		if string(got) != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: %q %v, want %q", tt.name, got, ok, tt.want)
		}
	}
}

// FuzzBodyKey holds the scanner against encoding/json for bodies whose only use of the name is at the top.
func FuzzBodyKey(f *testing.F) {
	f.Add([]byte(`{"a": [1, {"b": "\\"}], "id": "x"}`))
	f.Add([]byte(`{"dataframe_split": {"columns": ["id"], "data": [["x"]]}}`))
	f.Add([]byte(`{"inputs": {"id": [1]}}`))
	f.Add([]byte(`{"id": -0.5, "q": "id"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, ok := bodyKey(body, "id")
		if ok != (len(got) > 0) {
			t.Fatalf("%q %v", got, ok)
		}
		var top map[string]json.RawMessage
		if strings.Count(string(body), "id") != 1 || strings.Contains(string(body), `\u`) || json.Unmarshal(body, &top) != nil {
			return
		}
		raw, there := top["id"]
		if !there {
			return
		}
		want := ""
		var text string
		var number json.Number
		switch {
		case raw[0] == '"' && json.Unmarshal(raw, &text) == nil:
			want = text
		case raw[0] != '"' && raw[0] != 'n' && json.Unmarshal(raw, &number) == nil:
			want = string(raw)
		}
		if string(got) != want && string(got) != strings.ToValidUTF8(want, "") && strings.ToValidUTF8(string(got), "\uFFFD") != want {
			t.Fatalf("%q in %q, want %q", got, body, want)
		}
	})
}

func BenchmarkBodyKey(b *testing.B) {
	body := []byte(`{"dataframe_split": {"columns": ["a","b","c","id"], "data": [[1.5,2.5,3.5,"customer-77"]]}}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := bodyKey(body, "id"); !ok {
			b.Fatal("not found")
		}
	}
}
