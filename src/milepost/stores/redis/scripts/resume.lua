-- resume: make a paused job due, at once or at the moment it waits for; or take a waiting pause
-- back.
-- KEYS  1 record (the checkpoint is <record>:data)  2 index
-- ARGV  1 job id  2 nonce, as for signal  3 line for the history
--       then field, value, field, value, ... to set in the checkpoint of a paused job
-- Owns  status, reason, due_at, sends, the checkpoint of a paused job; signal of another; asked;
--       history; the index entry.
-- Gives nil unknown | {'refused' or 'taken', record}
-- needs: clock ended snapshot history due delta
local record = redis.call('HMGET', KEYS[1], 'status', 'asked', 'signal', 'due_at')
local status, now, word = record[1], clock(), 'taken'
if not status then
  return false
end
if record[2] == ARGV[2] then
  word = 'taken' -- the first sending has done it
elseif ENDED[status] then
  word = 'refused'
elseif status == 'paused' then
  apply(KEYS[1] .. ':data', 4, 0)
  due(KEYS[1], KEYS[2], ARGV[1], now, tonumber(record[4] or 0), ARGV[2], ARGV[3])
elseif record[3] == 'pause' then
  redis.call('HSET', KEYS[1], 'asked', ARGV[2], 'history', noted(KEYS[1], now, ARGV[3]))
  redis.call('HDEL', KEYS[1], 'signal')
end
return { word, snapshot(KEYS[1], now) }
