package analysis

import (
	"errors"
	"fmt"
)

// Names says how a metric source names what the judge needs.
type Names struct {
	// Requests is the counter of requests; Duration the histogram of their durations, without _bucket, _sum and _count.
	Requests string
	Duration string
	// BoundSeconds is the unit of the histogram's bounds in seconds: 1, or 0.001 for milliseconds.
	BoundSeconds float64
	// ModelLabel carries the registered model's name; empty where a source knows one model only.
	ModelLabel string
	// VersionLabel carries the role, Champion and Canary are its values. Other values are somebody else's and are passed over.
	VersionLabel string
	Champion     string
	Canary       string
	// RevisionLabel carries the registry version; series without it are taken as they are. Empty reads none.
	RevisionLabel string
	StatusLabel   string
	// InstanceLabels tell processes apart; a series needs at least one of them, unless the source adds it. Series that differ in other labels
	// (method, route) are added.
	InstanceLabels []string
	// Match are further labels that a series must have, such as Istio's reporter.
	Match map[string]string
}

// Preset returns the names of a known family of metrics: serin (the built-in gateway), prometheus (client libraries' `code`), otel or istio.
func Preset(name string) (Names, error) {
	n := Names{
		Requests: "http_requests_total", Duration: "http_request_duration_seconds", BoundSeconds: 1, ModelLabel: "model",
		VersionLabel: "version", Champion: string(RoleChampion), Canary: string(RoleCanary), RevisionLabel: "revision", StatusLabel: "status",
		InstanceLabels: []string{"instance", "pod"},
	}
	switch name {
	case "serin", "":
	case "prometheus":
		n.StatusLabel = "code"
	case "otel": // stable semantic conventions: no request counter, the histogram's own count is it
		n.Requests, n.Duration = "http_server_request_duration_seconds_count", "http_server_request_duration_seconds"
		n.StatusLabel = "http_response_status_code"
	case "istio": // both proxies of a call report it: the destination's report is the one that counts
		n.Requests, n.Duration, n.BoundSeconds = "istio_requests_total", "istio_request_duration_milliseconds", 0.001
		n.ModelLabel, n.VersionLabel, n.RevisionLabel, n.StatusLabel = "destination_canonical_service", "destination_version", "", "response_code"
		n.Match = map[string]string{"reporter": "destination"}
	default:
		return Names{}, fmt.Errorf("metrics preset %q is unknown: use serin, prometheus, otel or istio", name)
	}
	return n, nil
}

// Validate names what is missing for telling canary from champion.
func (n Names) Validate() error {
	switch {
	case n.Requests == "":
		return errors.New("metrics: the name of the request counter is missing")
	case n.VersionLabel == "":
		return errors.New("metrics: the label that tells canary from champion is missing")
	case n.StatusLabel == "":
		return errors.New("metrics: the status label is missing")
	case n.Champion == "" || n.Canary == "":
		return fmt.Errorf("metrics: label %s needs a value for the champion and one for the canary", n.VersionLabel)
	case n.Champion == n.Canary:
		return fmt.Errorf("metrics: %s=%q selects champion and canary at once: give each its own value", n.VersionLabel, n.Canary)
	case n.Duration != "" && n.BoundSeconds <= 0:
		return fmt.Errorf("metrics: the unit of %s is %v seconds: it must be above zero", n.Duration, n.BoundSeconds)
	case len(n.InstanceLabels) == 0:
		return errors.New("metrics: the labels that tell processes apart are missing, such as instance")
	}
	return nil
}

// Metrics are the full names of the series that Collect reads.
func (n Names) Metrics() []string {
	names := []string{n.Requests}
	if n.Duration == "" {
		return names
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if full := n.Duration + suffix; full != n.Requests {
			names = append(names, full)
		}
	}
	return names
}
