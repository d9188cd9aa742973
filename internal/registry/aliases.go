package registry

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"serin/internal/store"
)

type aliasIn struct {
	Name    text `json:"name"`
	Alias   text `json:"alias"`
	Version text `json:"version"`
}

func checkAlias(alias text) error {
	switch {
	case alias == "":
		return missing("alias")
	case !aliasPattern.MatchString(string(alias)):
		return invalid("Invalid alias name: '%s'. Names may only contain alphanumerics, underscores (_), and dashes (-).", alias)
	case len(alias) > maxAlias:
		return invalid("'Registered model alias name' exceeds the maximum length of %d characters", maxAlias)
	}
	return nil
}

func checkNewAlias(alias text) error {
	if err := checkAlias(alias); err != nil {
		return err
	}
	if strings.EqualFold(string(alias), "latest") {
		return invalid("'latest' alias name (case insensitive) is reserved.")
	}
	if reservedVersion.MatchString(string(alias)) {
		return invalid("Version alias name '%s' is reserved.", alias)
	}
	return nil
}

func (s *Server) setAlias(ctx context.Context, actor string, in aliasIn) (any, error) {
	if err := checkName(in.Name); err != nil {
		return nil, err
	}
	if err := checkNewAlias(in.Alias); err != nil {
		return nil, err
	}
	number, err := in.Version.version()
	if err != nil {
		return nil, err
	}
	a := store.ModelAlias{Name: string(in.Name), Alias: string(in.Alias), Version: number}
	err = s.opts.Store.Update(ctx, func(tx *store.Tx) error {
		m, err := tx.RegisteredModel(ctx, a.Name)
		if err != nil {
			return mapModel(err, a.Name)
		}
		if _, err := tx.ModelVersion(ctx, a.Name, number); err != nil {
			return mapVersion(err, a.Name, number)
		}
		if err := tx.SetModelAlias(ctx, a); err != nil {
			return err
		}
		return tx.AppendRegistryEvent(ctx, store.RegistryEvent{
			At: s.opts.Now(), Actor: actor, Kind: "alias.set", Name: a.Name, Version: number,
			Before: aliasValue(m, a.Alias), After: a.Alias + "=" + strconv.FormatInt(number, 10),
		})
	})
	return struct{}{}, err
}

// aliasValue is an alias as events tell it; empty when the model has none of that name.
func aliasValue(m store.RegisteredModel, alias string) string {
	old, ok := m.Aliases[alias]
	if !ok {
		return ""
	}
	return alias + "=" + strconv.FormatInt(old, 10)
}

func (s *Server) deleteAlias(ctx context.Context, actor string, in aliasIn) (any, error) {
	if err := checkName(in.Name); err != nil {
		return nil, err
	}
	if err := checkAlias(in.Alias); err != nil {
		return nil, err
	}
	err := s.opts.Store.Update(ctx, func(tx *store.Tx) error {
		m, err := tx.RegisteredModel(ctx, string(in.Name))
		if err != nil {
			return mapModel(err, string(in.Name))
		}
		old, ok := m.Aliases[string(in.Alias)]
		if !ok {
			return nil
		}
		if err := tx.DeleteModelAlias(ctx, store.ModelAlias{Name: m.Name, Alias: string(in.Alias)}); err != nil {
			return err
		}
		return tx.AppendRegistryEvent(ctx, store.RegistryEvent{
			At: s.opts.Now(), Actor: actor, Kind: "alias.deleted", Name: m.Name, Version: old,
			Before: aliasValue(m, string(in.Alias)),
		})
	})
	return struct{}{}, err
}

func (s *Server) getByAlias(ctx context.Context, _ string, in aliasIn) (any, error) {
	if err := checkName(in.Name); err != nil {
		return nil, err
	}
	if err := checkAlias(in.Alias); err != nil {
		return nil, err
	}
	var out versionOut
	err := s.opts.Store.View(ctx, func(tx *store.Tx) error {
		v, err := byAlias(ctx, tx, in)
		out = outVersion(v)
		return err
	})
	return map[string]versionOut{"model_version": out}, err
}

// byAlias resolves an alias; "latest" is the highest version number. An unknown alias is 400, as in MLflow.
func byAlias(ctx context.Context, tx *store.Tx, in aliasIn) (store.ModelVersion, error) {
	name := string(in.Name)
	m, err := tx.RegisteredModel(ctx, name)
	if err != nil {
		return store.ModelVersion{}, mapModel(err, name)
	}
	if strings.EqualFold(string(in.Alias), "latest") {
		versions, err := tx.ModelVersions(ctx, name)
		if err == nil && len(versions) == 0 {
			err = &apiError{status: http.StatusNotFound, code: codeNotFound, message: "Latest version not found for model " + name + "."}
		}
		if err != nil {
			return store.ModelVersion{}, err
		}
		return versions[0], nil
	}
	number, ok := m.Aliases[string(in.Alias)]
	if !ok {
		return store.ModelVersion{}, invalid("Registered model alias %s not found.", in.Alias)
	}
	v, err := tx.ModelVersion(ctx, name, number)
	return v, mapVersion(err, name, number)
}
