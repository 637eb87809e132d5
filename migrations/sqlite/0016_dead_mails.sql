-- Mails that a person should look at, without those that were only tried out: counted now and then.
CREATE INDEX mails_dead ON mails (state_after) WHERE test = 0 AND state_after IN ('failed', 'held');
