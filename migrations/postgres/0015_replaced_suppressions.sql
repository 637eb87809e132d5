-- What a merchant had said of an address before its recipient unsubscribed: in force again when that is taken back.
ALTER TABLE suppressions ADD COLUMN replaced_reason TEXT; -- NULL: nothing
ALTER TABLE suppressions ADD COLUMN replaced_note TEXT;
ALTER TABLE suppressions ADD COLUMN replaced_expires_at BIGINT;
ALTER TABLE suppressions ADD COLUMN replaced_created_at BIGINT;
