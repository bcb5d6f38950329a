-- The floor: what a careful person writes in PL/pgSQL for the same promise. Lock the account row, check the balance,
-- insert event and idempotency row, update the balance; one call, one commit, durable. No chain, no claims, no states.
-- It gets what helps it: room for updates on the account's page, one index a table, VACUUM ANALYZE before it is measured.

DO $$
BEGIN
  CREATE ROLE floor_client LOGIN;  -- a role belongs to the cluster: an earlier database may have made it
EXCEPTION WHEN duplicate_object THEN
  NULL;
END $$;

CREATE SCHEMA floor;
GRANT USAGE ON SCHEMA floor TO floor_client;

CREATE TABLE floor.accounts (
  account text   PRIMARY KEY,
  balance bigint NOT NULL,
  version bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE floor.events (
  position    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account     text        NOT NULL,
  version     bigint      NOT NULL,
  type        text        NOT NULL,
  recorded_at timestamptz NOT NULL,
  metadata    bytea       NOT NULL,
  data        bytea       NOT NULL
);

CREATE TABLE floor.commands (
  key         text   PRIMARY KEY,
  position    bigint NOT NULL,
  fingerprint bytea  NOT NULL,
  answer      bytea  NOT NULL
);

CREATE FUNCTION floor.apply(
  p_account text, p_key text, p_amount bigint, p_fingerprint bytea, p_answer bytea, p_metadata bytea, p_data bytea)
RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
  v_balance  bigint;
  v_version  bigint;
  v_position bigint;
  v_answer   bytea;
BEGIN
  SELECT a.balance, a.version INTO v_balance, v_version FROM floor.accounts a WHERE a.account = p_account FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'no account %', p_account;
  END IF;
  SELECT c.answer INTO v_answer FROM floor.commands c WHERE c.key = p_key;
  IF FOUND THEN
    RETURN v_answer;
  END IF;
  IF v_balance + p_amount < 0 THEN
    RAISE EXCEPTION '% points available, % asked for', v_balance, -p_amount;
  END IF;
  INSERT INTO floor.events (account, version, type, recorded_at, metadata, data)
    VALUES (p_account, v_version + 1, 'points.earned.v1', clock_timestamp(), p_metadata, p_data)
    RETURNING position INTO v_position;
  INSERT INTO floor.commands (key, position, fingerprint, answer) VALUES (p_key, v_position, p_fingerprint, p_answer);
  UPDATE floor.accounts SET balance = balance + p_amount, version = v_version + 1 WHERE account = p_account;
  RETURN p_answer;
END $$;

-- Keys as long as ours, and in no order a B-tree would like: 'account-' and ten digits make eighteen characters.
INSERT INTO floor.accounts
  SELECT (100000000000000000 + i)::text, 1000000, 0 FROM generate_series(1, 100000) AS i ORDER BY hashint8(i);
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA floor TO floor_client;
