package store

import (
	"context"
	"fmt"
)

// SetMeta stores a value under a key such as "next_salt/fraud"; each key belongs to the package that writes it.
func (tx *Tx) SetMeta(ctx context.Context, key, value string) error {
	_, err := tx.exec(ctx, `INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value`, key, value)
	if err != nil {
		return fmt.Errorf("set %s: %w", key, err)
	}
	return nil
}

// Meta gives the value under a key; ErrNotFound when there is none.
func (tx *Tx) Meta(ctx context.Context, key string) (string, error) {
	var value string
	if err := tx.q.QueryRowContext(ctx, `SELECT value FROM meta WHERE key = $1`, key).Scan(&value); err != nil {
		return "", fmt.Errorf("value of %s: %w", key, orNotFound(err))
	}
	return value, nil
}
