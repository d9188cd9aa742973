// Package xgboost reads model files of XGBoost (UBJSON, JSON and the legacy binary format) into package forest.
// It never executes anything, never trusts a length that a file claims, and refuses a model that it cannot reproduce bit for bit.
package xgboost

import (
	"bytes"
	"errors"
	"fmt"

	"serin/internal/forest"
)

// Limits on a file, beside those of package forest.
const (
	maxBytes  = 1 << 30 // a file
	maxValues = 1 << 21 // values outside typed arrays, such as a tree's fields
	maxNested = 64      // objects and lists inside each other; XGBoost writes about 8
)

// Parse reads a model file of any of XGBoost's formats, recognized by content:
// a model that MLflow calls model.xgb may be any of the three.
//
// The model predicts what the version of XGBoost that wrote the file predicts.
// The error is one line and says what to do; it does not name the file.
func Parse(data []byte) (*forest.Model, error) {
	if len(data) > maxBytes {
		return nil, fmt.Errorf("xgboost model: %d bytes, more than %d: %s", len(data), maxBytes, elsewhere)
	}
	spec, err := read(data)
	if err != nil {
		return nil, fmt.Errorf("xgboost model: %w", err)
	}
	m, err := forest.New(spec)
	if err != nil {
		return nil, fmt.Errorf("xgboost model: %w", err)
	}
	return m, nil
}

// elsewhere is what a person can do with a model that is refused here.
const elsewhere = "serve this model over HTTP (an /invocations URL), or give its scores as a column of the data"

// read picks the format.
func read(data []byte) (forest.Spec, error) {
	trimmed := bytes.TrimLeft(data, " \t\r\n")
	switch {
	case len(trimmed) == 0:
		return forest.Spec{}, errors.New("the file is empty")
	case bytes.HasPrefix(data, []byte("bs64")):
		return forest.Spec{}, errors.New("base64 files (before XGBoost 1.0) are not in this version: load it with XGBoost 1.7 and save it as .ubj")
	case trimmed[0] != '{':
		return readLegacy(data)
	}
	// A JSON object goes on with a quoted key, a UBJSON one with a length.
	readDocument := readUBJSON
	if next := bytes.TrimLeft(trimmed[1:], " \t\r\n"); len(next) == 0 || next[0] == '"' || next[0] == '}' {
		readDocument = readJSON
	}
	doc, err := readDocument(trimmed)
	if err != nil {
		return forest.Spec{}, err
	}
	return learner(doc)
}
