package dataset

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// scanAll splits text into rows and tells where each field begins.
func scanAll(text string) (rows [][]string, places [][]string, err error) {
	s := newScanner([]byte(text))
	var row, place []string
	for s.skipBlankLines(); !s.done() || row != nil; {
		f, err := s.next()
		if err != nil {
			return rows, places, s.locate("f", err)
		}
		row, place = append(row, string(f.text)), append(place, fmt.Sprintf("%d:%d", f.line, f.col))
		if f.last {
			rows, places = append(rows, row), append(places, place)
			row, place = nil, nil
			s.skipBlankLines()
		}
	}
	return rows, places, nil
}

func TestScannerSplits(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text   string
		rows, places string
	}{
		{"plain", "a,bc\nd,e", `[["a" "bc"] ["d" "e"]]`, "[[1:1 1:3] [2:1 2:3]]"},
		{"a comma ends nothing", "a,\n", `[["a" ""]]`, "[[1:1 1:3]]"},
		{"a comma at the end of the data", "a,", `[["a" ""]]`, "[[1:1 1:3]]"},
		{"only a comma", ",", `[["" ""]]`, "[[1:1 1:2]]"},
		{"quoted and empty", `"",""`, `[["" ""]]`, "[[1:1 1:4]]"},
		{"quoted at the end of the data", `a,"b"`, `[["a" "b"]]`, "[[1:1 1:3]]"},
		{"quoted before CRLF", "\"a\"\r\n\"b\"\r\n", `[["a"] ["b"]]`, "[[1:1] [2:1]]"},
		{"quoted before a CR at the end", "\"a\"\r", `[["a"]]`, "[[1:1]]"},
		{"plain before a CR at the end", "a\r", `[["a"]]`, "[[1:1]]"},
		{"a CR inside stays", "a\rb,c\r\n", `[["a\rb" "c"]]`, "[[1:1 1:5]]"},
		{"CRLF in quotes stays", "\"a\r\nb\",c\r\n", `[["a\r\nb" "c"]]`, "[[1:1 2:4]]"},
		{"doubled quotes", `"""",""""""`, `[["\"" "\"\""]]`, "[[1:1 1:6]]"},
		{"doubled quotes twice in a row", `"a""b","c""d"`, `[["a\"b" "c\"d"]]`, "[[1:1 1:8]]"},
		{"comma in quotes", `"a,b",c`, `[["a,b" "c"]]`, "[[1:1 1:7]]"},
		{"blank lines before, between and after", "\n\r\na\n\n\r\nb\n\n", `[["a"] ["b"]]`, "[[3:1] [6:1]]"},
		{"a CR alone on the last line", "a\n1\n\r", `[["a"] ["1"]]`, "[[1:1] [2:1]]"},
		{"a space is a field", "a\n \n", `[["a"] [" "]]`, "[[1:1] [2:1]]"},
		{"byte order mark", "\xef\xbb\xbfa,b", `[["a" "b"]]`, "[[1:1 1:3]]"},
		{"columns are counted in bytes", "é,b", `[["é" "b"]]`, "[[1:1 1:4]]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rows, places, err := scanAll(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprintf("%q", rows); got != tt.rows {
				t.Errorf("rows %s, want %s", got, tt.rows)
			}
			if got := fmt.Sprint(places); got != tt.places {
				t.Errorf("places %s, want %s", got, tt.places)
			}
		})
	}
}

func TestScannerFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text, want string
		kind       error
	}{
		{"a\"", `f:1:2: a quote inside an unquoted field: quote the whole field and double the quote`, errBareQuote},
		{"x,\n ,a\"b\"", `f:2:4: a quote inside an unquoted field: quote the whole field and double the quote`, errBareQuote},
		{"\"a\"b", `f:1:4: text after the closing quote: double a quote that belongs to the field`, errAfter},
		{"\"a\" ,b", `f:1:4: text after the closing quote: double a quote that belongs to the field`, errAfter},
		{"\"a\"\rb", `f:1:4: text after the closing quote: double a quote that belongs to the field`, errAfter},
		{"\"x\n\ny\"z", `f:3:3: text after the closing quote: double a quote that belongs to the field`, errAfter},
		{"\"", `f:1:1: the quoted field that begins here never ends`, errOpenQuote},
		{"a\n1,\"x\n\n\ny", `f:2:3: the quoted field that begins here never ends`, errOpenQuote},
		{`"a""`, `f:1:1: the quoted field that begins here never ends`, errOpenQuote},
	}
	for _, tt := range tests {
		_, _, err := scanAll(tt.text)
		if !errors.Is(err, tt.kind) || err.Error() != tt.want {
			t.Errorf("%q: error %v, want %q", tt.text, err, tt.want)
		}
	}
}

// TestScannerRoundTrip writes random fields with encoding/csv and reads them back as they were.
func TestScannerRoundTrip(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(17, 19))
	pieces := []string{"", "a", ",", "\"", "\"\"", "\n", " ", "é", "1", ";", "\t", "'", "\x00", "\xff"}
	for round := range 400 {
		width := 1 + random.IntN(5)
		var want [][]string
		for range 1 + random.IntN(6) {
			row := make([]string, width)
			for i := range row {
				for range random.IntN(4) {
					row[i] += pieces[random.IntN(len(pieces))]
				}
			}
			if width == 1 && row[0] == "" {
				row[0] = "x" // a row of one empty field is a blank line
			}
			want = append(want, row)
		}
		var text strings.Builder
		w := csv.NewWriter(&text)
		w.UseCRLF = false
		if err := w.WriteAll(want); err != nil {
			t.Fatal(err)
		}
		got, _, err := scanAll(text.String())
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatalf("round %d: %v, of %q (-want +got):\n%s", round, err, text.String(), diff)
		}
	}
}

// TestNumbersRoundTrip holds that every float64 that is written in full comes back bit for bit.
func TestNumbersRoundTrip(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(23, 29))
	formats := []byte{'g', 'e', 'E', 'f'}
	for range 20000 {
		want := math.Float64frombits(random.Uint64())
		if math.IsNaN(want) || math.IsInf(want, 0) {
			continue
		}
		text := strconv.FormatFloat(want, formats[random.IntN(len(formats))], -1, 64)
		got, ok := parseNumber([]byte(" \t" + text + "\t "))
		if !ok || math.Float64bits(got) != math.Float64bits(want) {
			t.Fatalf("%s reads as %v, %v", text, got, ok)
		}
	}
}

func TestParseNumber(t *testing.T) {
	t.Parallel()
	inf := math.Inf(1)
	tests := []struct {
		text string
		want float64
		ok   bool
	}{
		{"", math.NaN(), true},
		{" \t ", math.NaN(), true},
		{"nan", math.NaN(), true},
		{".5", 0.5, true},
		{"5.", 5, true},
		{"+5", 5, true},
		{"007", 7, true},
		{"1e400", inf, true},
		{"-1e400", -inf, true},
		{"-Inf", -inf, true},
		{"infinity", inf, true},
		{"1e-400", 0, true},
		{"1,5", 0, false},
		{"1 000", 0, false},
		{"1_000", 0, false},
		{"0x10", 0, false},
		{"0X1P4", 0, false},
		{"1p4", 0, false},
		{"1e", 0, false},
		{"--1", 0, false},
		{"-nan", 0, false},
		{"1\u00a0", 0, false},
		{"1\n", 0, false},
		{"\u0661", 0, false}, // an Arabic digit
		{"true", 0, false},
		{"NULL", 0, false},
		{"NA", 0, false},
	}
	for _, tt := range tests {
		got, ok := parseNumber([]byte(tt.text))
		if ok != tt.ok || ok && canonical(got) != canonical(tt.want) || !ok && !math.IsNaN(got) {
			t.Errorf("parseNumber(%q) = %v, %v, want %v, %v", tt.text, got, ok, tt.want, tt.ok)
		}
	}
}

// TestTextBesideNumbers holds that the second pass of a file with words finds each word in its row, blank lines and quotes between them.
func TestTextBesideNumbers(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	text.WriteString("\r\nx,w,v\n")
	var wantW, wantV []string
	for i := range 300 {
		w, v := fmt.Sprintf("say \"%d\",\nplease", i), fmt.Sprint("v", i)
		if i%3 == 0 {
			text.WriteString("\n\r\n")
		}
		fmt.Fprintf(&text, "%d,\"%s\",%s\n", i, strings.ReplaceAll(w, `"`, `""`), v)
		wantW, wantV = append(wantW, w), append(wantV, v)
	}
	table := mustParse(t, text.String())
	if diff := cmp.Diff(wantW, table.columns[1].text); diff != "" {
		t.Errorf("w (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantV, table.columns[2].text); diff != "" {
		t.Errorf("v (-want +got):\n%s", diff)
	}
	if x, err := table.Float("x"); err != nil || x[299] != 299 {
		t.Errorf("x ends with %v, %v", x[299], err)
	}
}

// TestTextIsACopy holds that a table keeps nothing of the buffer that it was read from.
func TestTextIsACopy(t *testing.T) {
	t.Parallel()
	data := []byte("name,w\nx,one\ny,\"t\"\"wo\"\n")
	table, err := parse(context.Background(), source{path: "d", data: data, limits: Limits{}.withDefaults()})
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		data[i] = '#'
	}
	if diff := cmp.Diff([]string{"name", "w"}, table.Names()); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"one", `t"wo`}, table.columns[1].text); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}
