-- What is written for each mail checks no foreign keys, as `mails` never did: merchants are never deleted, and each check
-- locks the merchant's row, for which two transactions that write for one merchant at the same moment wait in the server's memory.
--
-- To drop one locks both tables. All are locked first, or none: who holds one and waits for the next would keep everybody else
-- waiting.
LOCK TABLE mails, merchants, idempotency, events, deliveries, order_workflows, order_emails, order_audit
    IN ACCESS EXCLUSIVE MODE;
ALTER TABLE order_workflows DROP CONSTRAINT order_workflows_merchant_id_fkey;
ALTER TABLE order_audit DROP CONSTRAINT order_audit_merchant_id_fkey;
ALTER TABLE order_emails DROP CONSTRAINT order_emails_merchant_id_fkey;
ALTER TABLE idempotency DROP CONSTRAINT idempotency_merchant_id_fkey;
ALTER TABLE events DROP CONSTRAINT events_merchant_id_fkey;
ALTER TABLE deliveries DROP CONSTRAINT deliveries_merchant_id_fkey;
-- Who forgets a mail forgets its entry too.
ALTER TABLE order_emails DROP CONSTRAINT order_emails_mail_id_fkey;
-- A workflow that moves is written anew on its page, without a new entry in an index, where that has room.
ALTER TABLE order_workflows SET (fillfactor = 50);
