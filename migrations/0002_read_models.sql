-- Which builds of which read models exist, how far each is, and what could not be applied.

CREATE SCHEMA read_models;
GRANT CREATE, USAGE ON SCHEMA read_models TO ledger_project;
GRANT USAGE ON SCHEMA read_models TO ledger_api, ledger_read;

-- The build that answers queries. Tables are named rm_<name>_v<build>; no views, so that a flip is one UPDATE.
CREATE TABLE read_models.active (
  name  text    PRIMARY KEY,
  build integer NOT NULL
);

-- state: building (catching up beside the live one), following (advanced by the runner with all others),
-- paused, or stuck. `position` is moved by compare-and-set, first in the transaction that writes the rows.
CREATE TABLE read_models.builds (
  name           text        NOT NULL,
  build          integer     NOT NULL,
  code_version   integer     NOT NULL,
  position       bigint      NOT NULL DEFAULT 0,
  state          text        NOT NULL CHECK (state IN ('building', 'following', 'paused', 'stuck')),
  purpose        text        NOT NULL DEFAULT 'live' CHECK (purpose IN ('live', 'rebuild', 'verify')),
  target         bigint,
  started_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  moved_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
  rate_per_second double precision,
  PRIMARY KEY (name, build)
);

-- Events that could not be applied. The first one parks its stream in that build; later ones of it wait.
CREATE TABLE read_models.dead_letters (
  id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name       text        NOT NULL,
  build      integer     NOT NULL,
  stream     text        NOT NULL,
  position   bigint      NOT NULL,
  event_type text        NOT NULL,
  error      text        NOT NULL,
  tries      integer     NOT NULL,
  at         timestamptz NOT NULL DEFAULT clock_timestamp(),
  state      text        NOT NULL DEFAULT 'parked' CHECK (state IN ('parked', 'replayed', 'skipped'))
);
CREATE UNIQUE INDEX dead_letters_parked ON read_models.dead_letters (name, build, stream) WHERE state = 'parked';

ALTER TABLE read_models.active OWNER TO ledger_project;
ALTER TABLE read_models.builds OWNER TO ledger_project;
ALTER TABLE read_models.dead_letters OWNER TO ledger_project;
GRANT SELECT ON ALL TABLES IN SCHEMA read_models TO ledger_api, ledger_read;
ALTER DEFAULT PRIVILEGES FOR ROLE ledger_project IN SCHEMA read_models GRANT SELECT ON TABLES TO ledger_api, ledger_read;
