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
