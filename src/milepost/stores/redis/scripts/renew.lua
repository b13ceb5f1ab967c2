-- renew: renew the leases of one worker's running jobs.
-- KEYS  1 index  2... records
-- ARGV  1 incarnation  2... job ids, in the order of the records
-- Owns  heartbeat_at; the index entries.
-- Gives the ids that were renewed
-- needs: clock worker
local now, renewed = clock(), {}
for i = 2, #KEYS do
  local record = redis.call('HMGET', KEYS[i], 'status', 'worker', 'lease_ms')
  if record[1] == 'running' and is_of(record[2], ARGV[1]) then
    redis.call('HSET', KEYS[i], 'heartbeat_at', now)
    redis.call('ZADD', KEYS[1], now + record[3], ARGV[i])
    renewed[#renewed + 1] = ARGV[i]
  end
end
return renewed
