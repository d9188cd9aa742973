CREATE TABLE blocks (
    model   TEXT NOT NULL,
    version TEXT NOT NULL,
    reason  TEXT NOT NULL,
    actor   TEXT NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (model, version)
);
