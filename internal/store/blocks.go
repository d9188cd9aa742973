package store

import (
	"context"
	"fmt"
	"time"
)

// Block is a version that no rollout may take until a person unblocks it.
type Block struct {
	Model   string
	Version string
	Reason  string
	Actor   string
	At      time.Time
}

// BlockVersion blocks a version; blocking it again replaces reason, actor and time.
func (tx *Tx) BlockVersion(ctx context.Context, b Block) error {
	_, err := tx.exec(ctx, `INSERT INTO blocks (model, version, reason, actor, at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (model, version) DO UPDATE SET reason = excluded.reason, actor = excluded.actor, at = excluded.at`,
		b.Model, b.Version, b.Reason, b.Actor, nanos(b.At))
	if err != nil {
		return fmt.Errorf("block version %s of %s: %w", b.Version, b.Model, err)
	}
	return nil
}

// UnblockVersion lifts a block; ErrNotFound when there is none.
func (tx *Tx) UnblockVersion(ctx context.Context, model, version string) error {
	n, err := tx.exec(ctx, `DELETE FROM blocks WHERE model = $1 AND version = $2`, model, version)
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("block of version %s of %s: %w", version, model, err)
	}
	return nil
}

func scanBlock(row scanner) (b Block, err error) {
	var at int64
	err = row.Scan(&b.Model, &b.Version, &b.Reason, &b.Actor, &at)
	b.At = timeOf(at)
	return b, orNotFound(err)
}

// Block gives the block of a version; ErrNotFound when it is not blocked.
func (tx *Tx) Block(ctx context.Context, model, version string) (Block, error) {
	b, err := scanBlock(tx.q.QueryRowContext(ctx, `SELECT model, version, reason, actor, at FROM blocks WHERE model = $1 AND version = $2`, model, version))
	if err != nil {
		return b, fmt.Errorf("block of version %s of %s: %w", version, model, err)
	}
	return b, nil
}

// Blocks lists the blocked versions of a model, or of all models when the name is empty, oldest first.
func (tx *Tx) Blocks(ctx context.Context, model string) ([]Block, error) {
	all, err := collect(ctx, tx, scanBlock, `SELECT model, version, reason, actor, at FROM blocks
		WHERE ($1 = '' OR model = $1) ORDER BY at, model, version`, model)
	if err != nil {
		return nil, fmt.Errorf("list blocks: %w", err)
	}
	return all, nil
}
