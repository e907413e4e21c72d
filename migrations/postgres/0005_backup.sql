-- What was taken of this deployment, and until when it is kept.
CREATE TABLE backups (
    id          TEXT    NOT NULL PRIMARY KEY,
    taken_at    BIGINT NOT NULL,
    recipients  TEXT    NOT NULL,
    keep_until  BIGINT,
    finished_at BIGINT,
    size        BIGINT,
    sha256      BYTEA,
    mac         BYTEA    NOT NULL
);

-- One row, made with the first operator: whether values are released, and where logs begin anew.
-- Where it is missing, nothing is released.
CREATE TABLE deployment_state (
    only_row              BIGINT NOT NULL PRIMARY KEY CHECK (only_row = 1),
    epoch                 BIGINT NOT NULL,
    assertions_not_before BIGINT NOT NULL,
    frozen_since          BIGINT,
    restored_at           BIGINT,
    taken_at              BIGINT,
    manifest              BYTEA,
    lost_records          BIGINT NOT NULL,
    -- How many revocations wait to be confirmed: more than are found means that some were taken away.
    pending_revocations   BIGINT NOT NULL,
    revision              BIGINT NOT NULL,
    mac                   BYTEA    NOT NULL
);

-- Revocations that were made after the backup that was restored, for an operator to confirm.
CREATE TABLE pending_revocations (
    node       TEXT    NOT NULL,
    epoch      BIGINT NOT NULL,
    seq        BIGINT NOT NULL,
    at         BIGINT NOT NULL,
    kind       TEXT    NOT NULL,
    subjects   TEXT    NOT NULL,
    -- What else the record said, as JSON: a time, a role, the digest of a list.
    detail     TEXT    NOT NULL,
    settled_at BIGINT,
    outcome    TEXT,
    mac        BYTEA    NOT NULL,
    PRIMARY KEY (node, epoch, seq)
);

-- Clients that were erased, so that it is done again when an older backup is restored.
CREATE TABLE erasures (
    client_id   TEXT    NOT NULL PRIMARY KEY,
    erased_at   BIGINT NOT NULL,
    certificate TEXT    NOT NULL,
    mac         BYTEA    NOT NULL
);
