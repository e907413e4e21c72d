-- Mails that are to be sent, and what became of them. Whom a mail goes to and what it says is sealed, and
-- gone once nothing more is to be sent; the address stands here for people to see.
CREATE TABLE mails (
    id          TEXT    NOT NULL PRIMARY KEY,
    client_id   TEXT,
    contact_id  TEXT,
    address     TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    thread      TEXT,
    message_id  TEXT,
    state       TEXT    NOT NULL,
    sealed      BLOB,
    rendered    INTEGER NOT NULL,
    tries       INTEGER NOT NULL,
    unknowns    INTEGER NOT NULL,
    due_at      INTEGER,
    claim       TEXT,
    claimed_by  TEXT,
    claim_until INTEGER,
    created_at  INTEGER NOT NULL,
    ended_at    INTEGER,
    fault       TEXT,
    revision    INTEGER NOT NULL
) STRICT;
CREATE INDEX mails_due ON mails (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX mails_claimed ON mails (claim_until) WHERE claim_until IS NOT NULL;
CREATE INDEX mails_by_client ON mails (client_id, id);
