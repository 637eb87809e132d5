-- The status of a document, for the kinds that are listed by it.
ALTER TABLE resources ADD COLUMN status TEXT;

CREATE INDEX carts_by_age ON resources (merchant_id, created_at, id) WHERE kind = 'abandoned-carts';
CREATE INDEX carts_by_status ON resources (merchant_id, status, created_at, id) WHERE kind = 'abandoned-carts';

-- What members are shown at `/passes/<id>`. The id follows from the merchant's secret and what the pass is of, so that
-- the same is found when it is asked for again, and nobody else can guess it.
CREATE TABLE passes (
    id           TEXT PRIMARY KEY,
    merchant_id  TEXT NOT NULL REFERENCES merchants (id),
    coupon_id    TEXT,
    storecard_id TEXT,
    member_id    TEXT NOT NULL,
    identifier   TEXT,              -- what its QR code says; NULL: the link to the pass
    created_at   INTEGER NOT NULL,
    CHECK (coupon_id IS NOT NULL OR storecard_id IS NOT NULL)
) STRICT, WITHOUT ROWID;
