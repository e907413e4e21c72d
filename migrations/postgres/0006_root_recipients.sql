-- Who can open the root key: the age recipients that it is encrypted to, in their public text form.
-- The age file itself does not say. A passphrase has no row.
CREATE TABLE root_recipients (
    recipient TEXT NOT NULL PRIMARY KEY,
    added_at  BIGINT NOT NULL,
    mac       BYTEA NOT NULL
);
