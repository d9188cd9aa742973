// Package store keeps rollouts, attempts, signals, history, samples and the embedded registry as rows over database/sql.
// It never decides anything and never calls out; opening and locking a database is its subpackages' work.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// The errors that callers branch on.
var (
	// ErrNotFound is wrapped by the error of every look-up that finds no row.
	ErrNotFound = errors.New("not found")
	// ErrExists is wrapped when a row that may be written only once is there already.
	ErrExists = errors.New("exists already")
	// ErrFenced is wrapped when an attempt is not open any more: somebody else went on, and its result must not be applied.
	ErrFenced = errors.New("the attempt is not open any more")
	// ErrConflict is wrapped when a row has changed since it was read: read it again and start over.
	ErrConflict = errors.New("the row has changed meanwhile")
)

// DB is a set of tables. Reads run side by side; writes one after another.
type DB struct {
	write *sql.DB
	read  *sql.DB
	close func() error
	// dialect names the folder with the statements that only this kind of database understands.
	dialect string
}

// Handles are the pools a DB works on: Write has exactly one connection, Read several, Close releases what the opener holds (a lock) after both.
// Dialect is "sqlite" or "postgres".
type Handles struct {
	Dialect string
	Write   *sql.DB
	Read    *sql.DB
	Close   func() error
}

// New wraps opened pools and brings the schema up to date. It refuses a database that a newer release has migrated.
func New(ctx context.Context, h Handles) (*DB, error) {
	db := &DB{write: h.Write, read: h.Read, close: h.Close, dialect: h.Dialect}
	if err := db.migrate(ctx); err != nil {
		return nil, err
	}
	return db, nil
}

// Close closes the pools and releases the opener's lock.
func (db *DB) Close() error {
	err := errors.Join(db.read.Close(), db.write.Close())
	if db.close != nil {
		err = errors.Join(err, db.close())
	}
	return err
}

// Tx is one transaction. Its methods stand in one file a noun. It must not be kept after the function that received it returns.
type Tx struct{ q *sql.Tx }

// View runs fn in a read-only transaction that sees one state of the database.
func (db *DB) View(ctx context.Context, fn func(*Tx) error) error {
	return run(ctx, db.read, &sql.TxOptions{ReadOnly: true}, fn)
}

// Update runs fn in a transaction that commits when fn returns nil and is undone otherwise. Updates run one at a time: fn must be quick and call nothing outside.
func (db *DB) Update(ctx context.Context, fn func(*Tx) error) error {
	return run(ctx, db.write, nil, fn)
}

func run(ctx context.Context, pool *sql.DB, opts *sql.TxOptions, fn func(*Tx) error) (err error) {
	tx, err := pool.BeginTx(ctx, opts)
	if err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	done := false
	defer func() {
		if !done {
			_ = tx.Rollback()
		}
	}()
	if err := fn(&Tx{q: tx}); err != nil {
		return err
	}
	done = true
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}
