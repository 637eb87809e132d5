-- Operators who are signed in to the dashboard.
CREATE TABLE sessions (
    hash         TEXT PRIMARY KEY,  -- SHA-256 of 256 random bits, hex
    id           TEXT COLLATE "C" NOT NULL UNIQUE, -- UUIDv7; what it is called
    operator     TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    address      TEXT
);

CREATE INDEX sessions_by_operator ON sessions (operator, id);
CREATE INDEX sessions_by_end ON sessions (expires_at);

-- Links that sign an operator in once.
CREATE TABLE sign_in_links (
    hash       TEXT PRIMARY KEY,    -- SHA-256 of 256 random bits, hex
    operator   TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);

-- What happened in each minute; kept for two days.
CREATE TABLE activity (
    minute  BIGINT NOT NULL,
    what    TEXT NOT NULL,          -- 'recorded', 'settled' or 'attempt'
    subject TEXT NOT NULL,          -- the lane, or the route of an attempt
    detail  TEXT NOT NULL,          -- the state of a settled mail, the class of an attempt's reply
    number  BIGINT NOT NULL,
    PRIMARY KEY (minute, what, subject, detail)
);

CREATE INDEX template_versions_by_template ON template_versions (merchant_id, template_id, created_at);
