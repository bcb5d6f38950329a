-- How far the log has been told to those who listen. It is moved after sending, so a crash in between tells it again.

CREATE TABLE read_models.live_events (
  shard    smallint    PRIMARY KEY,
  position bigint      NOT NULL,
  moved_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- What was appended before anybody could listen is not told.
INSERT INTO read_models.live_events (shard, position) SELECT shard, position FROM ledger.head;

ALTER TABLE read_models.live_events OWNER TO ledger_project;
GRANT SELECT ON read_models.live_events TO ledger_api, ledger_read;
