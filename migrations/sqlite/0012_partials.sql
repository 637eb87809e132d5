-- A version of a partial stands beside those of templates. What a version was made from is kept with it, so that it can be
-- shown and restored as it was written.
ALTER TABLE template_versions ADD COLUMN kind TEXT NOT NULL DEFAULT 'templates' CHECK (kind IN ('templates', 'partials'));
ALTER TABLE template_versions ADD COLUMN document TEXT; -- the document as it was given, JSON; NULL: a built-in, or older
ALTER TABLE template_versions ADD COLUMN partials TEXT; -- by name, the version of each partial in it, JSON; NULL: none

-- Which templates have a partial in them, however deep, and which partials call it.
CREATE TABLE partial_uses (
    merchant_id TEXT NOT NULL,
    partial     TEXT NOT NULL,
    user_kind   TEXT NOT NULL CHECK (user_kind IN ('templates', 'partials')),
    user_id     TEXT NOT NULL,
    PRIMARY KEY (merchant_id, partial, user_kind, user_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX partial_uses_by_user ON partial_uses (merchant_id, user_kind, user_id);
