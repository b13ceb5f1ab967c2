-- finish: take ended jobs out of the recovery.
-- KEYS  1 index  2... records
-- ARGV  1... job ids, in the order of the records
-- Owns  the index entries.
local ALIVE = { pending = true, scheduled = true, running = true, interrupted = true, paused = true }
for i = 2, #KEYS do
  if not ALIVE[redis.call('HGET', KEYS[i], 'status')] then
    redis.call('ZREM', KEYS[1], ARGV[i - 1])
  end
end
return 0
