-- The records, a partition for each day (UTC), snapshots, feedback, and totals by hour.
-- `record` is JSON without vector and prompt; the columns before it repeat its fields. `at` is in seconds since 1970.

CREATE TABLE records (
    number bigint GENERATED ALWAYS AS IDENTITY,
    id text COLLATE "C" NOT NULL,
    at double precision NOT NULL,
    surface text COLLATE "C" NOT NULL,
    asked text NOT NULL,
    key text COLLATE "C",
    policy text COLLATE "C",
    card text COLLATE "C",
    status integer NOT NULL,
    error text,
    input_tokens bigint,
    output_tokens bigint,
    cost_usd double precision,
    total_ms double precision NOT NULL,
    record json NOT NULL,
    vector bytea,
    prompt bytea
) PARTITION BY RANGE (at);

-- Numbers that look random cannot be compressed, so nothing should try.
ALTER TABLE records ALTER COLUMN vector SET STORAGE EXTERNAL;

CREATE INDEX records_by_time ON records (at, number);
CREATE INDEX records_by_number ON records (number);
CREATE INDEX records_by_card ON records (card, at);
CREATE INDEX records_by_key ON records (key, at) WHERE key IS NOT NULL;
CREATE INDEX records_of_errors ON records (at) WHERE status >= 400 OR error IS NOT NULL;

CREATE TABLE snapshots (
    fingerprint text COLLATE "C" PRIMARY KEY,
    seen_at double precision NOT NULL,
    content bytea NOT NULL
);

-- `record_at` is the time of the record, with which its feedback is deleted.
CREATE TABLE feedback (
    record text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    at double precision NOT NULL,
    value double precision NOT NULL,
    verdict text,
    comment text,
    key text COLLATE "C",
    idempotency_key text COLLATE "C",
    record_at double precision NOT NULL,
    PRIMARY KEY (record, source)
);

CREATE INDEX feedback_by_time ON feedback (at, record, source);
CREATE INDEX feedback_by_record ON feedback (record_at);
CREATE UNIQUE INDEX feedback_once ON feedback (coalesce(key, ''), idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE TABLE hours (
    hour bigint NOT NULL,
    surface text COLLATE "C" NOT NULL,
    card text COLLATE "C" NOT NULL,
    policy text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    requests bigint NOT NULL,
    errors bigint NOT NULL,
    input_tokens numeric NOT NULL,
    output_tokens numeric NOT NULL,
    cost_usd double precision NOT NULL,
    total_ms double precision NOT NULL,
    PRIMARY KEY (hour, surface, card, policy, key)
) WITH (fillfactor = 70);
