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
    sealed      BYTEA,
    rendered    BIGINT NOT NULL,
    tries       BIGINT NOT NULL,
    unknowns    BIGINT NOT NULL,
    due_at      BIGINT,
    claim       TEXT,
    claimed_by  TEXT,
    claim_until BIGINT,
    created_at  BIGINT NOT NULL,
    ended_at    BIGINT,
    fault       TEXT,
    revision    BIGINT NOT NULL
);
CREATE INDEX mails_due ON mails (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX mails_claimed ON mails (claim_until) WHERE claim_until IS NOT NULL;
CREATE INDEX mails_by_client ON mails (client_id, id);
