package scorer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// shown is a frame without its faults.
type shown struct {
	Columns []string
	Values  []float64
	N       int
}

func show(f Frame) shown { return shown{f.Columns, f.Values, f.N} }

func TestDecodePayload(t *testing.T) {
	t.Parallel()
	nan := math.NaN()
	abc := []string{"a", "b"}
	tests := []struct {
		name, body string
		want       shown
	}{
		{"split", `{"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2.5], [-3e2, null]]}}`, shown{abc, []float64{1, 2.5, -300, nan}, 2}},
		{"split, data first, with index", `{"dataframe_split":{"data":[[1,2]],"index":[7],"columns":["a","b"]}}`, shown{abc, []float64{1, 2}, 1}},
		{"split without names", `{"dataframe_split":{"data":[[1,2]]}}`, shown{nil, []float64{1, 2}, 1}},
		{"split with numbered names", `{"dataframe_split":{"columns":[0,1],"data":[[1,2]]}}`, shown{[]string{"0", "1"}, []float64{1, 2}, 1}},
		{"split without rows", `{"dataframe_split":{"columns":["a","b"],"data":[]}}`, shown{abc, nil, 0}},
		{"records", `{"dataframe_records":[{"a":1,"b":2},{"a":3,"b":4}]}`, shown{abc, []float64{1, 2, 3, 4}, 2}},
		{"records in any order", `{"dataframe_records":[{"a":1,"b":2},{"b":4,"a":3}]}`, shown{abc, []float64{1, 2, 3, 4}, 2}},
		{
			"records with gaps", `{"dataframe_records":[{"a":1},{"b":4},{"c":5,"a":6}]}`,
			shown{[]string{"a", "b", "c"}, []float64{1, nan, nan, nan, 4, nan, 6, nan, 5}, 3},
		},
		{"the last of two equal keys", `{"dataframe_records":[{"a":1,"b":2,"a":3}]}`, shown{abc, []float64{3, 2}, 1}},
		{"records of nothing", `{"dataframe_records":[{},{}]}`, shown{[]string{}, nil, 2}},
		{"instances of lists", `{"instances":[[1,2],[3,4]]}`, shown{nil, []float64{1, 2, 3, 4}, 2}},
		{"instances of objects", `{"instances":[{"a":1,"b":2}]}`, shown{abc, []float64{1, 2}, 1}},
		{"instances of numbers", `{"instances":[1,2,3]}`, shown{nil, []float64{1, 2, 3}, 3}},
		{"inputs by column", `{"inputs":{"a":[1,3],"b":[2,4]}}`, shown{abc, []float64{1, 2, 3, 4}, 2}},
		{"inputs as rows", `{"inputs":[[1,2]]}`, shown{nil, []float64{1, 2}, 1}},
		{"params and more beside", `{"params":{"x":[1,{"y":null}]},"instances":[[1]],"signature_name":"s"}`, shown{nil, []float64{1}, 1}},
		{"truths", `{"instances":[[true,false]]}`, shown{nil, []float64{1, 0}, 1}},
		{"python's words", `{"instances":[[NaN,Infinity,-Infinity]]}`, shown{nil, []float64{nan, math.Inf(1), math.Inf(-1)}, 1}},
		{"escapes in names", `{"inputs":{"a\u0062\n":[1]}}`, shown{[]string{"ab\n"}, []float64{1}, 1}},
		{"white space", " {\n\t\"instances\" : [ [ 1 , 2 ] ] }\r\n", shown{nil, []float64{1, 2}, 1}},
		{
			"hard numbers", `{"instances":[[0.1,1e-5,123456789012345678,2.2250738585072011e-308,1e400,-0,1E+2,4.35]]}`,
			shown{nil, []float64{0.1, 1e-5, 123456789012345678, 2.2250738585072011e-308, math.Inf(1), math.Copysign(0, -1), 100, 4.35}, 1},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, err := DecodePayload("application/json", []byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, show(f), cmpopts.EquateNaNs(), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("frame (-want +got):\n%s", diff)
			}
			if (f.Columns == nil) != (tt.want.Columns == nil) {
				t.Errorf("columns %#v, want %#v", f.Columns, tt.want.Columns)
			}
			if err := f.check(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDecodePayloadErrors(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, body, want string }{
		{"empty", ``, "the payload is not a JSON object"},
		{"a list", `[1]`, "the payload is not a JSON object"},
		{"no data", `{"params":{}}`, "the payload has no data"},
		{"two forms", `{"instances":[[1]],"inputs":[[1]]}`, "the payload has instances and inputs"},
		{"the same form twice", `{"instances":[[1]],"instances":[[1]]}`, "the payload has instances and instances"},
		{"ragged rows", `{"dataframe_split":{"columns":["a","b"],"data":[[1,2],[3]]}}`, "dataframe_split: row 2 has 1 values, want 2"},
		{"names and rows", `{"dataframe_split":{"columns":["a"],"data":[[1,2]]}}`, "1 columns and rows of 2 values"},
		{"no rows", `{"dataframe_split":{"columns":["a"]}}`, "dataframe_split has no data"},
		{"unknown member", `{"dataframe_split":{"rows":[]}}`, `dataframe_split has "rows"`},
		{"columns twice", `{"dataframe_split":{"columns":["a"],"columns":["b"],"data":[]}}`, "columns twice"},
		{"data twice", `{"dataframe_split":{"data":[[1]],"data":[[2]]}}`, "data twice"},
		{"split of objects", `{"dataframe_split":{"data":[{"a":1}]}}`, "row 1 is not a list"},
		{"records of lists", `{"dataframe_records":[[1]]}`, "row 1 is not an object"},
		{"mixed rows", `{"instances":[[1],{"a":1}]}`, "row 2 is another kind of JSON value"},
		{"uneven columns", `{"inputs":{"a":[1,2],"b":[3]}}`, `column "b" has 1 values, the columns before have 2`},
		{"a number as a column", `{"inputs":{"a":1}}`, `column "a" is not a list`},
		{"no columns", `{"inputs":{}}`, "inputs has no columns"},
		{"empty row", `{"instances":[[]]}`, "row 1 has 0 values"},
		{"cut off", `{"instances":[[1,2`, "invalid JSON at byte 19: it ends"},
		{"trailing comma", `{"instances":[[1,]]}`, "invalid JSON at byte 18"},
		{"leading zero", `{"instances":[[01]]}`, "leading zero"},
		{"bare point", `{"instances":[[.5]]}`, "invalid JSON"},
		{"point at the end", `{"instances":[[1.]]}`, "a digit should stand"},
		{"empty exponent", `{"instances":[[1e]]}`, "a digit should stand"},
		{"minus alone", `{"instances":[[-]]}`, "a digit should stand"},
		{"nul", `{"instances":[[nul]]}`, "a value should stand"},
		{"more after the end", `{"instances":[[1]]} x`, "where the end should stand"},
		{"control character", "{\"instances\":[[\"\x01\"]]}", "a control character"},
		{"open string", `{"instances":[["abc`, "a string does not end"},
		{"bad escape", `{"inputs":{"\q":[1]}}`, "a bad escape"},
		{"deep", `{"params":` + strings.Repeat("[", 200) + `}`, "nested deeper"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := DecodePayload("application/json; charset=utf-8", []byte(tt.body))
			var input *InputError
			if !errors.As(err, &input) || input.Status() != http.StatusBadRequest || input.Code() != "BAD_REQUEST" {
				t.Fatalf("error %#v, want an InputError with status 400", err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q, want one with %q", err, tt.want)
			}
		})
	}
}

func TestContentTypes(t *testing.T) {
	t.Parallel()
	body := []byte(`{"instances":[[1]]}`)
	for _, good := range []string{"application/json", "Application/JSON", "application/json; charset=utf-8", "application/json;charset=\"UTF-8\"", "application/json; pandas-split=1", "application/json;"} {
		if _, err := DecodePayload(good, body); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "text/plain", "application/vnd.apache.parquet", "application/json; charset=latin1", "application/json; =", "multipart/form-data"} {
		_, err := DecodePayload(bad, body)
		var input *InputError
		if !errors.As(err, &input) || input.Status() != http.StatusUnsupportedMediaType {
			t.Errorf("%q: error %v, want status 415", bad, err)
		}
	}
}

func TestCSVPayload(t *testing.T) {
	t.Parallel()
	f, err := DecodePayload("text/csv", []byte("a,b,id\n1,2.5,x\n,NaN,\"y,z\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	nan := math.NaN()
	want := shown{[]string{"a", "b", "id"}, []float64{1, 2.5, nan, nan, nan, nan}, 2}
	if diff := cmp.Diff(want, show(f), cmpopts.EquateNaNs()); diff != "" {
		t.Errorf("frame (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]fault{{0, 2, "text"}}, f.faults, cmp.AllowUnexported(fault{})); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
	for body, want := range map[string]string{"": "is empty", "a,b\n1\n": "invalid CSV at line 2", "a\n\"x\n": "invalid CSV at line"} {
		if _, err := DecodePayload("text/csv", []byte(body)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", body, err, want)
		}
	}
}

// TestSparseRecords holds that ever new keys are refused before they cost memory out of proportion to the payload.
func TestSparseRecords(t *testing.T) {
	t.Parallel()
	var body bytes.Buffer
	body.WriteString(`{"dataframe_records":[{"k":1}`)
	for i := range 20000 {
		fmt.Fprintf(&body, `,{"k%d":1}`, i)
	}
	body.WriteString(`]}`)
	if _, err := DecodePayload("application/json", body.Bytes()); err == nil || !strings.Contains(err.Error(), "too many different keys") {
		t.Errorf("error %v, want too many different keys", err)
	}
}

// TestDecoderReuse decodes payloads of all shapes with one decoder, each as a fresh one would.
func TestDecoderReuse(t *testing.T) {
	t.Parallel()
	wide := make([]string, 40)
	for i := range wide {
		wide[i] = fmt.Sprintf(`"w%d":%d`, i, i)
	}
	bodies := []string{
		`{"dataframe_split":{"columns":["a","b"],"data":[[1,"x"]]}}`,
		`{"dataframe_records":[{"a":1,"b":2},{"b":3}]}`,
		`{"dataframe_records":[{` + strings.Join(wide, ",") + `},{"w39":7,"new":1}]}`,
		`{"dataframe_records":[{` + strings.Join(wide, ",") + `}]}`,
		`{"dataframe_records":[{"w1":5,"w0":6,"w1":7}]}`,
		`{"inputs":{"b":[1,2],"a":[3,4]}}`,
		`{"instances":[[1]]}`,
		`{"dataframe_records":[{"b":1,"b":2}]}`,
		`{"dataframe_split":{"columns":["a","a"],"data":[[1,2]]}}`,
		`{"dataframe_records":[{"a":1,"a":2}]}`,
	}
	var reused decoder
	for range 3 {
		for _, body := range bodies {
			want, err := DecodePayload("application/json", []byte(body))
			if err != nil {
				t.Fatal(err)
			}
			if err := reused.decode("application/json", []byte(body)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(show(want), show(reused.frame), cmpopts.EquateNaNs(), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s (-fresh +reused):\n%s", body, diff)
			}
			if diff := cmp.Diff(want.faults, reused.frame.faults, cmp.AllowUnexported(fault{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s: faults (-fresh +reused):\n%s", body, diff)
			}
		}
	}
}

// oracle decodes the data of a payload with encoding/json: rows as a list, or columns for the inputs form.
func oracle(body []byte) (numbers []float64, ok bool) {
	var doc map[string]json.RawMessage
	if json.Unmarshal(body, &doc) != nil {
		return nil, false
	}
	var rows [][]*float64
	for _, form := range []string{formInstances, formInputs} {
		if raw, there := doc[form]; there && json.Unmarshal(raw, &rows) != nil {
			return nil, false
		}
	}
	if raw, there := doc[formSplit]; there {
		var split struct{ Data [][]*float64 }
		if json.Unmarshal(raw, &split) != nil {
			return nil, false
		}
		rows = split.Data
	}
	for _, row := range rows {
		for _, x := range row {
			if x == nil {
				numbers = append(numbers, math.NaN())
			} else {
				numbers = append(numbers, *x)
			}
		}
	}
	return numbers, rows != nil
}

// FuzzDecodePayload holds the scanner against encoding/json: what the scanner takes is a whole frame with the same numbers.
func FuzzDecodePayload(f *testing.F) {
	for _, seed := range []string{
		`{"dataframe_split":{"columns":["a","b"],"data":[[1,2.5],[-3e2,null]]}}`, `{"dataframe_records":[{"a":1,"b":"x"},{"c":[1]}]}`,
		`{"instances":[[1,2],[3,4]],"params":{"a":{"b":[]}}}`, `{"inputs":{"a":[1,3],"b":[2,4]}}`, `{"instances":[[NaN,-Infinity,1e400,0.1]]}`, `{"inputs":[1,2]}`,
		`{"inputs":{"\u0041":[1]}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		frame, err := DecodePayload("application/json", body)
		if err != nil {
			var input *InputError
			if !errors.As(err, &input) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("error %q is not an InputError of one line", err)
			}
			return
		}
		if err := frame.check(); err != nil {
			t.Fatal(err)
		}
		if len(frame.Values) > 2*len(body)+1<<12 {
			t.Fatalf("%d values out of %d bytes", len(frame.Values), len(body))
		}
		if want, ok := oracle(body); ok && len(frame.faults) == 0 {
			if diff := cmp.Diff(want, frame.Values, cmpopts.EquateNaNs(), cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("values (-encoding/json +scanner):\n%s", diff)
			}
		}
	})
}

func FuzzCSVPayload(f *testing.F) {
	f.Add([]byte("a,b\n1,2\n"))
	f.Add([]byte("a\n\"x\"\n,\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		frame, err := DecodePayload("text/csv", body)
		if err == nil && frame.check() != nil {
			t.Fatal(frame.check())
		}
	})
}

func TestAppendPredictions(t *testing.T) {
	t.Parallel()
	nan := float32(math.NaN())
	tests := []struct {
		scores Scores
		want   string
	}{
		{Scores{nil, 1}, `{"predictions": []}`},
		{Scores{[]float32{0.1, 1, 0, 1e-10, 3e20}, 1}, `{"predictions": [0.1, 1, 0, 1e-10, 3e+20]}`},
		{Scores{[]float32{0.008627155}, 1}, `{"predictions": [0.008627155]}`},
		{Scores{[]float32{0.25, 0.75, 1, 0}, 2}, `{"predictions": [[0.25, 0.75], [1, 0]]}`},
		{Scores{[]float32{nan, float32(math.Inf(1))}, 1}, `{"predictions": [null, null]}`},
	}
	for _, tt := range tests {
		got := string(AppendPredictions(nil, tt.scores))
		if got != tt.want || !json.Valid([]byte(got)) {
			t.Errorf("AppendPredictions(%v) = %s, want %s", tt.scores, got, tt.want)
		}
		rows := len(tt.scores.Values) / tt.scores.Width
		back, err := parsePredictions([]byte(got), rows)
		if err != nil {
			t.Errorf("%s: %v", got, err)
		}
		if !strings.Contains(got, "null") && !cmp.Equal(back.Values, tt.scores.Values, cmpopts.EquateEmpty()) {
			t.Errorf("%s reads back as %v", got, back)
		}
	}
}

func TestParsePredictionErrors(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`[1]`:                            "no predictions",
		`{"outputs":[1]}`:                "no predictions",
		`{"predictions":[1]}`:            "1 predictions for 2 rows",
		`{"predictions":[1,"x"]}`:        "a prediction is a string",
		`{"predictions":[{"p":1},{}]}`:   "a prediction is an object",
		`{"predictions":[[1,2],[3]]}`:    "prediction 2 has 1 numbers, the ones before have 2",
		`{"predictions":[[],[]]}`:        "prediction 1 has 0 numbers",
		`{"predictions":[1,2]} trailing`: "the end should stand",
		`{"predictions":7}`:              "should stand",
	} {
		if _, err := parsePredictions([]byte(body), 2); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", body, err, want)
		}
	}
}
