package traffic

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// The keys of traffic_routing.json. The first five are the contract with readers that know nothing else.
const (
	keyEnabled     = "canary_enabled"
	keyCanaryPct   = "canary_traffic_pct"
	keyCanaryURI   = "canary_model_uri"
	keyChampionPct = "champion_traffic_pct"
	keyProduction  = "production_model_uri"
	keyRollbackAt  = "rollback_timestamp"
	keyControl     = "serin"
)

// rollbackLayout is how rollback_timestamp is written: UTC, without a zone, as the readers that exist expect it.
const rollbackLayout = "2006-01-02T15:04:05"

// ParseDocument reads a routing document. It is strict in all that decides where a request goes: the keys must be there once, of the
// right type, and the percentages must sum to 100. Keys that are not ours are kept. An error names the key.
func ParseDocument(data []byte) (Document, error) {
	fields, err := topLevel(data)
	if err != nil {
		return Document{}, fmt.Errorf("routing document: %w", err)
	}
	d := Document{Unknown: map[string]json.RawMessage{}}
	for key, raw := range fields {
		if err := d.set(key, raw); err != nil {
			return Document{}, fmt.Errorf("routing document: %s: %w", key, err)
		}
	}
	for _, key := range []string{keyEnabled, keyCanaryPct, keyChampionPct, keyProduction} {
		if _, ok := fields[key]; !ok {
			return Document{}, fmt.Errorf("routing document: %s is missing: write all five keys", key)
		}
	}
	if len(d.Unknown) == 0 {
		d.Unknown = nil
	}
	if err := d.Validate(); err != nil {
		return Document{}, err
	}
	return d, nil
}

// topLevel splits the one JSON object in data into its keys, and refuses a key that stands there twice: readers would disagree about it.
func topLevel(data []byte) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	tok, err := dec.Token()
	if err != nil {
		return nil, notJSON(err)
	}
	if tok != json.Delim('{') {
		return nil, errors.New("not a JSON object: write {\"canary_enabled\": ...}")
	}
	fields := map[string]json.RawMessage{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, notJSON(err)
		}
		key, _ := tok.(string)
		if _, twice := fields[key]; twice {
			return nil, fmt.Errorf("key %s stands twice: remove one", key)
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, fmt.Errorf("%s: %w", key, notJSON(err))
		}
		fields[key] = raw
	}
	if _, err := dec.Token(); err != nil {
		return nil, notJSON(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the closing brace: remove it")
	}
	return fields, nil
}

func notJSON(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("ends in the middle: it is empty or being written")
	}
	return fmt.Errorf("not JSON: %w", err)
}

// set takes over one key of the document.
func (d *Document) set(key string, raw json.RawMessage) error {
	switch key {
	case keyEnabled:
		return decode(raw, &d.CanaryEnabled, "true or false")
	case keyCanaryPct:
		return decode(raw, &d.CanaryPct, "a number of percent")
	case keyChampionPct:
		return decode(raw, &d.ChampionPct, "a number of percent")
	case keyCanaryURI:
		return decode(raw, &d.CanaryURI, "a text such as models:/NAME/Staging")
	case keyProduction:
		return decode(raw, &d.ProductionURI, "a text such as models:/NAME/Production")
	case keyRollbackAt:
		d.setRollbackAt(raw)
		return nil
	case keyControl:
		if string(raw) == "null" {
			return nil
		}
		d.Control = &Control{}
		return decode(raw, d.Control, "an object that Serin wrote")
	default:
		d.Unknown[key] = raw
		return nil
	}
}

// setRollbackAt never fails: another writer's odd way to write a time must not keep its rollback from being read. Such a value is
// carried along as it is, like an unknown key.
func (d *Document) setRollbackAt(raw json.RawMessage) {
	var text string
	if err := json.Unmarshal(raw, &text); err == nil {
		for _, layout := range []string{rollbackLayout, time.RFC3339} {
			if at, err := time.Parse(layout, text); err == nil {
				d.RollbackAt = at.UTC()
				return
			}
		}
	}
	d.Unknown[keyRollbackAt] = raw
}

// decode unmarshals raw into v; null is refused, which encoding/json would take for "leave as it is".
func decode(raw json.RawMessage, v any, want string) error {
	if string(raw) == "null" {
		return fmt.Errorf("is null: give %s", want)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%w: give %s", err, want)
	}
	return nil
}

// Validate says what is wrong with the document, as ParseDocument would.
func (d Document) Validate() error {
	for key, pct := range map[string]float64{keyCanaryPct: d.CanaryPct, keyChampionPct: d.ChampionPct} {
		if math.IsNaN(pct) || pct < 0 || pct > 100 {
			return fmt.Errorf("routing document: %s is %v: give 0 to 100", key, pct)
		}
	}
	if sum := d.CanaryPct + d.ChampionPct; math.Abs(sum-100) > 1e-6 {
		return fmt.Errorf("routing document: %s %v and %s %v sum to %v: make it 100", keyCanaryPct, d.CanaryPct, keyChampionPct, d.ChampionPct, sum)
	}
	if d.ProductionURI == "" {
		return fmt.Errorf("routing document: %s is empty: give a reference such as models:/NAME/Production", keyProduction)
	}
	if d.CanaryEnabled && d.CanaryURI == "" {
		return fmt.Errorf("routing document: %s is empty or missing while %s is true: give a reference such as models:/NAME/Staging", keyCanaryURI, keyEnabled)
	}
	if d.Control != nil && d.Control.Generation < 0 {
		return fmt.Errorf("routing document: %s.generation is %d: it counts from 1", keyControl, d.Control.Generation)
	}
	return nil
}

// Generation is the number of the write that made the document; 0 when another writer made it.
func (d Document) Generation() int64 {
	if d.Control == nil {
		return 0
	}
	return d.Control.Generation
}

// WeightPct is the canary's share in percent; canary_enabled: false means 0 whatever the percentages say.
func (d Document) WeightPct() float64 {
	if !d.CanaryEnabled {
		return 0
	}
	return d.CanaryPct
}
