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
