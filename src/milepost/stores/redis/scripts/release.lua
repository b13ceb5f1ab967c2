-- release: take the lease from an attempt that is known to be dead.
-- KEYS  1 record (the checkpoint is <record>:data)  2 index
-- ARGV  1 job id  2 owner or incarnation  3 reason  4 status  5 retention ms if that is an end,
--       else ""  6 nonce, as for create
-- Owns  status, reason, due_at, crashes, strikes or ended_at, error; frees the lease; the index
--       entry; expiry.
-- Gives 1 released | 0 not running under that owner
-- needs: clock owner crash ending
local record = redis.call('HMGET', KEYS[1], 'status', 'owner', 'lease_ms', 'nonce')
if record[4] == ARGV[6] then
  return 1
end
if record[1] ~= 'running' or not is_owned(record[2], ARGV[2]) then
  return 0
end
if ARGV[5] ~= '' then
  finish_off(KEYS[1], KEYS[2], ARGV[1], ARGV[4], ARGV[3], ARGV[5], ARGV[6])
  return 1
end
local now = clock()
redis.call('HSET', KEYS[1], 'nonce', ARGV[6])
crash(KEYS[1], ARGV[3], now)
redis.call('ZADD', KEYS[2], now + record[3], ARGV[1])
return 1
