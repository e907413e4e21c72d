-- The roots of complete subtrees of an audit log's tree: level 1 is every 256 leaves, level 2 every
-- 65,536, and so on. Written in the transaction that appends their last leaf; src/audit/tiles.rs.
CREATE TABLE audit_tiles (
    node  TEXT    NOT NULL,
    epoch INTEGER NOT NULL,
    level INTEGER NOT NULL,
    idx   INTEGER NOT NULL,
    hash  BLOB    NOT NULL,
    PRIMARY KEY (node, epoch, level, idx)
) STRICT, WITHOUT ROWID;
