package registry

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"serin/internal/model"
	"serin/internal/store"
)

// The limits of MLflow's validation, in characters. Source: mlflow/utils/validation.py.
const (
	maxTagKey   = 250
	maxTagValue = 100_000
	maxAlias    = 255
)

var (
	aliasPattern    = regexp.MustCompile(`^[\w\-]*$`)
	reservedVersion = regexp.MustCompile(`^[vV]\d+$`)
)

type nameIn struct {
	Name text `json:"name"`
}

type createModelIn struct {
	Name        text  `json:"name"`
	Description text  `json:"description"`
	Tags        []tag `json:"tags"`
}

func (s *Server) createModel(ctx context.Context, actor string, in createModelIn) (any, error) {
	if err := checkName(in.Name); err != nil {
		return nil, err
	}
	tags, err := tagsOf(in.Tags)
	if err != nil {
		return nil, err
	}
	now := s.opts.Now()
	m := store.RegisteredModel{Name: string(in.Name), Description: string(in.Description), CreatedAt: now, UpdatedAt: now, Tags: tags}
	err = s.opts.Store.Update(ctx, func(tx *store.Tx) error {
		if err := tx.CreateRegisteredModel(ctx, m); err != nil {
			return mapModel(err, m.Name)
		}
		return tx.AppendRegistryEvent(ctx, store.RegistryEvent{At: now, Actor: actor, Kind: "model.created", Name: m.Name})
	})
	return map[string]modelOut{"registered_model": outModel(m, nil)}, err
}

// mapModel turns the store's sentinels into MLflow's answers.
func mapModel(err error, name string) error {
	switch {
	case errors.Is(err, store.ErrExists):
		return modelExists(name)
	case errors.Is(err, store.ErrNotFound):
		return noModel(name)
	}
	return err
}

func checkName(name text) error {
	if strings.TrimSpace(string(name)) == "" {
		return missing("name")
	}
	if strings.ContainsAny(string(name), "/:") {
		return invalid("Invalid model name '%s'. Names cannot contain '/' or ':'.", name)
	}
	if err := model.ValidateName(string(name)); err != nil {
		return invalid("Invalid value for parameter 'name': %s.", err)
	}
	return nil
}

func tagsOf(list []tag) (map[string]string, error) {
	tags := make(map[string]string, len(list))
	for _, t := range list {
		if err := checkTag(t); err != nil {
			return nil, err
		}
		tags[string(t.Key)] = string(t.Value)
	}
	return tags, nil
}

func checkTag(t tag) error {
	switch {
	case t.Key == "":
		return missing("key")
	case utf8.RuneCountInString(string(t.Key)) > maxTagKey:
		return invalid("'key' exceeds the maximum length of %d characters", maxTagKey)
	case utf8.RuneCountInString(string(t.Value)) > maxTagValue:
		return invalid("'value' exceeds the maximum length of %d characters", maxTagValue)
	}
	return nil
}

// readModel gives a model as it is answered.
func readModel(ctx context.Context, tx *store.Tx, name string) (modelOut, error) {
	m, err := tx.RegisteredModel(ctx, name)
	if err != nil {
		return modelOut{}, mapModel(err, name)
	}
	versions, err := tx.ModelVersions(ctx, name)
	if err != nil {
		return modelOut{}, err
	}
	return outModel(m, versions), nil
}

func (s *Server) getModel(ctx context.Context, _ string, in nameIn) (any, error) {
	if err := checkName(in.Name); err != nil {
		return nil, err
	}
	var out modelOut
	err := s.opts.Store.View(ctx, func(tx *store.Tx) (err error) {
		out, err = readModel(ctx, tx, string(in.Name))
		return err
	})
	return map[string]modelOut{"registered_model": out}, err
}

type renameIn struct {
	Name    text `json:"name"`
	NewName text `json:"new_name"`
}

func (s *Server) renameModel(ctx context.Context, actor string, in renameIn) (any, error) {
	if err := checkName(in.Name); err != nil {
		return nil, err
	}
	if strings.TrimSpace(string(in.NewName)) == "" {
		return nil, missing("new_name")
	}
	if err := checkName(in.NewName); err != nil {
		return nil, err
	}
	from, to, now := string(in.Name), string(in.NewName), s.opts.Now()
	var out modelOut
	err := s.opts.Store.Update(ctx, func(tx *store.Tx) (err error) {
		if _, err := tx.RegisteredModel(ctx, from); err != nil {
			return mapModel(err, from)
		}
		if err := tx.RenameRegisteredModel(ctx, store.Rename{From: from, To: to, At: now}); err != nil {
			return mapModel(err, to)
		}
		event := store.RegistryEvent{At: now, Actor: actor, Kind: "model.renamed", Name: to, Before: from, After: to}
		if err := tx.AppendRegistryEvent(ctx, event); err != nil {
			return err
		}
		out, err = readModel(ctx, tx, to)
		return err
	})
	return map[string]modelOut{"registered_model": out}, err
}

type updateModelIn struct {
	Name        text  `json:"name"`
	Description *text `json:"description"`
}

func (s *Server) updateModel(ctx context.Context, actor string, in updateModelIn) (any, error) {
	if err := checkName(in.Name); err != nil {
		return nil, err
	}
	now := s.opts.Now()
	var out modelOut
	err := s.opts.Store.Update(ctx, func(tx *store.Tx) (err error) {
		m, err := tx.RegisteredModel(ctx, string(in.Name))
		if err != nil {
			return mapModel(err, string(in.Name))
		}
		event := store.RegistryEvent{At: now, Actor: actor, Kind: "model.description", Name: m.Name, Before: short(m.Description)}
		m.Description, m.UpdatedAt = "", now
		if in.Description != nil {
			m.Description = string(*in.Description)
		}
		event.After = short(m.Description)
		if err := tx.UpdateRegisteredModel(ctx, m); err != nil {
			return err
		}
		if err := tx.AppendRegistryEvent(ctx, event); err != nil {
			return err
		}
		out, err = readModel(ctx, tx, m.Name)
		return err
	})
	return map[string]modelOut{"registered_model": out}, err
}

// short keeps events small.
func short(s string) string {
	if len(s) > 500 {
		return strings.ToValidUTF8(s[:500], "") + "..."
	}
	return s
}

func (s *Server) deleteModel(ctx context.Context, actor string, in nameIn) (any, error) {
	if err := checkName(in.Name); err != nil {
		return nil, err
	}
	err := s.opts.Store.Update(ctx, func(tx *store.Tx) error {
		if err := tx.DeleteRegisteredModel(ctx, string(in.Name)); err != nil {
			return mapModel(err, string(in.Name))
		}
		return tx.AppendRegistryEvent(ctx, store.RegistryEvent{At: s.opts.Now(), Actor: actor, Kind: "model.deleted", Name: string(in.Name)})
	})
	return struct{}{}, err
}

type modelTagIn struct {
	Name  text `json:"name"`
	Key   text `json:"key"`
	Value text `json:"value"`
}

func (s *Server) setModelTag(ctx context.Context, actor string, in modelTagIn) (any, error) {
	return struct{}{}, s.changeModelTag(ctx, actor, modelTagChange{in: in, kind: "model.tag", write: (*store.Tx).SetModelTag})
}

func (s *Server) deleteModelTag(ctx context.Context, actor string, in modelTagIn) (any, error) {
	in.Value = ""
	return struct{}{}, s.changeModelTag(ctx, actor, modelTagChange{in: in, kind: "model.tag_deleted", write: (*store.Tx).DeleteModelTag})
}

type modelTagChange struct {
	in    modelTagIn
	kind  string
	write func(*store.Tx, context.Context, store.ModelTag) error
}

func (s *Server) changeModelTag(ctx context.Context, actor string, c modelTagChange) error {
	if err := checkName(c.in.Name); err != nil {
		return err
	}
	if err := checkTag(tag{Key: c.in.Key, Value: c.in.Value}); err != nil {
		return err
	}
	t := store.ModelTag{Name: string(c.in.Name), Key: string(c.in.Key), Value: string(c.in.Value)}
	return s.opts.Store.Update(ctx, func(tx *store.Tx) error {
		m, err := tx.RegisteredModel(ctx, t.Name)
		if err != nil {
			return mapModel(err, t.Name)
		}
		if err := c.write(tx, ctx, t); err != nil {
			return err
		}
		return tx.AppendRegistryEvent(ctx, store.RegistryEvent{
			At: s.opts.Now(), Actor: actor, Kind: c.kind, Name: t.Name,
			Before: keyValue(t.Key, m.Tags[t.Key]), After: keyValue(t.Key, t.Value),
		})
	})
}

func keyValue(key, value string) string { return short(fmt.Sprintf("%s=%s", key, value)) }

type latestIn struct {
	Name   text   `json:"name"`
	Stages []text `json:"stages"`
}

func (s *Server) latestVersions(ctx context.Context, _ string, in latestIn) (any, error) {
	if err := checkName(in.Name); err != nil {
		return nil, err
	}
	wanted := map[model.Stage]bool{}
	for _, t := range in.Stages {
		stage, err := parseStage(t)
		if err != nil {
			return nil, err
		}
		wanted[stage] = true
	}
	var out struct {
		Versions []versionOut `json:"model_versions,omitempty"`
	}
	err := s.opts.Store.View(ctx, func(tx *store.Tx) error {
		if _, err := tx.RegisteredModel(ctx, string(in.Name)); err != nil {
			return mapModel(err, string(in.Name))
		}
		versions, err := tx.ModelVersions(ctx, string(in.Name))
		for _, v := range latest(versions) {
			if len(wanted) == 0 || wanted[v.Stage] {
				out.Versions = append(out.Versions, outVersion(v))
			}
		}
		return err
	})
	return out, err
}

func parseStage(t text) (model.Stage, error) {
	stage, err := model.ParseStage(string(t))
	if err != nil {
		return "", invalid("Invalid Model Version stage: %s. Value must be one of None, Staging, Production, Archived.", t)
	}
	return stage, nil
}
