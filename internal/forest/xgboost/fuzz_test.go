package xgboost

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
)

// seeds adds a small file of each kind of model in each format. They are cut to
// what is read: the fuzzer spends its time on shrinking whatever is larger.
func seeds(f *testing.F, add func(file string, data []byte)) {
	f.Helper()
	kinds := []string{"stump", "names", "cat-onehot", "vector-one-leaf", "dart-binary-logistic", "gblinear-binary-logistic", "one-leaf"}
	for version := range packs {
		for _, fx := range readPack(f, version) {
			if !slices.Contains(kinds, fx.Name) {
				continue
			}
			doc := small(f, fx.files["model.json"])
			text, err := json.Marshal(doc)
			if err != nil {
				f.Fatal(err)
			}
			add("model.json", text)
			add("model.ubj", appendUBJSON(nil, doc))
			if legacy := fx.files["model.deprecated"]; legacy != nil && len(legacy) < 2500 {
				add("model.deprecated", legacy)
			}
		}
	}
}

// small decodes a model, keeps its first tree only and drops the fields that nobody reads.
func small(tb testing.TB, data []byte) object {
	tb.Helper()
	doc := object{}
	// A fixture may hold NaN thresholds, at nodes where they are not read.
	if err := json.Unmarshal(bytes.ReplaceAll(data, []byte("NaN"), []byte("0")), &doc); err != nil {
		tb.Fatal(err)
	}
	booster := in(doc, "learner", "gradient_booster").(object)
	if inner, ok := booster["gbtree"]; ok {
		booster["weight_drop"] = booster["weight_drop"].([]any)[:1]
		booster = inner.(object)
	}
	model := booster["model"].(object)
	trees, ok := model["trees"].([]any)
	if !ok {
		return doc
	}
	first := trees[0].(object)
	for _, unread := range []string{"loss_changes", "sum_hessian", "parents"} {
		delete(first, unread)
	}
	model["trees"], model["tree_info"] = trees[:1], []any{0.0}
	delete(model, "iteration_indptr")
	delete(doc["learner"].(object), "attributes")
	model["gbtree_model_param"].(object)["num_trees"] = "1"
	return doc
}

// appendUBJSON encodes a document as XGBoost does; lists of numbers become float32, or int32 when all are whole.
func appendUBJSON(b []byte, v any) []byte {
	text := func(b []byte, s string) []byte {
		return append(binary.BigEndian.AppendUint64(append(b, 'L'), uint64(len(s))), s...)
	}
	switch v := v.(type) {
	case object:
		b = append(b, '{')
		for _, k := range slices.Sorted(maps.Keys(v)) {
			b = appendUBJSON(text(b, k), v[k])
		}
		return append(b, '}')
	case []any:
		if marker, ok := numeric(v); ok {
			b = binary.BigEndian.AppendUint64(append(b, '[', '$', marker, '#', 'L'), uint64(len(v)))
			for _, x := range v {
				if marker == 'l' {
					b = binary.BigEndian.AppendUint32(b, uint32(int32(x.(float64))))
				} else {
					b = binary.BigEndian.AppendUint32(b, math.Float32bits(float32(x.(float64))))
				}
			}
			return b
		}
		b = binary.BigEndian.AppendUint64(append(b, '[', '#', 'L'), uint64(len(v)))
		for _, x := range v {
			b = appendUBJSON(b, x)
		}
		return b
	case string:
		return text(append(b, 'S'), v)
	case float64:
		return binary.BigEndian.AppendUint64(append(b, 'L'), uint64(int64(v)))
	}
	return append(b, 'Z')
}

// numeric returns the marker of a list of numbers.
func numeric(list []any) (byte, bool) {
	marker := byte('l')
	for _, x := range list {
		n, ok := x.(float64)
		if !ok {
			return 0, false
		}
		if n != math.Trunc(n) {
			marker = 'd'
		}
	}
	return marker, len(list) > 0
}

// The seeds must be models, or the fuzzer starts from nothing.
func TestSeeds_AreModels(t *testing.T) {
	t.Parallel()
	checked := 0
	for version := range packs {
		for _, name := range []string{"stump", "dart-binary-logistic", "gblinear-binary-logistic", "cat-onehot"} {
			doc := small(t, one(t, version, name).files["model.json"])
			text, err := json.Marshal(doc)
			if err != nil {
				t.Fatal(err)
			}
			for _, data := range [][]byte{text, appendUBJSON(nil, doc)} {
				if _, err := Parse(data); err != nil {
					t.Errorf("%s/%s: %v", version, name, err)
				}
				checked++
			}
		}
	}
	t.Logf("%d seeds checked", checked)
}

// FuzzParse feeds the three parsers. What is accepted must score any row without
// a panic, write every output, and hold to its limits.
func FuzzParse(f *testing.F) {
	seeds(f, func(_ string, data []byte) { f.Add(data) })
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse(data)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("an error of several lines: %q", err)
			}
			return
		}
		if m.NumFeature()*m.Groups() > 1<<16 {
			return // a wide model is legal, and slow to score here
		}
		const rows = 4
		in := make([]float32, rows*m.NumFeature())
		for i := range in {
			in[i] = []float32{0, float32(math.NaN()), 1e30, -3.5, 40}[i%5]
		}
		margins, out := make([]float32, rows*m.Groups()), make([]float32, rows*m.Outputs())
		m.Margins(margins, in)
		m.Predict(out, in)
		m.AtBestIteration().Predict(out, in)
		if len(m.FeatureNames()) != 0 && len(m.FeatureNames()) != m.NumFeature() {
			t.Errorf("%d names for %d features", len(m.FeatureNames()), m.NumFeature())
		}
	})
}

// FuzzReadJSON compares with the standard decoder: what it accepts, readJSON
// accepts, but for the limits and rules that are stricter by intent.
func FuzzReadJSON(f *testing.F) {
	seeds(f, func(file string, data []byte) {
		if file == "model.json" {
			f.Add(data)
		}
	})
	for _, s := range []string{`{"a":[1,2.5e-3,-0,"x",null,true]}`, `[[],{}]`, `"\u00e4\ud83d\ude00"`, ` 1 `, `{"a":{"b":[1 , 2]}}`, `[1,[2]]`, `nullx`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := readJSON(data)
		var any any
		standard := json.Unmarshal(data, &any)
		if err != nil && standard == nil && !stricter(err) {
			t.Errorf("refused what the standard library accepts: %v", err)
		}
		var syntax *json.SyntaxError
		if err == nil && errors.As(standard, &syntax) && !strings.Contains(string(data), "NaN") && !strings.Contains(string(data), "Infinity") && !looser(data) {
			t.Errorf("accepted what the standard library refuses: %v", standard)
		}
	})
}

// stricter names the rules that readJSON has beyond JSON's.
func stricter(err error) bool {
	for _, rule := range []string{"appears twice", "nested deeper", "not UTF-8", "values"} {
		if strings.Contains(err.Error(), rule) {
			return true
		}
	}
	return false
}

// looser reports what readJSON lets pass beyond JSON: a leading zero, as XGBoost's
// own reader does, and control characters in strings.
func looser(data []byte) bool {
	for i, b := range data {
		if b < ' ' || b == '0' && i+1 < len(data) && data[i+1] >= '0' && data[i+1] <= '9' {
			return true
		}
	}
	return false
}
