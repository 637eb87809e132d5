-- When mails may go and until when, what was found when their reason was asked again, and what is only tried out.

ALTER TABLE mails ADD COLUMN send_at INTEGER;       -- not before; NULL: at once
ALTER TABLE mails ADD COLUMN expires_at INTEGER;    -- from then on it is of no use to its recipient
ALTER TABLE mails ADD COLUMN cancel_reason TEXT;    -- see src/mail/cancel_reason.rs; NULL: somebody cancelled it
ALTER TABLE mails ADD COLUMN test INTEGER NOT NULL DEFAULT 0; -- 1: goes to the sandbox, never to a relay

-- Only mails that can expire and are not settled; a claim touches none of it.
CREATE INDEX mails_by_expiry ON mails (expires_at) WHERE expires_at IS NOT NULL AND wake_at IS NOT NULL;

ALTER TABLE batches ADD COLUMN send_at INTEGER;
ALTER TABLE batches ADD COLUMN expires_at INTEGER;
ALTER TABLE batches ADD COLUMN test INTEGER NOT NULL DEFAULT 0;

ALTER TABLE merchants ADD COLUMN test INTEGER NOT NULL DEFAULT 0; -- 1: all that it sends goes to the sandbox
ALTER TABLE tokens ADD COLUMN test INTEGER NOT NULL DEFAULT 0;    -- 1: what is asked for with it goes there

ALTER TABLE order_audit ADD COLUMN forced INTEGER NOT NULL DEFAULT 0; -- 1: whatever the store's cool-down says
