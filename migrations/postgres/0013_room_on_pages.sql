-- A claim changes no index, so the row can be written anew without one, if its page has room for it. Pages that were
-- full as soon as their mails were recorded had none. Pages that are there already stay as they are.
ALTER TABLE mails SET (fillfactor = 50);
