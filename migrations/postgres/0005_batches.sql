-- Many mails from one request. The counts follow the mails in the transactions that settle these; what is under way is
-- `mails` less the counts.
CREATE TABLE batches (
    id               TEXT COLLATE "C" PRIMARY KEY,
    merchant_id      TEXT NOT NULL REFERENCES merchants (id),
    brand_id         TEXT NOT NULL,
    brand            TEXT NOT NULL,     -- the brand's document as it was when the batch was recorded
    template         TEXT NOT NULL,
    template_version TEXT NOT NULL REFERENCES template_versions (id),
    coupon_id        TEXT,
    webhook_url      TEXT,
    link             TEXT NOT NULL,     -- where its result is
    state            TEXT NOT NULL CHECK (state IN ('queued', 'processing', 'finished', 'cancelled', 'failed')),
    error            TEXT,
    stopped_at       BIGINT,           -- since when none of its mails may be claimed: it is paused or cancelled
    requested_at     BIGINT NOT NULL,
    started_at       BIGINT,
    finished_at      BIGINT,
    wake_at          BIGINT,           -- when the scheduler enqueues it; NULL: no mails left to make or take back
    chunk            BIGINT,           -- the chunk whose mails a worker set out to make
    chunk_tries      BIGINT NOT NULL DEFAULT 0, -- how often in a row one did; none came to an end but the last
    mails            BIGINT NOT NULL,  -- how many it is of
    made             BIGINT NOT NULL DEFAULT 0, -- how many of them there are by now
    tried            BIGINT NOT NULL DEFAULT 0, -- how many of those are not in the queue for the first time any more
    sent             BIGINT NOT NULL DEFAULT 0,
    failed           BIGINT NOT NULL DEFAULT 0,
    bounced          BIGINT NOT NULL DEFAULT 0,
    suppressed       BIGINT NOT NULL DEFAULT 0,
    cancelled        BIGINT NOT NULL DEFAULT 0,
    expired          BIGINT NOT NULL DEFAULT 0,
    held             BIGINT NOT NULL DEFAULT 0,
    span             BIGINT NOT NULL DEFAULT 0, -- the last ten seconds, by number since the epoch, in which mails were settled
    in_span          BIGINT NOT NULL DEFAULT 0, -- how many those were
    in_span_before   BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX batches_by_merchant ON batches (merchant_id, id);
CREATE INDEX batches_by_wake ON batches (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX batches_stopped ON batches (id) WHERE stopped_at IS NOT NULL;

-- The users of a batch whose mails are not made yet, as they came, a thousand at a time. Written before their batch: no
-- foreign key. Those whose request ended before it recorded a batch are swept away.
CREATE TABLE batch_chunks (
    batch_id TEXT COLLATE "C" NOT NULL,
    number   BIGINT NOT NULL,
    users    TEXT NOT NULL,             -- JSON array of objects
    PRIMARY KEY (batch_id, number)
);

-- One mail for each member of a batch. The member comes first, so that all mails of a member are found by it too.
CREATE UNIQUE INDEX mails_by_member ON mails (member_id, batch_id) WHERE member_id IS NOT NULL;
CREATE INDEX mails_by_batch ON mails (batch_id, id) WHERE batch_id IS NOT NULL;
CREATE INDEX mails_under_way_by_batch ON mails (batch_id) WHERE batch_id IS NOT NULL AND wake_at IS NOT NULL;
