-- Addresses that get no mail, or no promotional mail. At most one row of each scope for an address: what a recipient
-- asked for outlives what a relay said of the address for a while.
CREATE TABLE suppressions (
    id          TEXT COLLATE "C" NOT NULL UNIQUE, -- UUIDv7
    merchant_id TEXT NOT NULL REFERENCES merchants (id),
    address_key TEXT COLLATE "C" NOT NULL, -- as mails.recipient_key: in lower case, the domain first
    scope       TEXT NOT NULL CHECK (scope IN ('all', 'promotional')),
    reason      TEXT NOT NULL CHECK (reason IN ('manual', 'unsubscribed', 'hard_bounce', 'complaint')),
    note        TEXT,
    expires_at  BIGINT,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (merchant_id, address_key, scope)
);

CREATE INDEX suppressions_by_age ON suppressions (merchant_id, id);
CREATE INDEX suppressions_by_end ON suppressions (expires_at) WHERE expires_at IS NOT NULL;

-- When a relay last said that there is no such address. A mail that it takes deletes the row.
CREATE TABLE bad_addresses (
    merchant_id TEXT NOT NULL,
    address_key TEXT COLLATE "C" NOT NULL,
    at          BIGINT NOT NULL,
    PRIMARY KEY (merchant_id, address_key)
);

CREATE INDEX bad_addresses_by_age ON bad_addresses (at);

-- What unsubscribe links lead to. A link outlives the mails that carry it.
CREATE TABLE unsubscribe_links (
    token       TEXT COLLATE "C" PRIMARY KEY, -- 128 random bits, base64url
    merchant_id TEXT NOT NULL,
    address_key TEXT COLLATE "C" NOT NULL,
    language    TEXT NOT NULL, -- of the mails that carry it
    created_at  BIGINT NOT NULL
);

CREATE UNIQUE INDEX unsubscribe_links_by_address ON unsubscribe_links (merchant_id, address_key, language);

ALTER TABLE mails ADD COLUMN promotional BIGINT NOT NULL DEFAULT 0 CHECK (promotional IN (0, 1));
ALTER TABLE mails ADD COLUMN unsubscribe_token TEXT COLLATE "C"; -- NULL: it carries no unsubscribe link
ALTER TABLE mails ADD COLUMN unsubscribe_language TEXT; -- the language of what is said about the link

-- Whether the template itself says what class it is of; else the request decides.
ALTER TABLE template_versions ADD COLUMN class_is_said BIGINT NOT NULL DEFAULT 0 CHECK (class_is_said IN (0, 1));
UPDATE template_versions SET class_is_said = 1 WHERE class = 'promotional';

-- One more kind of action.
ALTER TABLE bulk_actions DROP CONSTRAINT bulk_actions_kind_check;
ALTER TABLE bulk_actions ADD CONSTRAINT bulk_actions_kind_check
    CHECK (kind IN ('retry', 'cancel', 'release', 'discard', 'replay', 'suppress'));
