-- An append may name the one it follows: it is good only directly behind it, and only if all of that one was.

-- Which append was the last, if nobody had appended between what it knew of and itself, and all of it was inserted.
ALTER TABLE ledger.head ADD COLUMN token bigint;

-- As in 0008 but for that. So that a process can send the next append while the database works on the last one.
-- p_token: what this append is called, a number nobody else draws. p_after: what the one before it is called, or null.
DROP FUNCTION ledger.append;
CREATE FUNCTION ledger.append(
  p_known bigint, p_reads ledger.stream_read[], p_commands ledger.new_command[], p_claims ledger.new_claim[],
  p_events ledger.new_event[], p_directory ledger.new_directory_row[], p_token bigint, p_after bigint,
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
  inserted bigint;
  all_new  boolean := false;
  last_at  timestamptz;
  last     bigint;
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'ledger.append needs READ COMMITTED, not %', current_setting('transaction_isolation') USING ERRCODE = '25001';
  END IF;
  SELECT h.position, h.recorded_at, h.token INTO head_before, last_at, last FROM ledger.head h WHERE h.shard = 0 FOR UPDATE;
  IF p_after IS NULL AND head_before < p_known THEN
    RAISE EXCEPTION 'rewound: the head is at %, this process has read up to %', head_before, p_known USING ERRCODE = 'LG001';
  END IF;
  -- Strictly later than the last append, so that an instant names one position and stays true.
  recorded_at := greatest(clock_timestamp(), last_at + interval '1 microsecond');
  bad_units := '{}';
  moved := '{}';
  taken := '{}';

  IF p_after IS NOT NULL AND (last IS DISTINCT FROM p_after OR head_before <> p_known) THEN
    -- Out of turn: what it was decided on is not there, or not alone. Only its keys are looked up.
    bad_units := ARRAY(SELECT c.unit FROM unnest(p_commands) AS c);
    moved := NULL;
  -- What other processes have appended since.
  ELSIF head_before > p_known THEN
    IF head_before - p_known <= 2000 THEN
      moved := ARRAY(SELECT DISTINCT e.stream FROM ledger.events e WHERE e.position > p_known AND e.position <= head_before);
    ELSE
      moved := NULL;
    END IF;
    -- A stream that is written was read at the version before its event; only what is read and not written is named.
    bad_units := ARRAY(
      WITH read AS MATERIALIZED (
        SELECT r.stream, r.version, r.unit FROM unnest(p_reads) AS r
        UNION ALL
        SELECT w.stream, w.version - 1, w.unit FROM unnest(p_events) AS w)
      SELECT r.unit
      FROM read AS r
      JOIN (SELECT e.stream, max(e.version) AS version FROM ledger.events e
            WHERE e.stream = ANY (ARRAY(SELECT w.stream FROM read AS w))
              AND e.position > p_known AND e.position <= head_before
            GROUP BY e.stream) AS n ON n.stream = r.stream
      WHERE n.version > r.version);
    IF -1 = ANY (bad_units) THEN
      bad_units := ARRAY(SELECT c.unit FROM unnest(p_commands) AS c);
    END IF;
  END IF;

  IF cardinality(bad_units) = 0 THEN
    BEGIN
      INSERT INTO ledger.commands (digest, first_position, last_position, recorded_at, caller, key, fingerprint, answer)
        SELECT c.digest, head_before + c.events_so_far - c.events + 1, head_before + c.events_so_far, append.recorded_at,
               c.caller, c.key, c.fingerprint, c.answer
        FROM unnest(p_commands) AS c
        WHERE c.answer IS NOT NULL;
      GET DIAGNOSTICS inserted = ROW_COUNT;
      IF inserted < cardinality(p_commands) THEN
        -- Keys of refusals are not kept, but must not be used either.
        digests := ARRAY(SELECT c.digest FROM unnest(p_commands) AS c WHERE c.answer IS NULL);
        IF EXISTS (SELECT 1 FROM ledger.commands k WHERE k.digest = ANY (digests) AND NOT k.collides) THEN
          RAISE unique_violation;
        END IF;
      END IF;
      IF cardinality(p_claims) > 0 THEN
        INSERT INTO ledger.claims (digest, position, scope, value)
          SELECT k.digest, head_before + cardinality(p_events), k.scope, k.value FROM unnest(p_claims) AS k;
      END IF;
      all_new := true;
    EXCEPTION WHEN unique_violation THEN
      NULL;  -- both inserts are undone
    END;
  END IF;

  IF NOT all_new THEN
    -- Keys used before. The array of digests first: a join with it would be planned as a scan of the table.
    digests := ARRAY(SELECT c.digest FROM unnest(p_commands) AS c);
    SELECT array_agg(c.i::integer) AS index, coalesce(array_agg(c.unit), '{}') AS unit, array_agg(k.fingerprint) AS fingerprint,
           array_agg(k.answer) AS answer, array_agg(k.first_position) AS first, array_agg(k.last_position) AS last,
           array_agg(k.recorded_at) AS at
    INTO kept
    FROM (SELECT * FROM ledger.commands k WHERE k.digest = ANY (digests) AND NOT k.collides
          UNION ALL SELECT * FROM ledger.commands k WHERE k.digest = ANY (digests) AND k.collides) AS k
    JOIN unnest(p_commands) WITH ORDINALITY AS c(unit, caller, key, digest, fingerprint, answer, events, events_so_far, i)
      ON c.digest = k.digest AND c.key = k.key AND c.caller = k.caller;
    bad_units := bad_units || kept.unit;
    kept_index := kept.index; kept_fingerprint := kept.fingerprint; kept_answer := kept.answer;
    kept_first := kept.first; kept_last := kept.last; kept_at := kept.at;

    -- Facts somebody else was first to claim.
    digests := ARRAY(SELECT c.digest FROM unnest(p_claims) AS c);
    SELECT coalesce(array_agg(c.i::integer), '{}') AS index, coalesce(array_agg(c.unit), '{}') AS unit
    INTO claimed
    FROM (SELECT * FROM ledger.claims k WHERE k.digest = ANY (digests) AND NOT k.collides
          UNION ALL SELECT * FROM ledger.claims k WHERE k.digest = ANY (digests) AND k.collides) AS k
    JOIN unnest(p_claims) WITH ORDINALITY AS c(command, unit, scope, value, digest, i)
      ON c.digest = k.digest AND c.value = k.value AND c.scope = k.scope;
    bad_units := bad_units || claimed.unit;
    taken := claimed.index;
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
  GET DIAGNOSTICS inserted = ROW_COUNT;
  head := head_before + inserted;

  IF NOT all_new THEN
    INSERT INTO ledger.commands (digest, first_position, last_position, recorded_at, caller, key, fingerprint, answer, collides)
      SELECT c.digest, head_before + c.so_far - c.events + 1, head_before + c.so_far, append.recorded_at,
             c.caller, c.key, c.fingerprint, c.answer,
             EXISTS (SELECT 1 FROM ledger.commands k WHERE k.digest = c.digest AND NOT k.collides)
               OR row_number() OVER (PARTITION BY c.digest ORDER BY c.i) > 1
      FROM (SELECT u.*, sum(u.events) OVER (ORDER BY u.i ROWS UNBOUNDED PRECEDING) AS so_far
            FROM unnest(p_commands) WITH ORDINALITY
                 AS u(unit, caller, key, digest, fingerprint, answer, events, events_so_far, i)
            WHERE u.unit <> ALL (bad_units)) AS c
      WHERE c.answer IS NOT NULL;
    INSERT INTO ledger.claims (digest, position, scope, value, collides)
      SELECT c.digest, head, c.scope, c.value,
             EXISTS (SELECT 1 FROM ledger.claims k WHERE k.digest = c.digest AND NOT k.collides)
               OR row_number() OVER (PARTITION BY c.digest ORDER BY c.i) > 1
      FROM unnest(p_claims) WITH ORDINALITY AS c(command, unit, scope, value, digest, i)
      WHERE c.unit <> ALL (bad_units);
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

  IF inserted > 0 THEN
    UPDATE ledger.head h SET position = append.head, recorded_at = append.recorded_at,
      token = CASE WHEN head_before = p_known AND cardinality(bad_units) = 0 THEN p_token END
      WHERE h.shard = 0;
    PERFORM pg_notify('ledger_head', append.head::text);
  END IF;
END $$;

ALTER FUNCTION ledger.append OWNER TO ledger_owner;
REVOKE ALL ON FUNCTION ledger.append FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.append TO ledger_api;
