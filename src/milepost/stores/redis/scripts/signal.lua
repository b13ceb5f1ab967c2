-- signal: ask something of a job.
-- KEYS  1 record (the checkpoint is <record>:data)  2 index
-- ARGV  1 job id  2 nonce: the same call sent again changes nothing more  3 line for the history
--       4 signal  5 retention ms  6 look after ms, if that cancels it at once
--       7 reason  8 reason if force ends a running job, "" without force
--       9 line for the history, if force does
-- Owns  signal of a running job; status, reason, due_at, ended_at of one that does not run, or
--       is forced; asked; history; the index entry; expiry.
-- Gives nil unknown | {'refused' or 'taken', record}
-- needs: clock ended snapshot history ending
local record = redis.call('HMGET', KEYS[1], 'status', 'asked', 'signal')
local status, now, word = record[1], clock(), 'taken'
if not status then
  return false
end
local running = status == 'running'
local forced = running and ARGV[8] ~= ''
if record[2] == ARGV[2] then
  word = 'taken' -- the first sending has done it
elseif ENDED[status] then
  word = 'refused'
elseif ARGV[4] == 'cancel' and (forced or not running) then
  local reason = forced and ARGV[8] or ARGV[7] ~= '' and ARGV[7] or 'cancelled'
  local line = forced and ARGV[9] or ARGV[3]
  finish_off(KEYS[1], now, 'cancelled', reason, ARGV[5], line, 'asked', ARGV[2])
  redis.call('ZADD', KEYS[2], now + ARGV[6], ARGV[1])
elseif running and record[3] ~= ARGV[4] then
  redis.call('HSET', KEYS[1], 'signal', ARGV[4], 'asked', ARGV[2],
    'history', noted(KEYS[1], now, ARGV[3]))
elseif not running and ARGV[4] == 'pause' and status ~= 'paused' then
  redis.call('HSET', KEYS[1], 'status', 'paused', 'reason', 'paused', 'asked', ARGV[2],
    'history', noted(KEYS[1], now, ARGV[3]))
  redis.call('HDEL', KEYS[1], 'signal')
  if status ~= 'scheduled' then
    redis.call('HDEL', KEYS[1], 'due_at')
  end
  redis.call('ZREM', KEYS[2], ARGV[1])
end
return { word, snapshot(KEYS[1], now) }
