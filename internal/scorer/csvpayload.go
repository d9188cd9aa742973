package scorer

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
)

// csv reads a text/csv payload: a header line and rows. Empty and NaN are missing values.
func (d *decoder) csv(body []byte) error {
	reader := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))))
	reader.ReuseRecord = true
	header, err := reader.Read()
	if errors.Is(err, io.EOF) {
		return payloadErrorf("the CSV payload is empty: send a header line and rows")
	}
	if err != nil {
		return csvError(err)
	}
	for _, name := range header {
		d.addColumn([]byte(name))
	}
	d.setColumns()
	for {
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return csvError(err)
		}
		for col, text := range record {
			d.csvValue(col, strings.TrimSpace(text))
		}
		d.frame.N++
	}
}

func (d *decoder) csvValue(col int, text string) {
	x := math.NaN()
	if text != "" {
		var err error
		x, err = strconv.ParseFloat(text, 64)
		// Go reads 0x1p4 and 1_000 as numbers, pandas and so MLflow do not.
		if err != nil && !errors.Is(err, strconv.ErrRange) || strings.ContainsAny(text, "xXpP_") {
			x = math.NaN()
			d.addFault(d.frame.N, col, "text")
		}
	}
	d.frame.Values = append(d.frame.Values, x)
}

func csvError(err error) error {
	var parse *csv.ParseError
	if errors.As(err, &parse) {
		return payloadErrorf("invalid CSV at line %d, column %d: %v", parse.Line, parse.Column, parse.Err)
	}
	return payloadErrorf("invalid CSV: %v", err)
}
