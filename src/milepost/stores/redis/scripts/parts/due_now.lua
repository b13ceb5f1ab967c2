-- Makes a job due at once, by a control act; what follows the line are more fields to set.
local function due_now(record, index, job_id, now, nonce, line, ...)
  redis.call('HSET', record, 'status', 'pending', 'due_at', now, 'asked', nonce,
    'history', noted(record, now, line), ...)
  redis.call('HDEL', record, 'reason', 'sends')
  redis.call('ZADD', index, now, job_id)
end
