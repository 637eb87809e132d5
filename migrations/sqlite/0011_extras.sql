-- What a request gave a mail beside its template's values: tags, metadata, headers, attached files.
ALTER TABLE mails ADD COLUMN extras TEXT; -- JSON object; NULL: nothing

-- By which mails are found: their tags, and each key=value of their metadata.
CREATE TABLE mail_tags (
    tag          TEXT NOT NULL,
    tag_merchant TEXT NOT NULL,
    mail_id      TEXT NOT NULL,
    PRIMARY KEY (tag, tag_merchant, mail_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX mail_tags_of_all ON mail_tags (tag, mail_id);
CREATE INDEX mail_tags_by_mail ON mail_tags (mail_id);

-- What is in the files that go with mails, once for each merchant. The size comes first: it is read alone.
CREATE TABLE attachments (
    merchant_id TEXT NOT NULL,
    hash        TEXT NOT NULL,      -- SHA-256 of the content, hex
    size        INTEGER NOT NULL,   -- of the content, in bytes
    stored_at   INTEGER NOT NULL,
    base64      TEXT NOT NULL,
    PRIMARY KEY (merchant_id, hash)
) STRICT;

CREATE TABLE mail_attachments (
    mail_id     TEXT NOT NULL,
    merchant_id TEXT NOT NULL,
    hash        TEXT NOT NULL,
    PRIMARY KEY (mail_id, hash)
) STRICT, WITHOUT ROWID;

CREATE INDEX mail_attachments_by_hash ON mail_attachments (merchant_id, hash);
