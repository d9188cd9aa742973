package mlflow

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"serin/internal/model"
)

// Mode says which marks of a champion are kept in the registry.
type Mode string

// The three modes. ModeBoth becomes ModeAliases on a server without stages.
const (
	ModeStages  Mode = "stages"
	ModeAliases Mode = "aliases"
	ModeBoth    Mode = "both"
)

// The aliases that stand for roles, and the tags that Serin leaves on a version.
const (
	AliasChampion   = "champion"
	AliasPrevious   = "previous-champion"
	AliasChallenger = "challenger"

	TagRollout = "serin.rollout_id" // the rollout that decided on this version
	TagOutcome = "serin.outcome"    // promoted, rejected, undone: written last, so it says that all else is done
	TagReason  = "serin.reason"
	TagUndo    = "serin.undo_id" // the rollout (of kind undo) that took this version back
)

// PromoteParams are the arguments of Promote and Undo.
type PromoteParams struct {
	Model string
	// From is the champion that the decision was made against, To the version that replaces it. Promote allows an empty From: the first champion.
	From, To string
	Mode     Mode
	// Rollout names the rollout; repeating a call with the same one is harmless and finishes what was begun.
	Rollout string
	// Tags are written before anything moves: on To by Promote, on From by Undo. The reason and the evidence belong here.
	Tags map[string]string
}

// Promoted says what a call of Promote, Undo or Demote did.
type Promoted struct {
	// Mode is the mode that was used: ModeAliases where ModeBoth met a server without stages.
	Mode Mode
	// Writes are the changes in words, in order; empty when the registry was already as it should be.
	Writes []string
}

// Promote makes To the only version in Production and the champion alias, and archives From. Every step looks before it writes and the result is
// read back, so a call that died anywhere is simply repeated. Another champion than From or To is an ErrRegistryChanged. MLflow has no
// compare-and-swap and its archiving is no mutual exclusion, so the caller must be the model's only writer. Source: mlflow.md 9.3.
func (c *Client) Promote(ctx context.Context, p PromoteParams) (Promoted, error) {
	m := mover{c: c, p: p, marked: p.To, idTag: TagRollout, outcome: "promoted"}
	return m.run(ctx, "promote")
}

// Undo is Promote back to an older version: To becomes the champion again, and From, the bad one, is archived and marked as undone.
func (c *Client) Undo(ctx context.Context, p PromoteParams) (Promoted, error) {
	if p.From == "" {
		return Promoted{}, fmt.Errorf("undo model %s: name the version that is taken back", p.Model)
	}
	m := mover{c: c, p: p, marked: p.From, idTag: TagUndo, outcome: "undone", undo: true}
	return m.run(ctx, "undo")
}

// mover carries one promotion or undo through its steps.
type mover struct {
	c       *Client
	p       PromoteParams
	marked  string // the version that gets tags and outcome
	idTag   string
	outcome string
	undo    bool
	snap    Snapshot
	out     Promoted
}

func (m *mover) run(ctx context.Context, verb string) (Promoted, error) {
	m.out.Mode = m.p.Mode
	if err := m.steps(ctx); err != nil {
		return m.out, fmt.Errorf("%s model %s from version %s to %s: %w", verb, m.p.Model, orNone(m.p.From), m.p.To, err)
	}
	return m.out, nil
}

func orNone(version string) string {
	if version == "" {
		return "(none)"
	}
	return version
}

func (m *mover) steps(ctx context.Context) (err error) {
	if err := m.check(); err != nil {
		return err
	}
	if m.snap, err = m.c.Snapshot(ctx, m.p.Model); err != nil {
		return err
	}
	if done, err := m.precondition(); done || err != nil {
		return err
	}
	if err := m.claim(ctx); err != nil {
		return err
	}
	if m.out.Mode != ModeAliases {
		if err := m.stages(ctx); err != nil {
			return err
		}
	}
	if m.out.Mode != ModeStages {
		if err := m.aliases(ctx); err != nil {
			return err
		}
	}
	return m.tag(ctx, map[string]string{TagOutcome: m.outcome})
}

func (m *mover) check() error {
	switch m.p.Mode {
	case ModeStages, ModeAliases, ModeBoth:
	default:
		return fmt.Errorf("promotion mode %q: use stages, aliases or both", m.p.Mode)
	}
	if m.p.Rollout == "" {
		return fmt.Errorf("no rollout is named: the tags need it")
	}
	if m.p.From == m.p.To {
		return fmt.Errorf("both are the same version")
	}
	return nil
}

// precondition says whether the work was finished before, and refuses when the registry is not as it was when the decision was made.
func (m *mover) precondition() (done bool, err error) {
	if _, ok := m.snap.Version(m.p.To); !ok {
		return false, fmt.Errorf("version %s: %w: it was deleted", m.p.To, ErrNotFound)
	}
	marked, ok := m.snap.Version(m.marked)
	if !ok {
		return false, fmt.Errorf("version %s: %w: it was deleted", m.marked, ErrNotFound)
	}
	champion := m.champion()
	mine := marked.Tags[m.idTag] == m.p.Rollout
	finished := mine && marked.Tags[TagOutcome] == m.outcome
	switch {
	case finished && champion == m.p.To:
		return true, nil
	case finished:
		return false, fmt.Errorf("%w: it was done, and since then version %s became champion; nothing was changed", ErrRegistryChanged, orNone(champion))
	case champion == m.p.From, champion == m.p.To:
		return false, nil
	case mine && m.inProduction(m.p.To):
		return false, nil // ours moved, and another writer's came beside it: the repair below takes it out
	}
	return false, fmt.Errorf("%w: the champion is version %s, not %s; nothing was changed; look at the registry, then start again", ErrRegistryChanged,
		orNone(champion), orNone(m.p.From))
}

// champion is the version that the registry's readers get now: by stage where stages count, else by alias. With both, a Production that is empty
// leaves the word to the alias: a server without stages looks like that.
func (m *mover) champion() string {
	v, ok := m.snap.Champion()
	if m.p.Mode == ModeAliases || (m.p.Mode == ModeBoth && !ok) {
		return m.snap.Aliases[AliasChampion]
	}
	return v.Version
}

func (m *mover) inProduction(version string) bool {
	return slices.ContainsFunc(m.snap.Stages[model.StageProduction], func(v Version) bool { return v.Version == version })
}

// claim marks the version as ours. An older decision's outcome goes first: beside our id it would say that we are done.
func (m *mover) claim(ctx context.Context) error {
	have, _ := m.snap.Version(m.marked)
	if have.Tags[m.idTag] != m.p.Rollout && have.Tags[TagOutcome] != "" {
		if err := m.c.DeleteVersionTag(ctx, VersionTag{Model: m.p.Model, Version: m.marked, Key: TagOutcome}); err != nil {
			return err
		}
		delete(have.Tags, TagOutcome) // the map is the snapshot's
		m.wrote("version %s: tag %s removed, it was of an older decision", m.marked, TagOutcome)
	}
	tags := map[string]string{m.idTag: m.p.Rollout}
	maps.Copy(tags, m.p.Tags)
	return m.tag(ctx, tags)
}

// tag writes the tags of the marked version that differ, in the order of their keys.
func (m *mover) tag(ctx context.Context, tags map[string]string) error {
	have, _ := m.snap.Version(m.marked)
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		if old, ok := have.Tags[k]; ok && old == tags[k] {
			continue
		}
		if err := m.c.SetVersionTag(ctx, VersionTag{Model: m.p.Model, Version: m.marked, Key: k, Value: tags[k]}); err != nil {
			return err
		}
		have.Tags[k] = tags[k]
		m.wrote("version %s: tag %s = %s", m.marked, k, tags[k])
	}
	return nil
}

func (m *mover) wrote(format string, args ...any) {
	m.out.Writes = append(m.out.Writes, fmt.Sprintf(format, args...))
}

// maxRounds bounds how often a Production that another writer fills again is cleared.
const maxRounds = 3

// stages brings Production to exactly the new champion and reads it back.
func (m *mover) stages(ctx context.Context) (err error) {
	for range maxRounds {
		if m.inProduction(m.p.To) && len(m.snap.Stages[model.StageProduction]) == 1 {
			return nil
		}
		if err := m.oneRound(ctx); err != nil {
			if errors.Is(err, ErrEndpointGone) && m.p.Mode == ModeBoth {
				m.c.log.WarnContext(ctx, "registry has no stages, aliases only", "model", m.p.Model, "err", err)
				m.out.Mode = ModeAliases
				return nil
			}
			return err
		}
		if m.snap, err = m.c.Snapshot(ctx, m.p.Model); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: Production still has %d versions after %d tries; stop the other writer, then repeat", ErrRegistryChanged,
		len(m.snap.Stages[model.StageProduction]), maxRounds)
}

func (m *mover) oneRound(ctx context.Context) error {
	if !m.inProduction(m.p.To) {
		if _, err := m.c.Transition(ctx, TransitionParams{Model: m.p.Model, Version: m.p.To, To: model.StageProduction, ArchiveOthers: true}); err != nil {
			return err
		}
		m.wrote("version %s: to Production, others archived", m.p.To)
		return nil
	}
	for _, v := range m.snap.Stages[model.StageProduction] {
		if v.Version == m.p.To {
			continue
		}
		if _, err := m.c.Transition(ctx, TransitionParams{Model: m.p.Model, Version: v.Version, To: model.StageArchived}); err != nil {
			return err
		}
		m.wrote("version %s: out of Production, to Archived", v.Version)
	}
	return nil
}

// aliases moves the champion alias, keeps the way back under previous-champion, and drops a challenger alias that has served its purpose.
func (m *mover) aliases(ctx context.Context) error {
	want := map[string]string{AliasChampion: m.p.To} // "" deletes
	switch {
	case m.undo && m.snap.Aliases[AliasPrevious] == m.p.To:
		want[AliasPrevious] = "" // it is the champion again, and the bad version is nobody's way back
	case !m.undo && m.p.From != "":
		want[AliasPrevious] = m.p.From
	}
	if m.snap.Aliases[AliasChallenger] == m.marked {
		want[AliasChallenger] = ""
	}
	for _, alias := range slices.Sorted(maps.Keys(want)) {
		if err := m.alias(ctx, alias, want[alias]); err != nil {
			return err
		}
	}
	snap, err := m.c.Snapshot(ctx, m.p.Model)
	if err != nil {
		return err
	}
	for alias, version := range want {
		if snap.Aliases[alias] != version {
			return fmt.Errorf("%w: alias %s is at version %s right after it was set to %s; stop the other writer, then repeat", ErrRegistryChanged,
				alias, orNone(snap.Aliases[alias]), orNone(version))
		}
	}
	m.snap = snap
	return nil
}

func (m *mover) alias(ctx context.Context, alias, version string) error {
	if m.snap.Aliases[alias] == version {
		return nil
	}
	p := AliasParams{Model: m.p.Model, Alias: alias, Version: version}
	if version == "" {
		if err := m.c.DeleteAlias(ctx, p); err != nil {
			return err
		}
		m.wrote("alias %s: deleted", alias)
		return nil
	}
	if err := m.c.SetAlias(ctx, p); err != nil {
		return err
	}
	m.wrote("alias %s: to version %s", alias, version)
	return nil
}
