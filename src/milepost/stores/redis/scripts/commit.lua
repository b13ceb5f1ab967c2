-- commit: write a checkpoint, renew the lease, fetch the signal.
-- KEYS  1 record (the checkpoint is <record>:data)
-- ARGV  1 token: "<fence>", or "<fence>.<n>" after the n-th resend
--       2 progress, "" if unchanged  3 number of fields to drop
--       then the fields to drop, then field, value, field, value, ...
-- Owns  heartbeat_at, moved_at, progress, strikes, signal, heard, resent; the checkpoint.
-- Gives nil | the signal | 'lost'
-- needs: clock lease delta
local record = redis.call('HMGET', KEYS[1], 'status', 'fence', 'resent', 'strikes', 'signal', 'heard')
local held = record[1] == 'running' and holds(ARGV[1], record[2], record[3])
if not held then
  return 'lost'
end
local drops, signal, heard, now = tonumber(ARGV[3]), record[5], record[6], clock()
-- A write comes first: where memory is short it is the one refused, and nothing is half done.
if ARGV[2] ~= '' then
  redis.call('HSET', KEYS[1], 'heartbeat_at', now, 'moved_at', now, 'progress', ARGV[2])
elseif #ARGV > 3 then
  redis.call('HSET', KEYS[1], 'heartbeat_at', now, 'moved_at', now)
else
  redis.call('HSET', KEYS[1], 'heartbeat_at', now)
end
if #ARGV > 3 then
  if record[4] and record[4] ~= '0' and #ARGV > 3 + drops then
    redis.call('HSET', KEYS[1], 'strikes', 0)
  end
  apply(KEYS[1] .. ':data', 4, drops)
end
if held == 'resent' then
  redis.call('HSET', KEYS[1], 'resent', string.match(ARGV[1], '%d+$'))
  signal = signal or heard
elseif heard then
  redis.call('HDEL', KEYS[1], 'heard')
end
if signal then
  redis.call('HSET', KEYS[1], 'heard', signal)
  redis.call('HDEL', KEYS[1], 'signal')
end
return signal
