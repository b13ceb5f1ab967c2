-- read_document: one document, and the moment.
-- KEYS  1 documents
-- ARGV  1 name
-- Gives {what is kept or nil, milliseconds}
-- needs: clock
return { redis.call('HGET', KEYS[1], ARGV[1]), clock() }
