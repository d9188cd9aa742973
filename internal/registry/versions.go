package registry

import (
	"context"
	"errors"
	"time"

	"serin/internal/model"
	"serin/internal/store"
)

type versionIn struct {
	Name    text `json:"name"`
	Version text `json:"version"`
}

// check gives the version's number.
func (in versionIn) check() (int64, error) {
	if err := checkName(in.Name); err != nil {
		return 0, err
	}
	return in.Version.version()
}

func mapVersion(err error, name string, number int64) error {
	if errors.Is(err, store.ErrNotFound) {
		return noVersion(name, number)
	}
	return err
}

type createVersionIn struct {
	Name        text  `json:"name"`
	Source      text  `json:"source"`
	RunID       text  `json:"run_id"`
	RunLink     text  `json:"run_link"`
	Description text  `json:"description"`
	Tags        []tag `json:"tags"`
}

func (s *Server) createVersion(ctx context.Context, actor string, in createVersionIn) (any, error) {
	if err := checkName(in.Name); err != nil {
		return nil, err
	}
	if in.Source == "" {
		return nil, missing("source")
	}
	tags, err := tagsOf(in.Tags)
	if err != nil {
		return nil, err
	}
	now := s.opts.Now()
	v := store.ModelVersion{
		Name: string(in.Name), Stage: model.StageNone, Source: string(in.Source), RunID: string(in.RunID), RunLink: string(in.RunLink),
		Description: string(in.Description), Status: "READY", CreatedAt: now, UpdatedAt: now, Tags: tags,
	}
	err = s.opts.Store.Update(ctx, func(tx *store.Tx) error {
		if err := touch(ctx, tx, touched{model: v.Name, at: now}); err != nil {
			return mapModel(err, v.Name)
		}
		if err := resolveSource(ctx, tx, &v); err != nil {
			return err
		}
		if v.Version, err = tx.CreateModelVersion(ctx, v); err != nil {
			return err
		}
		return tx.AppendRegistryEvent(ctx, store.RegistryEvent{At: now, Actor: actor, Kind: "version.created", Name: v.Name, Version: v.Version, After: short(v.Source)})
	})
	return map[string]versionOut{"model_version": outVersion(v)}, err
}

type touched struct {
	model string
	at    time.Time
}

// touch writes a model's update time; store.ErrNotFound when there is no such model.
func touch(ctx context.Context, tx *store.Tx, t touched) error {
	m, err := tx.RegisteredModel(ctx, t.model)
	if err != nil {
		return err
	}
	m.UpdatedAt = t.at
	return tx.UpdateRegisteredModel(ctx, m)
}

func (s *Server) getVersion(ctx context.Context, _ string, in versionIn) (any, error) {
	v, err := s.readVersion(ctx, in)
	return map[string]versionOut{"model_version": outVersion(v)}, err
}

func (s *Server) readVersion(ctx context.Context, in versionIn) (v store.ModelVersion, err error) {
	number, err := in.check()
	if err != nil {
		return v, err
	}
	err = s.opts.Store.View(ctx, func(tx *store.Tx) (err error) {
		v, err = tx.ModelVersion(ctx, string(in.Name), number)
		return mapVersion(err, string(in.Name), number)
	})
	return v, err
}

func (s *Server) downloadURI(ctx context.Context, _ string, in versionIn) (any, error) {
	v, err := s.readVersion(ctx, in)
	return map[string]string{"artifact_uri": v.Storage}, err
}

type updateVersionIn struct {
	versionIn
	Description text `json:"description"`
}

func (s *Server) updateVersion(ctx context.Context, actor string, in updateVersionIn) (any, error) {
	now := s.opts.Now()
	v, err := s.changeVersion(ctx, in.versionIn, func(tx *store.Tx, v *store.ModelVersion) error {
		event := store.RegistryEvent{
			At: now, Actor: actor, Kind: "version.description", Name: v.Name, Version: v.Version,
			Before: short(v.Description), After: short(string(in.Description)),
		}
		v.Description, v.UpdatedAt = string(in.Description), now
		if err := tx.UpdateModelVersion(ctx, *v); err != nil {
			return err
		}
		return tx.AppendRegistryEvent(ctx, event)
	})
	return map[string]versionOut{"model_version": outVersion(v)}, err
}

// changeVersion runs change on a version that exists, in one transaction.
func (s *Server) changeVersion(ctx context.Context, in versionIn, change func(*store.Tx, *store.ModelVersion) error) (v store.ModelVersion, err error) {
	number, err := in.check()
	if err != nil {
		return v, err
	}
	err = s.opts.Store.Update(ctx, func(tx *store.Tx) (err error) {
		if v, err = tx.ModelVersion(ctx, string(in.Name), number); err != nil {
			return mapVersion(err, string(in.Name), number)
		}
		return change(tx, &v)
	})
	return v, err
}

func (s *Server) deleteVersion(ctx context.Context, actor string, in versionIn) (any, error) {
	now := s.opts.Now()
	_, err := s.changeVersion(ctx, in, func(tx *store.Tx, v *store.ModelVersion) error {
		if err := tx.DeleteModelVersion(ctx, store.DeletedVersion{Name: v.Name, Version: v.Version, At: now}); err != nil {
			return err
		}
		if err := touch(ctx, tx, touched{model: v.Name, at: now}); err != nil {
			return err
		}
		return tx.AppendRegistryEvent(ctx, store.RegistryEvent{At: now, Actor: actor, Kind: "version.deleted", Name: v.Name, Version: v.Version, Before: string(v.Stage)})
	})
	return struct{}{}, err
}

type transitionIn struct {
	versionIn
	Stage   text `json:"stage"`
	Archive text `json:"archive_existing_versions"`
}

// transition moves a version and archives the others of the stage in one transaction: with updates one after another, four at once leave one in
// Production, where MLflow leaves several.
func (s *Server) transition(ctx context.Context, actor string, in transitionIn) (any, error) {
	if in.Stage == "" {
		return nil, missing("stage")
	}
	to, err := parseStage(in.Stage)
	if err != nil {
		return nil, err
	}
	archive, err := in.Archive.flag("archive_existing_versions")
	if err != nil {
		return nil, err
	}
	if archive && to != model.StageStaging && to != model.StageProduction {
		// The real server answers 500, which makes its older clients repeat the call for minutes.
		return nil, invalid("Model version transition cannot archive existing model versions because '%s' is not an Active stage. "+
			"Valid stages are ['Staging', 'Production']", to)
	}
	v, err := s.changeVersion(ctx, in.versionIn, func(tx *store.Tx, v *store.ModelVersion) error {
		if archive {
			if err := s.archiveOthers(ctx, tx, moveOf{version: *v, to: to, actor: actor}); err != nil {
				return err
			}
		}
		return s.move(ctx, tx, moveOf{version: *v, to: to, actor: actor, result: v})
	})
	return map[string]versionOut{"model_version": outVersion(v)}, err
}

// moveOf is one change of stage.
type moveOf struct {
	version store.ModelVersion
	to      model.Stage
	actor   string
	result  *store.ModelVersion // where the moved version is written to; nil when nobody asks
}

func (s *Server) archiveOthers(ctx context.Context, tx *store.Tx, m moveOf) error {
	versions, err := tx.ModelVersions(ctx, m.version.Name)
	if err != nil {
		return err
	}
	for _, other := range versions {
		if other.Stage != m.to || other.Version == m.version.Version {
			continue
		}
		if err := s.move(ctx, tx, moveOf{version: other, to: model.StageArchived, actor: m.actor}); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) move(ctx context.Context, tx *store.Tx, m moveOf) error {
	now := s.opts.Now()
	before := m.version.Stage
	m.version.Stage, m.version.UpdatedAt = m.to, now
	if err := tx.UpdateModelVersion(ctx, m.version); err != nil {
		return err
	}
	if m.result != nil {
		*m.result = m.version
	}
	if err := touch(ctx, tx, touched{model: m.version.Name, at: now}); err != nil {
		return err
	}
	return tx.AppendRegistryEvent(ctx, store.RegistryEvent{
		At: now, Actor: m.actor, Kind: "version.stage", Name: m.version.Name, Version: m.version.Version,
		Before: string(before), After: string(m.to),
	})
}

type versionTagIn struct {
	versionIn
	Key   text `json:"key"`
	Value text `json:"value"`
}

func (s *Server) setVersionTag(ctx context.Context, actor string, in versionTagIn) (any, error) {
	return struct{}{}, s.changeVersionTag(ctx, actor, versionTagChange{in: in, kind: "version.tag", write: (*store.Tx).SetVersionTag})
}

func (s *Server) deleteVersionTag(ctx context.Context, actor string, in versionTagIn) (any, error) {
	in.Value = ""
	return struct{}{}, s.changeVersionTag(ctx, actor, versionTagChange{in: in, kind: "version.tag_deleted", write: (*store.Tx).DeleteVersionTag})
}

type versionTagChange struct {
	in    versionTagIn
	kind  string
	write func(*store.Tx, context.Context, store.VersionTag) error
}

func (s *Server) changeVersionTag(ctx context.Context, actor string, c versionTagChange) error {
	if err := checkTag(tag{Key: c.in.Key, Value: c.in.Value}); err != nil {
		return err
	}
	_, err := s.changeVersion(ctx, c.in.versionIn, func(tx *store.Tx, v *store.ModelVersion) error {
		t := store.VersionTag{Name: v.Name, Version: v.Version, Key: string(c.in.Key), Value: string(c.in.Value)}
		if err := c.write(tx, ctx, t); err != nil {
			return err
		}
		return tx.AppendRegistryEvent(ctx, store.RegistryEvent{
			At: s.opts.Now(), Actor: actor, Kind: c.kind, Name: v.Name, Version: v.Version,
			Before: keyValue(t.Key, v.Tags[t.Key]), After: keyValue(t.Key, t.Value),
		})
	})
	return err
}
