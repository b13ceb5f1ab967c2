-- Makes a job due, by a control act: at a moment to come, or else at once. What follows the line
-- are more fields to set.
local function due(record, index, job_id, now, at, nonce, line, ...)
  at = math.max(at, now)
  redis.call('HSET', record, 'status', at > now and 'scheduled' or 'pending', 'due_at', at,
    'asked', nonce, 'history', noted(record, now, line), ...)
  redis.call('HDEL', record, 'reason', 'sends')
  redis.call('ZADD', index, at, job_id)
end
