-- Times are microseconds since 1970-01-01T00:00:00Z. Ids are text, see src/model/ids.rs.
-- A column `mac` is a keyed tag over the row's other columns (src/store/tag.rs): a row that the
-- service did not write is treated as absent.
-- `revision` counts the changes of a row; it is what If-Match compares.

CREATE TABLE deployment (
    only_row      INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    deployment_id TEXT    NOT NULL,
    created_at    INTEGER NOT NULL
) STRICT;

-- The root key, encrypted with age to its recipients. The newest generation wraps what follows.
CREATE TABLE root_keys (
    generation  INTEGER NOT NULL PRIMARY KEY,
    check_value BLOB    NOT NULL,
    wrapped     BLOB    NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE service_keys (
    id              TEXT    NOT NULL PRIMARY KEY,
    name            TEXT    NOT NULL,
    generation      INTEGER NOT NULL,
    root_generation INTEGER NOT NULL REFERENCES root_keys (generation),
    wrapped         BLOB    NOT NULL,
    created_at      INTEGER NOT NULL,
    UNIQUE (name, generation)
) STRICT;

-- One row: counts every change that can alter what a principal may get or what a release answers.
CREATE TABLE policy_generation (
    only_row   INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    generation INTEGER NOT NULL
) STRICT;

-- Which subject (an id) changed in which generation, so that a node forgets only that.
CREATE TABLE policy_changes (
    generation INTEGER NOT NULL,
    subject    TEXT    NOT NULL,
    PRIMARY KEY (generation, subject)
) STRICT;

CREATE TABLE clients (
    id         TEXT    NOT NULL PRIMARY KEY,
    slug       TEXT    NOT NULL UNIQUE,
    name       TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    revision   INTEGER NOT NULL,
    mac        BLOB    NOT NULL
) STRICT;

CREATE TABLE contacts (
    id         TEXT    NOT NULL PRIMARY KEY,
    client_id  TEXT    NOT NULL REFERENCES clients (id),
    name       TEXT    NOT NULL,
    email      TEXT    NOT NULL,
    role       TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    revision   INTEGER NOT NULL
) STRICT;
CREATE INDEX contacts_by_client ON contacts (client_id, id);
CREATE UNIQUE INDEX contacts_by_address ON contacts (client_id, email);

CREATE TABLE roles (
    id         TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    revision   INTEGER NOT NULL,
    mac        BLOB    NOT NULL
) STRICT;

CREATE TABLE environments (
    id         TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    revision   INTEGER NOT NULL,
    mac        BLOB    NOT NULL
) STRICT;

CREATE TABLE keks (
    id              TEXT    NOT NULL PRIMARY KEY,
    role_id         TEXT    NOT NULL REFERENCES roles (id),
    environment_id  TEXT    NOT NULL REFERENCES environments (id),
    generation      INTEGER NOT NULL,
    root_generation INTEGER NOT NULL REFERENCES root_keys (generation),
    wrapped         BLOB    NOT NULL,
    created_at      INTEGER NOT NULL,
    UNIQUE (role_id, environment_id, generation)
) STRICT;

CREATE TABLE credentials (
    id             TEXT    NOT NULL PRIMARY KEY,
    client_id      TEXT    NOT NULL REFERENCES clients (id),
    label          TEXT    NOT NULL,
    kind           TEXT    NOT NULL,
    environment_id TEXT    NOT NULL REFERENCES environments (id),
    created_at     INTEGER NOT NULL,
    revision       INTEGER NOT NULL,
    mac            BLOB    NOT NULL
) STRICT;
CREATE INDEX credentials_by_client ON credentials (client_id, id);
CREATE INDEX credentials_by_environment ON credentials (environment_id, id);

-- Which roles may read a credential.
CREATE TABLE credential_roles (
    credential_id TEXT NOT NULL REFERENCES credentials (id),
    role_id       TEXT NOT NULL REFERENCES roles (id),
    mac           BLOB NOT NULL,
    PRIMARY KEY (credential_id, role_id)
) STRICT;
CREATE INDEX credential_roles_by_role ON credential_roles (role_id, credential_id);

CREATE TABLE credential_versions (
    id                TEXT    NOT NULL PRIMARY KEY,
    credential_id     TEXT    NOT NULL REFERENCES credentials (id),
    number            INTEGER NOT NULL CHECK (number > 0),
    state             TEXT    NOT NULL,
    verification      TEXT    NOT NULL,
    expires_at        INTEGER,
    expires_precision TEXT,
    expires_source    TEXT,
    compromised_at    INTEGER,
    created_at        INTEGER NOT NULL,
    state_changed_at  INTEGER NOT NULL,
    reason            TEXT,
    payload           BLOB,
    identifiers       BLOB,
    mac               BLOB    NOT NULL,
    UNIQUE (credential_id, number)
) STRICT;
CREATE UNIQUE INDEX one_active_version ON credential_versions (credential_id) WHERE state = 'active';
CREATE INDEX versions_by_expiry ON credential_versions (expires_at, credential_id) WHERE state = 'active';

-- Keyed fingerprints of the secret fields of a version: finds a value that was seen in public
-- without keeping the value. See docs/decisions/0002-fingerprints-per-field.md.
CREATE TABLE version_fingerprints (
    version_id  TEXT NOT NULL REFERENCES credential_versions (id),
    field       TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    PRIMARY KEY (version_id, field)
) STRICT;
CREATE INDEX fingerprints ON version_fingerprints (fingerprint);

-- A version's DEK, wrapped once for each role that may read the credential.
CREATE TABLE dek_wraps (
    version_id TEXT NOT NULL REFERENCES credential_versions (id),
    role_id    TEXT NOT NULL REFERENCES roles (id),
    kek_id     TEXT NOT NULL REFERENCES keks (id),
    wrapped    BLOB NOT NULL,
    PRIMARY KEY (version_id, role_id)
) STRICT;
CREATE INDEX dek_wraps_by_kek ON dek_wraps (kek_id);

CREATE TABLE authorities (
    id           TEXT    NOT NULL PRIMARY KEY,
    name         TEXT    NOT NULL UNIQUE,
    trust_domain TEXT    NOT NULL,
    certificate  BLOB    NOT NULL,
    origin       TEXT    NOT NULL,
    accept_from  INTEGER NOT NULL,
    accept_until INTEGER,
    -- Of an own authority: which generation of its private key, and from when on the listener shows
    -- a certificate of it.
    key_generation INTEGER,
    presented_from INTEGER,
    -- Of a foreign one: since when its certificates are accepted only with a revocation list.
    lists_since    INTEGER,
    removed_at   INTEGER,
    created_at   INTEGER NOT NULL,
    revision     INTEGER NOT NULL,
    mac          BLOB    NOT NULL
) STRICT;

CREATE TABLE workloads (
    id             TEXT    NOT NULL PRIMARY KEY,
    name           TEXT    NOT NULL UNIQUE,
    environment_id TEXT    NOT NULL REFERENCES environments (id),
    age_recipient  TEXT,
    disabled_at    INTEGER,
    created_at     INTEGER NOT NULL,
    revision       INTEGER NOT NULL,
    mac            BLOB    NOT NULL
) STRICT;

CREATE TABLE workload_roles (
    workload_id TEXT NOT NULL REFERENCES workloads (id),
    role_id     TEXT NOT NULL REFERENCES roles (id),
    mac         BLOB NOT NULL,
    PRIMARY KEY (workload_id, role_id)
) STRICT;

CREATE TABLE operators (
    id          TEXT    NOT NULL PRIMARY KEY,
    name        TEXT    NOT NULL UNIQUE,
    role        TEXT    NOT NULL,
    disabled_at INTEGER,
    created_at  INTEGER NOT NULL,
    revision    INTEGER NOT NULL,
    mac         BLOB    NOT NULL
) STRICT;

-- Keys of workloads and operators. A public key belongs to one principal ever: revoked rows stay.
CREATE TABLE principal_keys (
    id           TEXT    NOT NULL PRIMARY KEY,
    principal_id TEXT    NOT NULL,
    form         TEXT    NOT NULL,
    spki_sha256  BLOB    UNIQUE,
    public_key   BLOB,
    authority_id TEXT    REFERENCES authorities (id),
    spiffe_id    TEXT,
    expires_at   INTEGER,
    created_at   INTEGER NOT NULL,
    revoked_at   INTEGER,
    mac          BLOB    NOT NULL
) STRICT;
CREATE INDEX principal_keys_by_principal ON principal_keys (principal_id, id);
CREATE UNIQUE INDEX principal_keys_by_spiffe ON principal_keys (spiffe_id)
    WHERE form = 'spiffe' AND revoked_at IS NULL;

-- Assertions that were used, until they could not be accepted again anyway.
CREATE TABLE spent_assertions (
    jti        BLOB    NOT NULL PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX spent_assertions_by_expiry ON spent_assertions (expires_at);

-- One row for each version that a workload was ever given.
CREATE TABLE receipts (
    workload_id   TEXT    NOT NULL,
    version_id    TEXT    NOT NULL,
    credential_id TEXT    NOT NULL,
    number        INTEGER NOT NULL,
    first_at      INTEGER NOT NULL,
    last_at       INTEGER NOT NULL,
    in_use_at     INTEGER,
    PRIMARY KEY (workload_id, version_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX receipts_by_credential ON receipts (credential_id, workload_id);

-- One audit log per node and epoch; `holder` is the process that may append to it.
CREATE TABLE audit_logs (
    node        TEXT    NOT NULL,
    epoch       INTEGER NOT NULL,
    size        INTEGER NOT NULL,
    frontier    BLOB    NOT NULL,
    checkpoint  TEXT    NOT NULL,
    signed_size INTEGER NOT NULL,
    holder      TEXT,
    lease_until INTEGER NOT NULL,
    PRIMARY KEY (node, epoch)
) STRICT;

CREATE TABLE audit_records (
    node    TEXT    NOT NULL,
    epoch   INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    kind    TEXT    NOT NULL,
    actor   TEXT,
    subject TEXT,
    leaf    BLOB    NOT NULL,
    record  BLOB    NOT NULL,
    PRIMARY KEY (node, epoch, seq)
) STRICT;
CREATE INDEX audit_records_by_time ON audit_records (at);
CREATE INDEX audit_records_by_actor ON audit_records (actor, at) WHERE actor IS NOT NULL;
CREATE INDEX audit_records_by_subject ON audit_records (subject, at) WHERE subject IS NOT NULL;
-- Releases of many versions name them in the record alone, so they have to be looked into.
CREATE INDEX audit_records_of_bundles ON audit_records (at)
    WHERE subject IS NULL AND kind = 'release.intent';

CREATE TABLE audit_checkpoints (
    node  TEXT    NOT NULL,
    epoch INTEGER NOT NULL,
    size  INTEGER NOT NULL,
    at    INTEGER NOT NULL,
    note  TEXT    NOT NULL,
    PRIMARY KEY (node, epoch, size)
) STRICT;
