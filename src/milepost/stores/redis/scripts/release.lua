-- release: take the lease from an attempt that is known to be dead.
-- KEYS  1 record (the checkpoint is <record>:data)  2 index
-- ARGV  1 job id  2 worker or incarnation  3 reason  4 status  5 retention ms if that is an end,
--       else ""  6 nonce, as for create
-- Owns  status, reason, due_at, crashes, strikes or ended_at, error; history; frees the lease;
--       the index entry; expiry.
-- Gives 1 released | 0 not running under that worker
-- needs: clock worker history crash ending
local record = redis.call('HMGET', KEYS[1], 'status', 'worker', 'lease_ms', 'nonce')
local worker, now = record[2], clock()
if record[4] == ARGV[6] then
  return 1
end
if record[1] ~= 'running' or not is_of(worker, ARGV[2]) then
  return 0
end
if ARGV[5] ~= '' then
  local line = line_of(ARGV[4], worker, ARGV[3])
  finish_off(KEYS[1], now, ARGV[4], ARGV[3], ARGV[5], line, 'nonce', ARGV[6])
  redis.call('HDEL', KEYS[1], 'worker')
  redis.call('ZREM', KEYS[2], ARGV[1])
  return 1
end
redis.call('HSET', KEYS[1], 'nonce', ARGV[6])
crash(KEYS[1], worker, ARGV[3], now)
redis.call('ZADD', KEYS[2], now + record[3], ARGV[1])
return 1
