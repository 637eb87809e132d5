-- What postroom itself knows of an order; the order document, as its merchant sent it, is a resource.

-- Where an e-mail workflow is. A row goes over the field of the order's document.
CREATE TABLE order_workflows (
    merchant_id TEXT NOT NULL REFERENCES merchants (id),
    order_id    TEXT NOT NULL,
    field       TEXT NOT NULL CHECK (field IN ('prebillingStatus', 'emailConfirmationStatus',
                                               'emailCancellationStatus', 'partialRefundEmailStatus')),
    state       TEXT NOT NULL CHECK (state IN ('PENDING', 'COMPLETED', 'FAILED', 'NOT_REQUIRED')),
    mail_id     TEXT,               -- the mail that it follows; NULL: no mail was needed
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (merchant_id, order_id, field),
    CHECK ((state = 'NOT_REQUIRED') = (mail_id IS NULL))
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX order_workflows_by_mail ON order_workflows (mail_id) WHERE mail_id IS NOT NULL;

-- The e-mail entries of an order: what was asked for and chosen. What became of it is the mail's to say. The entry is
-- written before the mail, in one transaction.
CREATE TABLE order_emails (
    mail_id                  TEXT PRIMARY KEY REFERENCES mails (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    merchant_id              TEXT NOT NULL REFERENCES merchants (id),
    order_id                 TEXT NOT NULL,
    template_name            TEXT NOT NULL,
    template_definition_name TEXT NOT NULL,
    recipient                TEXT NOT NULL,
    payment_id               TEXT,
    created_at               INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX order_emails_by_order ON order_emails (merchant_id, order_id, mail_id);

-- Who asked for which mail of an order, and why; also what was then refused.
CREATE TABLE order_audit (
    id          TEXT PRIMARY KEY,   -- UUIDv7
    merchant_id TEXT NOT NULL REFERENCES merchants (id),
    order_id    TEXT NOT NULL,
    actor       TEXT NOT NULL,
    template    TEXT,               -- the word as it was given; NULL: none was
    reason      TEXT NOT NULL,
    at          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX order_audit_by_order ON order_audit (merchant_id, order_id, id);
