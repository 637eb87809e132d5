-- One thing done to many mails. Which mails: the query, its times counted back from drafted_at, and only mails whose
-- ids are before `mark`. Each step moves the cursor on in the transaction that acts on the mails up to it.
CREATE TABLE bulk_actions (
    id           TEXT PRIMARY KEY,
    merchant_id  TEXT,               -- whose mails alone it may touch; NULL: an operator's
    kind         TEXT NOT NULL CHECK (kind IN ('retry', 'cancel', 'release', 'discard', 'replay')),
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

CREATE INDEX bulk_actions_by_merchant ON bulk_actions (merchant_id, id) WHERE merchant_id IS NOT NULL;
CREATE INDEX bulk_actions_by_wake ON bulk_actions (wake_at) WHERE wake_at IS NOT NULL;

-- What it came to for each mail.
CREATE TABLE bulk_action_results (
    action_id TEXT NOT NULL,
    mail_id   TEXT NOT NULL,
    result    TEXT NOT NULL CHECK (result IN ('done', 'skipped')),
    why       TEXT,                  -- why the mail was passed over
    PRIMARY KEY (action_id, mail_id)
) STRICT, WITHOUT ROWID;
