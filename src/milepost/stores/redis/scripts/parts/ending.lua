-- Ends a job from outside, for good; what follows the line are more fields to set. Whose it was,
-- and its place in the index, are left to the verb.
local function finish_off(record, now, status, reason, retention, line, ...)
  redis.call('HSET', record, 'status', status, 'reason', reason, 'ended_at', now,
    'history', noted(record, now, line), ...)
  redis.call('HDEL', record, 'heartbeat_at', 'signal', 'heard', 'due_at', 'error')
  if status == 'failed' then
    redis.call('HSET', record, 'error', reason)
  end
  redis.call('PEXPIRE', record, retention)
  redis.call('PEXPIRE', record .. ':data', retention)
end
