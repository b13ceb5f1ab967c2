-- signal: ask something of a job.
-- KEYS  1 record (the checkpoint is <record>:data)  2 index
-- ARGV  1 job id  2 signal  3 retention ms  4 nonce, as for create
-- Owns  signal of a running job; status, reason, due_at, ended_at of one that does not run.
-- Gives nil unknown | {'ended' or 'taken', record}
-- needs: clock ending
local ENDED = { succeeded = true, failed = true, cancelled = true }
local record = redis.call('HMGET', KEYS[1], 'status', 'nonce')
local status, word = record[1], 'taken'
if not status then
  return false
end
if record[2] == ARGV[4] then
  word = 'taken' -- the first sending has done it
elseif ENDED[status] then
  word = 'ended'
elseif status == 'running' then
  redis.call('HSET', KEYS[1], 'signal', ARGV[2])
elseif ARGV[2] == 'cancel' then
  finish_off(KEYS[1], KEYS[2], ARGV[1], 'cancelled', 'cancelled', ARGV[3], ARGV[4])
elseif ARGV[2] == 'pause' and status ~= 'paused' then
  redis.call('HSET', KEYS[1], 'status', 'paused', 'reason', 'paused', 'nonce', ARGV[4])
  redis.call('HDEL', KEYS[1], 'due_at', 'signal')
  redis.call('ZREM', KEYS[2], ARGV[1])
end
return { word, redis.call('HGETALL', KEYS[1]) }
