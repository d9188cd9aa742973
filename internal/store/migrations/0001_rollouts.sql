-- Times are unix nanoseconds in UTC, 0 for none. Flags are 0 or 1. Bodies are JSON.

-- One row a rollout or undo. The columns beside state are copies for searching; state is what counts.
CREATE TABLE rollouts (
    id          TEXT PRIMARY KEY,
    model       TEXT NOT NULL,
    kind        TEXT NOT NULL,
    of          TEXT NOT NULL,
    retry_of    TEXT NOT NULL,
    driver      TEXT NOT NULL,
    phase       TEXT NOT NULL,
    task        TEXT NOT NULL,
    state       TEXT NOT NULL,
    plan        TEXT NOT NULL,
    pins        TEXT NOT NULL,
    owed        TEXT NOT NULL,
    watch_until BIGINT NOT NULL,
    next_salt   TEXT NOT NULL,
    open        BIGINT NOT NULL,
    live        BIGINT NOT NULL,
    generation  BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    ended_at    BIGINT NOT NULL
);
CREATE UNIQUE INDEX rollouts_one_open ON rollouts (model) WHERE open = 1;
CREATE INDEX rollouts_by_model ON rollouts (model, id);
CREATE INDEX rollouts_live ON rollouts (live, id);

CREATE TABLE attempts (
    rollout    TEXT NOT NULL REFERENCES rollouts (id),
    task       TEXT NOT NULL,
    attempt    BIGINT NOT NULL,
    status     TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at   BIGINT NOT NULL,
    verdict    TEXT NOT NULL,
    reason     TEXT NOT NULL,
    evidence   TEXT NOT NULL,
    PRIMARY KEY (rollout, task, attempt)
);

CREATE TABLE logs (
    rollout TEXT NOT NULL,
    seq     BIGINT NOT NULL,
    task    TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    at      BIGINT NOT NULL,
    line    TEXT NOT NULL,
    PRIMARY KEY (rollout, seq),
    FOREIGN KEY (rollout, task, attempt) REFERENCES attempts (rollout, task, attempt)
);

CREATE TABLE signals (
    id         BIGINT PRIMARY KEY,
    rollout    TEXT NOT NULL REFERENCES rollouts (id),
    body       TEXT NOT NULL,
    actor      TEXT NOT NULL,
    reason     TEXT NOT NULL,
    at         BIGINT NOT NULL,
    applied_at BIGINT NOT NULL,
    error      TEXT NOT NULL
);
CREATE INDEX signals_waiting ON signals (rollout, applied_at, id);

-- Append-only: see the dialect's own file for the triggers. rollout is empty for what belongs to the model only, such as an unblock.
CREATE TABLE history (
    seq     BIGINT PRIMARY KEY,
    rollout TEXT NOT NULL,
    model   TEXT NOT NULL,
    at      BIGINT NOT NULL,
    actor   TEXT NOT NULL,
    event   TEXT NOT NULL,
    reason  TEXT NOT NULL
);
CREATE INDEX history_by_model ON history (model, seq);
CREATE INDEX history_by_rollout ON history (rollout, seq);

CREATE TABLE outbox (
    rollout TEXT NOT NULL REFERENCES rollouts (id),
    event   TEXT NOT NULL,
    model   TEXT NOT NULL,
    actor   TEXT NOT NULL,
    reason  TEXT NOT NULL,
    body    TEXT NOT NULL,
    at      BIGINT NOT NULL,
    PRIMARY KEY (rollout, event)
);

CREATE TABLE deliveries (
    rollout    TEXT NOT NULL,
    event      TEXT NOT NULL,
    channel    TEXT NOT NULL,
    status     TEXT NOT NULL,
    attempts   BIGINT NOT NULL,
    next_at    BIGINT NOT NULL,
    settled_at BIGINT NOT NULL,
    last_error TEXT NOT NULL,
    PRIMARY KEY (rollout, event, channel),
    FOREIGN KEY (rollout, event) REFERENCES outbox (rollout, event)
);
CREATE INDEX deliveries_due ON deliveries (channel, status, next_at);

-- One row a tick, also when it brought no line; error says which source failed.
CREATE TABLE scrapes (
    model TEXT NOT NULL,
    at    BIGINT NOT NULL,
    error TEXT NOT NULL,
    PRIMARY KEY (model, at)
);

CREATE TABLE samples (
    model    TEXT NOT NULL,
    at       BIGINT NOT NULL,
    seq      BIGINT NOT NULL,
    role     TEXT NOT NULL,
    instance TEXT NOT NULL,
    body     TEXT NOT NULL,
    PRIMARY KEY (model, at, seq),
    FOREIGN KEY (model, at) REFERENCES scrapes (model, at)
);

CREATE TABLE blocks (
    model   TEXT NOT NULL,
    version TEXT NOT NULL,
    reason  TEXT NOT NULL,
    actor   TEXT NOT NULL,
    at      BIGINT NOT NULL,
    PRIMARY KEY (model, version)
);

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
