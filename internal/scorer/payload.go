package scorer

import (
	"fmt"
	"mime"
	"net/http"
	"strings"
)

// The four forms of a JSON payload. Exactly one stands in it; params and unknown members beside it are passed over, as MLflow does for models
// without parameters.
const (
	formSplit     = "dataframe_split"
	formRecords   = "dataframe_records"
	formInstances = "instances"
	formInputs    = "inputs"
)

// DecodePayload reads the body of a POST to /invocations: JSON in one of MLflow's four forms, or text/csv with a header line. null, an empty CSV field
// and a key that one record lacks are missing values (NaN). A bad body is an *InputError with Status 400, another content type one with 415.
// Columns that the model does not want are ignored, whatever is in them. One thing is wider than MLflow: rows without names are bound by position also
// where a model's signature has names.
func DecodePayload(contentType string, body []byte) (Frame, error) {
	var d decoder
	err := d.decode(contentType, body)
	return d.frame, err
}

// decoder reads payloads into one frame and keeps its memory for the next. The frame is valid until then.
type decoder struct {
	scan  jsonScanner
	frame Frame
	// names holds the column names of this payload and of wider ones before it: a client sends the same names each time, so they are not made anew.
	names []string
	// columns is the number of names of this payload.
	columns int
	// distinct says how many of the first names are known to differ, from records read before.
	distinct int
	// stride is the distance of two rows in frame.Values while records are read.
	stride int
	// index finds a record's key when there are many columns; it is rebuilt for each payload that needs it.
	index map[string]int
	// faulted says which columns have a fault.
	faulted []bool
	// byColumn holds the values of the inputs form before they are turned into rows.
	byColumn []float64
}

func (d *decoder) decode(contentType string, body []byte) error {
	d.reset()
	csv, err := payloadType(contentType)
	if err != nil {
		return err
	}
	if csv {
		return d.csv(body)
	}
	d.scan = jsonScanner{data: body}
	defer func() { d.scan.data = nil }()
	return d.json()
}

func (d *decoder) reset() {
	d.frame = Frame{Values: d.frame.Values[:0], faults: d.frame.faults[:0], Extra: IgnoreExtra}
	d.columns, d.stride = 0, 0
	d.byColumn = d.byColumn[:0]
	clear(d.index)
	clear(d.faulted)
}

// payloadType tells CSV from JSON and refuses the rest.
func payloadType(contentType string) (csv bool, err error) {
	media, params, found := strings.Cut(contentType, ";")
	media = strings.TrimSpace(media)
	if found && strings.TrimSpace(params) != "" {
		parsed, values, err := mime.ParseMediaType(contentType)
		charset := values["charset"]
		if err != nil || charset != "" && !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "us-ascii") {
			return false, unsupported(contentType)
		}
		media = parsed
	}
	switch {
	case strings.EqualFold(media, "application/json"):
		return false, nil
	case strings.EqualFold(media, "text/csv"):
		return true, nil
	}
	return false, unsupported(contentType)
}

func unsupported(contentType string) error {
	return &InputError{
		status: http.StatusUnsupportedMediaType, code: codeBadRequest,
		message: fmt.Sprintf("content type %q is not read: send application/json or text/csv, in UTF-8", contentType),
	}
}

// json reads the whole document.
func (d *decoder) json() error {
	s := &d.scan
	if s.peek() != '{' {
		return payloadErrorf("the payload is not a JSON object: send one with dataframe_split, dataframe_records, instances or inputs")
	}
	s.pos++
	form := ""
	for first := true; ; {
		more, err := s.more('}', &first)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		key, err := s.key()
		if err != nil {
			return err
		}
		if form, err = d.member(key, form); err != nil {
			return err
		}
	}
	if form == "" {
		return payloadErrorf("the payload has no data: send exactly one of dataframe_split, dataframe_records, instances and inputs")
	}
	return s.end()
}

// member reads one member of the document and gives back the form of the data met so far.
func (d *decoder) member(key []byte, form string) (string, error) {
	var found string
	switch string(key) {
	case formSplit:
		found = formSplit
	case formRecords:
		found = formRecords
	case formInstances:
		found = formInstances
	case formInputs:
		found = formInputs
	default:
		return form, d.scan.skip(0)
	}
	if form != "" {
		return form, payloadErrorf("the payload has %s and %s: send exactly one of dataframe_split, dataframe_records, instances and inputs", form, found)
	}
	switch {
	case found == formSplit:
		return found, d.split()
	case found == formInputs && d.scan.peek() == '{':
		return found, d.inputs()
	}
	return found, d.list(found)
}

// split reads {"columns": [...], "data": [[...], ...]} with its members in any order; the index is passed over.
func (d *decoder) split() error {
	s := &d.scan
	if err := s.expect('{'); err != nil {
		return err
	}
	named, data := false, false
	for first := true; ; {
		more, err := s.more('}', &first)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		key, err := s.key()
		if err != nil {
			return err
		}
		switch string(key) {
		case "columns":
			named, err = true, d.columnNames()
		case "data":
			data, err = true, d.rows()
		case "index":
			err = s.skip(0)
		default:
			return payloadErrorf("%s has %q: it takes columns, data and index", formSplit, key)
		}
		if err != nil {
			return err
		}
	}
	switch {
	case !data:
		return payloadErrorf("%s has no data", formSplit)
	case named:
		return d.nameSplit()
	}
	return nil
}

func (d *decoder) nameSplit() error {
	if width := d.frame.Width(); d.frame.N > 0 && width != d.columns {
		return payloadErrorf("%s has %d columns and rows of %d values", formSplit, d.columns, width)
	}
	d.setColumns()
	return nil
}

func (d *decoder) columnNames() error {
	s := &d.scan
	if d.columns > 0 {
		return payloadErrorf("%s has columns twice", formSplit)
	}
	if err := s.expect('['); err != nil {
		return err
	}
	for first := true; ; {
		more, err := s.more(']', &first)
		if err != nil || !more {
			return err
		}
		var name []byte
		if s.peek() == '"' {
			name, err = s.text()
		} else { // pandas numbers the columns of a frame without names
			start := s.pos
			if _, _, err = s.number(); err == nil {
				name = s.data[start:s.pos]
			}
		}
		if err != nil {
			return err
		}
		d.addColumn(name)
	}
}

// addColumn names the next column, without allocating when the payload before had the same name there.
func (d *decoder) addColumn(name []byte) {
	switch i := d.columns; {
	case i == len(d.names):
		d.names = append(d.names, string(name))
	case d.names[i] != string(name):
		d.names[i], d.distinct = string(name), min(d.distinct, i)
	}
	d.columns++
}

// setColumns gives the frame its names; no columns are names too, not positions.
func (d *decoder) setColumns() {
	d.frame.Columns = d.names[:d.columns:d.columns]
	if d.frame.Columns == nil {
		d.frame.Columns = []string{}
	}
}

// rows reads a list of rows of equal length.
func (d *decoder) rows() error {
	if d.frame.N > 0 {
		return payloadErrorf("%s has data twice", formSplit)
	}
	return d.list(formSplit)
}
