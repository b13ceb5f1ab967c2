-- reopen: make a job that has ended due at once.
-- KEYS  1 record (the checkpoint is <record>:data)  2 index
-- ARGV  1 job id  2 nonce, as for signal  3 line for the history
--       4 the statuses it may be in, a space around each
--       5 1: forget the progress, too  6 1: drop the whole checkpoint
--       then the fields of the checkpoint to drop
-- Owns  status, due_at, delivery, strikes, asked, history; what an end and a signal left; the
--       progress; the checkpoint; the index entry; expiry.
-- Gives nil unknown | {'refused' or 'taken', record}
-- needs: clock snapshot history due delta
local record, now = redis.call('HMGET', KEYS[1], 'status', 'asked'), clock()
if not record[1] then
  return false
end
if record[2] ~= ARGV[2] then
  if not string.find(ARGV[4], ' ' .. record[1] .. ' ', 1, true) then
    return { 'refused', snapshot(KEYS[1], now) }
  end
  due(KEYS[1], KEYS[2], ARGV[1], now, now, ARGV[2], ARGV[3], 'delivery', 0, 'strikes', 0)
  redis.call('HDEL', KEYS[1], 'result', 'error', 'ended_at', 'signal', 'heard', 'worker')
  if ARGV[5] == '1' then
    redis.call('HDEL', KEYS[1], 'progress', 'begun_at', 'begun', 'moved_at')
  end
  if ARGV[6] == '1' then
    redis.call('UNLINK', KEYS[1] .. ':data')
  end
  apply(KEYS[1] .. ':data', 7, #ARGV - 6)
  redis.call('PERSIST', KEYS[1])
  redis.call('PERSIST', KEYS[1] .. ':data')
end
return { 'taken', snapshot(KEYS[1], now) }
