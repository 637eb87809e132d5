-- What a request gave a mail beside its template's values: tags, metadata, headers, attached files.
ALTER TABLE mails ADD COLUMN extras TEXT; -- JSON object; NULL: nothing

-- By which mails are found: their tags, and each key=value of their metadata.
CREATE TABLE mail_tags (
    tag          TEXT COLLATE "C" NOT NULL,
    tag_merchant TEXT COLLATE "C" NOT NULL,
    mail_id      TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tag, tag_merchant, mail_id)
);

CREATE INDEX mail_tags_of_all ON mail_tags (tag, mail_id);
CREATE INDEX mail_tags_by_mail ON mail_tags (mail_id);

-- What is in the files that go with mails, once for each merchant. The size comes first: it is read alone.
CREATE TABLE attachments (
    merchant_id TEXT COLLATE "C" NOT NULL,
    hash        TEXT COLLATE "C" NOT NULL,      -- SHA-256 of the content, hex
    size        BIGINT NOT NULL,   -- of the content, in bytes
    stored_at   BIGINT NOT NULL,
    base64      TEXT NOT NULL,
    PRIMARY KEY (merchant_id, hash)
);

CREATE TABLE mail_attachments (
    mail_id     TEXT COLLATE "C" NOT NULL,
    merchant_id TEXT COLLATE "C" NOT NULL,
    hash        TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (mail_id, hash)
);

CREATE INDEX mail_attachments_by_hash ON mail_attachments (merchant_id, hash);
