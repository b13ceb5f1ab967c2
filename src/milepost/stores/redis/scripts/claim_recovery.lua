-- claim_recovery: win the right to send a due job again.
-- KEYS  1 record  2 index
-- ARGV  1 job id  2 again after ms  3 nonce, as for create
-- Owns  sends; status, reason, due_at, crashes, strikes, history of a lapsed job; the index entry.
-- Gives nil | the record
-- needs: clock snapshot history crash
local record = redis.call('HMGET', KEYS[1], 'status', 'heartbeat_at', 'lease_ms', 'sends', 'nonce',
  'worker')
local status, now = record[1], clock()
if not status then
  redis.call('ZREM', KEYS[2], ARGV[1])
  return false
end
if record[5] == ARGV[3] then
  return snapshot(KEYS[1], now)
end
local due = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not due or tonumber(due) > now then
  return false
end
if status == 'paused' then
  redis.call('ZREM', KEYS[2], ARGV[1])
  return false
end
if status == 'running' then
  local lapses = tonumber(record[2] or 0) + tonumber(record[3])
  if lapses > now then
    redis.call('ZADD', KEYS[2], lapses, ARGV[1])
    return false
  end
end
local sends = tonumber(record[4] or 0)
redis.call('HSET', KEYS[1], 'sends', sends + 1, 'nonce', ARGV[3])
if status == 'running' then
  crash(KEYS[1], record[6], 'its worker died', now)
end
redis.call('ZADD', KEYS[2], now + ARGV[2] * 2 ^ math.min(sends, 6), ARGV[1])
return snapshot(KEYS[1], now)
