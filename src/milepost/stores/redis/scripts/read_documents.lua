-- read_documents: all of them, and the moment.
-- KEYS  1 documents
-- Gives {name, what is kept, ...}, milliseconds
-- needs: clock
return { redis.call('HGETALL', KEYS[1]), clock() }
