package mlflow

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"serin/internal/model"
)

// The objects of MLflow's API as they are sent. Unknown fields are ignored, empty lists are left out by the server, version is a string of digits,
// int64 are numbers (an old proxy may make them strings). Source: mlflow/protos/model_registry.proto.

type wireTag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

type wireAlias struct {
	Alias   string   `json:"alias"`
	Version flexible `json:"version"`
}

type wireVersion struct {
	Name          string    `json:"name"`
	Version       flexible  `json:"version"`
	Created       flexible  `json:"creation_timestamp"`
	Updated       flexible  `json:"last_updated_timestamp"`
	Stage         string    `json:"current_stage"`
	Description   string    `json:"description"`
	Source        string    `json:"source"`
	RunID         string    `json:"run_id"`
	Status        string    `json:"status"`
	StatusMessage string    `json:"status_message"`
	Tags          []wireTag `json:"tags"`
	Aliases       []string  `json:"aliases"`
}

type wireModel struct {
	Name           string        `json:"name"`
	Created        flexible      `json:"creation_timestamp"`
	Updated        flexible      `json:"last_updated_timestamp"`
	Description    string        `json:"description"`
	LatestVersions []wireVersion `json:"latest_versions"`
	Tags           []wireTag     `json:"tags"`
	Aliases        []wireAlias   `json:"aliases"`
}

// flexible is a number or a string of digits, kept as text.
type flexible string

// UnmarshalJSON takes a JSON string or number.
func (f *flexible) UnmarshalJSON(b []byte) error {
	var s string
	if len(b) > 0 && b[0] == '"' {
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		*f = flexible(s)
		return nil
	}
	var n json.Number
	if err := json.Unmarshal(b, &n); err != nil {
		return fmt.Errorf("want a number or a string, have %.20s", b)
	}
	*f = flexible(n)
	return nil
}

func (f flexible) millis() time.Time {
	n, err := strconv.ParseInt(string(f), 10, 64)
	if err != nil || n == 0 {
		return time.Time{}
	}
	return time.UnixMilli(n).UTC()
}

// Version is one version of a registered model.
type Version struct {
	Name string
	// Version is the number in decimal.
	Version string
	Stage   model.Stage
	// Source is the address that the version was created with; the files may lie elsewhere: ask DownloadURI.
	Source string
	RunID  string
	// Status is READY for a version that can be used.
	Status      string
	Description string
	Tags        map[string]string
	// Aliases are sorted. Searches of a real server leave them out, so Snapshot fills them in.
	Aliases          []string
	Created, Updated time.Time
}

// number is for order only; wire versions were checked to be numbers.
func (v Version) number() int {
	n, _ := strconv.Atoi(v.Version)
	return n
}

func (w wireVersion) version() (Version, error) {
	number, err := model.ParseVersion(string(w.Version))
	if err != nil {
		return Version{}, fmt.Errorf("model %q in the registry's answer: %w: %w", w.Name, ErrNotMLflow, err)
	}
	stage := model.StageNone // Unity-style servers leave it out
	if w.Stage != "" {
		if stage, err = model.ParseStage(w.Stage); err != nil {
			return Version{}, fmt.Errorf("model %q version %s in the registry's answer: %w: %w", w.Name, number, ErrNotMLflow, err)
		}
	}
	aliases := slices.Clone(w.Aliases)
	slices.Sort(aliases)
	return Version{
		Name: w.Name, Version: number, Stage: stage, Source: w.Source, RunID: w.RunID, Status: w.Status, Description: w.Description,
		Tags: tagMap(w.Tags), Aliases: aliases, Created: w.Created.millis(), Updated: w.Updated.millis(),
	}, nil
}

func tagMap(tags []wireTag) map[string]string {
	m := make(map[string]string, len(tags))
	for _, t := range tags {
		m[t.Key] = t.Value
	}
	return m
}

func tagList(tags map[string]string) []wireTag {
	list := make([]wireTag, 0, len(tags))
	for k, v := range tags {
		list = append(list, wireTag{Key: k, Value: v})
	}
	slices.SortFunc(list, func(a, b wireTag) int { return cmp.Compare(a.Key, b.Key) })
	return list
}

// newestFirst sorts by version number, the order in which MLflow resolves a stage.
func newestFirst(versions []Version) {
	slices.SortFunc(versions, func(a, b Version) int { return cmp.Compare(b.number(), a.number()) })
}
