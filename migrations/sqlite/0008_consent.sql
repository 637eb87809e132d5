-- Addresses that get no mail, or no promotional mail. At most one row of each scope for an address: what a recipient
-- asked for outlives what a relay said of the address for a while.
CREATE TABLE suppressions (
    id          TEXT NOT NULL UNIQUE, -- UUIDv7
    merchant_id TEXT NOT NULL REFERENCES merchants (id),
    address_key TEXT NOT NULL,        -- as mails.recipient_key: in lower case, the domain first
    scope       TEXT NOT NULL CHECK (scope IN ('all', 'promotional')),
    reason      TEXT NOT NULL CHECK (reason IN ('manual', 'unsubscribed', 'hard_bounce', 'complaint')),
    note        TEXT,
    expires_at  INTEGER,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (merchant_id, address_key, scope)
) STRICT, WITHOUT ROWID;

CREATE INDEX suppressions_by_age ON suppressions (merchant_id, id);
CREATE INDEX suppressions_by_end ON suppressions (expires_at) WHERE expires_at IS NOT NULL;

-- When a relay last said that there is no such address. A mail that it takes deletes the row.
CREATE TABLE bad_addresses (
    merchant_id TEXT NOT NULL,
    address_key TEXT NOT NULL,
    at          INTEGER NOT NULL,
    PRIMARY KEY (merchant_id, address_key)
) STRICT, WITHOUT ROWID;

CREATE INDEX bad_addresses_by_age ON bad_addresses (at);

-- What unsubscribe links lead to. A link outlives the mails that carry it.
CREATE TABLE unsubscribe_links (
    token       TEXT PRIMARY KEY,     -- 128 random bits, base64url
    merchant_id TEXT NOT NULL,
    address_key TEXT NOT NULL,
    language    TEXT NOT NULL,        -- of the mails that carry it
    created_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX unsubscribe_links_by_address ON unsubscribe_links (merchant_id, address_key, language);

ALTER TABLE mails ADD COLUMN promotional INTEGER NOT NULL DEFAULT 0 CHECK (promotional IN (0, 1));
ALTER TABLE mails ADD COLUMN unsubscribe_token TEXT;    -- NULL: it carries no unsubscribe link
ALTER TABLE mails ADD COLUMN unsubscribe_language TEXT; -- the language of what is said about the link

-- Whether the template itself says what class it is of; else the request decides.
ALTER TABLE template_versions ADD COLUMN class_is_said INTEGER NOT NULL DEFAULT 0 CHECK (class_is_said IN (0, 1));
UPDATE template_versions SET class_is_said = 1 WHERE class = 'promotional';

-- One more kind of action. SQLite cannot change a CHECK.
ALTER TABLE bulk_actions RENAME TO bulk_actions_before;

CREATE TABLE bulk_actions (
    id           TEXT PRIMARY KEY,
    merchant_id  TEXT,               -- whose mails alone it may touch; NULL: an operator's
    kind         TEXT NOT NULL CHECK (kind IN ('retry', 'cancel', 'release', 'discard', 'replay', 'suppress')),
    query        TEXT NOT NULL,
    mark         TEXT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('draft', 'running', 'stopped', 'done', 'failed')),
    error        TEXT,
    drafted_by   TEXT NOT NULL,      -- as in 'operator:ann', 'cli:root' or 'token:…'
    drafted_at   INTEGER NOT NULL,
    confirmed_by TEXT,
    confirmed_at INTEGER,
    stopped_by   TEXT,
    stopped_at   INTEGER,
    finished_at  INTEGER,
    wake_at      INTEGER,            -- when the scheduler enqueues it; NULL: nothing to do
    cursor       TEXT NOT NULL DEFAULT '', -- the mail that it has come to
    matched      INTEGER NOT NULL,   -- how many mails it was for when it was drafted
    matched_more INTEGER NOT NULL CHECK (matched_more IN (0, 1)), -- whether there may have been more
    done         INTEGER NOT NULL DEFAULT 0,
    skipped      INTEGER NOT NULL DEFAULT 0
) STRICT;

INSERT INTO bulk_actions SELECT * FROM bulk_actions_before;
DROP TABLE bulk_actions_before;

CREATE INDEX bulk_actions_by_merchant ON bulk_actions (merchant_id, id) WHERE merchant_id IS NOT NULL;
CREATE INDEX bulk_actions_by_wake ON bulk_actions (wake_at) WHERE wake_at IS NOT NULL;
