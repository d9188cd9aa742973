package promapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// point is a raw sample.
type point struct {
	at    time.Time
	value float64
}

// rawSeries is a series with its raw samples in order of time.
type rawSeries struct {
	name   string
	labels map[string]string
	points []point
}

// answer is the JSON of the query API, as far as it is read. Native histograms are passed over: no bound of theirs lies on a limit.
type answer struct {
	Status    string   `json:"status"`
	ErrorType string   `json:"errorType"`
	Error     string   `json:"error"`
	Warnings  []string `json:"warnings"`
	Data      struct {
		ResultType string `json:"resultType"`
		Result     []struct {
			Metric map[string]string `json:"metric"`
			Values []pointJSON       `json:"values"`
		} `json:"result"`
	} `json:"data"`
}

// pointJSON is [seconds, "value"].
type pointJSON point

// UnmarshalJSON refuses anything but a time and a number in a string.
func (p *pointJSON) UnmarshalJSON(b []byte) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(b, &parts); err != nil || len(parts) != 2 {
		return errors.New("a sample is not a pair of time and value")
	}
	var seconds float64
	var text string
	if json.Unmarshal(parts[0], &seconds) != nil || json.Unmarshal(parts[1], &text) != nil {
		return errors.New("a sample is not a number and a string")
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return fmt.Errorf("value %q of a sample is no number", clip(text))
	}
	if math.Abs(seconds) > 1e11 { // the year 5138; beyond, milliseconds leave the range of exact numbers
		return fmt.Errorf("time %v of a sample is no time", seconds)
	}
	p.at, p.value = time.UnixMilli(int64(math.Round(seconds*1000))).UTC(), value
	return nil
}

// parse reads an answer of status 200.
func parse(body []byte) ([]rawSeries, error) {
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, fmt.Errorf("the answer is not what Prometheus gives, check the address: %w", err)
	}
	switch {
	case a.Status != "success":
		return nil, fmt.Errorf("query refused (%s): %s", clip(a.ErrorType), clip(a.Error))
	case len(a.Warnings) > 0: // a store behind it did not answer, or a limit was hit: samples are missing
		return nil, fmt.Errorf("the answer is partial: %s", clip(strings.Join(a.Warnings, "; ")))
	case a.Data.ResultType != "matrix":
		return nil, fmt.Errorf("the answer is a %q, not a matrix: check the address", clip(a.Data.ResultType))
	}
	out := make([]rawSeries, 0, len(a.Data.Result))
	for _, r := range a.Data.Result {
		s := rawSeries{name: r.Metric["__name__"], labels: r.Metric}
		delete(s.labels, "__name__")
		for _, p := range r.Values {
			s.points = append(s.points, point(p))
		}
		slices.SortStableFunc(s.points, func(a, b point) int { return a.at.Compare(b.at) })
		out = append(out, s)
	}
	return out, nil
}

// refusal words an answer of another status: Prometheus says why in JSON, a proxy in anything.
func refusal(status string, body []byte) error {
	var a answer
	if err := json.Unmarshal(body, &a); err == nil && a.Error != "" {
		return fmt.Errorf("query refused with %s (%s): %s", status, clip(a.ErrorType), clip(a.Error))
	}
	if text := clip(string(body)); text != "" {
		return fmt.Errorf("query answered with %s: %s", status, text)
	}
	return fmt.Errorf("query answered with %s: check the address", status)
}

// clip makes a foreign text one short line.
func clip(s string) string {
	s = strings.ToValidUTF8(strings.Join(strings.Fields(s), " "), "?")
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + " ..."
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
