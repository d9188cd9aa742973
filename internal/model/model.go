// Package model names registered models, their versions, stages, aliases and the references to them; it reads MLmodel files.
// It never does I/O and knows no registry.
package model

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Stage is a registry stage of a model version, spelled as MLflow spells it.
type Stage string

// The four stages of MLflow's model registry.
const (
	StageNone       Stage = "None"
	StageStaging    Stage = "Staging"
	StageProduction Stage = "Production"
	StageArchived   Stage = "Archived"
)

// ParseStage reads a stage name in any case, as MLflow does.
func ParseStage(s string) (Stage, error) {
	for _, stage := range []Stage{StageNone, StageStaging, StageProduction, StageArchived} {
		if strings.EqualFold(s, string(stage)) {
			return stage, nil
		}
	}
	return "", fmt.Errorf("unknown stage %q: use None, Staging, Production or Archived", s)
}

// Pin is one version of a registered model, fixed at the start of a rollout and checked at every step.
type Pin struct {
	// Version is the registry's version number in decimal, such as "41".
	Version string `json:"version"`
	// Digest is the Digest of the version's files, "sha256:" and 64 hex digits; empty when the files cannot be read by Serin.
	Digest string `json:"digest,omitempty"`
	// Slot is the URL, 1 or 2, that serves the version with the backend `urls`; 0 with every other backend.
	Slot int `json:"slot,omitempty"`
}

// RefKind says what a Ref points at.
type RefKind string

// The kinds of references that Serin resolves.
const (
	RefStage   RefKind = "stage"   // models:/name/Production
	RefVersion RefKind = "version" // models:/name/41
	RefAlias   RefKind = "alias"   // models:/name@champion
	RefURL     RefKind = "url"     // http://host/invocations
	RefPath    RefKind = "path"    // a model directory or file
)

// Ref is a parsed reference to something that scores rows.
type Ref struct {
	Kind RefKind
	// Name is the registered model, for stage, version and alias.
	Name string
	// Stage is set for RefStage, Version for RefVersion, Alias for RefAlias.
	Stage   Stage
	Version string
	Alias   string
	// Location is the URL or the file path, for RefURL and RefPath.
	Location string
}

var aliasPattern = regexp.MustCompile(`^[\w-]{1,255}$`)

// ParseRef reads models:/name/Stage, models:/name/3, models:/name@alias, an http(s) URL, or a path.
// A suffix of digits is a version; any other suffix must be a stage. "models:/name/latest" is refused: it moves.
func ParseRef(s string) (Ref, error) {
	switch {
	case s == "":
		return Ref{}, fmt.Errorf("empty model reference: give models:/NAME/STAGE, models:/NAME/VERSION, models:/NAME@ALIAS, an http URL or a path")
	case strings.HasPrefix(s, "http://"), strings.HasPrefix(s, "https://"):
		return Ref{Kind: RefURL, Location: s}, nil
	case strings.HasPrefix(s, "models:"):
		return parseRegistered(s)
	default:
		return Ref{Kind: RefPath, Location: strings.TrimPrefix(s, "file://")}, nil
	}
}

func parseRegistered(s string) (Ref, error) {
	body := strings.TrimLeft(strings.TrimPrefix(s, "models:"), "/")
	i := strings.LastIndexByte(body, '/')
	if at := strings.LastIndexByte(body, '@'); at >= 0 && i < 0 { // with a '/' the '@' is part of the name, as MLflow reads it
		name, alias := body[:at], body[at+1:]
		if err := ValidateName(name); err != nil {
			return Ref{}, fmt.Errorf("model reference %q: %w", s, err)
		}
		if !aliasPattern.MatchString(alias) {
			return Ref{}, fmt.Errorf("model reference %q: alias %q: use letters, digits, _ and -", s, alias)
		}
		return Ref{Kind: RefAlias, Name: name, Alias: alias}, nil
	}
	if i < 0 {
		return Ref{}, fmt.Errorf("model reference %q names no stage, version or alias: write models:/%s/Production, models:/%s/3 or models:/%s@champion", s, body, body, body)
	}
	name, suffix := body[:i], body[i+1:]
	if err := ValidateName(name); err != nil {
		return Ref{}, fmt.Errorf("model reference %q: %w", s, err)
	}
	if v, err := ParseVersion(suffix); err == nil {
		return Ref{Kind: RefVersion, Name: name, Version: v}, nil
	}
	stage, err := ParseStage(suffix)
	if err != nil {
		return Ref{}, fmt.Errorf("model reference %q: %w, or a version number", s, err)
	}
	return Ref{Kind: RefStage, Name: name, Stage: stage}, nil
}

// String gives the reference back in the form that ParseRef reads.
func (r Ref) String() string {
	switch r.Kind {
	case RefStage:
		return "models:/" + r.Name + "/" + string(r.Stage)
	case RefVersion:
		return "models:/" + r.Name + "/" + r.Version
	case RefAlias:
		return "models:/" + r.Name + "@" + r.Alias
	case RefURL, RefPath:
		return r.Location
	}
	return ""
}

// Registered says whether the reference names a model of the registry.
func (r Ref) Registered() bool {
	return r.Kind == RefStage || r.Kind == RefVersion || r.Kind == RefAlias
}

// ParseVersion reads a version number (decimal, 1 or more) and returns it without leading zeros.
func ParseVersion(s string) (string, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || n == 0 {
		return "", fmt.Errorf("version %q: give a number from 1 up", s)
	}
	return strconv.FormatUint(n, 10), nil
}

// ValidateName checks a registered model's name by MLflow's rules: not empty, no '/' or ':', no path tricks.
func ValidateName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("empty model name: give the name the model is registered under")
	case strings.ContainsAny(name, "/:\x00\\"), name == ".", name == "..":
		return fmt.Errorf("model name %q: a name has no '/', ':' or '\\' and is not '.' or '..'", name)
	case len(name) > 256:
		return fmt.Errorf("model name of %d bytes: at most 256", len(name))
	}
	return nil
}
