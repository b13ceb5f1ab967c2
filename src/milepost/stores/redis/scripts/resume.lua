-- resume: make a paused job due at once, or take a waiting pause back.
-- KEYS  1 record  2 index
-- ARGV  1 job id
-- Owns  status, reason, due_at, sends of a paused job; signal of another; the index entry.
-- Gives nil unknown | {'ended' or 'taken', record}
-- needs: clock
local ENDED = { succeeded = true, failed = true, cancelled = true }
local record = redis.call('HMGET', KEYS[1], 'status', 'signal')
local word = ENDED[record[1]] and 'ended' or 'taken'
if not record[1] then
  return false
end
if record[1] == 'paused' then
  local now = clock()
  redis.call('HSET', KEYS[1], 'status', 'pending', 'due_at', now)
  redis.call('HDEL', KEYS[1], 'reason', 'sends')
  redis.call('ZADD', KEYS[2], now, ARGV[1])
elseif word == 'taken' and record[2] == 'pause' then
  redis.call('HDEL', KEYS[1], 'signal')
end
return { word, redis.call('HGETALL', KEYS[1]) }
