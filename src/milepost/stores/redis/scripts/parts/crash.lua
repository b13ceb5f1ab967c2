-- Marks a running job as interrupted by the death of its worker. A signal that the attempt
-- heard, but did not obey, waits for the next one.
local function crash(record, worker, reason, now)
  redis.call('HSET', record, 'status', 'interrupted', 'reason', reason, 'due_at', now,
    'history', noted(record, now, line_of('crash', worker, reason)))
  redis.call('HINCRBY', record, 'crashes', 1)
  redis.call('HINCRBY', record, 'strikes', 1)
  local heard = redis.call('HGET', record, 'heard')
  if heard then
    redis.call('HSETNX', record, 'signal', heard)
  end
  redis.call('HDEL', record, 'worker', 'heartbeat_at', 'heard')
end
