-- Times are microseconds since 1970-01-01T00:00:00Z. Ids are text, see src/model/ids.rs.
-- A column `mac` is a keyed tag over the row's other columns (src/store/tag.rs): a row that the
-- service did not write is treated as absent.
-- `revision` counts the changes of a row; it is what If-Match compares.

CREATE TABLE deployment (
    only_row      BIGINT NOT NULL PRIMARY KEY CHECK (only_row = 1),
    deployment_id TEXT    NOT NULL,
    created_at    BIGINT NOT NULL
);

-- The root key, encrypted with age to its recipients. The newest generation wraps what follows.
CREATE TABLE root_keys (
    generation  BIGINT NOT NULL PRIMARY KEY,
    check_value BYTEA    NOT NULL,
    wrapped     BYTEA    NOT NULL,
    created_at  BIGINT NOT NULL
);

CREATE TABLE service_keys (
    id              TEXT    NOT NULL PRIMARY KEY,
    name            TEXT    NOT NULL,
    generation      BIGINT NOT NULL,
    root_generation BIGINT NOT NULL REFERENCES root_keys (generation),
    wrapped         BYTEA    NOT NULL,
    created_at      BIGINT NOT NULL,
    UNIQUE (name, generation)
);

-- One row: counts every change that can alter what a principal may get or what a release answers.
CREATE TABLE policy_generation (
    only_row   BIGINT NOT NULL PRIMARY KEY CHECK (only_row = 1),
    generation BIGINT NOT NULL
);

-- Which subject (an id) changed in which generation, so that a node forgets only that.
CREATE TABLE policy_changes (
    generation BIGINT NOT NULL,
    subject    TEXT    NOT NULL,
    PRIMARY KEY (generation, subject)
);

CREATE TABLE clients (
    id         TEXT    NOT NULL PRIMARY KEY,
    slug       TEXT    NOT NULL UNIQUE,
    name       TEXT    NOT NULL,
    created_at BIGINT NOT NULL,
    revision   BIGINT NOT NULL,
    mac        BYTEA    NOT NULL
);

CREATE TABLE contacts (
    id         TEXT    NOT NULL PRIMARY KEY,
    client_id  TEXT    NOT NULL REFERENCES clients (id),
    name       TEXT    NOT NULL,
    email      TEXT    NOT NULL,
    role       TEXT    NOT NULL,
    created_at BIGINT NOT NULL,
    revision   BIGINT NOT NULL
);
CREATE INDEX contacts_by_client ON contacts (client_id, id);
CREATE UNIQUE INDEX contacts_by_address ON contacts (client_id, email);

CREATE TABLE roles (
    id         TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    revision   BIGINT NOT NULL,
    mac        BYTEA    NOT NULL
);

CREATE TABLE environments (
    id         TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    revision   BIGINT NOT NULL,
    mac        BYTEA    NOT NULL
);

CREATE TABLE keks (
    id              TEXT    NOT NULL PRIMARY KEY,
    role_id         TEXT    NOT NULL REFERENCES roles (id),
    environment_id  TEXT    NOT NULL REFERENCES environments (id),
    generation      BIGINT NOT NULL,
    root_generation BIGINT NOT NULL REFERENCES root_keys (generation),
    wrapped         BYTEA    NOT NULL,
    created_at      BIGINT NOT NULL,
    UNIQUE (role_id, environment_id, generation)
);

CREATE TABLE credentials (
    id             TEXT    NOT NULL PRIMARY KEY,
    client_id      TEXT    NOT NULL REFERENCES clients (id),
    label          TEXT    NOT NULL,
    kind           TEXT    NOT NULL,
    environment_id TEXT    NOT NULL REFERENCES environments (id),
    created_at     BIGINT NOT NULL,
    revision       BIGINT NOT NULL,
    mac            BYTEA    NOT NULL
);
CREATE INDEX credentials_by_client ON credentials (client_id, id);
CREATE INDEX credentials_by_environment ON credentials (environment_id, id);

-- Which roles may read a credential.
CREATE TABLE credential_roles (
    credential_id TEXT NOT NULL REFERENCES credentials (id),
    role_id       TEXT NOT NULL REFERENCES roles (id),
    mac           BYTEA NOT NULL,
    PRIMARY KEY (credential_id, role_id)
);
CREATE INDEX credential_roles_by_role ON credential_roles (role_id, credential_id);

CREATE TABLE credential_versions (
    id                TEXT    NOT NULL PRIMARY KEY,
    credential_id     TEXT    NOT NULL REFERENCES credentials (id),
    number            BIGINT NOT NULL CHECK (number > 0),
    state             TEXT    NOT NULL,
    verification      TEXT    NOT NULL,
    expires_at        BIGINT,
    expires_precision TEXT,
    expires_source    TEXT,
    compromised_at    BIGINT,
    created_at        BIGINT NOT NULL,
    state_changed_at  BIGINT NOT NULL,
    reason            TEXT,
    payload           BYTEA,
    identifiers       BYTEA,
    mac               BYTEA    NOT NULL,
    UNIQUE (credential_id, number)
);
CREATE UNIQUE INDEX one_active_version ON credential_versions (credential_id) WHERE state = 'active';
CREATE INDEX versions_by_expiry ON credential_versions (expires_at, credential_id) WHERE state = 'active';

-- Keyed fingerprints of the secret fields of a version: finds a value that was seen in public
-- without keeping the value. See docs/decisions/0002-fingerprints-per-field.md.
CREATE TABLE version_fingerprints (
    version_id  TEXT NOT NULL REFERENCES credential_versions (id),
    field       TEXT NOT NULL,
    fingerprint BYTEA NOT NULL,
    PRIMARY KEY (version_id, field)
);
CREATE INDEX fingerprints ON version_fingerprints (fingerprint);

-- A version's DEK, wrapped once for each role that may read the credential.
CREATE TABLE dek_wraps (
    version_id TEXT NOT NULL REFERENCES credential_versions (id),
    role_id    TEXT NOT NULL REFERENCES roles (id),
    kek_id     TEXT NOT NULL REFERENCES keks (id),
    wrapped    BYTEA NOT NULL,
    PRIMARY KEY (version_id, role_id)
);
CREATE INDEX dek_wraps_by_kek ON dek_wraps (kek_id);

CREATE TABLE authorities (
    id           TEXT    NOT NULL PRIMARY KEY,
    name         TEXT    NOT NULL UNIQUE,
    trust_domain TEXT    NOT NULL,
    certificate  BYTEA    NOT NULL,
    origin       TEXT    NOT NULL,
    accept_from  BIGINT NOT NULL,
    accept_until BIGINT,
    -- Of an own authority: which generation of its private key, and from when on the listener shows
    -- a certificate of it.
    key_generation BIGINT,
    presented_from BIGINT,
    -- Of a foreign one: since when its certificates are accepted only with a revocation list.
    lists_since    BIGINT,
    removed_at   BIGINT,
    created_at   BIGINT NOT NULL,
    revision     BIGINT NOT NULL,
    mac          BYTEA    NOT NULL
);

CREATE TABLE workloads (
    id             TEXT    NOT NULL PRIMARY KEY,
    name           TEXT    NOT NULL UNIQUE,
    environment_id TEXT    NOT NULL REFERENCES environments (id),
    age_recipient  TEXT,
    disabled_at    BIGINT,
    created_at     BIGINT NOT NULL,
    revision       BIGINT NOT NULL,
    mac            BYTEA    NOT NULL
);

CREATE TABLE workload_roles (
    workload_id TEXT NOT NULL REFERENCES workloads (id),
    role_id     TEXT NOT NULL REFERENCES roles (id),
    mac         BYTEA NOT NULL,
    PRIMARY KEY (workload_id, role_id)
);

CREATE TABLE operators (
    id          TEXT    NOT NULL PRIMARY KEY,
    name        TEXT    NOT NULL UNIQUE,
    role        TEXT    NOT NULL,
    disabled_at BIGINT,
    created_at  BIGINT NOT NULL,
    revision    BIGINT NOT NULL,
    mac         BYTEA    NOT NULL
);

-- Keys of workloads and operators. A public key belongs to one principal ever: revoked rows stay.
CREATE TABLE principal_keys (
    id           TEXT    NOT NULL PRIMARY KEY,
    principal_id TEXT    NOT NULL,
    form         TEXT    NOT NULL,
    spki_sha256  BYTEA    UNIQUE,
    public_key   BYTEA,
    authority_id TEXT    REFERENCES authorities (id),
    spiffe_id    TEXT,
    expires_at   BIGINT,
    created_at   BIGINT NOT NULL,
    revoked_at   BIGINT,
    mac          BYTEA    NOT NULL
);
CREATE INDEX principal_keys_by_principal ON principal_keys (principal_id, id);
CREATE UNIQUE INDEX principal_keys_by_spiffe ON principal_keys (spiffe_id)
    WHERE form = 'spiffe' AND revoked_at IS NULL;

-- Assertions that were used, until they could not be accepted again anyway.
CREATE TABLE spent_assertions (
    jti        BYTEA    NOT NULL PRIMARY KEY,
    expires_at BIGINT NOT NULL
);
CREATE INDEX spent_assertions_by_expiry ON spent_assertions (expires_at);

-- One row for each version that a workload was ever given.
CREATE TABLE receipts (
    workload_id   TEXT    NOT NULL,
    version_id    TEXT    NOT NULL,
    credential_id TEXT    NOT NULL,
    number        BIGINT NOT NULL,
    first_at      BIGINT NOT NULL,
    last_at       BIGINT NOT NULL,
    in_use_at     BIGINT,
    PRIMARY KEY (workload_id, version_id)
);
CREATE INDEX receipts_by_credential ON receipts (credential_id, workload_id);

-- One audit log per node and epoch; `holder` is the process that may append to it.
CREATE TABLE audit_logs (
    node        TEXT    NOT NULL,
    epoch       BIGINT NOT NULL,
    size        BIGINT NOT NULL,
    frontier    BYTEA    NOT NULL,
    checkpoint  TEXT    NOT NULL,
    signed_size BIGINT NOT NULL,
    holder      TEXT,
    lease_until BIGINT NOT NULL,
    PRIMARY KEY (node, epoch)
);

CREATE TABLE audit_records (
    node    TEXT    NOT NULL,
    epoch   BIGINT NOT NULL,
    seq     BIGINT NOT NULL,
    at      BIGINT NOT NULL,
    kind    TEXT    NOT NULL,
    actor   TEXT,
    subject TEXT,
    leaf    BYTEA    NOT NULL,
    record  BYTEA    NOT NULL,
    PRIMARY KEY (node, epoch, seq)
);
CREATE INDEX audit_records_by_time ON audit_records (at);
CREATE INDEX audit_records_by_actor ON audit_records (actor, at) WHERE actor IS NOT NULL;
CREATE INDEX audit_records_by_subject ON audit_records (subject, at) WHERE subject IS NOT NULL;
-- Releases of many versions name them in the record alone, so they have to be looked into.
CREATE INDEX audit_records_of_bundles ON audit_records (at)
    WHERE subject IS NULL AND kind = 'release.intent';

CREATE TABLE audit_checkpoints (
    node  TEXT    NOT NULL,
    epoch BIGINT NOT NULL,
    size  BIGINT NOT NULL,
    at    BIGINT NOT NULL,
    note  TEXT    NOT NULL,
    PRIMARY KEY (node, epoch, size)
);
