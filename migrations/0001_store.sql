-- The event store: one ordered log behind a head row, so that positions have no gap and commit order is position order.

-- Roles. The service connects as ledger_api (which may append but not insert), ledger_project (which owns the read
-- models) or ledger_read. They get LOGIN and a password from whoever runs the database; here they only come to exist.
DO $$
DECLARE
  role text;
BEGIN
  FOREACH role IN ARRAY ARRAY['ledger_owner', 'ledger_migrate', 'ledger_api', 'ledger_project', 'ledger_read'] LOOP
    BEGIN
      EXECUTE format('CREATE ROLE %I NOLOGIN', role);
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
      NULL;  -- roles belong to the cluster: another database of it may have made them, even at this moment
    END;
    -- To hand objects over to it below. A superuser may, and whoever was made a member beforehand; who made the role
    -- just now may only administer it, and takes the membership.
    IF NOT pg_has_role(current_user, role, 'USAGE') THEN
      EXECUTE format('GRANT %I TO CURRENT_USER', role);
    END IF;
  END LOOP;
END $$;

CREATE SCHEMA ledger;
GRANT USAGE ON SCHEMA ledger TO ledger_api, ledger_project, ledger_read;

-- One row, locked first by every append. Updated by each, so it keeps room for its next version on the same page.
CREATE TABLE ledger.head (
  shard       smallint    PRIMARY KEY,
  position    bigint      NOT NULL,
  recorded_at timestamptz NOT NULL
) WITH (fillfactor = 10, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
INSERT INTO ledger.head VALUES (0, 0, '-infinity');

-- metadata and data are bytea holding JSON: the hash covers these exact bytes, and jsonb would reorder them.
CREATE TABLE ledger.events (
  position    bigint      NOT NULL,
  stream      text        NOT NULL,
  version     integer     NOT NULL,
  type        text        NOT NULL,
  recorded_at timestamptz NOT NULL,
  metadata    bytea       NOT NULL,
  data        bytea       NOT NULL,
  hash        bytea       NOT NULL
) PARTITION BY RANGE (position);

CREATE VIEW ledger.event_log AS
  SELECT position, stream, version, type, recorded_at,
         convert_from(metadata, 'UTF8')::jsonb AS metadata, convert_from(data, 'UTF8')::jsonb AS data,
         encode(hash, 'hex') AS hash
  FROM ledger.events;

-- Permanent idempotency. The index is on 64 bits of SHA-256(caller, 0, key) and not unique: the head lock makes it
-- so, and the full key is compared. A primary key on (caller, key) lost half its speed at ten million rows.
CREATE TABLE ledger.commands (
  digest         bigint NOT NULL,
  first_position bigint NOT NULL,
  last_position  bigint NOT NULL,
  recorded_at    timestamptz NOT NULL,
  caller         text   NOT NULL,
  key            text   NOT NULL,
  fingerprint    bytea  NOT NULL,
  answer         bytea  NOT NULL
);
CREATE INDEX commands_digest ON ledger.commands (digest);

-- Facts unique for ever. An index in a table's clothes: it can be made again from the log.
CREATE TABLE ledger.claims (
  digest   bigint NOT NULL,
  position bigint NOT NULL,
  scope    text   NOT NULL,
  value    text   NOT NULL
);
CREATE INDEX claims_digest ON ledger.claims (digest);

-- States of long streams, written by a follower: a cold load is this and the events after it.
CREATE TABLE ledger.snapshots (
  stream       text    PRIMARY KEY,
  version      integer NOT NULL,
  position     bigint  NOT NULL,
  state_schema integer NOT NULL,
  state        bytea   NOT NULL,
  last_hash    bytea   NOT NULL
);

-- Names and avatars live here and never in events, so that they can be forgotten.
CREATE TABLE ledger.directory (
  user_id    text PRIMARY KEY,
  name       text NOT NULL,
  avatar     text,
  updated_at timestamptz NOT NULL DEFAULT now()
);

-- What was appended stays: refused for everybody, also when session_replication_role says replica.
CREATE FUNCTION ledger.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the ledger is append-only: % of %.% is refused', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
    USING ERRCODE = 'P0001';
END $$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON ledger.events FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
ALTER TABLE ledger.events ENABLE ALWAYS TRIGGER append_only;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON ledger.commands
  FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
ALTER TABLE ledger.commands ENABLE ALWAYS TRIGGER append_only;
CREATE TRIGGER keep_all BEFORE TRUNCATE ON ledger.commands
  FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
ALTER TABLE ledger.commands ENABLE ALWAYS TRIGGER keep_all;

-- Partitions by range of position. Attached with a CHECK in place, so nothing is scanned and no insert waits.
CREATE TABLE ledger.partitions (
  lower_position bigint PRIMARY KEY,
  upper_position bigint NOT NULL,
  name           text   NOT NULL
);
CREATE TABLE ledger.partitioning (positions_each bigint NOT NULL CHECK (positions_each > 0));
INSERT INTO ledger.partitioning VALUES (50000000);

CREATE FUNCTION ledger.ensure_partitions(p_ahead integer DEFAULT 3) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  size    bigint;
  at      bigint;
  low     bigint;
  made    integer := 0;
  name    text;
BEGIN
  -- Two at once would race for the next partition; the loser sees the winner's.
  PERFORM pg_advisory_xact_lock(hashtext('ledger.ensure_partitions'));
  SELECT positions_each INTO size FROM ledger.partitioning;
  SELECT h.position INTO at FROM ledger.head h WHERE shard = 0;
  LOOP
    SELECT coalesce(max(p.upper_position), 1) INTO low FROM ledger.partitions p;
    EXIT WHEN low > at + 1 AND (SELECT count(*) FROM ledger.partitions p WHERE p.lower_position > at + 1) >= p_ahead;
    name := 'events_' || to_char(low, 'FM000000000000');
    EXECUTE format('CREATE TABLE ledger.%I (LIKE ledger.events INCLUDING ALL, CONSTRAINT in_range CHECK (position >= %s AND position < %s))',
                   name, low, low + size);
    EXECUTE format('ALTER TABLE ledger.%I ADD CONSTRAINT %I PRIMARY KEY (position)', name, name || '_position');
    EXECUTE format('CREATE UNIQUE INDEX %I ON ledger.%I (stream, version)', name || '_stream', name);
    EXECUTE format('ALTER TABLE ledger.events ATTACH PARTITION ledger.%I FOR VALUES FROM (%s) TO (%s)', name, low, low + size);
    EXECUTE format('ALTER TABLE ledger.%I DROP CONSTRAINT in_range', name);
    EXECUTE format('ALTER TABLE ledger.%I ENABLE ALWAYS TRIGGER append_only', name);
    -- A TRUNCATE trigger on the parent does not fire for a partition.
    EXECUTE format('CREATE TRIGGER keep_all BEFORE TRUNCATE ON ledger.%I FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change()', name);
    EXECUTE format('ALTER TABLE ledger.%I ENABLE ALWAYS TRIGGER keep_all', name);
    EXECUTE format('ALTER TABLE ledger.%I OWNER TO ledger_owner', name);
    EXECUTE format('GRANT SELECT ON ledger.%I TO ledger_api, ledger_project, ledger_read', name);
    INSERT INTO ledger.partitions VALUES (low, low + size, name);
    made := made + 1;
  END LOOP;
  RETURN made;
END $$;

-- What an append takes, as rows: far cheaper to send than a column at a time. `unit` ties together what stands or falls
-- together; -1 in a read means every unit of the batch. `command` counts commands from 1.
CREATE TYPE ledger.stream_read AS (stream text, version integer, unit integer);
CREATE TYPE ledger.new_command AS (unit integer, caller text, key text, digest bigint, fingerprint bytea, answer bytea, events integer, events_so_far integer);
CREATE TYPE ledger.new_claim AS (command integer, unit integer, scope text, value text, digest bigint);
CREATE TYPE ledger.new_event AS (unit integer, stream text, version integer, type text, metadata bytea, data bytea, hash bytea);
CREATE TYPE ledger.new_directory_row AS (unit integer, user_id text, name text, avatar text);

-- The append. Everything a flush decided goes through this one call, which locks the head first and in a statement of
-- its own: later statements then see a fresh snapshot, and the head is the fence between processes.
--
-- p_commands: an answer of null is a refusal, of which only the key is looked up; `events` is how many it appends,
-- `events_so_far` that and those of the commands before it.
-- out: bad_units were not inserted; kept_* are commands whose key was used before; taken are the claims (counted from
-- 1) somebody else has; moved are the streams with an event in (p_known, head_before], null where they are more than
-- 2,000.
CREATE FUNCTION ledger.append(
  p_known bigint, p_reads ledger.stream_read[], p_commands ledger.new_command[], p_claims ledger.new_claim[],
  p_events ledger.new_event[], p_directory ledger.new_directory_row[],
  OUT head_before bigint, OUT head bigint, OUT recorded_at timestamptz, OUT bad_units integer[],
  OUT kept_index integer[], OUT kept_fingerprint bytea[], OUT kept_answer bytea[], OUT kept_first bigint[], OUT kept_last bigint[],
  OUT kept_at timestamptz[], OUT taken integer[], OUT moved text[])
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off           -- joins between arrays would go quadratic
SET enable_seqscan = off            -- plans made on fresh tables would scan them for ever
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
  digests  bigint[];
  kept     record;
  claimed  record;
  appended bigint;
  last_at  timestamptz;
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'ledger.append needs READ COMMITTED, not %', current_setting('transaction_isolation') USING ERRCODE = '25001';
  END IF;
  SELECT h.position, h.recorded_at INTO head_before, last_at FROM ledger.head h WHERE h.shard = 0 FOR UPDATE;
  IF head_before < p_known THEN
    RAISE EXCEPTION 'rewound: the head is at %, this process has read up to %', head_before, p_known USING ERRCODE = 'LG001';
  END IF;
  -- Strictly later than the last append, so that an instant names one position and stays true.
  recorded_at := greatest(clock_timestamp(), last_at + interval '1 microsecond');
  bad_units := '{}';
  moved := '{}';
  taken := '{}';

  -- Keys used before. The array of digests first: a join with it would be planned as a scan of the table.
  digests := ARRAY(SELECT c.digest FROM unnest(p_commands) AS c);
  IF EXISTS (SELECT 1 FROM ledger.commands k WHERE k.digest = ANY (digests)) THEN
    SELECT array_agg(c.i::integer) AS index, array_agg(c.unit) AS unit, array_agg(k.fingerprint) AS fingerprint,
           array_agg(k.answer) AS answer, array_agg(k.first_position) AS first, array_agg(k.last_position) AS last,
           array_agg(k.recorded_at) AS at
    INTO kept
    FROM (SELECT * FROM ledger.commands k WHERE k.digest = ANY (digests)) AS k
    JOIN unnest(p_commands) WITH ORDINALITY AS c(unit, caller, key, digest, fingerprint, answer, events, events_so_far, i)
      ON c.digest = k.digest AND c.key = k.key AND c.caller = k.caller;
    bad_units := bad_units || coalesce(kept.unit, '{}');
    kept_index := kept.index; kept_fingerprint := kept.fingerprint; kept_answer := kept.answer;
    kept_first := kept.first; kept_last := kept.last; kept_at := kept.at;
  END IF;

  -- Facts somebody else was first to claim.
  IF cardinality(p_claims) > 0 THEN
    digests := ARRAY(SELECT c.digest FROM unnest(p_claims) AS c);
    IF EXISTS (SELECT 1 FROM ledger.claims k WHERE k.digest = ANY (digests)) THEN
      SELECT coalesce(array_agg(c.i::integer), '{}') AS index, coalesce(array_agg(c.unit), '{}') AS unit
      INTO claimed
      FROM (SELECT * FROM ledger.claims k WHERE k.digest = ANY (digests)) AS k
      JOIN unnest(p_claims) WITH ORDINALITY AS c(command, unit, scope, value, digest, i)
        ON c.digest = k.digest AND c.value = k.value AND c.scope = k.scope;
      bad_units := bad_units || claimed.unit;
      taken := claimed.index;
    END IF;
  END IF;

  -- What other processes have appended since.
  IF head_before > p_known THEN
    IF head_before - p_known <= 2000 THEN
      moved := ARRAY(SELECT DISTINCT e.stream FROM ledger.events e WHERE e.position > p_known AND e.position <= head_before);
    ELSE
      moved := NULL;
    END IF;
    bad_units := bad_units || ARRAY(
      SELECT r.unit
      FROM unnest(p_reads) AS r
      JOIN (SELECT e.stream, max(e.version) AS version FROM ledger.events e
            WHERE e.stream = ANY (ARRAY(SELECT w.stream FROM unnest(p_reads) AS w))
              AND e.position > p_known AND e.position <= head_before
            GROUP BY e.stream) AS n ON n.stream = r.stream
      WHERE n.version > r.version);
    IF -1 = ANY (bad_units) THEN
      bad_units := ARRAY(SELECT c.unit FROM unnest(p_commands) AS c);
    END IF;
  END IF;

  IF cardinality(bad_units) = 0 THEN
    INSERT INTO ledger.events (position, stream, version, type, recorded_at, metadata, data, hash)
      SELECT head_before + e.i, e.stream, e.version, e.type, append.recorded_at, e.metadata, e.data, e.hash
      FROM unnest(p_events) WITH ORDINALITY AS e(unit, stream, version, type, metadata, data, hash, i);
  ELSE
    INSERT INTO ledger.events (position, stream, version, type, recorded_at, metadata, data, hash)
      SELECT head_before + row_number() OVER (ORDER BY e.i), e.stream, e.version, e.type, append.recorded_at, e.metadata, e.data, e.hash
      FROM unnest(p_events) WITH ORDINALITY AS e(unit, stream, version, type, metadata, data, hash, i)
      WHERE e.unit <> ALL (bad_units);
  END IF;
  GET DIAGNOSTICS appended = ROW_COUNT;
  head := head_before + appended;

  IF cardinality(bad_units) = 0 THEN
    INSERT INTO ledger.commands (digest, first_position, last_position, recorded_at, caller, key, fingerprint, answer)
      SELECT c.digest, head_before + c.events_so_far - c.events + 1, head_before + c.events_so_far, append.recorded_at,
             c.caller, c.key, c.fingerprint, c.answer
      FROM unnest(p_commands) AS c
      WHERE c.answer IS NOT NULL;
  ELSE
    INSERT INTO ledger.commands (digest, first_position, last_position, recorded_at, caller, key, fingerprint, answer)
      SELECT c.digest, head_before + c.so_far - c.events + 1, head_before + c.so_far, append.recorded_at,
             c.caller, c.key, c.fingerprint, c.answer
      FROM (SELECT u.*, sum(u.events) OVER (ORDER BY u.i ROWS UNBOUNDED PRECEDING) AS so_far
            FROM unnest(p_commands) WITH ORDINALITY
                 AS u(unit, caller, key, digest, fingerprint, answer, events, events_so_far, i)
            WHERE u.unit <> ALL (bad_units)) AS c
      WHERE c.answer IS NOT NULL;
  END IF;

  IF cardinality(p_claims) > 0 THEN
    INSERT INTO ledger.claims (digest, position, scope, value)
      SELECT k.digest, head, k.scope, k.value FROM unnest(p_claims) AS k WHERE k.unit <> ALL (bad_units);
  END IF;

  IF cardinality(p_directory) > 0 THEN
    -- The last one wins where a batch names a user twice.
    INSERT INTO ledger.directory (user_id, name, avatar, updated_at)
      SELECT DISTINCT ON (d.user_id) d.user_id, d.name, d.avatar, append.recorded_at
      FROM unnest(p_directory) WITH ORDINALITY AS d(unit, user_id, name, avatar, i)
      WHERE d.unit <> ALL (bad_units)
      ORDER BY d.user_id, d.i DESC
    ON CONFLICT (user_id) DO UPDATE SET name = excluded.name, avatar = excluded.avatar, updated_at = excluded.updated_at;
  END IF;

  IF appended > 0 THEN
    UPDATE ledger.head h SET position = append.head, recorded_at = append.recorded_at WHERE h.shard = 0;
    PERFORM pg_notify('ledger_head', append.head::text);
  END IF;
END $$;

-- Hold the head until the transaction ends: for a command that lost the race too often. (FOR UPDATE needs the right to
-- update, which ledger_api does not have.)
CREATE FUNCTION ledger.lock_head() RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT h.position FROM ledger.head h WHERE h.shard = 0 FOR UPDATE;
END;

CREATE FUNCTION ledger.forget_member(p_user_id text) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  WITH gone AS (DELETE FROM ledger.directory WHERE user_id = p_user_id RETURNING 1) SELECT EXISTS (SELECT 1 FROM gone);
END;

-- Ownership and rights. Functions run as ledger_owner, which nobody can log in as.
GRANT CREATE, USAGE ON SCHEMA ledger TO ledger_owner;
DO $$
DECLARE
  item record;
BEGIN
  FOR item IN SELECT c.oid::regclass AS name FROM pg_class c WHERE c.relnamespace = 'ledger'::regnamespace AND c.relkind IN ('r', 'p') LOOP
    EXECUTE format('ALTER TABLE %s OWNER TO ledger_owner', item.name);
  END LOOP;
  FOR item IN SELECT p.oid::regprocedure AS name FROM pg_proc p WHERE p.pronamespace = 'ledger'::regnamespace LOOP
    EXECUTE format('ALTER FUNCTION %s OWNER TO ledger_owner', item.name);
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', item.name);
  END LOOP;
END $$;
ALTER VIEW ledger.event_log OWNER TO ledger_owner;
GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO ledger_api, ledger_project, ledger_read;
GRANT EXECUTE ON FUNCTION ledger.ensure_partitions TO ledger_api, ledger_project;
GRANT EXECUTE ON FUNCTION ledger.append, ledger.lock_head TO ledger_api;
GRANT EXECUTE ON FUNCTION ledger.forget_member TO ledger_api;
GRANT INSERT, UPDATE, DELETE ON ledger.snapshots TO ledger_project;

SELECT ledger.ensure_partitions(3);
