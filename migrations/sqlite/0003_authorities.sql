-- Every client certificate that an own authority issued, until some time after its end: what its
-- revocation list is made from.
CREATE TABLE issued_certificates (
    authority_id TEXT NOT NULL REFERENCES authorities (id),
    serial       BLOB NOT NULL,
    principal_id TEXT NOT NULL,
    key_id       TEXT NOT NULL,
    not_before   INTEGER NOT NULL,
    not_after    INTEGER NOT NULL,
    revoked_at   INTEGER,
    reason       TEXT,
    mac          BLOB NOT NULL,
    PRIMARY KEY (authority_id, serial)
) STRICT;
CREATE INDEX issued_certificates_by_key ON issued_certificates (key_id, not_after);
CREATE INDEX issued_certificates_by_principal ON issued_certificates (principal_id, not_after);
CREATE INDEX issued_certificates_by_end ON issued_certificates (not_after);
CREATE INDEX revoked_certificates ON issued_certificates (authority_id, not_after)
    WHERE revoked_at IS NOT NULL;

-- The newest revocation list of each own authority, as it is served.
CREATE TABLE own_revocation_lists (
    authority_id TEXT NOT NULL PRIMARY KEY REFERENCES authorities (id),
    number       INTEGER NOT NULL,
    this_update  INTEGER NOT NULL,
    next_update  INTEGER NOT NULL,
    entries      INTEGER NOT NULL,
    digest       BLOB NOT NULL,
    list         BLOB NOT NULL,
    mac          BLOB NOT NULL
) STRICT;

-- Revocation lists of foreign authorities. `scope` is empty for a complete one, else the SHA-256 of
-- its issuing distribution point: each part of a divided list is a row.
CREATE TABLE revocation_lists (
    authority_id TEXT NOT NULL REFERENCES authorities (id),
    scope        TEXT NOT NULL,
    number       BLOB NOT NULL,
    this_update  INTEGER NOT NULL,
    next_update  INTEGER NOT NULL,
    entries      INTEGER NOT NULL,
    imported_at  INTEGER NOT NULL,
    list         BLOB NOT NULL,
    mac          BLOB NOT NULL,
    PRIMARY KEY (authority_id, scope)
) STRICT;

-- When each node last let somebody in on an authority's word. Nothing is decided by it.
CREATE TABLE authority_uses (
    authority_id TEXT NOT NULL,
    node         TEXT NOT NULL,
    last_used_at INTEGER NOT NULL,
    PRIMARY KEY (authority_id, node)
) STRICT, WITHOUT ROWID;
