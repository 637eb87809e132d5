-- Endpoints, events, and their deliveries.

CREATE TABLE endpoints (
    id                    TEXT COLLATE "C" PRIMARY KEY,
    merchant_id           TEXT NOT NULL REFERENCES merchants (id),
    url                   TEXT NOT NULL,
    events                TEXT NOT NULL,    -- JSON array of names; ["*"]: every event
    description           TEXT NOT NULL,
    enabled               BIGINT NOT NULL CHECK (enabled IN (0, 1)),
    secret                TEXT NOT NULL,
    previous_secret       TEXT,             -- signs too, until previous_secret_until
    previous_secret_until BIGINT,
    failing_since         BIGINT,           -- the first failure since the last success
    disabled_reason       TEXT CHECK (disabled_reason IN ('gone', 'failing')), -- why postroom disabled it itself
    disabled_at           BIGINT,
    notified_at               BIGINT,           -- when the mail that notifies the merchant was recorded
    created_at            BIGINT NOT NULL,
    CHECK ((previous_secret IS NULL) = (previous_secret_until IS NULL)),
    CHECK ((disabled_reason IS NULL) = (disabled_at IS NULL))
);

CREATE INDEX endpoints_by_merchant ON endpoints (merchant_id, id);
CREATE INDEX endpoints_to_notify ON endpoints (disabled_at) WHERE disabled_at IS NOT NULL AND notified_at IS NULL;

CREATE TABLE events (
    id          TEXT COLLATE "C" PRIMARY KEY,
    merchant_id TEXT NOT NULL REFERENCES merchants (id),
    type        TEXT NOT NULL,
    body        TEXT NOT NULL,
    mail_id     TEXT COLLATE "C",                   -- the mail that it is about
    created_at  BIGINT NOT NULL,
    traceparent TEXT                         -- of the request that it came of
);

CREATE INDEX events_by_age ON events (created_at);
CREATE INDEX events_by_mail ON events (mail_id) WHERE mail_id IS NOT NULL; -- to send callbacks again

-- Either an event to an endpoint, or a batch webhook: a body of its own to a URL of its own, signed with the
-- merchant's secret.
CREATE TABLE deliveries (
    id              TEXT COLLATE "C" PRIMARY KEY,
    merchant_id     TEXT NOT NULL REFERENCES merchants (id),
    event_id        TEXT REFERENCES events (id),
    endpoint_id     TEXT REFERENCES endpoints (id) ON DELETE CASCADE,
    url             TEXT,
    body            TEXT,
    unique_key      TEXT,                   -- what is recorded twice under one key is recorded once
    state           TEXT NOT NULL CHECK (state IN ('queued', 'sending', 'deferred', 'delivered', 'failed')),
    attempt         BIGINT NOT NULL DEFAULT 0,
    attempts_before BIGINT NOT NULL DEFAULT 0, -- made before the last replay: the schedule began anew after them
    worker          TEXT,                   -- whose claim it is; with attempt, the fence
    created_at      BIGINT NOT NULL,
    due_at          BIGINT NOT NULL,
    wake_at         BIGINT,                 -- when the scheduler enqueues it (again); NULL: nobody needs to be woken
    claimed_at      BIGINT,
    settled_at      BIGINT,
    outcome         TEXT,                   -- of the last attempt, like the three below
    status          BIGINT,
    millis          BIGINT,
    answer          TEXT,
    CHECK ((event_id IS NULL) = (endpoint_id IS NULL)),
    CHECK ((event_id IS NULL) = (url IS NOT NULL)),
    CHECK ((event_id IS NULL) = (body IS NOT NULL)),
    CHECK ((state = 'sending') = (worker IS NOT NULL)),
    UNIQUE (event_id, endpoint_id),
    UNIQUE (merchant_id, unique_key)
);

CREATE INDEX deliveries_by_wake ON deliveries (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX deliveries_waiting ON deliveries (endpoint_id, due_at) WHERE wake_at IS NOT NULL;
CREATE INDEX deliveries_by_worker ON deliveries (worker) WHERE worker IS NOT NULL;
CREATE INDEX deliveries_by_endpoint ON deliveries (endpoint_id, id);
CREATE INDEX deliveries_by_settling ON deliveries (settled_at) WHERE settled_at IS NOT NULL;

CREATE TABLE delivery_attempts (
    delivery_id TEXT NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    number      BIGINT NOT NULL,
    worker      TEXT NOT NULL,
    at          BIGINT NOT NULL,
    outcome     TEXT NOT NULL,
    status      BIGINT,
    millis      BIGINT NOT NULL,
    answer      TEXT NOT NULL,              -- the first 4 KiB of it, or why there is none
    PRIMARY KEY (delivery_id, number)
);
