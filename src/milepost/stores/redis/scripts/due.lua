-- due: which jobs may need to be sent again, oldest first.
-- KEYS  1 index
-- ARGV  1 limit
-- Gives job ids
-- needs: clock
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', clock(), 'LIMIT', 0, ARGV[1])
