-- The roots of complete subtrees of an audit log's tree: level 1 is every 256 leaves, level 2 every
-- 65,536, and so on. Written in the transaction that appends their last leaf; src/audit/tiles.rs.
CREATE TABLE audit_tiles (
    node  TEXT   NOT NULL,
    epoch BIGINT NOT NULL,
    level BIGINT NOT NULL,
    idx   BIGINT NOT NULL,
    hash  BYTEA  NOT NULL,
    PRIMARY KEY (node, epoch, level, idx)
);
