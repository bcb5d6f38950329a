-- How far the accounts have been put on the levels of the last programme. Losing it costs a second look, nothing else.

CREATE TABLE ledger.releveling (
  shard             smallint    PRIMARY KEY,
  programme_version integer     NOT NULL,
  since_position    bigint      NOT NULL,  -- the programme lies at or before it: older rows may not know what it found
  after_user        text COLLATE "C" NOT NULL,
  done              bigint      NOT NULL,
  total             bigint      NOT NULL,
  moved             bigint      NOT NULL,
  state             text        NOT NULL CHECK (state IN ('running', 'done')),
  started_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
  moved_at          timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- Version 0 is the programme that nobody has replaced: everybody was on its levels from the beginning.
INSERT INTO ledger.releveling VALUES (0, 0, 0, '', 0, 0, 0, 'done');

ALTER TABLE ledger.releveling OWNER TO ledger_owner;
GRANT SELECT ON ledger.releveling TO ledger_api, ledger_project, ledger_read;
GRANT UPDATE ON ledger.releveling TO ledger_api;
