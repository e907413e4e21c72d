-- Invitations by which contacts hand in credentials. Only the SHA-256 of a link's token is kept; it has
-- 256 random bits, so that nobody finds it from that.
CREATE TABLE invites (
    id            TEXT    NOT NULL PRIMARY KEY,
    credential_id TEXT    NOT NULL REFERENCES credentials (id),
    contact_id    TEXT    NOT NULL,
    token_sha256  BYTEA   NOT NULL UNIQUE,
    code_tag      BYTEA,
    locale        TEXT    NOT NULL,
    created_at    BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    ended_at      BIGINT,
    ended_as      TEXT,
    answer        TEXT,
    attempts      BIGINT NOT NULL,
    code_failures BIGINT NOT NULL,
    -- The mail that carries the link, if one does.
    mail_id       TEXT,
    -- The invitation that was handed on as this one.
    forwarded_from TEXT,
    form_version  BIGINT NOT NULL,
    revision      BIGINT NOT NULL,
    mac           BYTEA   NOT NULL
);
CREATE INDEX invites_by_credential ON invites (credential_id, id);

-- What clients handed in; the value itself is a version.
CREATE TABLE submissions (
    id             TEXT    NOT NULL PRIMARY KEY,
    invite_id      TEXT    NOT NULL REFERENCES invites (id),
    credential_id  TEXT    NOT NULL REFERENCES credentials (id),
    version_id     TEXT    NOT NULL UNIQUE REFERENCES credential_versions (id),
    version_number BIGINT NOT NULL,
    number         BIGINT NOT NULL,
    received_at    BIGINT NOT NULL,
    sealing        TEXT    NOT NULL,
    enc_sha256     BYTEA,
    value_tag      BYTEA   NOT NULL,
    state          TEXT    NOT NULL,
    hint           TEXT,
    finished_at    BIGINT,
    revision       BIGINT NOT NULL,
    mac            BYTEA   NOT NULL,
    UNIQUE (invite_id, number),
    UNIQUE (invite_id, enc_sha256)
);
CREATE INDEX submissions_by_credential ON submissions (credential_id, id);
CREATE INDEX submissions_by_value ON submissions (credential_id, value_tag);
CREATE INDEX submissions_by_state ON submissions (state, id);

-- Runs of the verification at the provider. A run decides nothing by what stands here: whoever finishes
-- it looks at the tagged rows of the version and the submission. At most one per credential runs.
CREATE TABLE verifications (
    id             TEXT    NOT NULL PRIMARY KEY,
    credential_id  TEXT    NOT NULL REFERENCES credentials (id),
    version_id     TEXT    NOT NULL REFERENCES credential_versions (id),
    version_number BIGINT NOT NULL,
    submission_id  TEXT,
    cause          TEXT    NOT NULL,
    state          TEXT    NOT NULL,
    due_at         BIGINT NOT NULL,
    tries          BIGINT NOT NULL,
    claim          TEXT,
    claimed_by     TEXT,
    claim_until    BIGINT,
    started_at     BIGINT,
    finished_at    BIGINT,
    outcome        TEXT,
    hint           TEXT,
    stages         TEXT    NOT NULL,
    created_at     BIGINT NOT NULL
);
CREATE UNIQUE INDEX verifications_one_runs ON verifications (credential_id) WHERE state = 'running';
CREATE UNIQUE INDEX verifications_one_open ON verifications (version_id) WHERE state <> 'done';
CREATE INDEX verifications_by_credential ON verifications (credential_id, id);
CREATE INDEX verifications_by_version ON verifications (version_id, created_at);
CREATE INDEX verifications_open ON verifications (due_at) WHERE state <> 'done';
CREATE INDEX verifications_daily ON verifications (created_at) WHERE cause = 'daily';

-- What operators have to look at; one open task of a kind about one thing.
CREATE TABLE tasks (
    id            TEXT    NOT NULL PRIMARY KEY,
    kind          TEXT    NOT NULL,
    subject       TEXT    NOT NULL,
    credential_id TEXT,
    opened_at     BIGINT NOT NULL,
    closed_at     BIGINT,
    note          TEXT
);
CREATE UNIQUE INDEX tasks_one_open ON tasks (kind, subject) WHERE closed_at IS NULL;
CREATE INDEX tasks_by_credential ON tasks (credential_id, id);
