-- One-time tokens with which a new host, or a person, gets a first certificate. Only their SHA-256 is
-- kept; the token itself has 256 random bits, so that nobody finds it from that.
CREATE TABLE enrolment_tokens (
    id           TEXT    NOT NULL PRIMARY KEY,
    principal_id TEXT    NOT NULL,
    token_sha256 BYTEA   NOT NULL UNIQUE,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    used_at      BIGINT,
    revoked_at   BIGINT,
    mac          BYTEA   NOT NULL
);
CREATE INDEX enrolment_tokens_by_principal ON enrolment_tokens (principal_id, id);
