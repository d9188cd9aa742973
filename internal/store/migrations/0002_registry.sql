-- The embedded registry: MLflow's models, versions, tags and aliases. Times are unix nanoseconds in UTC.

CREATE TABLE registered_models (
    name        TEXT PRIMARY KEY,
    description TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
);

CREATE TABLE registered_model_tags (
    name  TEXT NOT NULL REFERENCES registered_models (name) ON UPDATE CASCADE ON DELETE CASCADE,
    key   TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (name, key)
);

-- A deleted version keeps its row, so that its number is never given again. source is what the client said, storage where the files lie.
CREATE TABLE model_versions (
    name           TEXT NOT NULL REFERENCES registered_models (name) ON UPDATE CASCADE ON DELETE CASCADE,
    version        BIGINT NOT NULL,
    stage          TEXT NOT NULL,
    description    TEXT NOT NULL,
    source         TEXT NOT NULL,
    storage        TEXT NOT NULL,
    run_id         TEXT NOT NULL,
    run_link       TEXT NOT NULL,
    status         TEXT NOT NULL,
    status_message TEXT NOT NULL,
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL,
    deleted        BIGINT NOT NULL,
    PRIMARY KEY (name, version)
);
CREATE INDEX model_versions_by_storage ON model_versions (storage);

CREATE TABLE model_version_tags (
    name    TEXT NOT NULL,
    version BIGINT NOT NULL,
    key     TEXT NOT NULL,
    value   TEXT NOT NULL,
    PRIMARY KEY (name, version, key),
    FOREIGN KEY (name, version) REFERENCES model_versions (name, version) ON UPDATE CASCADE ON DELETE CASCADE
);

CREATE TABLE model_aliases (
    name    TEXT NOT NULL,
    alias   TEXT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (name, alias),
    FOREIGN KEY (name, version) REFERENCES model_versions (name, version) ON UPDATE CASCADE ON DELETE CASCADE
);

-- What was uploaded to the artifact proxy; the bytes lie in files.
CREATE TABLE artifacts (
    path       TEXT PRIMARY KEY,
    size       BIGINT NOT NULL,
    sha256     TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- Every change of the registry, written in the transaction of the change and only ever added to. before_value and after_value are short texts.
CREATE TABLE registry_events (
    seq          BIGINT PRIMARY KEY,
    at           BIGINT NOT NULL,
    actor        TEXT NOT NULL,
    kind         TEXT NOT NULL,
    name         TEXT NOT NULL,
    version      BIGINT NOT NULL,
    before_value TEXT NOT NULL,
    after_value  TEXT NOT NULL
);
CREATE INDEX registry_events_by_name ON registry_events (name, seq);
