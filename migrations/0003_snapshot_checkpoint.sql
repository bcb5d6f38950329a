-- How far the follower that writes snapshots has looked through the log. Losing it costs a second look, nothing else.

CREATE TABLE ledger.snapshot_checkpoint (
  shard    smallint PRIMARY KEY,
  position bigint   NOT NULL
);
INSERT INTO ledger.snapshot_checkpoint VALUES (0, 0);

ALTER TABLE ledger.snapshot_checkpoint OWNER TO ledger_owner;
GRANT SELECT ON ledger.snapshot_checkpoint TO ledger_api, ledger_project, ledger_read;
GRANT UPDATE ON ledger.snapshot_checkpoint TO ledger_project;
