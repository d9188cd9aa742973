package strictyaml

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxDuration keeps sums of durations far from overflow.
const maxDuration = 365 * 24 * time.Hour

// Text reads a text that is not empty. Numbers and truth values must be quoted, so that nobody is surprised by what YAML made of them.
func (v Value) Text() (string, bool) {
	switch {
	case v.node.Kind != yaml.ScalarNode:
		v.Faultf("is %s: a text belongs here", describe(v.node))
	case v.node.ShortTag() != "!!str":
		v.Faultf("is %s: write it in quotes if the text is meant", describe(v.node))
	case strings.TrimSpace(v.node.Value) == "":
		v.Faultf("is an empty text: give a value, or remove the key to have the default")
	default:
		return v.node.Value, true
	}
	return "", false
}

// TextOrEmpty reads a text that may be "".
func (v Value) TextOrEmpty() (string, bool) {
	if v.isText() && v.node.Value == "" {
		return "", true
	}
	return v.Text()
}

// Word reads a text or a whole number as text, for names such as versions.
func (v Value) Word() (string, bool) {
	if v.node.Kind == yaml.ScalarNode && v.node.ShortTag() == "!!int" {
		return v.node.Value, true
	}
	return v.Text()
}

// Choice reads one of the words that are allowed.
func (v Value) Choice(words ...string) (string, bool) {
	if v.node.Kind == yaml.ScalarNode && (v.isText() || v.node.ShortTag() == "!!bool") {
		for _, w := range words {
			if v.node.Value == w {
				return w, true
			}
		}
	}
	v.Faultf("is %s: use %s", describe(v.node), orList(words))
	return "", false
}

// Is says whether the value is exactly this plain word, without recording anything.
func (v Value) Is(word string) bool { return v.isText() && v.node.Value == word }

// Bool reads true or false.
func (v Value) Bool() (value, ok bool) {
	if v.node.Kind == yaml.ScalarNode && v.node.ShortTag() == "!!bool" {
		switch { // an explicit tag can stand before any text
		case strings.EqualFold(v.node.Value, "true"):
			return true, true
		case strings.EqualFold(v.node.Value, "false"):
			return false, true
		}
	}
	v.Faultf("is %s: use true or false", describe(v.node))
	return false, false
}

// Number reads a finite number.
func (v Value) Number() (float64, bool) {
	if v.node.Kind == yaml.ScalarNode && (v.node.ShortTag() == "!!int" || v.node.ShortTag() == "!!float") {
		var f float64
		if err := v.node.Decode(&f); err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f, true
		}
		v.Faultf("is %s: use a finite number", describe(v.node))
		return 0, false
	}
	if number, ok := strings.CutSuffix(strings.TrimSpace(v.node.Value), "%"); ok && v.isText() {
		v.Faultf("is %s: write the number without the sign, such as %s", describe(v.node), strings.TrimSpace(number))
		return 0, false
	}
	v.Faultf("is %s: a number belongs here", describe(v.node))
	return 0, false
}

// Whole reads a whole number from low up to a million.
func (v Value) Whole(low int) (int, bool) {
	f, ok := v.Number()
	if !ok {
		return 0, false
	}
	if f != math.Trunc(f) || f < float64(low) || f > 1e6 {
		v.Faultf("is %s: use a whole number from %d to 1000000", describe(v.node), low)
		return 0, false
	}
	return int(f), true
}

// Share reads a share between 0 and 1, both allowed.
func (v Value) Share() (float64, bool) {
	f, ok := v.Number()
	if ok && (f < 0 || f > 1) {
		hint := "use a share between 0 and 1"
		if f > 1 && f <= 100 {
			hint = fmt.Sprintf("use a share between 0 and 1, such as %s", strconv.FormatFloat(math.Round(f*1e7)/1e9, 'g', -1, 64))
		}
		v.Faultf("is %s: %s", describe(v.node), hint)
		return 0, false
	}
	return f, ok
}

var bareNumber = regexp.MustCompile(`^\s*[0-9]+(\.[0-9]+)?\s*$`)

// Duration reads a length of time as Go writes it, from least up to 365 days.
func (v Value) Duration(least time.Duration) (time.Duration, bool) {
	if v.node.Kind != yaml.ScalarNode || v.null() {
		v.Faultf("is %s: a length of time such as 30m belongs here", describe(v.node))
		return 0, false
	}
	text := v.node.Value
	if bareNumber.MatchString(text) {
		n := strings.TrimSpace(text)
		v.Faultf("%q has no unit: write %ss, %sm or 1h", text, n, n)
		return 0, false
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil || !v.isText():
		v.Faultf("%q is no length of time: write it like 90s, 30m or 1h30m (no days: 1d is 24h)", shorten(text))
	case d < least:
		v.Faultf("%s is too short: at least %s", text, FormatDuration(least))
	case d > maxDuration:
		v.Faultf("%s is too long: at most %s", text, FormatDuration(maxDuration))
	default:
		return d, true
	}
	return 0, false
}

func (v Value) isText() bool { return v.node.Kind == yaml.ScalarNode && v.node.ShortTag() == "!!str" }

func shorten(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "..."
	}
	return s
}

// FormatDuration writes a length of time as Duration reads it and people write it: 1h rather than 1h0m0s.
func FormatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}
