package traffic

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Compat says where Serin's own key stands.
type Compat string

// CompatExtended keeps Serin's key in the document; CompatStrict moves it to a sidecar file, for readers that choke on an unknown key.
const (
	CompatExtended Compat = "extended"
	CompatStrict   Compat = "strict"
)

// sidecarEntries is how many documents a sidecar speaks of: the one about to be written and the one it replaces. So there is no moment,
// not even after a crash between the two writes, in which the document stands without its control data.
const sidecarEntries = 2

// sidecar is the JSON form of the sidecar file, newest entry first.
type sidecar struct {
	Serin []sidecarEntry `json:"serin"`
}

type sidecarEntry struct {
	// Document is the fingerprint of the document that Control belongs to.
	Document string  `json:"document"`
	Control  Control `json:"control"`
}

// Marshal writes the document, indented, its keys always in the same order: the five, rollback_timestamp, serin, then the unknown ones by
// name. With CompatStrict the key serin is left out and sidecar holds it; otherwise, and without control data, sidecar is nil.
func (d Document) Marshal(c Compat) (doc, sidecar []byte, err error) {
	if err := d.Validate(); err != nil {
		return nil, nil, err
	}
	switch c {
	case CompatExtended:
		doc, err = d.encode(d.Control)
		return doc, nil, err
	case CompatStrict:
		doc, err = d.encode(nil)
		if err != nil || d.Control == nil {
			return doc, nil, err
		}
		sidecar, err = d.encodeSidecar(doc)
		return doc, sidecar, err
	default:
		return nil, nil, fmt.Errorf("routing.compat %q: use extended or strict", c)
	}
}

// encode writes the document with the given control data.
func (d Document) encode(control *Control) ([]byte, error) {
	var out bytes.Buffer
	out.WriteByte('{')
	add := func(key string, v any) error {
		if out.Len() > 1 {
			out.WriteByte(',')
		}
		if err := appendJSON(&out, key); err != nil { // not %q: Go and JSON escape differently
			return err
		}
		out.WriteByte(':')
		return appendJSON(&out, v)
	}
	pairs := []struct {
		key   string
		value any
		keep  bool
	}{
		{keyEnabled, d.CanaryEnabled, true},
		{keyCanaryPct, d.CanaryPct, true},
		{keyCanaryURI, d.CanaryURI, true},
		{keyChampionPct, d.ChampionPct, true},
		{keyProduction, d.ProductionURI, true},
		{keyRollbackAt, d.RollbackAt.UTC().Format(rollbackLayout), !d.RollbackAt.IsZero()},
		{keyControl, control, control != nil},
	}
	for _, p := range pairs {
		if !p.keep {
			continue
		}
		if err := add(p.key, p.value); err != nil {
			return nil, fmt.Errorf("routing document: %s: %w", p.key, err)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(d.Unknown)) {
		if key == keyRollbackAt && !d.RollbackAt.IsZero() {
			continue
		}
		if err := add(key, d.Unknown[key]); err != nil {
			return nil, fmt.Errorf("routing document: unknown key %s: %w", key, err)
		}
	}
	out.WriteByte('}')
	return indent(out.Bytes())
}

// appendJSON writes v without escaping <, > and &, which may stand in a reference.
func appendJSON(out *bytes.Buffer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	out.Truncate(out.Len() - 1) // the newline that Encode adds
	return nil
}

func indent(compact []byte) ([]byte, error) {
	var out bytes.Buffer
	if err := json.Indent(&out, compact, "", "  "); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// encodeSidecar writes the control data, tied to the document that it belongs to.
func (d Document) encodeSidecar(strict []byte) ([]byte, error) {
	return marshalSidecar(sidecar{Serin: []sidecarEntry{{Document: fingerprint(strict), Control: *d.Control}}})
}

func marshalSidecar(s sidecar) ([]byte, error) {
	var out bytes.Buffer
	if err := appendJSON(&out, s); err != nil {
		return nil, fmt.Errorf("routing sidecar: %w", err)
	}
	return indent(out.Bytes())
}

// fingerprint is the identity of a document's content in its strict form: layout and the order of keys do not matter.
func fingerprint(strict []byte) string {
	sum := sha256.Sum256(strict)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func parseSidecar(data []byte) (sidecar, error) {
	var s sidecar
	if len(data) == 0 {
		return s, nil
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return sidecar{}, fmt.Errorf("routing sidecar: %w: remove the file, or put back the one that Serin wrote", err)
	}
	return s, nil
}

// MergeSidecar puts what next says in front of what old says and forgets all but the last document of old. Write the result before the document.
func MergeSidecar(next, old []byte) ([]byte, error) {
	n, err := parseSidecar(next)
	if err != nil {
		return nil, err
	}
	o, err := parseSidecar(old)
	if err != nil {
		o = sidecar{} // a broken sidecar is being replaced; nothing in it can be used
	}
	for _, e := range o.Serin {
		if len(n.Serin) < sidecarEntries && !slices.ContainsFunc(n.Serin, func(x sidecarEntry) bool { return x.Document == e.Document }) {
			n.Serin = append(n.Serin, e)
		}
	}
	return marshalSidecar(n)
}

// WithSidecar gives the document the control data that a sidecar holds for it. A sidecar of other documents changes nothing: then another
// writer changed the document. highest is the largest generation in the sidecar, so that generations keep rising all the same.
func (d Document) WithSidecar(data []byte) (doc Document, highest int64, err error) {
	s, err := parseSidecar(data)
	if err != nil {
		return Document{}, 0, err
	}
	strict, err := d.encode(nil)
	if err != nil {
		return Document{}, 0, err
	}
	print := fingerprint(strict)
	for _, e := range s.Serin {
		highest = max(highest, e.Control.Generation)
		if e.Document == print && d.Control == nil {
			control := e.Control
			d.Control = &control
		}
	}
	return d, highest, nil
}
