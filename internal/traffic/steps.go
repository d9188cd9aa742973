package traffic

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"time"

	"serin/internal/model"
)

// URIs says how the two model references are written.
type URIs string

// URIStage writes models:/NAME/Staging and models:/NAME/Production, URIVersion writes models:/NAME/41, for readers that load once and
// would not notice a stage moving.
const (
	URIStage   URIs = "stage"
	URIVersion URIs = "version"
)

// Author says who writes a document and on whose behalf.
type Author struct {
	// Writer is the process or the person, such as "serin serve (host:pid)". It must not be empty.
	Writer string
	// Rollout, Task and Attempt are empty for a write outside a rollout.
	Rollout string
	Task    string
	Attempt int
}

// DeployParams are the facts that the document after a deploy or a new weight states.
type DeployParams struct {
	Model string
	// WeightPct is above 0 and below 100, and is rounded to 0.01.
	WeightPct float64
	// Buckets are the canary's; empty means Percent(WeightPct). Otherwise they must be as many as the weight says.
	Buckets  Set
	URIs     URIs
	Champion model.Pin
	Canary   model.Pin
	// Salt is the rollout's; a resumed rollout gives the same again.
	Salt       string
	LeaseUntil time.Time
	By         Author
}

// RollbackParams are the facts that the document after a rollback states.
type RollbackParams struct {
	Model string
	// Champion is the version that has all traffic; the zero value keeps what the previous document says.
	Champion model.Pin
	// URIs is for the reference that a document without a previous one gets.
	URIs URIs
	// At is written as rollback_timestamp, in UTC, to the second.
	At time.Time
	By Author
}

// PromoteParams are the facts that the document after a promotion states; an undo is a promotion of the older version with URIVersion.
type PromoteParams struct {
	Model string
	URIs  URIs
	// Champion is the version that has all traffic from now on.
	Champion model.Pin
	By       Author
}

// Deploy gives the document that sends WeightPct to the canary. The time of an earlier rollback is removed, unknown keys are kept.
func Deploy(prev Document, p DeployParams) (Document, error) {
	points := int(math.Round(p.WeightPct * Buckets / 100))
	if math.IsNaN(p.WeightPct) || points < 1 || points >= Buckets {
		return Document{}, fmt.Errorf("canary weight %v %%: give 0.01 to 99.99; all traffic is a promotion", p.WeightPct)
	}
	if p.Salt == "" {
		return Document{}, errors.New("canary without a salt: give the rollout's, or the same customers would be chosen every time")
	}
	if p.Buckets.Count() == 0 {
		p.Buckets = Percent(float64(points) * 100 / Buckets)
	}
	if n := p.Buckets.Count(); n != points {
		return Document{}, fmt.Errorf("canary weight %v %% with %d of %d buckets: give %d", p.WeightPct, n, Buckets, points)
	}
	champion, err := uri(p.URIs, p.Model, model.StageProduction, p.Champion)
	if err != nil {
		return Document{}, err
	}
	canary, err := uri(p.URIs, p.Model, model.StageStaging, p.Canary)
	if err != nil {
		return Document{}, err
	}
	next, err := prev.next(p.By)
	if err != nil {
		return Document{}, err
	}
	next.CanaryEnabled, next.CanaryURI, next.ProductionURI = true, canary, champion
	next.CanaryPct = float64(points) * 100 / Buckets
	next.ChampionPct = float64(Buckets-points) * 100 / Buckets
	next.forgetRollback()
	next.Control.Salt, next.Control.LeaseUntil = p.Salt, p.LeaseUntil.UTC()
	if p.LeaseUntil.IsZero() {
		next.Control.LeaseUntil = time.Time{}
	}
	next.Control.Champion = p.Champion
	next.Control.Canary = &CanaryPin{Pin: p.Canary, Buckets: p.Buckets}
	return next, next.Validate()
}

// Rollback gives the document that sends everything to the champion again. It needs no previous document, and keeps all it can of one.
func Rollback(prev Document, p RollbackParams) (Document, error) {
	if p.At.IsZero() {
		return Document{}, errors.New("rollback without a time: give the time it happened")
	}
	next, err := prev.next(p.By)
	if err != nil {
		return Document{}, err
	}
	if p.Champion.Version != "" {
		next.Control.Champion = p.Champion
	}
	if next.ProductionURI == "" {
		if next.ProductionURI, err = uri(p.URIs, p.Model, model.StageProduction, next.Control.Champion); err != nil {
			return Document{}, err
		}
	}
	next.championOnly()
	next.forgetRollback()
	next.RollbackAt = p.At.UTC().Truncate(time.Second)
	return next, next.Validate()
}

// Promote gives the document that sends everything to the promoted version.
func Promote(prev Document, p PromoteParams) (Document, error) {
	production, err := uri(p.URIs, p.Model, model.StageProduction, p.Champion)
	if err != nil {
		return Document{}, err
	}
	next, err := prev.next(p.By)
	if err != nil {
		return Document{}, err
	}
	next.ProductionURI = production
	next.Control.Champion = p.Champion
	next.championOnly()
	return next, next.Validate()
}

// RenewLease gives the same document with a later end of its lease. It is an error when there is no canary, or no control data to renew.
func RenewLease(prev Document, until time.Time, by Author) (Document, error) {
	if prev.WeightPct() == 0 || prev.Control == nil {
		return Document{}, errors.New("no canary of ours has traffic: there is no lease to renew")
	}
	next, err := prev.next(by)
	if err != nil {
		return Document{}, err
	}
	next.Control.LeaseUntil = until.UTC()
	return next, nil
}

// next copies the document as far as it is shared, and signs the copy with the next generation.
func (d Document) next(by Author) (Document, error) {
	if by.Writer == "" {
		return Document{}, errors.New("routing document without a writer: say who writes it")
	}
	control := Control{}
	if d.Control != nil {
		control = *d.Control
	}
	control.Generation = d.Generation() + 1
	control.Writer, control.Rollout, control.Task, control.Attempt = by.Writer, by.Rollout, by.Task, by.Attempt
	d.Control = &control
	d.Unknown = maps.Clone(d.Unknown)
	return d, nil
}

// championOnly takes all traffic from the canary. The salt stays: a rollout that is retried must meet the same customers.
func (d *Document) championOnly() {
	d.CanaryEnabled, d.CanaryPct, d.ChampionPct = false, 0, 100
	d.Control.Canary, d.Control.LeaseUntil = nil, time.Time{}
}

func (d *Document) forgetRollback() {
	d.RollbackAt = time.Time{}
	delete(d.Unknown, keyRollbackAt)
}

// uri writes one model reference in the way asked for.
func uri(how URIs, name string, stage model.Stage, pin model.Pin) (string, error) {
	if err := model.ValidateName(name); err != nil {
		return "", fmt.Errorf("routing document: %w", err)
	}
	switch how {
	case URIStage:
		return model.Ref{Kind: model.RefStage, Name: name, Stage: stage}.String(), nil
	case URIVersion:
		version, err := model.ParseVersion(pin.Version)
		if err != nil {
			return "", fmt.Errorf("routing document with routing.uris: version, %s: %w", stage, err)
		}
		return model.Ref{Kind: model.RefVersion, Name: name, Version: version}.String(), nil
	default:
		return "", fmt.Errorf("routing.uris %q: use stage or version", how)
	}
}
