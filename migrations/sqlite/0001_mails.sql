-- Times are milliseconds since the Unix epoch; ids of mails are UUIDv7 as text; JSON is text.

CREATE TABLE merchants (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL,
    country      TEXT NOT NULL CHECK (length(country) = 2),
    language     TEXT,
    sender_name  TEXT,
    sender_email TEXT,
    secret       TEXT NOT NULL,     -- signs batch webhooks and recovery links
    mails_rate   TEXT,              -- its own rate of mails, as in '3000/h burst 100'
    suspended_at INTEGER,
    created_at   INTEGER NOT NULL
) STRICT;

CREATE INDEX merchants_suspended ON merchants (id) WHERE suspended_at IS NOT NULL;

CREATE TABLE accounts (
    username      TEXT PRIMARY KEY,
    merchant_id   TEXT NOT NULL REFERENCES merchants (id),
    password_hash TEXT NOT NULL,    -- Argon2id, PHC string
    created_at    INTEGER NOT NULL
) STRICT;

CREATE TABLE tokens (
    hash        TEXT PRIMARY KEY,   -- SHA-256 of 256 random bits, hex
    id          TEXT NOT NULL UNIQUE, -- UUIDv7: what it is called where it must not be shown
    merchant_id TEXT NOT NULL REFERENCES merchants (id),
    abilities   TEXT NOT NULL,      -- comma-separated
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER,
    revoked_at  INTEGER
) STRICT;

CREATE INDEX accounts_by_merchant ON accounts (merchant_id, username);
CREATE INDEX tokens_by_merchant ON tokens (merchant_id, id);

-- Those who run this installation, or one merchant's part of it.
CREATE TABLE operators (
    name          TEXT PRIMARY KEY,
    role          TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    merchant_id   TEXT REFERENCES merchants (id), -- whose things alone are seen; NULL: everything
    password_hash TEXT NOT NULL,    -- Argon2id, PHC string
    created_at    INTEGER NOT NULL
) STRICT;

-- A version never changes: mails pin it. A built-in template's version belongs to no merchant.
CREATE TABLE template_versions (
    id          TEXT PRIMARY KEY,
    merchant_id TEXT REFERENCES merchants (id),
    template_id TEXT NOT NULL,
    subject     TEXT NOT NULL,
    html        TEXT NOT NULL,      -- CSS inlined
    text        TEXT,
    tags        TEXT NOT NULL,      -- JSON array
    sender      TEXT,               -- JSON object
    class       TEXT NOT NULL DEFAULT 'transactional' CHECK (class IN ('transactional', 'promotional')),
    on_crash    TEXT NOT NULL DEFAULT 'resend' CHECK (on_crash IN ('resend', 'hold')),
    language    TEXT,
    created_at  INTEGER NOT NULL
) STRICT;

-- What a merchant's systems store in postroom: brands, members, templates and so on, as they were given.
CREATE TABLE resources (
    merchant_id TEXT NOT NULL REFERENCES merchants (id),
    kind        TEXT NOT NULL,
    id          TEXT NOT NULL,
    brand_id    TEXT,
    version     TEXT REFERENCES template_versions (id),
    body        TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (merchant_id, kind, id)
) STRICT;

-- No foreign keys from here on: their checks cost a third of recording a mail, and versions and merchants are never
-- deleted. A claim changes no indexed column, so that it touches the row alone.
CREATE TABLE mails (
    id               TEXT PRIMARY KEY,
    merchant_id      TEXT NOT NULL,
    lane             TEXT NOT NULL CHECK (lane IN ('transactional', 'bulk')),
    state            TEXT NOT NULL CHECK (state IN ('queued', 'sending', 'deferred', 'sent', 'failed', 'bounced',
                                                    'suppressed', 'cancelled', 'expired', 'held')),
    template         TEXT NOT NULL,
    template_version TEXT NOT NULL,
    sender           TEXT NOT NULL, -- JSON object
    reply_to         TEXT,          -- JSON object
    recipient_name   TEXT,
    recipient        TEXT NOT NULL,
    recipient_key    TEXT NOT NULL, -- the same in lower case and its domain first, to be found however it is written
    message_id       TEXT NOT NULL,
    tags             TEXT NOT NULL, -- JSON object
    member_id        TEXT,
    order_id         TEXT,
    cart_id          TEXT,
    subscription_id  TEXT,
    batch_id         TEXT,
    on_crash         TEXT NOT NULL CHECK (on_crash IN ('resend', 'hold')),
    recorded_at      INTEGER NOT NULL,
    due_at           INTEGER NOT NULL,
    wake_at          INTEGER,       -- when the scheduler enqueues it (again), unless it is being sent; NULL: settled
    attempt          INTEGER NOT NULL DEFAULT 0,
    rescues          INTEGER NOT NULL DEFAULT 0, -- how often it was taken from a worker that died and queued again
    worker           TEXT,          -- whose claim it is; with attempt, the fence
    claimed_at       INTEGER,
    settled_at       INTEGER,
    route            TEXT,
    provider_id      TEXT,
    error            TEXT,          -- why the last attempt did not deliver it
    class            TEXT,          -- what the last reply meant
    traceparent      TEXT,          -- the caller's trace (W3C Trace Context), for the log and callbacks
    -- The state once a worker is done with it; a claim leaves it as it is, and so touches no index.
    state_after      TEXT GENERATED ALWAYS AS (CASE WHEN state IN ('queued', 'sending') THEN NULL ELSE state END) VIRTUAL,
    CHECK ((state = 'sending') = (worker IS NOT NULL))
) STRICT;

CREATE INDEX mails_by_wake ON mails (lane, wake_at) WHERE wake_at IS NOT NULL; -- a full lane is passed over
CREATE INDEX mails_by_merchant ON mails (merchant_id, id);
-- What people look mails up by; each ends in the order of the answer. The merchant comes second: operators ask without.
CREATE INDEX mails_under_way ON mails (merchant_id, id) WHERE wake_at IS NOT NULL;
CREATE INDEX mails_by_state ON mails (state_after, merchant_id, id) WHERE state_after IS NOT NULL;
CREATE INDEX mails_by_recipient ON mails (recipient_key, merchant_id, id);
CREATE INDEX mails_by_order ON mails (order_id, merchant_id, id) WHERE order_id IS NOT NULL;
CREATE INDEX mails_by_cart ON mails (cart_id, merchant_id, id) WHERE cart_id IS NOT NULL;
CREATE INDEX mails_by_subscription ON mails (subscription_id, merchant_id, id) WHERE subscription_id IS NOT NULL;
CREATE INDEX mails_by_provider_id ON mails (provider_id, merchant_id, id) WHERE provider_id IS NOT NULL;
-- What went wrong, also for operators in the order of the answer. A mail that is sent at once touches none of these.
CREATE INDEX mails_by_class ON mails (class, merchant_id, id) WHERE class <> 'accepted';
CREATE INDEX mails_by_class_of_all ON mails (class, id) WHERE class <> 'accepted';
CREATE INDEX mails_failing ON mails (state_after, id) WHERE state_after <> 'sent' AND state_after <> 'deferred';

CREATE TABLE attempts (
    mail_id  TEXT NOT NULL,
    number   INTEGER NOT NULL,
    worker   TEXT NOT NULL,
    at       INTEGER NOT NULL,
    route    TEXT NOT NULL,
    phase    TEXT,                  -- NULL: the worker died, nobody knows
    outcome  TEXT NOT NULL CHECK (outcome IN ('accepted', 'transient', 'permanent', 'unknown')),
    code     INTEGER,
    enhanced TEXT,
    reply    TEXT NOT NULL,
    millis   INTEGER NOT NULL,
    class    TEXT NOT NULL,         -- what the reply means, see src/mail/reply_class.rs
    transcript TEXT,                -- of an attempt that failed: at most 8 KB, no credentials, no content
    PRIMARY KEY (mail_id, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
    merchant_id  TEXT NOT NULL REFERENCES merchants (id),
    path         TEXT NOT NULL,
    key          TEXT NOT NULL,
    fingerprint  TEXT NOT NULL,     -- SHA-256 of the body, hex
    request      TEXT NOT NULL,     -- which request holds the key while status is NULL
    locked_until INTEGER NOT NULL,
    status       INTEGER,
    body         TEXT,
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (merchant_id, path, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_by_age ON idempotency (created_at);

CREATE TABLE workers (
    id           TEXT PRIMARY KEY,
    host         TEXT NOT NULL,
    pid          INTEGER NOT NULL,
    started_at   INTEGER NOT NULL,
    heartbeat_at INTEGER NOT NULL
) STRICT;

-- Routes over which nothing new goes until an operator says so.
CREATE TABLE drained_routes (
    name TEXT PRIMARY KEY,
    at   INTEGER NOT NULL
) STRICT;

-- What operators paused: nothing of it is sent until it is resumed or the pause ends.
CREATE TABLE pauses (
    scope   TEXT NOT NULL CHECK (scope IN ('lane', 'merchant', 'route', 'domain')),
    name    TEXT NOT NULL,
    reason  TEXT NOT NULL,
    actor   TEXT NOT NULL,
    at      INTEGER NOT NULL,
    ends_at INTEGER,                  -- NULL: when it is resumed
    PRIMARY KEY (scope, name)
) STRICT;

-- Who changed what. Written in the transaction of the change. No foreign keys: an entry outlives what it is about.
CREATE TABLE audit (
    id          TEXT PRIMARY KEY,   -- UUIDv7
    at          INTEGER NOT NULL,
    actor       TEXT NOT NULL,   -- as in 'cli:root', 'operator:ann', 'token:<its id>', 'account:tea'
    action      TEXT NOT NULL,      -- see src/audit
    target      TEXT NOT NULL,
    merchant_id TEXT,
    number      INTEGER NOT NULL,     -- how many things were changed
    origin      TEXT,               -- where from: an address, or a terminal and its machine
    request_id  TEXT,
    details     TEXT NOT NULL       -- JSON object without secrets, addresses and bodies
) STRICT;

CREATE INDEX audit_by_time ON audit (at, id);
CREATE INDEX audit_by_merchant ON audit (merchant_id, at, id) WHERE merchant_id IS NOT NULL;
CREATE INDEX audit_by_actor ON audit (actor, at, id);
CREATE INDEX audit_by_action ON audit (action, at, id);

-- Queued jobs of no known kind: every drop has a record.
CREATE TABLE dropped_jobs (
    id     TEXT NOT NULL,
    reason TEXT NOT NULL,
    at     INTEGER NOT NULL
) STRICT;

-- One row, rewritten to find out whether the database takes writes.
CREATE TABLE write_probe (
    id     INTEGER PRIMARY KEY,
    at     INTEGER NOT NULL,
    filler TEXT NOT NULL
) STRICT;
