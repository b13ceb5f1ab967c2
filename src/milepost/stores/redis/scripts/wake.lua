-- wake: make a job due at once that waits for its moment.
-- KEYS  1 record  2 index
-- ARGV  1 job id  2 nonce, as for signal  3 line for the history
-- Owns  status, reason, due_at, sends, asked, history of a scheduled job; the index entry.
-- Gives nil unknown | {'refused' or 'taken', record}
-- needs: clock ended snapshot history due
local record = redis.call('HMGET', KEYS[1], 'status', 'asked')
local status, now, word = record[1], clock(), 'taken'
if not status then
  return false
end
if record[2] == ARGV[2] then
  word = 'taken' -- the first sending has done it
elseif ENDED[status] or status == 'paused' then
  word = 'refused'
elseif status == 'scheduled' then
  due(KEYS[1], KEYS[2], ARGV[1], now, now, ARGV[2], ARGV[3])
end
return { word, snapshot(KEYS[1], now) }
