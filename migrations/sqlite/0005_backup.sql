-- What was taken of this deployment, and until when it is kept.
CREATE TABLE backups (
    id          TEXT    NOT NULL PRIMARY KEY,
    taken_at    INTEGER NOT NULL,
    recipients  TEXT    NOT NULL,
    keep_until  INTEGER,
    finished_at INTEGER,
    size        INTEGER,
    sha256      BLOB,
    mac         BLOB    NOT NULL
) STRICT;

-- One row, made with the first operator: whether values are released, and where logs begin anew.
-- Where it is missing, nothing is released.
CREATE TABLE deployment_state (
    only_row              INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    epoch                 INTEGER NOT NULL,
    assertions_not_before INTEGER NOT NULL,
    frozen_since          INTEGER,
    restored_at           INTEGER,
    taken_at              INTEGER,
    manifest              BLOB,
    lost_records          INTEGER NOT NULL,
    -- How many revocations wait to be confirmed: more than are found means that some were taken away.
    pending_revocations   INTEGER NOT NULL,
    revision              INTEGER NOT NULL,
    mac                   BLOB    NOT NULL
) STRICT;

-- Revocations that were made after the backup that was restored, for an operator to confirm.
CREATE TABLE pending_revocations (
    node       TEXT    NOT NULL,
    epoch      INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    kind       TEXT    NOT NULL,
    subjects   TEXT    NOT NULL,
    -- What else the record said, as JSON: a time, a role, the digest of a list.
    detail     TEXT    NOT NULL,
    settled_at INTEGER,
    outcome    TEXT,
    mac        BLOB    NOT NULL,
    PRIMARY KEY (node, epoch, seq)
) STRICT;

-- Clients that were erased, so that it is done again when an older backup is restored.
CREATE TABLE erasures (
    client_id   TEXT    NOT NULL PRIMARY KEY,
    erased_at   INTEGER NOT NULL,
    certificate TEXT    NOT NULL,
    mac         BLOB    NOT NULL
) STRICT;
