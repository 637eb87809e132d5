-- One thing done to many mails. Which mails: the query, its times counted back from drafted_at, and only mails whose
-- ids are before `mark`. Each step moves the cursor on in the transaction that acts on the mails up to it.
CREATE TABLE bulk_actions (
    id           TEXT COLLATE "C" PRIMARY KEY,
    merchant_id  TEXT,               -- whose mails alone it may touch; NULL: an operator's
    kind         TEXT NOT NULL CHECK (kind IN ('retry', 'cancel', 'release', 'discard', 'replay')),
    query        TEXT NOT NULL,
    mark         TEXT COLLATE "C" NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('draft', 'running', 'stopped', 'done', 'failed')),
    error        TEXT,
    drafted_by   TEXT NOT NULL,      -- as in 'operator:ann', 'cli:root' or 'token:…'
    drafted_at   BIGINT NOT NULL,
    confirmed_by TEXT,
    confirmed_at BIGINT,
    stopped_by   TEXT,
    stopped_at   BIGINT,
    finished_at  BIGINT,
    wake_at      BIGINT,            -- when the scheduler enqueues it; NULL: nothing to do
    cursor       TEXT COLLATE "C" NOT NULL DEFAULT '', -- the mail that it has come to
    matched      BIGINT NOT NULL,   -- how many mails it was for when it was drafted
    matched_more BIGINT NOT NULL CHECK (matched_more IN (0, 1)), -- whether there may have been more
    done         BIGINT NOT NULL DEFAULT 0,
    skipped      BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX bulk_actions_by_merchant ON bulk_actions (merchant_id, id) WHERE merchant_id IS NOT NULL;
CREATE INDEX bulk_actions_by_wake ON bulk_actions (wake_at) WHERE wake_at IS NOT NULL;

-- What it came to for each mail.
CREATE TABLE bulk_action_results (
    action_id TEXT COLLATE "C" NOT NULL,
    mail_id   TEXT COLLATE "C" NOT NULL,
    result    TEXT NOT NULL CHECK (result IN ('done', 'skipped')),
    why       TEXT,                  -- why the mail was passed over
    PRIMARY KEY (action_id, mail_id)
);
