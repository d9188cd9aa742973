package traffic

import (
	"math"
	"time"

	"serin/internal/model"
)

// LeaseGrace is how long after the end of its lease a canary keeps its traffic: a controller that restarts must not move anybody.
const LeaseGrace = 5 * time.Minute

// Table gives what a gateway routes the named model by. The five public keys decide; the control data adds pins, salt, lease and buckets
// as far as it agrees with them, because another writer may have changed the keys and left the rest.
func (d Document) Table(name string) Table {
	t := Table{Model: name, Generation: d.Generation(), Champion: Side{URI: d.ProductionURI}}
	if d.Control != nil {
		t.Salt = d.Control.Salt
		t.Champion.Pin = pinOf(d.ProductionURI, d.Control.Champion)
	}
	set := Percent(d.WeightPct())
	if set.Count() == 0 {
		return t
	}
	t.Canary, t.Buckets = &Side{URI: d.CanaryURI}, set
	if d.Control == nil {
		return t
	}
	t.LeaseUntil = d.Control.LeaseUntil
	if c := d.Control.Canary; c != nil {
		t.Canary.Pin = pinOf(d.CanaryURI, c.Pin)
		if c.Buckets.Count() == set.Count() {
			t.Buckets = c.Buckets
		}
	}
	return t
}

// pinOf gives the pin unless the reference names another version, which another writer must have put there.
func pinOf(uri string, pin model.Pin) model.Pin {
	ref, err := model.ParseRef(uri)
	if err == nil && ref.Kind == model.RefVersion && ref.Version != pin.Version {
		return model.Pin{Version: ref.Version}
	}
	return pin
}

// Assign gives the side of a bucket. When the lease is over for more than LeaseGrace it is the champion: nobody watches the canary any more.
func (t Table) Assign(bucket int, now time.Time) Role {
	if t.Canary == nil || !t.Buckets.Has(bucket) || t.LeaseLost(now) {
		return Champion
	}
	return Canary
}

// LeaseLost says whether the table has a lease that is over for more than LeaseGrace at now.
func (t Table) LeaseLost(now time.Time) bool {
	return !t.LeaseUntil.IsZero() && now.Sub(t.LeaseUntil) > LeaseGrace
}

// WeightPct is the canary's share of the buckets in percent, 0 without a canary.
func (t Table) WeightPct() float64 {
	if t.Canary == nil {
		return 0
	}
	return math.Round(float64(t.Buckets.Count())*1e4/Buckets) / 100
}
