-- When each invariant was last checked, at which position, and what was found. Losing it costs a check, nothing else.

CREATE TABLE ledger.invariants (
  name       text        PRIMARY KEY,
  checked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  position   bigint      NOT NULL,
  broken     bigint      NOT NULL,
  examples   text[]      NOT NULL
);

ALTER TABLE ledger.invariants OWNER TO ledger_owner;
GRANT SELECT ON ledger.invariants TO ledger_api, ledger_project, ledger_read;
GRANT INSERT, UPDATE ON ledger.invariants TO ledger_api;
