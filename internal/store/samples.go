package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"serin/internal/analysis"
)

// SaveScrape stores one tick of a model, with all its lines or none. A tick that is stored already is ErrExists: what was judged must not change.
func (tx *Tx) SaveScrape(ctx context.Context, model string, sc analysis.Scrape) error {
	n, err := tx.exec(ctx, `INSERT INTO scrapes (model, at, error) VALUES ($1, $2, $3) ON CONFLICT (model, at) DO NOTHING`, model, nanos(sc.At), sc.Err)
	if err == nil && n == 0 {
		err = ErrExists
	}
	if err != nil {
		return fmt.Errorf("save the scrape of %s at %s: %w", model, sc.At.UTC().Format(time.RFC3339Nano), err)
	}
	for i, s := range sc.Samples {
		body, err := encode("sample of "+model, s)
		if err != nil {
			return err
		}
		if _, err := tx.exec(ctx, `INSERT INTO samples (model, at, seq, role, instance, body) VALUES ($1, $2, $3, $4, $5, $6)`,
			model, nanos(sc.At), i, string(s.Role), s.Instance, body); err != nil {
			return fmt.Errorf("save a sample of %s at %s: %w", model, sc.At.UTC().Format(time.RFC3339Nano), err)
		}
	}
	return nil
}

// Scrapes lists the ticks of a model with after < at <= until in order; a zero until is no bound. Samples come in the order in which they were saved.
func (tx *Tx) Scrapes(ctx context.Context, model string, after, until time.Time) ([]analysis.Scrape, error) {
	last := nanos(until)
	if until.IsZero() {
		last = 1<<63 - 1
	}
	all, err := collect(ctx, tx, func(row scanner) (sc analysis.Scrape, err error) {
		var at int64
		err = row.Scan(&at, &sc.Err)
		sc.At = timeOf(at)
		return sc, err
	}, `SELECT at, error FROM scrapes WHERE model = $1 AND at > $2 AND at <= $3 ORDER BY at`, model, nanos(after), last)
	if err != nil {
		return nil, fmt.Errorf("scrapes of %s: %w", model, err)
	}
	place := make(map[int64]int, len(all))
	for i, sc := range all {
		place[nanos(sc.At)] = i
	}
	if _, err := collect(ctx, tx, func(row scanner) (none struct{}, err error) {
		var at int64
		var body string
		var s analysis.Sample
		if err := row.Scan(&at, &body); err != nil {
			return none, err
		}
		if err := json.Unmarshal([]byte(body), &s); err != nil {
			return none, err
		}
		sc := &all[place[at]]
		sc.Samples = append(sc.Samples, s)
		return none, nil
	}, `SELECT at, body FROM samples WHERE model = $1 AND at > $2 AND at <= $3 ORDER BY at, seq`, model, nanos(after), last); err != nil {
		return nil, fmt.Errorf("samples of %s: %w", model, err)
	}
	return all, nil
}

// PruneSamples forgets the ticks of a model before a time.
func (tx *Tx) PruneSamples(ctx context.Context, model string, before time.Time) error {
	for _, query := range []string{`DELETE FROM samples WHERE model = $1 AND at < $2`, `DELETE FROM scrapes WHERE model = $1 AND at < $2`} {
		if _, err := tx.exec(ctx, query, model, nanos(before)); err != nil {
			return fmt.Errorf("prune the samples of %s: %w", model, err)
		}
	}
	return nil
}

// SaveScrape is Tx.SaveScrape in a transaction of its own.
func (db *DB) SaveScrape(ctx context.Context, model string, sc analysis.Scrape) error {
	return db.Update(ctx, func(tx *Tx) error { return tx.SaveScrape(ctx, model, sc) })
}

// Scrapes is Tx.Scrapes in a transaction of its own.
func (db *DB) Scrapes(ctx context.Context, model string, after, until time.Time) (all []analysis.Scrape, err error) {
	err = db.View(ctx, func(tx *Tx) error {
		all, err = tx.Scrapes(ctx, model, after, until)
		return err
	})
	return all, err
}

// PruneSamples is Tx.PruneSamples in a transaction of its own.
func (db *DB) PruneSamples(ctx context.Context, model string, before time.Time) error {
	return db.Update(ctx, func(tx *Tx) error { return tx.PruneSamples(ctx, model, before) })
}
