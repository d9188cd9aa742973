package scorer

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

// scanNumber reads text as the only value of a document.
func scanNumber(text string) (x float64, what string, err error) {
	s := jsonScanner{data: []byte(text)}
	if x, what, err = s.number(); err != nil {
		return x, what, err
	}
	return x, what, s.end()
}

// TestNumbersAgainstStrconv holds the fast path and its edges bit for bit against strconv.
func TestNumbersAgainstStrconv(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(103, 107))
	draw := func() string {
		switch random.IntN(4) {
		case 0: // any float64
			return strconv.FormatFloat(math.Float64frombits(random.Uint64()), "gef"[random.IntN(3)], -1, 64)
		case 1: // around the 15 digits and the 22 powers of ten of the fast path
			digits := strconv.FormatUint(random.Uint64()|1<<63, 10)[:1+random.IntN(19)]
			return fmt.Sprintf("%se%d", strings.TrimLeft(digits[:len(digits)-1], "0")+digits[len(digits)-1:], random.IntN(60)-30)
		case 2: // a point anywhere, zeros behind it
			return fmt.Sprintf("-%d.%0*d", random.IntN(1000), 1+random.IntN(20), random.IntN(1000))
		}
		return fmt.Sprintf("0.%0*dE+%d", 1+random.IntN(25), random.Uint32(), random.IntN(40))
	}
	for range 50_000 {
		text := draw()
		want, err := strconv.ParseFloat(text, 64)
		if strings.ContainsAny(text, "NI") || err != nil && !errors.Is(err, strconv.ErrRange) {
			continue
		}
		got, what, err := scanNumber(text)
		if err != nil || what != "" || math.Float64bits(got) != math.Float64bits(want) {
			t.Fatalf("%s reads as %v, %q, %v, want %v", text, got, what, err, want)
		}
	}
}

// TestNumberGrammar tries every short string over the characters of numbers: what encoding/json takes is taken, the rest is refused.
func TestNumberGrammar(t *testing.T) {
	t.Parallel()
	const alphabet = "019.eE+-"
	var try func(text string, left int)
	taken := 0
	try = func(text string, left int) {
		valid := json.Valid([]byte(text))
		want, _ := strconv.ParseFloat(text, 64) // infinite beyond float64, as it is here
		if got, _, err := scanNumber(text); text != "" && ((err == nil) != valid || valid && got != want) {
			t.Errorf("%q reads as %v, %v; encoding/json: %v, valid %v", text, got, err, want, valid)
		}
		if valid {
			taken++
		}
		if left == 0 {
			return
		}
		for _, c := range alphabet {
			try(text+string(c), left-1)
		}
	}
	try("", 5)
	if taken < 1000 {
		t.Errorf("only %d strings are numbers", taken)
	}
}

func TestHugeExponents(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]float64{
		"1e99999999999999999999":                  math.Inf(1),
		"-1e99999999999999999999":                 math.Inf(-1),
		"1e-99999999999999999999":                 0,
		"0e99999999999999999999":                  0,
		"0." + strings.Repeat("0", 400) + "1e401": 1,
		"1" + strings.Repeat("0", 400) + "e-400":  1,
		"1e0000000000000000000000000001":          10,
		"9007199254740993":                        9007199254740992,
		"999999999999999e22":                      9.99999999999999e36,
	} {
		if got, _, err := scanNumber(text); err != nil || got != want {
			t.Errorf("%.30s reads as %v, %v, want %v", text, got, err, want)
		}
	}
}

// TestScannerPlaces holds that a fault is shown where it is, in bytes from 1.
func TestScannerPlaces(t *testing.T) {
	t.Parallel()
	tests := []struct{ body, want string }{
		{`{"instances": [[1 2]]}`, `invalid JSON at byte 19: '2' where a comma or ] should stand`},
		{`{"instances"; [[1]]}`, `invalid JSON at byte 13: ';' where : should stand`},
		{`{"instances": [[1]]`, `invalid JSON at byte 20: it ends where a comma or } should stand`},
		{`{"instances": [[1]]}}`, `invalid JSON at byte 21: '}' where the end should stand`},
		{"{\"instances\": [[1]]}\x00", `invalid JSON at byte 21: '\x00' where the end should stand`},
		{`{instances: [[1]]}`, `invalid JSON at byte 2: 'i' where " should stand`},
		{`{"instances": [[-x]]}`, `invalid JSON at byte 18: 'x' where a digit should stand`},
		{`{"instances": [[tru]]}`, `invalid JSON at byte 17: 't' where a value should stand`},
		{`{"instances": [[012]]}`, `invalid JSON at byte 17: a number with a leading zero`},
		{"{\"a\tb\": 1}", `invalid JSON at byte 4: a control character in a string`},
		{`{"params": [1, {"a": }], "instances": [[1]]}`, `invalid JSON at byte 22: '}' where a value should stand`},
		{`{"params": {"a" 1}}`, `invalid JSON at byte 17: '1' where : should stand`},
		{`{"params": {"a": 1,}}`, `invalid JSON at byte 20: '}' where " should stand`},
		{`{"inputs": {"a": [1, 2}}`, `invalid JSON at byte 23: '}' where a comma or ] should stand`},
		{`{"dataframe_split": [1]}`, `invalid JSON at byte 21: '[' where { should stand`},
		{`{"dataframe_split": {"columns": {}}}`, `invalid JSON at byte 33: '{' where [ should stand`},
		{`{"dataframe_split": {"columns": [tru]}}`, `invalid JSON at byte 34: 't' where a value should stand`},
		{`{"dataframe_split": {"index": [1,,2], "data": [[1]]}}`, `invalid JSON at byte 34: ',' where a value should stand`},
	}
	for _, tt := range tests {
		if _, err := DecodePayload("application/json", []byte(tt.body)); err == nil || err.Error() != tt.want {
			t.Errorf("%q: error %v, want %q", tt.body, err, tt.want)
		}
	}
}

// TestSkipAgainstJSON damages a document at each byte: what is passed over must be JSON, or one of Python's words.
func TestSkipAgainstJSON(t *testing.T) {
	t.Parallel()
	good := []byte(`{"a": [1, -2.5e+3, {"b": [null, true, false], "\u00e9\n": {}}, "x\\\"y", []], "c": "d"}`)
	for at := range good {
		for _, c := range []byte("\x00\"\\{}[],:0-.eu n") {
			data := append([]byte(nil), good...)
			data[at] = c
			s := jsonScanner{data: data}
			err := s.skip(0)
			if err == nil {
				err = s.end()
			}
			if valid := json.Valid(data); (err == nil) != valid {
				t.Errorf("%s: error %v, encoding/json says valid: %v", data, err, valid)
			}
		}
	}
}

func TestDepth(t *testing.T) {
	t.Parallel()
	for depth, ok := range map[int]bool{1: true, maxDepth: true, maxDepth + 1: true, maxDepth + 2: false, 100_000: false} {
		for _, pair := range []string{"[]", "{}"} {
			open, closing := pair[:1], pair[1:]
			if open == "{" {
				open = `{"a":`
			}
			inner := ""
			if pair == "{}" {
				inner = "1"
			}
			body := `{"params":` + strings.Repeat(open, depth) + inner + strings.Repeat(closing, depth) + `,"instances":[[1]]}`
			_, err := DecodePayload("application/json", []byte(body))
			if pair == "{}" && depth == maxDepth+1 {
				continue // the number within is one deeper
			}
			if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "nested deeper than 64") {
				t.Errorf("%d times %s: %v", depth, pair, err)
			}
		}
	}
}

// TestStrings holds the escapes of names against encoding/json, lone surrogates and all.
func TestStrings(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`""`, `"a"`, `"\""`, `"\\"`, `"\/\b\f\n\r\t"`, `"\u0041\u00e9"`, `"\ud83d\ude00"`, `"\ud83d"`, `"é😀"`, `"\\\\\""`, `"\u0000"`} {
		var want string
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatal(err)
		}
		s := jsonScanner{data: []byte(text + "]")}
		if got, err := s.text(); err != nil || string(got) != want || s.pos != len(text) {
			t.Errorf("%s reads as %q up to %d, %v, want %q", text, got, s.pos, err, want)
		}
	}
	for text, want := range map[string]string{`"\`: "a string does not end", `"\"`: "a string does not end", `"\u12"`: "a bad escape", `"\x41"`: "a bad escape", "\"\\n\n\"": "a control character", `"`: "does not end"} {
		s := jsonScanner{data: []byte(text)}
		if got, err := s.text(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s reads as %q, %v, want an error with %q", text, got, err, want)
		}
	}
}

// TestPredictionsRoundTrip holds that any float32 scores come back bit for bit, in any width.
func TestPredictionsRoundTrip(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(109, 113))
	for range 500 {
		s := Scores{Width: 1 + random.IntN(4)}
		rows := 1 + random.IntN(20)
		for len(s.Values) < rows*s.Width {
			if x := math.Float32frombits(random.Uint32()); x-x == 0 {
				s.Values = append(s.Values, x)
			}
		}
		body := AppendPredictions([]byte("kept"), s)
		if !json.Valid(body[4:]) || string(body[:4]) != "kept" {
			t.Fatalf("%s is not JSON behind what was there", body)
		}
		got, err := parsePredictions(body[4:], rows)
		if err != nil || got.Width != s.Width || fmt.Sprint(bits(got.Values)) != fmt.Sprint(bits(s.Values)) {
			t.Fatalf("%s reads back as %v, %v", body, got, err)
		}
		if _, err := parsePredictions(body[4:], rows+1); err == nil || err.Error() != fmt.Sprintf("%d predictions for %d rows", rows, rows+1) {
			t.Fatalf("one row more: %v", err)
		}
	}
}
